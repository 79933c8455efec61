"""What an operator is told of containers that do not serve: how each ended, and the failing ones' last lines first."""

from __future__ import annotations

import json
import time
import urllib.parse
from typing import Any, Dict, Iterable, List, Mapping, Optional, Tuple

from ansible_collections.landfall.vps.plugins.module_utils.docker_api import Docker, DockerError

FAILING_LINES = 150  # a chain of exceptions names its cause first
SERVING_LINES = 5
KILLED = 128 + 9
LOOK_BACK = 3600  # seconds
ENDED, AILING, STARTING, SERVES = range(4)
"""How bad the state of a container is, worst first."""


def _last_end(docker: Docker, name: str) -> Tuple[Optional[int], bool]:
    """(exit code of the last end that the engine remembers, whether the kernel found the container too large)."""
    now = time.time()
    query = urllib.parse.urlencode(
        {
            "since": "{0:.0f}".format(now - LOOK_BACK),
            "until": "{0:.9f}".format(now),
            "filters": json.dumps({"container": [name], "event": ["die", "oom"]}),
        }
    )
    code, large = None, False
    try:
        status, data = docker.call("GET", "/events?" + query)
    except DockerError:
        return None, False
    for line in data.decode("utf-8", "replace").splitlines() if status == 200 else []:
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if event.get("Action") == "oom":
            large = True
        found = str(((event.get("Actor") or {}).get("Attributes") or {}).get("exitCode", ""))
        if event.get("Action") == "die" and found.lstrip("-").isdigit():
            code = int(found)
    return code, large


def how_it_ended(docker: Docker, name: str, description: Mapping[str, Any]) -> str:
    """A sentence on the last end of a container.

    The state of one that was restarted says 0 again while it runs, so that the engine's events are asked.
    """
    state, restarts = description["State"], int(description.get("RestartCount") or 0)
    code, large = state.get("ExitCode"), bool(state.get("OOMKilled"))
    if not code or state["Status"] == "running" or code == KILLED:
        seen, too_large = _last_end(docker, name)
        code, large = code if seen is None else seen, large or too_large
    text = "container {0} ended with exit code {1}".format(name, code)
    if state.get("Error"):
        text += " ({0})".format(str(state["Error"]).strip())
    elif large:
        text += " (it needs more memory than its limit)"
    elif code == 0 and restarts:
        text += " (its command comes to an end, as if it were a job)"
    return "{0} and keeps restarting".format(text) if restarts else text


def _condition(docker: Docker, name: str) -> Tuple[int, str]:
    """(how bad, in words) of a container's state."""
    description = docker.inspect(name)
    if description is None:
        return ENDED, "{0} was not made".format(name)
    state = description["State"]
    health = (state.get("Health") or {}).get("Status", "none")
    if state["Status"] == "created":
        return STARTING, "{0} was not started".format(name)
    if state["Status"] != "running" or description.get("RestartCount"):
        return ENDED, how_it_ended(docker, name, description)[len("container ") :]
    if health == "unhealthy":
        return AILING, "{0} is unhealthy".format(name)
    if health == "starting":
        return STARTING, "{0} runs and is not healthy yet".format(name)
    return SERVES, "{0} {1}".format(name, "is healthy" if health == "healthy" else "runs")


def last_lines(docker: Docker, containers: Iterable[str]) -> str:
    """The state of each container, then what they wrote last: of those that fail much and first, of others little."""
    found: List[Tuple[int, str, str]] = []
    for name in containers:
        try:
            found.append((*_condition(docker, name), name))
        except DockerError as error:
            found.append((STARTING, "{0}: {1}".format(name, error), name))
    found.sort(key=lambda entry: (entry[0], entry[2]))
    worst = found[0][0] if found else SERVES
    logs: Dict[str, str] = {}
    for rank, _words, name in found:
        much = rank < SERVES and rank <= max(worst, AILING)
        text = docker.logs(name, FAILING_LINES if much else SERVING_LINES).rstrip()
        if text:
            count = len(text.splitlines())
            logs[name] = "--- last {0} log line{1} of {2}\n{3}".format(count, "" if count == 1 else "s", name, text)
    states = "; ".join(words for _rank, words, _name in found)
    return "\n".join(["--- {0}".format(states), *logs.values()]) if found else ""
