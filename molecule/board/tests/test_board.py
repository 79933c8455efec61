"""A team's application from its compose file: it runs, keeps what it is given, and survives releases, good and bad."""

from __future__ import annotations

import json
import socket
import time
from typing import Any

from testbed import probe
from testbed.visitor import Echo, Visitor

NAME = "board.example.org"
RUNS = {"web", "flower", "worker", "celery-beat", "postgres", "redis", "caddy"}


def sql(host: Any, statement: str) -> str:
    argv = ["docker", "exec", "postgres", "psql", "-U", "postgres", "-d", "board", "-Atqc", statement]
    return probe.output(host, *argv).strip()


def deploy(values: dict[str, Any], tags: str) -> tuple[str, dict[str, int]]:
    """What a run prints, its line breaks gone, and the figures of its recap."""
    text, figures, _status = probe.playbook("--tags", tags, "-e", json.dumps(values))
    return " ".join(text.split()), figures


def test_what_the_compose_file_had_runs_and_nothing_of_the_reference_application(host: Any) -> None:
    found = probe.containers(host)
    states = {name: found[name]["State"]["Health"]["Status"] for name in RUNS}
    assert states == dict.fromkeys(RUNS, "healthy")
    assert not {"app", "db", "cache", "proxy", "celery-enhancement", "celery-worker"} & set(found)
    web, worker = found["web"], found["worker"]
    assert web["Config"]["Image"] == worker["Config"]["Image"], "one image for all"
    bound = {name for name, entry in found.items() if entry["HostConfig"]["PortBindings"]}
    assert not RUNS & bound - {"caddy"}, "the compose file opened two ports"


def test_its_release_migrated_the_database(host: Any, visitor: Any) -> None:
    assert sql(host, "SELECT version_num FROM alembic_version") == "0001"
    log = host.run("docker logs web 2>&1").stdout
    assert "Uvicorn running" in log and "alembic" not in log
    assert visitor.ask("GET", "/readyz")[0] == 200


def test_a_notice_goes_through_database_broker_and_worker(visitor: Any) -> None:
    number = visitor.post("three+small+words")

    def words() -> Any:
        return json.loads(visitor.ask("GET", f"/api/notices/{number}")[1])["words"]

    assert probe.eventually(lambda: words() == 3, 30), words()


def test_its_frontend_is_served(visitor: Any) -> None:
    status, text = visitor.ask("GET", "/")
    assert status == 200 and "<h1>Notice board</h1>" in text


def test_it_answers_to_its_own_names_alone_and_is_well(host: Any, visitor: Any) -> None:
    inner = probe.containers(host)["web"]["NetworkSettings"]["Networks"]["landfall"]["IPAddress"]
    ask = "curl -sS -m 10 -o /dev/null -w %{{http_code}} -H 'Host: {}' http://{}:8000/healthz"
    assert probe.output(host, "sh", "-c", ask.format("other.example.org", inner)) == "400"
    assert probe.output(host, "sh", "-c", ask.format(NAME, inner)) == "200"
    assert probe.containers(host)["web"]["State"]["Health"]["Status"] == "healthy"
    # The blackbox exporter and Prometheus come by the names that it knows
    assert probe.eventually(lambda: probe.value(host, 'min(probe_success{service="web"})') == 1)
    assert probe.eventually(lambda: probe.value(host, 'up{job="web"}') == 1)


def test_the_first_event_of_a_stream_comes_at_once(visitor: Any) -> None:
    with visitor.connect() as secure, secure.makefile("rb") as reader:
        begun = time.monotonic()
        secure.sendall(f"GET /api/events HTTP/1.1\r\nHost: {NAME}\r\n\r\n".encode())
        while (line := reader.readline()).strip() != b"data: 0":
            assert line, "the stream ended without an event"
        assert time.monotonic() - begun < 0.5, "the second event comes after half a second"
        while reader.readline().strip() != b"data: 1":
            pass


