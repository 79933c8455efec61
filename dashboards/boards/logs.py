"""Logs of the containers and of the host's journal, as Alloy labels them: source, container, service, level."""

from __future__ import annotations

from dashboards.board import Board, Text, Variable
from dashboards.kit import Q, graph, link, logs, rising, runbook, see, stat

FROM = 'source="docker", container=~"$container", service=~"${only:raw}"'
CHOSEN = f'{{{FROM}, level=~"$level"}} |~ "(?i)$search"'
BAD = f'{{{FROM}, level=~"error|critical"}}'
JOURNAL = '{source="journal", level=~"$level"} |~ "(?i)$search"'

BOARD = Board(
    name="logs",
    title="Landfall / Logs",
    text="Lines of every container and of the host: how many, how bad, and the lines themselves. "
    "Search takes a word, a regular expression, a request id or a task id.",
    role="loki",
    starts=".+",
    span="now-1h",
    uses_loki=True,
    variables=[
        Variable("container", "Container", "", loki=True),
        Variable("level", "Level", "", loki=True),
        Text("only", "Services by pattern", first=".+"),
        Text("search", "Search"),
    ],
    rows=[
        (
            "At a glance",
            [
                stat(
                    "Lines per second",
                    "Lines of the chosen containers and levels per second.",
                    "cps",
                    Q(f"sum(rate({CHOSEN} [$__auto]))", loki=True),
                    width=6,
                    decimals=1,
                ),
                stat(
                    "Errors per second",
                    "Lines of level error or critical of the chosen containers per second.",
                    "cps",
                    Q(f"sum(rate({BAD} [$__auto]))", loki=True),
                    width=6,
                    steps=rising(0.02, 0.2),
                    decimals=2,
                ),
                stat(
                    "Volume",
                    "Bytes of the chosen containers' lines per second, before compression.",
                    "Bps",
                    Q(f"sum(bytes_rate({CHOSEN} [$__auto]))", loki=True),
                    width=6,
                ),
                stat(
                    "Host errors",
                    "Lines of level error or critical in the host's journal per second.",
                    "cps",
                    Q('sum(rate({source="journal", level=~"error|critical"} [$__auto]))', loki=True),
                    width=6,
                    steps=rising(0.02, 0.2),
                    decimals=2,
                    links=(see("Host", "host"),),
                ),
            ],
        ),
        (
            "How many",
            [
                graph(
                    "Lines by level",
                    "Lines per second by level.",
                    "cps",
                    Q(f"sum by (level) (rate({CHOSEN} [$__auto]))", "{{level}}", loki=True),
                    width=8,
                    stack=True,
                ),
                graph(
                    "Lines by container",
                    "Lines per second by container.",
                    "cps",
                    Q(f"sum by (container) (rate({CHOSEN} [$__auto]))", "{{container}}", loki=True),
                    width=8,
                    stack=True,
                    links=(runbook("NoLogsReceived"), see("Monitoring stack", "monitoring-stack")),
                ),
                graph(
                    "Errors by container",
                    "Lines of level error or critical per second, by container.",
                    "cps",
                    Q(f"sum by (container) (rate({BAD} [$__auto]))", "{{container}}", loki=True),
                    width=8,
                    stack=True,
                ),
            ],
        ),
        (
            "Lines",
            [
                logs(
                    "Containers",
                    "Lines of the chosen containers and levels that match the search. A click shows the ids.",
                    Q(CHOSEN, loki=True),
                    links=(link("Runbooks", "${runbooks}/"),),
                ),
                logs(
                    "Errors",
                    "Lines of level error or critical of the chosen containers, whatever is searched for.",
                    Q(BAD, loki=True),
                    height=10,
                ),
                logs(
                    "Host",
                    "The host's journal: system services, SSH, the kernel.",
                    Q(JOURNAL, loki=True),
                    height=10,
                ),
            ],
        ),
    ],
)
