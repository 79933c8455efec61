"""Alert rules: promtool accepts and exercises them, each metric exists, each alert has its tests and its runbook."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from tests import metric_catalog, rolekit, rulekit

SEVERITIES = {"critical", "warning", "info"}
# Fires always, so there is nothing in which it is silent and nothing it waits for.
ALWAYS = {"Watchdog"}
# Labels of some targets: certificate where the proxy's own authority gave it.
OPTIONAL_LABELS = {"certificate"}
# Values that rules ask for and no capture has, as patterns, each with its reason
UNSEEN = {
    r"container_\w+\{name=.+\}": "names of containers are the inventory's",
    r"discord_messages_sent_total\{status=failed\}": "no message failed when the application was captured",
    r"task_failures_total\{task_name=.+\}": "not every kind of task failed when the workers were captured",
    r"caddy_http_request_duration_seconds_count\{code=504\}": "no upstream was too slow when Caddy was captured",
}
SECTIONS = ["## What it means", "## How to check", "## How to fix"]
FENCE = re.compile(r"^```promql\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ONE_STEP = 60  # seconds between two evaluations in the unit tests, the least that they can tell apart
FAILED = re.compile(r"alertname: (\w+), time")


@pytest.fixture(scope="module")
def laid_out(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], list[Path]]:
    return rulekit.lay_out(tmp_path_factory.mktemp("rules.d"))


# ---------------------------------------------------------------- promtool
def test_promtool_accepts_every_rule_file(laid_out: tuple[list[Path], list[Path]]) -> None:
    result = rulekit.run_promtool("check", "rules", "--lint=all", "--lint-fatal", *laid_out[0])
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("path", rulekit.unit_tests(), ids=lambda path: f"{path.parts[-5]}/{path.name}")
def test_unit_tests_pass(path: Path, laid_out: tuple[list[Path], list[Path]]) -> None:
    result = rulekit.run_promtool("test", "rules", laid_out[0][0].parent / f"test--{path.parts[-5]}--{path.name}")
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("text", ["groups: [{name: a, rules: [{alert: A, expr: 'up =='}]}]", "group: []"])
def test_promtool_refuses_a_bad_rule_file(text: str, tmp_path: Path) -> None:
    (tmp_path / "bad.yml").write_text(text, "utf-8")
    assert rulekit.run_promtool("check", "rules", tmp_path / "bad.yml").returncode != 0


# ---------------------------------------------------------------- the unit tests themselves
@cache
def _cases() -> list[tuple[int, dict[str, Any]]]:
    """Return (evaluation interval in seconds, test group) of all unit tests."""
    found = []
    for path in rulekit.unit_tests():
        document = yaml.safe_load(path.read_text("utf-8"))
        found += [(rulekit.seconds(document["evaluation_interval"]), group) for group in document["tests"]]
    return found


def _severities(expectation: dict[str, Any]) -> set[str]:
    return {alert["exp_labels"]["severity"] for alert in expectation["exp_alerts"]}


def proven(cases: list[tuple[int, dict[str, Any]]], name: str, severity: str) -> set[str]:
    """Return which of ``fires``, ``silent`` and ``boundary`` the unit tests show of an alert."""
    shown = set()
    for interval, group in cases:
        mine = {rulekit.seconds(one["eval_time"]): _severities(one) for one in group["alert_rule_test"]
                if one["alertname"] == name}  # fmt: skip
        firing = {at for at, severities in mine.items() if severity in severities}
        if firing:
            shown.add("fires")
        elif mine:
            shown.add("silent")
        if any(at - interval in mine and at - interval not in firing for at in firing):
            shown.add("boundary")
    return shown


ALERTS = sorted({(rule.name, rule.severity) for rule in rulekit.alerts()})


@pytest.mark.parametrize(("name", "severity"), ALERTS)
def test_an_alert_is_shown_firing_silent_and_at_its_boundary(name: str, severity: str) -> None:
    assert proven(_cases(), name, severity) >= ({"fires"} if name in ALWAYS else {"fires", "silent", "boundary"})


def test_no_unit_test_is_for_an_alert_that_is_gone() -> None:
    tested = {one["alertname"] for _, group in _cases() for one in group["alert_rule_test"]}
    assert tested == {name for name, _ in ALERTS}


def test_a_missing_case_is_noticed() -> None:
    only = [(60, {"alert_rule_test": [{"eval_time": "5m", "alertname": "A", "exp_alerts": []}]})]
    assert proven(only, "A", "critical") == {"silent"}
    assert proven(only, "B", "critical") == set()


def _mutate(text: str, kind: str) -> str:
    """Make every alert late (twice the wait, or never) or early (half the wait, none for a minute, or always)."""
    document = yaml.safe_load(text)
    for group in document["groups"]:
        for body in group["rules"]:
            if "alert" not in body:
                continue
            wait = rulekit.seconds(body.get("for", ""))
            if wait:
                body["for"] = f"{wait * 2 if kind == 'late' else wait // 2 if wait > ONE_STEP else 0}s"
            else:
                body["expr"] = "vector(0) > 1" if kind == "late" else "vector(1)"
    return str(yaml.safe_dump(document))


@pytest.mark.parametrize("kind", ["late", "early"])
def test_the_unit_tests_notice(kind: str, laid_out: tuple[list[Path], list[Path]], tmp_path: Path) -> None:
    """Each alert that comes late or early fails a unit test of its own."""
    rule_files, tests = laid_out
    for path in rule_files:
        (tmp_path / path.name).write_text(_mutate(path.read_text("utf-8"), kind), "utf-8")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(lambda path: rulekit.run_promtool("test", "rules", shutil.copy(path, tmp_path)), tests)
        noticed = {name for result in results for name in FAILED.findall(result.stdout + result.stderr)}
    assert {name for name, _ in ALERTS} - (ALWAYS if kind == "early" else set()) - noticed == set()


# ---------------------------------------------------------------- what an alert must carry
def flaws(rule: rulekit.Rule) -> list[str]:
    """Return what is wrong with an alert's labels and annotations."""
    labels, annotations = rule.body.get("labels", {}), rule.body.get("annotations", {})
    found = []
    if labels.get("severity") not in SEVERITIES:
        found.append(f"severity {labels.get('severity')!r}")
    if not labels.get("team"):
        found.append("no team")
    if "component" not in labels and not rule.expr.startswith(("up ", "avg_over_time(scrape_")):
        found.append("no component, neither its own nor its target's")
    for key in ("summary", "description"):
        if not annotations.get(key):
            found.append(f"no {key}")
    if rule.name not in ALWAYS and "{{" not in annotations.get("summary", "") + annotations.get("description", ""):
        found.append("neither summary nor description has a value in it")
    if annotations.get("runbook_url") != f"{rulekit.RUNBOOK_URL}/{rule.name}.md":
        found.append(f"runbook_url {annotations.get('runbook_url')!r}")
    return found


