"""What Prometheus got of a deployed stack: how far apart, without errors; what it said while it started."""

from __future__ import annotations

import re
import statistics
import time
from typing import Any

from testbed import probe

INTERVAL = 15.0  # seconds


def test_scrapes_are_fifteen_seconds_apart_and_without_errors(host: Any) -> None:
    """PRM-18: taken from the samples themselves, for every target."""
    answer = probe.prometheus(host, "query", query="up[3m]")
    assert len(answer["result"]) > 10
    wrong = {}
    for one in answer["result"]:
        times = [float(moment) for moment, _value in one["values"]]
        gaps = [late - early for early, late in zip(times, times[1:], strict=False)]
        if gaps and abs(statistics.median(gaps) - INTERVAL) > 1:
            wrong[one["metric"]["instance"]] = gaps
    assert wrong == {}
    targets = probe.prometheus(host, "targets")["activeTargets"]
    assert {target["scrapeUrl"]: target["lastError"] for target in targets if target["lastError"]} == {}


def test_prometheus_started_without_errors_in_its_log(host: Any) -> None:
    """PRM-21."""
    log = host.run("docker logs prometheus 2>&1")
    assert log.rc == 0 and "Server is ready to receive web requests" in log.stdout
    started = log.stdout.split("Server is ready to receive web requests", maxsplit=1)[0]
    assert [line for line in started.splitlines() if re.search(r"level=(error|ERROR|warn|WARN)\b", line)] == []


def test_the_instrumentators_metrics_are_served_beside_ours(host: Any) -> None:
    """APP-05, of the deployed stack."""
    text = probe.output(host, "docker", "exec", "prometheus", "wget", "-qO-", "http://app:8000/metrics/default")
    assert "http_request_duration_highr_seconds_bucket" in text
    assert "enhancement_requests_total" not in text


def test_the_exporter_of_celery_shows_outcomes_queues_and_runtime(host: Any) -> None:
    """CEL-01: a ticket goes through a queue, and the exporter tells of it."""
    address = probe.containers(host)["app"]["NetworkSettings"]["Networks"]["landfall"]["IPAddress"]
    before = probe.value(host, "sum(celery_task_succeeded_total)") or 0
    body = '{"tenant_id": "acme", "ticket_id": "exporter", "text": "It hums again. It was fine yesterday."}'
    url = f"http://{address}:8000/webhook/servicedesk"
    probe.output(host, "curl", "-fsS", "-H", "Content-Type: application/json", "-d", body, url)
    end = time.monotonic() + 90
    while (probe.value(host, "sum(celery_task_succeeded_total)") or 0) <= before:
        assert time.monotonic() < end
        time.sleep(3)
    for query in ("celery_queue_length", "celery_task_failed_total", "celery_task_runtime_count",
                  "celery_active_worker_count"):  # fmt: skip
        assert probe.value(host, f"count({query})"), query
