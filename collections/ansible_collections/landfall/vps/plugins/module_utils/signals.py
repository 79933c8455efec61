"""Whether lines arrive in Loki, alerts in Alertmanager and dashboards in Grafana, and how old the last backup is.

All of it asks the running servers. A *fault* is ``{where, what, do}`` as in ``verify``.
"""

from __future__ import annotations

import calendar
import glob
import json
import os
import re
import time
import urllib.parse
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

from ansible_collections.landfall.vps.plugins.module_utils.docker_api import Docker, DockerError
from ansible_collections.landfall.vps.plugins.module_utils.probe import Unproven, address, fetch

NANOSECOND = 1000000000
DAY = 86400
ALIVE = "Watchdog"
TEST_ALERT = "LandfallVerify"
NOBODY = "nowhere"
# What a backup writes into node-exporter's textfile folder: seconds since 1970 of its last success
BACKUP_METRIC = "landfall_backup_last_success_timestamp_seconds"
UNITS = (("y", 31536000), ("w", 604800), ("d", 86400), ("h", 3600), ("m", 60), ("s", 1))
Fault = Dict[str, str]


def seconds(duration: str) -> int:
    """A duration such as 720h or 30d in seconds. Raises ValueError for anything else."""
    if not re.match(r"^(?:[0-9]+(?:\.[0-9]+)?[ywdhms])+$", duration):
        raise ValueError("{0} is no duration".format(duration))
    scale = dict(UNITS)
    return int(sum(float(number) * scale[unit] for number, unit in re.findall(r"([0-9.]+)([ywdhms])", duration)))


def span(total: float) -> str:
    """Seconds as people say them: ``3 d 4 h``, ``12 m``."""
    rest, parts = int(total), []
    for unit, size in UNITS[2:]:
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

    def _get(self, container: str, port: int, path: str) -> str:
        url = "http://{0}:{1}{2}".format(address(self.docker, container, self.network), port, path)
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

    # -- Loki ---------------------------------------------------------------------------------------------------

    def logs(self, containers: List[str]) -> None:
        """The last line that the engine has of each container is in Loki. One older than a day is not asked for."""
        now = time.time()
        last = {name: last_line(self.docker, name) for name in containers}
        asked = {name: at for name, at in last.items() if at is not None and now - at < DAY}
        missing = set(asked)

        def all_there() -> bool:
            missing.difference_update([name for name in missing if self._line(name, asked[name])])
            return not missing

        self._until(all_there)
        self.facts["logs_in_loki"] = {
            "containers": len(containers),
            "found": len(asked) - len(missing),
            "quiet_for_a_day": len(containers) - len(asked),
        }
        for name in sorted(missing):
            self.fault(
                "logs of {0}".format(name),
                "Loki does not have the line that it wrote {0} ago".format(span(now - asked[name])),
                "docker logs alloy",
            )

    def _line(self, container: str, at: float) -> bool:
        query = {
            "query": '{{source="docker",container="{0}"}}'.format(container),
            "start": str(int((at - 1) * NANOSECOND)),
            "end": str(int((at + 1) * NANOSECOND)),
            "limit": "1",
        }
        text = self._get("loki", 3100, "/loki/api/v1/query_range?" + urllib.parse.urlencode(query))
        return bool(json.loads(text)["data"]["result"])

    def retention(self, wanted: str) -> None:
        """Loki runs with the retention of the inventory."""
        limits = re.search(r"^limits_config:\n((?:[ \t].*\n|\n)+)", self._get("loki", 3100, "/config"), re.MULTILINE)
        found = re.search(r"^\s+retention_period: (\S+)$", limits.group(1) if limits else "", re.MULTILINE)
        have = found.group(1) if found else "unset"
        # Loki says 30d where it was told 720h
        self.facts["loki_retention"] = have if have == "unset" else "{0}h".format(seconds(have) // 3600)
        if have == "unset" or seconds(have) != seconds(wanted):
            self.fault("loki", "keeps lines for {0} instead of {1}".format(have, wanted), "run site.yml --tags loki")

    # -- Alertmanager -------------------------------------------------------------------------------------------

    def alerts_arrive(self) -> None:
        """The alert that always fires has come from Prometheus to Alertmanager."""
        query = urllib.parse.urlencode({"filter": 'alertname="{0}"'.format(ALIVE)})
        arrive = self._until(lambda: bool(json.loads(self._get("alertmanager", 9093, "/api/v2/alerts?" + query))))
        if not arrive:
            self.fault(
                "alertmanager",
                "has never heard of {0}, which always fires: Prometheus' alerts do not arrive".format(ALIVE),
                "docker logs prometheus 2>&1 | grep -i notif",
            )
        self.facts["alerts_arrive"] = arrive

    def test_alert(self, severity: str) -> None:
        """A test alert goes through Alertmanager to whoever takes its severity, and no receiver refuses it."""
        sent, refused = self._notifications()
        now = time.time()
        # A name of its own each time: of one that it has told of a moment ago Alertmanager says nothing more for long
        name = "{0}{1:.0f}".format(TEST_ALERT, now)
        labels = {"alertname": name, "severity": severity, "service": "verify", "test": "true"}
        alert = {
            "labels": labels,
            "annotations": {"summary": "Test alert", "description": "Sent by playbooks/verify.yml. Nothing is wrong."},
            "endsAt": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now + 120)),
        }
        url = "http://{0}:9093/api/v2/alerts".format(address(self.docker, "alertmanager", self.network))
        status, text = fetch(url, "POST", json.dumps([alert]), {"Content-Type": "application/json"})
        if status != 200:
            self.fault(
                "test alert", "is refused: {0} {1}".format(status, text.strip()[:300]), "docker logs alertmanager"
            )
            return
        takers: List[str] = []

        def taken() -> bool:
            takers[:] = self._receivers(labels)
            return bool(takers)

        self._until(taken)
        told = [name for name in takers if name != NOBODY]
        self.facts["test_alert"] = "told to {0}".format(", ".join(told)) if told else "no receiver takes it"
        if not takers:
            self.fault("test alert", "is not in Alertmanager", "docker logs alertmanager")
        elif told:
            # Counted for all receivers together: the one request that fails is seen whoever it was for
            arrived = self._until(lambda: self._notifications()[0] >= sent + len(told))
            failed = self._notifications()[1] - refused
            if failed or not arrived:
                self.fault(
                    "test alert",
                    "{0:g} requests to receivers failed".format(failed) if failed else "was not sent in time",
                    "docker logs alertmanager",
                )

    def _receivers(self, labels: Mapping[str, str]) -> List[str]:
        query = urllib.parse.urlencode({"filter": 'alertname="{0}"'.format(labels["alertname"])})
        found = json.loads(self._get("alertmanager", 9093, "/api/v2/alerts?" + query))
        mine = [entry for entry in found if entry["labels"].get("severity") == labels["severity"]]
        return sorted({receiver["name"] for entry in mine for receiver in entry["receivers"]})

    def _notifications(self) -> Tuple[float, float]:
        """How many messages were sent, and how many requests failed, since Alertmanager started."""
        text = self._get("alertmanager", 9093, "/metrics")
        return tuple(  # type: ignore[return-value]  # two values
            sum(float(v) for v in re.findall(r"^{0}\{{.*\}} (\S+)$".format(name), text, re.MULTILINE))
            for name in ("alertmanager_notifications_total", "alertmanager_notification_requests_failed_total")
        )

    # -- Grafana ------------------------------------------------------------------------------------------------

    def dashboards(self, proof: List[str], shipped: int) -> None:
        """Grafana's own ``proof`` passes, which its role names, and it has loaded every dashboard that was shipped."""
        code, output = self.docker.execute("grafana", proof)
        found = re.search(r"proven: (\d+) dashboards", output)
        if code != 0 or not found:
            self.fault("grafana", output.strip()[-300:] or "proves nothing", "docker logs grafana")
            return
        self.facts["grafana"] = {"dashboards": int(found.group(1)), "shipped": shipped, "data_sources": "healthy"}
        if int(found.group(1)) < shipped:
            self.fault(
                "grafana",
                "{0} of {1} shipped dashboards are loaded".format(found.group(1), shipped),
                "ls /opt/landfall/grafana/dashboards.d; docker logs grafana",
            )


