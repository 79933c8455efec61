"""Probes against a real HTTP server and a made-up engine."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, ClassVar

import pytest
from ansible_collections.landfall.vps.plugins.module_utils import probe, verify


class Answers(BaseHTTPRequestHandler):
    """Remembers what it was sent; /ready is 503 twice, then 200."""

    seen: ClassVar[list[str]] = []
    refusals = 2

    def _answer(self, status: int, text: str) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())

    def do_GET(self) -> None:
        if self.path == "/ready" and Answers.refusals > 0:
            Answers.refusals -= 1
            self._answer(503, "waiting")
        elif self.path == "/old":
            self.send_response(302)
            self.send_header("Location", "/metrics")
            self.end_headers()
        elif self.path == "/metrics":
            self._answer(200, '# TYPE up gauge\nup{job="a"} 1\nconfig_ok 0\n')
        else:
            self._answer(200, "\n".join(Answers.seen))

    def do_POST(self) -> None:
        Answers.seen.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self._answer(204, "")

    def log_message(self, *_arguments: Any) -> None:
        pass


class Engine:
    """As much of an engine as probing asks for."""

    def __init__(self, **state: Any) -> None:
        self.state = {"Status": "running", "Health": {"Status": "healthy"}, **state}
        self.restarts = 0
        self.policy = "unless-stopped"

    def inspect(self, name: str) -> dict[str, Any] | None:
        if name == "gone":
            return None
        return {
            "State": self.state,
            "RestartCount": self.restarts,
            "HostConfig": {"RestartPolicy": {"Name": self.policy}},
            "NetworkSettings": {"Networks": {"landfall": {"IPAddress": "127.0.0.1"}}},
        }

    def execute(self, name: str, argv: list[str]) -> tuple[int, str]:
        return (0, "PONG\n") if argv == ["ping"] else (1, "no such command")


@pytest.fixture
def port() -> Iterator[int]:
    Answers.seen, Answers.refusals = [], 2
    server = HTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()


def prove(engine: Engine, *items: dict[str, Any], timeout: float = 5) -> Any:
    return probe.prove(engine, ["web"], [{"service": "web", **item} for item in items], "landfall", timeout)  # type: ignore[arg-type]  # as much of an engine as needed


def test_it_waits_until_ready(port: int) -> None:
    assert prove(Engine(), {"port": port, "path": "/ready"})["seconds"] < 5
    assert Answers.refusals == 0


def test_what_was_pushed_can_be_asked_for(port: int) -> None:
    push = {"port": port, "path": "/push", "method": "POST", "body": "line {nonce}", "status": 204}
    prove(Engine(), push, {"port": port, "path": "/query", "contains": "line {nonce}"})
    assert len(Answers.seen) == 1 and "{nonce}" not in Answers.seen[0]


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ({"path": "/ready", "status": 204}, "answered 503 instead of 204|answered 200 instead of 204"),
        ({"path": "/", "contains": "never said"}, "does not contain 'never said'"),
        ({"path": "/metrics", "metric": "config_ok", "equals": 1}, "config_ok is 0.0 instead of 1"),
        ({"path": "/metrics", "metric": "absent_metric"}, "absent_metric is None"),
    ],
)
def test_the_last_reason_is_told(port: int, item: dict[str, Any], words: str) -> None:
    with pytest.raises(probe.Unproven, match=words):
        prove(Engine(), {"port": port, **item}, timeout=0.5)


def test_a_redirect_is_an_answer_and_is_not_followed(port: int) -> None:
    prove(Engine(), {"port": port, "path": "/old", "status": 302})
    with pytest.raises(probe.Unproven, match="answered 302 instead of 200"):
        prove(Engine(), {"port": port, "path": "/old"}, timeout=0.2)


@pytest.mark.parametrize(
    "answer",
    [
        b"-ERR unknown command 'GET'\r\n",  # Redis
        b"\x15\x03\x01\x00\x02\x02\x16",  # TLS
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\ncut off",
        b"HTTP/1.1 503 Starting\r\nContent-Length: 100\r\n\r\ncut off",
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 150 + b"\r\n",
    ],
)
@pytest.mark.parametrize("stays", [False, True])
def test_whatever_answers_a_component_that_does_not_serve_is_told_as_such(answer: bytes, stays: bool) -> None:
    """Another error would pass by those who undo."""
    listener = socket.create_server(("127.0.0.1", 0))
    port, held = listener.getsockname()[1], []

    def answers() -> None:
        while True:
            try:
                connection, _from = listener.accept()
            except OSError:
                return
            connection.recv(4096)
            connection.sendall(answer)
            if stays:
                held.append(connection)
            else:
                connection.close()

    threading.Thread(target=answers, daemon=True).start()
    began = time.monotonic()
    with pytest.raises(probe.Unproven, match=f"http://127.0.0.1:{port}/ "):
        probe.fetch(f"http://127.0.0.1:{port}/", timeout=0.2)
    assert time.monotonic() - began < 5
    listener.close()


def test_a_path_that_no_request_can_hold_is_told_as_such(port: int) -> None:
    for path in ("/a b", "/ä"):
        with pytest.raises(probe.Unproven):
            probe.fetch(f"http://127.0.0.1:{port}{path}")


def test_a_probe_uses_no_proxy(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    prove(Engine(), {"port": port, "path": "/metrics"})


def test_the_end_of_what_a_program_said_is_kept() -> None:
    said = "".join(f"line {number}\n" for number in range(200)) + "KeyError: 'REDIS_URL'\n"
    kept = probe.tail(said)
    assert kept.startswith("[...] line ") and kept.endswith("line 199\nKeyError: 'REDIS_URL'") and len(kept) < 620
    assert (probe.tail(" short\n"), probe.tail("x" * 900)) == ("short", "[...] " + "x" * 600)


def test_a_metric_is_found_with_and_without_labels(port: int) -> None:
    prove(Engine(), {"port": port, "path": "/metrics", "metric": "up", "equals": 1})


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ('ok{path="/a/{id}"} 1', 1),
        ('ok{said="a \\" }"} 2', 2),
        ("ok\t3 1700000000", 3),
        ("ok{} 4", 4),
        ("okay 5", None),
    ],
)
def test_a_metric_is_read_as_the_text_format_writes_it(line: str, value: float | None) -> None:
    assert probe.metric_value(f"# HELP ok x\n{line}\n", "ok") == value


def test_commands_inside_the_container() -> None:
    prove(Engine(), {"exec": ["ping"], "contains": "PONG"})
    with pytest.raises(probe.Unproven, match="exit code 1: no such command"):
        prove(Engine(), {"exec": ["pong"]}, timeout=0.3)


def patience(engine: Engine, **more: Any) -> float:
    """Seconds until the proof gave up, on a clock that only sleeping moves."""
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    with pytest.raises(probe.Unproven, match="exit code 2"):
        probe.prove(engine, ["web"], [], "landfall", 60, lambda: now[0], sleep, **more)  # type: ignore[arg-type]
    return now[0]


def test_a_container_that_keeps_ending_is_not_waited_for_long() -> None:
    engine = Engine(Status="restarting", ExitCode=2)
    engine.restarts = 3
    assert 15 <= patience(engine) < 17
    assert patience(engine, restarts=60) > 59, "at its first start what it waits for may come up with it"


@pytest.mark.parametrize(
    ("state", "serves"), [({"Status": "exited"}, True), ({"Status": "exited", "ExitCode": 2}, False)]
)
def test_what_runs_once_has_to_end_well(state: dict[str, Any], serves: bool) -> None:
    engine = Engine(**state)
    engine.policy = "no"
    if serves:
        assert probe.prove(engine, ["seed"], [], "landfall", 5)["seconds"] < 1  # type: ignore[arg-type]
    else:
        assert patience(engine) == 0


def test_a_container_still_starting_is_waited_for_until_the_time_is_over() -> None:
    with pytest.raises(probe.Unproven, match="not ready after 0 s: containers are still starting"):
        prove(Engine(Health={"Status": "starting"}), timeout=0.3)


def test_the_table_is_aligned() -> None:
    assert verify.table([{"a": "x", "b": 1}, {"a": "longer", "b": 22}], ["a", "b"]) == [
        "a       b",
        "x       1",
        "longer  22",
    ]
