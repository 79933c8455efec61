"""Whether a live Prometheus serves what its rules name: a rule on a metric that nobody serves can never fire."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Callable

from tests import rulekit

# Metrics of rules that no stack of the test bed serves
NEVER = {
    "node_reboot_required": "a report in node-exporter's textfile folder, written once the host is set up to",
    "landfall_backup_last_success_timestamp_seconds": "a report of what backs up, which is the operator's",
}
# Metrics that a program serves only once something has happened
LATER = {
    "loki_compactor_apply_retention_operation_total": "Loki's first compaction runs 10 minutes after its start",
    "loki_discarded_samples_total": "Loki serves it once it has refused a line",
}


@dataclass
class Served:
    """What rules name, and what of it is there."""

    rules: list[dict[str, Any]]
    named: dict[str, set[str]] = field(default_factory=dict)
    """Metrics with the labels that rules match on."""
    live: set[str] = field(default_factory=set)
    awaited: set[str] = field(default_factory=set)
    """Recorded by rules that have not had their first turn."""
    wrong: list[str] = field(default_factory=list)
    """Labels that a served metric does not have, as metric{label}."""

    @property
    def unserved(self) -> set[str]:
        """Metrics that nobody serves."""
        return self.named.keys() - self.live - self.awaited


def by_rules(ask: Callable[..., Any]) -> Served:
    """Compare all rules with all series.

    :param ask: is given a path of the API below /api/v1/ and parameters, and returns the answer's data
    """
    found = Served([rule for group in ask("rules")["groups"] for rule in group["rules"]])
    for rule in found.rules:
        for metric, matchers in rulekit.selectors(rule["query"]):
            labels = {label for label, _, _ in matchers if label != "__name__"}
            found.named.setdefault(metric, set()).update(labels)
    found.live = found.named.keys() & set(ask("label/__name__/values"))
    # Groups with long windows are evaluated every few minutes: what they record comes with their first turn
    recorded = {rule["name"] for rule in found.rules if rule["type"] == "recording"}
    found.awaited = (found.named.keys() & recorded) - found.live
    for metric in sorted(found.live):
        known = {label for one in ask("series", **{"match[]": metric}) for label in one}
        found.wrong += [f"{metric}{{{label}}}" for label in sorted(found.named[metric] - known)]
    return found
