"""Service level objectives: alerts and the dashboard read one source, and the dashboard's figures are right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from dashboards import queries
from tests import metric_catalog, rolekit, rulekit

FILE = "prometheus/rules.d/prometheus--http-slo.yml"
BOARD = rolekit.ROOT / "roles" / "grafana" / "files" / "dashboards" / "slo.json"


def _rules(tmp_path: Path, **variables: Any) -> list[dict[str, Any]]:
    text = rolekit.text(rolekit.component("prometheus", tmp_path, **variables), FILE)
    return [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]


def _queries() -> list[queries.Query]:
    return list(queries.of_board(json.loads(BOARD.read_text("utf-8")), str(BOARD.relative_to(rolekit.ROOT))))


def test_what_is_said_to_be_recorded_is(tmp_path: Path) -> None:
    recorded = {rule["record"] for rule in _rules(tmp_path) if "record" in rule}
    listed = {name for name, metric in metric_catalog.catalog().items() if metric.source.endswith(": recorded")}
    assert listed == recorded


def test_the_dashboard_asks_for_recorded_shares_and_objectives_and_has_none_of_its_own() -> None:
    judged = [one for one in _queries() if not one.panel.startswith("mark ")]
    names = {name for one in judged for name, _ in rulekit.selectors(one.filled)}
    assert names == {name for name in names if name.startswith(("service:", "slo:"))}
    assert {"slo:availability:objective", "slo:latency:objective"} <= names
    assert [variable for variable in json.loads(BOARD.read_text("utf-8"))["templating"]["list"]
            if variable["type"] == "custom"] == []  # fmt: skip


def test_an_objective_of_the_inventory_reaches_alerts_and_dashboard_alike(tmp_path: Path) -> None:
    own = _rules(tmp_path, app_alert_slo_availability=0.98, app_alert_slo_latency=0.91)
    records = {rule["record"]: rule["expr"] for rule in own if "record" in rule}
    assert records["slo:availability:objective"] == "vector(0.98)"
    assert records["slo:latency:objective"] == "vector(0.91)"
    for alert, objective in (("AvailabilityBudget", "(1 - 0.98)"), ("LatencyBudget", "(1 - 0.91)")):
        assert all(objective in rule["expr"] for rule in own if rule.get("alert", "").startswith(alert))


def test_the_figures_of_the_dashboard(tmp_path: Path) -> None:
    """2 of 100 requests fail and 10 are slow in the first half of the time shown, none in the second."""
    (tmp_path / "rules.yml").write_text(rolekit.text(rolekit.component("prometheus", tmp_path), FILE), "utf-8")
    app = 'job="app",service="app",component="app",node="vps",instance="app:8000",method="GET",endpoint="/"'
    series = {
        f'http_requests_total{{{app},status="200"}}': "0+98x60 5980+100x60",
        f'http_requests_total{{{app},status="500"}}': "0+2x60 120x60",
        f'http_request_duration_seconds_bucket{{{app},le="2.0"}}': "0+90x60 5500+100x60",
        f'http_request_duration_seconds_bucket{{{app},le="+Inf"}}': "0+100x120",
        f"http_request_duration_seconds_count{{{app}}}": "0+100x120",
    }
    # Value, and how exactly: the windows of 5 minutes smear where it begins and ends
    expected = {"Availability": (0.99, 0.01), "Availability budget left": (-9.0, 1),
                "Fast answers": (0.95, 0.01), "Latency budget left": (0.0, 0.1)}  # fmt: skip
    found = {one.panel: one for one in _queries() if one.panel in expected}
    cases = [
        {
            "expr": f"round({found[panel].filled.replace('[15m:', '[120m:')}, {exactly})",
            "eval_time": "120m",
            "exp_samples": [{"labels": '{service="app"}', "value": value}],
        }
        for panel, (value, exactly) in expected.items()
    ]
    group = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": cases,
    }
    (tmp_path / "test.yml").write_text(
        yaml.safe_dump({"rule_files": ["rules.yml"], "evaluation_interval": "1m", "tests": [group]}), "utf-8"
    )
    result = rulekit.run_promtool("test", "rules", tmp_path / "test.yml")
    assert result.returncode == 0, result.stdout + result.stderr
