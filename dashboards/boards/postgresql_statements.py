"""The row of the dashboard postgresql that pg_stat_statements fills: which statements take the time."""

from __future__ import annotations

from dashboards.boards.common import SEL, rate
from dashboards.kit import Q, graph, table

DB = f'{SEL}, datname=~"$datname"'
OF_ONE = "instance, datname, queryid"
CALLS = rate("pg_stat_statements_calls_total", DB, by=OF_ONE)
SECONDS = rate("pg_stat_statements_seconds_total", DB, by=OF_ONE)
# The texts stand in a series of their own, and only where they are asked for
TEXTS = f"count by (instance, queryid, query) (pg_stat_statements_query_id{{{SEL}}})"
MARKED = "Needs `postgres_exporter_statements`, and pg_stat_statements on the server."


def named(expr: str) -> str:
    """Return the ten highest of `expr` (kept apart by statement), with the statement's text where there is one."""
    ten = f"topk(10, {expr})"
    return f"({ten} * on (instance, queryid) group_left (query) {TEXTS}) or on (instance, queryid) {ten}"


STATEMENTS = [
    graph(
        "Time by statement",
        f"Seconds per second spent on a statement, the ten that take most. {MARKED}",
        "s",
        Q(named(SECONDS), "{{datname}} {{queryid}} {{query}}"),
        stack=True,
    ),
    graph(
        "Mean time by statement",
        f"Mean time of a call, the ten slowest statements. {MARKED}",
        "s",
        Q(named(f"({SECONDS} / ({CALLS} > 0))"), "{{datname}} {{queryid}} {{query}}"),
    ),
    graph(
        "Calls by statement",
        f"Calls per second, the ten statements called most. {MARKED}",
        "ops",
        Q(f"topk(10, {CALLS})", "{{datname}} {{queryid}}"),
        width=8,
    ),
    graph(
        "Rows by statement",
        f"Rows per second that a statement returned or changed, the ten with most. {MARKED}",
        "ops",
        Q(f"topk(10, {rate('pg_stat_statements_rows_total', DB, by=OF_ONE)})", "{{datname}} {{queryid}}"),
        width=8,
    ),
    graph(
        "Disk time by statement",
        f"Seconds per second that a statement read and wrote blocks, the ten with most (`track_io_timing`). {MARKED}",
        "s",
        Q(
            f"topk(10, {rate('pg_stat_statements_block_read_seconds_total', DB, by=OF_ONE)}"
            f" + {rate('pg_stat_statements_block_write_seconds_total', DB, by=OF_ONE)})",
            "{{datname}} {{queryid}}",
        ),
        width=8,
    ),
    table(
        "Statements",
        f"The ten statements that took the most time in the time range shown. {MARKED} Their texts need"
        " `postgres_exporter_statements_text`.",
        "s",
        Q(named(f"sum by ({OF_ONE}) (increase(pg_stat_statements_seconds_total{{{DB}}}[$__range]))"), instant=True),
        columns={"datname": "Database", "queryid": "Number", "query": "Statement", "Value": "Time"},
    ),
]
