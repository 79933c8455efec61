"""A single command in a container of a service: started under the run's lock, followed and ended without it.

A deploy is kept out only while the container is made. What comes afterwards leaves the container alone, as Compose does
with containers of ``run``, unless it removes the whole component.
"""

from __future__ import annotations

import difflib
import os
import re
import time
import urllib.parse
from typing import Any, Dict, List, Mapping, Tuple

from ansible_collections.landfall.vps.plugins.module_utils import applying, compose
from ansible_collections.landfall.vps.plugins.module_utils.docker_api import Docker, demultiplex
from ansible_collections.landfall.vps.plugins.module_utils.host import records
from ansible_collections.landfall.vps.plugins.module_utils.lock import Lock, Locked
from ansible_collections.landfall.vps.plugins.module_utils.records import STATE_DIR, as_compose
from ansible_collections.landfall.vps.plugins.module_utils.recovery import Troubles
from ansible_collections.landfall.vps.plugins.module_utils.store import Store

STAMPED = re.compile(r"([0-9T:.-]+Z) (.*)", re.DOTALL)
MOST = 2000  # lines in one answer


def find(known: Mapping[str, Mapping[str, Any]], service: str) -> Tuple[str, str, str]:
    """(component, service, container) of a service by its name, or its first replica. Raises KeyError with who is."""
    names: Dict[str, Tuple[str, str, str]] = {}
    for component, record in sorted(known.items()):
        for container, one in sorted(record["containers"].items()):
            found = (component, str(one["service"]), container)
            names.setdefault(str(one["service"]), found)
            names.setdefault(container, found)
    if service in names:
        return names[service]
    if service + "-1" in names:
        return names[service + "-1"]
    services = sorted({found[1] for found in names.values()})
    near = difflib.get_close_matches(service, services, n=1)
    raise KeyError(
        "there is no service '{0}' here{1}. There are: {2}".format(
            service, "; did you mean {0}?".format(near[0]) if near else "", ", ".join(services) or "none"
        )
    )


def begin(root: str, service: str, argv: List[str], entrypoint: List[str], run: str, who: str) -> Dict[str, Any]:
    """Start ``argv`` in a new container of ``service``: ``{container}``, or ``{failed}`` with why not.

    An ``entrypoint`` that is not empty takes the place of the service's own.
    """
    lock = Lock(root, run, who)
    docker = Docker()
    try:
        component, name, beside = find(records(root), service)
        lock.acquire("starting a command in {0}".format(name))
        record = records(root)[component]  # as it is now that nobody changes it
        container = "{0}-run-{1}".format(beside, run.replace("-", "")[:8])
        _sweep(docker, beside)
        changes: Dict[str, Any] = {"healthcheck": {"disable": True}, "restart": "no"}
        if entrypoint:
            changes["entrypoint"] = [word.replace("$", "$$") for word in entrypoint]
        path = os.path.join(root, STATE_DIR, "{0}.run.new".format(container))
        try:
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as handle:
                handle.write(as_compose({"services": {name: changes}}))
            applying.project_of(Store(root, component), record).start_apart(name, container, argv, path)
        finally:
            if os.path.lexists(path):
                os.unlink(path)
    except KeyError as error:
        return {"failed": str(error.args[0])}
    except (Locked, compose.Refused, *Troubles) as error:
        return {"failed": "the command was not started: {0}".format(error)}
    finally:
        lock.release()
    return {"container": container}


def _sweep(docker: Docker, beside: str) -> None:
    """Remove what commands left whose playbook did not live until they ended."""
    form = re.compile(re.escape(beside) + "-run-[0-9a-f]{8}")
    for name, found in docker.containers().items():
        if form.fullmatch(name) and found["oneoff"] and found["state"] in ("exited", "dead", "created"):
            docker.remove_container(name)


def follow(container: str, since: str, patience: float) -> Dict[str, Any]:
    """What the container said after ``since``: waits until there is something, it ended, or ``patience`` is over.

    ``{lines, since, ended, status, oom}``; status is None while it runs. Raises DockerError.
    """
    docker = Docker()
    deadline = time.monotonic() + patience
    while True:
        found = docker.inspect(container)
        state = (found or {}).get("State") or {}
        ended = found is None or state.get("Status") in ("exited", "dead")
        lines, since = _lines(docker, container, since)
        if lines or ended or time.monotonic() > deadline:
            more = len(lines) >= MOST
            return {
                "lines": lines,
                "since": since,
                "ended": ended and not more,
                "gone": found is None,
                "status": state.get("ExitCode") if ended else None,
                "oom": bool(state.get("OOMKilled")),
            }
        time.sleep(0.2)


def _lines(docker: Docker, container: str, since: str) -> Tuple[List[str], str]:
    """Lines after the moment ``since`` and the moment of the last one."""
    path = "/containers/{0}/logs?stdout=1&stderr=1&timestamps=1".format(urllib.parse.quote(container))
    if since:
        path += "&since=" + urllib.parse.quote(since)
    status, data = docker.call("GET", path)
    if status >= 400:
        return [], since
    lines: List[Tuple[str, str]] = []
    for line in demultiplex(data).split("\n"):
        stamped = STAMPED.fullmatch(line.rstrip("\r"))
        if stamped and stamped.group(1) > since and len(lines) < MOST:
            lines.append((stamped.group(1), stamped.group(2)))
    return [text for _moment, text in lines], lines[-1][0] if lines else since


def end(container: str) -> Dict[str, Any]:
    """Stop the container, within its grace period, and remove it. Raises DockerError."""
    Docker().remove_container(container)
    return {}
