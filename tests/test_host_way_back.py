"""A change of SSH or of the firewall that nobody confirms is undone, and who comes too late is told what to do."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path
from typing import Any, Dict, List

import pytest

from tests import rolekit

HOME = rolekit.ROLES / "host" / "files" / "config"
ACCESS = rolekit.ROLES / "host" / "tasks" / "access.yml"

PROGRAM = """#!/bin/sh
echo "$(basename "$0") $*" >>"$LOG"
"""


class Machine:
    """The program `undo` in a folder instead of a VPS, with programs that only note how they were called."""

    def __init__(self, home: Path) -> None:
        self.home, self.log, self.told = home, home / "log", ""
        text = (HOME / "undo.sh").read_text()
        for place in ("/etc/", "/var/"):
            text = text.replace(place, f"{home}{place}")
        (home / "undo").write_text(text)
        for folder in ("etc/ssh/sshd_config.d", "etc/landfall", "var/lib/landfall", "bin"):
            (home / folder).mkdir(parents=True)
        for name in ("systemctl", "nft", "sshd", "sync"):
            self.stub(name, "")
        self.sshd = home / "etc/ssh/sshd_config.d/00-landfall.conf"
        self.wall = home / "etc/landfall/firewall.nft"

    def stub(self, name: str, more: str) -> None:
        (self.home / "bin" / name).write_text(PROGRAM + more + "\n")
        (self.home / "bin" / name).chmod(0o755)

    def start(self, *words: str) -> subprocess.Popen[str]:
        environment = {"PATH": f"{self.home}/bin:/usr/bin:/bin", "LOG": str(self.log)}
        return subprocess.Popen(
            ["sh", str(self.home / "undo"), *words], env=environment, stdout=subprocess.PIPE, text=True
        )

    def undo(self, *words: str) -> int:
        with self.start(*words) as process:
            self.told = process.communicate(timeout=60)[0]
        return process.returncode

    def said(self) -> str:
        return self.log.read_text() if self.log.exists() else ""


def test_what_nobody_confirmed_is_as_it_was(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.sshd.write_text("before")
    assert machine.undo("arm") == 0
    assert "systemctl restart landfall-undo.timer" in machine.said()
    machine.sshd.write_text("after")
    machine.wall.write_text("new")
    assert machine.undo("undo") == 0
    assert (machine.sshd.read_text(), machine.wall.exists()) == ("before", False)
    assert "systemctl try-reload-or-restart ssh.service" in machine.said()
    assert "nft delete table inet landfall" in machine.said()
    assert machine.undo("confirm") == 1, "what was undone is not taken for confirmed"


def test_what_was_confirmed_stays(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    assert machine.undo("arm") == 0
    machine.sshd.write_text("after")
    assert machine.undo("confirm") == 0
    assert "systemctl stop landfall-undo.timer" in machine.said()
    assert machine.undo("undo") == 0
    assert machine.sshd.read_text() == "after"


def test_a_second_change_does_not_take_an_unconfirmed_one_for_the_state_before(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.wall.write_text("before")
    machine.undo("arm")
    machine.wall.write_text("locks out")
    machine.undo("arm")
    assert machine.wall.read_text() == "before"
    machine.wall.write_text("locks out, too")
    machine.undo("undo")
    assert machine.wall.read_text() == "before"
    assert f"nft -f {machine.wall}" in machine.said()


def test_what_comes_after_the_undo_is_not_written_and_a_late_confirmation_is_refused(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.undo("arm")
    assert machine.undo("armed", "touch", str(tmp_path / "written")) == 0
    assert (tmp_path / "written").exists()
    assert machine.undo("armed", "false") == 1, "what checks the file has the last word"
    machine.undo("undo")
    assert machine.undo("armed", "touch", str(tmp_path / "written late")) == 1
    assert not (tmp_path / "written late").exists()
    assert machine.undo("confirm") == 1


def test_what_was_changed_after_the_undo_is_put_back_by_who_sees_it(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.wall.write_text("before")
    machine.undo("arm")
    machine.undo("undo")  # by the timer
    machine.wall.write_text("locks out")
    machine.undo("back")
    assert machine.wall.read_text() == "before"
    machine.wall.write_text("of another day")
    machine.undo("back")
    machine.undo("undo")
    assert machine.wall.read_text() == "of another day"


def test_who_puts_back_is_told_when_the_timer_came_first(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.undo("arm")
    machine.undo("back")
    assert "already" not in machine.told
    machine.undo("arm")
    machine.undo("undo")
    began = tmp_path / "var/lib/landfall/undo/began"
    then = int(began.read_text()) - 21
    began.write_text(str(then))
    machine.undo("back")
    now = int(float(Path("/proc/uptime").read_text().split()[0]))
    # Whole seconds, of which one or more may have passed meanwhile
    assert machine.told.strip() in {
        f"the change was undone already, {s} s after it began" for s in range(21, now - then + 1)
    }
    # A run that cannot even begin does not take an earlier one for its own
    machine.undo("arm")
    machine.undo("undo")
    machine.stub("mkdir", "exit 1")
    assert machine.undo("arm") == 1
    machine.undo("back")
    assert "already" not in machine.told


def test_a_confirmation_in_the_middle_of_the_undo_is_too_late(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.undo("arm")
    machine.wall.write_text("new")
    machine.stub("sshd", f"touch {tmp_path}/begun; sleep 1")
    with machine.start("undo") as undo:
        while not (tmp_path / "begun").exists() and undo.poll() is None:
            time.sleep(0.01)
        assert machine.undo("confirm") == 1
    assert not machine.wall.exists()


# -- what is said ------------------------------------------------------------------------------------------------------


def said(tmp_path: Path, put_back: str, second: Dict[str, Any] | None = None, failed: str = "refused") -> str:
    """What a run ends with that was not confirmed."""
    (block,) = [task for task in rolekit.load(ACCESS) if "rescue" in task]
    (tells,) = [task for task in block["rescue"] if "ansible.builtin.fail" in task]
    variables = {**rolekit.inventory(tmp_path), "host_confirm_seconds": 15, "host_put_back": {"stdout": put_back},
                 "ansible_failed_result": {"msg": failed}, **({"host_second": second} if second else {})}  # fmt: skip
    variables.update({name: rolekit.trusted(value) for name, value in tells.get("vars", {}).items()})
    return " ".join(str(rolekit.template(tells["ansible.builtin.fail"]["msg"], variables)).split())


LATE = "put back: the change was undone already, 21 s after it began"
SECOND: Dict[str, Dict[str, Any]] = {
    "came": {"changed": False, "failed": False, "rc": 0},
    "did not come": {"changed": False, "unreachable": True, "msg": "timed out"},
}


@pytest.mark.parametrize("second", [None, SECOND["came"]], ids=["before it", "after it"])
def test_who_was_too_slow_to_confirm_is_told_the_variable_and_the_remedy(tmp_path: Path, second: Any) -> None:
    text = said(tmp_path, LATE, second)
    assert text.startswith("host_confirm_seconds: ")
    assert "SSH and the firewall are as they were before" in text
    assert "undid it by itself after 15 s" in text
    assert text.endswith("set host_confirm_seconds to more than 21")
    assert "refused" not in text, "what failed, failed because of that"


def test_who_did_not_come_is_not_told_to_wait_longer(tmp_path: Path) -> None:
    for put_back in ("", LATE):
        text = said(tmp_path, put_back, SECOND["did not come"], "no second connection came through: timed out")
        assert text == (
            "SSH and the firewall are as they were before: no second connection came through: timed out"
        )  # fmt: skip
    assert "host_confirm_seconds" not in said(tmp_path, "put back", SECOND["came"])
    # The timer may have come a little before its time is up by the clock of seconds
    assert said(tmp_path, LATE.replace("21", "14")).endswith("set host_confirm_seconds to more than 15")


def test_nothing_is_written_but_while_the_undo_waits() -> None:
    (block,) = [task for task in rolekit.load(ACCESS) if "rescue" in task]
    names: List[Dict[str, Any]] = [task["ansible.builtin.template"] for task in block["block"] if
                                   "ansible.builtin.template" in task]  # fmt: skip
    assert len(names) == 2
    assert all(one["validate"].startswith("/usr/local/lib/landfall/undo armed ") for one in names)


@pytest.mark.skipif(shutil.which("dash") is None, reason="no dash on this machine, which is Debian's sh")
@pytest.mark.parametrize("name", ["undo.sh"])
def test_programs_are_read_by_the_shell_of_debian(name: str) -> None:
    assert subprocess.run(["dash", "-n", str(HOME / name)], check=False).returncode == 0
