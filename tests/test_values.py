"""What an inventory writes is what a container gets, byte for byte."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Dict, List
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import rolekit

SLOW = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
SERVICE: Dict[str, Any] = {"name": "api", "image": "example/api:1.0.0", "port": 8000, "health": "/health"}
PASSWORDS = st.sampled_from(
    ["p/ss", "p%41", "a b#c?[d", "a@b:c", "\U0001f600", "a'b\"c\\d", "$x$$", "{{x}}"]
) | st.text(st.characters(exclude_categories=["C", "Z"]), min_size=12, max_size=20)


def app(folder: Path, **item: Any) -> rolekit.Rendered:
    return rolekit.component("app", folder, app_services=[{**SERVICE, **item}])


def received(value: Any) -> Any:
    """What a container gets of a text in a compose file."""
    if isinstance(value, str):
        return value.replace("$$", "$")
    return [received(item) for item in value]


@settings(derandomize=True, max_examples=15, deadline=None, suppress_health_check=SLOW)
@given(password=PASSWORDS)
def test_every_program_gets_the_password_that_was_written(password: str, tmp_path: Path) -> None:
    raw = rolekit.raw(password)
    digest = "#" + hashlib.sha256(password.encode()).hexdigest()
    redis = rolekit.component("redis", tmp_path, redis_password=raw)
    assert rolekit.text(redis, "redis/secrets/redis_password").rstrip("\n") == password
    assert digest in rolekit.text(redis, "redis/secrets/users.acl").split()
    broker = rolekit.component("celery_exporter", tmp_path, redis_password=raw)
    url = urlsplit(rolekit.text(broker, "celery_exporter/secrets/broker_url").strip())
    assert (unquote(url.password or ""), url.hostname, url.port, url.path) == (password, "redis", 6379, "/0")
    exporter = rolekit.component("redis_exporter", tmp_path, redis_monitor_password=raw)
    known = json.loads(rolekit.text(exporter, "redis_exporter/secrets/passwords.json"))
    assert known == {"redis://monitor@redis:6379": password}
    more = {"postgres_exporter_password": raw, "postgres_exporter_enabled": True, "postgres_exporter_host": "db"}
    postgres = rolekit.component("postgres_exporter", tmp_path, **more)
    assert rolekit.text(postgres, "postgres_exporter/secrets/password").rstrip("\n") == password
    for role in ("app", "celery"):
        files = rolekit.component(role, tmp_path, redis_password=raw).contents
        assert {text for path, text in files.items() if path.endswith("app_redis_password")} == {password.encode()}


@settings(derandomize=True, max_examples=15, deadline=None, suppress_health_check=SLOW)
@given(secret=st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_a_secret_of_a_service_is_its_file(secret: str, tmp_path: Path) -> None:
    rendered = app(tmp_path, secrets={"TOKEN": rolekit.raw(secret)})
    assert rendered.contents["app-api/secrets/api/token"] == secret.encode()
    assert "app-api/secrets/api/token" in rendered.desired.files


@pytest.mark.parametrize("key", ["../../../x", "/etc/x", "a/../b", "", ".", "a\0b", "a//b", "x/"])
def test_no_secret_leaves_its_folder(key: str, tmp_path: Path) -> None:
    with pytest.raises(Exception, match="no name of a file below secrets/"):
        app(tmp_path, secrets={key: "x"})


@pytest.mark.parametrize("value", [None, 5, ["a"], {"a": "b"}])
def test_a_secret_that_is_no_text_is_not_written(value: Any, tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r"(?i)token is no text"):
        app(tmp_path, secrets={"TOKEN": value})


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)


@settings(derandomize=True, max_examples=40, deadline=None, suppress_health_check=SLOW)
@given(environment=st.dictionaries(st.from_regex("[A-Z_][A-Z0-9_]{0,8}", fullmatch=True), TEXTS, max_size=4),
       command=st.lists(TEXTS, min_size=1, max_size=4), health=st.lists(TEXTS, min_size=1, max_size=3))  # fmt: skip
def test_a_service_gets_what_was_written(
    environment: Dict[str, str], command: List[str], health: List[str], tmp_path: Path
) -> None:
    item = rolekit.raw({"environment": environment, "command": command, "health": health})
    ((_, service),) = rolekit.services(app(tmp_path, **item))
    assert {key: received(value) for key, value in service.get("environment", {}).items()} == environment
    assert received(service["command"]) == command
    assert received(service["healthcheck"]["test"]) == ["CMD", *health]


@pytest.mark.parametrize("name", ["017", "1e3", "on", "null", "12"])
def test_a_name_that_looks_like_something_else_stays_a_name(name: str, tmp_path: Path) -> None:
    rendered = app(tmp_path, name=name)
    ((key, service),) = rolekit.services(rendered)
    assert (key, service["container_name"], service["hostname"]) == (name, name, name)
    assert list(rendered.desired.containers) == [name]


def test_a_command_in_one_string_is_split_as_compose_does(tmp_path: Path) -> None:
    ((_, service),) = rolekit.services(app(tmp_path, command="uvicorn main:app --port '80'"))
    assert service["command"] == ["uvicorn", "main:app", "--port", "80"]
    workers = [{"name": "w", "queues": ["a"], "arguments": "--pool=solo -E"}]
    rendered = rolekit.component("celery", tmp_path, celery_workers=workers, celery_arguments="--without-gossip")
    assert dict(rolekit.services(rendered))["w"]["command"][-3:] == ["--without-gossip", "--pool=solo", "-E"]
    rendered = rolekit.component(
        "prometheus", tmp_path, prometheus_arguments="--log.level=debug --web.page-title='a b'"
    )
    assert rolekit.compose(rendered)["services"]["prometheus"]["command"][-2:] == [
        "--log.level=debug",
        "--web.page-title=a b",
    ]


def test_a_health_command_is_no_path_for_a_probe(tmp_path: Path) -> None:
    services = [
        {**SERVICE, "health": ["python", "-m", "x"]},
        {**SERVICE, "name": "b", "health": ["x"], "ready": "/ready"},
        {**SERVICE, "name": "c", "health": "/h?a=1&b=1"},
        {"name": "d", "image": "example/d:1.0.0", "health": ["x"]},
    ]
    targets = rolekit.targets(rolekit.component("blackbox_exporter", tmp_path, app_services=services))
    asked = {
        entry["labels"]["service"]: (entry["labels"]["__param_target"], entry["labels"]["__param_module"])
        for entry in targets
        if "__param_target" in entry["labels"]
    }
    assert {name: asked.get(name) for name in "abcd" if name in asked} | {"api": asked["api"]} == {
        "api": ("api:8000", "tcp"),
        "b": ("http://b:8000/ready", "http_2xx"),
        "c": ("http://c:8000/h?a=1&b=1", "http_2xx"),
    }
