"""PostgreSQL of the stack: off until asked for, within its memory, passwords in files alone, wrong values refused."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from ansible_collections.landfall.vps.plugins.module_utils import probe, shown
from ansible_collections.landfall.vps.plugins.module_utils.units import size
from ansible_collections.landfall.vps.plugins.plugin_utils import databases, formats, specs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import rolekit

ROLE = "postgres"
ON: dict[str, Any] = {"postgres_enabled": True}
SHOP = {**ON, "postgres_databases": [{"name": "shop"}]}
MONITOR = {"name": "watch", "password": "m", "roles": ["pg_monitor"]}
SLOW = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
PASSWORDS = st.sampled_from(
    ["p/ss", "p%41", "a b#c?[d", "a@b:c", "\U0001f600", "a'b\"c\\d", "$x$$", "{{x}}", "tab's`end`"]
) | st.text(st.characters(exclude_categories=["C", "Z"]), min_size=12, max_size=20)


def postgres(folder: Path, **more: Any) -> rolekit.Rendered:
    return rolekit.component(ROLE, folder, **{**SHOP, **more})


def service(rendered: rolekit.Rendered) -> dict[str, Any]:
    return dict(rolekit.services(rendered))["postgres"]


def test_nothing_changes_for_who_does_not_ask_for_it(tmp_path: Path) -> None:
    assert not rolekit.component(ROLE, tmp_path).desired.present
    assert not rolekit.component("postgres_exporter", tmp_path).desired.present
    app = rolekit.component("app", tmp_path)
    environment = dict(rolekit.services(app))["app"]["environment"]
    assert environment["APP_DATABASE_URL"] == "sqlite:////data/landfall.db"
    assert app.desired.meta["needs"] == ["redis"]
    assert not [path for path in app.contents if "database" in path]
    assert not list(tmp_path.rglob("postgres*")), "no secret is made for it"


def test_one_variable_gives_the_reference_application_a_database(tmp_path: Path) -> None:
    more = {"app_database": "postgres"}
    wanted = json.loads(rolekit.text(rolekit.component(ROLE, tmp_path, **more), "postgres/config/wanted.json"))
    assert [(item["name"], item["owner"]) for item in wanted["databases"]] == [("landfall", "landfall")]
    password = (tmp_path / "secrets/host_vars/vps/postgres_landfall_password").read_text().strip()
    for role in ("app", "celery"):
        rendered = rolekit.component(role, tmp_path, **more)
        assert "postgres" in rendered.desired.meta["needs"]
        for name, one in rolekit.services(rendered):
            address = urlsplit(one["environment"]["APP_DATABASE_URL"])
            assert (address.hostname, address.username, address.password) == ("postgres", "landfall", None), name
            assert one["environment"]["APP_DATABASE_PASSWORD_FILE"].startswith("/run/secrets/")
        files = {text for path, text in rendered.contents.items() if path.endswith("app_database_password")}
        assert files == {password.encode()}
    exporter = rolekit.component("postgres_exporter", tmp_path, **more)
    environment = dict(rolekit.services(exporter))["postgres-exporter"]["environment"]
    assert environment["DATA_SOURCE_URI"].startswith("postgres:5432/postgres?sslmode=disable&")
    assert exporter.desired.meta["needs"] == ["postgres"]
    watch = (tmp_path / "secrets/host_vars/vps/postgres_monitor_password").read_text().strip()
    assert rolekit.text(exporter, "postgres_exporter/secrets/password").strip() == watch


def test_a_database_that_the_reference_application_misses_is_said(tmp_path: Path) -> None:
    cases: list[dict[str, Any]] = [{"postgres_databases": []}, {"postgres_enabled": False}]
    for more in cases:
        with pytest.raises(Exception, match=r"app_database: is postgres, but .* add \{name: landfall\}"):
            rolekit.component("app", tmp_path, app_database="postgres", **more)


@settings(derandomize=True, max_examples=15, deadline=None, suppress_health_check=SLOW)
@given(password=PASSWORDS)
def test_server_and_application_get_the_same_password_byte_for_byte(password: str, tmp_path: Path) -> None:
    raw, more = rolekit.raw(password), {"depends_on": {"postgres": "service_healthy"}, "user": "1000:1000"}
    item = {"name": "web", "image": "shop/web:1", "port": 8000, "health": "tcp", **more}
    item["secret_environment"] = {"DATABASE_URL": "{{ postgres_urls.shop }}"}
    item["secrets"] = {"DATABASE_PASSWORD": "{{ postgres_passwords.shop }}"}
    values = {**SHOP, "postgres_users": [{"name": "shop", "password": raw}], "app_services": [item]}
    server = rolekit.component(ROLE, tmp_path, **values)
    lines = rolekit.text(server, "postgres/secrets/passwords").split("\n")
    assert f"shop\t{password}" in lines
    app = rolekit.component("app", tmp_path, **values)
    found = next(text for path, text in app.contents.items() if path.endswith("database_password")).decode()
    assert found == password
    line = next(text for text in app.contents.values() if text.startswith(b"DATABASE_URL=")).decode()
    address = urlsplit(line.split("=", 1)[1].strip().strip("'"))
    assert (address.scheme, address.username, address.hostname, address.port) == (
        *("postgresql", "shop", "postgres"),
        5432,
    )
    assert unquote(address.password or "") == password and address.path == "/shop"
    for rendered in (server, app):
        assert [p for p, text in rendered.contents.items() if password.encode() in text and "/secrets/" not in p] == []


def test_passwords_are_made_once_and_only_where_none_is_given(tmp_path: Path) -> None:
    users = [{"name": "given", "password": "of-the-vault"}, {"name": "made"}]
    lines = rolekit.text(postgres(tmp_path, postgres_users=users), "postgres/secrets/passwords")
    assert lines == rolekit.text(postgres(tmp_path, postgres_users=users), "postgres/secrets/passwords")
    known = dict(line.split("\t") for line in lines.splitlines())
    assert set(known) == {"given", "made", "shop", "postgres_exporter"} and known["given"] == "of-the-vault"
    assert len(known["made"]) == 40
    files = {path.name for path in tmp_path.rglob("postgres_*_password")}
    assert files == {"postgres_made_password", "postgres_shop_password", "postgres_monitor_password"}


@pytest.mark.parametrize("profile", ["small", "standard", "full"])
def test_all_connections_at_work_fit_into_the_memory(profile: str, tmp_path: Path) -> None:
    rendered = postgres(tmp_path, landfall_profile=profile)
    text = rolekit.text(rendered, "postgres/config/postgresql.conf") + rolekit.text(
        rendered, "postgres/config/start.conf"
    )
    value = dict(re.findall(r"^(\w+) = '?([^'\n]*)'?$", text, re.MULTILINE))
    limit = size(service(rendered)["mem_limit"])
    work, shared, tidying = (size(value[k]) for k in ("work_mem", "shared_buffers", "maintenance_work_mem"))
    most = shared + 2 * tidying + int(value["max_connections"]) * (work + 2 * 2**20)
    assert 0.8 * limit < most <= limit and shared == limit // 4
    assert size(service(rendered)["shm_size"]) == limit // 4
    assert (value["fsync"], value["full_page_writes"]) == ("on", "on")
    assert "synchronous_commit" not in value, "its default is safe"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (
            {"max_connections": 500, "work_mem": "4m"},
            "postgres_max_connections: 500 connections with postgres_work_mem 4m",
        ),
        ({"shared_buffers": "500m", "work_mem": "4m"}, "more than postgres_memory (512m); choose fewer connections"),
        ({"image": "postgres:17.2-alpine"}, "postgres_image: postgres:17.2-alpine sorts text otherwise"),
        ({"settings": {"fsync": "off"}}, "postgres_settings.fsync: a power cut would destroy the data"),
        ({"settings": {"full_page_writes": "off"}}, "postgres_settings.full_page_writes: a power cut"),
        ({"settings": {"max_connections": "9"}}, "postgres_settings.max_connections: write postgres_max_connections"),
        ({"settings": {"hba_file": "/x"}}, "postgres_settings.hba_file: the role needs its own value"),
    ],
)
def test_what_the_server_could_not_bear_is_refused(more: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(Exception, match=re.escape(words)):
        postgres(tmp_path, **{f"postgres_{name}": value for name, value in more.items()})


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (
            {"databases": [{"name": "Shop"}]},
            ["postgres_databases[0].name: 'Shop' is no name for a database", "such as shop"],
        ),
        ({"databases": [{"name": "a;b"}]}, ["postgres_databases[0].name"]),
        ({"databases": [{"name": "a"}, {"name": "a"}]}, ["postgres_databases", "'a' is used 2 times"]),
        ({"databases": [{"nam": "a"}]}, ["postgres_databases", "nam"]),
        ({"databases": [{"name": "a", "extensions": ["x y"]}]}, ["postgres_databases[0].extensions[0]"]),
        ({"users": [{"name": "a", "password": "two\nlines"}]}, ["postgres_users[0].password", "one line"]),
        ({"users": [{"name": "a", "roles": ["pg_execute_server_program"]}]}, ["postgres_users", "pg_execute"]),
        ({"settings": {"a b": "1"}}, ["postgres_settings", "is no name of a setting"]),
        ({"settings": {"a": "it's"}}, ["postgres_settings.a", "no quote"]),
        ({"volume": "a/b"}, ["postgres_volume"]),
    ],
)
def test_refused_before_any_role_has_begun(more: dict[str, Any], words: list[str]) -> None:
    values = {**ON, **{f"postgres_{name}": value for name, value in more.items()}}
    spec, said = specs.role_specs(str(rolekit.ROLES)), {ROLE: formats.load(str(rolekit.ROLES), ROLE)}
    found = "\n".join(specs.inventory_faults([ROLE], {ROLE: spec[ROLE]}, values, values.__getitem__, said=said))
    assert all(word in found for word in words), found
    values["postgres_enabled"] = False
    assert specs.inventory_faults([ROLE], {ROLE: spec[ROLE]}, values, values.__getitem__, said=said) == []


def test_what_the_guide_shows_is_accepted() -> None:
    values = {**rolekit.OPTIONAL[ROLE], "postgres_settings": {"random_page_cost": "1.1", "work_mem_x.y": "10 min, a=b"}}
    spec, said = specs.role_specs(str(rolekit.ROLES)), {ROLE: formats.load(str(rolekit.ROLES), ROLE)}
    assert specs.inventory_faults([ROLE], {ROLE: spec[ROLE]}, values, values.__getitem__, said=said) == []


@pytest.mark.parametrize(
    ("items", "users", "words"),
    [
        ([{"name": "super"}], [], "databases[0].name: 'super' is a name of the server's own; choose another"),
        ([{"name": "template1"}], [], "databases[0].name: 'template1' is a name of the server's own"),
        ([{"name": "a", "owner": "pg_a"}], [], "databases[0].owner: 'pg_a' is a name of the server's own"),
        ([], [{"name": "watch"}], "users[0].name: 'watch' is the user who monitors"),
        ([{"name": "a", "access": {"b": "read"}}], [], "databases[0].access: b is no item of users"),
        (
            [],
            [{"name": "a", "connection_limit": 0}],
            "users[0].connection_limit: 0 lets nobody in; write a number above",
        ),
        ([{"name": "a", "access": {"a": "read"}}], [], "databases[0].access: a owns it and needs none"),
        ([{"name": "a", "access": {"b": "all"}}], [{"name": "b"}], "databases[0].access.b: 'all'; write read or write"),
    ],
)
def test_databases_and_users_fit_together(items: Any, users: Any, words: str) -> None:
    with pytest.raises(databases.DatabaseError, match=re.escape(words)):
        databases.complete(items, users, ["databases", "users"], MONITOR, "super")


def test_owners_are_made_and_need_no_item() -> None:
    items: list[dict[str, Any]] = [{"name": "a", "access": {"c": "write"}}, {"name": "b", "owner": "c"}]
    found = databases.complete(items, [{"name": "c", "password": "x"}], ["databases", "users"], MONITOR, "super")
    assert [user["name"] for user in found["users"]] == ["c", "a", "watch"]
    assert found["generated"] == ["a"] and found["given"] == {"c": "x", "watch": "m"}
    assert [item["access"] for item in found["databases"]] == [[{"user": "c", "kind": "write"}], []]
    assert databases.urls(found, {"a": "/", "c": "x"}, "db", 1)["a"] == "postgresql://a:%2F@db:1/a"


def test_new_data_and_users_need_no_restart_but_settings_do(tmp_path: Path) -> None:
    before = postgres(tmp_path).desired
    more = {"postgres_databases": [{"name": "shop"}, {"name": "b"}], "postgres_log_min_duration": 1}
    changed = {p for p, mark in postgres(tmp_path, **more).desired.files.items() if before.files.get(p) != mark}
    assert changed and all(
        any(Path(path).match("postgres/" + pattern) for pattern in before.reload_files) for path in changed
    ), changed
    after = postgres(tmp_path, postgres_settings={"jit": "off"}).desired
    assert {p for p in after.files if before.files.get(p) != after.files[p]} == {"postgres/config/start.conf"}
    assert not any(Path("config/start.conf").match(pattern) for pattern in before.reload_files)


def test_the_check_sees_the_data_that_is_there_and_makes_none() -> None:
    one = {
        "volumes": [
            {"type": "volume", "source": "data", "target": "/d"},
            {"type": "bind", "source": "/x", "target": "/x"},
        ]
    }
    volumes = {"data": {"name": "b-data"}}
    assert shown.data(one, volumes, {"b-data": {}}) == ["-v", "b-data:/d:ro"]
    assert shown.data(one, volumes, {}) == []


class _Engine:
    """Answers each command with the next of its answers."""

    def __init__(self, *answers: tuple[int, str]) -> None:
        self.answers = list(answers)

    def execute(self, _name: str, _argv: list[str]) -> tuple[int, str]:
        return self.answers.pop(0)

    def inspect(self, _name: str) -> dict[str, Any]:
        return {"State": {"Status": "running"}, "HostConfig": {}}


def test_what_a_command_tells_is_told_and_what_is_hopeless_ends_the_waiting() -> None:
    item: Any = [{"exec": ["sh"], "service": "a"}]
    engine: Any = _Engine((1, "not yet"), (0, "note: b stays\nas wanted\n"))
    assert probe.prove(engine, ["a"], item, "n", 5, sleep=lambda _s: None)["told"] == ["b stays"]
    hopeless: Any = _Engine((78, "ERROR: no such role"))
    with pytest.raises(probe.Hopeless, match="no such role"):
        probe.prove(hopeless, ["a"], item, "n", 5, sleep=lambda _s: None)


def test_a_first_start_that_was_killed_is_begun_anew(tmp_path: Path) -> None:
    """Between making the data and giving it its name: half of it must never be taken for a database."""
    script = (rolekit.ROLES / "postgres/files/config/start.sh").read_text(encoding="utf-8")
    (tmp_path / "start.sh").write_text(script.replace("/var/lib/postgresql/data", str(tmp_path / "volume")))
    for name, text in {
        "initdb": 'mkdir -p "$PGDATA.new"; echo x >>"$PGDATA.new/half"; [ ! -e "$KILL" ] || exit 1\n'
        'echo 17 >"$PGDATA.new/PG_VERSION"',
        "postgres": 'cat "$PGDATA/half"',
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "volume").mkdir()
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PGDATA": str(tmp_path / "volume/pgdata")}

    def start(kill: str) -> subprocess.CompletedProcess[str]:
        argv = ["sh", str(tmp_path / "start.sh")]
        more = {**environment, "KILL": kill}
        return subprocess.run(argv, env=more, capture_output=True, text=True, check=False)

    assert start(str(tmp_path)).returncode == 1 and not (tmp_path / "volume/pgdata").exists()
    assert start("/nowhere").stdout == "x\n"
    assert start(str(tmp_path)).stdout == "x\n", "what is there is not made again"
    (tmp_path / "volume/PG_VERSION").write_text("17")
    assert "another deployment made" in start("/nowhere").stderr


@pytest.mark.parametrize(("enabled", "words"), [(False, ""), (True, "the name 'postgres' is already that of")])
def test_a_service_may_have_its_name_while_the_role_is_off(enabled: bool, words: str, tmp_path: Path) -> None:
    """Who has run a server of that name as a service goes on doing so."""
    item = {"name": "postgres", "image": "postgres:17.5", "health": ["pg_isready"]}
    more = {"app_services": [item], "postgres_enabled": enabled}
    spec = specs.role_specs(str(rolekit.ROLES))
    found = specs.inventory_faults([ROLE, "app"], spec, more, more.__getitem__)
    assert words in "".join(found) and bool(found) == enabled
    values = {**rolekit.OPTIONAL["postgres_exporter"], **more, "postgres_exporter_host": "postgres"}
    needs = rolekit.component("postgres_exporter", tmp_path, **values).desired.meta["needs"]
    assert needs == (["postgres"] if enabled else ["app"])


def test_a_server_whose_databases_were_not_made_yet_is_not_given_up(tmp_path: Path) -> None:
    """A run that died before it made them: the next one makes them only while the container counts as starting."""
    health = service(postgres(tmp_path))["healthcheck"]
    assert "/var/lib/postgresql/data/applied" in health["test"][1] and health["start_period"] == "24h"
