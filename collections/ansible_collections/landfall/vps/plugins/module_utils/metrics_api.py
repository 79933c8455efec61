"""Questions to a store of metrics over the HTTP API v1 for PromQL, and what of its answers is wrong."""

from __future__ import annotations

import json
import urllib.parse
from typing import Any, Dict, List, Mapping

from ansible_collections.landfall.vps.plugins.module_utils.probe import Unproven, fetch


def target_name(address: str, labels: Mapping[str, str]) -> str:
    """What tells a target from others: its address and, for one that is probed on another's behalf, whose."""
    probed = labels.get("__param_target")
    return "{0} for {1}".format(address, probed) if probed else address


class MetricsApi:
    """One server at ``base`` (``http://address:port``). Methods raise Unproven when it does not answer properly."""

    def __init__(self, base: str) -> None:
        self.base = base

    def get(self, path: str) -> Any:
        """The ``data`` of one API answer."""
        status, text = fetch(self.base + path, timeout=20)
        try:
            answer = json.loads(text)
        except ValueError as error:
            raise Unproven("{0}{1} answered {2} without JSON".format(self.base, path, status)) from error
        if answer.get("status") != "success":
            raise Unproven("{0}{1}: {2}".format(self.base, path, answer.get("error", status)))
        return answer["data"]

    def targets(self) -> List[Dict[str, Any]]:
        """Active targets as ``{job, address, health, error, url}``; health is up, down or unknown."""
        result = []
        for target in self.get("/api/v1/targets?state=active")["activeTargets"]:
            result.append(
                {
                    "job": target["labels"].get("job", ""),
                    "address": target_name(
                        target["discoveredLabels"].get("__address__", ""), target["discoveredLabels"]
                    ),
                    "health": target["health"],
                    "error": target.get("lastError", ""),
                    "url": target["scrapeUrl"],
                }
            )
        return result

    def rules(self) -> List[Dict[str, Any]]:
        """Rule groups as the API returns them."""
        groups: List[Dict[str, Any]] = self.get("/api/v1/rules")["groups"]
        return groups

    def number(self, expression: str) -> float:
        """The single value of an instant query; 0.0 when it has no sample. Raises Unproven if it has several."""
        data = self.get("/api/v1/query?" + urllib.parse.urlencode({"query": expression}))
        if data["resultType"] == "scalar":
            return float(data["result"][1])
        if len(data["result"]) > 1:
            raise Unproven("'{0}' has {1} results; write it so that it has one".format(expression, len(data["result"])))
        return float(data["result"][0]["value"][1]) if data["result"] else 0.0
