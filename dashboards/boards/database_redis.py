"""The database as the application sees it, and Redis (ledger GRF-06)."""

from __future__ import annotations

from dashboards.alerts import default, percent
from dashboards.board import Board
from dashboards.boards.common import (
    DB_SLOW,
    DB_SLOW_TEXT,
    LOW_HITS,
    OK_FAILED,
    SEL,
    UP_DOWN,
    instance,
    job,
    quantile,
    rate,
    services,
    share,
)
from dashboards.kit import ANY_IS_BAD, Q, falling, graph, rising, runbook, see, see_logs, stat

WARN, CRITICAL = default("redis_exporter_alert_memory_ratio"), default("redis_exporter_alert_memory_ratio_critical")
POOL = default("app_alert_db_pool_ratio")
HITS = f"sum(rate(redis_keyspace_hits_total{{{SEL}}}[$__rate_interval]))"
MISSES = f"sum(rate(redis_keyspace_misses_total{{{SEL}}}[$__rate_interval]))"
USED = f"sum(redis_memory_used_bytes{{{SEL}}})"
LIMIT = f"sum(redis_memory_max_bytes{{{SEL}}})"

BOARD = Board(
    name="database-redis",
    title="Landfall / Database and Redis",
    text="Connection pool and queries of the database; memory, keys, hit rate and commands of Redis.",
    role="redis_exporter",
    starts="redis|redis-exporter|app",
    variables=[job("redis_up"), instance("redis_up"), services("db_queries_total")],
    rows=[
        (
            "Redis at a glance",
            [
                stat(
                    "Redis",
                    "Whether the exporter reaches Redis.",
                    "none",
                    Q(f"min(redis_up{{{SEL}}})"),
                    names=UP_DOWN,
                    links=(runbook("RedisDown"), see_logs("redis")),
                ),
                stat("Up since", "How long Redis has been running.", "s", Q(f"min(redis_uptime_in_seconds{{{SEL}}})")),
                stat(
                    "Memory",
                    "Memory used of `maxmemory`; a broker must not evict. The alert warns at"
                    f" {percent(WARN)} and is critical at {percent(CRITICAL)}.",
                    "percentunit",
                    Q(f"max(redis_memory_used_bytes{{{SEL}}} / (redis_memory_max_bytes{{{SEL}}} > 0))"),
                    steps=rising(WARN, CRITICAL),
                    decimals=1,
                    empty="no limit",
                    links=(runbook("RedisMemoryHigh"),),
                ),
                stat(
                    "Hit rate",
                    "Share of key look-ups that found a key.",
                    "percentunit",
                    Q(f"{HITS} / ({HITS} + {MISSES} > 0)"),
                    steps=falling(0.5, 0.7),
                    decimals=1,
                    empty="no look-ups",
                ),
                stat(
                    "Keys in all databases",
                    "Keys in all databases.",
                    "short",
                    Q(f"sum(redis_db_keys{{{SEL}}})"),
                    decimals=0,
                ),
                stat(
                    "Evicted",
                    "Keys evicted in the time range shown: on a broker each is a lost task.",
                    "short",
                    Q(f"sum(increase(redis_evicted_keys_total{{{SEL}}}[$__range]))", instant=True),
                    steps=ANY_IS_BAD,
                    decimals=0,
                    links=(runbook("RedisEvictions"),),
                ),
            ],
        ),
        (
            "Redis",
            [
                graph(
                    "Memory used",
                    "Memory used, its peak, what the kernel holds for it, and the limit.",
                    "bytes",
                    Q(USED, "used"),
                    Q(f"sum(redis_memory_used_peak_bytes{{{SEL}}})", "peak"),
                    Q(f"sum(redis_memory_used_rss_bytes{{{SEL}}})", "resident"),
                    Q(LIMIT, "maxmemory"),
                    width=8,
                    links=(runbook("RedisMemoryHigh"),),
                ),
                graph(
                    "Commands",
                    "Commands per second, the ten most frequent.",
                    "ops",
                    Q(f"topk(10, {rate('redis_commands_total', SEL, by='cmd')})", "{{cmd}}"),
                    width=8,
                    stack=True,
                ),
                graph(
                    "Mean time per command",
                    "Mean time Redis spends on a command, the ten slowest. Blocking commands include their wait.",
                    "s",
                    Q(
                        f"topk(10, {rate('redis_commands_duration_seconds_total', SEL, by='cmd')}"
                        f" / ({rate('redis_commands_total', SEL, by='cmd')} > 0))",
                        "{{cmd}}",
                    ),
                    width=8,
                ),
                graph(
                    "Hits and misses",
                    "Key look-ups per second that found a key, and that did not.",
                    "ops",
                    Q(HITS, "hits"),
                    Q(MISSES, "misses"),
                    width=8,
                ),
                graph(
                    "Keys by database",
                    "Keys by database that has any, and those with an expiry.",
                    "short",
                    Q(f"sum by (db) (redis_db_keys{{{SEL}}}) > 0", "{{db}}"),
                    Q(f"sum(redis_db_keys_expiring{{{SEL}}})", "with expiry"),
                    width=8,
                ),
                graph(
                    "Expired and evicted",
                    "Keys removed per second because they expired, and because memory was short.",
                    "ops",
                    Q(rate("redis_expired_keys_total", SEL), "expired"),
                    Q(rate("redis_evicted_keys_total", SEL), "evicted"),
                    width=8,
                    links=(runbook("RedisEvictions"),),
                ),
                graph(
                    "Clients",
                    "Connected clients, and those waiting in a blocking command (idle workers are).",
                    "short",
                    Q(f"sum(redis_connected_clients{{{SEL}}})", "connected"),
                    Q(f"sum(redis_blocked_clients{{{SEL}}})", "blocked"),
                    width=8,
                ),
                graph(
                    "Network",
                    "Bytes per second in and out of Redis.",
                    "Bps",
                    Q(rate("redis_net_input_bytes_total", SEL), "in"),
                    Q(rate("redis_net_output_bytes_total", SEL), "out"),
                    width=8,
                ),
                graph(
                    "Queues and other watched keys",
                    "Length of the keys that the exporter watches.",
                    "short",
                    Q(f"max by (key) (redis_key_size{{{SEL}}})", "{{key}}"),
                    width=8,
                    links=(see("Celery workers", "celery-workers"),),
                ),
                stat(
                    "Last AOF write",
                    "Whether the append-only file was written.",
                    "none",
                    Q(f"min(redis_aof_last_write_status{{{SEL}}})"),
                    names=OK_FAILED,
                    links=(runbook("RedisLastSaveFailed"),),
                ),
                stat(
                    "Last RDB save",
                    "Whether the last snapshot was saved.",
                    "none",
                    Q(f"min(redis_rdb_last_bgsave_status{{{SEL}}})"),
                    names=OK_FAILED,
                    links=(runbook("RedisLastSaveFailed"),),
                ),
                stat(
                    "Changes since save",
                    "Changes since the last snapshot; the AOF has them all.",
                    "short",
                    Q(f"sum(redis_rdb_changes_since_last_save{{{SEL}}})"),
                ),
                stat(
                    "Fragmentation",
                    "Resident ÷ used memory. Far above 1.5 wastes memory; a small one always looks bad.",
                    "none",
                    Q(f"max(redis_mem_fragmentation_ratio{{{SEL}}})"),
                    decimals=2,
                ),
                stat(
                    "Slow log",
                    "Commands in the slow log.",
                    "short",
                    Q(f"sum(redis_slowlog_length{{{SEL}}})"),
                    steps=rising(1, 100),
                ),
                stat(
                    "Refused connections",
                    "Connections refused in the time range shown, because the limit of clients was reached.",
                    "short",
                    Q(f"sum(increase(redis_rejected_connections_total{{{SEL}}}[$__range]))", instant=True),
                    steps=ANY_IS_BAD,
                    decimals=0,
                ),
            ],
        ),
        (
            "Redis as the application sees it",
            [
                graph(
                    "Cache look-ups",
                    "Cache operations per second by operation and result.",
                    "ops",
                    Q(rate("cache_operations_total", by="operation, result"), "{{operation}} {{result}}"),
                    width=8,
                    stack=True,
                    links=(runbook("LowCacheHitRate"),),
                ),
                graph(
                    "Cache operation p95",
                    "The time that 95 of 100 cache operations stay below. The alert warns at"
                    f" {1000 * default('app_alert_cache_latency_seconds'):g} ms.",
                    "s",
                    Q(quantile(0.95, "cache_operation_duration_seconds", by="operation"), "{{operation}}"),
                    width=8,
                    steps=rising(default("app_alert_cache_latency_seconds")),
                    links=(runbook("CacheOperationSlow"),),
                ),
                graph(
                    "Redis operation p95",
                    "The time that 95 of 100 Redis operations stay below, by operation.",
                    "s",
                    Q(quantile(0.95, "redis_operation_duration_seconds", by="operation"), "{{operation}}"),
                    width=8,
                    steps=rising(0.05, 0.1),
                ),
                graph(
                    "Redis connection errors",
                    "Errors per minute that the application had with Redis.",
                    "short",
                    Q(f"60 * {rate('redis_connection_errors_total', by='job')}", "{{job}} per minute"),
                    width=8,
                    steps=rising(1, 10),
                    links=(runbook("RedisDown"),),
                ),
                graph(
                    "Cache hit rate",
                    "Share of cache look-ups that were hits.",
                    "percentunit",
                    Q(
                        share(
                            rate("cache_operations_total", 'result="hit"'),
                            rate("cache_operations_total", 'result=~"hit|miss"'),
                        ),
                        "hit rate",
                    ),
                    width=16,
                    high=1,
                    steps=LOW_HITS,
                    links=(runbook("LowCacheHitRate"),),
                ),
            ],
        ),
        (
            "Database",
            [
                graph(
                    "Connection pool",
                    "Connections by state; `max` is the limit including overflow.",
                    "short",
                    Q("sum by (state) (db_pool_connections)", "{{state}}"),
                    width=8,
                    links=(runbook("DatabasePoolExhaustion"),),
                ),
                graph(
                    "Pool used",
                    "Connections in use as share of the limit. The alert warns at"
                    f" {percent(POOL)} and is critical at 100 %.",
                    "percentunit",
                    Q(
                        'max by (service) (db_pool_connections{state="checked_out"})'
                        ' / max by (service) (db_pool_connections{state="max"} > 0)',
                        "{{service}}",
                    ),
                    width=8,
                    high=1,
                    steps=rising(POOL, 1),
                    links=(runbook("DatabaseConnectionPoolExhausted"),),
                ),
                graph(
                    "Queries",
                    "Queries per second by operation.",
                    "ops",
                    Q(rate("db_queries_total", by="operation"), "{{operation}}"),
                    width=8,
                    stack=True,
                ),
                graph(
                    "Query duration p95",
                    f"The time that 95 of 100 queries stay below, by operation. {DB_SLOW_TEXT}",
                    "s",
                    Q(quantile(0.95, "db_query_duration_seconds", by="operation"), "{{operation}}"),
                    steps=DB_SLOW,
                    links=(runbook("HighDatabaseLatency"), see_logs()),
                ),
                graph(
                    "Query duration percentiles",
                    "How long queries take, all operations together.",
                    "s",
                    Q(quantile(0.5, "db_query_duration_seconds"), "p50"),
                    Q(quantile(0.95, "db_query_duration_seconds"), "p95"),
                    Q(quantile(0.99, "db_query_duration_seconds"), "p99"),
                    steps=DB_SLOW,
                ),
            ],
        ),
    ],
)
