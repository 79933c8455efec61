"""Probes: does a component serve? HTTP against a container's address, or a command inside it."""

from __future__ import annotations

import http.client
import re
import time
import urllib.error
import urllib.request
import uuid
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

from ansible_collections.landfall.vps.plugins.module_utils import ailing, progress
from ansible_collections.landfall.vps.plugins.module_utils.docker_api import Docker, DockerError
from ansible_collections.landfall.vps.plugins.module_utils.inside import kept_out
from ansible_collections.landfall.vps.plugins.module_utils.report import how_it_ended

GATEWAY = "gateway"
RESTART_PATIENCE = 15.0  # seconds
EX_CONFIG = 78
"""Exit code of sysexits.h by which a command in a container says that trying again will not help."""
TOLD = "note: "
"""How a line of such a command begins that is for whoever deploys."""
SILENT = 3.0
"""Seconds after which is said what is waited for."""


STARTING = "containers are still starting"


class Unproven(Exception):
    """The component does not serve; the message is the last reason seen."""


class Restarting(Unproven):
    """It ends again and again; what it waits for may come up yet."""


class Hopeless(Unproven):
    """It does not serve and waiting will not change that."""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect is an answer like any other: where it leads to is somebody else's business."""

    def redirect_request(self, *_arguments: Any, **_more: Any) -> None:
        """Follow none."""


def tail(text: str, limit: int = 600) -> str:
    """The end of what a program said, in whole lines where they fit: a traceback ends with what went wrong."""
    text = text.strip()
    if len(text) <= limit:
        return text
    cut = text[-limit:]
    newline = cut.find("\n")
    return "[...] " + (cut[newline + 1 :] if 0 <= newline < limit - 1 else cut)


def address(docker: Docker, container: str, network: str) -> str:
    """A container's address in ``network`` (or the bridge's gateway for ``gateway``). Raises Unproven without one."""
    if container == GATEWAY:
        found = docker.networks().get(network, {}).get("gateway", "")
        if not found:
            raise Unproven("network {0} has no gateway".format(network))
        return str(found)
    description = docker.inspect(container)
    if description is None:
        raise Unproven("container {0} does not exist".format(container))
    networks = (description.get("NetworkSettings") or {}).get("Networks") or {}
    found = (networks.get(network) or {}).get("IPAddress", "")
    if not found:
        raise Unproven("container {0} has no address in network {1}".format(container, network))
    return str(found)


def fetch(
    url: str,
    method: str = "GET",
    body: Optional[str] = None,
    headers: Optional[Mapping[str, str]] = None,
    timeout: float = 10.0,
) -> Any:
    """Return (status, text). Raises Unproven when nothing answers."""
    if not url.startswith("http://"):
        raise ValueError("{0} is no http URL".format(url))
    data = None if body is None else body.encode()
    request = urllib.request.Request(url, method=method, data=data)  # noqa: S310 - the scheme is checked above
    for key, value in (headers or {}).items():
        request.add_header(key, value)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirects())
    try:
        try:
            with opener.open(request, timeout=timeout) as response:
                return response.status, response.read().decode("utf-8", "replace")
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode("utf-8", "replace")
    except http.client.HTTPException as error:
        form = "{0} does not answer as HTTP does: {1} {2}"
        raise Unproven(form.format(url, type(error).__name__, str(error).strip()[:300])) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise Unproven("{0} does not answer: {1}".format(url, reason)) from error


def metric_value(text: str, name: str) -> Optional[float]:
    """The first sample of metric ``name`` in a text exposition, whatever its labels; None when there is none."""
    labels = r'[ \t]*\{(?:[^}"]|"(?:[^"\\]|\\.)*")*\}'
    match = re.search(r"^{0}(?:{1}[ \t]*|[ \t]+)(\S+)".format(re.escape(name), labels), text, re.MULTILINE)
    return float(match.group(1)) if match else None


def _fill(text: Optional[str], values: Mapping[str, str]) -> Optional[str]:
    if text is None:
        return None
    for key, value in values.items():
        text = text.replace("{" + key + "}", value)
    return text


def _judge(item: Mapping[str, Any], url: str, status: int, text: str, values: Mapping[str, str]) -> None:
    wanted = item.get("status", 200)
    if status != wanted:
        raise Unproven("{0} answered {1} instead of {2}: {3}".format(url, status, wanted, text.strip()[:300]))
    contains = _fill(item.get("contains"), values)
    if contains is not None and contains not in text:
        raise Unproven("{0} does not contain {1!r}: {2}".format(url, contains, text.strip()[:300]))
    if item.get("metric"):
        value = metric_value(text, item["metric"])
        if value is None or value != float(item.get("equals", 1)):
            raise Unproven("{0}: {1} is {2} instead of {3}".format(url, item["metric"], value, item.get("equals", 1)))


