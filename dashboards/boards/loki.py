"""Loki itself: lines that come in, lines that it refuses, how fast it answers, whether old lines go."""

from __future__ import annotations

from dashboards.alerts import default
from dashboards.board import Board
from dashboards.boards.common import SEL, UP_DOWN, instance, job, quantile, rate
from dashboards.kit import Q, graph, rising, runbook, see, see_logs, stat

MOST = default("loki_max_streams")
# All jobs serve these: with All the variables choose every one of them
SELF = f'{SEL}, component="loki"'

BOARD = Board(
    name="loki",
    title="Landfall / Loki",
    text="Whether Loki takes lines in, answers, and removes what is too old. The lines themselves: Logs.",
    role="loki",
    starts="loki",
    variables=[job("loki_build_info"), instance("loki_build_info")],
    rows=[
        (
            "",
            [
                stat(
                    "Loki",
                    "Whether Prometheus reaches Loki.",
                    "none",
                    Q(f"min(up{{{SELF}}})"),
                    width=6,
                    names=UP_DOWN,
                    links=(runbook("TargetDown"), see_logs("loki")),
                ),
                stat(
                    "Streams",
                    f"Streams in memory; Loki refuses more than {MOST:g} (loki_max_streams)."
                    " Many mean a label without bound.",
                    "short",
                    Q(f"sum(loki_ingester_memory_streams{{{SEL}}})"),
                    width=6,
                    steps=rising(0.75 * MOST, MOST),
                ),
                stat(
                    "Retention last ran",
                    "Time since Loki last removed old lines.",
                    "s",
                    Q(
                        "time() - max(loki_compactor_apply_retention_last_successful_run_timestamp_seconds"
                        f"{{{SEL}}} > 0)"
                    ),
                    width=6,
                    steps=rising(default("loki_alert_retention_seconds")),
                    links=(runbook("LokiRetentionStalled"),),
                ),
                stat(
                    "Memory in use",
                    "Resident memory of Loki.",
                    "bytes",
                    Q(f"sum(process_resident_memory_bytes{{{SELF}}})"),
                    width=6,
                    links=(see("Containers", "containers"),),
                ),
                graph(
                    "Lines received",
                    "Lines per second that Loki accepted.",
                    "cps",
                    Q(rate("loki_distributor_lines_received_total", SEL), "lines"),
                    width=8,
                    links=(runbook("NoLogsReceived"), see("Logs", "logs")),
                ),
                graph(
                    "Lines refused",
                    "Lines per minute that Loki discarded, by reason.",
                    "short",
                    Q(f"60 * {rate('loki_discarded_samples_total', SEL, by='reason')}", "{{reason}}"),
                    width=8,
                    steps=rising(1, 10),
                    links=(runbook("LokiDiscarding"), see_logs("loki")),
                ),
                graph(
                    "Requests p95",
                    "The time that 95 of 100 requests stay below: pushing lines and asking for them.",
                    "s",
                    Q(
                        quantile(
                            0.95,
                            "loki_request_duration_seconds",
                            SEL,
                            'route=~"loki_api_v1_push|loki_api_v1_query_range"',
                            by="route",
                        ),
                        "{{route}}",
                    ),
                    width=8,
                    steps=rising(1, 5),
                ),
            ],
        ),
    ],
)
