"""What a component says of how it is asked: option ``serves`` of ``landfall.vps.component``.

An item names a kind of API and all that differs from one program to the next: ports, paths, names of metrics, and the
settings with which the inventory wants it to run. It is kept in the record, where ``verify`` reads it.
"""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Tuple

KINDS: Dict[str, Tuple[Tuple[str, ...], Tuple[str, ...]]] = {
    # The HTTP API v1 for PromQL: targets, rules, alerts and queries
    "metrics": (
        ("port",),
        ("scrape_interval", "retention_time", "retention_size", "other_jobs", "pulse", "ask"),
    ),
    # The HTTP API v1 for LogQL
    "logs": (("port", "query", "config"), ("retention",)),
    # Who sends the lines of containers to a store of logs: the selector by which those of {container} are found
    "log_collector": (("selector",), ("excluded",)),
    # The HTTP API v2 for alerts
    "pager": (("port", "alerts", "metrics", "sent", "refused"), ("nobody",)),
    # A command in the container that says how many dashboards are loaded: a regular expression with one group
    "dashboards": (("exec", "loaded"), ()),
    # A drop-in folder: while a file lies in it, visitors are held back
    "maintenance": (("folder",), ()),
    # A folder with *.prom files in which backups report their last success
    "backups": (("folder", "metric"), ()),
    # Who sends requests to the services ``upstreams`` unless a mark in ``folder`` says otherwise, and looks there once
    # in ``settle`` seconds; ``sites`` are the names that lead to each, with labels host, code and le in ``metrics``.
    # ``asks`` are the figures of its questions for marks: how many of them, with the label ``server``, are a round
    "proxy": (("folder", "upstreams", "settle"), ("sites", "metrics", "asks")),
}
"""Kind of API to the keys that an item must have and those that it may have, beside api and service."""


class ServesError(Exception):
    """An item of ``serves`` that the engine does not understand."""


def checked(items: List[Mapping[str, Any]]) -> List[Dict[str, Any]]:
    """``items`` without what is empty. Raises ServesError for an unknown kind or key, or one that is missing."""
    result = []
    for index, item in enumerate(items):
        place = "serves[{0}]".format(index)
        if item.get("api") not in KINDS:
            raise ServesError("{0}.api is {1!r}; it must be {2}".format(place, item.get("api"), " or ".join(KINDS)))
        needed, more = KINDS[item["api"]]
        given = {key: value for key, value in item.items() if value not in (None, "", [], {})}
        unknown = sorted(set(item) - {"api", "service", *needed, *more})
        if unknown:
            may = ", ".join(("service", *needed, *more))
            raise ServesError("{0} ({1}) has no {2}; it takes {3}".format(place, item["api"], unknown[0], may))
        missing = [key for key in needed if key not in given]
        if missing:
            raise ServesError("{0} ({1}) lacks {2}".format(place, item["api"], ", ".join(missing)))
        result.append(given)
    return result
