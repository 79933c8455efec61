"""What panels add up: parts that make up a whole, and nothing twice where there are replicas or several hosts."""

from __future__ import annotations

import ast
import json
import operator
import re

import pytest

from dashboards.alerts import pattern
from dashboards.queries import Query, every, files
from tests.metric_catalog import EXPOSITIONS

OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub}


def _of(panel: str) -> list[Query]:
    found = [query for query in every() if f"{query.dashboard} / {query.panel}" == panel]
    assert found, panel
    return found


def _arithmetic(text: str) -> float:
    """The value of sums and differences of numbers."""

    def value(node: ast.expr) -> float:
        if isinstance(node, ast.BinOp):
            result: float = OPERATORS[type(node.op)](value(node.left), value(node.right))
            return result
        assert isinstance(node, ast.Constant) and isinstance(node.value, (int, float)), ast.dump(node)
        return node.value

    return value(ast.parse(text, mode="eval").body)


def test_parts_of_the_memory_make_up_all_of_it() -> None:
    [path] = EXPOSITIONS.glob("node-exporter-*.txt")
    served = dict(re.findall(r"(?m)^(node_memory_\w+) (\S+)$", path.read_text(encoding="utf-8")))
    parts = []
    for query in _of("host / Memory"):
        numbers = re.sub(r"(node_memory_\w+)\{[^}]*\}", lambda match: served[match.group(1)], query.expr)
        parts.append(_arithmetic(numbers.removeprefix("sum")))
    assert len(parts) == 4 and min(parts) > 0
    assert sum(parts) == float(served["node_memory_MemTotal_bytes"])


def test_file_systems_are_those_that_the_alerts_look_at() -> None:
    found = {match for query in every() for match in re.findall(r'fstype!~"([^"]*)"', query.expr)}
    assert found == {pattern("node_exporter_alert_filesystems_ignored")}


@pytest.mark.parametrize("metric", ["tasks_by_status", "records", "active_users"])
def test_what_each_replica_tells_of_a_shared_database_is_not_added_up(metric: str) -> None:
    queries = [query.expr for query in every() if re.search(rf"\b{metric}\{{", query.expr)]
    assert queries
    assert [expr for expr in queries if not re.search(rf"max by \(job[^)]*\) \({metric}\{{", expr)] == []


@pytest.mark.parametrize(
    ("metric", "once"),
    [
        # Recorded by queue: tests/test_queue_lengths.py
        ("celery_queue_length", "queue_name:celery_queue_length:max"),
        ("celery_active_worker_count", r"max by \(queue_name\) \(celery_active_worker_count"),
    ],
)
def test_a_queue_that_two_exporters_see_counts_once(metric: str, once: str) -> None:
    queries = [query.expr for query in every() if re.search(rf"\b{metric}\b", query.expr)]
    assert len(queries) > 1
    assert [expr for expr in queries if not re.search(rf"{once}\b", expr)] == []


def test_series_of_several_hosts_do_not_share_a_name() -> None:
    """A legend of a device or a place to mount stands for one line only if the hosts are brought together."""
    text = next(path for path in files() if path.stem == "host").read_text(encoding="utf-8")
    for panel in json.loads(text)["panels"]:
        for target in panel.get("targets", []):
            for label in re.findall(r"\{\{(\w+)\}\}", target.get("legendFormat", "")):
                assert re.search(rf" by \({label}\)", target["expr"]), (panel["title"], target["expr"])


def test_pressure_of_two_hosts_is_that_of_the_worse() -> None:
    for panel in ("host / Pressure", "host / Disk busy"):
        assert all(query.expr.startswith("max") for query in _of(panel))


def test_levels_are_compared_as_their_alerts_compare() -> None:
    [used] = _of("database-redis / Pool used")
    assert "max by (service) (db_pool_connections" in used.expr
    [memory] = _of("database-redis / Memory")
    assert memory.expr.startswith("max(redis_memory_used_bytes")
