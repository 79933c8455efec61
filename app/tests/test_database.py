"""Migrations, and the gauges that are read from the database."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from redis import Redis as RedisClient
from sqlalchemy import inspect, text

from landfall_app import ratelimit
from landfall_app.api.deps import Parts
from landfall_app.broker import once_more
from landfall_app.db import Database
from landfall_app.gauges import Gauges, Users
from landfall_app.migrate import main as migrate_main
from landfall_app.migrate import migrate
from landfall_app.models import Base
from landfall_app.repository import Repository
from landfall_app.settings import Settings, get_settings
from landfall_app.states import JobStatus

from .exposition import value

# --- migrations ---


def test_the_migrated_schema_is_the_models(database_url: str) -> None:
    database = Database(Settings(database_url=database_url))
    migrate(database)
    migrate(database)
    found = inspect(database.engine)
    for table in Base.metadata.sorted_tables:
        columns = {column["name"]: column["nullable"] for column in found.get_columns(table.name)}
        columns.pop("terms", None)  # PostgreSQL's generated column
        assert columns == {column.name: bool(column.nullable) for column in table.columns}, table.name
        indexes = {tuple(index["column_names"]) for index in found.get_indexes(table.name)}
        assert {tuple(column.name for column in index.columns) for index in table.indexes} <= indexes
    database.close()


def test_many_processes_may_migrate_at_once(database_url: str) -> None:
    def one(_: int) -> None:
        database = Database(Settings(database_url=database_url, database_timeout=30))
        migrate(database)
        database.close()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(one, range(6)))
    database = Database(Settings(database_url=database_url))
    with database.engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM alembic_version")).scalar() == 1
    database.close()


def test_downgrade(database_url: str) -> None:
    from alembic import command  # noqa: PLC0415  only here

    from landfall_app.migrate import config  # noqa: PLC0415  only here

    database = Database(Settings(database_url=database_url))
    migrate(database)
    with database.engine.begin() as connection:
        command.downgrade(config(connection), "base")
    left = [name for name in inspect(database.engine).get_table_names() if "alembic" not in name]
    assert left == []
    database.close()


def test_migrate_as_a_program(environment: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    get_settings.cache_clear()
    migrate_main()
    assert capsys.readouterr().out == "the database has the present schema\n"


def test_a_migration_that_hangs_is_reported(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl  # noqa: PLC0415  only here

    database = Database(Settings())
    with Path(f"{database.engine.url.database}.migrate-lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        monkeypatch.setattr("landfall_app.migrate.PATIENCE_SECONDS", 0.3)
        with pytest.raises(TimeoutError, match="another process"):
            migrate(database)
    database.close()


# --- gauges ---


def test_success_rate_comes_from_the_database(client: TestClient) -> None:
    parts: Parts = client.app.state.parts  # type: ignore[attr-defined]  # FastAPI's, which the client hides
    for status in (JobStatus.SUCCEEDED, JobStatus.SUCCEEDED, JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.RUNNING):
        job = parts.repository.add_job(
            tenant="acme", queue="enhancement", task_name="enhance", payload={}, request_id=""
        )
        parts.repository.end_job(job.id, status)
    parts.gauges.refresh()
    assert value(client.get("/metrics").text, "enhancement_success_rate", tenant_id="acme") == 75


def test_gauges_survive_whatever_does_not_answer(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    parts: Parts = client.app.state.parts  # type: ignore[attr-defined]  # FastAPI's, which the client hides
    broken = Database(Settings(database_url="sqlite:////no/such/directory/x.db"))
    gauges = Gauges(Repository(broken), RedisClient(port=9, retry=once_more()), Users(), ratelimit.NearLimit(), 1)
    before = value(client.get("/metrics").text, "redis_connection_errors_total")
    gauges.refresh()
    assert value(client.get("/metrics").text, "redis_connection_errors_total") == before + 1
    said = "\n".join(line.getMessage() for line in caplog.records)
    assert "gauges: database:" in said
    assert "gauges: Redis:" in said
    assert parts.users.take() == {}


def test_two_readings_of_the_gauges_lose_no_user(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    parts: Parts = client.app.state.parts  # type: ignore[attr-defined]  # FastAPI's, which the client hides
    parts.gauges.refresh()
    client.get("/api/db/tasks", params={"tenant_id": "acme"}, headers={"X-User": "ada"})
    begun, store = threading.Event(), parts.redis.zadd

    def slowly(*args: Any, **kwargs: Any) -> Any:
        begun.set()
        time.sleep(0.3)
        return store(*args, **kwargs)

    monkeypatch.setattr(parts.redis, "zadd", slowly)
    first = threading.Thread(target=parts.gauges.refresh)
    first.start()
    assert begun.wait(5)
    parts.gauges.refresh()
    assert value(client.get("/metrics").text, "active_users") == 1
    first.join()
