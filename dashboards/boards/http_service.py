"""Services that tell of their requests in another way than the reference application: one dashboard for each kind."""

from __future__ import annotations

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
from dashboards.kit import Q, graph, runbook, see_logs, stat, table


def _board(
    name: str, title: str, text: str, count: str, seconds: str, exact: str, labels: tuple[str, str, str]
) -> Board:
    """Return the dashboard of one kind of metrics; ``labels`` are those of route, method and status.

    ``seconds`` is the histogram that has the labels, ``exact`` the one whose buckets reach far enough for alerts.
    """
    route, method, status = labels
    every = f'{SEL}, {route}=~"$route", {method}=~"$method"' if seconds == count.removesuffix("_count") else SEL
    counted = f'{SEL}, {route}=~"$route", {method}=~"$method"'
    failed, refused = f'{status}=~"5.."', f'{status}=~"4.."'
    errors = share(rate(count, counted, failed), rate(count, counted))
    return Board(
        name=name,
        title=title,
        text=text,
        role="grafana",
        starts="app|app-.+",
        variables=[
            job(count),
            instance(count),
            Variable("route", "Route", f"{count}{{{SEL}}}", of=route),
            Variable("method", "Method", f"{count}{{{SEL}}}", of=method),
            services(f"{count}{{{SEL}}}"),
        ],
        rows=[
            (
                "At a glance",
                [
                    stat("Request rate", "Requests per second.", "reqps", Q(rate(count, counted)), decimals=2),
                    stat(
                        "Server errors",
                        f"Share of answers with a status of 500 or above. {ERRORS_TEXT}",
                        "percentunit",
                        Q(errors),
                        steps=ERRORS,
                        decimals=2,
                        empty="no traffic",
                        links=(runbook("HighAPIErrorRate"), see_logs()),
                    ),
                    stat(
                        "Client errors",
                        "Share of answers with a status from 400 to 499.",
                        "percentunit",
                        Q(share(rate(count, counted, refused), rate(count, counted))),
                        decimals=2,
                        empty="no traffic",
                        links=(runbook("HighClientErrorRate"),),
                    ),
                    *(
                        stat(
                            f"p{100 * of:.0f}",
                            f"{100 * of:.0f} of 100 requests are faster than this. {SLOW_TEXT}",
                            "s",
                            Q(quantile(of, exact, every)),
                            steps=SLOW,
                            empty="no traffic",
                            links=(runbook("SlowAPILatency"),),
                        )
                        for of in (0.5, 0.95, 0.99)
                    ),
                ],
            ),
            (
                "Requests",
                [
                    graph(
                        "Requests by route",
                        "Requests per second by route.",
                        "reqps",
                        Q(rate(count, counted, by=route), f"{{{{{route}}}}}"),
                        width=8,
                        stack=True,
                    ),
                    graph(
                        "Requests by status",
                        "Requests per second by status.",
                        "reqps",
                        Q(rate(count, counted, by=status), f"{{{{{status}}}}}"),
                        width=8,
                        stack=True,
                    ),
                    graph(
                        "Requests by method",
                        "Requests per second by HTTP method.",
                        "reqps",
                        Q(rate(count, counted, by=method), f"{{{{{method}}}}}"),
                        width=8,
                        stack=True,
                    ),
                    graph(
                        "Error share",
                        "Share of server errors. Dashed: where the alert warns and is critical.",
                        "percentunit",
                        Q(errors, "server errors"),
                        width=8,
                        steps=ERRORS,
                        links=(runbook("HighAPIErrorRate"), runbook("CriticalAPIErrorRate")),
                    ),
                    graph(
                        "Latency percentiles",
                        "How long requests take. Dashed: where the p95 alert warns and is critical.",
                        "s",
                        Q(quantile(0.5, exact, every), "p50"),
                        Q(quantile(0.95, exact, every), "p95"),
                        Q(quantile(0.99, exact, every), "p99"),
                        width=8,
                        steps=SLOW,
                        links=(runbook("SlowAPILatency"), runbook("CriticalAPILatency")),
                    ),
                    graph(
                        "Mean time by route",
                        "Mean time of a request, by route.",
                        "s",
                        Q(mean(seconds, counted, by=route), f"{{{{{route}}}}}"),
                        width=8,
                        steps=SLOW,
                    ),
                    table(
                        "Routes",
                        "Every route with its rate and mean time at the end of the time range.",
                        "s",
                        Q(rate(count, counted, by=f"{route}, {method}")),
                        Q(mean(seconds, counted, by=f"{route}, {method}")),
                        columns={route: "Route", method: "Method", "Value #A": "Rate", "Value #B": "Mean"},
                        units={"Rate": "reqps"},
                    ),
                ],
            ),
        ],
    )


INSTRUMENTATOR = _board(
    "api-instrumentator",
    "Landfall / HTTP services (instrumentator)",
    "Requests, errors and latency of services that use prometheus-fastapi-instrumentator.",
    "http_requests_total",
    "http_request_duration_seconds",
    "http_request_duration_highr_seconds",
    ("handler", "method", "status"),
)
OTEL = _board(
    "api-otel",
    "Landfall / HTTP services (OpenTelemetry)",
    "Requests, errors and latency of services that follow OpenTelemetry's conventions for HTTP.",
    "http_server_request_duration_seconds_count",
    "http_server_request_duration_seconds",
    "http_server_request_duration_seconds",
    ("http_route", "http_request_method", "http_response_status_code"),
)
