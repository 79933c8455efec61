"""`make sanity`: ansible-test's sanity checks on the assembled collection, one after another, with what each said.

Their requirements come from PyPI into environments of their own in build/sanity; pip comes with Python, since the
script that ansible-test would fetch it with lies on another server. What cannot run here is named with the reason.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from scripts import collection  # noqa: E402 - found from wherever this program is started

FOLDER = ROOT / "build/sanity"
HOME = FOLDER / "ansible_collections/landfall/vps"
# Stands for the script that fetches pip; ansible-test takes what lies in its cache
PIP = '"""Installs the pip that comes with Python."""\n\nimport ensurepip\n\nensurepip.bootstrap()\n'
# files, what is not asked of them, why
EXCEPTIONS = (
    ("plugins/modules/*.py", "validate-modules:missing-gplv3-license", "the collection has the MIT licence"),
    ("plugins/lookup/*.py", "validate-modules:missing-gplv3-license", "the collection has the MIT licence"),
    (
        "plugins/lookup/*.py",
        "validate-modules:import-before-documentation",
        "the repository's linter wants imports first",
    ),
    *(
        (f"plugins/{kind}/*.py", "import-{python}!skip", "the controller's plugins share a finder of compiled modules")
        for kind in ("action", "filter", "lookup", "test", "plugin_utils")
    ),
    ("plugins/module_utils/timer_program.py", "shebang!skip", "is copied to the VPS, where systemd starts it"),
    ("plugins/plugin_utils/quoting.py", "replace-urlopen!skip", "writes a command for containers without Ansible"),
)
# What a check says that lacks something which this machine does not have, and what that is
LACKING = {
    "Name or service not known": "a server that is not reached from here",
    'Required program "pwsh" not found': "PowerShell",
    "pwsh": "PowerShell",
    "shellcheck": "shellcheck",
}


def python() -> str:
    """The version of Python that runs this."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def program(*argv: str, seconds: float = 1200) -> tuple[int, str]:
    """Run ansible-test in the collection; return its status and what it said."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    kept = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
    own = {"HOME": str(FOLDER / "home"), "PATH": path, "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        ["ansible-test", *argv], cwd=HOME, env={**kept, **own}, stdin=subprocess.DEVNULL, timeout=seconds,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout


def core() -> str:
    """The version of ansible-core, two numbers."""
    done = subprocess.run(
        [sys.executable, "-c", "import ansible.release as r; print(r.__version__)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return ".".join(done.stdout.split(".")[:2])


def prepare() -> None:
    """Assemble the collection, with its exceptions, as ansible-test wants to find it."""
    kept = FOLDER / "home"
    if (FOLDER / "ansible_collections").exists():
        shutil.rmtree(FOLDER / "ansible_collections")
    collection.assemble(HOME)
    lines = [
        f"{path.relative_to(HOME).as_posix()} {code.format(python=python())} # {why}"
        for pattern, code, why in EXCEPTIONS
        for path in sorted(HOME.glob(pattern))
    ]
    (HOME / "tests/sanity").mkdir(parents=True)
    (HOME / f"tests/sanity/ignore-{core()}.txt").write_text("\n".join(lines) + "\n", "utf-8")
    cache = kept / ".ansible/test/cache"
    cache.mkdir(parents=True, exist_ok=True)
    for version in ("20_3_4", "21_3_1", "24_2"):
        (cache / f"get_pip_{version}.py").write_text(PIP, "utf-8")
    for argv in (("init", "--quiet"), ("add", "--all")):
        subprocess.run(["git", *argv], cwd=HOME, check=True)


def verdict(status: int, said: str) -> str:
    """Say in words how a check ended."""
    if status == 0 and "WARNING: Skipping sanity test" not in said:
        return "passed"
    lacking = [what for sign, what in LACKING.items() if sign in said]
    if "Found " not in said and lacking:
        return f"not run: needs {lacking[0]}"
    return (
        "not run: " + said.partition("Skipping sanity test")[2].splitlines()[0].strip(" :") if status == 0 else "FAILED"
    )


def main() -> int:
    """Run all checks, or those that are named; return 0 if none found something, else 1."""
    parser = argparse.ArgumentParser(prog="sanity", description=__doc__)
    parser.add_argument("test", nargs="*", help="names of ansible-test; all by default")
    args = parser.parse_args()
    prepare()
    _status, listed = program("sanity", "--list-tests")
    known = [line for line in listed.splitlines() if line and " " not in line and ":" not in line]
    bad = 0
    for name in args.test or known:
        start = time.monotonic()
        status, said = program("sanity", "--test", name, "--python", python())
        ended = verdict(status, said)
        sys.stdout.write(f"{name:24} {time.monotonic() - start:6.1f} s  {ended}\n")
        sys.stdout.flush()
        if ended == "FAILED":
            bad += 1
            sys.stdout.write(
                "".join(f"  {line}\n" for line in said.splitlines() if line.startswith(("ERROR", "FATAL")))
            )
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
