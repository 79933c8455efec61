"""The HTTP interface, on both databases: what it does, what it refuses, and what it counts."""

from __future__ import annotations

import base64
import time
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text

from landfall_app import samples
from landfall_app.api.deps import Parts
from landfall_app.states import JobStatus

from .exposition import samples as series
from .exposition import value

TASK = {"tenant_id": "acme", "title": "Check the pump", "assignee": "ada", "priority": "high"}
ACME = {"tenant_id": "acme"}


def scrape(client: TestClient, path: str = "/metrics") -> str:
    answer = client.get(path)
    assert answer.status_code == 200
    return answer.text


def create(client: TestClient, **changes: str) -> dict[str, Any]:
    answer = client.post("/api/db/tasks", json=TASK | changes)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def move(client: TestClient, task: str, status: str) -> Any:
    return client.patch(f"/api/db/tasks/{task}/status", params=ACME, json={"status": status})


def problem(answer: Any, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body["status"] == status
    assert body["title"]
    assert body["request_id"]
    return body


def test_life_of_a_task(both: TestClient) -> None:
    task = create(both)
    assert task["status"] == "pending"
    assert task["id"].startswith("TASK-")
    for status in ("in_progress", "in_review", "completed"):
        assert move(both, task["id"], status).json()["status"] == status
    audit = both.get(f"/api/db/audit/{task['id']}", params=ACME).json()
    assert [line["new_status"] for line in audit] == ["pending", "in_progress", "in_review", "completed"]
    assert audit[0]["old_status"] is None
    metrics = scrape(both)
    assert value(metrics, "tasks_created_total", assignee="ada", priority="high") == 1
    assert value(metrics, "tasks_completed_total", assignee="ada") == 1
    assert value(metrics, "db_queries_total", operation="create_task") == 1
    assert value(metrics, "db_query_duration_seconds_count", operation="change_status") == 3


def test_reading_goes_through_the_cache_and_sees_changes(both: TestClient) -> None:
    task = create(both)["id"]
    url = f"/api/db/tasks/{task}"
    assert both.get(url, params=ACME).json() == both.get(url, params=ACME).json()
    move(both, task, "in_progress")
    assert both.get(url, params=ACME).json()["status"] == "in_progress"
    metrics = scrape(both)
    assert value(metrics, "cache_operations_total", operation="get", result="hit") == 1
    assert value(metrics, "cache_operations_total", operation="get", result="miss") == 2
    assert value(metrics, "cache_operations_total", operation="set", result="ok") == 2
    assert value(metrics, "cache_operations_total", operation="delete", result="ok") == 1
    assert value(metrics, "cache_operation_duration_seconds_count") == 6
    assert value(metrics, "redis_operation_duration_seconds_count", operation="get") == 3


def test_listing_filters_and_pages(both: TestClient) -> None:
    ids = [create(both, assignee=name)["id"] for name in ("ada", "grace", "ada")]
    create(both, tenant_id="globex")
    move(both, ids[0], "cancelled")

    def listed(**more: str | int) -> list[str]:
        return [task["id"] for task in both.get("/api/db/tasks", params=ACME | more).json()]

    assert sorted(listed()) == sorted(ids)
    assert listed(status="cancelled") == [ids[0]]
    assert sorted(listed(assignee="ada")) == sorted([ids[0], ids[2]])
    assert listed(limit=1) + listed(limit=2, offset=1) == listed()


def test_tenants_do_not_see_each_other(client: TestClient) -> None:
    task, other = create(client)["id"], {"tenant_id": "globex"}
    client.get(f"/api/db/tasks/{task}", params=ACME)  # now it is in the cache
    problem(client.get(f"/api/db/tasks/{task}", params=other), 404)
    problem(client.get(f"/api/db/audit/{task}", params=other), 404)
    problem(client.patch(f"/api/db/tasks/{task}/status", params=other, json={"status": "cancelled"}), 404)


def test_endpoint_labels_are_templates(client: TestClient) -> None:
    for number in range(5):
        client.get(f"/api/db/tasks/TASK-{number}", params=ACME)
        client.get(f"/api/db/audit/TASK-{number}", params=ACME)
        client.get(f"/nowhere/{number}")
    client.request("BREW", "/api/db/tasks")
    metrics = scrape(client)
    assert value(metrics, "http_requests_total", method="GET", endpoint="/api/db/tasks/{task_id}", status="404") == 5
    assert value(metrics, "http_requests_total", method="GET", endpoint="/api/db/audit/{task_id}", status="404") == 5
    assert value(metrics, "http_requests_total", method="GET", endpoint="unmatched", status="404") == 5
    assert value(metrics, "http_requests_total", method="other") == 1
    assert value(metrics, "http_request_duration_seconds_count", endpoint="/api/db/tasks/{task_id}") == 5
    assert series(metrics, "http_request_duration_seconds_bucket", endpoint="/api/db/tasks/{task_id}", le="30.0") == [5]


def test_skipped_paths_and_options(make_client: Any) -> None:
    client = make_client(APP_METRICS_SKIP_PATHS="/health,/api/search")
    for path in (
        "/health",
        "/health/ready",
        "/metrics",
        "/api/search?tenant_id=acme&q=x",
        "/api/db/tasks?tenant_id=acme",
    ):
        client.get(path)
    client.options("/api/db/tasks")
    assert value(scrape(client), "http_requests_total") == 1


def test_options_are_counted_when_asked_for(make_client: Any) -> None:
    client = make_client(APP_METRICS_SKIP_OPTIONS="false")
    client.options("/api/db/tasks")
    assert value(scrape(client), "http_requests_total", method="OPTIONS") == 1


def test_metrics_path_is_configurable_and_default_metrics_are_apart(make_client: Any) -> None:
    client = make_client(APP_PROMETHEUS_PATH="/api/v1/metrics")
    client.get("/api/db/tasks", params=ACME)
    assert client.get("/metrics").status_code == 404
    own, default = scrape(client, "/api/v1/metrics"), scrape(client, "/api/v1/metrics/default")
    assert value(own, "http_requests_total", endpoint="/api/db/tasks") == 1
    assert value(default, "http_requests_total", handler="/api/db/tasks") == 1
    assert series(own, "http_requests_total", handler="/api/db/tasks") == []


def test_disabled_metrics_are_refused_and_nothing_is_registered(make_client: Any) -> None:
    client = make_client(APP_PROMETHEUS_ENABLED="false")
    create(client)
    assert client.get("/metrics").status_code == 404
    assert client.get("/metrics/default").status_code == 404
    assert [item.cls.__name__ for item in client.app.user_middleware] == ["RequestContext"]


def test_content_type_and_no_auth(make_client: Any, tmp_path: Path) -> None:
    (tmp_path / "api").write_text("an-api-token")
    client = make_client(APP_API_TOKEN_FILE=str(tmp_path / "api"))
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    problem(client.get("/api/db/tasks", params=ACME), 401)
    problem(client.post("/webhook/servicedesk", json={}, headers={"Authorization": "Bearer wrong"}), 401)
    good = client.get("/api/db/tasks", params=ACME, headers={"Authorization": "Bearer an-api-token"})
    assert good.status_code == 200


def test_scrape_is_fast(client: TestClient) -> None:
    for number in range(50):
        create(client, assignee=f"user{number}")
    start = time.perf_counter()
    for _ in range(5):
        scrape(client)
    assert (time.perf_counter() - start) / 5 < 0.1


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"priority": "soon"}, "body.priority"),
        ({"tenant_id": "No Such"}, "body.tenant_id"),
        ({"title": ""}, "body.title"),
        ({"title": "a\x00b"}, "body.title"),
        ({"assignee": "a" * 70}, "body.assignee"),
        ({"colour": "red"}, "body.colour"),
    ],
)
def test_bad_bodies(client: TestClient, change: dict[str, str], field: str) -> None:
    body = problem(client.post("/api/db/tasks", json=TASK | change), 422)
    assert [error["field"] for error in body["errors"]] == [field]
    assert value(scrape(client), "errors_total", type="RequestValidationError", severity="warning") == 1


