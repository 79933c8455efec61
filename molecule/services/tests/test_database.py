"""A PostgreSQL of a user's own, watched: every panel has data, every alert its metrics, a stop is told (EXP-06)."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from testbed import probe
from testbed.paths import ROOT

from scripts import prove_dashboards
from tests import rulekit

VPS = "molecule-services"
IMAGES = (ROOT / ".cache/vps" / VPS / "images").read_text(encoding="utf-8").strip()
SPAN = prove_dashboards.Span(window=900, timeout=30)
PATIENCE = 120.0  # s until the work has been scraped often enough for a rate
TOLD = 120.0  # s: a minute of the rule, a scrape that fails slowly, two evaluations
ALERTS = 'ALERTS{alertname="PostgresDown", alertstate="firing"}'


@pytest.fixture(scope="module")
def work() -> Iterator[subprocess.Popen[bytes]]:
    """Let the database work while others look: rows, sorts on the disk, locks, deadlocks, checkpoints."""
    command = ["ssh", "-F", str(ROOT / ".cache/vps/ssh_config"), VPS, "sudo", "docker", "exec", "database", "work.sh"]
    with subprocess.Popen([*command, "100"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        yield process
        process.terminate()


def test_it_is_a_target_and_signs_in(host: Any) -> None:
    asked = 'up{job="postgres-exporter"} == 1 and on (instance) pg_up == 1'
    assert probe.eventually(lambda: probe.value(host, asked) == 1)
    failing = probe.prometheus(host, "query", query="pg_scrape_collector_success == 0")["result"]
    assert [series["metric"]["collector"] for series in failing] == []


def test_every_query_of_the_dashboard_has_data(
    host: Any, work: subprocess.Popen[bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = prove_dashboards.choose("1m", SPAN, dashboards=["postgresql"], without=[])
    here = prove_dashboards.entries(IMAGES, without=set(), profile="standard")
    results: list[dict[str, Any]] = []
    with probe.tunnel(VPS, 9090) as bases:

        def without_data() -> list[str]:
            results[:] = prove_dashboards.prove(chosen, {"promql": bases[9090]}, here, SPAN)
            return [result["key"] for result in results if result["outcome"] != "data"]

        quiet = ["postgresql / mark Alerts firing / A"]  # nothing fires here but the watchdog
        assert probe.eventually(lambda: set(without_data()) <= set(quiet), PATIENCE), without_data()
    with capsys.disabled():
        sys.stdout.write(f"\n    {len(results)} queries executed ({IMAGES}): {prove_dashboards.counts(results)}\n")


def test_every_metric_and_label_of_its_rules_is_served(host: Any, work: subprocess.Popen[bytes]) -> None:
    groups = [group for group in probe.prometheus(host, "rules")["groups"] if group["name"].startswith("postgres-")]
    rules = [rule for group in groups for rule in group["rules"]]
    assert {rule["name"]: rule["health"] for rule in rules if rule["health"] != "ok"} == {}
    assert {rule["name"] for rule in rules} == {path.stem for path in rulekit.RUNBOOKS.glob("Postgres*.md")}
    for metric, matchers in {found for rule in rules for found in _named(rule["query"])}:
        series = probe.prometheus(host, "series", **{"match[]": metric})
        known = {label for one in series for label in one}
        assert series and set(matchers) <= known, metric


def _named(query: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    for metric, matchers in rulekit.selectors(query):
        yield metric, tuple(sorted(label for label, _, _ in matchers))


def test_the_password_is_in_its_file_and_nowhere_else(host: Any) -> None:
    path = "/opt/landfall/postgres_exporter/secrets/password"
    password = probe.output(host, "cat", path).strip()
    assert len(password) == 40
    assert probe.output(host, "stat", "-c", "%a %u", path).strip() == "400 65534"
    assert password not in json.dumps(probe.containers(host))
    assert password not in probe.output(host, "cat", "/opt/landfall/postgres_exporter/compose.yaml")
    assert password not in host.run("docker logs postgres-exporter 2>&1").stdout


def test_a_server_that_is_stopped_is_told(host: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert probe.value(host, ALERTS) is None
    begun = time.monotonic()
    probe.output(host, "docker", "stop", "database")
    try:
        assert probe.eventually(lambda: probe.value(host, "pg_up") == 0), "pg_up is still 1"
        assert probe.value(host, 'up{job="postgres-exporter"}') == 1, "the exporter itself answers"
        assert probe.eventually(lambda: probe.value(host, ALERTS) == 1, TOLD)
        with capsys.disabled():
            sys.stdout.write(f"\n    PostgresDown fires {time.monotonic() - begun:.0f} s after the stop\n")
        exporter = probe.containers(host)["postgres-exporter"]
        assert (exporter["State"]["Health"]["Status"], exporter["RestartCount"]) == ("healthy", 0)
    finally:
        probe.output(host, "docker", "start", "database")
    assert probe.eventually(lambda: probe.value(host, "pg_up") == 1)
    assert probe.eventually(lambda: probe.value(host, ALERTS) is None)
