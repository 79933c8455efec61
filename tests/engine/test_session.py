"""Which run is which: nobody's else, the same for all its tasks, and dead only where that is proven."""

from __future__ import annotations

import getpass
import json
import multiprocessing
import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.landfall.vps.plugins.module_utils import lease
from ansible_collections.landfall.vps.plugins.module_utils.lock import Lock, Locked
from ansible_collections.landfall.vps.plugins.plugin_utils import session

ROOT = Path(__file__).resolve().parents[2]
ACTION = """
from ansible.plugins.action import ActionBase
from ansible_collections.landfall.vps.plugins.plugin_utils import session
class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        import os
        return {"changed": False, "msg": "run=%s worker=%s." % (session.run_id(), os.getpid())}
"""


def runs(tmp_path: Path, strategy: str, serial: int) -> list[list[str]]:
    """(run, worker) of each task of one real ansible-playbook over three hosts, forked."""
    folder = tmp_path / "action_plugins"
    folder.mkdir(exist_ok=True)
    (folder / "identify.py").write_text(ACTION)
    (tmp_path / "play.yml").write_text(
        json.dumps(
            [
                {
                    "hosts": "all",
                    "gather_facts": False,
                    "serial": serial,
                    "strategy": strategy,
                    "tasks": [{"identify": {}}, {"identify": {}}],
                }
            ]
        )
    )
    done = subprocess.run(
        [str(Path(sys.executable).with_name("ansible-playbook")), "-v", "-i", "a,b,c", "play.yml"],
        cwd=tmp_path,
        env={
            **os.environ,
            "ANSIBLE_CONFIG": str(tmp_path / "none.cfg"),
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"),
            "ANSIBLE_ACTION_PLUGINS": str(folder),
            "ANSIBLE_NOCOLOR": "1",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [part.split(".")[0].split(" worker=") for part in done.stdout.split("run=")[1:]]


@pytest.mark.parametrize(("strategy", "serial"), [("linear", 3), ("free", 3), ("host_pinned", 3), ("linear", 1)])
def test_all_tasks_of_a_run_have_one_identity_and_two_runs_have_two(tmp_path: Path, strategy: str, serial: int) -> None:
    first, second = (runs(tmp_path, strategy, serial) for _ in range(2))
    assert len(first) == len(second) == 6
    assert len({worker for _run, worker in first}) == 6, "each task is a process of its own, or this proves nothing"
    assert len({run for run, _worker in first}) == 1
    assert {run for run, _worker in first} != {run for run, _worker in second}
    assert uuid.UUID(first[0][0]).version == 4


def test_a_worker_whose_parent_knows_nothing_agrees_with_its_siblings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multiprocessing, "parent_process", object)
    assert session._identity() == session._identity()
    assert session._identity()["pid"] == os.getppid()


@pytest.mark.parametrize("error", [KeyError("uid not found"), OSError("No username set in the environment")])
def test_who_has_no_name_is_told_by_number(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def nobody() -> str:
        raise error

    monkeypatch.setattr(getpass, "getuser", nobody)
    assert session.who().startswith(f"uid {os.getuid()}@")


def other(**changes: Any) -> dict[str, Any]:
    return {**session.holder(), **changes}


def test_a_run_that_ended_here_is_proven_dead_and_one_that_works_is_not() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        told = other(pid=process.pid, started=session.started(process.pid))
        assert not session.proven_dead(told)
        process.kill()
        process.wait()
        assert session.proven_dead(told)
    assert session.dead_run({"run": "x", "holder": told}) == "x"


@pytest.mark.parametrize(
    ("changes", "dead"),
    [
        ({}, False),  # this very process
        ({"started": "1"}, True),  # its number was given to another process
        ({"started": "1", "pid_ns": "pid:[1]"}, False),  # a container with the same name and number
        ({"started": "1", "host": "elsewhere"}, False),
        ({"started": "1", "boot_id": "x"}, False),  # before the last boot the number meant something else
        ({"started": ""}, False),
        ({"pid": 0, "started": "1"}, False),  # 0 and -1 would ask all processes of a group
        ({"pid": -1, "started": "1"}, False),
        ({"pid": "1", "started": "1"}, False),
        ({"pid": 2**70, "started": "1"}, False),
        ({"pid": None}, False),
    ],
)
def test_what_is_not_proven_is_not_dead(changes: dict[str, Any], dead: bool) -> None:
    assert session.proven_dead(other(**changes)) is dead


def test_a_lock_tells_who_has_it_so_that_the_next_run_need_not_wait_for_a_lease_to_end(tmp_path: Path) -> None:
    """As when a whole job is killed, and the keeper of its lock with it: nobody is left to give the lease back."""

    def lock_file() -> Any:
        return json.loads((tmp_path / ".state" / "lock").read_text())

    with subprocess.Popen(["sleep", "60"]) as process:
        told = other(pid=process.pid, started=session.started(process.pid))
        for lock in (Lock(str(tmp_path), "1", "anna", holder=told), Lock(str(tmp_path), "1", "anna")):
            lock.acquire("redis: planning")  # not each program of a run is told where it comes from
            lock.doing("redis: recreated")
            lock.keep()
        assert lease.renew(str(tmp_path), "1", "anna") == {"held": True}
        assert session.dead_run(lock_file()) == ""
        process.kill()
        process.wait()
    dead = session.dead_run(lock_file())
    assert dead == "1"
    with pytest.raises(Locked):
        Lock(str(tmp_path), "2", "ben").acquire("redis: planning")
    Lock(str(tmp_path), "2", "ben", dead, session.holder()).acquire("redis: planning")
    assert lock_file()["holder"] == session.holder()


@pytest.mark.parametrize("lock", [None, {}, {"run": "host:1", "who": "anna"}, {"run": "x", "holder": "me"}, []])
def test_a_lock_that_does_not_tell_its_holder_proves_nothing(lock: Any) -> None:
    assert session.dead_run(lock) == ""


def test_two_containers_with_one_name_and_one_number_are_two(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = session.holder()
    monkeypatch.setattr(session, "_SELF", {**session._SELF, "run": str(uuid.uuid4()), "pid_ns": "pid:[7]"})
    assert (session.holder()["host"], session.holder()["pid"]) == (mine["host"], mine["pid"])
    assert not session.proven_dead(mine)


@pytest.mark.parametrize("fact", [None, {}, {"records": {}}, {"run": "another", "records": {}}])
def test_a_fact_of_another_run_is_no_knowledge(fact: Any) -> None:
    assert session.known_state({"ansible_facts": {"landfall_state": fact}}) is None
    assert session.known_records({"ansible_facts": {"landfall_state": fact}}) == {}
    assert not session.is_current(fact)


def test_what_this_run_read_is_known_to_it() -> None:
    fact = session.as_fact({"records": {}})
    assert session.known_state({"ansible_facts": fact}) == {"records": {}, "run": session.run_id()}
    fact = session.as_fact({"records": {"redis": {}}})
    assert session.known_records({"ansible_facts": fact}) == {"redis": {}}