def test_bad_json_unknown_status_and_illegal_transition(client: TestClient) -> None:
    problem(client.post("/api/db/tasks", content=b"{", headers={"Content-Type": "application/json"}), 422)
    task = create(client)["id"]
    problem(move(client, task, "done"), 422)
    body = problem(move(client, task, "completed"), 409)
    assert body["detail"] == "pending cannot become completed; allowed: cancelled, in_progress"
    assert value(scrape(client), "errors_total", type="IllegalTransitionError") == 1


def test_unknown_tenants(make_client: Any) -> None:
    client = make_client(APP_TENANTS="acme, globex")
    create(client)
    problem(client.post("/api/db/tasks", json=TASK | {"tenant_id": "initech"}), 404)
    problem(client.get("/api/db/tasks", params={"tenant_id": "initech"}), 404)


@pytest.mark.parametrize("chunked", [False, True])
def test_oversized_bodies(make_client: Any, chunked: bool) -> None:
    client = make_client(APP_MAX_BODY_BYTES="2048")
    body = b'{"title": "' + b"x" * 5000 + b'"}'
    content = iter([body[:3000], body[3000:]]) if chunked else body
    answer = client.post("/api/db/tasks", content=content, headers={"Content-Type": "application/json"})
    assert "2048 bytes" in problem(answer, 413)["detail"]
    metrics = scrape(client)
    assert value(metrics, "http_requests_total", status="413") == 1
    assert value(metrics, "errors_total", type="HTTP413") == 1


