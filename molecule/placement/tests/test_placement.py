"""One stack on three hosts: the site serves, all hosts are watched, nothing is open that should not be."""

from __future__ import annotations

import json
import re
import subprocess
import time
import urllib.parse
from typing import Any

import pytest
from testbed import probe, vps

HOSTS = ("web", "data", "watch")
SITE = "curl -sS -k --resolve app.landfall.test:443:127.0.0.1 -m 10"
LISTENS = re.compile(r"^LISTEN\s+\d+\s+\d+\s+(\S+):(\d+)\s", re.MULTILINE)
POLICY = 2 * 60 + 60  # seconds: HostDown's `for`, a scrape that has to fail first, two evaluations
JOB = {"tenant_id": "acme", "text": "Where is the printer?"}


def name(host: str) -> str:
    return f"molecule-placement-{host}"


def on(host: str, command: str) -> str:
    return vps.ssh(name(host), command)


def address(host: str) -> str:
    return (vps.HOME / name(host) / "address").read_text()


def targets(host: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = probe.prometheus(host, "targets", state="active")["activeTargets"]
    return found


def test_a_task_runs_through_the_edge_and_redis_on_the_host_of_data() -> None:
    made = json.loads(
        on("web", f"{SITE} -H 'Content-Type: application/json' -d '{json.dumps(JOB)}' "
                  "https://app.landfall.test/api/jobs/enhancement")
    )  # fmt: skip
    states: list[str] = []

    def done() -> bool:
        states.append(json.loads(on("web", f"{SITE} https://app.landfall.test/api/jobs/{made['id']}"))["status"])
        return states[-1] == "succeeded"

    assert probe.eventually(done, 60), states
    assert on("web", "sudo docker ps --format '{{.Names}}'").split().count("redis") == 0
    assert "redis" in on("data", "sudo docker ps --format '{{.Names}}'").split()


def test_grafana_is_reached_through_the_edge() -> None:
    site = SITE.replace("app.", "grafana.")
    assert json.loads(on("web", f"{site} https://grafana.landfall.test/api/health"))["database"] == "ok"


def test_every_target_of_every_host_is_up(host: Any, capsys: pytest.CaptureFixture[str]) -> None:
    def down() -> list[str]:
        return [f"{one['labels']['node']} {one['scrapeUrl']}: {one['lastError']}" for one in targets(host)
                if one["health"] != "up"]  # fmt: skip

    assert probe.eventually(lambda: not down(), 60) or down() == []
    found = targets(host)
    count = {node: sum(one["labels"]["node"] == node for one in found) for node in HOSTS}
    with capsys.disabled():
        print(f"\n    targets up: {count}")
    assert min(count.values()) >= 3 and sum(count.values()) == len(found)
    jobs = {(one["labels"]["node"], one["labels"]["job"]) for one in found}
    assert {("data", "redis-exporter"), ("web", "app"), ("web", "celery-search"), ("watch", "prometheus")} <= jobs
    assert {(node, job) for node in HOSTS for job in ("node-exporter", "cadvisor", "alloy")} <= jobs


def test_lines_of_every_container_of_every_host_are_in_loki(host: Any) -> None:
    def missing() -> list[tuple[str, str]]:
        since = str(int((time.time() - 3600) * 1e9))
        query = urllib.parse.urlencode({"match[]": '{source="docker"}', "start": since})
        have = json.loads(probe.get(host, f"http://127.0.0.1:3100/loki/api/v1/series?{query}"))["data"]
        there = {(one.get("node", ""), one["container"]) for one in have}
        wanted = {(node, one) for node in HOSTS for one in on(node, "sudo docker ps --format '{{.Names}}'").split()}
        return sorted(wanted - there)

    probe.eventually(lambda: not missing(), 60)
    assert missing() == []


def test_nothing_listens_but_for_the_other_hosts_ssh_and_the_proxy() -> None:
    for host in HOSTS:
        inside = on(host, "ip -4 -o addr show landfall 2>/dev/null || ip -4 -o addr | grep br-")
        bridges = re.findall(r"inet ([0-9.]+)/", inside)
        known = ("127.", "[::1]", address(host), *bridges)
        bare = {int(port) for where, port in LISTENS.findall(on(host, "ss -Hltn")) if not where.startswith(known)}
        assert bare == ({22, 80, 443} if host == "web" else {22}), host


def test_what_is_published_for_other_hosts_answers_them_and_asks_for_a_password() -> None:
    asked = f'python3 -c \'import socket; s = socket.create_connection(("{address("data")}", 6379), 5); \
s.sendall(b"PING\\r\\n"); print(s.recv(99).decode())\''
    assert "NOAUTH" in on("web", asked)


def test_a_host_that_is_lost_is_told_in_time(host: Any, capsys: pytest.CaptureFixture[str]) -> None:
    container = vps.container_of(name("data"))

    def fires() -> bool:
        alerts = probe.prometheus(host, "alerts")["alerts"]
        return [
            (one["labels"]["node"], one["state"]) for one in alerts if one["labels"]["alertname"] == "HostDown"
        ] == [("data", "firing")]

    begun = time.monotonic()
    subprocess.run(["docker", "pause", container], check=True, capture_output=True)
    try:
        told = probe.eventually(fires, POLICY + 30)
        took = time.monotonic() - begun
    finally:
        subprocess.run(["docker", "unpause", container], check=True, capture_output=True)
    with capsys.disabled():
        print(f"\n    HostDown after {took:.0f} s")
    assert told and took <= POLICY
    assert probe.eventually(lambda: all(one["health"] == "up" for one in targets(host)), 90)
