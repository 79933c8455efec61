"""The files of a component's timers: for each a service and a timer of systemd, what its run changes, what it is.

They lie in the component's folder ``units/`` with the program that runs them, see ``module_utils/timer_program.py``.
"""

from __future__ import annotations

import json
import os
from typing import Any, Dict, Iterable, List, Mapping, Sequence, Tuple

import yaml
from ansible_collections.landfall.vps.plugins.module_utils import timer_program, timer_units, timers
from ansible_collections.landfall.vps.plugins.module_utils.plan import Container
from ansible_collections.landfall.vps.plugins.plugin_utils.stack import Stack

File = Tuple[bytes, int, int]
REPORTS = "textfiles"  # the kind of files that hold metrics
GRACE = 30
SERVICE = """\
# Job {description}. Written by Landfall; edit the inventory.
[Unit]
Description=Job {description}
Documentation=file://{folder}/{unit}.json
After=docker.service network-online.target
Wants=docker.service network-online.target

[Service]
Type=oneshot
ExecStart=/usr/bin/env python3 -I {program} run {unit}
ExecStopPost=-/usr/bin/env python3 -I {program} stop {unit}
TimeoutStartSec={longest}
TimeoutStopSec={stopping}
KillMode=mixed
{modesty}"""
# A container has the limits of its service; what runs on the VPS itself gives way to all others
MODESTY = "Nice=10\nIOSchedulingClass=best-effort\nIOSchedulingPriority=7\n"
TIMER = """\
# Schedule of job {description}. Written by Landfall; edit the inventory.
[Unit]
Description=Schedule of job {description}

[Timer]
{schedules}AccuracySec=1s
Persistent={persistent}
Unit={unit}.service

[Install]
WantedBy=timers.target
"""
COMPOSE_PATIENCE = int(timer_program.COMPOSE_PATIENCE)


class TimerError(ValueError):
    """What a role says of its timers cannot be."""


def escaped(text: str) -> str:
    """Text in a setting of a unit: one line, in which ``%`` is no specifier."""
    return " ".join(text.replace("%", "%%").split())


def word(text: str) -> str:
    """One word of a unit's command line, byte for byte."""
    inner = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return '"{0}"'.format(inner)


def unit_name(stack: str, timer: Mapping[str, Any]) -> str:
    """The name of a timer's units, without what kind each is."""
    return "{0}-job-{1}".format(stack, timer["name"])


def recorded(stack: str, wanted: Iterable[Mapping[str, Any]]) -> List[Dict[str, Any]]:
    """What a component's record says of its timers."""
    return [
        {"unit": unit_name(stack, timer), **{key: timer[key] for key in ("name", "service", "schedule")}}
        for timer in wanted
    ]


def of(
    component: str,
    wanted: Sequence[Mapping[str, Any]],
    meta: Dict[str, Any],
    containers: Mapping[str, Container],
    stack: Stack,
    destinations: Mapping[str, Sequence[str]],
) -> Dict[str, File]:
    """The files of a component's timers, which its record ``meta`` then names; nothing without any.

    Raises TimerError.
    """
    services = {container.service for container in containers.values()}
    for timer in wanted:
        if timer["service"] not in services:
            raise TimerError("timers: {0}: there is no service {1}".format(timer["name"], timer["service"]))
        if not timer["on_host"] and stack.prefix + timer["name"] in containers:
            raise TimerError("a job and a container are both named {0}; rename the job".format(timer["name"]))
    if wanted:
        meta["timers"] = recorded(stack.name, wanted)
    folders = destinations.get(REPORTS) or []
    return _files(component, stack, str(meta["project"]), wanted, folders)


def _files(
    component: str, stack: Stack, project: str, wanted: Sequence[Mapping[str, Any]], reports: Sequence[str]
) -> Dict[str, File]:
    """Path to (content, mode, owner) of all files of the timers ``wanted``; ``reports`` are folders for metrics."""
    found: Dict[str, File] = {}
    folder = os.path.join(stack.root, component, timer_units.FOLDER)
    for timer in wanted:
        unit = unit_name(stack.name, timer)
        what = str(timer["name"])
        values = {
            "description": escaped(what),
            "unit": unit,
            "folder": escaped(folder),
            "program": word(os.path.join(folder, timers.PROGRAM)),
            # The program ends a run itself; this is for the day on which it cannot
            "longest": COMPOSE_PATIENCE + int(timer["timeout"]) + GRACE + 120,
            "stopping": GRACE + 90,
            "persistent": "true" if timer["persistent"] else "false",
            "modesty": MODESTY if timer["on_host"] else "",
            "schedules": "".join("OnCalendar={0}\n".format(escaped(one)) for one in timer["schedule"]),
        }
        texts = {
            ".service": SERVICE.format(**values),
            ".timer": TIMER.format(**values),
            **({} if timer["on_host"] else {".yaml": _changes(timer, what)}),
            ".json": json.dumps(_described(timer, project, stack.prefix, unit, reports), indent=1, sort_keys=True)
            + "\n",
        }
        for kind, text in texts.items():
            found["{0}/{1}/{2}{3}".format(component, timer_units.FOLDER, unit, kind)] = (text.encode(), 0o644, 0)
    if wanted:
        path = "{0}/{1}/{2}".format(component, timer_units.FOLDER, timers.PROGRAM)
        with open(os.path.splitext(str(timer_program.__file__))[0] + ".py", "rb") as handle:
            found[path] = (handle.read(), 0o755, 0)
    return found


def _described(
    timer: Mapping[str, Any], project: str, prefix: str, unit: str, reports: Sequence[str]
) -> Dict[str, Any]:
    return {
        **({"argv": [str(part) for part in timer["argv"]]} if timer["on_host"] else {}),
        "project": project,
        "service": timer["service"],
        "container": prefix + str(timer["name"]),
        "schedule": list(timer["schedule"]),
        "timeout_seconds": int(timer["timeout"]),
        "late_after_seconds": int(timer["late_after"]),
        "grace_seconds": GRACE,
        "labels": {"scheduled_job": timer["name"], "scheduled_service": timer["service"]},
        "reports": ["{0}/{1}.prom".format(folder, unit) for folder in reports],
    }


def _changes(timer: Mapping[str, Any], what: str) -> str:
    """What is merged into the service for the run: Compose reads it after compose.yaml."""
    changes: Dict[str, Any] = {
        "command": [str(part).replace("$", "$$") for part in timer["argv"]],
        "hostname": timer["name"],
        "restart": "no",
        # What watches the service would take a job for a sick one
        "healthcheck": {"disable": True},
        "labels": {"org.landfall.job": timer["name"]},
        **(timer.get("changes") or {}),
    }
    text = yaml.safe_dump({"services": {timer["service"]: changes}}, sort_keys=False, allow_unicode=True, width=1000)
    return "# Job {0}: what it has otherwise than its service. Written by Landfall.\n{1}".format(what, text)
