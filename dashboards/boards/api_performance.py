"""How the API answers: rate, errors and latency by endpoint, method and status (ledger GRF-04)."""

from __future__ import annotations

from dashboards.alerts import default
from dashboards.board import Board, Variable
from dashboards.boards.common import (
    ERRORS,
    ERRORS_TEXT,
    SEL,
    SLOW,
    SLOW_TEXT,
    instance,
    job,
    mean,
    quantile,
    rate,
    services,
    share,
)
from dashboards.kit import Q, bars, graph, rising, runbook, see, see_logs, stat, table

ALL = f'{SEL}, endpoint=~"$endpoint", method=~"$method"'
COUNT = "http_requests_total"
TIME = "http_request_duration_seconds"
SERVER = 'status=~"5.."'
CLIENT = 'status=~"4.."'
BOUNDS = (default("app_alert_latency_seconds"), default("app_alert_latency_critical_seconds"))


def _faster_than(bound: float) -> str:
    # Prometheus 3 stores the bound 2 as 2.0, older ones as the program wrote it
    le = f"{bound:g}".replace(".", "[.]")
    inside = rate(f"{TIME}_bucket", ALL, f'le=~"{le}([.]0)?"')
    return f"{inside} / ({rate(TIME + '_count', ALL)} > 0)"


