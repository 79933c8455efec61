"""What is told of containers that do not serve: true exit codes, the failing ones first and whole."""

from __future__ import annotations

import json
import os
import socket
import urllib.parse
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.landfall.vps.plugins.module_utils import inside, probe, report
from ansible_collections.landfall.vps.plugins.module_utils.docker_api import DockerError


class Engine:
    """An engine with these containers; ``events`` are (container, action, exit code), as it remembers them."""

    def __init__(self, events: list[tuple[str, str, str]] | None = None, **containers: dict[str, Any]) -> None:
        self.containers, self.events = containers, events or []
        self.lines: dict[str, list[str]] = {}

    def inspect(self, name: str) -> dict[str, Any] | None:
        return self.containers.get(name)

    def call(self, _method: str, path: str) -> tuple[int, bytes]:
        asked = urllib.parse.parse_qs(urllib.parse.urlsplit(path).query)
        assert float(asked["since"][0]) < float(asked["until"][0]), "without an end it would wait for events for ever"
        [name] = json.loads(asked["filters"][0])["container"]
        found = [
            json.dumps({"Action": action, "Actor": {"Attributes": {"exitCode": code} if code else {}}})
            for container, action, code in self.events
            if container == name
        ]
        return 200, "\n".join([*found, "no json"]).encode()

    def logs(self, name: str, lines: int) -> str:
        return "\n".join(self.lines.get(name, [])[-lines:]) + "\n"


def state(status: str, code: int = 0, health: str = "", restarts: int = 0, **more: Any) -> dict[str, Any]:
    checked = {"Health": {"Status": health}} if health else {}
    return {"State": {"Status": status, "ExitCode": code, **checked, **more}, "RestartCount": restarts}


@pytest.mark.parametrize(
    ("described", "events", "said"),
    [
        (state("exited", 3), [], "ended with exit code 3"),
        (state("running", 0, restarts=4), [("web", "die", "1")], "ended with exit code 1 and keeps restarting"),
        (state("restarting", 1, restarts=4), [], "ended with exit code 1 and keeps restarting"),
        (
            state("running", 0, restarts=3),
            [("web", "die", "1"), ("other", "die", "9"), ("web", "die", "78")],
            "ended with exit code 78 and keeps restarting",
        ),
        (state("running", 0, restarts=3), [("web", "die", "0")], "comes to an end, as if it were a job) and keeps"),
        (
            state("running", 0, restarts=3),
            [("web", "oom", ""), ("web", "die", "137")],
            "exit code 137 (it needs more memory than its limit) and keeps restarting",
        ),
        (state("exited", 137, OOMKilled=True), [], "exit code 137 (it needs more memory than its limit)"),
        (state("created", 127, Error="exec: no such file"), [], "ended with exit code 127 (exec: no such file)"),
    ],
)
def test_how_it_ended(described: dict[str, Any], events: list[tuple[str, str, str]], said: str) -> None:
    engine: Any = Engine(events, web=described)
    assert said in report.how_it_ended(engine, "web", described)


def test_the_verdict_has_the_true_exit_code() -> None:
    engine: Any = Engine([("web", "die", "1")], web=state("running", 0, restarts=3))
    with pytest.raises(probe.Hopeless, match="container web ended with exit code 1 and keeps restarting"):
        probe.prove(engine, ["web"], [], "landfall", 5, restarts=0)


def test_an_engine_that_tells_of_no_events_is_no_reason_to_fail() -> None:
    engine: Any = Engine(web=state("running", 0, restarts=3))

    def refuse(*_: Any) -> None:
        raise DockerError("timed out")

    engine.call = refuse
    assert report.how_it_ended(engine, "web", engine.containers["web"]) == (
        "container web ended with exit code 0 (its command comes to an end, as if it were a job) and keeps restarting"
    )


def test_the_failing_container_comes_first_and_whole() -> None:
    healthy = state("running", health="healthy")
    engine: Any = Engine([("web", "die", "1")], api=healthy, web=state("restarting", 0, restarts=4), zed=healthy)
    engine.lines = {name: [f"{name} says {number}" for number in range(300)] for name in ("api", "web", "zed")}
    engine.lines["web"][-90:] = ["Traceback", *[f"  File {number}" for number in range(88)], "KeyError: 'REDIS_URL'"]
    lines = report.last_lines(engine, ["zed", "web", "api"]).splitlines()
    assert lines[0] == "--- web ended with exit code 1 and keeps restarting; api is healthy; zed is healthy"
    assert lines[1] == "--- last 150 log lines of web"
    assert lines[62] == "Traceback" and lines[151] == "KeyError: 'REDIS_URL'"
    assert lines[152:] == [
        "--- last 5 log lines of api",
        *[f"api says {number}" for number in range(295, 300)],
        "--- last 5 log lines of zed",
        *[f"zed says {number}" for number in range(295, 300)],
    ]


