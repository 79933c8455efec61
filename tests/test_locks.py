"""The locks install the same set of packages on every day: they are closed, and installed without resolving anything.

A lock that names ``coverage`` where a package wants ``coverage[toml]`` worked until a newer version came out. So each
lock is installed here by the very command of its Makefile from an index where everything has a newer version.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests import rolekit

# Each with the file that installs it and the environment that has its packages
LOCKS = {
    "requirements-dev.txt": ("Makefile", ".venv"),
    "app/requirements-dev.lock": ("app/Makefile", "app/.venv"),
    "app/requirements.lock": ("app/Dockerfile", "app/.venv"),
}
NEWER = "9999"
ENTRY = re.compile(r"^(?P<text>[\w.-]+(\[[\w,.-]+\])?==[^\s;]+(?: ; [^\\\n]+?)?) *\\?$", re.MULTILINE)
# Run by the Python of an environment: what is installed there
INSTALLED = """
import importlib.metadata as m, json, re
print(json.dumps({re.sub("[-_.]+", "-", d.metadata["Name"]).lower(): {
    "name": d.metadata["Name"], "version": d.version, "requires": d.requires or [],
    "extras": d.metadata.get_all("Provides-Extra") or []} for d in m.distributions()}))
"""


@dataclass(frozen=True)
class Pin:
    """One entry of a lock that counts on this machine."""

    version: str
    extras: frozenset[str]


def entries(text: str) -> list[Requirement]:
    """Return every entry of a lock."""
    return [Requirement(found["text"]) for found in ENTRY.finditer(text)]


def pins(text: str) -> dict[str, Pin]:
    """Return name -> what a lock pins on this machine."""
    found = {}
    for entry in entries(text):
        if entry.marker is None or entry.marker.evaluate():
            [version] = entry.specifier
            found[canonicalize_name(entry.name)] = Pin(version.version, frozenset(map(canonicalize_name, entry.extras)))
    return {str(name): pin for name, pin in found.items()}


@cache
def installed(python: Path) -> dict[str, dict[str, Any]]:
    """Return name -> version, requirements and extras of what an environment holds."""
    done = subprocess.run([str(python), "-c", INSTALLED], capture_output=True, text=True, check=True)
    found: dict[str, dict[str, Any]] = json.loads(done.stdout)
    return found


def environment(lock: str) -> dict[str, dict[str, Any]]:
    """Return what is installed from a lock. Where it is not, CI fails and others are told."""
    python = rolekit.ROOT / LOCKS[lock][1] / "bin/python"
    if not python.is_file():
        told = f"{python.relative_to(rolekit.ROOT)} is not there: run `make -C {Path(lock).parent} venv` first"
        if os.environ.get("CI"):
            pytest.fail(told)
        pytest.skip(told)
    return installed(python)


def open_ends(locked: dict[str, Pin], found: dict[str, dict[str, Any]]) -> list[str]:
    """Return each requirement of a locked package that the lock does not fulfil by itself, extras included."""
    wrong = []
    for name, pin in sorted(locked.items()):
        for requirement in map(Requirement, found[name]["requires"]):
            marker = requirement.marker
            if marker and not any(marker.evaluate({"extra": extra}) for extra in {"", *pin.extras}):
                continue
            other = locked.get(str(canonicalize_name(requirement.name)))
            if (
                other is None
                or not requirement.specifier.contains(other.version, prereleases=True)
                or not other.extras.issuperset(map(canonicalize_name, requirement.extras))
            ):
                wrong.append(f"{name} wants {requirement}")
    return wrong


def install_options(lock: str) -> list[str]:
    """Return the options with which a Makefile or Dockerfile installs a lock."""
    file = LOCKS[lock][0]
    text = (rolekit.ROOT / file).read_text(encoding="utf-8").replace("\\\n", " ")
    found = re.search(rf"\binstall ((?!.*\binstall ).*?) -r {re.escape(Path(lock).name)}\b", text)
    assert found, f"{file} does not install {lock} as this test expects"
    return [option for option in shlex.split(found.group(1)) if option != "$@"]


def make_wheel(folder: Path, facts: dict[str, Any], version: str) -> str:
    """Write a wheel without content and return its SHA-256."""
    stem = f"{re.sub('[-_.]+', '_', facts['name'])}-{version}"
    lines = ["Metadata-Version: 2.1", f"Name: {facts['name']}", f"Version: {version}"]
    lines += [f"Provides-Extra: {extra}" for extra in facts["extras"]]
    lines += [f"Requires-Dist: {requirement}" for requirement in facts["requires"]]
    path = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{stem}.dist-info/METADATA", "\n".join(lines) + "\n")
        wheel.writestr(f"{stem}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{stem}.dist-info/RECORD", "")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def install(lock: str, text: str, options: list[str], folder: Path) -> tuple[dict[str, str], str]:
    """Install a lock from an index of empty wheels, in two versions each; return what came, and what pip said.

    The index has all that the lock of this checkout names, whatever ``text`` leaves out of it.
    """
    found, locked = environment(lock), pins((rolekit.ROOT / lock).read_text(encoding="utf-8"))
    index = folder / "index"
    index.mkdir()
    digests = {name: make_wheel(index, found[name], pin.version) for name, pin in locked.items()}
    for name in locked:
        make_wheel(index, found[name], NEWER)
    lines = [
        f"{entry} --hash=sha256:{digests.get(str(canonicalize_name(entry.name)), '0' * 64)}" for entry in entries(text)
    ]
    (folder / "lock").write_text("\n".join(lines) + "\n")
    target = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(target)], check=True)
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--python", str(target / "bin/python"), "install", *options, "-r",
         str(folder / "lock")],
        env={**os.environ, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(index), "PIP_CONFIG_FILE": os.devnull},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    came = {name: str(facts["version"]) for name, facts in installed(target / "bin/python").items()}
    return came, done.stdout + done.stderr


def test_every_entry_of_the_locks_is_read() -> None:
    for lock in LOCKS:
        text = (rolekit.ROOT / lock).read_text(encoding="utf-8")
        assert len(entries(text)) == len(re.findall(r"^[a-z]", text, re.MULTILINE)) > 50


@pytest.mark.parametrize("lock", LOCKS)
def test_the_lock_wants_nothing_that_it_does_not_name(lock: str) -> None:
    found, locked = environment(lock), pins((rolekit.ROOT / lock).read_text(encoding="utf-8"))
    absent = {"version": "0"}
    differs = {
        name for name, pin in locked.items() if Version(found.get(name, absent)["version"]) != Version(pin.version)
    }
    assert not differs, "the environment is not what the lock says: run `make venv`"
    assert open_ends(locked, found) == []


def test_a_lock_without_extras_is_noticed() -> None:
    lock = "requirements-dev.txt"
    found, locked = environment(lock), pins((rolekit.ROOT / lock).read_text(encoding="utf-8"))
    users = {**found, "pytest": {**found["pytest"], "requires": [*found["pytest"]["requires"], "requests[socks]>=2"]}}
    assert open_ends(locked, users) == ["pytest wants requests[socks]>=2"]
    assert open_ends({**locked, "requests": Pin("1.0", frozenset({"socks"}))}, users)
    assert open_ends({name: pin for name, pin in locked.items() if name != "pluggy"}, found)


@pytest.mark.parametrize("lock", LOCKS)
def test_the_lock_installs_the_same_on_a_day_when_everything_is_newer(lock: str, tmp_path: Path) -> None:
    text = (rolekit.ROOT / lock).read_text(encoding="utf-8")
    came, told = install(lock, text, install_options(lock), tmp_path)
    assert came == {name: pin.version for name, pin in pins(text).items()}, told


def test_a_lock_that_leaves_something_out_fails_on_such_a_day(tmp_path: Path) -> None:
    """The index of newer versions shows it, whatever this pip makes of extras that were stripped."""
    lock = "app/requirements-dev.lock"
    text = re.sub(r"^coverage\b.*?(?=^\w)", "", (rolekit.ROOT / lock).read_text(encoding="utf-8"), flags=re.M | re.S)
    came, told = install(lock, text, ["--require-hashes"], tmp_path)
    assert not came and re.search("must have their versions pinned|DO NOT MATCH THE HASHES", told), told
