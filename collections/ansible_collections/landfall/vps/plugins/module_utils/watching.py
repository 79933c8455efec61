"""Watches a new version for a moment after requests are sent to it: whether it stays up, and what its visitors get.

Figures come from the proxy itself (``serves``: ``metrics`` and ``sites``), so that an application needs no metrics of
its own. What they were before counts: a site that always had errors is not condemned for them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Dict, Iterable, List, Mapping, Tuple

from ansible_collections.landfall.vps.plugins.module_utils.docker_api import Docker, DockerError
from ansible_collections.landfall.vps.plugins.module_utils.probe import Unproven, address, fetch
from ansible_collections.landfall.vps.plugins.module_utils.report import how_it_ended

SAMPLE = re.compile(r"^([A-Za-z_:][\w:]*)\{(.*)\} (\S+)$", re.MULTILINE)
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
SHARE = 0.95
"""As many of all answers begin within what is called the latency."""
Served = Iterable[Tuple[str, Mapping[str, Any]]]


@dataclass(frozen=True)
class Figures:
    """What a site's visitors got so far; ``buckets`` are counts of answers that began within so many seconds."""

    requests: float = 0
    errors: float = 0
    buckets: Mapping[float, float] = field(default_factory=dict)

    def since(self, before: Figures) -> Figures:
        """What came after ``before``."""
        buckets = {limit: count - before.buckets.get(limit, 0) for limit, count in self.buckets.items()}
        return Figures(self.requests - before.requests, self.errors - before.errors, buckets)

    @property
    def ratio(self) -> float:
        """Share of the answers that are errors of the server."""
        return self.errors / self.requests if self.requests else 0.0

    @property
    def latency(self) -> float:
        """Seconds within which 95 of 100 answers begin: the limit of a bucket; 0 without any."""
        whole = max(self.buckets.values(), default=0)
        fits = [limit for limit, count in self.buckets.items() if whole and count >= SHARE * whole]
        return min(fits, default=0.0)


def parsed(text: str, names: Mapping[str, str], hosts: Iterable[str]) -> Figures:
    """The figures of ``hosts`` in an exposition; ``names`` are the metrics ``answers`` and ``first_byte``."""
    wanted, requests, errors = set(hosts), 0.0, 0.0
    buckets: Dict[float, float] = {}
    for name, inner, value in SAMPLE.findall(text):
        if name not in names.values():
            continue
        labels = dict(LABEL.findall(inner))
        if labels.get("host") not in wanted:
            continue
        if name == names.get("answers"):
            requests += float(value)
            errors += float(value) if labels.get("code", "").startswith("5") else 0
        else:
            limit = float(labels.get("le", "+Inf"))
            buckets[limit] = buckets.get(limit, 0.0) + float(value)
    return Figures(requests, errors, buckets)


def figures(docker: Docker, network: str, proxies: Served, service: str) -> Figures:
    """What the visitors of the sites that lead to ``service`` got until now; nothing where no proxy says."""
    for _name, item in proxies:
        metrics, hosts = item.get("metrics") or {}, (item.get("sites") or {}).get(service) or []
        if not metrics or not hosts:
            continue
        try:
            place = address(docker, str(item["service"]), network)
            status, text = fetch("http://{0}:{1}{2}".format(place, metrics["port"], metrics["path"]))
        except (Unproven, DockerError):
            continue
        if status == 200:
            return parsed(text, metrics, hosts)
    return Figures()


def ailing(docker: Docker, container: str) -> str:
    """What is wrong with a container that was well a moment ago; empty if nothing."""
    described = docker.inspect(container)
    if described is None:
        return "container {0} is gone".format(container)
    state = described["State"]
    if state["Status"] != "running" or described.get("RestartCount"):
        return how_it_ended(docker, container, described)
    if (state.get("Health") or {}).get("Status") == "unhealthy":
        return "container {0} became unhealthy".format(container)
    return ""


def condemned(before: Figures, since: Figures, update: Mapping[str, Any]) -> str:
    """Why visitors are worse off than ``before``, in figures; empty if they are not, or too few came to tell.

    ``update``: ``error_ratio`` (0 to 1), ``latency`` (seconds), ``min_requests``; 0 asks for nothing.
    """
    if since.requests < max(1, int(update.get("min_requests") or 0)):
        return ""
    found: List[str] = []
    limit = float(update.get("error_ratio") or 0)
    if limit and since.ratio > limit + before.ratio:
        form = "{0:.0f} of {1:.0f} requests ({2:.1f} %) were answered with 5xx, before it were {3:.1f} %"
        found.append(form.format(since.errors, since.requests, 100 * since.ratio, 100 * before.ratio))
    slow = float(update.get("latency") or 0)
    if slow and since.latency > max(slow, before.latency):
        form = "5 of 100 answers took longer than {0:g} s to begin, before it were {1:g} s"
        found.append(form.format(slow, before.latency))
    return " and ".join(found)
