"""The board is watched as well as the reference application: data in every panel, no rule that can never fire."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from testbed import probe, served
from testbed.paths import ROOT

from dashboards import queries
from scripts import prove_dashboards

VPS = "molecule-board"
IMAGES = (ROOT / ".cache/vps" / VPS / "images").read_text(encoding="utf-8").strip()
SPAN = prove_dashboards.Span(window=900, timeout=30)
PATIENCE = 150.0  # s until the visits are through, scraped, and recorded by rules
BOARDS = {
    "alloy", "api-instrumentator", "celery", "containers", "database-redis", "host", "jobs", "logs", "loki",
    "monitoring-stack", "notices", "overview", "postgresql", "probes", "proxy", "slo",
}  # fmt: skip
# Metrics of its rules that are not there; each of these rules can fire by another of its parts
UNSERVED = {
    **served.NEVER,
    "tasks_total": "workers that count by themselves, as those of the reference application do",
    "active_tasks": "the same workers",
    "pg_replication_slots_active": "only a server with replicas has replication slots",
    "pg_replication_slots_pg_wal_lsn_diff": "only a server with replicas has replication slots",
}
FOLDER = "/opt/landfall/grafana/dashboards.d"


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, str]]:
    with probe.tunnel(VPS, 9090, 3100) as bases:
        yield {"promql": bases[9090], "logql": bases[3100]}


def deployed(host: Any) -> list[queries.Query]:
    """Return the queries of the dashboards as they lie on the VPS: rows that it has no data for are left out there."""
    found: list[queries.Query] = []
    for name in probe.output(host, "ls", FOLDER).split():
        board = json.loads(probe.output(host, "cat", f"{FOLDER}/{name}"))
        container, _dashes, file = name.partition("--")
        place = f"roles/{container.replace('-', '_')}/files/dashboards/{file}"
        found += queries.of_board(board, place, {"__rate_interval": "1m", "__auto": "1m", "__range": "900s"})
    return found


def test_every_panel_has_data_and_no_board_of_another_application_is_there(
    host: Any, servers: dict[str, str], load: threading.Thread, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = deployed(host)
    assert {query.dashboard for query in chosen} == BOARDS
    here = prove_dashboards.entries(IMAGES, without=set(), profile="standard")
    results: list[dict[str, Any]] = []

    def without_data() -> dict[str, str]:
        results[:] = prove_dashboards.prove(chosen, servers, here, SPAN)
        return {one["key"]: one["query"] for one in results if one["outcome"] not in ("data", "may be empty")}

    probe.eventually(lambda: not without_data(), PATIENCE)
    with capsys.disabled():
        told = [one["key"] for one in results if one["outcome"] == "may be empty"]
        sys.stdout.write(f"\n    {len(results)} queries ({IMAGES}): {prove_dashboards.counts(results)}; {told}\n")
    assert without_data() == {}


def test_every_rule_can_fire(
    servers: dict[str, str], load: threading.Thread, capsys: pytest.CaptureFixture[str]
) -> None:
    base = servers["promql"]
    found = served.by_rules(lambda path, **more: prove_dashboards.ask(base, f"/api/v1/{path}", more, SPAN.timeout))
    with capsys.disabled():
        sys.stdout.write(f"\n    {len(found.rules)} rules name {len(found.named)} metrics: {len(found.live)} served\n")
    assert {rule["name"]: rule.get("lastError") for rule in found.rules if rule["health"] != "ok"} == {}
    assert found.wrong == []
    assert found.unserved - served.LATER.keys() == UNSERVED.keys()
    # Its own kinds of alerts are there
    names = {rule["name"] for rule in found.rules}
    assert {
        "HighAPIErrorRate", "SlowAPILatency", "AvailabilityBudgetBurnFast", "SiteErrorRateHigh", "CeleryTaskFailures",
        "CeleryWorkersMissing", "PostgresDown", "ScheduledJobFailed", "ScheduledJobLate", "ContainerMissing",
        "NoticeNotCounted",
    } <= names  # fmt: skip
    queues = {rule["labels"].get("queue_name") for rule in found.rules if rule["name"] == "CeleryWorkersMissing"}
    assert queues == {"celery", "thumbnails"}


def test_failures_of_its_requests_and_tasks_are_told(host: Any, load: threading.Thread) -> None:
    def told() -> set[tuple[str, str]]:
        found = probe.prometheus(host, "alerts")["alerts"]
        return {(one["labels"]["alertname"], one["labels"].get("service", "")) for one in found}

    names = {"HighAPIErrorRate", "CeleryTaskFailures", "NoticeNotCounted"}
    assert probe.eventually(lambda: names <= {name for name, _service in told()}, 120), told()
