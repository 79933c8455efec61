"""A thin layer over grafana-foundation-sdk: what all our panels and dashboards have in common, said once.

Panels come from the functions `graph`, `stat`, `bars`, `pie`, `table`, `timeline` and `logs`; `dashboards.board` puts
them together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    dashboard,
    loki,
    piechart,
    prometheus,
    statetimeline,
    timeseries,
)
from grafana_foundation_sdk.builders import logs as logs_panel
from grafana_foundation_sdk.builders import stat as stat_panel
from grafana_foundation_sdk.builders import table as table_panel
from grafana_foundation_sdk.models import common as c
from grafana_foundation_sdk.models import dashboard as m
from grafana_foundation_sdk.models import piechart as pie_model
from grafana_foundation_sdk.models import prometheus as prom_model

PROMETHEUS = c.DataSourceRef(type_val="prometheus", uid="${prometheus_datasource}")
LOKI = c.DataSourceRef(type_val="loki", uid="${loki_datasource}")

Steps = tuple[tuple[float | None, str], ...]
PLAIN: Steps = ((None, "blue"),)
ZERO_IS_BAD: Steps = ((None, "red"), (1, "green"))
ANY_IS_BAD: Steps = ((None, "green"), (1, "red"))


def rising(warn: float | None, bad: float | None = None) -> Steps:
    """Thresholds for a value that is worse when it is higher: green, orange from `warn`, red from `bad`.

    Where an alert is about the value: orange where it warns, red where it is critical, and None where it is not.
    """
    levels = ((warn, "orange"), (bad, "red"))
    return ((None, "green"), *((value, color) for value, color in levels if value is not None))


def falling(bad: float | None, warn: float | None = None) -> Steps:
    """Thresholds for a value that is worse when it is lower: red below `bad`, orange below `warn`, else green."""
    if bad is None:
        return ((None, "orange"), (warn, "green"))
    return ((None, "red"), (bad, "green")) if warn is None else ((None, "red"), (bad, "orange"), (warn, "green"))


@dataclass(frozen=True)
class Q:
    """One query of a panel: PromQL, or LogQL when `loki` is set.

    `instant` asks for one point in time only. `every` is how often its metrics are scraped if that is not as often as
    most are: `$__rate_interval` is four times that, else four times what the data source says.
    """

    expr: str
    legend: str = ""
    instant: bool = False
    loki: bool = False
    every: str = ""

    def build(self, ref: str, *, as_table: bool) -> Any:
        """Return the SDK's builder of this query with the reference letter `ref`."""
        if self.loki:
            line = loki.Dataquery().expr(self.expr).ref_id(ref).datasource(LOKI).query_type("range")
            return line.legend_format(self.legend) if self.legend else line
        query = prometheus.Dataquery().expr(self.expr).ref_id(ref).datasource(PROMETHEUS)
        query = query.editor_mode(prom_model.QueryEditorMode.CODE).legend_format(self.legend)
        if self.every:
            query = query.interval(self.every)
        if as_table:
            query = query.format(prom_model.PromQueryFormat.TABLE)
        return query.instant() if self.instant or as_table else query.range()


@dataclass
class Panel:
    """A panel and the place it takes on a grid that is 24 columns wide."""

    build: Any
    title: str
    kind: str
    width: int
    height: int
    queries: tuple[Q, ...]


def _steps(steps: Steps) -> dashboard.ThresholdsConfig:
    levels = [m.Threshold(value=value, color=color) for value, color in steps]
    return dashboard.ThresholdsConfig().mode(m.ThresholdsMode.ABSOLUTE).steps(levels)


def link(title: str, url: str) -> dashboard.DashboardLink:
    """Return a panel link that opens beside the dashboard."""
    return dashboard.DashboardLink(title).type(m.DashboardLinkType.LINK).url(url).target_blank(True)


def runbook(alert: str) -> dashboard.DashboardLink:
    """Return a link to the runbook page of `alert`; the base of its address is the variable `runbooks`."""
    return link(f"Runbook: {alert}", f"${{runbooks}}/{alert}.md")