BOARD = Board(
    name="api-performance",
    title="Landfall / API performance",
    text="Request rate, error rate and latency of the HTTP services by endpoint, method and status.",
    role="grafana",
    starts="app",
    variables=[
        job(COUNT),
        instance(COUNT),
        Variable("endpoint", "Endpoint", f"{COUNT}{{{SEL}}}"),
        Variable("method", "Method", f"{COUNT}{{{SEL}}}"),
        services(f"{COUNT}{{{SEL}}}"),
    ],
    rows=[
        (
            "At a glance",
            [
                stat("Request rate", "Requests answered per second.", "reqps", Q(rate(COUNT, ALL)), decimals=2),
                stat(
                    "Server errors",
                    f"Share of answers with a status of 500 or above. {ERRORS_TEXT}",
                    "percentunit",
                    Q(share(rate(COUNT, ALL, SERVER), rate(COUNT, ALL))),
                    steps=ERRORS,
                    decimals=2,
                    empty="no traffic",
                    links=(runbook("HighAPIErrorRate"), see_logs()),
                ),
                stat(
                    "Client errors",
                    "Share of answers with a status from 400 to 499: what callers got wrong, or were refused.",
                    "percentunit",
                    Q(share(rate(COUNT, ALL, CLIENT), rate(COUNT, ALL))),
                    steps=rising(default("app_alert_client_error_ratio")),
                    decimals=2,
                    empty="no traffic",
                    links=(runbook("HighClientErrorRate"),),
                ),
                stat(
                    "Median",
                    "Half of the requests are faster than this.",
                    "s",
                    Q(quantile(0.5, TIME, ALL)),
                    steps=SLOW,
                    empty="no traffic",
                ),
                stat(
                    "p95",
                    f"95 of 100 requests are faster than this. {SLOW_TEXT}",
                    "s",
                    Q(quantile(0.95, TIME, ALL)),
                    steps=SLOW,
                    empty="no traffic",
                    links=(runbook("SlowAPILatency"),),
                ),
                stat(
                    "p99",
                    "99 of 100 requests are faster than this.",
                    "s",
                    Q(quantile(0.99, TIME, ALL)),
                    steps=SLOW,
                    empty="no traffic",
                ),
            ],
        ),
        (
            "Traffic",
            [
                graph(
                    "Requests by endpoint",
                    "Requests per second by route template; ids in paths are not told apart.",
                    "reqps",
                    Q(rate(COUNT, ALL, by="endpoint"), "{{endpoint}}"),
                    stack=True,
                ),
                graph(
                    "Requests by status",
                    "Requests per second by status code.",
                    "reqps",
                    Q(rate(COUNT, ALL, by="status"), "{{status}}"),
                    width=6,
                    stack=True,
                ),
                graph(
                    "Requests by method",
                    "Requests per second by HTTP method.",
                    "reqps",
                    Q(rate(COUNT, ALL, by="method"), "{{method}}"),
                    width=6,
                    stack=True,
                ),
            ],
        ),
        (
            "Errors",
            [
                graph(
                    "Error share",
                    "Share of server (5xx) and client (4xx) errors. Dashed: where the alert warns and is critical.",
                    "percentunit",
                    Q(share(rate(COUNT, ALL, SERVER), rate(COUNT, ALL)), "server errors"),
                    Q(share(rate(COUNT, ALL, CLIENT), rate(COUNT, ALL)), "client errors"),
                    width=8,
                    steps=ERRORS,
                    links=(runbook("HighAPIErrorRate"), runbook("CriticalAPIErrorRate")),
                ),
                graph(
                    "Errors by endpoint",
                    "Answers of 400 and above per second by route and status code.",
                    "reqps",
                    Q(rate(COUNT, ALL, 'status=~"[45].."', by="endpoint, status"), "{{status}} {{endpoint}}"),
                    width=8,
                    links=(see_logs(),),
                ),
                graph(
                    "Errors by type",
                    "Errors that the application counted itself, by type and severity, also outside of requests.",
                    "ops",
                    Q(rate("errors_total", SEL, by="type, severity"), "{{severity}}: {{type}}"),
                    width=8,
                    links=(see_logs(),),
                ),
            ],
        ),
        (
            "Latency",
            [
                graph(
                    "Latency percentiles",
                    "How long requests take. Dashed: where the p95 alert warns and is critical.",
                    "s",
                    Q(quantile(0.5, TIME, ALL), "p50"),
                    Q(quantile(0.95, TIME, ALL), "p95"),
                    Q(quantile(0.99, TIME, ALL), "p99"),
                    steps=SLOW,
                    links=(runbook("SlowAPILatency"), runbook("CriticalAPILatency")),
                ),
                graph(
                    "p95 by endpoint",
                    "The time that 95 of 100 requests stay below, by route.",
                    "s",
                    Q(quantile(0.95, TIME, ALL, by="endpoint"), "{{endpoint}}"),
                    steps=SLOW,
                    links=(see("Database and Redis", "database-redis"),),
                ),
                graph(
                    "p95 by method",
                    "The time that 95 of 100 requests stay below, by HTTP method.",
                    "s",
                    Q(quantile(0.95, TIME, ALL, by="method"), "{{method}}"),
                    width=8,
                ),
                graph(
                    "Share within bounds",
                    "Share of requests faster than the bounds of the alerts: exact, as these are bounds of buckets.",
                    "percentunit",
                    *(Q(_faster_than(bound), f"at most {bound:g} s") for bound in BOUNDS),
                    width=8,
                    high=1,
                    links=(see("Service level objectives", "slo"),),
                ),
                bars(
                    "Time spent by endpoint",
                    "Where the service spends its time: seconds of request handling per second.",
                    "s",
                    Q(f"topk(10, {rate(TIME + '_sum', ALL, by='endpoint')})", "{{endpoint}}", instant=True),
                ),
                table(
                    "Endpoints",
                    "Every route with its rate, mean time and p95 at the end of the time range.",
                    "s",
                    Q(rate(COUNT, ALL, by="endpoint, method")),
                    Q(mean(TIME, ALL, by="endpoint, method")),
                    Q(quantile(0.95, TIME, ALL, by="endpoint, method")),
                    columns={
                        "endpoint": "Endpoint",
                        "method": "Method",
                        "Value #A": "Rate",
                        "Value #B": "Mean",
                        "Value #C": "p95",
                    },
                    units={"Rate": "reqps"},
                ),
            ],
        ),
        (
            "Limits and connections",
            [
                graph(
                    "Rate limit",
                    "Requests refused per second by the rate limiter, and clients that are near their limit.",
                    "short",
                    Q(rate("rate_limit_violations_total", SEL), "refused per second"),
                    Q(f"sum(rate_limit_near_limit{{{SEL}}})", "clients near their limit"),
                    width=8,
                ),
                graph(
                    "Websocket connections",
                    "Open websocket connections.",
                    "short",
                    Q(f"sum by (instance) (websocket_connections{{{SEL}}})", "{{instance}}"),
                    width=8,
                ),
                graph(
                    "Active users and records",
                    "Users seen lately, and stored records by kind.",
                    "short",
                    # Each replica tells of all of them
                    Q(f"sum(max by (job) (active_users{{{SEL}}}))", "active users"),
                    Q(f"sum by (kind) (max by (job, kind) (records{{{SEL}}}))", "records: {{kind}}"),
                    width=8,
                ),
            ],
        ),
    ],
)
