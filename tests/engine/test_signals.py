"""What verify asks of Loki, Alertmanager and Grafana: right answers pass, and each wrong one is a fault."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.landfall.vps.plugins.module_utils import signals
from ansible_collections.landfall.vps.plugins.module_utils.docker_api import DockerError
from ansible_collections.landfall.vps.plugins.module_utils.probe import Unproven

WANTED = {
    "timeout": 0,
    "components": ["loki", "alloy", "grafana", "alertmanager", "prometheus", "app"],
    "test_alert": "none",
}
SERVES: dict[str, dict[str, Any]] = {
    "loki": {"api": "logs", "port": 3100, "query": "/loki/query", "config": "/config", "retention": "720h"},
    "alloy": {"api": "log_collector", "selector": '{container="{container}"}', "excluded": ["noisy-.*"]},
    "grafana": {"api": "dashboards", "exec": ["bash", "/prove.sh"], "loaded": r"proven: (\d+) dashboards"},
    "alertmanager": {
        "api": "pager",
        "port": 9093,
        "alerts": "/api/v2/alerts",
        "metrics": "/metrics",
        "sent": "alertmanager_notifications_total",
        "refused": "alertmanager_notification_requests_failed_total",
        "nobody": "nowhere",
    },
    "prometheus": {"api": "metrics", "port": 9090, "pulse": "Watchdog"},
}
CONFIG = """target: all
limits_config:
    max_line_size: 256KB
    retention_period: 30d
table_manager:
    retention_period: 0s
"""


class Engine:
    """Stands for the Docker Engine: when each container wrote last, and what Grafana's own proof says."""

    def __init__(self) -> None:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() - 90))
        self.lines = {"app": f"{stamp}.123456789Z started\n", "loki": f"{stamp}Z up\n"}
        self.proof = (0, "proven: 2 dashboards\n")

    def call(self, _method: str, path: str) -> tuple[int, bytes]:
        text = self.lines.get(path.split("/")[2], "")
        return 200, b"\x01\0\0\0\0\0\0\x20" + text.encode() if text else b""

    def execute(self, name: str, argv: list[str]) -> tuple[int, str]:
        assert (name, argv) == ("grafana", ["bash", "/prove.sh"]), "the command that its role names"
        return self.proof


class Servers:
    """Stand for Loki and Alertmanager; attributes are what they have."""

    def __init__(self) -> None:
        self.config = CONFIG
        self.lines = {"app", "loki"}
        self.alerts: list[dict[str, Any]] = [{"labels": {"alertname": "Watchdog"}, "receivers": [{"name": "nowhere"}]}]
        self.receivers = ["ops", "pager"]
        self.sent, self.failed, self.fails, self.silent = 4, 0, 0, False

    def fetch(self, url: str, method: str = "GET", body: str | None = None, *_: Any, **__: Any) -> tuple[int, str]:
        if self.silent:
            raise Unproven(f"{url} does not answer")
        if url.endswith("/config"):
            return 200, self.config
        if "/loki/" in url:
            there = [name for name in self.lines if f"%22{name}%22" in url]
            return 200, json.dumps({"data": {"result": there}})
        if method == "POST":
            [alert] = json.loads(body or "[]")
            self.alerts.append({**alert, "receivers": [{"name": name} for name in self.receivers]})
            self.sent += len(self.receivers)
            self.failed += self.fails
            return 200, ""
        if url.endswith("/metrics"):
            return 200, (
                f'alertmanager_notifications_total{{integration="webhook"}} {self.sent}\n'
                f'alertmanager_notification_requests_failed_total{{integration="webhook"}} {self.failed}\n'
            )
        name = url.rsplit("%22", 2)[1]
        return 200, json.dumps([alert for alert in self.alerts if alert["labels"]["alertname"] == name])


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> Servers:
    found = Servers()
    monkeypatch.setattr(signals, "address", lambda *_: "192.0.2.1")
    monkeypatch.setattr(signals, "fetch", found.fetch)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    return found


def ask(engine: Engine, **more: Any) -> signals.Signals:
    records: dict[str, dict[str, Any]] = {
        name: {"containers": {name: {}}, "files": {}, "meta": {"serves": [{"service": name, **item}]}}
        for name, item in SERVES.items()
    }
    records["grafana"]["meta"]["takes"] = {"dashboards": "boards.d"}
    files: dict[str, dict[str, str]] = {"grafana/boards.d/app--a.json": {}, "elsewhere/boards.d/app--a.json": {}}
    records["app"] = {"containers": {"app": {}, "noisy-1": {}}, "files": files, "meta": {}}
    return signals.check(engine, "landfall", {**WANTED, **more}, records)  # type: ignore[arg-type]  # a stand-in


