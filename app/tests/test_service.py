"""The whole service under load: every metric moves, nothing is lost, and it comes back after its broker was away."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from landfall_app import healthcheck, loadgen, samples

from .exposition import samples as series
from .exposition import value
from .ledger import REQUIRED
from .servers import Sink, Stack, wait_for


class Watch(threading.Thread):
    """Scrapes while the load runs and keeps the largest value of every series: gauges come and go."""

    def __init__(self, stack: Stack) -> None:
        super().__init__(daemon=True)
        self.stack, self.ended = stack, threading.Event()
        self.largest: dict[str, float] = defaultdict(float)
        self.labels: dict[str, set[tuple[str, ...]]] = defaultdict(set)
        self.slowest = 0.0

    def once(self) -> None:
        for url in (self.stack.url, self.stack.worker_url):
            start = time.perf_counter()
            text = self.stack.scrape(url)
            self.slowest = max(self.slowest, time.perf_counter() - start)
            for family in text_string_to_metric_families(text):
                for sample in family.samples:
                    name = (
                        re.sub("_(bucket|sum|count)$", "", sample.name) if family.type == "histogram" else sample.name
                    )
                    self.largest[name] = max(self.largest[name], sample.value)
                    self.labels[name].add(tuple(sorted(set(sample.labels) - {"le"})))

    def run(self) -> None:
        while not self.ended.wait(0.2):
            self.once()


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Run the service under load once, then take its broker away and give it back; the tests look at the outcome."""
    directory, sink = tmp_path_factory.mktemp("stack"), Sink()
    (directory / "discord").write_text(sink.url)
    settings = {"APP_REFRESH_INTERVAL": "2", "APP_DISCORD_WEBHOOK_URL_FILE": str(directory / "discord")}
    stack = Stack(directory, **settings)
    found: dict[str, Any] = {"stack": stack, "sink": sink}
    try:
        stack.api()
        stack.worker()
        stack.beat()
        watch = Watch(stack)
        watch.start()
        # a backlog, so that queues have a length and the pool of connections is used
        content = base64.b64encode(samples.part21("IFC4", [f"Wall {i}" for i in range(2000)])).decode()
        body = {"tenant_id": "acme", "filename": "a.ifc", "content": content, "task": "extract_ifc"}
        found["backlog"] = [stack.post("/api/jobs/extraction", **body).json()["id"] for _ in range(12)]
        options = loadgen.arguments(["--url", stack.url, "--seconds", "10", "--rate", "8"])
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("APP_ADMIN_TOKEN_FILE", str(directory / "admin-token"))
            found["figures"], found["good"] = asyncio.run(loadgen.generate(options))
        found["backlog"] = stack.ended(found["backlog"])
        wait_for(lambda: value(stack.scrape(stack.url), "beat_last_tick_timestamp_seconds"), 30, "a tick of Beat")
        wait_for(lambda: idle(stack.scrape(stack.worker_url)), 30, "the worker is idle")
        found["before"] = stack.scrape(stack.url), stack.scrape(stack.worker_url)
        found["away"] = without_broker(stack)
        time.sleep(1)
        watch.ended.set()
        watch.join(10)
        watch.once()
        found["watch"] = watch
        yield found
    finally:
        stack.close()
        sink.close()


def idle(worker: str) -> bool:
    """Say whether no task runs, Beat's own aside, which comes every two seconds."""
    return value(worker, "active_tasks") == value(worker, "active_tasks", task_name="refresh_search_indexes")