def test_alerts_say_what_is_needed() -> None:
    assert {f"{rule.file} {rule.name}": flaws(rule) for rule in rulekit.alerts() if flaws(rule)} == {}


def test_a_bare_alert_is_noticed() -> None:
    bare = rulekit.Rule("x", "x", "x", {"alert": "A", "expr": "vector(1)", "labels": {"severity": "page"}})
    assert len(flaws(bare)) == len(["severity", "team", "component", "summary", "description", "value", "runbook"])


def test_without_an_alertmanager_none_is_missed(tmp_path: Path) -> None:
    rendered = rolekit.component("prometheus", tmp_path, prometheus_alertmanagers=[])
    text = rolekit.text(rendered, f"{rulekit.DROP_IN}prometheus--prometheus.yml")
    assert "PrometheusNoAlertmanager" not in text
    assert "PrometheusNoAlertmanager" in rulekit.shipped()["prometheus--prometheus.yml"][1]


def test_names_are_unique_where_they_must_be() -> None:
    groups = {(rule.file, rule.group) for rule in rulekit.rules()}
    assert len({group for _, group in groups}) == len(groups), "a group's name tells where it is from"
    identities = [(rule.name, *sorted(rule.body["labels"].items())) for rule in rulekit.alerts()]
    assert len(set(identities)) == len(identities)


# ---------------------------------------------------------------- runbooks
def page_flaws(rules: list[rulekit.Rule], folder: Path) -> list[str]:
    """Return what is wrong with the runbook page of an alert (one name, perhaps several severities)."""
    page = folder / f"{rules[0].name}.md"
    if not page.exists():
        return ["no page"]
    lines = page.read_text("utf-8").splitlines()
    severities = ", ".join(dict.fromkeys(rule.severity for rule in rules))
    head = f"Severity: {severities} · rule: [{rules[0].source}](../../{rules[0].source})"
    found = [] if lines[0] == f"# {rules[0].name}" else ["title"]
    found += [] if head in lines else [f"second line, which should be: {head}"]
    found += [] if [line for line in lines if line.startswith("## ")] == SECTIONS else ["sections"]
    found += [] if any(line.startswith("```") for line in lines) else ["nothing to run"]
    return found + ([] if any(line.startswith("- ") for line in lines) else ["nothing to do"])


def _by_name() -> dict[str, list[rulekit.Rule]]:
    found: dict[str, list[rulekit.Rule]] = {}
    for rule in rulekit.alerts():
        found.setdefault(rule.name, []).append(rule)
    return found


