"""Does what runs match what the roles declared? Reads the records on the VPS; starts and changes nothing.

A *fault* is ``{where, what, do}``. All checks run, then all faults are told at once.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Set, Tuple

from ansible_collections.landfall.vps.plugins.module_utils import sockets
from ansible_collections.landfall.vps.plugins.module_utils.docker_api import Docker, DockerError
from ansible_collections.landfall.vps.plugins.module_utils.host import records as read_records
from ansible_collections.landfall.vps.plugins.module_utils.probe import Hopeless, Unproven, address, once, prove
from ansible_collections.landfall.vps.plugins.module_utils.prometheus import Prometheus, target_name
from ansible_collections.landfall.vps.plugins.module_utils.signals import backup, check

SOURCE_LABEL = "org.landfall.source"
WORK_AGAIN = 20.0  # seconds, more than one scrape interval
Fault = Dict[str, str]


def fault(where: str, what: str, do: str) -> Fault:
    """One thing that is wrong and what to do about it."""
    return {"where": where, "what": what, "do": do}


class Verifier:
    """Checks one VPS. ``wanted`` is what the inventory says about it, see the action plugin ``verify``."""

    def __init__(self, root: str, network: str, wanted: Mapping[str, Any], docker: Optional[Docker] = None) -> None:
        self.root = root
        self.network = network
        self.wanted = wanted
        self.docker = docker or Docker()
        self.records = read_records(root)
        self.faults: List[Fault] = []
        self.facts: Dict[str, Any] = {}
        self.rows: List[Dict[str, Any]] = []

    def run(self) -> None:
        """All checks."""
        self.components()
        self.exposure()
        self.disk()
        if "prometheus" in self.wanted["components"] and "prometheus" in self.records:
            try:
                server = Prometheus("http://{0}:9090".format(address(self.docker, "prometheus", self.network)))
                self.targets(server)
                self.rules(server)
                self.settings(server)
                self.alerts(server)
                if self.wanted["exercise"]:
                    self.reach()
                    self.exercise(server)
            except (Unproven, DockerError) as error:
                self.faults.append(fault("prometheus", str(error), "docker logs prometheus"))
        if self.wanted["exercise"]:
            arrived = check(self.docker, self.network, self.wanted, self.records)
            self.facts.update(arrived.facts)
            self.faults += arrived.faults

    # -- components ---------------------------------------------------------------------------------------------

    def components(self) -> None:
        """Each component is deployed, proven, healthy and ready; nothing is left over."""
        running = self.docker.containers()
        images = self.docker.images()

        def one(name: str) -> Dict[str, Any]:
            record = self.records.get(name)
            if record is not None:
                return self._component(name, record, running, images)
            self.faults.append(fault(name, "is enabled but not deployed", "run site.yml --tags {0}".format(name)))
            return {"component": name, "health": "missing", "targets": "", "version": "", "seconds": 0}

        with ThreadPoolExecutor(max_workers=8) as pool:
            self.rows += pool.map(one, self.wanted["components"])
        for name in sorted(set(self.records) - set(self.wanted["components"])):
            self.faults.append(
                fault(
                    name,
                    "is deployed but not enabled in the inventory",
                    "run site.yml --tags {0} with {0}_enabled: false, or enable it".format(name),
                )
            )

    def _component(
        self, name: str, record: Mapping[str, Any], running: Mapping[str, Any], images: Mapping[str, Any]
    ) -> Dict[str, Any]:
        started = time.monotonic()
        meta = record["meta"]
        states = []
        for container in sorted(record["containers"]):
            found = running.get(container) or {}
            state = "missing" if not found else found["health"] if found["state"] == "running" else found["state"]
            states.append(state)
            if state not in ("healthy", "starting"):
                self.faults.append(fault(container, "is {0}".format(state), "docker logs {0}".format(container)))
        if not record.get("proven"):
            self.faults.append(
                fault(name, "was started by a run that never proved it", "run site.yml --tags {0}".format(name))
            )
        try:
            prove(
                self.docker,
                sorted(record["containers"]),
                self._probes(meta),
                self.network,
                float(self.wanted["timeout"]),
            )
        except (Unproven, DockerError) as error:
            if not isinstance(error, Hopeless):
                states.append("not ready")
            self.faults.append(fault(name, str(error), "docker logs {0}".format(sorted(record["containers"])[0])))
        worst = [s for s in states if s not in ("healthy", "starting")]
        image = sorted({c["image"] for c in record["containers"].values()})[0]
        source = (images.get(image) or {}).get("labels", {}).get(SOURCE_LABEL, "")
        version = image.rsplit(":", 1)[1]
        return {
            "component": name,
            "health": worst[0] if worst else "healthy",
            "targets": "",
            "version": "{0} ({1})".format(version, source) if source else version,
            "seconds": round(time.monotonic() - started, 2),
        }

    def _probes(self, meta: Mapping[str, Any]) -> List[Mapping[str, Any]]:
        """The component's probes, but for what Prometheus asks itself: celery-exporter takes 2 s to answer."""
        probes = list(meta.get("prove") or [])
        if self.wanted["exercise"] or "prometheus" not in self.wanted["components"]:
            return probes
        scraped = {
            (e["labels"]["service"], target.rsplit(":", 1)[1], e["labels"].get("__metrics_path__", "/metrics"))
            for e in meta.get("targets") or []
            for target in e["targets"]
        }
        return [p for p in probes if "metric" in p or (p["service"], str(p.get("port")), p.get("path")) not in scraped]

    def disk(self) -> None:
        """Space left where images, volumes and logs lie."""
        place = str(self.docker.info().get("DockerRootDir") or self.root)
        usage = shutil.disk_usage(place if os.path.isdir(place) else self.root)
        self.facts["disk"] = "{0:.1f} of {1:.1f} GB free".format(usage.free / 1e9, usage.total / 1e9)
        self.facts["last_backup"] = backup(self.root, time.time())

    def exposure(self) -> None:
        """Nothing listens on a public address but what the inventory allows."""
        allowed = {int(port) for port in self.wanted["public_ports"]}
        seen: Dict[int, str] = {}
        for host, port in sockets.listening_here():
            if not sockets.private(host):
                seen[port] = "a process listens on {0}:{1}".format(host, port)
        for item in self.docker.json("GET", "/containers/json"):
            for port in item.get("Ports") or []:
                if port.get("PublicPort") and not sockets.private(port.get("IP", "")):
                    seen[port["PublicPort"]] = "container {0} publishes {1}:{2}".format(
                        item["Names"][0].lstrip("/"), port["IP"], port["PublicPort"]
                    )
        self.facts["public_ports"] = sorted(seen)
        for port in sorted(set(seen) - allowed):
            self.faults.append(
                fault(
                    "port {0}".format(port),
                    "{0}, reachable from outside".format(seen[port]),
                    "publish it on 127.0.0.1, or add it to verify_public_ports if that is meant",
                )
            )

    # -- Prometheus ---------------------------------------------------------------------------------------------

    def expected_targets(self) -> Set[Tuple[str, str]]:
        """(job, address) of every target that a deployed component ships."""
        return {
            (entry["labels"]["job"], target_name(target, entry["labels"]))
            for record in self.records.values()
            for entry in record["meta"].get("targets") or []
            for target in entry["targets"]
        }

    def targets(self, server: Prometheus) -> None:
        """Exactly the expected targets, all up. New ones have some scrape intervals to become so."""
        expected = self.expected_targets()
        deadline = time.monotonic() + float(self.wanted["timeout"])
        while True:
            found = [t for t in server.targets() if t["job"] not in self.wanted["other_jobs"]]
            have = {(t["job"], t["address"]) for t in found}
            down = [t for t in found if t["health"] != "up"]
            if (have == expected and not down) or time.monotonic() > deadline:
                break
            time.sleep(0.5)
        for job, where in sorted(expected - have):
            self.faults.append(
                fault(
                    "target {0}".format(job),
                    "{0} is not scraped".format(where),
                    "look at /opt/landfall/prometheus/targets.d",
                )
            )
        for job, where in sorted(have - expected):
            self.faults.append(
                fault(
                    "target {0}".format(job),
                    "{0} is scraped, but no component declares it".format(where),
                    "remove it, or name its job in verify_other_jobs",
                )
            )
        for target in down:
            self.faults.append(
                fault(
                    "target {0}".format(target["job"]),
                    "{0} is {1}: {2}".format(target["url"], target["health"], target["error"]),
                    "docker exec prometheus wget -qO- {0}".format(target["url"]),
                )
            )
        self.facts["targets"] = {"expected": len(expected), "found": len(have), "up": len(found) - len(down)}
        for row in self.rows:
            own = {
                (e["labels"]["job"], target_name(t, e["labels"]))
                for e in (self.records.get(row["component"], {}).get("meta", {}).get("targets") or [])
                for t in e["targets"]
            }
            up = {(t["job"], t["address"]) for t in found if t["health"] == "up"}
            row["targets"] = "{0}/{1} up".format(len(own & up), len(own)) if own else "-"

    def rules(self, server: Prometheus) -> None:
        """Every rule file that was shipped is loaded and every rule evaluates."""
        groups = server.rules()
        loaded = {os.path.basename(group["file"]) for group in groups}
        shipped = {
            path.rsplit("/", 1)[1]
            for record in self.records.values()
            for path in record["files"]
            if path.startswith("prometheus/rules.d/")
        }
        for name in sorted(shipped - loaded):
            self.faults.append(
                fault("rules {0}".format(name), "are on the VPS but not loaded", "run site.yml --tags prometheus")
            )
        rules = [(group, rule) for group in groups for rule in group["rules"]]
        for group, rule in rules:
            if rule.get("lastError"):
                self.faults.append(
                    fault("rule {0}".format(rule["name"]), rule["lastError"], "see {0}".format(group["file"]))
                )
        self.facts["rules"] = {
            "files": len(loaded),
            "rules": len(rules),
            "alerts": len([r for _g, r in rules if r["type"] == "alerting"]),
        }

    def alerts(self, server: Prometheus) -> None:
        """Alerts that fire right now, but for the pulse that always does."""
        firing = [alert["labels"] for alert in server.get("/api/v1/alerts")["alerts"] if alert["state"] == "firing"]
        names = sorted({"{alertname} ({severity})".format(**{"severity": "none", **labels}) for labels in firing})
        self.facts["firing_alerts"] = [name for name in names if not name.startswith("Watchdog")]

    def settings(self, server: Prometheus) -> None:
        """Retention and scrape interval as the running server has them."""
        storage = server.get("/api/v1/status/runtimeinfo")["storageRetention"]
        config = server.get("/api/v1/status/config")["yaml"]
        interval = re.search(r"^\s*scrape_interval: (\S+)$", config, re.MULTILINE)
        found = {"retention": storage, "scrape_interval": interval.group(1) if interval else "unset"}
        self.facts["prometheus"] = found
        if found["scrape_interval"] != self.wanted["scrape_interval"]:
            self.faults.append(
                fault(
                    "prometheus",
                    "scrapes every {0} instead of {1}".format(found["scrape_interval"], self.wanted["scrape_interval"]),
                    "run site.yml --tags prometheus",
                )
            )
        for part in self.wanted["retention"]:
            if normalised(part) not in normalised(storage):
                self.faults.append(
                    fault(
                        "prometheus",
                        "keeps data for '{0}' instead of {1}".format(storage, part),
                        "run site.yml --tags prometheus",
                    )
                )

    # -- with traffic -------------------------------------------------------------------------------------------

    def reach(self) -> None:
        """Prometheus' container itself reaches every target by the name that it is scraped by."""
        names = sorted(
            {
                "{0}://{1}{2}".format(
                    e["labels"].get("__scheme__", "http"), t, e["labels"].get("__metrics_path__", "/metrics")
                )
                for record in self.records.values()
                for e in record["meta"].get("targets") or []
                for t in e["targets"]
                if not any(key.startswith("__param_") for key in e["labels"])
            }
        )
        for url in names:
            code, output = self.docker.execute(
                "prometheus", ["wget", "-q", "-T", "20", "-O", "/dev/null", url], timeout=30
            )
            if code != 0:
                self.faults.append(
                    fault(
                        "network",
                        "prometheus does not reach {0}: {1}".format(url, output.strip()),
                        "docker network inspect {0}".format(self.network),
                    )
                )
        self.facts["reached_from_prometheus"] = len(names)

    def exercise(self, server: Prometheus) -> None:
        """Give each component the work that its role declares, and see its counters move."""
        wanted = [
            (name, self.records[name]["meta"].get("exercise") or {})
            for name in self.wanted["components"]
            if name in self.records
        ]
        before = {(name, text): server.number(text) for name, work in wanted for text in work.get("increases") or []}
        # The lowest value seen: a counter starts anew with its process, and what was read first may be the old one's
        still = dict(before)
        sent = 0
        deadline = time.monotonic() + float(self.wanted["timeout"])
        while True:
            for name, work in wanted:
                if not sent or any(key[0] == name for key in still):
                    self.work(name, work.get("requests") or [])
            sent += 1
            again = time.monotonic() + WORK_AGAIN
            while still and time.monotonic() < min(again, deadline):
                time.sleep(1)
                now = {key: server.number(key[1]) for key in still}
                still = {key: min(now[key], value) for key, value in still.items() if now[key] <= value}
            if not still or time.monotonic() >= deadline:
                break
        for name, text in sorted(still):
            self.faults.append(
                fault(
                    name,
                    "'{0}' did not grow from {1:g} within {2} s of work".format(
                        text, before[(name, text)], self.wanted["timeout"]
                    ),
                    "docker logs {0}".format(sorted(self.records[name]["containers"])[0]),
                )
            )
        self.facts["exercise"] = {"rounds": sent, "counters_moved": len(before) - len(still), "counters": len(before)}

    def work(self, name: str, requests: List[Dict[str, Any]]) -> None:
        """Send the requests of one component; one that is not answered as declared is a fault."""
        for item in requests:
            try:
                once(self.docker, item, self.network, {"nonce": str(time.time_ns()), "now_ns": str(time.time_ns())})
            except (Unproven, DockerError) as error:
                self.faults.append(fault(name, str(error), "docker logs {0}".format(item["service"])))


def normalised(retention: str) -> str:
    """Prometheus writes 30d as 30d but 720h as 30d and 5GB as 5GB or 5GiB; compare without spaces and i's."""
    return retention.replace(" ", "").replace("iB", "B")


def verify(root: str, network: str, wanted: Mapping[str, Any]) -> Dict[str, Any]:
    """Run all checks; return ``{rows, facts, faults}``. Raises DockerError when there is no engine to ask."""
    verifier = Verifier(root, network, wanted)
    verifier.run()
    return {"rows": verifier.rows, "facts": verifier.facts, "faults": verifier.faults}


def table(rows: Sequence[Mapping[str, Any]], columns: Iterable[str]) -> List[str]:
    """Rows as aligned lines under their headings."""
    names = list(columns)
    cells = [names] + [[str(row.get(name, "")) for name in names] for row in rows]
    widths = [max(len(line[index]) for line in cells) for index in range(len(names))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in cells]
