"""Who is told what and when: Alertmanager's own amtool judges the configuration that the role renders."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import programs, rolekit

RECEIVERS: list[dict[str, Any]] = [
    {"name": "ops", "type": "discord", "url": "https://discord.com/api/webhooks/123/s3cret-Discord"},
    {
        "name": "payments",
        "type": "slack",
        "url": "https://hooks.slack.com/services/T0/B0/s3cret-Slack",
        "teams": ["payments", "billing.eu"],
        "severities": ["critical", "warning"],
    },
    {"name": "pager", "type": "pagerduty", "routing_key": "s3cret-Pager", "severities": ["critical"]},
    {
        "name": "phone",
        "type": "telegram",
        "bot_token": "1:s3cret-Telegram",
        "chat_id": -100,
        "severities": ["critical"],
    },
    {
        "name": "mail",
        "type": "email",
        "to": "a@example.com",
        "from": "b@example.com",
        "smarthost": "smtp.example.com:587",
        "username": "b",
        "password": "s3cret-Mail",
        "severities": ["info"],
    },
    {"name": "hook", "type": "webhook", "url": "http://receiver:8080/s3cret-Hook", "teams": ["payments"]},
]
HEARTBEAT = "https://hc-ping.example/s3cret-Heartbeat"
# Severity and team of an alert, and who is told. `ops` takes everything, the others what they say above.
ROUTES = [
    ("critical", "", {"ops", "pager", "phone"}),
    ("critical", "payments", {"ops", "payments", "pager", "phone", "hook"}),
    ("critical", "billing.eu", {"ops", "payments", "pager", "phone"}),
    ("critical", "search", {"ops", "pager", "phone"}),
    ("warning", "", {"ops"}),
    ("warning", "payments", {"ops", "payments", "hook"}),
    ("warning", "billing.eu", {"ops", "payments"}),
    ("warning", "billingXeu", {"ops"}),
    ("warning", "search", {"ops"}),
    ("info", "", {"ops", "mail"}),
    ("info", "payments", {"ops", "mail", "hook"}),
    ("info", "billing.eu", {"ops", "mail"}),
    ("info", "search", {"ops", "mail"}),
    ("unheard-of", "payments", {"ops"}),
]


@pytest.fixture(scope="module")
def amtool() -> str:
    """Alertmanager's checker."""
    return programs.from_debian("amtool", "prometheus-alertmanager")


def _render(secrets: Path, **more: Any) -> rolekit.Rendered:
    return rolekit.component("alertmanager", secrets, **more)


def _write(rendered: rolekit.Rendered, folder: Path) -> Path:
    """The rendered configuration as a file that amtool can read here."""
    for path, content in rendered.contents.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    config = folder / "alertmanager/config/alertmanager.yml"
    config.write_text(config.read_text().replace("/etc/alertmanager/", f"{config.parent}/"))
    return config


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[rolekit.Rendered]:
    yield _render(
        tmp_path_factory.mktemp("secrets"), alertmanager_receivers=RECEIVERS, alertmanager_heartbeat_url=HEARTBEAT
    )