def test_every_alert_has_a_runbook() -> None:
    wrong = {name: page_flaws(rules, rulekit.RUNBOOKS) for name, rules in _by_name().items()}
    assert {name: flaw for name, flaw in wrong.items() if flaw} == {}


def test_every_runbook_has_an_alert() -> None:
    assert {path.stem for path in rulekit.RUNBOOKS.glob("*.md")} - {"README"} == set(_by_name())


def test_the_index_is_current() -> None:
    assert (rulekit.RUNBOOKS / "README.md").read_text("utf-8") == rulekit.index(rulekit.alerts())


def test_a_missing_or_hollow_runbook_is_noticed(tmp_path: Path) -> None:
    rule = rulekit.Rule("f", "roles/x/templates/rules/f.yml.j2", "g", {"alert": "A", "expr": "up"})
    assert page_flaws([rule], tmp_path) == ["no page"]
    (tmp_path / "A.md").write_text("# A\n", "utf-8")
    assert len(page_flaws([rule], tmp_path)) == len(["second line", "sections", "nothing to run", "nothing to do"])


def test_variables_named_in_runbooks_exist() -> None:
    known = {name for role in rolekit.role_names() for name in rolekit.defaults(role)}
    named = {name for path in rulekit.RUNBOOKS.glob("*.md")
             for name in re.findall(r"`([a-z_]+_alert_[a-z_]+)`", path.read_text("utf-8"))}  # fmt: skip
    assert named - known == set()


# ---------------------------------------------------------------- metrics
def unknown(expr: str) -> list[str]:
    """Return the metrics, labels and values in an expression that nothing serves and no rule records."""
    catalog = metric_catalog.catalog()
    recorded = {rule.name for rule in rulekit.rules() if not rule.is_alert}
    found = []
    for metric, matchers in rulekit.selectors(expr):
        pattern = next((value for label, operator, value in matchers if (label, operator) == ("__name__", "=~")), None)
        if pattern is not None:
            found += [] if any(re.fullmatch(pattern, name) for name in {*catalog, *recorded}) else [pattern]
            continue
        if metric in recorded:
            continue
        if metric not in catalog:
            found.append(metric)
            continue
        known = catalog[metric].labels | metric_catalog.TARGET_LABELS | OPTIONAL_LABELS
        found += [f"{metric}{{{label}}}" for label, _, _ in matchers if label not in known]
        for label, operator, value in matchers:
            found += [f"{metric}{{{label}={one}}}" for one in catalog[metric].unseen(label, operator, value)]
    return [one for one in found if not any(re.fullmatch(pattern, one) for pattern in UNSEEN)]


def test_rules_use_only_what_exists() -> None:
    wrong = {f"{rule.file} {rule.name}": unknown(rule.expr) for rule in rulekit.rules()}
    assert {where: what for where, what in wrong.items() if what} == {}


def test_an_unknown_metric_or_label_is_noticed() -> None:
    assert unknown('rate(up[5m]) / no_such_metric{a="b"} > 1') == ["no_such_metric"]
    assert unknown('sum(celery_queue_length{queue="x"})') == ["celery_queue_length{queue}"]
    assert unknown('{__name__=~"no_such_.+"}') == ["no_such_.+"]
    assert unknown('rate(tasks_total{status="failed"}[5m])') == ["tasks_total{status=failed}"]
    assert unknown('rate(tasks_total{status=~"success|failed"}[5m])') == ["tasks_total{status=failed}"]
    assert unknown('rate(http_requests_total{status=~"6.."}[5m])') == ["http_requests_total{status=6..}"]
    assert unknown('rate(http_requests_total{status=~"4.."}[5m])') == []


def test_what_was_never_captured_is_still_asked_for() -> None:
    """An exception that nothing needs any more hides the next mistake."""
    catalog = metric_catalog.catalog()
    queries = [*(rule.expr for rule in rulekit.rules()), *(expr for _, expr in documented())]
    asked = {f"{metric}{{{label}={one}}}" for expr in queries for metric, matchers in rulekit.selectors(expr)
             if metric in catalog for label, operator, value in matchers
             for one in catalog[metric].unseen(label, operator, value)}  # fmt: skip
    assert [pattern for pattern in UNSEEN if not any(re.fullmatch(pattern, one) for one in asked)] == []


