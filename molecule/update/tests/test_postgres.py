"""The reference application on PostgreSQL: a restart, new passwords, slow queries, another major version, a move."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from testbed import probe

HOSTILE = "a'b\"c\\d:%41 $x@/é{y}`#"
MORE = {
    "postgres_databases": [
        {"name": "landfall"},
        {"name": "old", "extensions": ["pg_trgm"], "access": {"report": "read"}},
    ],
    "postgres_users": [{"name": "landfall", "password": HOSTILE}, {"name": "report"}],
}
TAGS = "postgres,app"  # to restart workers takes half a minute and shows nothing more
RUNS = ("postgres", "app", "celery-enhancement", "celery-extraction", "celery-search", "celery-beat")
# An image that calls itself another major version: there is one in Debian 13
OTHER = r"""FROM postgres:17.12
USER root
RUN printf '#!/bin/sh\necho "postgres (PostgreSQL) 18.1"\n' >/usr/local/bin/postgres
RUN chmod 755 /usr/local/bin/postgres
ENV PATH=/usr/local/bin:/usr/lib/postgresql/17/bin:/usr/bin:/bin
"""


def sql(host: Any, statement: str, database: str = "landfall") -> str:
    argv = ["docker", "exec", "postgres", "psql", "-U", "postgres", "-d", database, "-Atqc", statement]
    return probe.output(host, *argv).strip()


def play(values: dict[str, Any], *argv: str, tags: str = TAGS) -> tuple[str, int]:
    """What a run prints, its line breaks gone, and its exit status."""
    text, _figures, status = probe.playbook("--tags", tags, "-e", json.dumps(values), *argv)
    return " ".join(text.split()), status


def identities(host: Any) -> dict[str, tuple[str, str, int]]:
    return {name: probe.identity(entry) for name, entry in probe.containers(host).items()}


def signs_in(host: Any, user: str, password: str) -> bool:
    """Whether a password, handed over in a file, lets a user in over the network."""
    line = re.sub(r"([\\:])", r"\\\1", password)
    script = "umask 077; cat >/tmp/pass; PGPASSFILE=/tmp/pass psql -wq -h postgres -d landfall -c '' -U " + user
    run = host.run("printf '%%s\\n' %s | docker exec -i postgres sh -c %s", f"*:*:*:*:{line}", script)
    assert run.rc == 0 or "password authentication failed" in run.stderr, run.stderr
    return bool(run.rc == 0)


def ready(host: Any) -> bool:
    command = ["docker", "exec", "prometheus", "wget", "-qO-", "http://app:8000/health/ready"]
    return bool(host.run(" ".join(command)).rc == 0)


def jobs(host: Any) -> int:
    return int(sql(host, "SELECT count(*) FROM jobs WHERE status = 'succeeded'"))


def test_the_application_and_its_workers_keep_their_data_in_it(host: Any) -> None:
    assert jobs(host) >= 3, "the deploy's own exercise: a ticket, a document, an index"
    found = set(sql(host, "SELECT DISTINCT usename FROM pg_stat_activity WHERE datname = 'landfall'").split())
    assert found == {"landfall", "postgres"}
    asked = 'up{job="postgres-exporter"} == 1 and on (instance) pg_up == 1'
    assert probe.eventually(lambda: probe.value(host, asked) == 1)
    assert probe.value(host, "sum(pg_scrape_collector_success == 0)") is None
    safe = ("fsync", "full_page_writes", "synchronous_commit", "data_checksums")
    assert [sql(host, f"SHOW {name}") for name in safe] == ["on"] * 4


def test_nobody_but_its_owner_enters_a_database(host: Any) -> None:
    denied = sql(host, "SELECT has_database_privilege('postgres_exporter', 'landfall', 'CONNECT')")
    roles = "SELECT string_agg(rolname, ' ' ORDER BY rolname) FROM pg_roles WHERE rolsuper"
    assert (denied, sql(host, roles)) == ("f", "postgres")
    run = host.run("docker exec postgres psql -w -h postgres -U postgres -c ''")
    assert "rejects connection" in run.stderr
    memberships = (
        "SELECT string_agg(b.rolname, ' ' ORDER BY 1) FROM pg_auth_members m JOIN pg_roles a ON a.oid = m.member "
    )
    memberships += "JOIN pg_roles b ON b.oid = m.roleid WHERE a.rolname = 'postgres_exporter'"
    assert set(sql(host, memberships).split()) == {"pg_monitor", "pg_use_reserved_connections"}


def test_a_slow_query_arrives_as_a_line_of_its_log(host: Any) -> None:
    sql(host, "SELECT pg_sleep(0.6) AS slow_one")

    def found() -> bool:
        query = '{container="postgres"} |= "slow_one" |= "duration: "'
        base = "http://127.0.0.1:3100/loki/api/v1/query_range"
        return "user=postgres db=landfall" in probe.get(host, base, "-G", "--data-urlencode", f"query={query}")

    assert probe.eventually(found)


def test_a_restart_keeps_the_data(host: Any) -> None:
    before = jobs(host)
    probe.output(host, "docker", "restart", "postgres")
    assert probe.eventually(lambda: ready(host))
    assert jobs(host) >= before


def test_a_new_password_is_taken_in_and_stands_nowhere(host: Any) -> None:
    old = probe.output(host, "cat", "/opt/landfall/app/secrets/app/app_database_password")
    restarted = probe.identity(probe.containers(host)["postgres"])
    text, status = play(MORE, "--diff")
    assert status == 0, text
    assert probe.identity(probe.containers(host)["postgres"]) == restarted, "a password needs no restart"
    assert signs_in(host, "landfall", HOSTILE) and not signs_in(host, "landfall", old)
    assert probe.eventually(lambda: ready(host))
    assert sql(host, "SELECT extname FROM pg_extension WHERE extname = 'pg_trgm'", "old") == "pg_trgm"
    processes = host.run("ps axeww -o args").stdout
    logs = host.run("docker logs postgres 2>&1").stdout
    inspected = json.dumps(probe.containers(host), ensure_ascii=False)
    kept = sql(host, "SELECT string_agg(query, ' ') FROM pg_stat_statements", "postgres")
    for password in (old, HOSTILE, json.dumps(HOSTILE)[1:-1]):
        assert not [where for where in (text, processes, logs, inspected, kept) if password in where]
    assert "ALTER USER" not in kept + logs
    place = "/opt/landfall/postgres/secrets/passwords"
    assert probe.output(host, "stat", "-c", "%a %u", place).strip() == "400 999"


def test_what_is_named_no_more_stays_and_is_told(host: Any) -> None:
    text, status = play({})
    assert status == 0, text
    assert "postgres_databases names old no more; it stays" in text
    assert "nothing names the user report any more; it stays" in text
    assert sql(host, "SELECT count(*) FROM pg_database WHERE datname IN ('landfall', 'old')") == "2"
    assert not signs_in(host, "landfall", HOSTILE)
    assert probe.eventually(lambda: ready(host))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (
            {"postgres_image": "postgres:18.1"},
            "postgres_image: is PostgreSQL 18, but the volume holds data of PostgreSQL 17, which it cannot read",
        ),
        ({"postgres_settings": {"shared_bufers": "1GB"}}, 'unrecognized configuration parameter "shared_bufers"'),
        (
            {"postgres_databases": [{"name": "landfall", "extensions": ["postgis"]}]},
            "postgres_databases: the image has no extension postgis, which landfall asks for",
        ),
    ],
)
def test_what_the_server_could_not_start_with_is_refused_first(host: Any, values: Any, words: str) -> None:
    built = host.run("printf '%%s' %s | docker build -q -t postgres:18.1 -", OTHER)
    assert built.rc == 0, built.stderr
    before = identities(host)
    text, status = play(values, tags="postgres")
    assert status != 0 and words in text and "nothing was changed" in text, text
    assert identities(host) == before and ready(host)


def test_data_moves_to_a_new_volume_as_the_guide_says(host: Any) -> None:
    """The steps of docs/operations/postgres.md, with an image of the same version: Debian 13 has no other."""
    before = jobs(host)
    dump = "docker exec postgres pg_dump -U postgres -Fc landfall >/root/landfall.dump"
    restore = "docker exec -i postgres pg_restore -U postgres --clean --if-exists --exit-on-error -d landfall"
    clients = " ".join(RUNS[1:])
    moved = {"postgres_volume": "postgres-18-data"}
    assert host.run(f"docker stop {clients}").rc == 0
    assert host.run(dump).rc == 0
    text, status = play(moved, tags="postgres")
    assert status == 0, text
    run = host.run(f"sh -c '{restore} </root/landfall.dump'")
    assert run.rc == 0, run.stderr
    text, status = play(moved)
    assert status == 0, text
    assert jobs(host) >= before and probe.eventually(lambda: ready(host))
    owners = "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'"
    assert sql(host, owners) == "landfall"
    assert {"postgres-data", "postgres-18-data"} <= set(probe.output(host, "docker", "volume", "ls", "-q").split())
    # And back, to what the old volume has, with a new minor version in place
    assert host.run("docker tag postgres:17.12 postgres:17.13").rc == 0
    text, status = play({"postgres_image": "postgres:17.13"})
    assert status == 0, text
    assert probe.containers(host)["postgres"]["Config"]["Image"] == "postgres:17.13"
    assert host.run(f"docker start {clients}").rc == 0
    assert jobs(host) >= before and probe.eventually(lambda: ready(host))
