"""Why a container's health check fails, in words: what it asks, and what the VPS is answered to the same question."""

from __future__ import annotations

import re
from typing import Any, Callable, Mapping

URL = re.compile(r"http://127\.0\.0\.1:(\d+)(/[^\s'\"]*)?")
LISTENS = re.compile(r"':([0-9A-F]{4}) \[0-9A-F\]\+:0000 0A' /proc/net/tcp")
NO_PROGRAM = re.compile(r"python3: (?:command )?not found\s*$")
"""What the last program says that a health check tries: its image has another one, whose answer is not kept."""


def failing(description: Mapping[str, Any]) -> bool:
    """Whether the last health check of a container that is starting or unhealthy failed."""
    log = ((description.get("State") or {}).get("Health") or {}).get("Log") or []
    return bool(log) and log[-1].get("ExitCode") != 0


def why(description: Mapping[str, Any], ask: Callable[[int, str], str], shorten: Callable[[str], str]) -> str:
    """The cause, as far as somebody can tell.

    :param ask: ``ask(port, path)`` asks the container from outside, and says in words what came of it
    :param shorten: keeps the end of a long output
    """
    test = " ".join(((description.get("Config") or {}).get("Healthcheck") or {}).get("Test") or [])
    log = ((description.get("State") or {}).get("Health") or {}).get("Log") or [{}]
    said = shorten(str(log[-1].get("Output") or "").strip())
    listens, url = LISTENS.search(test), URL.search(test)
    if listens:
        return "nobody listens on its port {0}; look at port, health and command".format(int(listens.group(1), 16))
    if not url:
        return said
    path = url.group(2) or "/"
    found = "its health check asks {0} on port {1}: {2}; look at health, port and host".format(
        path, url.group(1), ask(int(url.group(1)), path)
    )
    last = said.rpartition("\n")[2]
    return found if not last or NO_PROGRAM.search(last) else "{0} ({1})".format(found, last)
