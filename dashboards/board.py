"""A dashboard: its variables, marks and links, where its panels are, and the JSON that is shipped."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as m

from dashboards.kit import LOKI, PROMETHEUS, Panel

GRID = 24  # columns
PROJECT = "container_label_com_docker_compose_project"
GROUPS = ("app", "celery")
"""Roles that deploy a component, which is a project of Compose, for each of their services: app_web and so on."""
RUNBOOKS = "https://github.com/landfall/landfall/blob/main/docs/runbooks"


@dataclass
class Variable:
    """A drop-down filled by `label_values(metric{…}, label)`: any number of values, `All` by default.

    `All` matches everything; that of a hidden one, which links use, stands for the values that there are.
    """

    name: str
    label: str
    metric: str
    of: str = ""
    multi: bool = True
    loki: bool = False
    hidden: bool = False

    def build(self) -> Any:
        """Return the SDK's builder of this variable."""
        of = self.of or self.name
        query: Any = f"label_values({self.metric}, {of})"
        built = dashboard.QueryVariable(self.name).label(self.label)
        built = built.datasource(LOKI if self.loki else PROMETHEUS)
        if self.loki:
            query = {"label": of, "refId": "LokiVariableQueryEditor-VariableQuery", "stream": "", "type": 1}
        else:
            built = built.definition(query)
            query = {"qryType": 1, "query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery"}
        built = built.query(query).refresh(m.VariableRefresh.ON_TIME_RANGE_CHANGED)
        built = built.sort(m.VariableSort.ALPHABETICAL_ASC).multi(self.multi)
        if self.multi:
            everything = m.VariableOption(selected=True, text=["All"], value=["$__all"])
            built = built.include_all(True).current(everything)
            built = built.hide(m.VariableHide.HIDE_VARIABLE) if self.hidden else built.all_value(".+")
        return built


@dataclass
class Text:
    """A field that takes any text."""

    name: str
    label: str
    first: str = ""

    def build(self) -> Any:
        """Return the SDK's builder of this variable."""
        first = m.VariableOption(selected=True, text=self.first, value=self.first)
        return dashboard.TextBoxVariable(self.name).label(self.label).default_value(self.first).current(first)


@dataclass
class Choice:
    """A drop-down of fixed values, the first of which is chosen; `values` are (text, value)."""

    name: str
    label: str
    values: tuple[tuple[str, str], ...]

    def build(self) -> Any:
        """Return the SDK's builder of this variable."""
        options = [
            m.VariableOption(selected=at == 0, text=text, value=value) for at, (text, value) in enumerate(self.values)
        ]
        query = ", ".join(f"{text} : {value}" for text, value in self.values)
        return dashboard.CustomVariable(self.name).label(self.label).values(query).options(options).current(options[0])


