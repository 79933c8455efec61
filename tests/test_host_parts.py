"""Swap, time and guard of the role host: what an operator has of his own is neither replaced nor taken away."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any, Dict, List

import pytest

from tests import rolekit
from tests.test_host import look

__all__ = ["look"]
TASKS = rolekit.ROLES / "host" / "tasks"
GIGABYTE = 1_000_000_000
SEEN: Dict[str, Any] = {"container": False, "swap": 0, "memory": 2 * GIGABYTE, "room": 20 * GIGABYTE, "swapfile": "",
                        "missing": ["systemd-timesyncd", "sshguard"], "active": [], "enabled": [], "before": {},
                        "faults": []}  # fmt: skip


def variables(tmp_path: Path, *, seen: Dict[str, Any] | None = None, **values: Any) -> Dict[str, Any]:
    """What the tasks see, with what tasks/host.yml makes of the look at the VPS."""
    (parts,) = [task for task in rolekit.load(TASKS / "host.yml") if "ansible.builtin.include_tasks" in task]
    made = {name: value for name, value in parts["vars"].items() if name != "host_look"}
    return {**rolekit.inventory(tmp_path), **rolekit.trusted(made), "host_look": {**SEEN, **(seen or {})}, **values}


def task_of(file: str, name: str) -> Dict[str, Any]:
    (found,) = [task for task in rolekit.load(TASKS / file) if task["name"] == name]
    return dict(found)


def holds(condition: Any, known: Dict[str, Any]) -> bool:
    conditions = condition if isinstance(condition, list) else [condition]
    return all(rolekit.template(rolekit.trusted("{{ " + one + " }}"), known) for one in conditions)


# -- swap --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seen", "values", "added"),
    [
        ({}, {}, True),
        ({"swapfile": "own"}, {}, True),  # an earlier run was interrupted
        ({"memory": 4 * GIGABYTE}, {}, False),
        ({"memory": 4 * GIGABYTE}, {"host_swap_below": "5GB"}, True),
        ({"swap": 1}, {}, False),
        ({"container": True}, {}, False),
        ({"swapfile": "other"}, {}, False),
        ({}, {"host_swap": False}, False),
    ],
)
def test_swap_is_added_where_memory_is_small_and_there_is_none(
    tmp_path: Path, seen: Dict[str, Any], values: Dict[str, Any], added: bool
) -> None:
    assert holds(task_of("system.yml", "Add swap")["when"], variables(tmp_path, seen=seen, **values)) is added


def test_a_disk_is_not_filled_with_swap(tmp_path: Path) -> None:
    refuse = task_of("system.yml", "Add swap")["block"][0]
    known = variables(tmp_path, seen={"room": 2**30 + GIGABYTE - 1})
    assert holds(refuse["when"], known)
    told = rolekit.template(refuse["ansible.builtin.fail"]["msg"], known)
    assert "host_swap_size: 1GB do not fit" in told and "host_swap to false" in told
    assert not holds(refuse["when"], variables(tmp_path, seen={"room": 2**30 + GIGABYTE}))


def test_the_file_is_swap_that_nobody_else_reads(tmp_path: Path) -> None:
    (make,) = [one for one in task_of("system.yml", "Add swap")["block"] if "ansible.builtin.shell" in one]
    command = rolekit.template(make["ansible.builtin.shell"], variables(tmp_path, host_swap_size="2MB"))
    command = str(command).replace("/swapfile", f"{tmp_path}/swapfile")
    environment = {"PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"}
    done = subprocess.run(["sh", "-c", command], env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    file = tmp_path / "swapfile"
    assert (file.stat().st_mode & 0o777, file.stat().st_size) == (0o600, 2 * 2**20)
    page = os.sysconf("SC_PAGE_SIZE")
    assert file.read_bytes()[page - 10 : page] == b"SWAPSPACE2"
    assert not (tmp_path / "swapfile.new").exists()


def test_whose_a_swap_file_is(look: ModuleType) -> None:
    unit = (rolekit.ROLES / "host/files/config/swapfile.swap").read_text()
    assert [look.swapfile(unit, True), look.swapfile(unit, False)] == ["own", "own"]
    assert [look.swapfile("[Swap]\nWhat=/swapfile\n", True), look.swapfile("", True)] == ["other", "other"]
    assert look.swapfile("", False) == ""


def test_it_is_described_before_it_is_made() -> None:
    """Whose it is would else not be known of one that an interrupted run left."""
    steps = [one["name"] for one in task_of("system.yml", "Add swap")["block"]]
    assert steps.index("Describe it to systemd") < steps.index("Make the file")


# -- what is switched off ----------------------------------------------------------------------------------------------


def taken(tmp_path: Path, **known: Any) -> List[str]:
    """Files that go."""
    values = variables(tmp_path, **known)
    values.update(rolekit.trusted(task_of("off.yml", "End it")["vars"]))
    return [one["file"] for one in rolekit.template(rolekit.trusted("{{ host_off }}"), values)]


@pytest.mark.parametrize(("whose", "goes"), [("own", True), ("other", False), ("", False)])
def test_only_swap_of_this_role_is_taken_away(tmp_path: Path, whose: str, goes: bool) -> None:
    files = taken(tmp_path, seen={"swapfile": whose}, host_swap=False)
    found = [file for file in files if "swap" in file]
    # The unit goes last: it tells whose the file is
    assert found == (["/swapfile", "/etc/systemd/system/swapfile.swap"] if goes else [])
    assert not [file for file in taken(tmp_path, seen={"swapfile": whose}) if "swap" in file]


@pytest.mark.parametrize(
    ("before", "rests"), [({"host_guard": True}, True), ({"host_guard": False}, False), ({}, False)]
)
def test_only_a_guard_that_this_role_started_rests(tmp_path: Path, before: Dict[str, Any], rests: bool) -> None:
    rest = task_of("off.yml", "Let the guard rest")
    seen = {"before": before, "missing": []}
    assert holds(rest["when"], variables(tmp_path, seen=seen, host_guard=False)) is rests
    assert not holds(rest["when"], variables(tmp_path, seen=seen))


# -- time --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seen", "installed"),
    [
        ({}, True),
        ({"missing": ["sshguard"], "active": ["systemd-timesyncd"]}, False),
        ({"active": ["chrony"]}, False),
        # Its package would take the place of the other, also while that one is not running
        ({"enabled": ["chrony", "ntpsec"]}, False),
        ({"active": ["fail2ban"], "enabled": ["fail2ban"]}, True),
    ],
)
def test_the_time_is_kept_where_nobody_else_is_there_for_it(
    tmp_path: Path, seen: Dict[str, Any], installed: bool
) -> None:
    known = variables(tmp_path, seen=seen)
    packages = task_of("parts.yml", "Install what the parts need")["vars"]["host_packages"]
    assert ("systemd-timesyncd" in rolekit.template(rolekit.trusted(packages), known)) is installed
    starts = task_of("system.yml", "Keep the time, now and at boot")["when"]
    assert holds(starts, known) is (installed or "systemd-timesyncd" in SEEN["active"] + seen.get("active", []))


def test_servers_of_time_are_named(tmp_path: Path) -> None:
    text = (rolekit.ROLES / "host/templates/config/timesyncd.conf.j2").read_text()
    known = variables(tmp_path, host_time_servers=["ntp.example.org", "192.0.2.123"])
    assert "[Time]\nNTP=ntp.example.org 192.0.2.123" in str(rolekit.template(rolekit.trusted(text), known))
    assert "/etc/systemd/timesyncd.conf.d/landfall.conf" in taken(tmp_path), (
        "without any those of the distribution count"
    )
