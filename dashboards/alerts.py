"""Numbers that roles decide, from their defaults: when an alert fires, what a program is limited to.

A panel that is coloured by such a number, or whose text says it, takes it from here, so that both stay right.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROLES = Path(__file__).resolve().parent.parent / "roles"


@cache
def _defaults() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for path in sorted(ROLES.glob("*/defaults/main.yml")):
        found.update(yaml.safe_load(path.read_text(encoding="utf-8")))
    return found


def default(variable: str) -> float:
    """Return the default of `variable`, which is a number."""
    value = _defaults()[variable]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{variable} is no number: {value!r}")
    return value


def pattern(variable: str) -> str:
    """Return the default of `variable`, which is a regular expression."""
    value = _defaults()[variable]
    if not isinstance(value, str) or "{{" in value:
        raise TypeError(f"{variable} is no pattern: {value!r}")
    return value


def percent(ratio: float) -> str:
    """Return `ratio` as text: 0.05 is `5 %`."""
    return f"{100 * ratio:g} %"