@pytest.fixture(scope="module")
def config(rendered: rolekit.Rendered, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _write(rendered, tmp_path_factory.mktemp("config"))


def _run(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _told(amtool: str, config: Path, **labels: str) -> set[str]:
    pairs = [f"{name}={value}" for name, value in labels.items() if value]
    return set(_run(amtool, "config", "routes", "test", f"--config.file={config}", *pairs).strip().split(","))


def test_all_kinds_of_receivers_pass_amtool(amtool: str, config: Path) -> None:
    assert f"{len(RECEIVERS) + 2} receivers" in _run(amtool, "check-config", str(config))


@pytest.mark.parametrize(("severity", "team", "expected"), ROUTES)
def test_route(amtool: str, config: Path, severity: str, team: str, expected: set[str]) -> None:
    assert _told(amtool, config, alertname="Some", severity=severity, team=team) == expected


def test_watchdog_goes_to_the_heartbeat_alone(amtool: str, config: Path) -> None:
    assert _told(amtool, config, alertname="Watchdog", severity="none") == {"heartbeat"}


def test_watchdog_disturbs_nobody_without_a_heartbeat(amtool: str, tmp_path: Path) -> None:
    config = _write(_render(tmp_path, alertmanager_receivers=RECEIVERS), tmp_path)
    assert _told(amtool, config, alertname="Watchdog", severity="none") == {"nowhere"}


def test_no_receivers_is_a_valid_configuration(amtool: str, tmp_path: Path) -> None:
    config = _write(_render(tmp_path), tmp_path)
    assert _told(amtool, config, severity="critical") == {"nowhere"}


def test_a_team_without_a_receiver_falls_back(amtool: str, tmp_path: Path) -> None:
    only = [{**RECEIVERS[0], "teams": ["a"]}, {**RECEIVERS[5], "teams": ["b"]}]
    chosen = _render(tmp_path, alertmanager_receivers=only, alertmanager_fallback_receiver="hook")
    config = _write(chosen, tmp_path)
    assert _told(amtool, config, severity="critical", team="c") == {"hook"}
    assert _told(amtool, config, severity="critical", team="a") == {"ops"}


@pytest.mark.parametrize("team", ['a"b', "c.d", "e\\f", "g|h", "it's", "\U0001f600", "(x)", "$y"])
def test_a_team_of_any_name_is_its_own(amtool: str, team: str, tmp_path: Path) -> None:
    own = [{**RECEIVERS[0], "teams": [rolekit.raw(team), "other"]}]
    config = _write(_render(tmp_path, alertmanager_receivers=own), tmp_path)
    matchers = [
        matcher
        for route in yaml.safe_load(config.read_text("utf-8"))["route"]["routes"]
        for below in route.get("routes", [])
        for matcher in below.get("matchers", [])
    ]
    assert matchers and len(set(matchers)) == 1
    pattern = json.loads(matchers[0].split("=~", 1)[1])
    assert re.fullmatch(pattern, team) and not re.fullmatch(pattern, team + "x")
    assert "receivers" in _run(amtool, "check-config", str(config))


def test_times_of_each_severity(config: Path) -> None:
    route = yaml.safe_load(config.read_text())["route"]
    times = {r["matchers"][0]: {**route, **r} for r in route["routes"]}
    assert times['severity="critical"']["group_wait"] == "0s"
    assert times['severity="warning"']["group_wait"] == "30s"
    assert {times[f'severity="{name}"']["repeat_interval"] for name in ("critical", "warning", "info")} == {"12h"}
    assert route["group_by"] == ["cluster", "alertname"]


def test_secrets_are_in_files_of_their_own_and_nowhere_else(rendered: rolekit.Rendered) -> None:
    for path, content in rendered.contents.items():
        if path.startswith("alertmanager/secrets/"):
            assert rendered.desired.files[path].endswith(":400:65534")
            assert b"s3cret" in content
        else:
            assert b"s3cret" not in content, path
    assert sum(path.startswith("alertmanager/secrets/") for path in rendered.contents) == len(RECEIVERS) + 1


def _with(number: int, **change: Any) -> list[dict[str, Any]]:
    return [{**RECEIVERS[number], **change}]


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        (
            {"alertmanager_receivers": _with(0, url="https://discord.com/s3cret")},
            "ops (discord): url has the wrong form",
        ),
        ({"alertmanager_receivers": _with(0, url="http://discord.com/api/webhooks/1/s3cret")}, "wrong form"),
        (
            {"alertmanager_receivers": _with(1, url="https://hooks.slack.com/s3cret")},
            "payments (slack): url has the wrong",
        ),
        ({"alertmanager_receivers": _with(5, url="receiver:8080/s3cret")}, "hook (webhook): url has the wrong form"),
        ({"alertmanager_receivers": _with(5, url="http://hooks.example.com/s3cret")}, "wrong form"),
        ({"alertmanager_receivers": _with(2, routing_key="")}, "pager (pagerduty): needs routing_key"),
        ({"alertmanager_receivers": _with(3, chat_id="")}, "phone (telegram): needs chat_id"),
        ({"alertmanager_receivers": _with(4, smarthost="smtp.example.com")}, "smarthost must be <host>:<port>"),
        ({"alertmanager_receivers": _with(4, smarthost="2001:db8::7:25")}, "smarthost must be <host>:<port>"),
        ({"alertmanager_receivers": _with(0, name="heartbeat")}, "neither nowhere nor heartbeat"),
        ({"alertmanager_receivers": _with(0, name="Ops Team")}, "must be of a-z"),
        ({"alertmanager_receivers": _with(0) + _with(0)}, "is there twice"),
        (
            {"alertmanager_receivers": _with(0), "alertmanager_fallback_receiver": "opps"},
            "alertmanager_fallback_receiver: opps is not a receiver; must be one of ops, nowhere",
        ),
        ({"alertmanager_heartbeat_url": "hc-ping.com/s3cret"}, "alertmanager_heartbeat_url: has the wrong form"),
    ],
)
def test_refused_before_anything_changes(variables: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(Exception, match=re.escape(words)) as caught:
        _render(tmp_path, **variables)
    assert "s3cret" not in str(caught.value)
