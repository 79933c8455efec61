"""Celery: throughput, failures and duration by task and worker type, queues and workers (ledger GRF-05)."""

from __future__ import annotations

from dashboards.alerts import default, percent
from dashboards.board import Board, Variable
from dashboards.boards.common import BACKLOG, BACKLOG_TEXT, SEL, instance, job, quantile, rate, services, share
from dashboards.kit import ZERO_IS_BAD, Q, bars, graph, rising, runbook, see, see_logs, stat, table, timeline

COUNT = "tasks_total"
TIME = "task_duration_seconds"
ALL = f'{SEL}, task_name=~"$task"'
QUEUE = 'queue_name=~"$queue"'
FAILED = 'status="failure"'
DONE = 'status=~"success|failure"'
MANY = default("celery_alert_failure_ratio")
FAILING = rising(MANY)
EXTRACTION, SEARCH = default("celery_alert_extraction_seconds"), default("celery_alert_search_seconds")
WORKER_LOGS = see_logs()

BOARD = Board(
    name="celery-workers",
    title="Landfall / Celery workers",
    text="What the workers do: throughput, failures and duration by task and worker type; what waits; who is there.",
    role="grafana",
    starts="celery",
    variables=[
        job(COUNT),
        instance(COUNT),
        Variable("task", "Task", f"{COUNT}{{{SEL}}}", of="task_name"),
        Variable("queue", "Queue", "celery_queue_length", of="queue_name"),
        services(f"{COUNT}{{{SEL}}}"),
    ],
    rows=[
        (
            "At a glance",
            [
                stat(
                    "Fewest workers on a queue",
                    "Workers that listen to that of the chosen queues which has fewest.",
                    "short",
                    Q(f"min(max by (queue_name) (celery_active_worker_count{{{QUEUE}}}))"),
                    steps=ZERO_IS_BAD,
                    links=(runbook("CeleryQueueNoConsumers"),),
                ),
                stat(
                    "Waiting",
                    f"Tasks that wait in the chosen queues. {BACKLOG_TEXT}",
                    "short",
                    Q('sum(queue_name:celery_queue_length:max{queue_name=~"$queue"})'),
                    steps=BACKLOG,
                    links=(runbook("WorkerQueueBacklog"),),
                ),
                stat(
                    "Taken, not acknowledged",
                    "Tasks that a worker holds. They return to the queue if it dies, after the visibility timeout.",
                    "short",
                    Q('sum(redis_key_size{key="unacked"})'),
                    links=(runbook("CeleryTasksStuckUnacked"),),
                ),
                stat(
                    "Tasks per minute",
                    "Tasks finished per minute.",
                    "short",
                    Q(f"60 * {rate(COUNT, ALL, DONE)}"),
                    decimals=1,
                ),
                stat(
                    "Failed",
                    f"Share of finished tasks that failed. The alerts warn at {percent(MANY)}.",
                    "percentunit",
                    Q(share(rate(COUNT, ALL, FAILED), rate(COUNT, ALL, DONE))),
                    steps=FAILING,
                    decimals=2,
                    empty="no tasks",
                    links=(runbook("HighExtractionTaskFailureRate"), WORKER_LOGS),
                ),
                stat(
                    "Last beat tick",
                    "Time since the scheduler last ticked.",
                    "s",
                    Q("time() - max(beat_last_tick_timestamp_seconds)"),
                    steps=rising(None, default("celery_alert_beat_seconds")),
                    links=(runbook("CeleryBeatStalled"), see_logs("celery-beat")),
                ),
            ],
        ),
        (
            "Throughput and failures",
            [
                graph(
                    "Tasks by name",
                    "Tasks finished per second, by task.",
                    "ops",
                    Q(rate(COUNT, ALL, DONE, by="task_name"), "{{task_name}}"),
                    width=8,
                    stack=True,
                ),
                graph(
                    "Tasks by worker type",
                    "Tasks finished per second, by the worker service that ran them.",
                    "ops",
                    Q(rate(COUNT, ALL, DONE, by="job"), "{{job}}"),
                    width=8,
                    stack=True,
                ),
                graph(
                    "Tasks by outcome",
                    "Attempts per second by outcome; a retry is an attempt that will be repeated.",
                    "ops",
                    Q(rate(COUNT, ALL, by="status"), "{{status}}"),
                    width=8,
                ),
                graph(
                    "Failed share by task",
                    "Share of finished tasks that failed, by task. Dashed: where the alerts warn.",
                    "percentunit",
                    Q(
                        share(rate(COUNT, ALL, FAILED, by="task_name"), rate(COUNT, ALL, DONE, by="task_name")),
                        "{{task_name}}",
                    ),
                    width=8,
                    steps=FAILING,
                    links=(runbook("HighExtractionTaskFailureRate"), runbook("HighSearchTaskFailureRate")),
                ),
                graph(
                    "Failures by exception",
                    "Failed tasks per minute, by task and exception.",
                    "short",
                    Q(
                        f"60 * {rate('task_failures_total', ALL, by='task_name, exception')}",
                        "{{task_name}}: {{exception}} per minute",
                    ),
                    width=8,
                    links=(WORKER_LOGS,),
                ),
                graph(
                    "Retries",
                    "Retries per minute, by task.",
                    "short",
                    Q(f"60 * {rate('task_retries_total', ALL, by='task_name')}", "{{task_name}} per minute"),
                    width=8,
                ),
            ],
        ),
        (
            "Duration",
            [
                graph(
                    "Duration percentiles",
                    "How long tasks run, all chosen tasks together.",
                    "s",
                    Q(quantile(0.5, TIME, ALL), "p50"),
                    Q(quantile(0.95, TIME, ALL), "p95"),
                    Q(quantile(0.99, TIME, ALL), "p99"),
                    width=8,
                ),
                graph(
                    "p95 by task",
                    "The time that 95 of 100 runs stay below, by task. Alerts:"
                    f" extraction {EXTRACTION:g} s, search {SEARCH:g} s.",
                    "s",
                    Q(quantile(0.95, TIME, ALL, by="task_name"), "{{task_name}}"),
                    width=8,
                    steps=rising(SEARCH, EXTRACTION),
                    links=(runbook("SlowExtractionTask"), runbook("SlowSearchIndexTask")),
                ),
                graph(
                    "p95 by worker type",
                    "The time that 95 of 100 runs stay below, by worker service.",
                    "s",
                    Q(quantile(0.95, TIME, ALL, by="job"), "{{job}}"),
                    width=8,
                ),
                graph(
                    "Queue wait p95",
                    "The time that 95 of 100 tasks waited between being sent and being started, by queue.",
                    "s",
                    Q(quantile(0.95, "task_queue_wait_seconds", SEL, QUEUE, by="queue_name"), "{{queue_name}}"),
                    width=8,
                    steps=rising(default("celery_alert_queue_wait_seconds")),
                    links=(runbook("CeleryQueueWaitLong"),),
                ),
                graph(
                    "Extraction by format",
                    "Documents extracted per second, by format and outcome.",
                    "ops",
                    Q(rate("extraction_tasks_total", by="format, status"), "{{format}} {{status}}"),
                    width=8,
                    stack=True,
                ),
                graph(
                    "Extraction p95 by format",
                    "The time that 95 of 100 extractions stay below, by format.",
                    "s",
                    Q(quantile(0.95, "extraction_duration_seconds", by="format"), "{{format}}"),
                    width=8,
                    steps=rising(EXTRACTION),
                    links=(runbook("SlowExtractionTask"),),
                ),
            ],
        ),
        (
            "Queues",
            [
                graph(
                    "Queue length",
                    "Tasks that wait, by queue, as the broker reports. Dashed: where alerts warn.",
                    "short",
                    Q('queue_name:celery_queue_length:max{queue_name=~"$queue"}', "{{queue_name}}"),
                    width=8,
                    steps=BACKLOG,
                    links=(runbook("WorkerQueueBacklog"), runbook("CeleryQueueGrowing")),
                ),
                graph(
                    "Queue size as workers see it",
                    "Tasks that wait, by queue, as the workers count them, including priority keys.",
                    "short",
                    Q(f"max by (queue_name) (queue_size{{{SEL}, {QUEUE}}})", "{{queue_name}}"),
                    width=8,
                ),
                graph(
                    "Broker keys",
                    "Length of the broker's lists and of what is taken but not acknowledged.",
                    "short",
                    Q("max by (key) (redis_key_size)", "{{key}}"),
                    width=8,
                    links=(see("Database and Redis", "database-redis"),),
                ),
            ],
        ),
        (
            "Workers",
            [
                timeline(
                    "Worker heartbeats",
                    "Whether each worker sent a heartbeat lately. A killed worker reads up for a while.",
                    Q("max by (hostname) (celery_worker_up)", "{{hostname}}"),
                    names={"1": ("up", "green"), "0": ("down", "red")},
                    width=8,
                ),
                graph(
                    "Workers by queue",
                    "Workers that listen to each queue.",
                    "short",
                    Q(f"max by (queue_name) (celery_active_worker_count{{{QUEUE}}})", "{{queue_name}}"),
                    width=8,
                    steps=ZERO_IS_BAD,
                    links=(runbook("CeleryQueueNoConsumers"),),
                ),
                graph(
                    "Processes by queue",
                    "Worker processes that can run tasks of each queue.",
                    "short",
                    Q(f"max by (queue_name) (celery_active_process_count{{{QUEUE}}})", "{{queue_name}}"),
                    width=8,
                ),
                graph(
                    "Running now",
                    "Tasks running at this moment, by task.",
                    "short",
                    Q(f"sum by (task_name) (active_tasks{{{ALL}}})", "{{task_name}}"),
                    width=8,
                    stack=True,
                ),
                graph(
                    "Worker memory",
                    "Resident memory of the worker processes, by service.",
                    "bytes",
                    Q(f"sum by (job) (worker_memory_bytes{{{SEL}}}) > 0", "{{job}}"),
                    width=8,
                    links=(see("Containers", "containers"),),
                ),
                graph(
                    "Database time in workers, p95",
                    "The time that 95 of 100 database operations in workers stay below, by operation.",
                    "s",
                    Q(quantile(0.95, "worker_db_duration_seconds", SEL, by="operation"), "{{operation}}"),
                    width=8,
                    steps=rising(1, 2),
                ),
                bars(
                    "Workers as each service counts them",
                    "Worker processes that each service reports as active.",
                    "short",
                    Q(f"max by (job) (active_workers{{{SEL}}})", "{{job}}"),
                    width=8,
                ),
                bars(
                    "Tasks active by worker",
                    "Tasks that each worker runs, as celery-exporter sees it.",
                    "short",
                    Q("max by (hostname) (celery_worker_tasks_active)", "{{hostname}}"),
                    width=8,
                ),
                stat(
                    "Workers seen by the API",
                    "Active workers as the API counts them.",
                    "short",
                    Q("max(worker_active_count)"),
                    width=8,
                    height=8,
                    steps=ZERO_IS_BAD,
                ),
            ],
        ),
        (
            "Events, as celery-exporter hears them",
            [
                graph(
                    "Events",
                    "Task events per second.",
                    "ops",
                    Q(rate("celery_task_sent_total", QUEUE), "sent"),
                    Q(rate("celery_task_received_total", QUEUE), "received"),
                    Q(rate("celery_task_started_total", QUEUE), "started"),
                    Q(rate("celery_task_succeeded_total", QUEUE), "succeeded"),
                    Q(rate("celery_task_failed_total", QUEUE), "failed"),
                    Q(rate("celery_task_retried_total", QUEUE), "retried"),
                    Q(rate("celery_task_rejected_total", QUEUE), "rejected"),
                    Q(rate("celery_task_revoked_total", QUEUE), "revoked"),
                    width=8,
                ),
                graph(
                    "Runtime p95",
                    "The time that 95 of 100 runs stay below, by task; the exporter's buckets end at 10 s.",
                    "s",
                    Q(quantile(0.95, "celery_task_runtime", QUEUE, by="name"), "{{name}}"),
                    width=8,
                ),
                graph(
                    "Exporter scrape time",
                    "One scrape asks every worker twice and waits a second for each answer: about 2 s is normal.",
                    "s",
                    Q('max by (instance) (scrape_duration_seconds{component="celery_exporter"})', "{{instance}}"),
                    width=8,
                    steps=rising(5, 9),
                    links=(runbook("CeleryExporterBlind"),),
                ),
                table(
                    "Failures by task and exception",
                    "Failed tasks in the time range shown.",
                    "short",
                    Q(f"sum by (name, exception) (increase(celery_task_failed_total{{{QUEUE}}}[$__range])) > 0"),
                    columns={"name": "Task", "exception": "Exception", "Value": "Failures"},
                ),
            ],
        ),
    ],
)
