"""One pane: is everything up, is it fast, does work get done, is there room left (ledger GRF-07, GRF-12)."""

from __future__ import annotations

from dashboards.alerts import default
from dashboards.board import Board, Variable
from dashboards.boards.common import (
    BACKLOG,
    BACKLOG_TEXT,
    BUSY_MEMORY,
    CADVISOR,
    DISKS,
    ERRORS,
    ERRORS_TEXT,
    FULL_DISK,
    SLOW,
    UP_DOWN,
    instance,
    job,
    quantile,
    rate,
    services,
    share,
)
from dashboards.kit import ANY_IS_BAD, Q, graph, link, rising, runbook, see, see_logs, stat, table, timeline

COUNT = "http_requests_total"
TIME = "http_request_duration_seconds"
SERVER = 'status=~"5.."'
SITES, OURS = "caddy_http_request_duration_seconds_count", 'host!="_other"'
SITE_ERRORS = rising(default("caddy_alert_error_ratio"), default("caddy_alert_error_ratio_critical"))
UP = 'job=~"$job", instance=~"$instance", service=~"$service"'
R = "[$__rate_interval]"
FIRING = 'ALERTS{alertstate="firing", alertname!="Watchdog"}'
CPU = f'1 - avg(rate(node_cpu_seconds_total{{mode="idle"}}{R}))'
MEMORY = "1 - sum(node_memory_MemAvailable_bytes) / sum(node_memory_MemTotal_bytes)"
DISK = f"1 - min(node_filesystem_avail_bytes{{{DISKS}}} / node_filesystem_size_bytes{{{DISKS}}})"

