"""The test bed without an engine: what it builds, when it builds anew, how a VPS is reached."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "molecule"))

from testbed import catalog, debian, report, vps

from tests import rolekit

PIN = re.compile(r"^(\w+)_image:\s*[\"']?([^\s\"'#{]+)", re.MULTILINE)


def pins() -> dict[str, str]:
    """Return role -> the reference that it pins, without those built from this repository."""
    found = {}
    for path in sorted((ROOT / "roles").glob("*/defaults/main.yml")):
        for role, reference in PIN.findall(path.read_text()):
            if role == path.parents[1].name and not reference.startswith("landfall/"):
                found[role] = reference
    return found


def test_every_image_that_a_role_pins_is_built_offline() -> None:
    built = {image.reference for image in catalog.load().values()}
    stack = {role: reference for role, reference in pins().items() if role in rolekit.stack_names()}
    assert stack and not {role: reference for role, reference in stack.items() if reference not in built}


def test_every_image_of_the_catalogue_has_a_folder_or_is_a_root_file_system() -> None:
    for image in catalog.load().values():
        assert image.rootfs or (image.folder / "Dockerfile").is_file(), image.name


def test_a_base_stands_before_what_is_built_on_it() -> None:
    seen: set[str] = set()
    for name, image in catalog.load().items():
        assert not image.base or image.base in seen, name
        seen.add(name)


def test_a_role_that_does_not_exist_leaves_the_reference_of_the_catalogue() -> None:
    assert catalog.pinned("no_such_role", "example.org/x:1") == "example.org/x:1"


def test_the_recipe_changes_with_every_input_and_with_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    image = catalog.Image(name="x", folder=tmp_path, reference="x:1", debs=("a",))
    first = catalog.recipe_digest(image, "base")
    assert catalog.recipe_digest(replace(image, reference="x:2"), "base") == first
    assert catalog.recipe_digest(image, "other base") != first
    assert catalog.recipe_digest(replace(image, debs=("a", "b")), "base") != first
    (tmp_path / "Dockerfile").chmod(0o755)
    assert catalog.recipe_digest(image, "base") != first
    (tmp_path / "Dockerfile").chmod(0o644)
    assert catalog.recipe_digest(image, "base") == first
    (tmp_path / "more").write_text("")
    assert catalog.recipe_digest(image, "base") != first


def test_a_released_suite_brings_its_security_fixes() -> None:
    assert re.search(r"-security trixie-security main$", debian.sources("trixie"), re.MULTILINE)
    assert "security" not in debian.sources("forky")


def test_the_ssh_configuration_names_each_vps_and_trusts_its_key_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vps, "HOME", tmp_path)
    monkeypatch.setattr(vps, "SSH_CONFIG", tmp_path / "ssh_config")
    (tmp_path / "one").mkdir()
    (tmp_path / "one/port").write_text("2200")
    vps.write_ssh_config()
    text = (tmp_path / "ssh_config").read_text()
    assert re.search(r"^Host one$.*^  Port 2200$.*^  StrictHostKeyChecking yes$", text, re.MULTILINE | re.DOTALL)
    assert f"{tmp_path}/one/known_hosts" in text


def test_the_report_keeps_what_others_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "benchmarks.md"
    page.write_text("# Benchmarks\n\n## The application\n\n42\n")
    monkeypatch.setattr(report, "PAGE", page)
    monkeypatch.setattr(report, "CACHE", tmp_path)
    (tmp_path / "bench").mkdir()
    results = report.Results(
        deploy={"first deploy": [3.0], "first deploy: compose by hand": [2.0]},
        phases={"landfall": {"trivial": [1.0, 1.0, 2.0], "no-op": [2.5, 2.0, 2.1], "back": [9.0]}},
        fleet={"1 host": [1.0], "10 hosts": [2.0]},
        images={},
        components=2,
        host="26.1 2.26",
        loads={"unchanged": 1.5},
    )
    report.write(results)
    report.write(results)
    text = page.read_text()
    assert text.startswith("# Benchmarks\n\n## The application\n\n42\n")
    assert text.count(report.BEGIN) == text.count(report.END) == 1
    assert "| no-op | 2.10 | 2.00 to 2.50 (3 runs) | 2.10 | at most 1.5: missed |" in text
    assert "at the end of each part:\nunchanged 1.5; of 15 minutes" in text
    assert "| first deploy | 3.00 | 3.00 to 3.00 (1 runs) | 1.50 | at most 1.5: met |" in text
    assert "| back |" not in text


def test_two_processes_that_download_wait_for_each_other(tmp_path: Path) -> None:
    """Stages run side by side; apt itself ends with an error where another holds its folder."""
    apt = tmp_path / "bin/apt-get"
    apt.parent.mkdir()
    apt.write_text(f"#!/bin/sh\nmkdir {tmp_path}/held || exit 100\nsleep 0.2\nrmdir {tmp_path}/held\n: >tool.deb\n")
    apt.chmod(0o755)
    code = (
        "import pathlib, sys; from testbed import debian; debian.CACHE = pathlib.Path(sys.argv[1]); "
        "debian.mirror = lambda: 'http://192.0.2.1/debian'; debian.download('forky', ('tool',))"
    )
    environment = {"PATH": f"{apt.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT / "molecule")}
    command = [sys.executable, "-c", code, str(tmp_path)]
    both = [
        subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    assert [(process.communicate(timeout=60)[1], process.returncode) for process in both] == [("", 0), ("", 0)]
