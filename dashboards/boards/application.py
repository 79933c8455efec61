"""The business view: the fifteen panels of ledger GRF-08, in its order."""

from __future__ import annotations

from dashboards.alerts import default, percent
from dashboards.board import Board
from dashboards.boards.common import (
    DB_SLOW,
    DB_SLOW_TEXT,
    ERRORS,
    LOW_HITS,
    SEL,
    SLOW,
    instance,
    job,
    quantile,
    rate,
    services,
    share,
)
from dashboards.kit import Q, graph, pie, rising, runbook, see, see_logs, stat

BOARD = Board(
    name="application",
    title="Landfall / Application",
    text="What the application does for its users: requests, tasks, database, cache, AI and messages.",
    role="grafana",
    starts="app",
    variables=[job("http_requests_total"), instance("http_requests_total"), services(f"http_requests_total{{{SEL}}}")],
    rows=[
        (
            "",
            [
                graph(
                    "HTTP request rate",
                    "Requests per second by endpoint.",
                    "reqps",
                    Q(rate("http_requests_total", SEL, by="endpoint"), "{{endpoint}}"),
                    width=8,
                    stack=True,
                    links=(see("API performance", "api-performance"),),
                ),
                graph(
                    "HTTP duration p95",
                    "The time that 95 of 100 requests stay below, by endpoint. Dashed: the alerts' bounds.",
                    "s",
                    Q(quantile(0.95, "http_request_duration_seconds", SEL, by="endpoint"), "{{endpoint}}"),
                    width=8,
                    steps=SLOW,
                    links=(runbook("SlowAPILatency"), see("API performance", "api-performance")),
                ),
                pie(
                    "Tasks by status",
                    "How many of the tenants' tasks are in each status now.",
                    "short",
                    # Each replica tells of the whole database
                    Q(f"sum by (status) (max by (job, status) (tasks_by_status{{{SEL}}}))", "{{status}}"),
                ),
                graph(
                    "Task creation rate",
                    "Tasks created per hour, by priority.",
                    "short",
                    Q(f"3600 * {rate('tasks_created_total', SEL, by='priority')}", "{{priority}} per hour"),
                    width=8,
                    stack=True,
                ),
                graph(
                    "Task completion rate",
                    "Tasks completed per hour, by assignee.",
                    "short",
                    Q(f"3600 * {rate('tasks_completed_total', SEL, by='assignee')}", "{{assignee}} per hour"),
                    width=8,
                    stack=True,
                ),
                graph(
                    "DB pool status",
                    "Connections of the database pool by state; `max` is the limit including overflow.",
                    "short",
                    Q(f"sum by (state) (db_pool_connections{{{SEL}}})", "{{state}}"),
                    width=8,
                    links=(runbook("DatabasePoolExhaustion"), see("Database and Redis", "database-redis")),
                ),
                graph(
                    "DB query duration p95",
                    f"The time that 95 of 100 queries stay below, by operation. {DB_SLOW_TEXT}",
                    "s",
                    Q(quantile(0.95, "db_query_duration_seconds", SEL, by="operation"), "{{operation}}"),
                    width=8,
                    steps=DB_SLOW,
                    links=(runbook("HighDatabaseLatency"), see("Database and Redis", "database-redis")),
                ),
                graph(
                    "Cache hit rate",
                    "Share of cache look-ups that were hits. An alert informs below"
                    f" {percent(default('app_alert_cache_hit_ratio'))}.",
                    "percentunit",
                    Q(
                        share(
                            rate("cache_operations_total", SEL, 'result="hit"'),
                            rate("cache_operations_total", SEL, 'result=~"hit|miss"'),
                        ),
                        "hit rate",
                    ),
                    width=8,
                    high=1,
                    steps=LOW_HITS,
                    links=(runbook("LowCacheHitRate"),),
                ),
                graph(
                    "Error rate",
                    "Errors that the application counted, per minute, by type.",
                    "short",
                    Q(f"60 * {rate('errors_total', SEL, by='type')}", "{{type}} per minute"),
                    width=8,
                    links=(see_logs(),),
                ),
                graph(
                    "AI request duration p95",
                    "The time that 95 of 100 requests to the AI service stay below, by operation."
                    f" The alert warns at {default('app_alert_ai_latency_seconds'):g} s.",
                    "s",
                    Q(quantile(0.95, "ai_request_duration_seconds", SEL, by="operation"), "{{operation}}"),
                    width=12,
                    steps=rising(default("app_alert_ai_latency_seconds")),
                    links=(runbook("AIRequestSlow"), runbook("AIRequestFailures")),
                ),
                graph(
                    "Discord messages",
                    "Messages sent to Discord per minute, by channel and outcome.",
                    "short",
                    Q(
                        f"60 * {rate('discord_messages_sent_total', SEL, by='channel, status')}",
                        "{{channel}} {{status}} per minute",
                    ),
                    width=12,
                    links=(runbook("DiscordSendFailures"),),
                ),
                stat(
                    "Total tasks created",
                    "Tasks created in the time range shown.",
                    "short",
                    Q(f"sum(increase(tasks_created_total{{{SEL}}}[$__range]))", instant=True),
                    width=6,
                    decimals=0,
                ),
                stat(
                    "Total tasks completed",
                    "Tasks completed in the time range shown.",
                    "short",
                    Q(f"sum(increase(tasks_completed_total{{{SEL}}}[$__range]))", instant=True),
                    width=6,
                    decimals=0,
                ),
                stat(
                    "DB query rate",
                    "Database queries per second.",
                    "ops",
                    Q(rate("db_queries_total", SEL)),
                    width=6,
                    decimals=2,
                ),
                stat(
                    "HTTP error rate",
                    "Share of requests answered with a status of 500 or above.",
                    "percentunit",
                    Q(share(rate("http_requests_total", SEL, 'status=~"5.."'), rate("http_requests_total", SEL))),
                    width=6,
                    steps=ERRORS,
                    decimals=2,
                    empty="no traffic",
                    links=(runbook("HighAPIErrorRate"), see_logs()),
                ),
            ],
        ),
    ],
)