BOARD = Board(
    name="overview",
    title="Landfall / Overview",
    text="The whole stack on one pane: service health, requests and errors, Celery, resources, firing alerts.",
    role="prometheus",
    starts="app|celery",
    variables=[
        job("up"),
        instance("up"),
        Variable("service", "Service", 'up{job=~"$job"}'),
        services(COUNT),
    ],
    rows=[
        (
            "At a glance",
            [
                stat(
                    "Down",
                    "Targets that Prometheus cannot scrape.",
                    "short",
                    Q(f"count(up{{{UP}}}) - sum(up{{{UP}}})"),
                    width=6,
                    steps=ANY_IS_BAD,
                    links=(runbook("TargetDown"), see("Monitoring stack", "monitoring-stack")),
                ),
                stat(
                    "Alerts firing",
                    "Alerts firing now, the watchdog aside.",
                    "short",
                    Q(f"count({FIRING}) or vector(0)"),
                    width=6,
                    steps=ANY_IS_BAD,
                ),
                stat(
                    "Memory",
                    "Share of the host's memory that programs cannot have.",
                    "percentunit",
                    Q(MEMORY),
                    width=6,
                    steps=BUSY_MEMORY,
                    decimals=0,
                    links=(runbook("HighMemoryUsage"), see("Host", "host")),
                ),
                stat(
                    "Fullest disk",
                    "Share used of the fullest file system.",
                    "percentunit",
                    Q(DISK),
                    width=6,
                    steps=FULL_DISK,
                    decimals=0,
                    links=(runbook("HighDiskUsage"), see("Host", "host")),
                ),
            ],
        ),
        (
            "Service health",
            [
                timeline(
                    "Services",
                    "Whether Prometheus reaches the metrics of each service, and probes get the answer they should.",
                    Q(f"min by (service) (up{{{UP}}})", "{{service}}"),
                    Q("min by (instance) (probe_success)", "probe of {{instance}}"),
                    names=UP_DOWN,
                    height=10,
                    links=(runbook("TargetDown"), runbook("ProbeFailed"), see("Probes", "probes")),
                ),
            ],
        ),
        (
            "Requests",
            [
                stat(
                    "Requests",
                    "Requests answered per second.",
                    "reqps",
                    Q(rate(COUNT)),
                    width=8,
                    decimals=2,
                    links=(see("API performance", "api-performance"),),
                ),
                stat(
                    "Server errors",
                    f"Share of answers of 500 or above. {ERRORS_TEXT}",
                    "percentunit",
                    Q(share(rate(COUNT, SERVER), rate(COUNT))),
                    width=8,
                    steps=ERRORS,
                    decimals=2,
                    empty="no traffic",
                    links=(runbook("HighAPIErrorRate"), see_logs()),
                ),
                stat(
                    "Latency p95",
                    "95 of 100 requests are faster than this.",
                    "s",
                    Q(quantile(0.95, TIME)),
                    width=8,
                    steps=SLOW,
                    empty="no traffic",
                    links=(runbook("SlowAPILatency"), see("API performance", "api-performance")),
                ),
                graph(
                    "Requests by status",
                    "Requests per second by status code.",
                    "reqps",
                    Q(rate(COUNT, by="status"), "{{status}}"),
                    width=8,
                    stack=True,
                    links=(see("API performance", "api-performance"),),
                ),
                graph(
                    "Error share",
                    "Share of answers of 500 or above, by service.",
                    "percentunit",
                    Q(share(rate(COUNT, SERVER, by="job"), rate(COUNT, by="job")), "{{job}}"),
                    width=8,
                    steps=ERRORS,
                    links=(runbook("HighAPIErrorRate"), see("Service level objectives", "slo")),
                ),
                graph(
                    "Latency p95 by service",
                    "The time that 95 of 100 requests stay below, by service.",
                    "s",
                    Q(quantile(0.95, TIME, by="job"), "{{job}}"),
                    width=8,
                    steps=SLOW,
                    links=(runbook("SlowAPILatency"),),
                ),
            ],
        ),
        (
            "Requests by site",
            [
                graph(
                    "Requests to each site",
                    "Requests per second that the proxy answers, by site.",
                    "reqps",
                    Q(rate(SITES, OURS, by="host"), "{{host}}"),
                    width=8,
                    stack=True,
                    links=(see("Proxy", "proxy"),),
                ),
                graph(
                    "Error share of each site",
                    "Share of answers of 500 or above, by site.",
                    "percentunit",
                    Q(share(rate(SITES, OURS, 'code=~"5.."', by="host"), rate(SITES, OURS, by="host")), "{{host}}"),
                    width=8,
                    steps=SITE_ERRORS,
                    links=(runbook("SiteErrorRateHigh"), see("Proxy", "proxy")),
                ),
                graph(
                    "First byte of each site, p95",
                    "The time after which 95 of 100 answers have begun, by site.",
                    "s",
                    Q(quantile(0.95, "caddy_http_response_duration_seconds", OURS, by="host"), "{{host}}"),
                    width=8,
                    steps=rising(default("caddy_alert_latency_seconds")),
                    links=(runbook("ProxySlow"), see("Proxy", "proxy")),
                ),
            ],
        ),
        (
            "Work in the background",
            [
                stat(
                    "Tasks waiting",
                    f"Tasks that wait in Celery's queues. {BACKLOG_TEXT}",
                    "short",
                    Q("sum(queue_name:celery_queue_length:max)"),
                    width=6,
                    steps=BACKLOG,
                    links=(runbook("WorkerQueueBacklog"), see("Celery", "celery")),
                ),
                graph(
                    "Tasks by outcome",
                    "Celery tasks per second by outcome.",
                    "ops",
                    Q(rate("celery_task_succeeded_total"), "succeeded"),
                    Q(rate("celery_task_failed_total"), "failed"),
                    Q(rate("celery_task_retried_total"), "retried"),
                    width=6,
                    links=(runbook("CeleryTaskFailures"), see("Celery", "celery")),
                ),
                graph(
                    "Queues",
                    "Tasks that wait, by queue.",
                    "short",
                    Q("queue_name:celery_queue_length:max", "{{queue_name}}"),
                    width=6,
                    steps=BACKLOG,
                    links=(runbook("WorkerQueueBacklog"), see("Celery", "celery")),
                ),
                graph(
                    "Workers",
                    "Workers that listen to each queue.",
                    "short",
                    Q("max by (queue_name) (celery_active_worker_count)", "{{queue_name}}"),
                    width=6,
                    links=(runbook("CeleryQueueNoConsumers"),),
                ),
            ],
        ),
        (
            "Resources",
            [
                graph(
                    "Host",
                    "Share of the host's processor time and memory in use, and of its fullest disk.",
                    "percentunit",
                    Q(CPU, "processor"),
                    Q(MEMORY, "memory"),
                    Q(DISK, "fullest disk"),
                    width=8,
                    high=1,
                    links=(see("Host", "host"),),
                ),
                graph(
                    "Processor by container",
                    "Cores used, the ten containers that use most.",
                    "short",
                    Q(
                        f'topk(10, sum by (name) (rate(container_cpu_usage_seconds_total{{name=~".+"}}{R})))',
                        "{{name}}",
                        every=CADVISOR,
                    ),
                    width=8,
                    links=(see("Containers", "containers"),),
                ),
                graph(
                    "Memory by container",
                    "Working set, the ten containers that use most.",
                    "bytes",
                    Q('topk(10, max by (name) (container_memory_working_set_bytes{name=~".+"}))', "{{name}}"),
                    width=8,
                    links=(see("Containers", "containers"),),
                ),
            ],
        ),
        (
            "Alerts",
            [
                table(
                    "Firing",
                    "Alerts firing now. Each has a runbook page of its name.",
                    "short",
                    Q(f"sum by (alertname, severity, job, instance) ({FIRING})"),
                    columns={"alertname": "Alert", "severity": "Severity", "job": "Job", "instance": "Instance"},
                    links=(link("Runbooks", "${runbooks}/"),),
                ),
            ],
        ),
    ],
)