def test_beat_ticks_and_a_scheduled_job_has_run_by_itself(host: Any) -> None:
    ticks = 'sum(celery_task_succeeded_total{name="board.tidy"})'
    first = probe.eventually(lambda: probe.value(host, ticks))
    assert probe.eventually(lambda: (probe.value(host, ticks) or 0) > first), first
    runs = 'landfall_scheduled_runs_total{scheduled_job="web-report", result="success"}'
    assert probe.eventually(lambda: probe.value(host, runs), 90)
    assert "notices" in probe.output(host, "docker", "logs", "web-report")


def test_an_open_websocket_outlives_a_change_of_the_proxy(host: Any, visitor: Any) -> None:
    opened = Echo(visitor, "/api/echo")
    assert opened.say("before") == "before"
    before = probe.identity(probe.containers(host)["caddy"])
    said, figures = deploy({"caddy_error_page": "gone for a minute"}, "caddy")
    assert figures["failed"] == 0 and "caddy: reloaded" in said, said
    assert probe.identity(probe.containers(host)["caddy"]) == before
    assert opened.say("after") == "after"
    assert Echo(visitor, "/api/echo").say("new") == "new"


def test_an_upload_survives_a_new_version(host: Any, visitor: Any, services: list[dict[str, Any]]) -> None:
    assert visitor.upload("kept.txt", "precious") == (201, '{"bytes":8}')
    before = probe.containers(host)["web"]["Id"]
    services[0]["environment"]["LOG_LEVEL"] = "warning"
    said, figures = deploy({"app_services": services}, "app")
    assert figures["failed"] == 0, said
    found = probe.containers(host)["web"]
    assert found["Id"] != before and "LOG_LEVEL=warning" in found["Config"]["Env"]
    assert probe.output(host, "docker", "exec", "web", "cat", "/uploads/kept.txt") == "precious"
    assert visitor.ask("GET", "/readyz")[0] == 200


def test_a_migration_that_fails_leaves_the_old_one_serving(
    host: Any, visitor: Any, services: list[dict[str, Any]]
) -> None:
    before = probe.identity(probe.containers(host)["web"])
    services[0].update(release=["alembic", "upgrade", "9999"], environment={**services[0]["environment"], "NEW": "1"})
    said, figures = deploy({"app_services": services}, "app")
    assert figures["failed"] == 1 and "Can't locate revision identified by '9999'" in said, said
    assert probe.identity(probe.containers(host)["web"]) == before
    assert visitor.ask("GET", "/readyz")[0] == 200
    assert sql(host, "SELECT version_num FROM alembic_version") == "0001"


def test_a_command_that_exits_at_once_is_taken_back(host: Any, visitor: Any, services: list[dict[str, Any]]) -> None:
    services[0]["command"] = ["uvicorn", "board.nowhere:app"]
    said, figures = deploy({"app_services": services, "app_prove_timeout": 15}, "app")
    assert figures["failed"] == 1 and "undone" in said, said
    assert 'Could not import module "board.nowhere"' in said, said
    found = probe.containers(host)["web"]
    assert found["Config"]["Cmd"][1] == "board.main:app" and found["State"]["Health"]["Status"] == "healthy"
    assert visitor.ask("GET", "/readyz")[0] == 200


def test_flower_is_for_the_team(host: Any) -> None:
    """Its name and user came from labels of Traefik; the password is the one that the compose file names."""
    flower = Visitor(host, f"flower.{NAME}")
    assert flower.ask("GET", "/")[0] == 401
    for user, status in (("bob:wrong", 401), ("eve:for-the-team", 401), ("bob:for-the-team", 200)):
        found, text = flower.ask("GET", "/workers", authorization=user)
        assert found == status, (user, text)
    assert "celery@worker" in text or "worker@worker" in text, text


def test_nobody_else_gets_in(visitor: Any) -> None:
    for port in (5432, 5555, 6379, 8000, 9090):
        with socket.socket() as client:
            client.settimeout(5)
            assert client.connect_ex((visitor.address, port)) != 0, port
