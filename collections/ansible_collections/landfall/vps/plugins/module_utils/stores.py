"""Whether a store of metrics scrapes, evaluates and keeps what the records on the VPS say it should."""

from __future__ import annotations

import os
import re
import time
from typing import Any, Dict, List, Mapping, Sequence, Set, Tuple

from ansible_collections.landfall.vps.plugins.module_utils import progress, units
from ansible_collections.landfall.vps.plugins.module_utils.docker_api import Docker, DockerError
from ansible_collections.landfall.vps.plugins.module_utils.metrics_api import MetricsApi, target_name
from ansible_collections.landfall.vps.plugins.module_utils.plan import main_of
from ansible_collections.landfall.vps.plugins.module_utils.probe import Unproven, address, once

WORK_AGAIN = 20.0  # seconds, more than one scrape interval
Fault = Dict[str, str]
Served = Tuple[str, str, Mapping[str, Any]]
"""A component that serves a kind of API, its container, and what its role says of how it is asked."""


def fault(where: str, what: str, do: str) -> Fault:
    """One thing that is wrong and what to do about it."""
    return {"where": where, "what": what, "do": do}


def served(records: Mapping[str, Mapping[str, Any]], names: Sequence[str], api: str) -> List[Served]:
    """Those of the components ``names`` that serve a kind of API (``serves`` of landfall.vps.component)."""
    return [
        (name, str(item["service"]), item)
        for name in names
        if name in records
        for item in records[name]["meta"].get("serves") or []
        if item["api"] == api
    ]


def targets_of(records: Mapping[str, Mapping[str, Any]]) -> List[Tuple[str, Mapping[str, str]]]:
    """(address, labels) of every target that these components ship."""
    return [
        (target, entry["labels"])
        for record in records.values()
        for entry in record["meta"].get("targets") or []
        for target in entry["targets"]
    ]


def differing(wanted: Mapping[str, Any], have: Mapping[str, str]) -> List[Tuple[str, str, str]]:
    """(setting, what runs, what is wanted) of each setting that differs; as durations and sizes, not as texts.

    ``have`` is what the server says: ``scrape_interval``, and ``retention`` such as ``4w2d or 5GiB``.
    """
    found: Dict[str, str] = {"scrape_interval": have["scrape_interval"]}
    for part in have["retention"].split(" or "):
        found["retention_time" if _measure(units.seconds, part) is not None else "retention_size"] = part
    result = []
    for setting, measure in (
        ("scrape_interval", units.seconds),
        ("retention_time", units.seconds),
        ("retention_size", units.size),
    ):
        asked, runs = str(wanted.get(setting) or ""), found.get(setting, "")
        if not asked:
            continue
        amount = _measure(measure, asked)
        # Nothing, or 0, is what a server says or is told for no bound
        if amount is None or (_measure(measure, runs) or 0) != amount:
            result.append((setting, runs or "nothing", asked))
    return result


def _measure(measure: Any, text: str) -> Any:
    try:
        return measure(text.strip())
    except ValueError:
        return None


