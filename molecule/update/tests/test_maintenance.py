"""Maintenance: visitors get a page and 503, some addresses do not; it outlives deploys and restarts of the proxy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from testbed import probe

PLAYBOOK = "playbooks/maintenance.yml"
SITE = ("--tags", "caddy", "-e", "caddy_app_host=app.test", "-e", "caddy_tls=internal")
ASK = ("curl", "-sk", "-m", "10", "--resolve", "app.test:443:127.0.0.1", "https://app.test/health/ready")
INSIDE = "172.30.0.0/24"  # whence a request to the loopback address comes, as the proxy sees it


def head(host: Any, *more: str) -> str:
    return probe.output(host, *ASK, "-D", "-", *more).lower()


@pytest.fixture(scope="module", autouse=True)
def proxy() -> Iterator[None]:
    text, _figures, status = probe.playbook(*SITE)
    assert status == 0, text
    switch("-e", "state=off")  # on a VPS that was tried before
    yield
    text, _figures, status = probe.playbook("--tags", "caddy")  # without a site there is none
    assert status == 0, text


def switch(*more: str) -> dict[str, int]:
    text, figures, status = probe.playbook(*more, name=PLAYBOOK)
    assert status == 0, text
    return figures


def test_everybody_gets_the_page_without_a_new_container(host: Any) -> None:
    before = probe.identity(probe.containers(host)["caddy"])
    assert "http/2 200" in head(host)
    assert switch("-e", "state=on", "-e", "retry_after=120")["changed"] == 1
    for method in ("GET", "POST"):
        answer = head(host, "-X", method)
        assert "http/2 503" in answer and "retry-after: 120" in answer and "<h1>maintenance</h1>" in answer, answer
    assert probe.identity(probe.containers(host)["caddy"]) == before
    assert switch("-e", "state=on", "-e", "retry_after=120")["changed"] == 0


def test_it_outlives_a_restart_and_a_deploy_and_status_tells(host: Any) -> None:
    probe.output(host, "docker", "restart", "caddy")
    assert probe.eventually(lambda: "http/2 503" in host.run(" ".join(ASK) + " -D -").stdout.lower(), 30)
    text, _figures, status = probe.playbook(*SITE, "-e", "caddy_maintenance_retry_after=60")
    assert status == 0 and "http/2 503" in head(host), text
    text, _figures, status = probe.playbook(*SITE[2:], name="playbooks/status.yml")
    assert status == 0 and "maintenance: on since" in text, text


def test_some_see_the_application(host: Any) -> None:
    switch("-e", "state=on", "-e", f"allow=192.0.2.7,{INSIDE}")
    assert "http/2 200" in head(host)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("-e", "state=maybe"), "say state=on or state=off"),
        (("-e", "state=on", "-e", "allow=office"), "'office' is no address or network"),
        (("-e", "state=on", "-e", "allow=300.1.1.1"), "it was undone"),
    ],
)
def test_what_cannot_be_is_refused_and_all_stays(host: Any, arguments: tuple[str, ...], words: str) -> None:
    text, figures, status = probe.playbook(*arguments, name=PLAYBOOK)
    assert status != 0 and figures["changed"] == 0 and words in " ".join(text.split()), text
    assert "http/2 200" in head(host)


def test_off_is_off(host: Any) -> None:
    switch("-e", "state=on")
    assert "http/2 503" in head(host)
    assert switch("-e", "state=off")["changed"] == 1
    assert "http/2 200" in head(host)
    assert switch("-e", "state=off")["changed"] == 0
