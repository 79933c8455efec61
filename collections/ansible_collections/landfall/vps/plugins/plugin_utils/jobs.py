"""Scheduled commands of services as an inventory names them, turned into timers of their component."""

from __future__ import annotations

import re
from typing import Any, Dict, List, Mapping

from ansible_collections.landfall.vps.plugins.module_utils import units
from ansible_collections.landfall.vps.plugins.plugin_utils import service_lines
from ansible_collections.landfall.vps.plugins.plugin_utils.service_lines import ServiceError

LONGEST_NAME = 63
TIMEOUT, LATE_AFTER = "1h", "15m"
WORDS = ("minutely", "hourly", "daily", "monthly", "weekly", "yearly", "quarterly", "semiannually")
_DAY = r"(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*"
_NUMBER = r"(?:\*|~?[0-9]+(?:\.[0-9]+)?(?:\.\.[0-9]+)?)(?:/[0-9]+)?"
_NUMBERS = _NUMBER + r"(?:,{0})*".format(_NUMBER)
CALENDAR = re.compile(
    r"(?:(?:{day}(?:(?:\.\.|-){day})?)(?:,{day}(?:(?:\.\.|-){day})?)*,?\s*)?"
    r"(?:(?:{n}-)?{n}[-~]{n}\s*)?(?:{n}:{n}(?::{n})?\s*)?(?:[A-Za-z]+(?:/[A-Za-z_+-]+)*[0-9+-]*)?".format(
        day=_DAY, n=_NUMBERS
    ),
    re.IGNORECASE,
)
CRON = re.compile(r"(?:[0-9*,/-]+\s+){4}[0-9*,/A-Za-z-]+")


def schedule_fault(text: str) -> str:
    """What is wrong with the look of a schedule; systemd itself judges it on the VPS before anything changes there."""
    if CRON.fullmatch(text.strip()):
        return (
            "is written as cron does; write it as systemd's OnCalendar, such as '*-*-* 03:00:00' for each night at "
            "three, 'Mon 04:30' or '*:0/15' for each quarter of an hour"
        )
    if text.strip().lower() in WORDS or (re.search("[0-9*]|^" + _DAY, text, re.I) and CALENDAR.fullmatch(text.strip())):
        return ""
    return "is no schedule; write it as systemd's OnCalendar, such as daily, '*-*-* 03:00:00' or 'Mon..Fri 04:30'"


def timers(item: Mapping[str, Any], told: str, container: str, taken: List[str]) -> List[Dict[str, Any]]:
    """The option ``timers`` of landfall.vps.component for the ``jobs`` of one service.

    ``container`` is the service that they are run as, ``taken`` the names of all containers. Raises ServiceError.
    """
    found: List[Dict[str, Any]] = []
    for job in item.get("jobs") or []:
        what = "{0}: job {1}".format(told, job.get("name"))
        name = "{0}-{1}".format(item["name"], job["name"])
        if len(name) > LONGEST_NAME:
            raise ServiceError("{0}: '{1}' is too long for a container's name; at most {2}".format(
                what, name, LONGEST_NAME))  # fmt: skip
        if name in taken or name in [timer["name"] for timer in found]:
            raise ServiceError("{0}: something else is named {1} already; choose another name".format(what, name))
        found.append(
            {
                "name": name,
                "service": container,
                "argv": service_lines.words(job["command"], what + ": command"),
                "schedule": _schedules(job.get("schedule"), what),
                "timeout": _seconds(job.get("timeout") or TIMEOUT, what + ": timeout"),
                "late_after": _seconds(job.get("late_after") or LATE_AFTER, what + ": late_after"),
                "persistent": job.get("catch_up") is not False,
                "changes": _changes(job, what),
            }
        )
    return found


def _schedules(value: Any, what: str) -> List[str]:
    found = [service_lines.text(one, what + ": schedule") for one in (value if isinstance(value, list) else [value])]
    for one in found:
        fault = schedule_fault(one)
        if fault:
            raise ServiceError("{0}: schedule: '{1}' {2}".format(what, one, fault))
    if not found:
        raise ServiceError("{0}: schedule is empty".format(what))
    return found


def _seconds(value: Any, what: str) -> int:
    fault = units.duration_fault(str(value), "compose")
    seconds = 0 if fault else int(units.seconds(str(value)))
    if fault or seconds < 1:
        raise ServiceError("{0}: {1}".format(what, fault or "must be a second or longer"))
    return seconds


def _changes(job: Mapping[str, Any], what: str) -> Dict[str, Any]:
    changes: Dict[str, Any] = {}
    if job.get("entrypoint") not in (None, "", []):
        words = service_lines.words(job["entrypoint"], what + ": entrypoint")
        changes["entrypoint"] = [part.replace("$", "$$") for part in words]
    if job.get("environment"):
        changes["environment"] = {
            str(key): service_lines.text(value, "{0}: environment {1}".format(what, key)).replace("$", "$$")
            for key, value in job["environment"].items()
        }
    limits = job.get("limits") or {}
    service_lines.memory(limits.get("memory"), what)
    for key, there in (("cpus", "cpus"), ("memory", "mem_limit")):
        if limits.get(key):
            changes[there] = limits[key]
    return changes