def test_one_that_is_unhealthy_or_was_never_made_is_told() -> None:
    engine: Any = Engine(
        a=state("running", health="starting"), b=state("running", health="unhealthy"), c=state("created")
    )
    engine.lines = {"a": ["a is up"], "b": ["b is stuck"]}
    assert report.last_lines(engine, ["a", "b", "c", "d"]) == (
        "--- d was not made; b is unhealthy; a runs and is not healthy yet; c was not started\n"
        "--- last 1 log line of b\nb is stuck\n--- last 1 log line of a\na is up"
    )


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"ufw.conf": 'ENABLED="yes"\n'}, "ufw allow in on br0 from 10.0.0.0/24 to 10.0.0.1 port 9100 proto tcp"),
        ({"ufw.conf": "ENABLED=no\n"}, "iptables -I INPUT -i br0 -s 10.0.0.0/24 -d 10.0.0.1 -p tcp --dport 9100"),
        ({}, "iptables -I INPUT -i br0"),
        ({"firewalld/x": ""}, "firewall-cmd --permanent --zone=docker --add-port=9100/tcp"),
    ],
)
def test_the_missing_rule_is_named_for_the_firewall_that_is_there(
    files: dict[str, str], said: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    monkeypatch.setattr(inside, "UFW", str(tmp_path / "ufw.conf"))
    monkeypatch.setattr(inside, "FIREWALLD", str(tmp_path / "firewalld"))
    assert inside.rule("br0", "10.0.0.0/24", "10.0.0.1", 9100).startswith(said)


def test_what_serves_the_vps_alone_is_not_proven(monkeypatch: pytest.MonkeyPatch) -> None:
    class Network(Engine):
        def networks(self) -> dict[str, dict[str, str]]:
            return {"landfall": {"gateway": "10.0.0.1", "subnet": "10.0.0.0/24", "bridge": "br0"}}

        def json(self, _method: str, path: str) -> list[dict[str, str]]:
            return [{"Id": "db"}] if '"landfall"' in urllib.parse.unquote_plus(path) else []

    engine: Any = Network(db={"State": {"Status": "running", "Pid": 4242}})
    monkeypatch.setattr(probe, "fetch", lambda *_a, **_k: (200, "fine"))
    asked: list[tuple[int, str, int]] = []

    def refuse(pid: int, host: str, port: int) -> str:
        asked.append((pid, host, port))
        return "timed out"

    monkeypatch.setattr(inside, "refusal", refuse)
    item = {"port": 9100, "path": "/metrics", "host": "gateway", "service": "node"}
    with pytest.raises(probe.Unproven, match=r"10.0.0.1:9100 answers the VPS itself, but not containers \(timed out\)"):
        probe.once(engine, item, "landfall", {})
    assert asked == [(4242, "10.0.0.1", 9100)]
    monkeypatch.setattr(inside, "refusal", lambda *_: "")
    probe.once(engine, item, "landfall", {})


SYS_ADMIN = 21  # its number in /proc/<pid>/status, see man 7 capabilities


def may_enter_networks() -> bool:
    """Whether this process may enter the network of another: root can in general, root in a container cannot."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return bool(int(status.split("CapEff:")[1].split()[0], 16) >> SYS_ADMIN & 1)


def closed_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


def test_who_cannot_be_asked_from_inside_says_nothing() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        assert inside.refusal(os.getpid(), "127.0.0.1", server.getsockname()[1]) == "", "somebody listens"
    assert inside.refusal(2**22 + 5, "127.0.0.1", closed_port()) == "", "no such process: nobody can be asked"


@pytest.mark.skipif(not may_enter_networks(), reason="entering a network needs CAP_SYS_ADMIN, which is missing here")
def test_a_question_from_within_a_network_of_ones_own() -> None:
    """Asked from this very process's network, whose loopback refuses what nobody listens on."""
    assert "refused" in inside.refusal(os.getpid(), "127.0.0.1", closed_port())
