"""A PostgreSQL server: connections, work, locks, statements, storage, replication (ledger EXP-06)."""

from __future__ import annotations

from dashboards.alerts import default, percent
from dashboards.board import Board, Variable
from dashboards.boards.common import SEL, UP_DOWN, instance, job, rate
from dashboards.boards.postgresql_statements import DB, STATEMENTS
from dashboards.kit import ANY_IS_BAD, Q, falling, graph, rising, runbook, see_logs, stat

CLIENTS = f'{DB}, backend_type=~"|client backend"'
WARN, CRITICAL = (
    default("postgres_exporter_alert_connections_ratio"),
    default("postgres_exporter_alert_connections_ratio_critical"),
)
POOL = rising(WARN, CRITICAL)
OLD = rising(default("postgres_exporter_alert_transaction_seconds"))
LOW_HITS = falling(None, default("postgres_exporter_alert_cache_hit_ratio"))
NUMBERS = 2**31  # of transactions, then they come round
LAGGING = rising(default("postgres_exporter_alert_replication_seconds"))
OPEN = f"sum(pg_stat_activity_count{{{CLIENTS}}})"
# What is left for those who are no superusers
LIMIT = f"(max(pg_settings_max_connections{{{SEL}}}) - max(pg_settings_superuser_reserved_connections{{{SEL}}}))"
HITS = rate("pg_stat_database_blks_hit", DB, by="datname")
READS = rate("pg_stat_database_blks_read", DB, by="datname")

GLANCE = [
    stat(
        "Server",
        "Whether the exporter can sign in.",
        "none",
        Q(f"min(pg_up{{{SEL}}})"),
        names=UP_DOWN,
        links=(runbook("PostgresDown"), see_logs("postgres-exporter")),
    ),
    stat(
        "Up since",
        "How long the server has been running.",
        "s",
        Q(f"time() - max(pg_postmaster_start_time_seconds{{{SEL}}})"),
    ),
    stat(
        "Connections used",
        f"Connections of clients as share of those that they may open. The alert warns at {percent(WARN)}.",
        "percentunit",
        Q(f"{OPEN} / {LIMIT}"),
        steps=POOL,
        decimals=1,
        links=(runbook("PostgresConnectionsHigh"),),
    ),
    stat(
        "Oldest transaction",
        "How long the oldest open transaction has been open.",
        "s",
        Q(f"max(pg_long_running_transactions_oldest_timestamp_seconds{{{SEL}}})"),
        steps=OLD,
        links=(runbook("PostgresLongTransaction"),),
    ),
    stat(
        "Hit rate",
        "Share of the blocks that were found in PostgreSQL's own memory.",
        "percentunit",
        Q(f"sum({HITS}) / (sum({HITS}) + sum({READS}) > 0)"),
        steps=LOW_HITS,
        decimals=1,
        empty="no reads",
        links=(runbook("PostgresCacheHitRateLow"),),
    ),
    stat(
        "Transactions",
        "Transactions ended per second.",
        "ops",
        Q(f"{rate('pg_stat_database_xact_commit', DB)} + {rate('pg_stat_database_xact_rollback', DB)}"),
    ),
    stat(
        "Deadlocks",
        "Transactions cancelled in the time range shown because each waited for another.",
        "short",
        Q(f"sum(increase(pg_stat_database_deadlocks{{{DB}}}[$__range]))", instant=True),
        steps=ANY_IS_BAD,
        decimals=0,
        links=(runbook("PostgresDeadlocks"),),
    ),
    stat(
        "Written to temporary files",
        "In the time range shown: sorts and joins for which `work_mem` was too small.",
        "bytes",
        Q(f"sum(increase(pg_stat_database_temp_bytes{{{DB}}}[$__range]))", instant=True),
    ),
    stat("Size", "Disk space of the databases.", "bytes", Q(f"sum(pg_database_size_bytes{{{DB}}})")),
    stat(
        "Transaction numbers used",
        "Age of the oldest row that is not frozen, as share of the numbers there are. Autovacuum keeps it near 10 %.",
        "percentunit",
        Q(f"max(pg_database_wraparound_age_datfrozenxid_seconds{{{SEL}}}) / {NUMBERS}"),
        steps=rising(None, default("postgres_exporter_alert_transaction_ids") / NUMBERS),
        decimals=1,
        links=(runbook("PostgresWraparoundNear"),),
    ),
    stat(
        "Replication lag",
        "How far a replica is behind; 0 on a server that is none.",
        "s",
        Q(f"max(pg_replication_lag_seconds{{{SEL}}})"),
        steps=LAGGING,
        links=(runbook("PostgresReplicationLagging"),),
    ),
    stat(
        "Collectors that fail",
        "Queries of the exporter that the server does not answer; their panels are empty.",
        "short",
        Q(f"sum(1 - pg_scrape_collector_success{{{SEL}}})"),
        steps=ANY_IS_BAD,
        decimals=0,
        links=(runbook("PostgresCollectorFailing"),),
    ),
]

