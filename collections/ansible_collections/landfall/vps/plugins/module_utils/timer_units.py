"""The systemd units of components as they are on a VPS: links to files of ours, whether timers run. Changes nothing.

A component's units are files in its folder ``units/``. systemd knows them by links in SYSTEM, which is also how one
tells whose a unit is: what leads into that folder is the component's, anything else of that name is somebody else's.
"""

from __future__ import annotations

import os
import subprocess
from typing import Any, Dict, Iterable, List, Mapping

FOLDER = "units"
SYSTEM = "/etc/systemd/system"
WANTS = "timers.target.wants"
PLACES = ("/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")


def names(timers: Iterable[Mapping[str, Any]]) -> List[str]:
    """The unit files of timers as a record names them: of each the timer, and the service that it starts."""
    return [timer["unit"] + kind for timer in timers for kind in (".service", ".timer")]


def target(root: str, component: str, name: str) -> str:
    """The file that the link of unit ``name`` leads to."""
    return os.path.join(root, component, FOLDER, name)


def links(root: str, component: str) -> List[str]:
    """The names in SYSTEM that lead into the component's folder of units."""
    home = os.path.join(root, component, FOLDER) + "/"
    return [name for name in _listdir(SYSTEM) if _read(os.path.join(SYSTEM, name)).startswith(home)]


def owner(root: str, component: str, name: str) -> str:
    """Where somebody else's unit of that name lies; empty when there is none."""
    path = os.path.join(SYSTEM, name)
    if os.path.lexists(path) and _read(path) != target(root, component, name):
        return path
    others = [os.path.join(place, name) for place in PLACES]
    return next((path for path in others if os.path.lexists(path)), "")


def states(root: str, records: Mapping[str, Mapping[str, Any]]) -> Dict[str, str]:
    """Timer to ``active``, or to what is wrong with it, of all timers that ``records`` name."""
    found: Dict[str, str] = {}
    for component, record in records.items():
        for timer in (record.get("meta") or {}).get("timers") or []:
            name = timer["unit"] + ".timer"
            place = target(root, component, name)
            linked = [os.path.join(SYSTEM, name), os.path.join(SYSTEM, WANTS, name)]
            found[name] = "" if all(_read(path) == place for path in linked) else "not enabled"
    asked = sorted(name for name, fault in found.items() if not fault)
    found.update(zip(asked, _activity(asked)))
    return found


def _activity(timers: List[str]) -> List[str]:
    """The state of each timer in systemd's words; ``unknown`` where it does not answer."""
    if not timers:
        return []
    try:
        argv = ["systemctl", "is-active", *timers]
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ["unknown"] * len(timers)
    said = done.stdout.decode("utf-8", "replace").split()
    return said if len(said) == len(timers) else ["unknown"] * len(timers)


def _read(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _listdir(folder: str) -> List[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []
