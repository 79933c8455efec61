"""Whether lines, alerts and dashboards arrive where they should, and how old the last backup is.

All of it asks the running servers, in the way that their roles declare (``serves`` of landfall.vps.component). A
*fault* is ``{where, what, do}`` as in ``verify``.
"""

from __future__ import annotations

import calendar
import glob
import json
import os
import re
import time
import urllib.parse
from functools import partial
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

from ansible_collections.landfall.vps.plugins.module_utils import units
from ansible_collections.landfall.vps.plugins.module_utils.docker_api import Docker, DockerError
from ansible_collections.landfall.vps.plugins.module_utils.probe import Unproven, address, fetch, tail
from ansible_collections.landfall.vps.plugins.module_utils.stores import Fault, Served, served

NANOSECOND = 1000000000
DAY = 86400
TEST_ALERT = "LandfallVerify"
UNITS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))


def span(total: float) -> str:
    """Seconds as people say them: ``3 d 4 h``, ``12 m``."""
    rest, parts = int(total), []
    for unit, size in UNITS:
        if rest >= size:
            parts.append("{0} {1}".format(rest // size, unit))
            rest %= size
    return " ".join(parts[:2]) or "0 s"


def last_line(docker: Docker, container: str) -> Optional[float]:
    """When a container last wrote a line, in seconds since 1970, by the engine's own file; None if it never did."""
    path = "/containers/{0}/logs?stdout=1&stderr=1&tail=1&timestamps=1".format(urllib.parse.quote(container))
    status, data = docker.call("GET", path)
    found = re.search(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?Z ", data)
    if status >= 400 or not found:
        return None
    moment = calendar.timegm(time.strptime(found.group(1).decode(), "%Y-%m-%dT%H:%M:%S"))
    return moment + float(found.group(2) or 0)


class Signals:
    """Asks the servers of one VPS; collects ``facts`` and ``faults``. Methods raise Unproven when one is silent."""

    def __init__(self, docker: Docker, network: str, timeout: float) -> None:
        self.docker = docker
        self.network = network
        self.timeout = timeout
        self.facts: Dict[str, Any] = {}
        self.faults: List[Fault] = []

    def _url(self, server: Served, path: str) -> str:
        _name, container, item = server
        return "http://{0}:{1}{2}".format(address(self.docker, container, self.network), item["port"], path)

    def _get(self, server: Served, path: str) -> str:
        url = self._url(server, path)
        status, text = fetch(url, timeout=20)
        if status != 200:
            raise Unproven("{0} answered {1}: {2}".format(url, status, text.strip()[:300]))
        return str(text)

    def _until(self, check: Callable[[], bool]) -> bool:
        deadline = time.monotonic() + self.timeout
        while not check():
            if time.monotonic() > deadline:
                return False
            time.sleep(1)
        return True

    def fault(self, where: str, what: str, do: str) -> None:
        """Note one thing that is wrong and what to do about it."""
        self.faults.append({"where": where, "what": what, "do": do})

    # -- logs ---------------------------------------------------------------------------------------------------

    def logs(self, store: Served, collector: Served, containers: List[str]) -> None:
        """The store has the last line that the engine has of each container; one older than a day is not asked for."""
        now = time.time()
        last = {name: last_line(self.docker, name) for name in containers}
        asked = {name: at for name, at in last.items() if at is not None and now - at < DAY}
        missing = set(asked)
        selector = str(collector[2]["selector"])

        def all_there() -> bool:
            missing.difference_update([name for name in missing if self._line(store, selector, name, asked[name])])
            return not missing

        self._until(all_there)
        self.facts["logs_in_{0}".format(store[0])] = {
            "containers": len(containers),
            "found": len(asked) - len(missing),
            "quiet_for_a_day": len(containers) - len(asked),
        }
        for name in sorted(missing):
            self.fault(
                "logs of {0}".format(name),
                "{0} does not have the line that it wrote {1} ago".format(store[0], span(now - asked[name])),
                "docker logs {0}".format(collector[1]),
            )

    def _line(self, store: Served, selector: str, container: str, at: float) -> bool:
        query = {
            "query": selector.replace("{container}", container),
            "start": str(int((at - 1) * NANOSECOND)),
            "end": str(int((at + 1) * NANOSECOND)),
            "limit": "1",
        }
        text = self._get(store, "{0}?{1}".format(store[2]["query"], urllib.parse.urlencode(query)))
        return bool(json.loads(text)["data"]["result"])

    def retention(self, store: Served) -> None:
        """A store of logs runs with the retention with which it was deployed."""
        name, _container, item = store
        limits = re.search(r"^limits_config:\n((?:[ \t].*\n|\n)+)", self._get(store, item["config"]), re.MULTILINE)
        found = re.search(r"^\s+retention_period: (\S+)$", limits.group(1) if limits else "", re.MULTILINE)
        have, wanted = found.group(1) if found else "unset", str(item["retention"])
        # It says 30d where it was told 720h
        known = have != "unset"
        self.facts["{0}_retention".format(name)] = "{0:g}h".format(units.seconds(have) / 3600) if known else have
        if not known or units.seconds(have) != units.seconds(wanted):
            what = "keeps lines for {0} instead of {1}".format(have, wanted)
            self.fault(name, what, "run site.yml --tags {0}".format(name))

    # -- alerts -------------------------------------------------------------------------------------------------

    def alerts_arrive(self, pager: Served, store: Served) -> None:
        """The alert that always fires has come from the store of metrics to the pager."""
        pulse = str(store[2]["pulse"])
        query = urllib.parse.urlencode({"filter": 'alertname="{0}"'.format(pulse)})
        path = "{0}?{1}".format(pager[2]["alerts"], query)
        arrive = self._until(lambda: bool(json.loads(self._get(pager, path))))
        if not arrive:
            form = "has never heard of {0}, which always fires: the alerts of {1} do not arrive"
            what = form.format(pulse, store[0])
            self.fault(pager[0], what, "docker logs {0} 2>&1 | grep -i notif".format(store[1]))
        self.facts["alerts_arrive"] = arrive

    def test_alert(self, pager: Served, severity: str) -> None:
        """A test alert goes through the pager to whoever takes its severity, and no receiver refuses it."""
        sent, refused = self._notifications(pager)
        look = "docker logs {0}".format(pager[1])
        now = time.time()
        # A name of its own each time: of one that it has told of a moment ago a pager says nothing more for long
        name = "{0}{1:.0f}".format(TEST_ALERT, now)
        labels = {"alertname": name, "severity": severity, "service": "verify", "test": "true"}
        alert = {
            "labels": labels,
            "annotations": {"summary": "Test alert", "description": "Sent by playbooks/verify.yml. Nothing is wrong."},
            "endsAt": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now + 120)),
        }
        url = self._url(pager, pager[2]["alerts"])
        status, text = fetch(url, "POST", json.dumps([alert]), {"Content-Type": "application/json"})
        if status != 200:
            self.fault("test alert", "is refused: {0} {1}".format(status, text.strip()[:300]), look)
            return
        takers: List[str] = []

        def taken() -> bool:
            takers[:] = self._receivers(pager, labels)
            return bool(takers)

        self._until(taken)
        told = [name for name in takers if name != pager[2].get("nobody")]
        self.facts["test_alert"] = "told to {0}".format(", ".join(told)) if told else "no receiver takes it"
        if not takers:
            self.fault("test alert", "is not in {0}".format(pager[0]), look)
        elif told:
            # Counted for all receivers together: the one request that fails is seen whoever it was for
            arrived = self._until(lambda: self._notifications(pager)[0] >= sent + len(told))
            failed = self._notifications(pager)[1] - refused
            if failed or not arrived:
                what = "{0:g} requests to receivers failed".format(failed) if failed else "was not sent in time"
                self.fault("test alert", what, look)

    def _receivers(self, pager: Served, labels: Mapping[str, str]) -> List[str]:
        query = urllib.parse.urlencode({"filter": 'alertname="{0}"'.format(labels["alertname"])})
        found = json.loads(self._get(pager, "{0}?{1}".format(pager[2]["alerts"], query)))
        mine = [entry for entry in found if entry["labels"].get("severity") == labels["severity"]]
        return sorted({receiver["name"] for entry in mine for receiver in entry["receivers"]})

    def _notifications(self, pager: Served) -> Tuple[float, float]:
        """How many messages were sent, and how many requests were refused, since the pager started."""
        text = self._get(pager, pager[2]["metrics"])
        return tuple(  # type: ignore[return-value]  # two values
            sum(float(v) for v in re.findall(r"^{0}\{{.*\}} (\S+)$".format(name), text, re.MULTILINE))
            for name in (pager[2]["sent"], pager[2]["refused"])
        )

    # -- dashboards ---------------------------------------------------------------------------------------------

    def dashboards(self, server: Served, shipped: int) -> None:
        """The command that a server's role names for it succeeds, and says that every shipped dashboard is loaded."""
        name, container, item = server
        code, output = self.docker.execute(container, [str(part) for part in item["exec"]])
        found = re.search(str(item["loaded"]), output)
        if code != 0 or not found:
            self.fault(name, tail(output) or "proves nothing", "docker logs {0}".format(container))
            return
        self.facts[name] = {"dashboards": int(found.group(1)), "shipped": shipped, "data_sources": "healthy"}
        if int(found.group(1)) < shipped:
            what = "{0} of {1} shipped dashboards are loaded".format(found.group(1), shipped)
            self.fault(name, what, "docker logs {0}".format(container))


def _unlogged(collector: Served, container: str) -> bool:
    return any(re.match("(?:" + pattern + ")$", container) for pattern in collector[2].get("excluded") or [])


def _shipped(records: Mapping[str, Any], name: str, kind: str) -> int:
    """How many files of a kind were shipped to component ``name``."""
    folder = "{0}/{1}".format(name, (records[name]["meta"].get("takes") or {}).get(kind))
    return len([path for record in records.values() for path in record["files"] if os.path.dirname(path) == folder])


def check(docker: Docker, network: str, wanted: Mapping[str, Any], records: Mapping[str, Any]) -> Signals:
    """Ask all servers that are deployed. One that is silent is a fault of its own; the others are asked."""
    asked = Signals(docker, network, float(wanted["timeout"]))
    here = [name for name in wanted["components"] if name in records]
    containers = sorted({c for name in here for c in records[name]["containers"]})
    checks: List[Tuple[Served, Callable[[], None]]] = []
    for store in served(records, here, "logs"):
        for collector in served(records, here, "log_collector"):
            logged = [name for name in containers if not _unlogged(collector, name)]
            checks.append((store, partial(asked.logs, store, collector, logged)))
        if store[2].get("retention"):
            checks.append((store, partial(asked.retention, store)))
    for server in served(records, here, "dashboards"):
        checks.append((server, partial(asked.dashboards, server, _shipped(records, server[0], "dashboards"))))
    for pager in served(records, here, "pager"):
        for store in served(records, here, "metrics"):
            if store[2].get("pulse"):
                checks.append((pager, partial(asked.alerts_arrive, pager, store)))
        if wanted["test_alert"] != "none":
            checks.append((pager, partial(asked.test_alert, pager, wanted["test_alert"])))
    for server, ask in checks:
        try:
            ask()
        except (Unproven, DockerError) as error:
            asked.fault(server[0], str(error), "docker logs {0}".format(server[1]))
    return asked


def sentence(value: Any) -> str:
    """A fact as people read it."""
    if isinstance(value, dict):
        return ", ".join("{0} {1}".format(key.replace("_", " "), item) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(str(item) for item in value) or "none"
    return "yes" if value is True else "no" if value is False else str(value)


def backup(folders: Sequence[Tuple[str, str]], now: float) -> str:
    """Age of the last backup as backups report it (roles/verify/README.md); says so when there is none.

    ``folders`` are (folder on this host, name of the metric with the seconds since 1970 of the last success).
    """
    found: List[Tuple[float, str]] = []
    for folder, metric in folders:
        for path in sorted(glob.glob(os.path.join(folder, "*.prom"))):
            with open(path, encoding="utf-8", errors="replace") as handle:
                found += [
                    (float(value), labels)
                    for labels, value in re.findall(
                        r"^{0}(?:\{{(.*)\}})? ([0-9.e+]+)$".format(re.escape(metric)), handle.read(), re.MULTILINE
                    )
                ]
    if not found:
        return "no backup is set up"
    oldest, labels = min(found)
    return "{0} ago{1}".format(span(max(0.0, now - oldest)), " ({0})".format(labels) if labels else "")
