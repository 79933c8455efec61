"""What each tenant asks for and gets (ledger GRF-10, defect D-1, conflict C-17)."""

from __future__ import annotations

from dashboards.alerts import default, percent
from dashboards.board import Board, Variable
from dashboards.boards.common import SEL, instance, job, quantile, rate, services, share
from dashboards.kit import Q, bars, falling, graph, pie, rising, runbook, see, see_logs, stat, table

COUNT = "enhancement_requests_total"
TIME = "enhancement_duration_seconds"
ALL = f'{SEL}, tenant_id=~"$tenant_id"'
DONE = 'status=~"success|failure"'
FAILING = default("app_alert_enhancement_failure_ratio")
LONG = rising(default("app_alert_enhancement_seconds"))
WAITING = rising(default("app_alert_enhancement_queue"))
QUEUED = 'status="queued"'
FAILED = 'status="failure"'


def _success(by: str = "") -> str:
    # from the counters: the gauge of the same meaning is one process' view only
    return share(rate(COUNT, ALL, 'status="success"', by=by), rate(COUNT, ALL, DONE, by=by))


BOARD = Board(
    name="per-tenant",
    title="Landfall / Tenants",
    text="Enhancement requests of each tenant: how many, how many succeed, how long they take and wait.",
    role="grafana",
    starts="app|celery",
    variables=[
        job(COUNT),
        instance(COUNT),
        Variable("tenant_id", "Tenant", f"{COUNT}{{{SEL}}}"),
        services(f"{COUNT}{{{SEL}}}"),
    ],
    rows=[
        (
            "At a glance",
            [
                stat(
                    "Tenants",
                    "Tenants with any request since their counters began.",
                    "short",
                    Q(f"count(count by (tenant_id) ({COUNT}{{{ALL}}}))"),
                ),
                stat(
                    "Queued per minute",
                    "Requests accepted per minute.",
                    "short",
                    Q(f"60 * {rate(COUNT, ALL, QUEUED)}"),
                    decimals=1,
                ),
                stat(
                    "Finished per minute",
                    "Requests finished per minute, well or not.",
                    "short",
                    Q(f"60 * {rate(COUNT, ALL, DONE)}"),
                    decimals=1,
                ),
                stat(
                    "Success",
                    f"Share of finished requests that succeeded. The alert warns below {percent(1 - FAILING)}.",
                    "percentunit",
                    Q(_success()),
                    steps=falling(None, 1 - FAILING),
                    decimals=2,
                    empty="no requests",
                    links=(runbook("EnhancementFailureRateHigh"), see_logs()),
                ),
                stat(
                    "p95",
                    "95 of 100 enhancements finish within this time.",
                    "s",
                    Q(quantile(0.95, TIME, ALL)),
                    steps=LONG,
                    empty="no requests",
                    links=(runbook("EnhancementSlow"),),
                ),
                stat(
                    "Waiting",
                    "Requests that wait in the queue.",
                    "short",
                    Q(f"sum(max by (queue_name, tenant_id) (queue_depth{{{ALL}}}))"),
                    steps=WAITING,
                    links=(runbook("EnhancementQueueBacklog"), see("Celery workers", "celery-workers")),
                ),
            ],
        ),
        (
            "Requests",
            [
                graph(
                    "Requests by tenant",
                    "Requests accepted per second, by tenant.",
                    "reqps",
                    Q(rate(COUNT, ALL, QUEUED, by="tenant_id"), "{{tenant_id}}"),
                    stack=True,
                ),
                graph(
                    "Outcome",
                    "Requests per second by what became of them.",
                    "reqps",
                    Q(rate(COUNT, ALL, by="status"), "{{status}}"),
                    width=6,
                ),
                pie(
                    "Share of each tenant",
                    "Share of each tenant in the requests accepted in the time range shown.",
                    "short",
                    Q(
                        f'sum by (tenant_id) (increase({COUNT}{{{ALL}, status="queued"}}[$__range]))',
                        "{{tenant_id}}",
                        instant=True,
                    ),
                    width=6,
                ),
                graph(
                    "Success by tenant",
                    "Share of finished requests that succeeded, by tenant, computed from the counters.",
                    "percentunit",
                    Q(_success("tenant_id"), "{{tenant_id}}"),
                    high=1,
                    steps=falling(None, 1 - FAILING),
                ),
                graph(
                    "Failures by tenant",
                    "Failed requests per minute, by tenant.",
                    "short",
                    Q(
                        f"60 * ({rate(COUNT, ALL, FAILED, by='tenant_id')}"
                        f" or 0 * {rate(COUNT, ALL, DONE, by='tenant_id')})",
                        "{{tenant_id}} per minute",
                    ),
                    links=(see_logs(),),
                ),
            ],
        ),
        (
            "Time",
            [
                graph(
                    "Duration percentiles",
                    "How long enhancements of the chosen tenants take.",
                    "s",
                    Q(quantile(0.5, TIME, ALL), "p50"),
                    Q(quantile(0.95, TIME, ALL), "p95"),
                    Q(quantile(0.99, TIME, ALL), "p99"),
                    width=8,
                    steps=LONG,
                ),
                graph(
                    "p95 by tenant",
                    "The time that 95 of 100 enhancements stay below, by tenant.",
                    "s",
                    Q(quantile(0.95, TIME, ALL, by="tenant_id"), "{{tenant_id}}"),
                    width=8,
                    steps=LONG,
                ),
                graph(
                    "Waiting by tenant",
                    "Requests that wait in the queue, by tenant.",
                    "short",
                    Q(f"max by (queue_name, tenant_id) (queue_depth{{{ALL}}})", "{{tenant_id}} in {{queue_name}}"),
                    width=8,
                    steps=WAITING,
                ),
            ],
        ),
        (
            "All tenants",
            [
                table(
                    "Tenants in numbers",
                    "Requests, success and p95 of each tenant at the end of the time range.",
                    "short",
                    Q(rate(COUNT, ALL, QUEUED, by="tenant_id")),
                    Q(_success("tenant_id")),
                    Q(quantile(0.95, TIME, ALL, by="tenant_id")),
                    columns={"tenant_id": "Tenant", "Value #A": "Requests", "Value #B": "Success", "Value #C": "p95"},
                    units={"Requests": "reqps", "Success": "percentunit", "p95": "s"},
                    width=16,
                ),
                bars(
                    "Success as the application reports it",
                    "The gauge of the application in percent: one process' view since its start, for comparison.",
                    "percent",
                    Q(f"avg by (tenant_id) (enhancement_success_rate{{{ALL}}})", "{{tenant_id}}"),
                    steps=falling(None, 100 * (1 - FAILING)),
                    high=100,
                ),
            ],
        ),
    ],
)