def see(title: str, board: str, query: str = "") -> dashboard.DashboardLink:
    """Return a link to our dashboard `board` with the same time range; `query` sets variables of it."""
    return link(title, f"/d/landfall-{board}?" + (f"{query}&" if query else "") + "${__url_time_range}")


def see_logs(container: str = "") -> dashboard.DashboardLink:
    """Return a link to the log lines of `container`, or of the services that the dashboard's variables choose.

    Only a container whose name no inventory decides is named. A dashboard without `container` has the variable
    `services` (boards/common.py). It goes into a text field, as a drop-down drops what is none of its own values.
    """
    return see("Logs", "logs", f"var-container={container}" if container else "var-only=${services:pipe}")


def _common(panel: Any, title: str, text: str, unit: str, steps: Steps, queries: tuple[Q, ...], links: Any) -> Any:
    source = LOKI if queries[0].loki else PROMETHEUS
    panel = panel.title(title).description(text).datasource(source).thresholds(_steps(steps)).links(list(links))
    if unit:
        panel = panel.unit(unit)
    for position, query in enumerate(queries):
        panel = panel.with_target(query.build(chr(ord("A") + position), as_table=isinstance(panel, table_panel.Panel)))
    return panel


def _bounds(panel: Any, low: float | None, high: float | None) -> Any:
    panel = panel if low is None else panel.min(low)
    return panel if high is None else panel.max(high)


def _last() -> common.ReduceDataOptions:
    return common.ReduceDataOptions().calcs(["lastNotNull"]).values(False)


def graph(
    title: str,
    text: str,
    unit: str,
    *queries: Q,
    width: int = 12,
    height: int = 8,
    stack: bool = False,
    steps: Steps = PLAIN,
    low: float | None = 0,
    high: float | None = None,
    links: tuple[Any, ...] = (),
) -> Panel:
    """Return a time series. More than one of `steps` are dashed lines; `low` and `high` bound the axis."""
    legend = common.VizLegendOptions().show_legend(True).placement(c.LegendPlacement.BOTTOM)
    legend = legend.display_mode(c.LegendDisplayMode.TABLE).calcs(["mean", "max", "lastNotNull"])
    tooltip = common.VizTooltipOptions().mode(c.TooltipDisplayMode.MULTI).sort(c.SortOrder.DESCENDING)
    panel = timeseries.Panel().line_width(1).fill_opacity(40 if stack else 10).legend(legend).tooltip(tooltip)
    panel = panel.show_points(c.VisibilityMode.NEVER).gradient_mode(c.GraphGradientMode.NONE)
    if stack:
        panel = panel.stacking(common.StackingConfig().mode(c.StackingMode.NORMAL).group("A"))
    if len(steps) > 1:
        style = common.GraphThresholdsStyleConfig().mode(c.GraphThresholdsStyleMode.DASHED)
        panel = panel.thresholds_style(style)
    panel = _bounds(_common(panel, title, text, unit, steps, queries, links), low, high)
    return Panel(panel, title, "time series", width, height, queries)


def stat(
    title: str,
    text: str,
    unit: str,
    *queries: Q,
    width: int = 4,
    height: int = 4,
    steps: Steps = PLAIN,
    decimals: int | None = None,
    names: dict[str, tuple[str, str]] | None = None,
    empty: str = "",
    links: tuple[Any, ...] = (),
) -> Panel:
    """Return big numbers with a spark line. `names` maps a value to the text and colour shown instead of it.

    `empty` is shown where there is no value, which is no fault while nothing happens.
    """
    panel = stat_panel.Panel().reduce_options(_last()).graph_mode(c.BigValueGraphMode.AREA)
    panel = panel.color_mode(c.BigValueColorMode.VALUE).justify_mode(c.BigValueJustifyMode.AUTO)
    panel = panel.text_mode(
        c.BigValueTextMode.AUTO if len(queries) == 1 and not names else c.BigValueTextMode.VALUE_AND_NAME
    )
    panel = _common(panel, title, text, unit, steps, queries, links)
    if decimals is not None:
        panel = panel.decimals(decimals)
    if empty:
        panel = panel.no_value(empty)
    if names:
        panel = panel.mappings([_mapping(names)]).graph_mode(c.BigValueGraphMode.NONE)
    return Panel(panel, title, "stat", width, height, queries)


