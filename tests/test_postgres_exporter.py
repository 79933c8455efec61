"""postgres-exporter: left out until the inventory names a server, its password in a file, wrong values refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from ansible_collections.landfall.vps.plugins.plugin_utils import formats, specs

from tests import rolekit

ROLE = "postgres_exporter"
PASSWORD = rolekit.OPTIONAL[ROLE]["postgres_exporter_password"]
DATABASE = {"name": "database", "image": "postgres:17.12", "health": ["pg_isready"]}


def _service(folder: Path, **more: Any) -> dict[str, Any]:
    return dict(rolekit.services(rolekit.deployed(ROLE, folder, **more)))["postgres-exporter"]


def test_it_is_there_only_where_the_inventory_says_so(tmp_path: Path) -> None:
    """EXP-06: with its target, rules and dashboard."""
    nothing = rolekit.component(ROLE, tmp_path)
    assert not nothing.desired.present and nothing.contents == {}
    rendered = rolekit.deployed(ROLE, tmp_path)
    assert [target["targets"] for target in rolekit.targets(rendered)] == [["postgres-exporter:9187"]]
    assert {"prometheus/rules.d/postgres-exporter--postgres.yml",
            "grafana/dashboards.d/postgres-exporter--postgresql.json"} <= set(rendered.contents)  # fmt: skip


def test_the_server_is_named_by_the_environment_and_the_password_by_a_file(tmp_path: Path) -> None:
    rendered = rolekit.deployed(ROLE, tmp_path, postgres_exporter_host="[2001:db8::1]", postgres_exporter_port=6432)
    environment = dict(rolekit.services(rendered))["postgres-exporter"]["environment"]
    address = urlsplit("postgresql://" + environment["DATA_SOURCE_URI"])
    assert (address.hostname, address.port, address.path) == ("2001:db8::1", 6432, "/postgres")
    assert parse_qs(address.query)["sslmode"] == ["require"]
    assert environment["DATA_SOURCE_USER"] == "postgres_exporter"
    assert environment["DATA_SOURCE_PASS_FILE"] == "/run/secrets/password"  # noqa: S105 - a path
    holding = [path for path, content in rendered.contents.items() if PASSWORD.encode() in content]
    assert holding == ["postgres_exporter/secrets/password"]


def test_an_authority_of_its_own(tmp_path: Path) -> None:
    path = "postgres_exporter/config/ca.pem"
    assert path not in rolekit.deployed(ROLE, tmp_path).contents
    pem = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
    rendered = rolekit.deployed(ROLE, tmp_path, postgres_exporter_ca=pem, postgres_exporter_sslmode="verify-full")
    assert rolekit.text(rendered, path) == pem
    uri = dict(rolekit.services(rendered))["postgres-exporter"]["environment"]["DATA_SOURCE_URI"]
    query = parse_qs(urlsplit("postgresql://" + uri).query)
    assert (query["sslmode"], query["sslrootcert"]) == (["verify-full"], ["/etc/postgres_exporter/ca.pem"])


def test_statements_are_reported_only_on_request_and_their_texts_apart(tmp_path: Path) -> None:
    def flags(**more: Any) -> set[str]:
        return {flag for flag in _service(tmp_path, **more)["command"] if "stat_statements" in flag}

    assert flags() == flags(postgres_exporter_statements_text=True) == set()
    numbers = {"--collector.stat_statements", "--collector.stat_statements.limit=50"}
    assert flags(postgres_exporter_statements=True) == numbers
    texts = numbers | {"--collector.stat_statements.include_query"}
    assert flags(postgres_exporter_statements=True, postgres_exporter_statements_text=True) == texts


def test_a_scrape_ends_before_prometheus_gives_it_up(tmp_path: Path) -> None:
    """10 s is Prometheus' own limit; a server that does not answer must be told as pg_up 0, not as a target down."""
    service = _service(tmp_path)
    assert "--collection-timeout=8s" in service["command"]
    assert "connect_timeout=5" in service["environment"]["DATA_SOURCE_URI"]


def test_a_server_that_the_stack_deploys_comes_first(tmp_path: Path) -> None:
    def needs(**more: Any) -> Any:
        return rolekit.deployed(ROLE, tmp_path, app_services=[DATABASE], **more).desired.meta["needs"]

    assert needs() == []
    assert needs(postgres_exporter_host="database") == ["app"]
    assert needs(postgres_exporter_host="database", app_enabled="false") == []


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"host": ""}, "postgres_exporter_host: is ''; must be the name or address"),
        ({"host": "db.example.com:5432"}, "postgres_exporter_host: is 'db.example.com:5432'; must be"),
        ({"host": "postgres://db.example.com"}, "postgres_exporter_host: is 'postgres://db.example.com'; must be"),
        ({"host": "localhost"}, "postgres_exporter_host: is localhost, which is the exporter's own container; must be"),
        ({"host": "127.0.0.1"}, "must be 172.30.0.1 for a server on the VPS itself"),
        ({"database": ""}, "postgres_exporter_database: is ''; must be the name of a database, such as postgres"),
        ({"database": "shop?sslmode=disable"}, "postgres_exporter_database: is 'shop?sslmode=disable'; must be"),
        ({"user": ""}, "postgres_exporter_user: is ''; must be a user of the server, such as postgres_exporter"),
        ({"password": ""}, "postgres_exporter_password: is empty"),
        ({"password": "ends in a space "}, "postgres_exporter_password: is empty, or has a line break, or a space"),
        ({"ca": "/etc/ssl/ca.pem"}, "postgres_exporter_ca: is no certificate; must be PEM text"),
        ({"ca": "BEGIN CERTIFICATE", "sslmode": "disable"}, "must be verify-ca or verify-full"),
        ({"statements_limit": 0}, "postgres_exporter_statements_limit: is 0; must be at least 1"),
    ],
)
def test_refused_before_anything_changes(more: dict[str, Any], words: str, tmp_path: Path) -> None:
    values = {f"postgres_exporter_{name}": value for name, value in more.items()}
    with pytest.raises(Exception, match=re.escape(words)):
        rolekit.deployed(ROLE, tmp_path, **values)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"host": None}, ["postgres_exporter_host: missing required", "such as db.example.com"]),
        ({"host": ""}, ["postgres_exporter_host: is empty", "such as db.example.com"]),
        ({"password": None}, ["postgres_exporter_password: missing required", "Password of that user"]),
        ({"password": ""}, ["postgres_exporter_password: is empty"]),
        ({"sslmode": "prefer"}, ["postgres_exporter_sslmode", "disable, require, verify-ca, verify-full", "prefer"]),
        ({"port": 0}, ["postgres_exporter_port: '0' is no port"]),
        ({"hots": "db"}, ["postgres_exporter_hots", "did you mean postgres_exporter_host?"]),
    ],
)
def test_refused_before_any_role_has_begun(change: dict[str, Any], words: list[str]) -> None:
    spec = specs.role_specs(str(rolekit.ROLES))
    values = {**rolekit.OPTIONAL[ROLE], **{f"postgres_exporter_{name}": value for name, value in change.items()}}
    values = {name: value for name, value in values.items() if value is not None}
    said = {ROLE: formats.load(str(rolekit.ROLES), ROLE)}
    found = "\n".join(specs.inventory_faults([ROLE], {ROLE: spec[ROLE]}, values, values.__getitem__, said=said))
    assert all(word in found for word in words), found
    values["postgres_exporter_enabled"] = False
    if "hots" not in change:
        assert specs.inventory_faults([ROLE], {ROLE: spec[ROLE]}, values, values.__getitem__, said=said) == []