def _proof(record: Mapping[str, Any]) -> List[str]:
    """The command with which a component proves itself from inside. Raises Unproven if its role names none."""
    found = [item["exec"] for item in record["meta"].get("prove") or [] if item.get("exec")]
    if not found:
        raise Unproven("its role names no command in prove that counts dashboards")
    return list(found[-1])


def check(docker: Docker, network: str, wanted: Mapping[str, Any], records: Mapping[str, Any]) -> Signals:
    """Ask all servers that are deployed. One that is silent is a fault of its own; the others are asked."""
    asked = Signals(docker, network, float(wanted["timeout"]))
    here = [name for name in wanted["components"] if name in records]
    containers = sorted({c for name in here for c in records[name]["containers"]})
    logged = [c for c in containers if not any(re.match("(?:" + p + ")$", c) for p in wanted["unlogged"])]
    shipped = [f for r in records.values() for f in r["files"] if f.startswith("grafana/dashboards.d/")]
    checks: List[Tuple[List[str], Callable[[], None]]] = [
        (["loki", "alloy"], lambda: asked.logs(logged)),
        (["loki"], lambda: asked.retention(wanted["log_retention"])),
        (["grafana"], lambda: asked.dashboards(_proof(records["grafana"]), len(shipped))),
        (["alertmanager", "prometheus"], asked.alerts_arrive),
    ]
    if wanted["test_alert"] != "none":
        checks.append((["alertmanager"], lambda: asked.test_alert(wanted["test_alert"])))
    for needed, ask in checks:
        if all(name in here for name in needed):
            try:
                ask()
            except (Unproven, DockerError) as error:
                asked.fault(needed[0], str(error), "docker logs {0}".format(needed[0]))
    return asked


def sentence(value: Any) -> str:
    """A fact as people read it."""
    if isinstance(value, dict):
        return ", ".join("{0} {1}".format(key.replace("_", " "), item) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(str(item) for item in value) or "none"
    return "yes" if value is True else "no" if value is False else str(value)


def backup(root: str, now: float) -> str:
    """Age of the last backup as backups report it (roles/verify/README.md); says so when there is none."""
    found: List[Tuple[float, str]] = []
    for path in sorted(glob.glob(os.path.join(root, "node_exporter", "textfile.d", "*.prom"))):
        with open(path, encoding="utf-8", errors="replace") as handle:
            found += [
                (float(value), labels)
                for labels, value in re.findall(
                    r"^{0}(?:\{{(.*)\}})? ([0-9.e+]+)$".format(BACKUP_METRIC), handle.read(), re.MULTILINE
                )
            ]
    if not found:
        return "no backup is set up"
    oldest, labels = min(found)
    return "{0} ago{1}".format(span(max(0.0, now - oldest)), " ({0})".format(labels) if labels else "")
