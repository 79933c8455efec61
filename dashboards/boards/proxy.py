"""The proxy in front: what visitors get, who answers behind it, and how long certificates last."""

from __future__ import annotations

from dashboards.alerts import default, percent
from dashboards.board import Board, Variable
from dashboards.boards.common import OK_FAILED, SEL, UP_DOWN, instance, job, quantile, rate, share
from dashboards.kit import ANY_IS_BAD, Q, falling, graph, rising, runbook, see, see_logs, stat

# `_other` is what asks the proxy itself: Prometheus and the healthcheck
OURS = 'host!="_other"'
SITE = f'{SEL}, host=~"$host", {OURS}'
ANSWERS = "caddy_http_request_duration_seconds_count"
FIRST_BYTE = "caddy_http_response_duration_seconds"
FAILED = 'code=~"5.."'
HEALTHY = f"caddy_reverse_proxy_upstreams_healthy{{{SEL}}}"
LOST = 'code=~"502|503|504"'
DAYS = '(min by (instance) (probe_ssl_earliest_cert_expiry{component="caddy"}) - time()) / 86400'
MOST, LONG = default("caddy_alert_upstream_error_ratio"), default("caddy_alert_latency_seconds")

BOARD = Board(
    name="proxy",
    title="Landfall / Proxy",
    text="What visitors get from the proxy, whom it passes requests on to, and how long its certificates last.",
    role="caddy",
    starts="caddy|app|grafana",
    variables=[
        job("caddy_http_requests_in_flight"),
        instance("caddy_http_requests_in_flight"),
        Variable("host", "Site", f"caddy_http_requests_in_flight{{{SEL}, {OURS}}}"),
    ],
    rows=[
        (
            "At a glance",
            [
                stat(
                    "Proxy",
                    "Whether Prometheus reaches the proxy.",
                    "none",
                    Q(f'min(up{{{SEL}, component="caddy"}})'),
                    names=UP_DOWN,
                    links=(runbook("TargetDown"), see_logs("caddy")),
                ),
                stat(
                    "Requests", "Requests per second of the chosen sites.", "reqps", Q(rate(ANSWERS, SITE)), decimals=1
                ),
                stat(
                    "Reaching nobody",
                    f"Share of answers with 502, 503 or 504. The alert is critical at {percent(MOST)}.",
                    "percentunit",
                    Q(share(rate(ANSWERS, SITE, LOST), rate(ANSWERS, SITE))),
                    steps=rising(None, MOST),
                    decimals=2,
                    empty="no traffic",
                    links=(runbook("ProxyUpstreamErrors"),),
                ),
                stat(
                    "Upstreams down",
                    "Upstreams that do not answer the proxy's question for their health.",
                    "short",
                    Q(f"count({HEALTHY} == 0) or 0 * count({HEALTHY})"),
                    steps=ANY_IS_BAD,
                    decimals=0,
                    links=(runbook("ProxyUpstreamDown"),),
                ),
                stat(
                    "Next certificate ends in",
                    "Days until the first certificate ends. Caddy's own authority gives them for half a day only.",
                    "d",
                    Q(f"min({DAYS})"),
                    steps=falling(0.05, 0.1),
                    decimals=1,
                    links=(runbook("TLSCertificateExpiring"),),
                ),
                stat(
                    "Last reload",
                    "Whether the proxy took in its configuration when it was last told to.",
                    "none",
                    Q(f"min(caddy_config_last_reload_successful{{{SEL}}})"),
                    names=OK_FAILED,
                    links=(runbook("ProxyConfigReloadFailed"),),
                ),
            ],
        ),
        (
            "Requests",
            [
                graph(
                    "Requests by site",
                    "Requests per second.",
                    "reqps",
                    Q(rate(ANSWERS, SITE, by="host"), "{{host}}"),
                    width=8,
                    stack=True,
                    links=(see("API performance", "api-performance"),),
                ),
                graph(
                    "Answers by status",
                    "Answers per second by status code.",
                    "reqps",
                    Q(rate(ANSWERS, SITE, by="code"), "{{code}}"),
                    width=8,
                    stack=True,
                ),
                graph(
                    "Share of 5xx by site",
                    "Answers with 5xx, of the proxy or of whom it asked, as share of all.",
                    "percentunit",
                    Q(share(rate(ANSWERS, SITE, FAILED, by="host"), rate(ANSWERS, SITE, by="host")), "{{host}}"),
                    width=8,
                    high=1,
                    steps=rising(None, MOST),
                    links=(runbook("ProxyUpstreamErrors"),),
                ),
                graph(
                    "Time to the first byte",
                    f"How long answers take to begin. The alert warns when the p95 of a site is above {LONG:g} s.",
                    "s",
                    Q(quantile(0.5, FIRST_BYTE, SITE), "p50"),
                    Q(quantile(0.95, FIRST_BYTE, SITE), "p95"),
                    Q(quantile(0.99, FIRST_BYTE, SITE), "p99"),
                    width=8,
                    steps=rising(LONG),
                    links=(runbook("ProxySlow"),),
                ),
                graph(
                    "Time to the first byte by site, p95",
                    "The time that 95 of 100 answers stay below.",
                    "s",
                    Q(quantile(0.95, FIRST_BYTE, SITE, by="host"), "{{host}}"),
                    width=8,
                    steps=rising(LONG),
                    links=(runbook("ProxySlow"),),
                ),
                graph(
                    "In flight",
                    "Requests and websockets that are being served.",
                    "short",
                    Q(f"sum by (host) (caddy_http_requests_in_flight{{{SITE}}})", "{{host}}"),
                    width=8,
                ),
                graph(
                    "Traffic",
                    "Bytes per second that visitors send and receive.",
                    "Bps",
                    Q(rate("caddy_http_request_size_bytes_sum", SITE), "received"),
                    Q(rate("caddy_http_response_size_bytes_sum", SITE), "sent"),
                    width=12,
                ),
                graph(
                    "Requests by method",
                    "Requests per second by method.",
                    "reqps",
                    Q(rate(ANSWERS, SITE, by="method"), "{{method}}"),
                    width=12,
                    stack=True,
                ),
            ],
        ),
        (
            "Behind and around it",
            [
                graph(
                    "Upstreams",
                    "1 while an upstream answers the proxy's question for its health, 0 while it receives nothing.",
                    "short",
                    Q(f"min by (upstream) ({HEALTHY})", "{{upstream}}"),
                    width=8,
                    high=1,
                    links=(runbook("ProxyUpstreamDown"),),
                ),
                graph(
                    "Certificates",
                    "Days until the certificate of each probed page ends.",
                    "d",
                    Q(DAYS, "{{instance}}"),
                    width=8,
                    links=(runbook("TLSCertificateExpiring"),),
                ),
                graph(
                    "Pages as a visitor sees them",
                    "How long the probe of each page takes, through TLS.",
                    "s",
                    Q('max by (instance) (probe_duration_seconds{component="caddy"})', "{{instance}}"),
                    width=8,
                    links=(runbook("ProbeSlow"),),
                ),
            ],
        ),
    ],
)
