"""A line of every service is in Loki, with its labels; one request is found in all services that it went through."""

from __future__ import annotations

import json
import time
import uuid
from typing import Any

import pytest
from testbed import probe

from scripts import prove_dashboards

LEVELS = {"debug", "info", "warning", "error", "critical", "unknown"}
# What loki.md calls labels; everything else of a stream in an answer is structured metadata
LABELS = {"source", "container", "service", "level"}
DAY = 86400
SOON = 30.0  # s: Alloy's refresh of containers, its batch, and room for a busy machine


def lines(base: str, query: str, seconds: float = DAY) -> list[dict[str, str]]:
    """Return what Loki has for a query: for each line its labels and metadata, and itself as `line`."""
    now = time.time()
    span = {"start": str(int((now - seconds) * 1e9)), "end": str(int(now * 1e9)), "limit": "100"}
    data = prove_dashboards.ask(base, "/loki/api/v1/query_range", {"query": query, **span}, 30)
    assert data["resultType"] == "streams", query
    return [{**stream["stream"], "line": line} for stream in data["result"] for _, line in stream["values"]]


def series(base: str, match: str) -> list[dict[str, str]]:
    """Return the label sets of the streams that match: labels alone, without metadata."""
    start = str(int((time.time() - DAY) * 1e9))
    found: list[dict[str, str]] = prove_dashboards.ask(
        base, "/loki/api/v1/series", {"match[]": match, "start": start}, 30
    )
    return found


def test_a_line_of_every_container_is_found_with_its_labels(
    host: Any, servers: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    base = servers["logql"]
    containers = probe.containers(host)
    service = {name: entry["Config"]["Labels"]["com.docker.compose.service"] for name, entry in containers.items()}

    def missing() -> set[str]:
        return {name for name in containers if not lines(base, f'{{source="docker", container="{name}"}}')}

    probe.eventually(lambda: not missing(), SOON)
    assert missing() == set()
    levels: dict[str, set[str]] = {}
    for stream in series(base, '{source="docker"}'):
        name = stream["container"]
        assert set(stream) == LABELS, stream
        assert stream["service"] == service.get(name, name), stream
        levels.setdefault(name, set()).add(stream["level"])
    with capsys.disabled():
        print(f"\n    lines of {len(containers)} containers, levels: { {k: sorted(v) for k, v in levels.items()} }")
    assert containers.keys() <= levels.keys()
    assert set().union(*levels.values()) <= LEVELS
    blind = {name for name in containers if levels[name] == {"unknown"}}
    assert blind == set(), "the level of none of their lines is known"


def test_the_journal_of_the_host_is_there(servers: dict[str, str]) -> None:
    found = series(servers["logql"], '{source="journal"}')
    assert found
    assert all(set(stream) == LABELS - {"container"} for stream in found), found
    assert any(entry.get("unit") for entry in lines(servers["logql"], '{source="journal"}'))


def test_a_line_that_is_written_now_arrives(
    host: Any, servers: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """And one request is found by its id in the application and in the worker that did its work."""
    number = uuid.uuid4().hex
    address = probe.containers(host)["app"]["NetworkSettings"]["Networks"]["landfall"]["IPAddress"]
    ticket = json.dumps({"tenant_id": "acme", "ticket_id": number, "text": "The printer hums. It was fine yesterday."})
    start = time.monotonic()
    headers = ["-H", "Content-Type: application/json", "-H", f"X-Request-ID: {number}"]
    probe.get(host, f"http://{address}:8000/webhook/servicedesk", *headers, "-d", ticket)
    query = f'{{source="docker"}} | request_id="{number}"'
    wanted = {"app", "celery-enhancement"}

    def there() -> bool:
        return wanted <= {entry["container"] for entry in lines(servers["logql"], query, 600)}

    assert probe.eventually(there, SOON), lines(servers["logql"], query, 600)
    found = lines(servers["logql"], query, 600)
    with capsys.disabled():
        print(f"\n    {len(found)} lines of one request after {time.monotonic() - start:.1f} s")
    assert {entry["request_id"] for entry in found} == {number}
    assert all(json.loads(entry["line"])["request_id"] == number for entry in found)
    worker = [entry for entry in found if entry["container"] == "celery-enhancement"]
    assert all(entry["task_id"] and entry["task_name"] == "enhance" and entry["logger"] for entry in worker), worker
    assert not any("request_id" in stream for stream in series(servers["logql"], '{source="docker"}'))