CONNECTIONS = [
    graph(
        "Connections by state",
        "Connections of clients, and the number from which on more are refused.",
        "short",
        Q(f"sum by (state) (pg_stat_activity_count{{{CLIENTS}}}) > 0", "{{state}}"),
        Q(LIMIT, "limit"),
        links=(runbook("PostgresConnectionsHigh"),),
    ),
    graph(
        "Share of connections used",
        f"The alert warns at {percent(WARN)} and is critical at {percent(CRITICAL)}.",
        "percentunit",
        Q(f"{OPEN} / {LIMIT}", "used"),
        high=1,
        steps=POOL,
        links=(runbook("PostgresConnectionsHigh"),),
    ),
    graph(
        "Connections by database",
        "Processes of the server that work on a database.",
        "short",
        Q(f"sum by (datname) (pg_stat_database_numbackends{{{DB}}})", "{{datname}}"),
        width=8,
        stack=True,
    ),
    graph(
        "Connections by user",
        "Connections of clients by user and application: whose pool it is.",
        "short",
        Q(
            f"topk(10, sum by (usename, application_name) (pg_stat_activity_count{{{CLIENTS}}}) > 0)",
            "{{usename}} {{application_name}}",
        ),
        width=8,
        stack=True,
    ),
    graph(
        "What connections wait for",
        "`Client` is idle; `Lock` is another transaction, `IO` the disk, `LWLock` memory that processes share.",
        "short",
        Q(
            f'sum by (wait_event_type) (pg_stat_activity_count{{{DB}, wait_event_type!=""}})',
            "{{wait_event_type}}",
        ),
        width=8,
        stack=True,
    ),
]

WORK = [
    graph(
        "Transactions by result",
        "Transactions per second that were committed, and rolled back.",
        "ops",
        Q(rate("pg_stat_database_xact_commit", DB), "committed"),
        Q(rate("pg_stat_database_xact_rollback", DB), "rolled back"),
        width=8,
    ),
    graph(
        "Rows",
        "Rows per second that were read by scans, fetched by an index, and changed.",
        "ops",
        Q(rate("pg_stat_database_tup_returned", DB), "read"),
        Q(rate("pg_stat_database_tup_fetched", DB), "fetched"),
        Q(rate("pg_stat_database_tup_inserted", DB), "inserted"),
        Q(rate("pg_stat_database_tup_updated", DB), "updated"),
        Q(rate("pg_stat_database_tup_deleted", DB), "deleted"),
        width=8,
    ),
    graph(
        "Statements at work",
        "How many statements were being executed at a time, on average (PostgreSQL 14 or newer).",
        "short",
        Q(rate("pg_stat_database_active_time_seconds_total", DB, by="datname"), "{{datname}}"),
        width=8,
        stack=True,
    ),
    graph(
        "Hit rate by database",
        "Share of the blocks that were found in memory.",
        "percentunit",
        Q(f"{HITS} / ({HITS} + {READS} > 0)", "{{datname}}"),
        width=8,
        high=1,
        steps=LOW_HITS,
        links=(runbook("PostgresCacheHitRateLow"),),
    ),
    graph(
        "Blocks from disk",
        "Blocks of 8 kB per second that were not in memory.",
        "ops",
        Q(READS, "{{datname}}"),
        width=8,
        stack=True,
    ),
    graph(
        "Time for reading and writing",
        "Seconds per second that statements spend on it; 0 unless the server has `track_io_timing` on.",
        "s",
        Q(f"{rate('pg_stat_database_blk_read_time', DB)} / 1000", "reading"),
        Q(f"{rate('pg_stat_database_blk_write_time', DB)} / 1000", "writing"),
        width=8,
    ),
]

