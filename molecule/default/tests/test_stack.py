"""The deployed stack, seen from the VPS and not through the engine that deployed it."""

from __future__ import annotations

import json
import re
import statistics
import time
from typing import Any

import pytest
import yaml
from testbed import probe
from testbed.paths import ROOT

SECRETS = ROOT / ".cache/vps/molecule-default/secrets"
SCRAPED_ELSEWHERE = {"redis", "celery-beat"}  # by redis-exporter; by the application, from Redis
# Backups are off by default, and have a scenario of their own
OFF = {
    "backup",
    "postgres",
    "postgres_exporter",
}  # the reference application keeps SQLite here; scenario update has a server
PRIVILEGED = {"cadvisor"}  # CAD-01
WRITABLE: set[str] = set()


def roles() -> list[str]:
    """Return the components of site.yml that this scenario's inventory has, in their order."""
    play = yaml.safe_load((ROOT / "site.yml").read_text())[0]
    names = [task["ansible.builtin.import_role"]["name"] for task in play["tasks"]]
    return [n for n in names if n not in OFF and (ROOT / "roles" / n / "templates/compose.yaml.j2").is_file()]


def deployed(host: Any) -> list[str]:
    """Return the folders of all components on the VPS."""
    found = probe.output(host, "find", "/opt/landfall", "-mindepth", "2", "-maxdepth", "2", "-name", "compose.yaml")
    return sorted(path.split("/")[3] for path in found.split())


@pytest.fixture(scope="module")
def found(host: Any) -> dict[str, probe.Inspect]:
    return probe.containers(host)


def test_every_component_of_the_play_has_its_files_and_containers(host: Any, found: dict[str, probe.Inspect]) -> None:
    projects = {entry["Config"]["Labels"]["com.docker.compose.project"] for entry in found.values()}
    # Workers and beat are components of their own, <role>_<name>
    assert {name.split("_")[0] for name in projects} == {name.replace("_", "-") for name in roles()}
    assert {folder.replace("_", "-") for folder in deployed(host)} == {name.replace("_", "-") for name in projects}


def test_every_container_is_healthy_and_never_restarted(found: dict[str, probe.Inspect]) -> None:
    states = {
        name: (entry["State"].get("Health", {}).get("Status"), entry["RestartCount"]) for name, entry in found.items()
    }
    assert states and states == dict.fromkeys(found, ("healthy", 0))


def test_every_container_has_limits_rotation_restart_policy_and_little_power(found: dict[str, probe.Inspect]) -> None:
    faults = []
    for name, entry in found.items():
        settings = entry["HostConfig"]
        expected = {
            "memory limit": settings["Memory"] > 0,
            "CPU limit": settings["NanoCpus"] > 0,
            "restart policy": settings["RestartPolicy"]["Name"] == "unless-stopped",
            "log rotation": settings["LogConfig"]
            == {"Type": "json-file", "Config": {"max-file": "3", "max-size": "10m"}},
            "read-only root": settings["ReadonlyRootfs"] or name in WRITABLE,
            "dropped capabilities": settings["CapDrop"] == ["ALL"] or name in PRIVILEGED,
            "no new privileges": "no-new-privileges:true" in (settings["SecurityOpt"] or []) or name in PRIVILEGED,
            "not privileged": not settings["Privileged"] or name in PRIVILEGED,
            "healthcheck": "Healthcheck" in entry["Config"],
            "fixed tag": re.search(r":(?!latest$)[^:/]+$", entry["Config"]["Image"]) is not None,
            "own hostname": settings["NetworkMode"] == "host" or entry["Config"]["Hostname"] == name,
        }
        faults += [f"{name}: {what}" for what, well in expected.items() if not well]
    assert not faults


def test_plain_compose_accepts_every_file(host: Any) -> None:
    for folder in deployed(host):
        probe.output(host, "docker", "compose", "--project-directory", f"/opt/landfall/{folder}", "config", "--quiet")


def test_every_scraped_container_is_a_target_and_up(host: Any, found: dict[str, probe.Inspect]) -> None:
    def targets() -> dict[str, str]:
        active = probe.prometheus(host, "targets")["activeTargets"]
        return {target["labels"]["service"]: target["health"] for target in active if target["labels"].get("service")}

    expected = dict.fromkeys(set(found) - SCRAPED_ELSEWHERE, "up")
    assert probe.eventually(lambda: expected.items() <= targets().items()), targets()
    assert set(targets().values()) == {"up"}