def _mapping(names: dict[str, tuple[str, str]]) -> m.ValueMap:
    options = {
        value: m.ValueMappingResult(text=text, color=color, index=index)
        for index, (value, (text, color)) in enumerate(names.items())
    }
    return m.ValueMap(options=options)


def bars(
    title: str,
    text: str,
    unit: str,
    *queries: Q,
    width: int = 8,
    height: int = 8,
    steps: Steps = PLAIN,
    low: float | None = 0,
    high: float | None = None,
    links: tuple[Any, ...] = (),
) -> Panel:
    """Return horizontal bars, one per series, of the last value."""
    panel = bargauge.Panel().reduce_options(_last()).orientation(c.VizOrientation.HORIZONTAL)
    panel = panel.display_mode(c.BarGaugeDisplayMode.BASIC)
    panel = _bounds(_common(panel, title, text, unit, steps, queries, links), low, high)
    return Panel(panel, title, "bars", width, height, queries)


def pie(
    title: str, text: str, unit: str, *queries: Q, width: int = 8, height: int = 8, links: tuple[Any, ...] = ()
) -> Panel:
    """Return a ring with one slice per series, of the last value."""
    legend = piechart.PieChartLegendOptions().display_mode(c.LegendDisplayMode.TABLE).show_legend(True)
    legend = legend.placement(c.LegendPlacement.RIGHT)
    legend = legend.values([pie_model.PieChartLegendValues.VALUE, pie_model.PieChartLegendValues.PERCENT])
    panel = piechart.Panel().reduce_options(_last()).pie_type(pie_model.PieChartType.DONUT).legend(legend)
    return Panel(_common(panel, title, text, unit, PLAIN, queries, links), title, "pie", width, height, queries)


def timeline(
    title: str,
    text: str,
    *queries: Q,
    names: dict[str, tuple[str, str]],
    width: int = 24,
    height: int = 8,
    links: tuple[Any, ...] = (),
) -> Panel:
    """Return a band per series whose colour says its state over time; `names` maps values to text and colour."""
    panel = statetimeline.Panel().merge_values(True).show_value(c.VisibilityMode.NEVER).fill_opacity(80)
    panel = _common(panel, title, text, "none", PLAIN, queries, links).mappings([_mapping(names)])
    return Panel(panel, title, "state timeline", width, height, queries)


def table(
    title: str,
    text: str,
    unit: str,
    *queries: Q,
    columns: dict[str, str],
    units: dict[str, str] | None = None,
    width: int = 24,
    height: int = 8,
    steps: Steps = PLAIN,
    links: tuple[Any, ...] = (),
) -> Panel:
    """Return a table of instant values joined by label. `columns` names what is shown, in order: field to heading.

    The value of a sole query is the field `Value`, of several `Value #A`, `Value #B`, …; `units` overrides the unit of
    a heading.
    """
    panel = _common(table_panel.Panel().show_header(True).filterable(True), title, text, unit, steps, queries, links)
    if len(queries) > 1:
        panel = panel.with_transformation(m.DataTransformerConfig(id_val="merge", options={}))
    names = {"include": {"names": list(columns)}}
    order = {"indexByName": {name: at for at, name in enumerate(columns)}, "renameByName": columns}
    panel = panel.with_transformation(m.DataTransformerConfig(id_val="filterFieldsByName", options=names))
    panel = panel.with_transformation(m.DataTransformerConfig(id_val="organize", options=order))
    for heading, own in (units or {}).items():
        panel = panel.override_by_name(heading, [m.DynamicConfigValue(id_val="unit", value=own)])
    return Panel(panel, title, "table", width, height, queries)


def logs(title: str, text: str, query: Q, *, width: int = 24, height: int = 12, links: tuple[Any, ...] = ()) -> Panel:
    """Return log lines, newest first, details by click."""
    panel = logs_panel.Panel().show_time(True).wrap_log_message(True).enable_log_details(True)
    panel = panel.sort_order(c.LogsSortOrder.DESCENDING).dedup_strategy(c.LogsDedupStrategy.NONE)
    return Panel(_common(panel, title, text, "", PLAIN, (query,), links), title, "logs", width, height, (query,))
