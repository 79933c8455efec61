"""Scheduled commands of services: how each last ended, how long it took, when it is due."""

from __future__ import annotations

from dashboards.board import Board, Variable
from dashboards.boards.common import OK_FAILED, SEL, instance, job
from dashboards.kit import ANY_IS_BAD, Q, bars, graph, link, runbook, see, stat, timeline

JOB = f'{SEL}, scheduled_job=~"$scheduled_job"'
NEXT = "landfall_scheduled_next_run_timestamp_seconds"
FAILED, LATE = runbook("ScheduledJobFailed"), runbook("ScheduledJobLate")
LOGS = link("Logs", "/d/landfall-logs?var-only=${scheduled_job:pipe}&${__url_time_range}")

BOARD = Board(
    name="jobs",
    title="Landfall / Jobs",
    text="Scheduled commands of services: how each last ended, how long it took, when it is due.",
    role="node_exporter",
    starts="app|celery",
    variables=[job(NEXT), instance(NEXT), Variable("scheduled_job", "Scheduled", f"{NEXT}{{{SEL}}}")],
    rows=[
        (
            "",
            [
                stat(
                    "Failed",
                    "Jobs whose last run did not end well.",
                    "short",
                    Q(f"count(landfall_scheduled_last_exit_status{{{JOB}}} != 0) or vector(0)"),
                    steps=ANY_IS_BAD,
                    links=(FAILED, LOGS),
                ),
                stat(
                    "Late",
                    "Jobs that are due for longer than their late_after, and have not begun.",
                    "short",
                    Q(
                        f"count(time() - {NEXT}{{{JOB}}} > landfall_scheduled_late_after_seconds{{{JOB}}}"
                        f" and landfall_scheduled_running{{{JOB}}} == 0) or vector(0)"
                    ),
                    steps=ANY_IS_BAD,
                    links=(LATE,),
                ),
                stat("Running", "Runs that go on now.", "short", Q(f"sum(landfall_scheduled_running{{{JOB}}})")),
                stat(
                    "Runs in the time range",
                    "Runs that ended in the time range shown, however they did.",
                    "short",
                    Q(f"sum(increase(landfall_scheduled_runs_total{{{JOB}}}[$__range]))", instant=True),
                    decimals=0,
                ),
                timeline(
                    "Last run",
                    "Whether the last run of each job ended well.",
                    Q(
                        f"min by (scheduled_job) (landfall_scheduled_last_exit_status{{{JOB}}} == bool 0)",
                        "{{scheduled_job}}",
                    ),
                    names=OK_FAILED,
                    links=(FAILED, LOGS),
                ),
                graph(
                    "Duration",
                    "How long the last run of each job took.",
                    "s",
                    Q(
                        f"max by (scheduled_job) (landfall_scheduled_last_duration_seconds{{{JOB}}})",
                        "{{scheduled_job}}",
                    ),
                    width=12,
                    links=(LOGS,),
                ),
                graph(
                    "Since the last success",
                    "Time since each job last ended well. It is not there for one that never has.",
                    "s",
                    Q(
                        f"time() - max by (scheduled_job) (landfall_scheduled_last_success_timestamp_seconds{{{JOB}}})",
                        "{{scheduled_job}}",
                    ),
                    width=12,
                    links=(FAILED,),
                ),
                bars(
                    "Due in",
                    "Time until each job runs next. Below zero it is late.",
                    "s",
                    Q(f"max by (scheduled_job) ({NEXT}{{{JOB}}}) - time()", "{{scheduled_job}}"),
                    width=12,
                    links=(LATE,),
                ),
                graph(
                    "Runs by result",
                    "Runs that ended per hour, by how they ended.",
                    "short",
                    Q(
                        f"3600 * sum by (result) (rate(landfall_scheduled_runs_total{{{JOB}}}[$__rate_interval]))",
                        "{{result}}",
                    ),
                    width=12,
                    links=(FAILED, see("Host", "host")),
                ),
            ],
        ),
    ],
)