def test_prometheus_runs_with_the_interval_and_retention_of_the_role(host: Any) -> None:
    config = yaml.safe_load(probe.prometheus(host, "status/config")["yaml"])
    assert (config["global"]["scrape_interval"], config["global"]["evaluation_interval"]) == ("15s", "15s")
    assert {"cluster", "environment"} <= set(config["global"]["external_labels"])
    assert probe.prometheus(host, "status/runtimeinfo")["storageRetention"] == "30d or 5GiB"


def test_prometheus_health_endpoint_answers_quickly(host: Any) -> None:
    took = []
    for _ in range(20):
        body = probe.get(host, "http://127.0.0.1:9090/-/healthy", "-w", "\n%{time_total}")
        text, seconds = body.rsplit("\n", 1)
        assert text.strip() == "Prometheus Server is Healthy."
        took.append(float(seconds))
    assert statistics.median(took) < 0.05, took  # one may wait for other work of a busy build machine


def test_prometheus_reaches_a_target_from_inside_its_container(host: Any) -> None:
    text = probe.output(host, "docker", "exec", "prometheus", "wget", "-qO-", "http://app:8000/metrics")
    assert "http_requests_total" in text


def test_a_ticket_is_counted_queued_and_enhanced(host: Any, found: dict[str, probe.Inspect]) -> None:
    address = found["app"]["NetworkSettings"]["Networks"]["landfall"]["IPAddress"]
    queued = 'sum(enhancement_requests_total{status="queued"})'
    done = 'sum(tasks_total{task_name="enhance",status="success"})'
    before = [probe.value(host, queued) or 0.0, probe.value(host, done) or 0.0]
    ticket = json.dumps({"tenant_id": "acme", "ticket_id": "T-1", "text": "The printer prints nothing but noise. " * 5})
    probe.get(host, f"http://{address}:8000/webhook/servicedesk", "-H", "Content-Type: application/json", "-d", ticket)

    def moved() -> bool:
        after = [probe.value(host, queued) or 0.0, probe.value(host, done) or 0.0]
        return all(new > old for new, old in zip(after, before))

    assert probe.eventually(moved, 90), (before, probe.value(host, queued), probe.value(host, done))


def test_nothing_but_ssh_and_the_proxy_listens_on_an_address_that_others_reach(host: Any) -> None:
    reachable = set()
    for line in probe.output(host, "ss", "-Htuln").splitlines():
        address, port = line.split()[4].rsplit(":", 1)
        if not re.match(r"127\.|\[::1\]|.*%lo$", address):
            reachable.add((address, port))
    # node-exporter, and the receiver of alerts that prepare.yml starts: on the gateway of the bridge only
    gateway = {(address, port) for address, port in reachable if port in ("9100", "9099")}
    assert {port for _address, port in reachable - gateway} == {"22", "80", "443"}
    assert gateway == {("172.30.0.1", "9100"), ("172.30.0.1", "9099")}


def test_secrets_are_in_files_of_their_owner_and_nowhere_else(host: Any, found: dict[str, probe.Inspect]) -> None:
    files = [path for path in SECRETS.rglob("*") if path.is_file() and not path.name.startswith(".")]
    values = {path.name: path.read_text().split()[0] for path in files}
    assert {"redis_password", "grafana_admin_password"} <= set(values), values.keys()
    places = {
        "docker inspect": json.dumps(found),
        "processes": probe.output(host, "sh", "-c", "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ | tr '\\0' '\\n'"),
        "logs": probe.output(host, "sh", "-c", "cat /var/lib/docker/containers/*/*-json.log; journalctl --no-pager"),
        "state": probe.output(host, "sh", "-c", "cat /opt/landfall/.state/*.json"),
    }
    leaks = {(place, name) for place, text in places.items() for name, value in values.items() if value in text}
    assert leaks == set()
    loose = probe.output(host, "find", "/opt/landfall", "-path", "*/secrets/*", "-type", "f", "!", "-perm", "0400")
    assert loose == ""


def test_everything_comes_back_by_itself_after_a_reboot(host: Any, found: dict[str, probe.Inspect]) -> None:
    host.run("systemctl --no-block reboot")
    time.sleep(5)

    def health() -> dict[str, str]:
        try:
            entries = probe.containers(host)
        except (AssertionError, RuntimeError, ValueError) as error:  # while neither sshd nor the engine answers
            return {"docker": str(error)}
        return {name: entry["State"].get("Health", {}).get("Status", "") for name, entry in entries.items()}

    expected = dict.fromkeys(found, "healthy")
    assert probe.eventually(lambda: health() == expected, 240), health()
    text, figures, status = probe.playbook("--skip-tags", "verify")
    assert status == 0 and figures["changed"] == 0, text