def test_request_ids(client: TestClient) -> None:
    assert client.get("/health", headers={"X-Request-ID": "abc-12345"}).headers["x-request-id"] == "abc-12345"
    for bad in ("short", "has space in it", "x" * 65):
        given = client.get("/health", headers={"X-Request-ID": bad}).headers["x-request-id"]
        assert given != bad
        assert len(given) == 32


def test_health(both: TestClient) -> None:
    assert both.get("/health").json() == {"status": "ok"}
    assert both.get("/health/ready").json() == {"status": "ok", "checks": {"database": "ok", "broker": "ok"}}
    body = both.get("/health/db").json()
    assert body["status"] == "ok"
    assert body["pool"]["size"] == 5
    assert body["pool"]["max"] == 15
    metrics = scrape(both)
    for state in ("size", "checked_in", "checked_out", "overflow", "max"):
        assert len(series(metrics, "db_pool_connections", state=state)) == 1
    assert value(metrics, "db_pool_connections", state="max") == 15


def test_pool_overflow_is_shown(client: TestClient) -> None:
    parts: Parts = client.app.state.parts  # type: ignore[attr-defined]  # FastAPI's, which the client hides
    held = [parts.database.engine.connect() for _ in range(8)]
    pool = client.get("/health/db").json()["pool"]
    for connection in held:
        connection.close()
    assert pool["overflow"] >= 3
    assert value(scrape(client), "db_pool_connections", state="overflow") >= 3


def test_a_lost_database_is_503_everywhere_it_matters(client: TestClient) -> None:
    parts: Parts = client.app.state.parts  # type: ignore[attr-defined]  # FastAPI's, which the client hides
    with parts.database.writing() as session:
        session.execute(text("ALTER TABLE alembic_version RENAME TO gone"))
        session.execute(text("ALTER TABLE tasks RENAME TO gone_too"))
    assert client.get("/health").status_code == 200
    assert client.get("/health/ready").status_code == 503
    assert client.get("/health/db").status_code == 503
    assert problem(client.get("/api/db/tasks", params=ACME), 503)["detail"] == "the database does not answer; try again"


def test_a_locked_database_is_503_within_its_limit(client: TestClient) -> None:
    parts: Parts = client.app.state.parts  # type: ignore[attr-defined]  # FastAPI's, which the client hides
    with parts.database.writing() as session:
        session.execute(text("UPDATE tasks SET title = ''"))
        start = time.perf_counter()
        answer = client.post("/api/db/tasks", json=TASK)
        seconds = time.perf_counter() - start
    problem(answer, 503)
    assert answer.headers["retry-after"] == "5"
    assert 0.9 < seconds < 5
    assert value(scrape(client), "errors_total", type="OperationalError", severity="error") == 1
    create(client)


def test_webhook_counts_queued(both: TestClient) -> None:
    body = {"tenant_id": "acme", "ticket_id": "T-1", "text": "The printer hums."}
    answer = both.post("/webhook/servicedesk", json=body)
    assert answer.status_code == 202
    job = answer.json()
    assert (job["queue"], job["task_name"], job["status"]) == ("enhancement", "enhance", "queued")
    assert job["request_id"] == answer.headers["x-request-id"]
    assert value(scrape(both), "enhancement_requests_total", tenant_id="acme", status="queued") == 1
    parts: Parts = both.app.state.parts  # type: ignore[attr-defined]  # FastAPI's, which the client hides
    assert parts.redis.llen("enhancement") == 1
    parts.gauges.refresh()
    assert value(scrape(both), "queue_depth", queue_name="enhancement:queue", tenant_id="acme") == 1


def test_queue_depth_is_0_for_a_tenant_whose_job_was_never_seen_waiting(both: TestClient) -> None:
    parts: Parts = both.app.state.parts  # type: ignore[attr-defined]  # FastAPI's, which the client hides
    job = parts.repository.add_job(tenant="acme", queue="enhancement", task_name="enhance", payload={}, request_id="r")
    parts.repository.end_job(job.id, JobStatus.SUCCEEDED)
    parts.gauges.refresh()
    assert series(scrape(both), "queue_depth", queue_name="enhancement:queue", tenant_id="acme") == [0]


