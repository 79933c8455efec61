"""Brings a component's timers to what its record says: checked before the swap, linked, started, stopped, forgotten.

Everything here may be done twice: what a run that died began, the next one finishes, and going back is bringing the
timers to what the record of before says.
"""

from __future__ import annotations

import json
import os
from typing import Any, List, Mapping, Sequence

from ansible_collections.landfall.vps.plugins.module_utils import compose, timer_units
from ansible_collections.landfall.vps.plugins.module_utils.records import STATE_DIR

SECONDS = 60.0
STAMPS = "/var/lib/systemd/timers"
LABEL = "org.landfall.job"
PROGRAM = "run.py"
"""The program in the folder of units that runs one of them and reports on it, see ``timer_program``."""


def state_file(root: str, unit: str) -> str:
    """Where the program keeps how a timer's runs ended, and the paths of its reports."""
    return os.path.join(root, STATE_DIR, "timers", unit + ".json")


def check(root: str, component: str, staged: str, meta: Mapping[str, Any]) -> None:
    """Let systemd judge schedules and unit files, and Compose what a run changes of its service. Raises Refused."""
    timers: Sequence[Mapping[str, Any]] = meta.get("timers") or []
    if not timers:
        return
    for name in timer_units.names(timers):
        other = timer_units.owner(root, component, name)
        if other:
            raise compose.Refused(
                "the systemd unit {0} is there already as {1} and is not this stack's; rename the job, or set "
                "landfall_prefix so that this stack's names differ".format(name, other)
            )
    folder = os.path.join(staged, component, timer_units.FOLDER)
    for timer in timers:
        _calendar(timer)
    try:
        files = [os.path.join(folder, name) for name in timer_units.names(timers)]
        compose.run(["systemd-analyze", "verify", "--man=no", *files], SECONDS)
        for timer in timers:
            changes = os.path.join(folder, timer["unit"] + ".yaml")
            if os.path.exists(changes):  # not of what runs on the VPS itself
                compose.Project(os.path.join(staged, component), SECONDS).config(changes)
    except compose.CommandFailed as error:
        raise compose.Refused(str(error)) from error


def _calendar(timer: Mapping[str, Any]) -> None:
    for schedule in timer["schedule"]:
        try:
            compose.run(["systemd-analyze", "calendar", schedule], SECONDS)
        except compose.CommandFailed as error:
            raise compose.Refused(
                "schedule '{0}' of {1}: systemd does not understand it; write it as in OnCalendar, such as '*-*-* "
                "03:00:00' or 'Mon 04:30': {2}".format(schedule, timer["name"], error)
            ) from error


def converge(root: str, component: str, meta: Mapping[str, Any]) -> None:
    """Link, start and announce the timers that ``meta`` names; stop and forget all others of the component.

    The files are in place already, or gone. Raises CommandFailed or OSError.
    """
    timers: Sequence[Mapping[str, Any]] = meta.get("timers") or []
    wanted = timer_units.names(timers)
    stale = [name for name in timer_units.links(root, component) if name not in wanted]
    if not wanted and not stale:
        return
    _forget(root, stale)
    for name in wanted:
        place = timer_units.target(root, component, name)
        _link(place, os.path.join(timer_units.SYSTEM, name))
        if name.endswith(".timer"):
            _link(place, os.path.join(timer_units.SYSTEM, timer_units.WANTS, name))
    compose.run(["systemctl", "daemon-reload"], SECONDS)
    if not timers:
        return
    # A timer that is started anew makes up for what it missed and no more; a run that goes on is left alone
    compose.run(["systemctl", "restart", *(timer["unit"] + ".timer" for timer in timers)], SECONDS)
    program = timer_units.target(root, component, PROGRAM)
    compose.run(["python3", "-I", program, "note", *(timer["unit"] for timer in timers)], SECONDS)


def _forget(root: str, stale: List[str]) -> None:
    """Stop units whose links are ours, a run that goes on with them, and remove what is known of them."""
    if not stale:
        return
    # Timers first: one that still runs would start its service again
    for kind in (".timer", ".service"):
        found = [name for name in stale if name.endswith(kind)]
        if not found:
            continue
        try:
            compose.run(["systemctl", "stop", *found], 3 * SECONDS)
        except compose.CommandFailed as error:
            if "not loaded" not in str(error):  # as after a run that died when it had stopped them
                raise
    for name in stale:
        for folder in (os.path.join(timer_units.SYSTEM, timer_units.WANTS), STAMPS, timer_units.SYSTEM):
            path = os.path.join(folder, "stamp-" + name if folder == STAMPS else name)
            if os.path.lexists(path):
                os.unlink(path)
        if name.endswith(".timer"):
            _forget_runs(state_file(root, name[: -len(".timer")]))


def _forget_runs(path: str) -> None:
    """Remove what the program keeps at ``path``, its reports, and the container of the last run."""
    try:
        with open(path, encoding="utf-8") as handle:
            state = dict(json.load(handle))
    except (OSError, ValueError, TypeError):
        state = {}
    if state.get("container"):
        own = [
            "--filter",
            "name=^/{0}$".format(state["container"]),
            "--filter",
            "label={0}={1}".format(LABEL, state["job"]),
        ]
        left = compose.run(["docker", "container", "ls", "--all", "--quiet", *own], SECONDS).split()
        if left:
            compose.run(["docker", "rm", "--force", *left], SECONDS)
    for report in [*(state.get("reports") or []), path, path + ".lock"]:
        if os.path.lexists(report):
            os.unlink(report)


def _link(place: str, path: str) -> None:
    """Let ``path`` lead to ``place``. Raises OSError, also where somebody's file has the name."""
    if os.path.lexists(path):
        if os.path.islink(path) and os.readlink(path) == place:
            return
        raise OSError("{0} is there already and is not this stack's".format(path))
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    temporary = path + ".landfall-new"
    if os.path.lexists(temporary):
        os.unlink(temporary)
    os.symlink(place, temporary)
    os.replace(temporary, path)
