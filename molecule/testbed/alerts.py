"""What was delivered to the receivers of the test bed, and by when it had to be, from the running configuration."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from . import probe

RECEIVED = "/var/lib/alert-receiver/received.jsonl"
UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800, "y": 31536000}
SENDING = 5.0  # s from Prometheus to Alertmanager to the receiver, on a machine that does other work
Labels = Mapping[str, str]


def seconds(text: str) -> float:
    """Return a duration of Prometheus, such as 1m30s, in seconds."""
    return float(sum(float(number) * UNITS[unit] for number, unit in re.findall(r"([\d.]+)(ms|[smhdwy])", text)))


@dataclass(frozen=True)
class Delivery:
    """One alert in one message: when it came (seconds since 1970), to whom, firing or resolved, its labels."""

    at: float
    receiver: str
    status: str
    labels: Labels

    def is_of(self, wanted: Labels) -> bool:
        """Whether its labels contain these."""
        return wanted.items() <= self.labels.items()


def deliveries(host: Any) -> list[Delivery]:
    """Return everything that was delivered so far, in the order of its arrival."""
    found = []
    for line in probe.output(host, "cat", RECEIVED).splitlines():
        entry = json.loads(line)
        for alert in entry["message"]["alerts"]:
            found.append(Delivery(entry["at"], entry["path"].strip("/"), alert["status"], alert["labels"]))
    return found


@dataclass(frozen=True)
class Promise:
    """When a receiver must know at the latest, in seconds after the fault or after its repair.

    ``wait`` is the rule's ``for``; no alert may come earlier than that.
    """

    wait: float
    firing: float
    resolved: float


class Configuration:
    """Rules of the running Prometheus and routes of the running Alertmanager."""

    def __init__(self, host: Any) -> None:
        self.groups: list[dict[str, Any]] = probe.prometheus(host, "rules")["groups"]
        scraping = yaml.safe_load(probe.prometheus(host, "status/config")["yaml"])["global"]
        self.scrape = seconds(scraping["scrape_interval"])
        self.timeout = seconds(scraping["scrape_timeout"])
        answer = json.loads(probe.get(host, "http://127.0.0.1:9093/api/v2/status"))
        self.route: dict[str, Any] = yaml.safe_load(answer["config"]["original"])["route"]

    def rule(self, labels: Labels) -> tuple[dict[str, Any], float]:
        """Return the one alerting rule that can give these labels, and its interval; AssertionError without one."""
        found = [
            (rule, float(group["interval"]))
            for group in self.groups
            for rule in group["rules"]
            if rule["name"] == labels["alertname"]
            and rule["type"] == "alerting"
            and all(labels.get(key, value) == value or "{{" in value for key, value in rule["labels"].items())
        ]
        if not found:
            raise AssertionError(f"no rule for {dict(labels)}")
        return found[0]

    def timing(self, labels: Labels) -> tuple[float, float]:
        """Return (group_wait, group_interval) of the first route that takes an alert with these labels."""
        route = {"group_wait": "30s", "group_interval": "5m", **self.route}
        for child in self.route.get("routes", []):
            if all(_matches(matcher, labels) for matcher in child.get("matchers", [])):
                route.update(child)
                break
        return seconds(route["group_wait"]), seconds(route["group_interval"])

    def promise(self, labels: Labels, *, joins: bool = False) -> Promise:
        """Return by when an alert must have been delivered.

        The fault is scraped, the rule evaluated, its ``for`` counted in whole evaluations, the group waits. The end
        waits for ``keep_firing_for``.

        :param labels: those of the alert, ``alertname`` and ``severity`` among them
        :param joins: whether its group exists already: it then comes with the group's next message
        """
        rule, interval = self.rule(labels)
        group_wait, group_interval = self.timing(labels)
        # What is missing is missing only after some time: `time() - last_seen > 60`
        age = max([float(number) for number in re.findall(r"time\(\) - .*?> (\d+)", rule["query"])], default=0.0)
        seen = self.scrape + self.timeout + interval
        group = max(group_wait, group_interval) if joins else group_wait
        return Promise(
            wait=float(rule["duration"]),
            firing=age + seen + float(rule["duration"]) + interval + group + SENDING,
            resolved=seen + float(rule.get("keepFiringFor", 0)) + group_interval + SENDING,
        )


def _matches(matcher: str, labels: Labels) -> bool:
    found = re.fullmatch(r'(\w+)(=~|!~|!=|=)"(.*)"', matcher)
    if found is None:
        raise AssertionError(f"a matcher of another form: {matcher}")
    name, operator, value = found.groups()
    have = labels.get(name, "")
    equal = re.fullmatch(value, have) is not None if "~" in operator else have == value
    return equal == (operator in ("=", "=~"))