def without_broker(stack: Stack) -> dict[str, Any]:
    """Stop Redis, ask for things, start it again, ask once more."""
    seen: dict[str, Any] = {"records": stack.get("/health/ready")}
    stack.redis.stop()
    start = time.perf_counter()
    ticket = {"tenant_id": "acme", "ticket_id": "1", "text": "The pump hums."}
    seen["refused"] = stack.post("/webhook/servicedesk", **ticket)
    seen["seconds"] = time.perf_counter() - start
    seen["created"] = stack.post("/api/db/tasks", tenant_id="acme", title="Pump", assignee="ada")
    start = time.perf_counter()
    task = f"/api/db/tasks/{seen['created'].json()['id']}?tenant_id=acme"
    seen["read"] = httpx.get(stack.url + task, timeout=20)
    seen["read_seconds"] = time.perf_counter() - start
    seen["ready"] = httpx.get(stack.url + "/health/ready", timeout=10)
    seen["health"] = httpx.get(stack.url + "/health", timeout=10)
    seen["database"] = httpx.get(stack.url + "/health/db", timeout=10)
    time.sleep(1)
    stack.redis.start()
    wait_for(lambda: stack.get("/health/ready")["status"] == "ok", 30, "the API has its broker back")

    def accepted() -> Any:
        answer = stack.post("/webhook/servicedesk", **ticket)
        return answer.json()["id"] if answer.status_code == httpx.codes.ACCEPTED else None

    seen["job"] = stack.ended([wait_for(accepted, 30, "a job is accepted again")], 60)[0]
    return seen


def test_the_load_went_as_expected(loaded: dict[str, Any]) -> None:
    figures = loaded["figures"]
    assert figures["unexpected"] == []
    assert figures["jobs_not_ended"] == 0
    assert loaded["good"]
    assert {"200", "201", "202", "404", "429"} <= set(figures["statuses"])
    assert figures["websocket_events"] > 0
    assert all(job["status"] == "succeeded" for job in loaded["backlog"])


@pytest.mark.parametrize("name", REQUIRED)
def test_every_metric_is_driven_and_read_back(loaded: dict[str, Any], name: str) -> None:
    watch: Watch = loaded["watch"]
    assert watch.largest[name] > 0
    kind, labels = REQUIRED[name]
    assert watch.labels[name] == {tuple(sorted(labels))}, kind


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("enhancement_requests_total", {"tenant_id": "acme", "status": "queued"}),
        ("cache_operations_total", {"operation": "get", "result": "hit"}),
        ("cache_operations_total", {"operation": "get", "result": "miss"}),
        ("discord_messages_sent_total", {"channel": "tasks", "status": "sent"}),
        ("db_queries_total", {"operation": "create_task"}),
        ("db_queries_total", {"operation": "change_status"}),
        ("http_requests_total", {"status": "404", "endpoint": "unmatched"}),
        ("db_pool_connections", {"state": "max"}),
        ("tasks_by_status", {"status": "completed"}),
        ("records", {"kind": "search"}),
    ],
)
def test_label_values_of_the_api(loaded: dict[str, Any], name: str, labels: dict[str, str]) -> None:
    assert value(loaded["before"][0], name, **labels) > 0


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("tasks_total", {"task_name": "index_record", "status": "retry"}),
        ("tasks_total", {"task_name": "extract_pdf", "status": "failure"}),
        ("tasks_total", {"task_name": "refresh_search_indexes", "status": "success"}),
        ("task_failures_total", {"task_name": "index_record", "exception": "NotFoundError"}),
        ("task_duration_seconds_count", {"task_name": "extract_ifc", "status": "success"}),
        ("task_queue_wait_seconds_count", {"queue_name": "extraction"}),
        ("enhancement_requests_total", {"tenant_id": "acme", "status": "success"}),
        ("worker_db_duration_seconds_count", {"operation": "start_job"}),
        ("extraction_tasks_total", {"format": "ifc", "status": "success"}),
    ],
)
def test_label_values_of_a_worker(loaded: dict[str, Any], name: str, labels: dict[str, str]) -> None:
    assert value(loaded["before"][1], name, **labels) > 0


def test_children_of_the_worker_are_all_counted(loaded: dict[str, Any]) -> None:
    figures, worker = loaded["figures"], loaded["before"][1]
    ended = value(worker, "tasks_total", status="success") + value(worker, "tasks_total", status="failure")
    by_beat = value(worker, "tasks_total", task_name="refresh_search_indexes")
    assert ended >= sum(figures["jobs"].values()) + len(loaded["backlog"])
    assert ended <= sum(figures["jobs"].values()) + len(loaded["backlog"]) + by_beat
    assert idle(worker)
    assert value(worker, "worker_memory_bytes") > 50_000_000
    assert series(worker, "active_workers") == [1]


