"""What an operator runs: verify finds all well, finds what is not, and status tells without judging."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from testbed import probe


def start(host: Any, name: str) -> None:
    """Start a container again and wait until it is healthy, as the tests after these expect all to be."""
    probe.output(host, "docker", "start", name)
    assert probe.eventually(lambda: probe.containers(host)[name]["State"]["Health"]["Status"] == "healthy", 90)


def test_verify_passes_and_tells_what_it_saw(host: Any, capsys: pytest.CaptureFixture[str]) -> None:
    text, figures, status = probe.playbook(name="playbooks/verify.yml")
    told = [line.strip() for line in text.splitlines() if line.startswith("  ")]
    with capsys.disabled():
        sys.stdout.write("".join(f"\n    {line}" for line in told))
    assert status == 0, text
    assert (figures["changed"], figures["failed"]) == (0, 0)
    containers = len(probe.containers(host))
    for line in (
        f"logs in loki: containers {containers}, found {containers}, quiet for a day 0",
        "loki retention: 720h",
        "alerts arrive: yes",
        "test alert: told to ops, pager",
        "last backup: no backup is set up",
    ):
        assert line in told


def test_verify_finds_lines_that_do_not_arrive_and_receivers_that_do_not_answer(host: Any) -> None:
    probe.output(host, "systemctl", "stop", "alert-receiver")
    probe.output(host, "docker", "stop", "alloy")
    probe.output(host, "docker", "restart", "cadvisor")  # writes a line that nobody collects
    try:
        text, figures, status = probe.playbook("-e", "verify_timeout=8", name="playbooks/verify.yml")
    finally:
        probe.output(host, "systemctl", "start", "alert-receiver")
        start(host, "alloy")
    assert (status, figures["failed"]) == (2, 1)
    for words in (
        "- alloy: is exited",
        "- logs of cadvisor: loki does not have the line",
        "requests to receivers failed",
        "-> docker logs alloy",
    ):
        assert words in text, text


def test_status_tells_and_fails_nothing(host: Any, capsys: pytest.CaptureFixture[str]) -> None:
    folder = "/opt/landfall/node_exporter/textfile.d"
    report = f"echo landfall_backup_last_success_timestamp_seconds $(($(date +%s) - 7260)) > {folder}/backup.prom"
    probe.output(host, "sh", "-c", report)
    probe.output(host, "docker", "stop", "alloy")
    try:
        text, figures, status = probe.playbook(name="playbooks/status.yml")
    finally:
        start(host, "alloy")
        probe.output(host, "rm", f"{folder}/backup.prom")
    assert (status, figures["changed"], figures["failed"]) == (0, 0, 0), text
    rows = {line.split()[0]: line.split() for line in text.splitlines() if line.startswith("  ") and line.split()}
    assert rows["component"] == ["component", "health", "targets", "version", "seconds"]
    assert rows["alloy"][1] == "exited"
    assert rows["prometheus"][1:4] == ["healthy", "1/1", "up"]
    assert "last backup: 2 h 1 m ago" in text
    assert "firing alerts: " in text
    assert "GB free" in text
    begin = text.index("disk: what has a bound comes to ")
    with capsys.disabled():
        sys.stdout.write("\n" + text[begin : text.index("\n\n", begin)])
    assert rows["metrics"][:4] == ["metrics", "of", "prometheus", "6.7"]
    assert "logs of loki  " in text and "by time alone" in text
    assert "- alloy: is exited" in text
