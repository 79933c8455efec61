"""Celery of any application: what its events and its broker tell, without a metric of its own."""

from __future__ import annotations

from dashboards.alerts import default, percent
from dashboards.board import Board, Variable
from dashboards.boards.common import BACKLOG, BACKLOG_TEXT, SEL, instance, job, mean, quantile, rate, share
from dashboards.kit import ANY_IS_BAD, ZERO_IS_BAD, Q, bars, graph, rising, runbook, see_logs, stat, table, timeline

QUEUE = f'{SEL}, queue_name=~"$queue"'
TASK = f'{QUEUE}, name=~"$task"'
FAILED, DONE, TIME = "celery_task_failed_total", "celery_task_succeeded_total", "celery_task_runtime"
MANY = default("celery_exporter_alert_failure_ratio")
OUTCOMES = ("sent", "received", "started", "succeeded", "failed", "retried", "rejected", "revoked")


def _ended(by: str = "") -> str:
    return f"({rate(FAILED, TASK, by=by)} + {rate(DONE, TASK, by=by)})"


BOARD = Board(
    name="celery",
    title="Landfall / Celery",
    text="Tasks, queues and workers of any Celery application, by its events and its broker alone.",
    role="celery_exporter",
    starts="celery|app",
    variables=[
        job("celery_queue_length"),
        instance("celery_queue_length"),
        Variable("queue", "Queue", f"celery_queue_length{{{SEL}}}", of="queue_name"),
        Variable("task", "Task", f"celery_task_received_total{{{SEL}}}", of="name"),
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
                    links=(runbook("CeleryQueueNoConsumers"), runbook("CeleryWorkersMissing")),
                ),
                stat(
                    "Waiting",
                    f"Tasks that wait in the chosen queues. {BACKLOG_TEXT}",
                    "short",
                    Q('sum(queue_name:celery_queue_length:max{queue_name=~"$queue"})'),
                    steps=BACKLOG,
                    links=(runbook("WorkerQueueBacklog"),),
                ),
                stat("Tasks per minute", "Tasks that ended per minute.", "short", Q(f"60 * {_ended()}"), decimals=1),
                stat(
                    "Failed",
                    f"Share of ended tasks that failed. The alert warns at {percent(MANY)} of one task.",
                    "percentunit",
                    Q(share(rate(FAILED, TASK), _ended())),
                    steps=rising(MANY),
                    decimals=2,
                    empty="no tasks",
                    links=(runbook("CeleryTaskFailures"),),
                ),
                stat(
                    "Failed in the time range",
                    "Tasks that failed in the time range shown.",
                    "short",
                    Q(f"sum(increase({FAILED}{{{TASK}}}[$__range]))", instant=True),
                    steps=ANY_IS_BAD,
                    decimals=0,
                    links=(runbook("CeleryTaskFailures"),),
                ),
                stat(
                    "Mean runtime",
                    "Mean time that a task takes.",
                    "s",
                    Q(mean(TIME, TASK)),
                    empty="no tasks",
                    links=(runbook("CeleryTaskSlower"),),
                ),
            ],
        ),
        (
            "Tasks",
            [
                graph(
                    "Tasks by name",
                    "Tasks that ended per second, by name.",
                    "ops",
                    Q(_ended("name"), "{{name}}"),
                    width=8,
                    stack=True,
                ),
                graph(
                    "Tasks by worker",
                    "Tasks that succeeded per second, by worker.",
                    "ops",
                    Q(rate(DONE, TASK, by="hostname"), "{{hostname}}"),
                    width=8,
                    stack=True,
                ),
                graph(
                    "Events",
                    "Task events per second; what is received and does not start waits in a worker.",
                    "ops",
                    *(Q(rate(f"celery_task_{outcome}_total", QUEUE), outcome) for outcome in OUTCOMES),
                    width=8,
                ),
                graph(
                    "Failed share by task",
                    "Share of ended tasks that failed, by name. Dashed: where the alert warns.",
                    "percentunit",
                    Q(share(rate(FAILED, TASK, by="name"), _ended("name")), "{{name}}"),
                    width=8,
                    high=1,
                    steps=rising(MANY),
                    links=(runbook("CeleryTaskFailures"),),
                ),
                graph(
                    "Mean runtime by task",
                    "Mean time that tasks take, by name.",
                    "s",
                    Q(mean(TIME, TASK, by="name"), "{{name}}"),
                    width=8,
                    links=(runbook("CeleryTaskSlower"),),
                ),
                graph(
                    "Runtime p95 by task",
                    "The time that 95 of 100 runs stay below, by name; the exporter's buckets end at 10 s.",
                    "s",
                    Q(quantile(0.95, TIME, TASK, by="name"), "{{name}}"),
                    width=8,
                ),
                table(
                    "Ended tasks by name and exception",
                    "Failed tasks in the time range shown, by exception; 0 where none failed.",
                    "short",
                    Q(f"sum by (name, exception) (increase({FAILED}{{{TASK}}}[$__range]))"),
                    columns={"name": "Task", "exception": "Exception", "Value": "Failures"},
                    links=(runbook("CeleryTaskFailures"),),
                ),
            ],
        ),
        (
            "Queues and workers",
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
                timeline(
                    "Worker heartbeats",
                    "Whether each worker sent a heartbeat lately. A killed worker reads up for a while.",
                    Q(f"max by (hostname) (celery_worker_up{{{SEL}}})", "{{hostname}}"),
                    names={"1": ("up", "green"), "0": ("down", "red")},
                    width=8,
                ),
                bars(
                    "Tasks active by worker",
                    "Tasks that each worker runs at this moment.",
                    "short",
                    Q(f"max by (hostname) (celery_worker_tasks_active{{{SEL}}})", "{{hostname}}"),
                    width=8,
                ),
                graph(
                    "Exporter scrape time",
                    "One scrape asks every worker twice and waits a second for each answer: about 2 s is normal.",
                    "s",
                    Q(
                        f'max by (instance) (scrape_duration_seconds{{{SEL}, component="celery_exporter"}})',
                        "{{instance}}",
                    ),
                    width=8,
                    steps=rising(5, 9),
                    links=(runbook("CeleryExporterBlind"), see_logs("celery-exporter")),
                ),
            ],
        ),
    ],
)