def once(docker: Docker, item: Mapping[str, Any], network: str, values: Mapping[str, str]) -> List[str]:
    """Try one probe; returns what it has to tell. Raises Unproven with the reason."""
    if item.get("exec"):
        code, output = docker.execute(item["service"], [str(part) for part in item["exec"]])
        if code != 0 or str(item.get("contains", "")) not in output:
            kind = Hopeless if code == EX_CONFIG else Unproven
            raise kind("{0} in {1}: exit code {2}: {3}".format(item["exec"][0], item["service"], code, tail(output)))
        return [line[len(TOLD) :].strip() for line in output.splitlines() if line.startswith(TOLD)]
    host = address(docker, item.get("host") or item["service"], network)
    url = "http://{0}:{1}{2}".format(host, item["port"], _fill(item.get("path", "/"), values))
    status, text = fetch(url, item.get("method", "GET"), _fill(item.get("body"), values), item.get("headers"))
    _judge(item, url, status, text, values)
    if item.get("host") == GATEWAY:
        # Asked by the VPS itself, for which no rule of a firewall counts: those who will ask stand in the network
        reason = kept_out(docker, network, host, int(item["port"]))
        if reason:
            raise Unproven(reason)
    return []


def _asked(docker: Docker, container: str, network: str) -> Callable[[int, str], str]:
    """Asks a container what its own health check asks, and says in words what came of it."""

    def ask(port: int, path: str) -> str:
        try:
            host = address(docker, container, network)
            status, _text = fetch("http://{0}:{1}{2}".format(host, port, path), timeout=3.0)
        except (Unproven, DockerError):
            return "nobody answers there"
        return "the answer is {0}".format(status)

    return ask


def _still_starting(docker: Docker, names: Sequence[str], network: str) -> str:
    """What is waited for, with what the health checks that failed so far say."""
    reason = STARTING
    for name in names:
        description = docker.inspect(name) or {}
        health = ((description.get("State") or {}).get("Health") or {}).get("Status")
        if health == "starting" and ailing.failing(description):
            reason += "; container {0}: {1}".format(name, ailing.why(description, _asked(docker, name, network), tail))
    return reason


def _containers_serve(docker: Docker, names: Sequence[str], network: str) -> bool:
    """True when all are running and none is still starting. Raises Hopeless when waiting longer is pointless."""
    ready = True
    for name in names:
        description = docker.inspect(name)
        if description is None:
            raise Unproven("container {0} does not exist".format(name))
        state = description["State"]
        restarts = description.get("RestartCount", 0)
        if _runs_once(description):
            if state["Status"] in ("exited", "dead") and state.get("ExitCode"):
                raise Hopeless(how_it_ended(docker, name, description))
            ready = ready and state["Status"] == "exited"
            continue
        if restarts >= 3:
            raise Restarting(how_it_ended(docker, name, description))
        if state["Status"] in ("exited", "dead") and restarts == 0:
            raise Hopeless(how_it_ended(docker, name, description))
        health = (state.get("Health") or {}).get("Status", "none")
        if health == "unhealthy":
            cause = ailing.why(description, _asked(docker, name, network), tail)
            raise Unproven("container {0} is unhealthy: {1}".format(name, cause))
        ready = ready and state["Status"] == "running" and health != "starting"
    return ready


def _runs_once(description: Mapping[str, Any]) -> bool:
    policy = ((description.get("HostConfig") or {}).get("RestartPolicy") or {}).get("Name")
    return policy == "no"


def prove(
    docker: Docker,
    containers: Sequence[str],
    probes: Sequence[Mapping[str, Any]],
    network: str,
    timeout: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    restarts: float = RESTART_PATIENCE,
) -> Dict[str, Any]:
    """Poll until all containers are healthy and all probes pass; return ``{seconds, told}``.

    Raises Unproven with the last reason after ``timeout`` seconds, or at once when waiting is pointless; a container
    that ends again and again is given ``restarts`` seconds.
    """
    started = clock()
    pending: List[Mapping[str, Any]] = list(probes)
    told: List[str] = []
    values = {"nonce": uuid.uuid4().hex, "now_ns": str(time.time_ns())}
    reason = STARTING
    while True:
        try:
            healthy = _containers_serve(docker, containers, network)
            while pending:
                told += once(docker, pending[0], network, values)
                pending.pop(0)
            if healthy:
                return {"seconds": round(clock() - started, 2), "told": told}
            reason = STARTING
        except Hopeless:
            raise
        except Restarting as error:
            if clock() - started >= restarts:
                raise Hopeless(str(error)) from error
            reason = str(error)
        except (DockerError, Unproven) as error:
            reason = str(error)
        if clock() - started > timeout:
            if reason == STARTING:
                reason = _still_starting(docker, containers, network)
            raise Unproven("not ready after {0:.0f} s: {1}".format(timeout, reason))
        if clock() - started >= SILENT:
            progress.say(", ".join(containers), "waiting until it serves: {0}".format(reason))
        sleep(0.1 if clock() - started < SILENT else 0.5)
