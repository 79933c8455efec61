"""Service level objectives of the API: what is promised, what is kept, how fast the budget burns.

It reads what Prometheus has recorded for the alerts (roles/prometheus/templates/rules/http-slo.yml.j2), and the
objectives too: the dashboard cannot disagree with the alerts, whatever the inventory sets, and asks for no window of
days itself.
"""

from __future__ import annotations

from dashboards.board import Board, Variable
from dashboards.kit import PLAIN, Q, graph, rising, runbook, see, stat

SERVICE = 'service=~"$service"'
REQUESTS = f"service:http_requests:increase5m{{{SERVICE}}}"
WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
BURN = rising(1, 6)
BUDGET = ((None, "red"), (0, "orange"), (0.25, "green"))
AVAILABILITY, LATENCY = "slo:availability:objective", "slo:latency:objective"


def _errors(window: str) -> str:
    return f"service:http_requests_error:ratio_rate{window}{{{SERVICE}}}"


def _slow(window: str) -> str:
    return f"service:http_requests_slow:ratio_rate{window}{{{SERVICE}}}"


def _over_range(share: str) -> str:
    """Return the share in the whole time range shown: that of each 5 minutes, weighted with their requests."""
    bad = f"sum_over_time(({share} * {REQUESTS} > 0)[$__range:1m])"
    whole = f"sum_over_time(({REQUESTS} > 0)[$__range:1m])"
    return f"({bad} or 0 * {whole}) / {whole}"


def _burn(share: str, objective: str) -> str:
    return f"{share} / (1 - scalar({objective}))"


def _left(share: str, objective: str) -> str:
    return f"1 - {share} / (1 - scalar({objective}))"


BOARD = Board(
    name="slo",
    title="Landfall / Service level objectives",
    text="Availability and latency against their objectives: what is left of the error budget, and how fast it burns.",
    role="grafana",
    starts="app|app-.+",
    span="now-24h",
    variables=[Variable("service", "Service", "service:http_requests:increase5m")],
    rows=[
        (
            "Kept in the time range shown",
            [
                stat(
                    "Objectives",
                    "What the alerts hold the API to: app_alert_slo_availability and app_alert_slo_latency.",
                    "percentunit",
                    Q(AVAILABILITY, "available", instant=True),
                    Q(LATENCY, "fast", instant=True),
                    width=4,
                    steps=PLAIN,
                    decimals=1,
                ),
                stat(
                    "Availability",
                    "Share of requests that were not answered with a server error, in the time range shown.",
                    "percentunit",
                    Q(f"1 - {_over_range(_errors('5m'))}", "{{service}}", instant=True),
                    width=5,
                    steps=PLAIN,
                    decimals=3,
                ),
                stat(
                    "Availability budget left",
                    "What is left of the errors that the objective allows in this time range; below 0: overspent.",
                    "percentunit",
                    Q(_left(_over_range(_errors("5m")), AVAILABILITY), "{{service}}", instant=True),
                    width=5,
                    steps=BUDGET,
                    decimals=1,
                ),
                stat(
                    "Fast answers",
                    "Share of requests answered within app_alert_slo_latency_seconds, in the time range shown.",
                    "percentunit",
                    Q(f"1 - {_over_range(_slow('5m'))}", "{{service}}", instant=True),
                    width=5,
                    steps=PLAIN,
                    decimals=3,
                ),
                stat(
                    "Latency budget left",
                    "What is left of the slow answers that the objective allows in the time range shown.",
                    "percentunit",
                    Q(_left(_over_range(_slow("5m")), LATENCY), "{{service}}", instant=True),
                    width=5,
                    steps=BUDGET,
                    decimals=1,
                ),
            ],
        ),
        (
            "How fast the budget burns",
            [
                graph(
                    "Availability burn rate",
                    "1 spends exactly the budget of the objective's period. Pages: 14.4 on 5m and 1h, 6 on 30m and 6h.",
                    "short",
                    *(Q(_burn(_errors(window), AVAILABILITY), f"{{{{service}}}} {window}") for window in WINDOWS),
                    steps=BURN,
                    height=9,
                    links=(runbook("AvailabilityBudgetBurnFast"), see("API performance", "api-performance")),
                ),
                graph(
                    "Latency burn rate",
                    "1 spends exactly the budget of the objective's period. Pages: 14.4 on 5m and 1h, 6 on 30m and 6h.",
                    "short",
                    *(Q(_burn(_slow(window), LATENCY), f"{{{{service}}}} {window}") for window in WINDOWS),
                    steps=BURN,
                    height=9,
                    links=(runbook("LatencyBudgetBurnFast"), see("API performance", "api-performance")),
                ),
            ],
        ),
        (
            "Where the budget went",
            [
                graph(
                    "Server errors and slow answers",
                    "Share of requests that count against each objective.",
                    "percentunit",
                    Q(_errors("5m"), "{{service}} server errors"),
                    Q(_slow("5m"), "{{service}} slow answers"),
                    width=24,
                ),
            ],
        ),
    ],
)
