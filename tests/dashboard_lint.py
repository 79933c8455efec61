"""Rules for dashboards: those of Grafana's dashboard-linter by their names there, and some of our own.

`lint(board, file)` returns findings; what is allowed on purpose stands with its reason in dashboard_exemptions.yml.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import PurePosixPath
from typing import Any

import promql_parser as promql
from grafana_foundation_sdk.models import units

from dashboards.queries import fill, panels, values
from tests.metric_catalog import TARGET_LABELS, Metric

RATE_INTERVAL = timedelta(seconds=61)  # stands for $__rate_interval: no query writes it
RANGE = timedelta(seconds=901)
OVER_TIME = {"rate", "irate", "increase"}
ON_COUNTERS = OVER_TIME | {"changes", "resets", "count"}
EVERYWHERE = re.compile(r"up$|process_|scrape_")  # what every job has
COMPARED = {">", ">=", "<", "<="}
AGGREGATES = {"sum", "avg", "min", "max", "count"}
WITH_UNIT = {"stat", "timeseries", "gauge", "bargauge", "piechart", "table", "state-timeline", "heatmap"}
WITH_LEGEND = {"timeseries", "bargauge", "piechart", "state-timeline"}
UNITS = {value for name, value in vars(units).items() if not name.startswith("_") and isinstance(value, str)}
SOURCES = {"prometheus": "${prometheus_datasource}", "loki": "${loki_datasource}"}
_LABEL_VALUES = re.compile(r"^label_values\((?:(.+), )?(\w+)\)$")


@dataclass(frozen=True)
class Finding:
    """One broken rule: in which dashboard, at which panel or variable, about which metric, and what is wrong."""

    rule: str
    dashboard: str
    where: str
    message: str
    metric: str = ""

    def __str__(self) -> str:
        return f"{self.dashboard} / {self.where}: {self.rule}: {self.message}"


@dataclass
class Selector:
    """A selector in a query, with the functions and aggregations around it, the innermost last."""

    metric: str
    matchers: list[tuple[str, str, str]]
    around: list[str]
    range: timedelta | None


def _label_operator(matcher: Any) -> str:
    return str(matcher.op).rsplit(".", maxsplit=1)[-1]


def _quiet(node: Any, around: list[str]) -> Iterator[tuple[str, Any]]:
    """Yield what is NaN while nothing happens, unless it is compared with a number, which drops NaN."""
    if isinstance(node, promql.Call) and node.func.name == "histogram_quantile" and not COMPARED & set(around):
        yield "quiet", node.func.name
    if isinstance(node, promql.BinaryExpr) and str(node.op) == "/":
        whole = node.rhs
        while isinstance(whole, promql.ParenExpr):
            whole = whole.expr
        below = [found for kind, found in _walk(whole, around) if kind == "selector"]
        rates = [selector.metric for selector in below if OVER_TIME & set(selector.around)]
        if rates and not (isinstance(whole, promql.BinaryExpr) and str(whole.op) in COMPARED):
            yield "quiet", f"a division by a rate of {rates[0]}"


def _walk(node: Any, around: list[str], span: timedelta | None = None) -> Iterator[tuple[str, Any]]:
    """Yield what there is in a query, each with its kind.

    ("selector", Selector), ("labels", grouping labels), ("ratio", selectors of both sides), and ("quiet", what is NaN
    while nothing happens).
    """
    yield from _quiet(node, around)
    if isinstance(node, promql.VectorSelector):
        matchers = [(m.name, _label_operator(m), m.value) for m in node.matchers.matchers]
        yield "selector", Selector(node.name or "", matchers, around, span)
    elif isinstance(node, promql.MatrixSelector):
        yield from _walk(node.vector_selector, around, node.range)
    elif isinstance(node, promql.Call):
        for argument in node.args:
            yield from _walk(argument, [*around, node.func.name])
    elif isinstance(node, promql.AggregateExpr):
        if node.modifier is not None:
            yield "labels", list(node.modifier.labels)
        yield from _walk(node.expr, [*around, str(node.op)])
        if node.param is not None:
            yield from _walk(node.param, around)
    elif isinstance(node, promql.BinaryExpr):
        left = list(_walk(node.lhs, [*around, str(node.op)]))
        right = list(_walk(node.rhs, around))
        if str(node.op) == "/":
            yield "ratio", tuple([found for kind, found in side if kind == "selector"] for side in (left, right))
        yield from left
        yield from right
    elif isinstance(node, (promql.ParenExpr, promql.UnaryExpr, promql.SubqueryExpr)):
        yield from _walk(node.expr, around)
    elif not isinstance(node, (promql.NumberLiteral, promql.StringLiteral)):
        raise TypeError(f"the walk does not know {type(node).__name__}")


def sentinels(board: dict[str, Any]) -> dict[str, str]:
    """Return a value for each variable that can be told from anything written by hand."""
    chosen = values(board)
    for variable in board["templating"]["list"]:
        if variable.get("includeAll"):
            chosen[variable["name"]] = f"variable {variable['name']}"
    chosen.update(__rate_interval="61s", __range="901s", __interval="15s", __auto="61s")
    return chosen


class Linter:
    """Applies every rule to one dashboard. `metrics` is what exists (tests.metric_catalog)."""

    def __init__(self, board: dict[str, Any], file: str, metrics: dict[str, Metric], boards: set[str]) -> None:
        self.board = board
        self.file = file
        self.metrics = metrics
        self.boards = boards
        self.name = PurePosixPath(file).stem
        self.findings: list[Finding] = []
        self.variables = {variable["name"]: variable for variable in board["templating"]["list"]}
        self.chosen = sentinels(board)

    def add(self, rule: str, where: str, message: str, metric: str = "") -> None:
        """Note a finding."""
        self.findings.append(Finding(rule, self.name, where, message, metric))

    def run(self) -> list[Finding]:
        """Return all findings."""
        self.dashboard()
        self.templates()
        self.places()
        for panel in panels(self.board):
            self.panel(panel)
        for mark in self.board["annotations"]["list"]:
            self.source(mark, f"mark {mark['name']}")
            self.promql(mark["expr"], f"mark {mark['name']}", None)
        self.links()
        self.unused()
        return self.findings

    # ---- the dashboard as a whole

    def dashboard(self) -> None:
        """Classic schema, fixed uid, read-only, refresh, time zone, tags, importable."""
        expected = {
            "uid": f"landfall-{self.name}",
            "editable": False,
            "refresh": "30s",
            "timezone": "browser",
        }
        for key, value in expected.items():
            if self.board.get(key) != value:
                self.add("dashboard-settings", key, f"is {self.board.get(key)!r}, should be {value!r}")
        for key in ("title", "description"):
            if not self.board.get(key):
                self.add("dashboard-settings", key, "is missing")
        if "landfall" not in self.board.get("tags", []):
            self.add("dashboard-settings", "tags", "lack landfall")
        if "spec" in self.board or "apiVersion" in self.board or not isinstance(self.board.get("schemaVersion"), int):
            self.add("dashboard-settings", "schema", "is not classic JSON")
        if self.board.get("id") is not None or "__inputs" in self.board:
            self.add("dashboard-settings", "id", "carries what belongs to one server")
        by_tag = [link for link in self.board.get("links", []) if link["type"] == "dashboards"]
        if not any("landfall" in link["tags"] for link in by_tag):
            self.add("dashboard-settings", "links", "there is no link to the other dashboards")

    def templates(self) -> None:
        """template-datasource-rule, -job-rule, -instance-rule, -label-promql-rule, -on-time-change-reload-rule."""
        for kind in ("prometheus", "loki"):
            variable = self.variables.get(f"{kind}_datasource")
            if variable is None:
                if kind == "prometheus":
                    self.add("template-datasource-rule", "variables", "there is no prometheus_datasource")
                continue
            wanted = ("datasource", kind, f"{kind.capitalize()} data source", kind)
            found = (variable["type"], variable["query"], variable["label"], variable["current"]["value"])
            if found != wanted:
                self.add("template-datasource-rule", variable["name"], f"is {found}, should be {wanted}")
        for name in ("job", "instance"):
            variable = self.variables.get(name)
            if variable is None:
                self.add(f"template-{name}-rule", "variables", f"there is no variable {name}")
            elif (variable["label"], variable["multi"], variable.get("allValue")) != (name.capitalize(), True, ".+"):
                self.add(f"template-{name}-rule", name, "should be multi-valued, with label and allValue .+")
        for name, variable in self.variables.items():
            if variable["type"] != "query":
                continue
            if variable.get("refresh") != 2:
                self.add("template-on-time-change-reload-rule", name, "is not read anew when the time range changes")
            self.source(variable, f"variable {name}")
            if variable["datasource"]["type"] == "prometheus":
                self.label_values(variable)

    def label_values(self, variable: dict[str, Any]) -> None:
        """Check that a query variable asks for a label of a metric that exists."""
        match = _LABEL_VALUES.match(variable["query"]["query"])
        where = f"variable {variable['name']}"
        if not match:
            self.add("template-label-promql-rule", where, f"is no label_values(): {variable['query']['query']}")
        elif match.group(1):
            self.promql(match.group(1), where, None, rule="template-label-promql-rule", labels=[match.group(2)])

    def places(self) -> None:
        """Ids and titles are unique, panels do not overlap and stay on the grid."""
        shown = list(panels(self.board))
        for key, things in (("id", self.board["panels"]), ("title", shown)):
            for value, count in Counter(panel[key] for panel in things).items():
                if count > 1:
                    self.add("unique-panel-rule", str(value), f"the {key} is used {count} times")
        taken: dict[tuple[int, int], str] = {}
        for panel in self.board["panels"]:
            place = panel["gridPos"]
            if place["x"] + place["w"] > 24:
                self.add("grid-rule", panel["title"], "reaches beyond 24 columns")
            for x in range(place["x"], place["x"] + place["w"]):
                for y in range(place["y"], place["y"] + place["h"]):
                    other = taken.setdefault((x, y), panel["title"])
                    if other != panel["title"]:
                        self.add("grid-rule", panel["title"], f"overlaps {other}")
                        return

    def unused(self) -> None:
        """Every variable is used by something."""
        rest = {key: value for key, value in self.board.items() if key != "templating"}
        text = str(rest) + str([variable.get("query") for variable in self.board["templating"]["list"]])
        text += str([variable.get("datasource") for variable in self.board["templating"]["list"]])
        for name in self.variables:
            if not re.search(rf"\$(?:{name}\b|\{{{name}[:}}])", text):
                self.add("unused-variable-rule", name, "nothing uses it")

    def links(self) -> None:
        """Links lead to dashboards of ours or to runbooks by variable; no server is written into the file."""
        for panel in panels(self.board):
            for link in panel.get("links", []):
                board = re.match(r"^/d/landfall-([a-z-]+)\?", link["url"])
                if board and board.group(1) not in self.boards:
                    self.add("link-rule", panel["title"], f"there is no dashboard {board.group(1)}")
                elif not board and not link["url"].startswith("${runbooks}/"):
                    self.add("link-rule", panel["title"], f"leads elsewhere: {link['url']}")

    # ---- panels

    def source(self, holder: dict[str, Any], where: str) -> None:
        """panel-datasource-rule: the data source is a variable."""
        source = holder.get("datasource") or {}
        if SOURCES.get(source.get("type", "")) != source.get("uid"):
            self.add("panel-datasource-rule", where, f"does not use the variable of its data source: {source}")

    def panel(self, panel: dict[str, Any]) -> None:
        """Every rule about one panel and its queries."""
        title = panel.get("title") or f"id {panel['id']}"
        for key in ("title", "description"):
            if not panel.get(key):
                self.add("panel-title-description-rule", title, f"has no {key}")
        self.source(panel, title)
        defaults = panel.get("fieldConfig", {}).get("defaults", {})
        if panel["type"] in WITH_UNIT and defaults.get("unit") not in UNITS:
            self.add("panel-units-rule", title, f"has no valid unit: {defaults.get('unit')!r}")
        if panel["type"] == "stat" and not defaults.get("thresholds", {}).get("steps"):
            self.add("panel-thresholds-rule", title, "has no thresholds")
        targets = panel.get("targets", [])
        quiet = any(re.search(r"histogram_quantile|/ .*\brate\(", target["expr"]) for target in targets)
        if panel["type"] == "stat" and quiet and not defaults.get("noValue"):
            self.add("quiet-rule", title, "does not say what no value means while nothing happens")
        if not targets:
            self.add("panel-no-targets-rule", title, "has no query")
        if len({target["refId"] for target in targets}) != len(targets):
            self.add("unique-panel-rule", title, "two queries have the same reference letter")
        for target in targets:
            self.source(target, title)
            if target["datasource"]["type"] == "loki":
                self.logql(target, title)
            else:
                legend = target.get("legendFormat", "") if panel["type"] in WITH_LEGEND else None
                self.promql(target["expr"], title, legend)
            if panel["type"] in WITH_LEGEND and not target.get("legendFormat"):
                self.add("legend-rule", title, f"query {target['refId']} has no legend")

    def logql(self, target: dict[str, Any], title: str) -> None:
        """target-logql-auto-rule; whether it parses is asked of Grafana's own grammar, elsewhere."""
        for span in re.findall(r"\[([^\[\]]*)\]\)", target["expr"]):
            if span != "$__auto":
                self.add("target-logql-auto-rule", title, f"[{span}] should be [$__auto]")

    def promql(
        self, expr: str, where: str, legend: str | None, *, rule: str = "target-promql-rule", labels: Any = ()
    ) -> None:
        """target-promql-rule, and every rule about what is inside of a query."""
        try:
            tree = promql.parse(fill(expr, self.chosen))
        except KeyError as error:
            self.add(rule, where, f"there is no variable {error} in {expr}")
            return
        except ValueError as error:
            self.add(rule, where, f"does not parse: {error}: {expr}")
            return
        asked, kept = set(labels), set()
        served: set[str] = set()
        for kind, found in _walk(tree, []):
            if kind == "labels":
                asked.update(found)
                kept.update(found)
            elif kind == "ratio":
                self.ratio(found, where)
            elif kind == "quiet":
                self.add("quiet-rule", where, f"reads NaN while nothing happens: {found}")
            else:
                self.selector(found, where, is_target=rule == "target-promql-rule" and not where.startswith("mark"))
                served |= self.metrics[found.metric].labels if found.metric in self.metrics else set()
        for label in asked - served - TARGET_LABELS:
            self.add("unknown-label-rule", where, f"no metric of the query has the label {label}: {expr}")
        for label in re.findall(r"\{\{(\w+)\}\}", legend or ""):
            if label not in (kept or served | TARGET_LABELS):
                self.add("legend-rule", where, f"the legend's label {label} is not in the result of {expr}")

    def ratio(self, sides: tuple[list[Selector], list[Selector]], where: str) -> None:
        """A part of a metric divided by the whole is summed on both sides, else the part matches only itself."""
        for one in sides[0]:
            for other in sides[1]:
                differ = one.metric == other.metric and one.matchers != other.matchers
                if differ and not (AGGREGATES & set(one.around) and AGGREGATES & set(other.around)):
                    self.add("ratio-rule", where, f"{one.metric} is divided by more of itself without sums")

    def selector(self, selector: Selector, where: str, *, is_target: bool) -> None:
        """Rules about one selector: the metric exists, counters, intervals, job and instance."""
        metric = self.metrics.get(selector.metric)
        if metric is None:
            self.add("unknown-metric-rule", where, f"nothing serves {selector.metric or 'a selector without name'}")
            return
        for label, operator, value in selector.matchers:
            if label not in metric.labels | TARGET_LABELS:
                self.add("unknown-label-rule", where, f"{selector.metric} has no label {label} ({metric.source})")
            elif operator == "Equal" and metric.unseen(label, "=", value):
                self.add("unknown-value-rule", where, f"{selector.metric} was never seen with {label}={value!r}")
        if not is_target:
            return
        if metric.counter and not ON_COUNTERS & set(selector.around):
            self.add("target-counter-agg-rule", where, f"{selector.metric} is a counter, use rate", selector.metric)
        if OVER_TIME & set(selector.around) and selector.range not in (RATE_INTERVAL, RANGE):
            self.add("target-rate-interval-rule", where, f"{selector.metric}[{selector.range}]", selector.metric)
        asked = self.variables.get("job", {}).get("definition", "")
        chosen = {(label, operator) for label, operator, _ in selector.matchers} & {
            ("component", "Equal"),
            ("job", "Equal"),
        }
        if EVERYWHERE.match(selector.metric) and asked != "label_values(up, job)" and not chosen:
            self.add("everywhere-rule", where, f"with All jobs {selector.metric} is that of every program")
        for name in ("job", "instance"):
            if (name, "Re", f"variable {name}") not in selector.matchers:
                self.add(f"target-{name}-rule", where, f'{selector.metric} lacks {name}=~"${name}"', selector.metric)
