"""Durations and sizes as the components write them: the one parser, for what is wanted and for what a program reports.

Programs print what they read in another form: Prometheus turns 60s into 1m, 14d into 2w and 1024MB into 1GiB. So they
are compared by ``seconds`` and ``size``, never as texts. What one program takes, another refuses: ``duration_fault``
and ``size_fault`` say so before a file is written.
"""

from __future__ import annotations

import re
from fractions import Fraction

_NANOSECONDS = {
    "ns": 1,
    "us": 10**3,
    "\u00b5s": 10**3,
    "\u03bcs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
    "d": 86400 * 10**9,
    "w": 7 * 86400 * 10**9,
    "y": 365 * 86400 * 10**9,
}
_NUMBER = r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
_PART = re.compile("({0})(ns|us|\u00b5s|\u03bcs|ms|s|m|h|d|w|y)".format(_NUMBER))
_LARGEST_FIRST = "".join("(?:[0-9]+{0})?".format(unit) for unit in ("y", "w", "d", "h", "m", "s", "ms"))
# Dialect to what its durations look like and an example: metrics is that of PromQL, days that of Go and days beside.
DURATIONS = {
    "go": (
        re.compile("(?:{0}(?:ns|us|\u00b5s|\u03bcs|ms|s|m|h))+".format(_NUMBER)),
        "1h30m, 500ms; units up to h",
    ),
    "days": (re.compile("(?:{0}(?:ns|us|\u00b5s|\u03bcs|ms|s|m|h|d))+".format(_NUMBER)), "60s or 1h30m"),
    "compose": (re.compile("(?:[0-9]+(?:us|ms|s|m|h|d|w))+"), "10s or 1m30s"),
    "metrics": (re.compile(_LARGEST_FIRST), "15s, 1h30m or 30d; whole numbers, larger units first"),
}
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5, "e": 6}
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([kmgtpe]?)(?:i?b)?", re.IGNORECASE | re.ASCII)
MOST = 2**63 - 1
"""Nanoseconds and bytes: programs keep both in 64 bits, and end, or begin again below zero, beyond."""
SMALLEST_MEMORY = 6 << 20
"""Bytes: Docker starts no container with less."""
# Dialect to what its sizes look like and an example (logs is that of LogQL's store).
# All of them count in powers of 1024, whatever they call it.
SIZES = {
    "docker": (re.compile(r"[0-9]+(?:\.[0-9]+)? ?(?:[kmgtp]i?)?b?", re.IGNORECASE | re.ASCII), "512m or 1.5g"),
    "metrics": (re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:[KMGTPE]i?)?B)+"), "512MB or 5GB"),
    "logs": (re.compile(r"[0-9]+(?:[KMGTP]B?|[kmgtp]b?|B|b)?"), "256KB or 1MB"),
}


def nanoseconds(text: str) -> int:
    """A duration in any of the dialects in nanoseconds, rounded down; a year has 365 days. Raises ValueError."""
    if text == "0":
        return 0
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError("'{0}' is no duration; write one such as 30s, 1h30m or 30d".format(text))
    return int(sum(Fraction("0" + number) * _NANOSECONDS[unit] for number, unit in parts))


def seconds(text: str) -> float:
    """A duration in any of the dialects in seconds. Raises ValueError."""
    return nanoseconds(text) / 10**9


def size(text: str) -> int:
    """A size such as 512m, 1024MB or 1GiB512MiB in bytes, rounded down; no unit means bytes. Raises ValueError."""
    total, place = Fraction(0), 0
    while place < len(text) or not place:
        found = _SIZE.match(text, place)
        if found is None:
            raise ValueError("'{0}' is no size; write one such as 512m or 5GB".format(text))
        total += Fraction(found.group(1)) * 1024 ** _POWERS[found.group(2).lower()]
        place = found.end()
    return int(total)


def duration_fault(text: str, dialect: str) -> str:
    """What is wrong with a duration for a program of this ``dialect`` (a key of DURATIONS); empty when it is right."""
    form, example = DURATIONS[dialect]
    if text == "0" or (text and form.fullmatch(text)):
        return "" if nanoseconds(text) <= MOST else "'{0}' is longer than any program can count: 292 years".format(text)
    return "'{0}' is no duration here; write one such as {1}".format(text, example)


def size_fault(text: str, dialect: str) -> str:
    """What is wrong with a size for a program of this ``dialect`` (a key of SIZES); empty when it is right."""
    form, example = SIZES[dialect]
    if text and form.fullmatch(text):
        return "" if size(text) <= MOST else "'{0}' is more than any program can count: 8 EiB".format(text)
    return "'{0}' is no size here; write one such as {1}".format(text, example)
