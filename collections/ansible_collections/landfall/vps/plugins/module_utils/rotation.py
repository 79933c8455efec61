"""Whom a proxy sends requests to: marks that it looks for, and the connections that it has.

A component that serves the API ``proxy`` (option ``serves``) asks for each of its upstreams every second or so whether
there is a mark in its folder ``folder``. A service is sent requests unless it is marked as out, its standby only while
it is marked as in, and nothing that stays open once it is marked as leaving. Marks are files: they outlive restarts and
a controller that is gone, and the proxy's configuration never changes. Services are called by their names in the
stack's network.
"""

from __future__ import annotations

import os
import re
import time
from typing import Any, Iterable, List, Mapping, Optional, Sequence, Tuple

from ansible_collections.landfall.vps.plugins.module_utils import progress
from ansible_collections.landfall.vps.plugins.module_utils.docker_api import Docker
from ansible_collections.landfall.vps.plugins.module_utils.probe import Unproven, fetch
from ansible_collections.landfall.vps.plugins.module_utils.sockets import peers, read_text
from ansible_collections.landfall.vps.plugins.module_utils.store import make_folder

API = "proxy"
OUT, IN, LEAVING = ".out", ".in", ".leaving"
POLL = 0.25  # seconds
GLANCE = 0.15
"""Seconds between two looks at what a proxy has asked itself."""
QUIET = 2
"""As many times in a row nothing is in flight before nobody is served any more."""


def pause(seconds: float) -> None:
    """Let time pass; tests put something else here."""
    time.sleep(seconds)


