"""What the action plugins share: which run this is, who started it and where, and what it knows of the VPS.

Ansible loads an action plugin, and with it this file, in its main process before it forks a worker for each task. What
is decided while the file is loaded is therefore the same for all tasks of one ansible-playbook, and of no other.
"""

from __future__ import annotations

import getpass
import multiprocessing
import os
import socket
import uuid
from typing import Any, Dict, Mapping, Optional

STATE = "landfall_state"
DECLARED = "landfall_declared_"
_SPACE = uuid.UUID("6d1d6f1c-9c0e-4f0c-9f3e-2f6f5ad0a0c5")


def _read(path: str) -> str:
    """Text of a file of /proc, or nothing where the controller has none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as handle:
            return handle.read().strip()
    except OSError:
        return ""


def started(pid: int) -> str:
    """When the kernel started this process, in its own clock ticks since the boot; empty if there is none such."""
    # The second field is the program's name, in brackets, and may hold anything
    fields = _read("/proc/{0}/stat".format(pid)).rpartition(")")[2].split()
    return fields[19] if len(fields) > 19 else ""


def _namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _place(pid: int) -> Dict[str, Any]:
    """The process ``pid`` as nobody else on earth has it, as far as the kernel tells."""
    return {
        "pid": pid,
        "started": started(pid),
        "boot_id": _read("/proc/sys/kernel/random/boot_id"),
        "pid_ns": _namespace(),
    }


def _identity() -> Dict[str, Any]:
    if multiprocessing.parent_process() is None:
        return {**_place(os.getpid()), "run": str(uuid.uuid4())}
    # A worker whose parent did not load this file (a strategy plugin of somebody's): all its siblings get the same
    place = _place(os.getppid())
    return {**place, "run": str(uuid.uuid5(_SPACE, repr((socket.gethostname(), sorted(place.items())))))}


_SELF = _identity()


def run_id() -> str:
    """A uuid, the same for all tasks of one ansible-playbook and different for any other, wherever it runs."""
    return str(_SELF["run"])


def lives() -> bool:
    """Whether the main process of this run is still there."""
    return started(_SELF["pid"]) == _SELF["started"] if _SELF["started"] else _there(_SELF["pid"])


def _there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # the user of a container that is in no passwd file
        return "uid {0}".format(os.getuid())


def who() -> str:
    """User and machine that the run was started from: for people, it identifies nothing."""
    return "{0}@{1}".format(_user(), socket.gethostname())


def holder() -> Dict[str, Any]:
    """Who runs and where: ``who``, ``host``, ``pid``, ``started`` (clock ticks), ``boot_id`` and ``pid_ns`` (texts)."""
    place = {key: value for key, value in _SELF.items() if key != "run"}
    return {"who": who(), "host": socket.gethostname(), **place}


def proven_dead(other: Optional[Mapping[str, Any]]) -> bool:
    """Whether the run that ``other`` (from ``holder``) describes was a process of this kernel, here, and is gone.

    False whenever that cannot be known: another machine, a boot before, another container, or no /proc.
    """
    mine = holder()
    if not isinstance(other, Mapping):
        return False
    if not all(mine[key] and mine[key] == other.get(key) for key in ("host", "boot_id", "pid_ns")):
        return False
    pid, then = other.get("pid"), other.get("started")
    if not isinstance(pid, int) or isinstance(pid, bool) or pid <= 0 or not then:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):  # somebody else's process; or no number that a process can have
        pass
    now = started(pid)  # empty where /proc hides other people's processes
    return bool(now) and now != then


def dead_run(lock: Optional[Mapping[str, Any]]) -> str:
    """The run that has a lock, if what the lock tells of its ``holder`` proves that it is gone; empty otherwise."""
    return str(lock.get("run") or "") if isinstance(lock, Mapping) and proven_dead(lock.get("holder")) else ""


def known_state(task_vars: Mapping[str, Any]) -> Optional[Dict[str, Any]]:
    """What this run read of this host, or None: a fact that another run left in a cache is nobody's knowledge."""
    state = (task_vars.get("ansible_facts") or {}).get(STATE)
    return dict(state) if isinstance(state, Mapping) and is_current(state) else None


def known_records(task_vars: Mapping[str, Any]) -> Mapping[str, Any]:
    """The records of ``known_state``, empty where nothing is known; the rest of the state is not evaluated."""
    state = (task_vars.get("ansible_facts") or {}).get(STATE)
    records: Mapping[str, Any] = {}
    if isinstance(state, Mapping) and is_current(state):
        records = state.get("records") or {}
    return records


def known_expected(task_vars: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the play of this run that read this host expects there, ``{roles, enabled}``; empty where none did."""
    state = (task_vars.get("ansible_facts") or {}).get(STATE)
    left: Mapping[str, Any] = {}
    if isinstance(state, Mapping) and is_current(state):
        left = state.get("expected") or {}
    return left


def is_current(state: Any) -> bool:
    """Whether this run, and no other, read ``state``."""
    return isinstance(state, Mapping) and state.get("run") == run_id()


def as_fact(state: Mapping[str, Any]) -> Dict[str, Any]:
    """``state`` as facts to return, marked as what this run knows."""
    return {STATE: {**state, "run": run_id()}}


def declared_fact(component: str, found: Mapping[str, Any]) -> Dict[str, Any]:
    """What a task says of a component when it only compares, as facts to return, marked as of this run."""
    return {DECLARED + component: {**found, "run": run_id()}}


def declared(task_vars: Mapping[str, Any]) -> Dict[str, Dict[str, Any]]:
    """What the tasks of this run said of components (component to what ``declared_fact`` was given)."""
    facts = task_vars.get("ansible_facts") or {}
    return {
        name[len(DECLARED) :]: dict(value)
        for name, value in facts.items()
        if name.startswith(DECLARED) and is_current(value)
    }