def _buckets() -> dict[str, tuple[float, ...]]:
    """Return the bucket bounds of histograms: the application's from its own table, others' as they were captured."""
    path = rolekit.ROOT / "app" / "landfall_app" / "metrics.py"
    spec = importlib.util.spec_from_file_location("app_metrics_table", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["app_metrics_table"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    captured = {
        name.removesuffix("_bucket"): tuple(sorted(float(bound) for bound in metric.values["le"] if bound != "+Inf"))
        for name, metric in metric_catalog.catalog().items()
        if name.endswith("_bucket") and "le" in metric.values
    }
    return {**captured, **{one.name: one.buckets for one in module.SPECS if one.buckets}}


def capped(expr: str, buckets: dict[str, tuple[float, ...]]) -> list[str]:
    """Return the quantile limits in an expression that are no bucket bound, or the largest one.

    A quantile never exceeds the largest finite bound, and is a guess inside the bucket that it falls into.
    """
    wrong = []
    for node in rulekit.nodes(expr):
        if not (isinstance(node, promql_parser.BinaryExpr) and isinstance(node.rhs, promql_parser.NumberLiteral)):
            continue
        if not (isinstance(node.lhs, promql_parser.Call) and node.lhs.func.name == "histogram_quantile"):
            continue
        for metric, _ in rulekit.selectors(str(node.lhs)):
            bounds = buckets[metric.removesuffix("_bucket")]
            if node.rhs.val not in bounds or node.rhs.val >= max(bounds):
                wrong.append(f"{metric} > {node.rhs.val}")
    return wrong


def test_quantile_limits_can_be_exceeded() -> None:
    buckets = _buckets()
    judged = [rule for rule in rulekit.alerts() if "histogram_quantile" in rule.expr]
    assert {rule.name: capped(rule.expr, buckets) for rule in judged if capped(rule.expr, buckets)} == {}
    assert len(judged) > 0


def test_a_quantile_that_is_capped_is_noticed() -> None:
    expr = "histogram_quantile(0.95, sum by (le) (rate(x_seconds_bucket[5m]))) > {}"
    assert capped(expr.format(5), {"x_seconds": (1.0, 2.0, 5.0)}) == ["x_seconds_bucket > 5.0"]
    assert capped(expr.format(3), {"x_seconds": (1.0, 2.0, 5.0)}) == ["x_seconds_bucket > 3.0"]
    assert capped(expr.format(2), {"x_seconds": (1.0, 2.0, 5.0)}) == []


# ---------------------------------------------------------------- documentation
def documented() -> list[tuple[str, str]]:
    """Return (page, expression) for every ```promql fence in docs/."""
    found = []
    for path in sorted((rolekit.ROOT / "docs").rglob("*.md")):
        name = str(path.relative_to(rolekit.ROOT))
        found += [(name, expr.strip()) for expr in FENCE.findall(path.read_text("utf-8"))]
    return found


def test_documented_queries_parse_and_use_only_what_exists() -> None:
    queries = documented()
    assert len(queries) > 0
    wrong = []
    for page, expr in queries:
        try:
            wrong += [f"{page}: {what}" for what in unknown(expr)]
        except ValueError as error:
            wrong.append(f"{page}: {expr}: {error}")
    assert wrong == []


def test_a_documented_query_that_does_not_parse_is_noticed() -> None:
    with pytest.raises(ValueError, match="unclosed left parenthesis"):
        unknown("sum(rate(http_requests_total[5m])")


def self_divided(expr: str) -> list[str]:
    """Return the divisions whose two sides select one metric differently without an aggregation around it.

    ``x{a="b"} / x`` matches b with itself and reads 100 % for ever.
    """
    wrong = []
    for node in rulekit.nodes(expr):
        if isinstance(node, promql_parser.BinaryExpr) and str(node.op) == "/":
            left, right = rulekit.unaggregated(node.lhs), rulekit.unaggregated(node.rhs)
            wrong += [metric for metric in left.keys() & right.keys() if left[metric] != right[metric]]
    return wrong


def test_ratios_sum_both_sides() -> None:
    queries = [*documented(), *((rule.file, rule.expr) for rule in rulekit.rules())]
    assert [(where, metric) for where, expr in queries for metric in self_divided(expr)] == []


def test_a_metric_divided_by_itself_is_noticed() -> None:
    assert self_divided('rate(x{status="failure"}[5m]) / rate(x[5m]) * 100') == ["x"]
    assert self_divided('sum by (t) (rate(x{status="failure"}[5m])) / sum by (t) (rate(x[5m])) * 100') == []


def test_the_metrics_guide_covers_every_metric_of_the_application() -> None:
    guide = (rolekit.ROOT / "docs" / "operations" / "metrics-guide.md").read_text("utf-8")
    assert {name for name in metric_catalog.contract() if f"`{name}`" not in guide} == set()
    assert "## Sample PromQL Queries" in guide
    assert "## Testing queries in the Prometheus UI" in guide