def test_all_is_well(engine: Engine, servers: Servers) -> None:
    found = ask(engine)
    assert found.faults == []
    assert found.facts == {
        "logs_in_loki": {"containers": 6, "found": 2, "quiet_for_a_day": 4},
        "loki_retention": "720h",
        "grafana": {"dashboards": 2, "shipped": 1, "data_sources": "healthy"},
        "alerts_arrive": True,
    }


@pytest.mark.parametrize(
    ("broken", "where", "words"),
    [
        (lambda e, s: s.lines.discard("app"), "logs of app", "does not have the line that it wrote 1 m"),
        (lambda e, s: setattr(s, "config", CONFIG.replace("30d", "7d")), "loki", "7d instead of 720h"),
        (lambda e, s: setattr(s, "config", "target: all\n"), "loki", "unset instead of 720h"),
        (lambda e, s: s.alerts.clear(), "alertmanager", "has never heard of Watchdog"),
        (lambda e, s: setattr(e, "proof", (0, "proven: 0 dashboards")), "grafana", "0 of 1 shipped"),
        (lambda e, s: setattr(e, "proof", (1, "datasource loki: 502")), "grafana", "datasource loki: 502"),
    ],
    ids=["line missing", "retention", "no retention", "no alerts", "dashboard missing", "data source"],
)
def test_each_fault_is_found(
    broken: Callable[[Engine, Servers], None], where: str, words: str, engine: Engine, servers: Servers
) -> None:
    broken(engine, servers)
    [fault] = ask(engine).faults
    assert (fault["where"], words in fault["what"]) == (where, True), fault


def test_a_silent_server_is_a_fault_and_the_others_are_asked(engine: Engine, servers: Servers) -> None:
    servers.silent = True
    assert {fault["where"] for fault in ask(engine).faults} == {"loki", "alertmanager"}
    assert "grafana" in ask(engine).facts


def test_an_engine_that_refuses_is_a_fault(engine: Engine, servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> tuple[int, str]:
        raise DockerError("exec in grafana: no such container")

    monkeypatch.setattr(engine, "execute", refuse)
    assert [fault["where"] for fault in ask(engine).faults] == ["grafana"]


def test_what_is_not_deployed_is_not_asked(engine: Engine, servers: Servers) -> None:
    found = ask(engine, components=["app"])
    assert (found.facts, found.faults) == ({}, [])


def test_no_test_alert_is_sent_unless_asked_for(engine: Engine, servers: Servers) -> None:
    ask(engine)
    assert len(servers.alerts) == 1


def test_a_test_alert_is_told(engine: Engine, servers: Servers) -> None:
    found = ask(engine, test_alert="critical")
    assert (found.faults, found.facts["test_alert"]) == ([], "told to ops, pager")


def test_a_test_alert_that_a_receiver_refuses_is_a_fault(engine: Engine, servers: Servers) -> None:
    servers.fails = 1
    assert [fault["what"] for fault in ask(engine, test_alert="info").faults] == ["1 requests to receivers failed"]


def test_a_test_alert_that_nobody_takes_is_said(engine: Engine, servers: Servers) -> None:
    servers.receivers = ["nowhere"]
    found = ask(engine, test_alert="warning")
    assert (found.faults, found.facts["test_alert"]) == ([], "no receiver takes it")


def test_age_of_the_last_backup(tmp_path: Path) -> None:
    asked = [(str(tmp_path), "last_success_timestamp_seconds")]
    assert signals.backup([], 1000.0) == "no backup is set up"
    assert signals.backup([(str(tmp_path / "gone"), "x")], 1000.0) == "no backup is set up"
    (tmp_path / "reboot.prom").write_text("node_reboot_required 0\n")
    assert signals.backup(asked, 1000.0) == "no backup is set up"
    (tmp_path / "backup.prom").write_text(
        "# TYPE last_success_timestamp_seconds gauge\n"
        'last_success_timestamp_seconds{what="redis"} 1.0e+05\n'
        'last_success_timestamp_seconds{what="app"} 107200\n'
    )
    assert signals.backup(asked, 107260.0) == '2 h 1 m ago (what="redis")'


def test_facts_are_sentences() -> None:
    assert signals.sentence({"up": 3, "data_sources": "healthy"}) == "up 3, data sources healthy"
    assert [signals.sentence(value) for value in ([], [22], True, "x")] == ["none", "22", "yes", "x"]