def test_scrapes_are_fast_under_load(loaded: dict[str, Any]) -> None:
    assert loaded["watch"].slowest < 5  # on a busy machine; test_scrape_is_fast has the figure for an idle one


def test_without_its_broker_nothing_is_accepted_that_would_be_lost(loaded: dict[str, Any]) -> None:
    away = loaded["away"]
    assert away["refused"].status_code == 503
    assert away["refused"].headers["content-type"] == "application/problem+json"
    assert away["refused"].json()["detail"] == "the broker does not answer; try again"
    assert away["seconds"] < 15
    assert away["created"].status_code == 201  # what needs no broker goes on
    assert away["read"].status_code == 200
    assert away["read_seconds"] < 3
    assert (away["ready"].status_code, away["health"].status_code, away["database"].status_code) == (503, 200, 200)
    assert away["ready"].json()["checks"]["database"] == "ok"
    assert away["job"]["status"] == "succeeded"
    stack: Stack = loaded["stack"]
    queued = [sample for sample in series(stack.scrape(stack.url), "queue_depth") if sample]
    assert queued == []


def test_workers_and_beat_beat(loaded: dict[str, Any]) -> None:
    stack: Stack = loaded["stack"]
    for name in ("worker", "beat"):
        assert healthcheck.heartbeat(str(stack.directory / f"{name}.heartbeat"), 15)[0]
    assert httpx.get(stack.worker_url + "/health").json()["status"] == "ok"
    assert httpx.get(stack.worker_url + "/nowhere").status_code == 404
    assert httpx.get(stack.worker_url + "/metrics").headers["content-type"].startswith("text/plain; version=")
    assert healthcheck.http(stack.port) == (True, "HTTP/1.1 200 OK")


def test_a_request_can_be_followed_into_its_task(loaded: dict[str, Any]) -> None:
    stack: Stack = loaded["stack"]
    job = stack.post("/webhook/servicedesk", tenant_id="acme", ticket_id="1", text="The pump hums.").json()
    stack.ended([job["id"]])
    by_name = {program.name: program for program in stack.programs}
    wait_for(lambda: any(line.get("task_id") == job["id"] for line in by_name["worker"].lines()), 10, "the task's line")
    (api,) = [line for line in by_name["api"].lines() if line.get("job") == job["id"]]
    (worker,) = [line for line in by_name["worker"].lines() if line.get("task_id") == job["id"]]
    assert api["request_id"] == worker["request_id"] == job["request_id"]
    assert (worker["task_name"], worker["state"], worker["tenant"]) == ("enhance", "SUCCESS", "acme")
    assert worker["duration_ms"] > 0
    assert {"time", "level", "logger", "message"} <= set(worker)


def test_no_secret_is_in_any_log(loaded: dict[str, Any]) -> None:
    stack: Stack = loaded["stack"]
    for program in stack.programs:
        written = program.log.read_text()
        for secret in ("stack-password", "stack-admin-token"):
            assert secret not in written, program.name
        lines = written.splitlines()
        as_json = [line for line in lines if line.startswith("{")]
        assert all(json.loads(line) for line in as_json)
        assert len(as_json) > len(lines) * 0.8, lines[:20]


def test_load_is_bounded(capsys: pytest.CaptureFixture[str]) -> None:
    for wrong in (["--seconds", "0"], ["--seconds", "9999"], ["--rate", "9999"], ["--at-once", "0"]):
        with pytest.raises(SystemExit):
            loadgen.arguments(wrong)
    assert "at most" in capsys.readouterr().err


def test_load_on_nothing_says_so(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert loadgen.main(["--url", "http://127.0.0.1:9", "--seconds", "0.2", "--rate", "5", "--settle", "0"]) == 1
    assert json.loads(capsys.readouterr().out)["statuses"]["no answer"] > 0
