"""Deploys while visitors come: who comes, what they saw, and what the application wrote down of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from . import vps
from .paths import ROOT

SITE = "shop.landfall.test"
LOAD = ROOT / "molecule/release/load.py"
ROTATION = "/opt/landfall/caddy/rotation"
FAST = 2.4  # seconds; what takes longer was asked to
TICK = 2.0  # seconds between two ticks of the scheduler, as the application says
Span = tuple[float, float]
Lines = list[list[str]]
Ledger = Callable[[str], Lines]
"""The lines of a file of the application, by words."""


@dataclass(frozen=True)
class Bad:
    """A release that is bad in one way: what makes it so, and what has to be said of it."""

    name: str
    said: str
    values: dict[str, Any] = field(default_factory=dict)
    tags: str = "app"
    reaches: bool = False
    """Whether visitors see it before it is known to be bad."""
    may_fail: int = 0
    """How many requests may fail because what answered them ended, beside those that it answered badly."""


BAD = (
    Bad("does not start", "this release does not start", {"release_fault": "exit"}),
    Bad("is never ready", "answered 503 instead of 200", {"release_fault": "unready"}),
    Bad("listens on another port", "not ready after", {"release_fault": "port"}),
    Bad("ends after some seconds", "ended with exit code 3", {"release_fault": "dies"}, reaches=True, may_fail=40),
    Bad("answers one request in five with 500", "were answered with 5xx", {"release_fault": "errors"}, reaches=True),
    Bad("its migration fails", "cannot migrate",
        {"release_command": ["sh", "-c", "echo cannot migrate; exit 1"]}),
)  # fmt: skip
MORE = (
    Bad("answers a second later", "of 100 answers took longer than 0.5 s", reaches=True,
        values={"release_fault": "slow", "app_watch_latency": 0.5, "app_watch": 10}),
    Bad("keeps memory until its limit", "web-next", {"release_fault": "leak"}, reaches=True, may_fail=60),
    Bad("its worker cannot be imported", "cannot be imported",
        {"celery_environment": {"WORKER_FAULT": "import"}}, tags="celery"),
    Bad("its worker takes no task", "takes no tasks from celery",
        {"celery_environment": {"WORKER_FAULT": "deaf"}}, tags="celery"),
    Bad("ends after a minute", "ended with exit code 3", reaches=True, may_fail=40,
        values={"release_fault": "dies", "release_dies_after": "60", "app_watch": 75}),
)  # fmt: skip
"""What takes longer to find out; for the last one the watch has to be longer than by default."""


def address_of(name: str) -> str:
    """Return the address at which visitors reach a VPS."""
    return vps.address_of(vps.container_of(name))


@contextmanager
def visitors(address: str, tasks: float = 0, streams: bool = True, rest: float = 5) -> Iterator[dict[str, Any]]:
    """Visitors who come until the end of the block; what they saw is in the dictionary afterwards.

    :param tasks: how many they hand in each second
    :param streams: whether some keep streams open
    :param rest: seconds before the block begins
    """
    seen: dict[str, Any] = {}
    argv = [sys.executable, str(LOAD), address, SITE, "7200", str(tasks)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "molecule"), "STREAMS": "yes" if streams else "no"}
    load = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        time.sleep(rest)
        yield seen
        time.sleep(2)
    finally:
        text, _ = load.communicate("\n", timeout=180)
        seen.update(json.loads(text))


def quantile(seen: dict[str, Any], share: float, spans: list[Span], within: bool) -> float:
    """Return the seconds below which this share of the fast requests lies, within or outside of some spans of time."""
    values = sorted(
        took for begun, took in seen["took"]
        if took < FAST and any(start <= begun <= end for start, end in spans) == within
    )  # fmt: skip
    return round(values[min(len(values) - 1, int(share * len(values)))], 3) if values else 0.0


def requests(seen: dict[str, Any], spans: list[Span], ledger: Ledger) -> dict[str, Any]:
    """Return the figures of requests and orders; orders are counted where the application wrote them down."""
    kept = Counter(words[0] for words in ledger("orders"))
    return {
        "requests": seen["requests"], "by protocol": seen["by_protocol"], "failed": len(seen["failures"]),
        "orders": len(seen["orders"]), "lost": len([order for order in seen["orders"] if not kept[order]]),
        "twice": len([order for order, times in kept.items() if times > 1]),
        "p99 at rest": quantile(seen, 0.99, spans, False), "p99 during": quantile(seen, 0.99, spans, True),
        "longest": round(max((took for _begun, took in seen["took"]), default=0), 1),
        "streams cut": seen["streams_cut"], "load": os.getloadavg()[0],
    }  # fmt: skip


def parts_of(tasks: list[list[str]]) -> set[str]:
    """Return the ids that must have been done of what was handed in, by id and kind."""
    several = {f"{number}.{part}" for number, kind in tasks if kind == "chord" for part in (0, 1, 2, "end")}
    return {number for number, kind in tasks if kind != "chord"} | several


def worked(seen: dict[str, Any], ledger: Ledger, since: float) -> dict[str, Any]:
    """Return the figures of tasks and ticks, counted by id where the application wrote them down.

    :param since: from when on ticks count, in seconds since 1970
    """
    wanted = parts_of(seen["tasks"])
    begun, done = (Counter(words[0] for words in ledger(name)) for name in ("begun", "done"))
    ticks = sorted(float(words[0]) for words in ledger("ticks") if words[0] != "None" and float(words[0]) >= since)
    gaps = [after - before for before, after in pairwise(ticks)]
    return {
        "tasks": len(wanted), "by kind": dict(Counter(kind for _number, kind in seen["tasks"])),
        "lost": len(wanted - set(done)), "run again": len([one for one in wanted if begun[one] > 1]),
        "done twice": len([one for one in wanted if done[one] > 1]),
        "ticks": len(ticks), "doubled ticks": len([gap for gap in gaps if gap < TICK / 2]),
        "longest pause of ticks": round(max(gaps, default=0), 1),
        "by": dict(Counter(words[2] for words in ledger("done") if words[0] in wanted)),
    }  # fmt: skip


def waiting(seen: dict[str, Any], ledger: Ledger) -> set[str]:
    """Return the ids that are not done yet."""
    return parts_of(seen["tasks"]) - {words[0] for words in ledger("done")}
