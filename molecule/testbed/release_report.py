"""The section of docs/benchmarks.md on deploys under load."""

from __future__ import annotations

import os
import statistics
from typing import Any

from .paths import ROOT, run
from .report import PAGE

BEGIN = "<!-- releases: written by `make bench ARGS='--parts releases,workers'`, do not edit -->"
END = "<!-- /releases -->"
Row = list[str]


def table(head: Row, rows: list[Row]) -> list[str]:
    """Return the lines of a table."""
    return ["", *("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows))]


def milliseconds(seconds: float) -> str:
    """Return a time for people."""
    return f"{1000 * seconds:.0f} ms"


def spread(values: list[float]) -> str:
    """Return median and extremes of some seconds."""
    return f"{statistics.median(values):.0f} s ({min(values):.0f} to {max(values):.0f})"


def of_requests(results: dict[str, Any]) -> list[str]:
    """Return the table of good deploys, beside the same by hand."""
    head = ["deploys", "seconds of each", "requests", "by HTTP/2", "failed", "orders confirmed", "lost", "kept twice",
            "p99 at rest", "p99 during deploys", "longest", "load"]  # fmt: skip
    rows = [
        [f"{found['deploys']}, {told}", spread(found["seconds"]), f"{found['requests']:,}",
         f"{found['by protocol'].get('HTTP/2', 0):,}", f"**{found['failed']}**", f"{found['orders']:,}",
         str(found["lost"]), str(found["twice"]), milliseconds(found["p99 at rest"]), milliseconds(found["p99 during"]),
         f"{found['longest']:.1f} s", f"{found['load']:.0f}"]
        for key, told in (("deploys", "by Landfall"), ("by hand", "`docker compose up -d`"))
        if (found := results.get(key))
    ]  # fmt: skip
    return table(head, rows) if rows else []


def of_phases(results: dict[str, Any]) -> list[str]:
    """Return the table of what a deploy spends its seconds on."""
    told = (results.get("deploys") or {}).get("phases") or []
    names = list(dict.fromkeys(name for one in told for name in one))
    rows = [[name, spread([one[name] for one in told if name in one])] for name in names]
    return table(["phase of a deploy", "seconds, median (extremes)"], rows) if rows else []


def of_rollbacks(results: dict[str, Any]) -> list[str]:
    """Return the table of rollbacks."""
    head = [
        "rollback, image present",
        "until the old release answers",
        "until all is as it was",
        "failed",
        "load",
    ]
    rows = [
        [str(number), f"{one['until it answers']:.1f} s", f"{one['seconds']:.1f} s", str(one["failed"]),
         f"{one['load']:.0f}"]
        for number, one in enumerate(results.get("rollbacks") or [], 1)
    ]  # fmt: skip
    return table(head, rows) if rows else []


def of_bad(results: dict[str, Any]) -> list[str]:
    """Return the table of bad releases."""
    head = ["bad release", "old version", "requests", "failed", "answers of the bad one", "seconds it answered",
            "seconds until all was as before"]  # fmt: skip
    rows = [
        [name, "not touched" if one["undone"] else "**touched**", f"{one['requests']:,}", str(one["failed"]),
         str(one["answers"]), f"{one['exposed']:.0f}", f"{one['seconds']:.0f}"]
        for name, one in (results.get("bad") or {}).items()
    ]  # fmt: skip
    return table(head, rows) if rows else []


def of_tasks(results: dict[str, Any]) -> list[str]:
    """Return the table of redeploys of workers and of the broker."""
    head = ["redeployed", "times", "seconds of each", "tasks", "lost", "run again", "done twice", "ticks of beat",
            "doubled", "longest pause of ticks", "requests failed", "load"]  # fmt: skip
    told = {"workers, late no": "worker and beat", "workers, late yes": "the same, `task_acks_late`",
            "broker": "Redis"}  # fmt: skip
    rows = [
        [what, str(found["redeploys"]), spread(found["seconds"]), str(found["tasks"]), f"**{found['lost']}**",
         str(found["run again"]), str(found["done twice"]), str(found["ticks"]), str(found["doubled ticks"]),
         f"{found['longest pause of ticks']:.1f} s", str(found["failed"]), f"{found['load']:.0f}"]
        for name, what in told.items()
        if (found := results.get(name))
    ]  # fmt: skip
    return table(head, rows) if rows else []


def section(results: dict[str, Any], commit: str) -> str:
    """Return the whole section."""
    lines = [
        BEGIN, "", "## Deploys under load", "",
        f"Measured at {commit} on {os.cpu_count()} cores shared with other work (load average beside each figure), the",
        "VPS as a container beside the load, through the proxy with TLS; `molecule/release/load.py` are the visitors:",
        "12 that look and order (one request in four a POST that the application writes to a ledger by its id), 4 with",
        "requests of 2.5 s, half of them by HTTP/1.1 on connections that are kept, half by HTTP/2, several on one; 8",
        "websockets and 4 event streams that never end. `app_watch` is 5 and `app_drain_timeout` 4, which streams that",
        "never end use up. Times of requests are of those that do not ask for 2.5 s.",
        *of_requests(results),
        *cut(results),
        *of_phases(results), *of_rollbacks(results), *of_bad(results), *of_tasks(results),
        "",
        "Tasks take 10 ms to 30 s; some have an eta, some fail three times before they succeed, some are chords.",
        "Each is counted by its id where the application wrote that it began and that it was done, not in the broker.",
        "A tick of beat comes every two seconds; beat is replaced in place.",
        "", END,
    ]  # fmt: skip
    return "\n".join(lines)


def cut(results: dict[str, Any]) -> list[str]:
    """Return what is to be known of the changes by hand."""
    found = results.get("by hand")
    told = "By hand: a compose file with service and proxy, a Caddyfile of four lines; {0} streams were cut."
    return ["", told.format(found["streams cut"])] if found else []


def write(results: dict[str, Any]) -> None:
    """Replace the section of the page."""
    page, new = PAGE.read_text(), section(results, run("git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"))
    if BEGIN in page:
        page = page[: page.index(BEGIN)] + new + page[page.index(END) + len(END) :]
    else:
        page = page.rstrip("\n") + "\n\n" + new + "\n"
    PAGE.write_text(page)