LOCKS = [
    graph(
        "Locks by mode",
        "Locks held and waited for.",
        "short",
        Q(f"sum by (mode) (pg_locks_count{{{DB}}}) > 0", "{{mode}}"),
        Q(f"sum(pg_locks_count{{{DB}}})", "all"),
        width=8,
    ),
    graph(
        "Longest transaction by state",
        "Idle in a transaction is a client that has forgotten to end it.",
        "s",
        Q(f"max by (state) (pg_stat_activity_max_tx_duration{{{CLIENTS}}})", "{{state}}"),
        width=8,
        steps=OLD,
        links=(runbook("PostgresLongTransaction"),),
    ),
    graph(
        "Deadlocks by database",
        "Transactions per minute cancelled because each waited for another.",
        "short",
        Q(f"60 * {rate('pg_stat_database_deadlocks', DB, by='datname')}", "{{datname}} per minute"),
        width=8,
        links=(runbook("PostgresDeadlocks"),),
    ),
    graph(
        "Temporary files",
        "Files per minute for sorts and joins that did not fit into `work_mem`.",
        "short",
        Q(f"60 * {rate('pg_stat_database_temp_files', DB, by='datname')}", "{{datname}} per minute"),
    ),
    graph(
        "Temporary bytes",
        "Bytes per second written to such files.",
        "Bps",
        Q(rate("pg_stat_database_temp_bytes", DB, by="datname"), "{{datname}}"),
    ),
]

STORAGE = [
    graph(
        "Size by database",
        "Disk space of each database.",
        "bytes",
        Q(f"max by (datname) (pg_database_size_bytes{{{DB}}})", "{{datname}}"),
        width=8,
        stack=True,
    ),
    graph(
        "Write-ahead log",
        "Disk space of the log that is kept for checkpoints, replicas and the archive.",
        "bytes",
        Q(f"max(pg_wal_size_bytes{{{SEL}}})", "log"),
        width=8,
        links=(runbook("PostgresReplicationSlotIdle"),),
    ),
    graph(
        "Archived",
        "Files of the log per minute that `archive_command` has taken, and attempts that failed.",
        "short",
        Q(f"60 * {rate('pg_stat_archiver_archived_count', SEL)}", "archived"),
        Q(f"60 * {rate('pg_stat_archiver_failed_count', SEL)}", "failed"),
        width=8,
        links=(runbook("PostgresArchivingFailing"),),
    ),
    graph(
        "Checkpoints",
        "Per minute, by the clock and on demand. Many on demand: `max_wal_size` is too small.",
        "short",
        Q(
            f"60 * ({rate('pg_stat_checkpointer_num_timed_total', SEL)}"
            f" or {rate('pg_stat_bgwriter_checkpoints_timed_total', SEL)})",
            "by the clock",
        ),
        Q(
            f"60 * ({rate('pg_stat_checkpointer_num_requested_total', SEL)}"
            f" or {rate('pg_stat_bgwriter_checkpoints_req_total', SEL)})",
            "on demand",
        ),
    ),
    graph(
        "Time of checkpoints",
        "Seconds per second that checkpoints write files and wait for the disk.",
        "s",
        Q(
            f"({rate('pg_stat_checkpointer_write_time_total', SEL)}"
            f" or {rate('pg_stat_bgwriter_checkpoint_write_time_total', SEL)}) / 1000",
            "writing",
        ),
        Q(
            f"({rate('pg_stat_checkpointer_sync_time_total', SEL)}"
            f" or {rate('pg_stat_bgwriter_checkpoint_sync_time_total', SEL)}) / 1000",
            "waiting for the disk",
        ),
    ),
]

REPLICATION = [
    graph(
        "Behind the primary",
        "How old the last transaction is that a replica has taken over; 0 on a primary.",
        "s",
        Q(f"max(pg_replication_lag_seconds{{{SEL}}})", "lag"),
        width=8,
        steps=LAGGING,
        links=(runbook("PostgresReplicationLagging"),),
    ),
    graph(
        "Log held by slots",
        "What the server keeps for each replica that has a replication slot.",
        "bytes",
        Q(f"max by (slot_name) (pg_replication_slots_pg_wal_lsn_diff{{{SEL}}})", "{{slot_name}}"),
        width=8,
        links=(runbook("PostgresReplicationSlotIdle"),),
    ),
    graph(
        "Slots that are read",
        "1 while a replica is connected to its slot.",
        "short",
        Q(f"max by (slot_name) (pg_replication_slots_active{{{SEL}}})", "{{slot_name}}"),
        width=8,
        high=1,
        links=(runbook("PostgresReplicationSlotIdle"),),
    ),
]

BOARD = Board(
    name="postgresql",
    title="Landfall / PostgreSQL",
    text="A PostgreSQL server that the inventory names: connections, transactions, locks, statements, storage.",
    role="postgres_exporter",
    starts="postgres-exporter",
    variables=[
        job("pg_up"),
        instance("pg_up"),
        Variable("datname", "Database", f"pg_database_size_bytes{{{SEL}}}"),
    ],
    rows=[
        ("PostgreSQL at a glance", GLANCE),
        ("Connections", CONNECTIONS),
        ("Transactions and memory", WORK),
        ("Locks and temporary files", LOCKS),
        ("Statements", STATEMENTS),
        ("Storage and checkpoints", STORAGE),
        ("Replication", REPLICATION),
    ],
)
