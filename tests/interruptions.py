"""Counts at how many steps simulated runs were interrupted, and says so at the end of a session of pytest."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

NAME = "interruptions"
"""Under which a test's report carries its number, so that it reaches the process that sums up the workers of xdist."""
_COUNT = {"all": 0}


def note() -> None:
    """A run was killed, cut off or refused by its disk at one of its steps."""
    _COUNT["all"] += 1


def noted() -> int:
    """How many there were in this process."""
    return _COUNT["all"]


def told(reports: Iterable[Any]) -> list[str]:
    """Lines about the tests that interrupted runs, those that did so most often first; none where none did."""
    found: dict[str, int] = {}
    for report in reports:
        number = dict(report.user_properties).get(NAME, 0)
        if number:
            name = report.nodeid.split("::", 1)[0]
            found[name] = found.get(name, 0) + number
    if not found:
        return []
    each = [f"  {number:7,}  {name}" for name, number in sorted(found.items(), key=lambda one: -one[1])]
    return [f"{sum(found.values()):,} steps at which a simulated run was interrupted, all of them passed", *each]
