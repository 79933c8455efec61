"""`make clean-room`: what it takes along from this machine, and what not. Docker and root are fakes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import rolekit

DOCKER = """#!{python}
import json, os, sys
argv = sys.argv[1:]
if argv[0] == "run":
    work = argv[argv.index("--workdir") + 1]
    seen = {{"argv": argv, "files": sorted(os.listdir(work))}}
    json.dump(seen, open("{told}", "w"))
    sys.exit({status})
"""
GIT = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}


class Room:
    """A checkout with the script, and programs that only tell what they are asked."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.told, self.home = folder, folder / "told.json", folder / "home"
        self.project = folder / "project"
        for name in ("project/scripts", "project/molecule", "bin", "home/.config/pip", "tmp"):
            (folder / name).mkdir(parents=True)
        shutil.copy(rolekit.ROOT / "scripts/clean-room.sh", self.project / "scripts")
        self.program(self.project / "molecule/engine.sh", "#!/bin/sh\n")
        self.program(folder / "bin/id", "#!/bin/sh\necho 0\n")
        for argv in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "x"]):
            subprocess.run(["git", *argv], cwd=self.project, env={**os.environ, **GIT}, check=True)
        (self.project / "not-committed").write_text("")

    @staticmethod
    def program(path: Path, text: str) -> None:
        path.write_text(text)
        path.chmod(0o755)

    def run(self, *command: str, status: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the script; ``status`` is what the command in the room ends with."""
        self.program(self.folder / "bin/docker", DOCKER.format(python=sys.executable, told=self.told, status=status))
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        mine = {"PATH": path, "HOME": str(self.home), "TMPDIR": str(self.folder / "tmp"), **environment}
        argv = [str(self.project / "scripts/clean-room.sh"), *command]
        return subprocess.run(argv, env=mine, capture_output=True, text=True, check=False)

    def asked(self) -> tuple[list[str], list[str]]:
        """The arguments of docker run, and the files of the room's checkout."""
        seen = json.loads(self.told.read_text())
        return seen["argv"], seen["files"]


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


def after(argv: list[str], option: str) -> set[str]:
    return {value for name, value in zip(argv, argv[1:]) if name == option}


def test_the_room_holds_what_is_committed_at_the_same_path_as_outside(room: Room) -> None:
    done = room.run("make", "lint")
    assert done.returncode == 0, done.stderr
    argv, files = room.asked()
    work = Path(argv[argv.index("--workdir") + 1]).parent
    assert f"{work}:{work}" in after(argv, "--volume") and f"TMPDIR={work}" in after(argv, "--env")
    assert files == [".git", "molecule", "scripts"]
    assert "not committed" in done.stderr
    assert argv[-2:] == ["make", "lint"]
    assert not work.exists(), "removed, since it succeeded"


def test_without_a_command_it_is_ci(room: Room) -> None:
    room.run()
    assert room.asked()[0][-2:] == ["bash", ".ci/run"]


def test_the_way_to_the_world_comes_along_and_no_value_is_seen(room: Room) -> None:
    (room.home / ".config/pip/pip.conf").write_text("")
    room.run("true", https_proxy="http://user:s3cret@proxy:3128", PIP_INDEX_URL="https://s3cret@index/simple", JOBS="1",
             PIP_FIND_LINKS="/wheels", VIRTUAL_ENV="/venv", SSH_AUTH_SOCK="/agent", GOPRIVATE="x")  # fmt: skip
    argv, _files = room.asked()
    assert after(argv, "--env") >= {"https_proxy", "PIP_INDEX_URL", "JOBS", "GOPRIVATE", "CI=true"}
    assert not after(argv, "--env") & {"PIP_FIND_LINKS", "VIRTUAL_ENV", "SSH_AUTH_SOCK", "PATH", "HOME"}
    assert "s3cret" not in " ".join(argv)
    assert f"{room.home}/.config/pip:/root/.config/pip:ro" in after(argv, "--volume")
    assert after(argv, "--network") == {"host"}


def test_a_failure_is_handed_on_and_its_clone_kept(room: Room) -> None:
    done = room.run("make", "unit", status=2)
    assert done.returncode == 2
    kept = Path(done.stderr.split("left in ")[1].strip())
    assert (kept / "scripts/clean-room.sh").is_file()


@pytest.mark.parametrize("suite", ["bullseye", "", "bookworm "])
def test_another_suite_is_refused(room: Room, suite: str) -> None:
    done = room.run("true", SUITE=suite)
    assert (done.returncode, room.told.exists()) == ((2, False) if suite else (0, True))
    assert ("SUITE: must be bookworm or trixie" in done.stderr) == bool(suite)


def test_who_is_not_root_is_told_so(room: Room) -> None:
    room.program(room.folder / "bin/id", "#!/bin/sh\necho 1000\n")
    done = room.run("true")
    assert done.returncode == 2 and "as root" in done.stderr