class Rotation:
    """The proxies of the stack at ``root``. Methods raise OSError when the disk refuses."""

    def __init__(self, root: str, docker: Docker, records: Mapping[str, Mapping[str, Any]]) -> None:
        self.root = root
        self.docker = docker
        self.proxies: List[Tuple[str, Mapping[str, Any]]] = [
            (name, item)
            for name, record in sorted(records.items())
            for item in (record.get("meta") or {}).get("serves") or []
            if item.get("api") == API and record.get("proven")
        ]

    def _leading(self, service: str) -> List[Tuple[str, Mapping[str, Any]]]:
        return [(name, item) for name, item in self.proxies if service in item["upstreams"]]

    def leads_to(self, services: Iterable[str]) -> bool:
        """Whether there is a proxy that knows one of ``services``, and none that knows just some of them."""
        wanted = set(services)
        known = [wanted & set(item["upstreams"]) for _name, item in self.proxies]
        return any(known) and all(part in (set(), wanted) for part in known)

    def _path(self, component: str, item: Mapping[str, Any], mark: str) -> str:
        return os.path.join(self.root, component, str(item["folder"]), mark)

    def _marked(self, service: str, kind: str) -> bool:
        return any(os.path.exists(self._path(name, item, service + kind)) for name, item in self._leading(service))

    def _mark(self, service: str, kind: str, wanted: bool) -> bool:
        """Make or remove a mark for each proxy that leads to ``service``; whether something changed."""
        changed = False
        for name, item in self._leading(service):
            path = self._path(name, item, service + kind)
            if wanted and not os.path.exists(path):
                make_folder(os.path.dirname(path), 0o755)
                number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
                os.fsync(number)
                os.close(number)
                changed = True
            elif not wanted and os.path.lexists(path):
                os.unlink(path)
                changed = True
        return changed

    def is_out(self, service: str) -> bool:
        """Whether a service is out of rotation."""
        return self._marked(service, OUT)

    def take_out(self, service: str) -> bool:
        """Send a service no more requests."""
        return self._mark(service, OUT, True)

    def put_back(self, service: str) -> bool:
        """Send a service requests again."""
        return self._mark(service, OUT, False)

    def is_in(self, standby: str) -> bool:
        """Whether a standby is in rotation."""
        return self._marked(standby, IN)

    def add(self, standby: str) -> bool:
        """Send a standby requests, too."""
        return self._mark(standby, IN, True)

    def leave(self, standby: str) -> bool:
        """Send a standby nothing more that stays open: that waits for who is there next, and is cut off once less."""
        return self._mark(standby, LEAVING, True)

    def drop(self, standby: str) -> bool:
        """Send a standby no more requests."""
        dropped = self._mark(standby, IN, False)
        self._mark(standby, LEAVING, False)
        return dropped

    def settle(self, service: str) -> None:
        """Wait until every proxy that leads to ``service`` has looked at its marks.

        That is when its own figures say that it has asked for each of them since, and after ``settle`` seconds anyway.
        """
        leading = self._leading(service)
        begun = time.monotonic()
        if leading and all(self._has_looked(item, begun) for _name, item in leading):
            return
        longest = max([float(item["settle"]) for _name, item in leading] or [0.0])
        spent = time.monotonic() - begun if any(item.get("asks") for _name, item in leading) else 0.0
        pause(max(0.0, longest - spent))

    def _has_looked(self, item: Mapping[str, Any], begun: float) -> bool:
        """Whether a proxy was seen to have asked for all marks since ``begun``; False where nobody can tell.

        No question of before is under way once none is. Each is asked once in a round: when so many were answered since
        then and none is under way, each was, or would be now.
        """
        asks = item.get("asks")
        if not asks:
            return False
        quiet, before = False, None  # type: bool, Optional[float]
        while time.monotonic() < begun + float(item["settle"]):
            found = self._questions(str(item["service"]), asks)
            if found is None:
                return False
            asked, asking = found
            if before is None:
                # Of two figures in one answer nobody knows which was taken first
                before, quiet = (asked if quiet else None), quiet or asking == 0
            elif asked - before >= float(asks["round"]) and asking == 0:
                pause(GLANCE)
                return True
            pause(GLANCE)
        return False

    def _questions(self, container: str, asks: Mapping[str, Any]) -> Optional[Tuple[float, float]]:
        """How many questions a proxy has asked itself, and how many have no answer yet; None if it does not say."""
        for place in _addresses(self.docker.inspect(container) or {}):
            try:
                status, text = fetch("http://{0}:{1}{2}".format(place, asks["port"], asks["path"]), timeout=2.0)
            except Unproven:
                continue
            if status == 200:
                asked, asking = (sampled(text, str(asks[key]), str(asks["server"])) for key in ("asked", "asking"))
                return None if asked is None or asking is None else (asked, asking)
        return None

    def in_flight(self, service: str, container: str) -> int:
        """How many connections proxies have with the container of ``service``: requests, websockets, streams of events.

        A proxy closes one that is idle after a moment.
        """
        names = [str(item["service"]) for _name, item in self._leading(service)]
        return connections(self.docker, container, names) if names else 0

    def drain(self, service: str, container: str, limit: float) -> int:
        """Wait until ``service``, which is sent nothing new, has answered all; returns what it has not at the limit.

        A websocket or a stream of events is a request that lasts as long as its visitor stays.
        """
        quiet, end = 0, time.monotonic() + limit
        while quiet < QUIET:
            left = self.in_flight(service, container)
            quiet = quiet + 1 if left == 0 else 0
            if left and time.monotonic() >= end:
                return left
            if left:
                progress.say(service, "{0} connection{1} in use".format(left, "" if left == 1 else "s"))
            pause(POLL)
        return 0


def sampled(text: str, name: str, server: str) -> Optional[float]:
    """The sum of a metric's samples with the label ``server`` in an exposition; None if there is none."""
    form = r'^{0}\{{(?:[^}}]*,)?server="{1}"[^}}]*\}} (\S+)$'.format(re.escape(name), re.escape(server))
    values = [float(value) for value in re.findall(form, text, re.MULTILINE)]
    return sum(values) if values else None


def connections(docker: Docker, container: str, clients: Sequence[str]) -> int:
    """How many connections the containers ``clients`` have with what listens in ``container``. Raises DockerError."""
    state = (docker.inspect(container) or {}).get("State") or {}
    addresses = {found for client in clients for found in _addresses(docker.inspect(client) or {})}
    pid = int(state.get("Pid") or 0)
    if not pid or not addresses:
        return 0
    texts = [read_text("/proc/{0}/net/{1}".format(pid, kind)) for kind in ("tcp", "tcp6")]
    return sum(1 for text in texts for peer in peers(text, texts) if peer in addresses)


def _addresses(described: Mapping[str, Any]) -> List[str]:
    networks = (described.get("NetworkSettings") or {}).get("Networks") or {}
    return [str(found["IPAddress"]) for found in networks.values() if (found or {}).get("IPAddress")]
