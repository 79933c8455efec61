"""The log collector: whether it works as configured and delivers."""

from __future__ import annotations

from dashboards.board import Board
from dashboards.boards.common import SEL, UP_DOWN, instance, job, rate
from dashboards.kit import ANY_IS_BAD, Q, graph, runbook, see, see_logs, stat

# All jobs serve these: with All the variables choose every one of them
SELF = f'{SEL}, component="alloy"'

BOARD = Board(
    name="alloy",
    title="Landfall / Alloy",
    text="Whether the log collector works as configured, and whether the lines that it reads leave it.",
    role="alloy",
    starts="alloy",
    variables=[job("alloy_build_info"), instance("alloy_build_info")],
    rows=[
        (
            "",
            [
                stat(
                    "Alloy",
                    "Whether Prometheus reaches Alloy.",
                    "none",
                    Q(f"min(up{{{SELF}}})"),
                    width=8,
                    names=UP_DOWN,
                    links=(runbook("TargetDown"), see_logs("alloy")),
                ),
                stat(
                    "Components not healthy",
                    "Parts of Alloy's configuration that do not work.",
                    "short",
                    Q(
                        "sum(alloy_component_controller_running_components"
                        f'{{{SEL}, health_type!="healthy"}}) or vector(0)'
                    ),
                    width=8,
                    steps=ANY_IS_BAD,
                    links=(runbook("AlloyUnhealthyComponents"), see_logs("alloy")),
                ),
                stat(
                    "Memory in use",
                    "Resident memory of Alloy.",
                    "bytes",
                    Q(f"sum(process_resident_memory_bytes{{{SELF}}})"),
                    width=8,
                    links=(see("Containers", "containers"),),
                ),
                graph(
                    "Lines sent",
                    "Lines per second that Alloy sent.",
                    "cps",
                    Q(rate("loki_write_sent_entries_total", SEL, by="instance"), "{{instance}}"),
                    links=(runbook("NoLogsReceived"), see("Loki", "loki")),
                ),
                graph(
                    "Lines dropped",
                    "Lines per minute that Alloy gave up.",
                    "short",
                    Q(
                        f"60 * {rate('loki_write_dropped_entries_total', SEL, by='instance')}",
                        "{{instance}}",
                    ),
                    steps=ANY_IS_BAD,
                    links=(runbook("AlloyDroppingLogs"), see_logs("alloy")),
                ),
            ],
        ),
    ],
)