def test_jobs_of_each_queue(client: TestClient) -> None:
    content = base64.b64encode(samples.dxf(["x"])).decode()
    asked = {
        "enhancement": {"tenant_id": "acme", "text": "A text."},
        "extraction": {"tenant_id": "acme", "filename": "a.dxf", "content": content, "task": "extract_dxf"},
        "search": {"tenant_id": "acme", "task": "index_table"},
    }
    for queue, body in asked.items():
        job = client.post(f"/api/jobs/{queue}", json=body)
        assert job.status_code == 202, job.text
        assert client.get(f"/api/jobs/{job.json()['id']}").json()["queue"] == queue
    problem(client.get("/api/jobs/00000000-0000-0000-0000-000000000000"), 404)
    problem(client.post("/api/jobs/search", json={"tenant_id": "acme", "task": "index_record"}), 422)
    problem(client.post("/api/jobs/extraction", json=asked["extraction"] | {"content": "not base64!"}), 422)


def test_uploads(client: TestClient) -> None:
    files = {"file": ("plan.ifc", samples.part21("IFC4", ["Wall"]))}
    answer = client.post("/api/documents", data={"tenant_id": "acme", "task": "extract_ifc"}, files=files)
    assert answer.status_code == 202, answer.text
    problem(client.post("/api/documents", data={"tenant_id": "acme"}, files={"file": ("a", b"")}), 422)
    problem(client.post("/api/documents", data={"tenant_id": "acme", "task": "shred"}, files=files), 422)


def test_summary_says_that_it_is_local(client: TestClient) -> None:
    answer = client.post("/api/ai/summary", json={"tenant_id": "acme", "text": "One. Two."})
    assert answer.json() == {"text": "One. Two.", "provider": "local"}
    metrics = scrape(client)
    assert value(metrics, "ai_requests_total", operation="summary", status="success") == 1
    assert value(metrics, "ai_request_duration_seconds_count", operation="summary") == 1


def test_rate_limit(make_client: Any) -> None:
    client = make_client(APP_RATE_LIMIT_AI="5/minute")
    body = {"tenant_id": "acme", "text": "One."}
    statuses = [client.post("/api/ai/summary", json=body).status_code for _ in range(7)]
    # a minute may end between two requests: then one more passes
    assert statuses.count(429) in {1, 2}
    answer = client.post("/api/ai/summary", json=body)
    assert problem(answer, 429)["detail"].startswith("rate limit exceeded: 5 per 1 minute")
    assert answer.headers["retry-after"] == "60"
    client.app.state.parts.gauges.refresh()
    metrics = scrape(client)
    assert value(metrics, "rate_limit_violations_total") >= 2
    assert value(metrics, "rate_limit_near_limit") == 1


def test_active_users_and_other_gauges(client: TestClient) -> None:
    for name in ("ada", "grace", "ada"):
        client.get("/api/db/tasks", params=ACME, headers={"X-User": name})
    create(client)
    parts: Parts = client.app.state.parts  # type: ignore[attr-defined]  # FastAPI's, which the client hides
    parts.redis.zadd("landfall:workers", {"w1": time.time(), "w2": time.time() - 100})
    parts.redis.set("landfall:beat:last_tick", "1234.5")
    parts.gauges.refresh()
    metrics = scrape(client)
    assert value(metrics, "active_users") == 3  # and `anonymous`, who created the task
    assert value(metrics, "worker_active_count") == 1
    assert value(metrics, "beat_last_tick_timestamp_seconds") == 1234.5
    assert value(metrics, "tasks_by_status", status="pending") == 1
    assert value(metrics, "tasks_by_status", status="completed") == 0
    assert value(metrics, "records", kind="audits") == 1


def test_drills(client: TestClient, admin: dict[str, str]) -> None:
    assert client.post("/api/admin/drill", json={"kind": "slow", "seconds": 0.2}, headers=admin).status_code == 200
    body = problem(client.post("/api/admin/drill", json={"kind": "error"}, headers=admin), 500)
    assert "drill" not in body["detail"]
    metrics = scrape(client)
    assert value(metrics, "http_requests_total", endpoint="/api/admin/drill", status="500") == 1
    assert value(metrics, "errors_total", type="DrillError", severity="critical") == 1
    assert value(metrics, "http_request_duration_seconds_sum", endpoint="/api/admin/drill") > 0.2


def test_admin_needs_its_token(make_client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    client = make_client()
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic x"}, {"Authorization": "Bearer ü"}):
        encoded = {key: text_.encode("latin-1") for key, text_ in headers.items()}
        answer = client.post("/api/admin/test-alert", headers=encoded)
        problem(answer, 401)
        assert answer.headers["www-authenticate"] == "Bearer"
    monkeypatch.delenv("APP_ADMIN_TOKEN_FILE")
    problem(make_client().post("/api/admin/test-alert"), 503)