class Store:
    """Checks one store of metrics; collects ``facts`` and ``faults``. Raises Unproven when it is silent."""

    def __init__(
        self, docker: Docker, network: str, served_by: Served, records: Mapping[str, Mapping[str, Any]], timeout: float
    ) -> None:
        self.docker = docker
        self.network = network
        self.name, self.container, self.item = served_by
        self.records = records
        self.timeout = timeout
        base = "http://{0}:{1}".format(address(docker, self.container, network), self.item["port"])
        self.server = MetricsApi(base)
        self.facts: Dict[str, Any] = {}
        self.faults: List[Fault] = []
        self.up: Set[Tuple[str, str]] = set()

    def fault(self, where: str, what: str, do: str) -> None:
        """Note one thing that is wrong and what to do about it."""
        self.faults.append(fault(where, what, do))

    def _deploy(self) -> str:
        return "run site.yml --tags {0}".format((self.records[self.name]["meta"].get("role")) or self.name)

    def targets(self) -> None:
        """Exactly the expected targets, all up. New ones have some scrape intervals to become so."""
        expected = {(labels["job"], target_name(where, labels)) for where, labels in targets_of(self.records)}
        other_jobs = self.item.get("other_jobs") or []
        deadline = time.monotonic() + self.timeout
        while True:
            found = [t for t in self.server.targets() if t["job"] not in other_jobs]
            have = {(t["job"], t["address"]) for t in found}
            down = [t for t in found if t["health"] != "up"]
            if (have == expected and not down) or time.monotonic() > deadline:
                break
            missing = ["{0} is {1}".format(t["address"], t["health"]) for t in down]
            missing += ["{0} is not scraped yet".format(where) for _job, where in sorted(expected - have)]
            progress.say("targets", "waiting for {0}: {1}".format(len(missing), ", ".join(missing)))
            time.sleep(0.5)
        for job, where in sorted(expected - have):
            self.fault("target {0}".format(job), "{0} is not scraped".format(where), self._deploy())
        for job, where in sorted(have - expected):
            self.fault(
                "target {0}".format(job),
                "{0} is scraped, but no component declares it".format(where),
                "remove it, or name it among the further targets of {0}".format(self.name),
            )
        for target in down:
            self.fault(
                "target {0}".format(target["job"]),
                "{0} is {1}: {2}".format(target["url"], target["health"], target["error"]),
                "docker exec {0} wget -qO- '{1}'".format(self.container, target["url"]),
            )
        self.facts["targets"] = {"expected": len(expected), "found": len(have), "up": len(found) - len(down)}
        self.up = {(t["job"], t["address"]) for t in found if t["health"] == "up"}

    def rules(self) -> None:
        """Every file that was shipped as rules is loaded and every rule evaluates."""
        groups = self.server.rules()
        loaded = {os.path.basename(group["file"]) for group in groups}
        folder = "{0}/{1}".format(self.name, (self.records[self.name]["meta"].get("takes") or {}).get("rules", ""))
        shipped = {
            os.path.basename(path)
            for record in self.records.values()
            for path in record["files"]
            if os.path.dirname(path) == folder
        }
        for name in sorted(shipped - loaded):
            self.fault("rules {0}".format(name), "are on the VPS but not loaded", self._deploy())
        rules = [(group, rule) for group in groups for rule in group["rules"]]
        for group, rule in rules:
            if rule.get("lastError"):
                self.fault("rule {0}".format(rule["name"]), rule["lastError"], "see {0}".format(group["file"]))
        self.facts["rules"] = {
            "files": len(loaded),
            "rules": len(rules),
            "alerts": len([r for _g, r in rules if r["type"] == "alerting"]),
        }

    def alerts(self) -> None:
        """Alerts that fire right now, but for the pulse that always does."""
        alerts = self.server.get("/api/v1/alerts")["alerts"]
        firing = [alert["labels"] for alert in alerts if alert["state"] == "firing"]
        told = [labels for labels in firing if labels["alertname"] != self.item.get("pulse")]
        names = {"{alertname} ({severity})".format(**{"severity": "none", **labels}) for labels in told}
        self.facts["firing_alerts"] = sorted(names)

    def settings(self) -> None:
        """Retention and scrape interval as the running server has them."""
        config = self.server.get("/api/v1/status/config")["yaml"]
        interval = re.search(r"^\s*scrape_interval: (\S+)$", config, re.MULTILINE)
        found = {
            "retention": str(self.server.get("/api/v1/status/runtimeinfo")["storageRetention"]),
            "scrape_interval": interval.group(1) if interval else "unset",
        }
        self.facts[self.name] = found
        for setting, runs, asked in differing(self.item, found):
            what = "runs with {0} {1} instead of {2}".format(setting.replace("_", " "), runs, asked)
            self.fault(self.name, what, self._deploy())

    # -- with traffic -------------------------------------------------------------------------------------------

    def reach(self) -> None:
        """The store's container itself reaches every target by the name that it is scraped by."""
        argv = list(self.item.get("ask") or [])
        if not argv:
            return
        names = sorted(
            {
                "{0}://{1}{2}".format(
                    labels.get("__scheme__", "http"), where, labels.get("__metrics_path__", "/metrics")
                )
                for where, labels in targets_of(self.records)
                if not any(key.startswith("__param_") for key in labels)
            }
        )
        for url in names:
            code, output = self.docker.execute(self.container, [*argv, url], timeout=30)
            if code != 0:
                what = "{0} does not reach {1}: {2}".format(self.container, url, output.strip())
                self.fault("network", what, "docker network inspect {0}".format(self.network))
        self.facts["reached_from_{0}".format(self.name)] = len(names)

    def exercise(self, names: Sequence[str]) -> None:
        """Give each of these components the work that its role declares, and see its counters move."""
        wanted = [(name, self.records[name]["meta"].get("exercise") or {}) for name in names if name in self.records]
        number = self.server.number
        before = {(name, text): number(text) for name, work in wanted for text in work.get("increases") or []}
        # The lowest value seen: a counter starts anew with its process, and what was read first may be the old one's
        still = dict(before)
        sent = 0
        deadline = time.monotonic() + self.timeout
        while True:
            for name, work in wanted:
                if not sent or any(key[0] == name for key in still):
                    self.work(name, work.get("requests") or [])
            sent += 1
            again = time.monotonic() + WORK_AGAIN
            while still and time.monotonic() < min(again, deadline):
                progress.say("exercise", "waiting for {0} of {1} counters to grow".format(len(still), len(before)))
                time.sleep(1)
                now = {key: number(key[1]) for key in still}
                still = {key: min(now[key], value) for key, value in still.items() if now[key] <= value}
            if not still or time.monotonic() >= deadline:
                break
        for name, text in sorted(still):
            form = "'{0}' did not grow from {1:g} within {2:g} s of work"
            what = form.format(text, before[(name, text)], self.timeout)
            self.fault(name, what, "docker logs {0}".format(main_of(self.records[name])))
        self.facts["exercise"] = {"rounds": sent, "counters_moved": len(before) - len(still), "counters": len(before)}

    def work(self, name: str, requests: List[Dict[str, Any]]) -> None:
        """Send the requests of one component; one that is not answered as declared is a fault."""
        for item in requests:
            try:
                once(self.docker, item, self.network, {"nonce": str(time.time_ns()), "now_ns": str(time.time_ns())})
            except (Unproven, DockerError) as error:
                self.fault(name, str(error), "docker logs {0}".format(item["service"]))