@dataclass
class Board:
    """One dashboard: `name` gives the uid `landfall-<name>` and the file name, `role` the folder it is shipped from.

    `starts` says whose starts are marked: a pattern for components, so that services of any name are among them, or the
    variable that chooses containers.
    """

    name: str
    title: str
    text: str
    role: str
    variables: list[Any]
    rows: list[tuple[str, list[Panel]]]
    starts: str
    span: str = "now-3h"
    uses_loki: bool = False

    @property
    def path(self) -> str:
        """The file of this dashboard, from the root of the repository."""
        return f"roles/{self.role}/files/dashboards/{self.name}.json"

    def _datasource(self, kind: str) -> Any:
        current = m.VariableOption(selected=True, text=kind.capitalize(), value=kind)
        variable = dashboard.DatasourceVariable(f"{kind}_datasource").label(f"{kind.capitalize()} data source")
        return variable.type(kind).current(current)

    def _annotations(self) -> list[Any]:
        """Deploys and restarts: Prometheus returns the start time itself as value, which Grafana uses as the time."""
        containers = processes = self.starts
        if not self.starts.startswith("$"):
            names = self.starts.split("|")
            containers = "|".join(f"{name}|{name}_.+" if name in GROUPS else name for name in names)
            processes = self.starts.replace("-", "_")  # a component is a project of Compose, by the same words
        which = ("name", "service") if self.starts.startswith("$") else (PROJECT, "component")
        marks = [
            (
                "Container starts",
                f'max by (name) (container_start_time_seconds{{{which[0]}=~"{containers}"}}) * 1000',
                "name",
                "blue",
            ),
            (
                "Process starts",
                f'max by (service) (process_start_time_seconds{{{which[1]}=~"{processes}"}}) * 1000',
                "service",
                "purple",
            ),
        ]
        built = []
        for title, expr, label, color in marks:
            query = dashboard.AnnotationQuery().name(title).datasource(PROMETHEUS).enable(True).icon_color(color)
            built.append(
                query.expr(expr)
                .step("60s")
                .use_value_for_time(True)
                .title_format(title[:-1])
                .text_format(f"{{{{{label}}}}}")
                .tag_keys(label)
            )
        alerts = (
            dashboard.AnnotationQuery().name("Alerts firing").datasource(PROMETHEUS).enable(False).icon_color("red")
        )
        alerts = alerts.expr('ALERTS{alertstate="firing", alertname!="Watchdog"}').step("60s").tag_keys("severity")
        built.append(alerts.title_format("{{alertname}}").text_format("{{job}} {{instance}}"))
        return built

    def placed(self) -> list[tuple[str, list[tuple[Panel, m.GridPos]]]]:
        """Return each row's title and its panels with their places, left to right, then down."""
        top, out = 0, []
        for title, panels in self.rows:
            top += 1 if title else 0
            left = line = 0
            placed = []
            for panel in panels:
                if left + panel.width > GRID:
                    top, left, line = top + line, 0, 0
                placed.append((panel, m.GridPos(h=panel.height, w=panel.width, x=left, y=top)))
                left, line = left + panel.width, max(line, panel.height)
            top += line
            out.append((title, placed))
        return out

    def build(self) -> m.Dashboard:
        """Return the SDK's model of the dashboard."""
        board = dashboard.Dashboard(self.title).uid(f"landfall-{self.name}").description(self.text)
        board = board.tags(["landfall"]).timezone("browser").readonly().refresh("30s").version(1)
        board = board.time(self.span, "now").tooltip(m.DashboardCursorSync.CROSSHAIR)
        board = board.timepicker(dashboard.TimePicker().refresh_intervals(["10s", "30s", "1m", "5m", "15m"]))
        board = board.with_variable(self._datasource("prometheus"))
        if self.uses_loki:
            board = board.with_variable(self._datasource("loki"))
        for variable in self.variables:
            board = board.with_variable(variable.build())
        base = dashboard.TextBoxVariable("runbooks").label("Runbooks").default_value(RUNBOOKS)
        base = base.current(m.VariableOption(selected=True, text=RUNBOOKS, value=RUNBOOKS))
        board = board.with_variable(base.description("Where the runbook pages are").hide(m.VariableHide.HIDE_VARIABLE))
        for annotation in self._annotations():
            board = board.annotation(annotation)
        others = dashboard.DashboardLink("Landfall").type(m.DashboardLinkType.DASHBOARDS).tags(["landfall"])
        board = board.link(others.as_dropdown(True).keep_time(True).include_vars(False).icon("external link"))
        number = 0
        for title, placed in self.placed():
            if title:
                number += 1
                row = dashboard.Row(title).id(number).grid_pos(m.GridPos(h=1, w=GRID, x=0, y=placed[0][1].y - 1))
                board = board.with_row(row)
            for panel, place in placed:
                number += 1
                board = board.with_panel(panel.build.id(number).grid_pos(place))
        return board.build()

    def json(self) -> str:
        """Return the dashboard as the text of its file."""
        board = json.loads(json.dumps(self.build(), cls=JSONEncoder))
        # The SDK moves every link and mark into a menu, where nobody looks; without the field they are in sight
        for part in (
            board["links"],
            board["annotations"]["list"],
            *(panel.get("links", []) for panel in board["panels"]),
        ):
            for entry in part:
                entry.pop("placement", None)
        return json.dumps(board, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
