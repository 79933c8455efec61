"""Dashboards: generated as committed, clean under the lint, every query parses and asks for what exists."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as dashboard_model

from dashboards.__main__ import ROOT, generated, main
from dashboards.board import RUNBOOKS
from dashboards.boards import BOARDS, application
from dashboards.queries import every, files, panels
from tests.dashboard_lint import Finding, Linter
from tests.metric_catalog import catalog, contract

NAMES = {path.stem for path in files()}
EXEMPTIONS = yaml.safe_load((ROOT / "tests" / "dashboard_exemptions.yml").read_text(encoding="utf-8"))
EXPECTED = {
    "overview",
    "api-performance",
    "api-instrumentator",
    "api-otel",
    "celery",
    "celery-workers",
    "database-redis",
    "postgresql",
    "application",
    "per-tenant",
    "host",
    "jobs",
    "containers",
    "logs",
    "loki",
    "alloy",
    "probes",
    "proxy",
    "monitoring-stack",
    "slo",
}
Board = dict[str, Any]


@cache
def _text(name: str) -> str:
    return next(path for path in files() if path.stem == name).read_text(encoding="utf-8")


def _load(name: str) -> Board:
    board: Board = json.loads(_text(name))
    return board


def _lint(board: Board, name: str) -> list[Finding]:
    return Linter(board, f"roles/any/files/dashboards/{name}.json", catalog(), NAMES).run()


def _allows(entry: Board, finding: Finding) -> bool:
    named = "metric" not in entry or re.fullmatch(entry["metric"], finding.metric) is not None
    return finding.rule in entry["rules"] and entry["dashboard"] == finding.dashboard and named


def _broken(board: Board, name: str) -> list[Finding]:
    return [found for found in _lint(board, name) if not any(_allows(entry, found) for entry in EXEMPTIONS)]


# ---- what is committed is what the Python modules make


@pytest.mark.parametrize("name", sorted(generated()))
def test_committed_file_is_what_the_generator_makes(name: str) -> None:
    path = ROOT / name
    assert path.read_bytes() == generated()[name].encode(), f"{name} is out of date: run python -m dashboards"


def test_no_dashboard_without_a_module() -> None:
    assert {path.relative_to(ROOT).as_posix() for path in files()} == {board.path for board in BOARDS}


def test_check_fails_on_a_file_that_differs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("dashboards.__main__.ROOT", tmp_path)
    assert main(["--check"]) == 1
    assert main([]) == 0
    assert main(["--check"]) == 0
    changed = tmp_path / BOARDS[0].path
    changed.write_text(changed.read_text(encoding="utf-8").replace("30s", "31s", 1), encoding="utf-8")
    assert main(["--check"]) == 1


# ---- what has to be there


def test_all_dashboards_exist_with_their_own_uid() -> None:
    assert NAMES == EXPECTED
    uids = [json.loads(path.read_text(encoding="utf-8"))["uid"] for path in files()]
    assert sorted(uids) == sorted(f"landfall-{name}" for name in EXPECTED)


def test_application_has_the_fifteen_panels_in_order() -> None:
    assert [(panel["title"], panel["type"]) for panel in panels(_load("application"))] == [
        ("HTTP request rate", "timeseries"),
        ("HTTP duration p95", "timeseries"),
        ("Tasks by status", "piechart"),
        ("Task creation rate", "timeseries"),
        ("Task completion rate", "timeseries"),
        ("DB pool status", "timeseries"),
        ("DB query duration p95", "timeseries"),
        ("Cache hit rate", "timeseries"),
        ("Error rate", "timeseries"),
        ("AI request duration p95", "timeseries"),
        ("Discord messages", "timeseries"),
        ("Total tasks created", "stat"),
        ("Total tasks completed", "stat"),
        ("DB query rate", "stat"),
        ("HTTP error rate", "stat"),
    ]
    assert len(application.BOARD.rows) == 1


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "api-performance",
            ["by (endpoint)", "by (method)", "by (status)", "histogram_quantile(0.95", 'status=~"5.."'],
        ),
        (
            "celery-workers",
            ["by (task_name)", "by (job)", "celery_queue_length", "celery_active_worker_count", "failure"],
        ),
        (
            "database-redis",
            ["db_pool_connections", "db_query_duration", "keyspace_hits", "memory_used", "redis_db_keys"],
        ),
        (
            "postgresql",
            [
                "pg_stat_activity_count",
                "pg_settings_max_connections",
                "pg_stat_statements_seconds_total",
                "pg_stat_database_xact_commit",
                "pg_stat_database_blks_hit",
                "pg_locks_count",
                "pg_stat_database_deadlocks",
                "pg_stat_database_temp_files",
                "pg_stat_activity_max_tx_duration",
                "pg_database_size_bytes",
                "pg_stat_checkpointer",
            ],
        ),
        ("overview", ["up{", "http_requests_total", "celery_task_succeeded_total", "node_cpu_seconds_total", "ALERTS"]),
        ("per-tenant", ["tenant_id", "enhancement_requests_total", "queue_depth"]),
    ],
)
def test_dashboard_answers_what_the_ledger_asks(name: str, words: list[str]) -> None:
    text = "\n".join(query.expr for query in every() if query.dashboard == name)
    assert [word for word in words if word not in text] == []


def test_every_dashboard_is_in_a_role_that_exists() -> None:
    assert [path for path in files() if not (path.parents[2] / "tasks" / "main.yml").is_file()] == []


@pytest.mark.parametrize("heading", ["## 4. ", "## 6. "])
def test_verification_guide_covers_every_dashboard(heading: str) -> None:
    guide = (ROOT / "docs" / "operations" / "grafana-verification.md").read_text(encoding="utf-8")
    table = guide.split(heading)[1].split("\n## ")[0]
    assert sorted(name for name in NAMES if not re.search(rf"(?m)^\|[^|]*\b{name}\b[^|]*\|", table)) == []


# ---- the lint


@pytest.mark.parametrize("name", sorted(NAMES))
def test_dashboard_is_clean_under_the_lint(name: str) -> None:
    assert [str(finding) for finding in _broken(_load(name), name)] == []


def test_every_exemption_is_needed_and_has_a_reason() -> None:
    found = [finding for name in NAMES for finding in _lint(_load(name), name)]
    for entry in EXEMPTIONS:
        assert len(entry["reason"]) > 20
        for rule in entry["rules"]:
            assert any(_allows({**entry, "rules": [rule]}, finding) for finding in found), (rule, entry)


def _panel(board: Board) -> Board:
    found: Board = board["panels"][1]
    return found


def _expr(expr: str) -> Callable[[Board], None]:
    def change(board: Board) -> None:
        _panel(board)["targets"][0]["expr"] = expr

    return change


def _set(*path: Any, to: Any) -> Callable[[Board], None]:
    def change(board: Board) -> None:
        place: Any = board
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = to

    return change


def _variable(name: str, key: str, to: Any) -> Callable[[Board], None]:
    def change(board: Board) -> None:
        next(variable for variable in board["templating"]["list"] if variable["name"] == name)[key] = to

    return change


def _drop_variable(name: str) -> Callable[[Board], None]:
    def change(board: Board) -> None:
        listed = board["templating"]["list"]
        board["templating"]["list"] = [variable for variable in listed if variable["name"] != name]

    return change


def _extra_variable(board: Board) -> None:
    spare = copy.deepcopy(board["templating"]["list"][-1])
    spare["name"] = "spare"
    board["templating"]["list"].append(spare)


def _without_word(board: Board) -> None:
    panel = next(panel for panel in panels(board) if "noValue" in panel["fieldConfig"]["defaults"])
    del panel["fieldConfig"]["defaults"]["noValue"]


SEL = 'job=~"$job",instance=~"$instance"'
RATE = "[$__rate_interval]"
FIRST = ("panels", 1)
QUERY = {"qryType": 1, "query": "label_values(no_such_metric, job)"}
FAULTS: list[tuple[str, Callable[[Board], None]]] = [
    ("dashboard-settings", _set("uid", to="something")),
    ("dashboard-settings", _set("editable", to=True)),
    ("dashboard-settings", _set("refresh", to="5m")),
    ("dashboard-settings", _set("timezone", to="utc")),
    ("dashboard-settings", _set("tags", to=[])),
    ("dashboard-settings", _set("links", to=[])),
    ("dashboard-settings", _set("id", to=7)),
    ("dashboard-settings", _set("apiVersion", to="dashboard.grafana.app/v2")),
    ("template-datasource-rule", _variable("prometheus_datasource", "label", "Source")),
    ("template-datasource-rule", _drop_variable("prometheus_datasource")),
    ("template-job-rule", _drop_variable("job")),
    ("template-job-rule", _variable("job", "multi", False)),
    ("template-instance-rule", _drop_variable("instance")),
    ("template-instance-rule", _variable("instance", "allValue", ".*")),
    ("template-on-time-change-reload-rule", _variable("job", "refresh", 1)),
    ("template-label-promql-rule", _variable("job", "query", {"query": "label_values(up{, job)"})),
    ("template-label-promql-rule", _variable("job", "query", {"query": "query_result(up)"})),
    ("unknown-metric-rule", _variable("job", "query", QUERY)),
    ("panel-datasource-rule", _variable("job", "datasource", {"type": "prometheus", "uid": "P1809F7CD0C75ACF3"})),
    ("panel-datasource-rule", _set(*FIRST, "datasource", "uid", to="prometheus")),
    ("panel-datasource-rule", _set(*FIRST, "targets", 0, "datasource", "uid", to="prometheus")),
    ("panel-title-description-rule", _set(*FIRST, "title", to="")),
    ("panel-title-description-rule", _set(*FIRST, "description", to="")),
    ("panel-units-rule", _set(*FIRST, "fieldConfig", "defaults", "unit", to="")),
    ("panel-units-rule", _set(*FIRST, "fieldConfig", "defaults", "unit", to="furlongs")),
    ("panel-thresholds-rule", _set("panels", 12, "fieldConfig", "defaults", "thresholds", to={})),
    ("panel-no-targets-rule", _set(*FIRST, "targets", to=[])),
    ("unique-panel-rule", _set(*FIRST, "id", to=1)),
    ("unique-panel-rule", _set(*FIRST, "title", to="HTTP request rate")),
    ("grid-rule", _set(*FIRST, "gridPos", "x", to=20)),
    ("grid-rule", _set(*FIRST, "gridPos", "x", to=0)),
    ("unused-variable-rule", _extra_variable),
    ("link-rule", _set(*FIRST, "links", 0, "url", to="/d/landfall-nowhere?x")),
    ("link-rule", _set(*FIRST, "links", 0, "url", to="https://grafana.example/d/1")),
    ("legend-rule", _set(*FIRST, "targets", 0, "legendFormat", to="")),
    ("legend-rule", _set(*FIRST, "targets", 0, "legendFormat", to="{{method}}")),
    ("target-promql-rule", _expr("sum(rate(http_requests_total{)")),
    ("target-promql-rule", _expr(f"sum(rate(http_requests_total{{{SEL}}}))")),
    ("target-promql-rule", _expr('sum(up{job=~"$nobody"})')),
    ("target-rate-interval-rule", _expr(f"sum by (endpoint) (rate(http_requests_total{{{SEL}}}[5m]))")),
    (
        "target-job-rule",
        _expr('sum by (endpoint) (rate(http_requests_total{instance=~"$instance"}[$__rate_interval]))'),
    ),
    ("target-instance-rule", _expr('sum by (endpoint) (rate(http_requests_total{job=~"$job"}[$__rate_interval]))')),
    ("target-counter-agg-rule", _expr(f"sum by (endpoint) (http_requests_total{{{SEL}}})")),
    ("unknown-metric-rule", _expr(f"sum by (endpoint) (rate(http_request_total{{{SEL}}}[$__rate_interval]))")),
    (
        "unknown-label-rule",
        _expr(f'sum by (endpoint) (rate(http_requests_total{{{SEL}, code="500"}}[$__rate_interval]))'),
    ),
    ("unknown-label-rule", _expr(f"sum by (uri) (rate(http_requests_total{{{SEL}}}[$__rate_interval]))")),
    (
        "ratio-rule",  # always 100 %: failure is matched with failure only
        _expr(f'rate(tasks_total{{{SEL}, status="failure"}}{RATE}) / rate(tasks_total{{{SEL}}}{RATE})'),
    ),
    (
        "quiet-rule",
        _expr(f"histogram_quantile(0.9, sum by (le) (rate(http_request_duration_seconds_bucket{{{SEL}}}{RATE})))"),
    ),
    (
        "quiet-rule",
        _expr(f"sum(rate(http_requests_total{{{SEL}}}{RATE})) / sum(rate(http_requests_total{{{SEL}}}{RATE}))"),
    ),
    ("quiet-rule", _without_word),
    ("everywhere-rule", _expr(f"sum(process_resident_memory_bytes{{{SEL}}})")),
    ("unknown-value-rule", _expr(f'sum(rate(node_cpu_seconds_total{{{SEL}, mode="lazy"}}[$__rate_interval]))')),
]


@pytest.mark.parametrize(("rule", "fault"), FAULTS, ids=[f"{at}-{rule}" for at, (rule, _) in enumerate(FAULTS)])
def test_lint_finds_the_fault(rule: str, fault: Callable[[Board], None]) -> None:
    board = _load("application")
    fault(board)
    assert rule in {finding.rule for finding in _broken(board, "application")}


def test_lint_finds_a_fixed_range_in_logql() -> None:
    board = _load("logs")
    target = next(panels(board))["targets"][0]
    target["expr"] = target["expr"].replace("$__auto", "5m")
    assert "target-logql-auto-rule" in {finding.rule for finding in _broken(board, "logs")}


# ---- runbooks


def test_every_runbook_that_a_panel_links_to_exists() -> None:
    linked = set()
    for path in files():
        linked.update(re.findall(r"\$\{runbooks\}/(\w+\.md)", path.read_text(encoding="utf-8")))
    pages = {path.name for path in (ROOT / "docs" / "runbooks").glob("*.md")}
    assert len(linked) > 20
    assert sorted(linked - pages) == []


# ---- the types of the SDK


@pytest.mark.parametrize("name", sorted(NAMES))
def test_json_fits_the_types_of_the_sdk(name: str) -> None:
    board = _load(name)
    read = json.loads(json.dumps(dashboard_model.Dashboard.from_json(copy.deepcopy(board)), cls=JSONEncoder))
    assert _missing(board, read, name) == []


def _missing(ours: Any, read: Any, where: str) -> list[str]:
    """Return the places of values in `ours` that the SDK's types do not keep."""
    if isinstance(ours, dict):
        return [
            lost for key, value in ours.items() for lost in _missing(value, (read or {}).get(key), f"{where}.{key}")
        ]
    if isinstance(ours, list) and isinstance(read, list) and len(ours) == len(read):
        pairs = enumerate(zip(ours, read, strict=True))
        return [lost for at, (one, other) in pairs for lost in _missing(one, other, f"{where}[{at}]")]
    return [] if ours == read else [f"{where}: {ours!r} became {read!r}"]


def test_a_key_that_the_sdk_does_not_know_is_noticed() -> None:
    board = _load("application")
    _panel(board)["colour"] = "red"
    read = json.loads(json.dumps(dashboard_model.Dashboard.from_json(copy.deepcopy(board)), cls=JSONEncoder))
    assert _missing(board, read, "application") == ["application.panels[1].colour: 'red' became None"]


def test_runbooks_of_dashboards_and_alerts_have_the_same_base() -> None:
    defaults = yaml.safe_load((ROOT / "roles" / "landfall" / "defaults" / "main.yml").read_text(encoding="utf-8"))
    assert defaults["landfall_runbook_url"] == RUNBOOKS


# ---- the application's contract


def test_application_serves_what_its_contract_promises() -> None:
    served = {metric: found.labels for metric, found in catalog(own=True).items()}
    broken = {}
    for name, labels in contract().items():
        series = f"{name}_count" if f"{name}_count" in served else name
        if served.get(series) != labels:
            broken[name] = (labels, served.get(series))
    assert broken == {}
