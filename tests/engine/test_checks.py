"""What bad input gets: the variable or fact, what is wrong, what would be right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.landfall.vps.plugins.plugin_utils import checks, specs
from hypothesis import assume, given, settings
from hypothesis import strategies as st

SPECS: dict[str, dict[str, Any]] = {
    "redis": {
        "redis_enabled": {"type": "bool"},
        "redis_tls": {"type": "bool"},
        "redis_image": {"type": "str"},
        "redis_maxmemory": {"type": "str"},
        "redis_port": {"type": "int"},
        "redis_publish": {"type": "list", "elements": "str"},
        "redis_password": {"type": "str", "required": True, "description": "the password of Redis"},
        "redis_appendfsync": {"type": "str", "choices": ["always", "everysec", "no"]},
    },
    "redis_exporter": {"redis_exporter_image": {"type": "str"}},
    "app": {"app_services": {"type": "list", "elements": "dict"}},
    "celery": {"celery_workers": {"type": "list", "elements": "dict"}},
}
GOOD: dict[str, Any] = {
    "redis_enabled": True,
    "redis_image": "redis:8.8.3-alpine",
    "redis_maxmemory": "256mb",
    "redis_port": 6379,
    "redis_publish": ["127.0.0.1:6379:6379"],
    "redis_password": "x",
    "redis_appendfsync": "everysec",
    "redis_exporter_image": "oliver006/redis_exporter:v1.88.0-alpine",
    "app_services": [{"name": "api", "image": "api:1.2", "port": 8000}],
    "celery_workers": [{"name": "worker"}],
}


def faults(**changes: Any) -> str:
    values = {key: value for key, value in {**GOOD, **changes}.items() if value is not None}
    return "\n".join(specs.inventory_faults(SPECS, SPECS, values, values.__getitem__))


def test_a_good_inventory_has_no_faults() -> None:
    assert faults() == ""


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"redis_maxmemry": "1gb"}, ["redis_maxmemry", "no such variable", "did you mean redis_maxmemory?"]),
        (
            {"redis_zzzzzzzzzzzz": 1, "landfall_strict_variables": True},
            ["redis_zzzzzzzzzzzz", "roles/redis/README.md", "(landfall_strict_variables)"],
        ),
        ({"redsi_password": 1}, ["redsi_password", "no role has such a variable; did you mean redis_password?"]),
        ({"redis_exporter_imge": "x:1"}, ["redis_exporter_imge", "redis_exporter_image"]),
        ({"redis_port": "many"}, ["redis_port: is the text 'many', not a plain number"]),
        ({"redis_password": None}, ["redis_password", "missing required", "the password of Redis"]),
        ({"redis_password": " "}, ["redis_password", "is empty", "the password of Redis"]),
        ({"redis_appendfsync": "sometimes"}, ["redis_appendfsync", "always, everysec, no"]),
        ({"redis_image": "redis:latest"}, ["redis_image", "'latest'", "redis:1.2.3"]),
        ({"redis_image": "redis"}, ["redis_image", "has no tag"]),
        ({"redis_image": "redis@sha256:12"}, ["redis_image", "has no digest of the form @sha256:"]),
        ({"redis_port": 70000}, ["redis_port", "70000", "1 to 65535"]),
        ({"redis_publish": ["6379"]}, ["redis_publish[0]", "127.0.0.1:9090:9090"]),
        ({"redis_publish": ["127.0.0.1:99999:6379"]}, ["redis_publish[0]", "99999"]),
        ({"redis_maxmemory": "0mb"}, ["redis_maxmemory: 0mb is no bound", "above 0", "that of the role"]),
        ({"redis_maxmemory": "-1"}, ["redis_maxmemory: -1 is no bound"]),
        ({"app_services": [{"name": "api", "limits": {"cpus": 0}}]}, ["app_services[0].limits.cpus: 0 is no bound"]),
        ({"celery_workers": [{"name": "w", "memory": "0"}]}, ["celery_workers[0].memory: 0 is no bound"]),
        ({"app_services": [{"name": "api", "port": 0}]}, ["app_services[0].port", "'0'"]),
        ({"app_services": [{"name": "api", "image": "api:latest"}]}, ["app_services[0].image", "latest"]),
        ({"app_services": [{"name": "a"}, {"name": "a"}]}, ["app_services", "'a'", "2 times", "unique"]),
        ({"celery_workers": [{"name": "api"}]}, ["'api'", "app_services", "unique"]),
        ({"app_services": [{"name": "redis"}]}, ["'redis'", "unique"]),
        (
            {"app_services": [{"name": "a", "publish": ["0.0.0.0:6379:80"]}]},
            ["redis_publish", "port 6379 of the VPS", "app_services[0].publish"],
        ),
    ],
)
def test_a_fault_names_the_variable_and_what_would_be_right(changes: dict[str, Any], words: list[str]) -> None:
    found = faults(**changes)
    assert all(word in found for word in words), found


OWN_BY_ROLE = {
    "app": [
        "version",
        "domain",
        "name",
        "user",
        "dir",
        "path",
        "port",
        "host",
        "url",
        "image_tag",
        "env",
        "root",
        "repo",
        "secret_key",
        "services_common",
        "environment_name",
        "database_url",
        "workers",
    ],
    "redis": ["version", "port", "host", "url", "user", "db", "result", "status", "info", "memory_limit"],
    "docker": [
        "users",
        "version",
        "log",
        "compose_version",
        "packages",
        "info",
        "result",
        "edition",
        "compose",
        "containers",
    ],
    "grafana": ["version", "users", "url", "port", "dashboards", "password", "admin_user"],
    "prometheus": ["version", "url", "port", "targets"],
    "celery": ["queues", "broker_url", "user"],
    "caddy": ["version", "domain", "email", "host"],
    "loki": ["url", "version"],
    "alloy": ["version"],
    "verify": ["result", "ssl"],
    "landfall": ["version", "user", "dir"],
}
OWN = [f"{role}_{name}" for role, names in OWN_BY_ROLE.items() for name in names] + ["users", "packages", "backup_dir"]
REAL = specs.role_specs(str(Path(__file__).resolve().parents[2] / "roles"))


def test_variables_of_ones_own_may_have_any_name() -> None:
    known = {option for options in REAL.values() for option in options}
    assert checks.unknown_variables(OWN, REAL) == []
    strict = checks.unknown_variables(OWN, REAL, strict=True)
    assert len(strict) == len([name for name in OWN if checks.role_of(name, REAL) and name not in known]) > 50


@given(st.data())
@settings(max_examples=400, deadline=None)
def test_a_slip_of_the_pen_is_refused_with_what_was_meant(data: st.DataObject) -> None:
    role = data.draw(st.sampled_from(sorted(REAL)))
    right = data.draw(st.sampled_from(sorted(REAL[role])))
    place = data.draw(st.integers(len(role) + 1, len(right) - 2))
    slip = data.draw(st.sampled_from(["left out", "twice", "swapped"]))
    if slip == "swapped":
        wrong = right[:place] + right[place + 1] + right[place] + right[place + 2 :]
    else:
        wrong = right[:place] + (right[place] * 2 if slip == "twice" else "") + right[place + 1 :]
    known = {option for options in REAL.values() for option in options}
    short = len(right) - len(role) - 1 < 6  # of few letters one is much: cpus, pus
    assume(wrong not in known and not short)
    [fault] = checks.unknown_variables([wrong], REAL)
    assert fault.startswith(f"{wrong}: role ") and "did you mean " in fault


def test_an_item_may_publish_what_the_variable_of_its_role_says() -> None:
    own = {"app_publish": ["127.0.0.1:8000:8000"]}
    first, second = ({"name": name, "publish": own["app_publish"]} for name in ("a", "b"))
    assert checks.publish_clashes({**own, "app_services": [first]}) == []
    [fault] = checks.publish_clashes({**own, "app_services": [first, second]})
    assert fault.startswith("app_services[1].publish: port 8000 of the VPS is already published by app_services[0]")


def test_all_faults_are_told_at_once() -> None:
    assert len(faults(redis_port=0, redis_image="redis", redis_maxmemry=1).splitlines()) == 3


def test_what_a_template_raises_is_a_fault_of_its_variable() -> None:
    def resolve(name: str) -> Any:
        if name == "redis_maxmemory":
            raise ValueError("'redis_memory' is undefined")
        return GOOD[name]

    found = specs.inventory_faults(SPECS, SPECS, GOOD, resolve)
    assert found == ["redis_maxmemory: 'redis_memory' is undefined"]


def test_a_disabled_role_is_not_held_to_its_spec() -> None:
    assert faults(redis_enabled=False, redis_password=None) == ""


def test_text_switches_a_role_off_but_is_no_boolean_elsewhere() -> None:
    assert faults(redis_enabled="false", redis_password=None) == ""
    assert "redis_enabled is the text 'maybe'" in faults(redis_enabled="maybe")
    assert "redis_tls is the text 'false', not a boolean" in faults(redis_tls="false")


@pytest.mark.parametrize(
    "name",
    [
        "redis_password",
        "redis_monitor_password",
        "redis_admin_password",
        "grafana_admin_password",
        "grafana_secret_key",
        "app_admin_token",
        "redis_exporter_password",
        "celery_exporter_broker_url",
    ],
)
@pytest.mark.parametrize("value", ["", "  ", None])
def test_a_secret_set_to_nothing_is_refused_by_its_name(name: str, value: Any) -> None:
    role = next(role for role in sorted(REAL, key=len, reverse=True) if name.startswith(role + "_"))
    (fault,) = specs.empty_secrets(REAL[role], {name: value, "redis_exporter_user": "monitor"})
    assert fault.startswith(name + ": is empty; ")


def test_a_secret_that_may_be_absent_may_be_empty() -> None:
    assert specs.empty_secrets(REAL["alertmanager"], {"alertmanager_heartbeat_url": ""}) == []
    nobody = {"redis_exporter_password": "", "redis_exporter_user": ""}
    assert specs.empty_secrets(REAL["redis_exporter"], nobody) == [], "a Redis without users"
    assert specs.empty_secrets(REAL["redis"], {}) == [] == specs.empty_secrets(REAL["redis"], {"redis_password": "x"})


STATE: dict[str, Any] = {
    "host": {"distribution": "debian", "version": "13", "euid": 0},
    "engine": {"running": True, "version": "26.1.5", "compose": "2.26.1"},
}


def host_faults(**changes: Any) -> str:
    state = {part: {**values, **{k: v for k, v in changes.items() if k in values}} for part, values in STATE.items()}
    return "\n".join(checks.host_faults(state))


def test_a_good_vps_has_no_faults() -> None:
    assert host_faults() == ""


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"distribution": "fedora", "version": "43"}, ["fedora 43", "Debian 12 or newer"]),
        ({"version": "11"}, ["debian 11", "supported are"]),
        ({"distribution": "ubuntu", "version": "20.04"}, ["ubuntu 20.04", "22.04"]),
        ({"euid": 1000}, ["uid 1000", "become: true"]),
        ({"running": True, "version": "20.10.24"}, ["Docker Engine 20.10.24", "older than 25"]),
        ({"compose": ""}, ["Compose v2 plugin", "docker-compose"]),
    ],
)
def test_a_vps_that_cannot_take_the_stack_is_told_so(changes: dict[str, Any], words: list[str]) -> None:
    # A state has one "version" for the host and one for the engine
    if "running" in changes:
        state = {**STATE, "engine": {**STATE["engine"], "version": changes["version"]}}
        found = "\n".join(checks.host_faults(state))
    elif "version" in changes:
        host = {**STATE["host"], **changes}
        found = "\n".join(checks.host_faults({**STATE, "host": host}))
    else:
        found = host_faults(**changes)
    assert all(word in found for word in words), found


def test_the_newest_releases_are_not_refused() -> None:
    for distribution, version in (("ubuntu", "26.04"), ("debian", "14"), ("ubuntu", "24.04"), ("debian", "12")):
        state = {**STATE, "host": {**STATE["host"], "distribution": distribution, "version": version}}
        assert checks.host_faults(state) == []


def test_a_published_service_behind_the_proxy_does_not_clash_with_itself() -> None:
    item = {"name": "web", "image": "web:1", "port": 8000, "publish": ["127.0.0.1:8000:8000"]}
    assert checks.publish_clashes({"app_services": [item], "caddy_app_service": item, "caddy_publish": ["80:80"]}) == []
