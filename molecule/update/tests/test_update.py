"""An update touches what it must and nothing else; the order of the tests is the order of an operator's day."""

from __future__ import annotations

from typing import Any

import pytest
from testbed import probe
from testbed.paths import ROOT

INTERVAL = ("--tags", "prometheus", "-e", "prometheus_scrape_interval=20s")
ROLES = sorted(path.parent.parent.name for path in ROOT.glob("roles/*/templates/compose.yaml.j2"))
MEMORY = ("--tags", "redis_exporter", "-e", "redis_exporter_memory=96m")


def identities(host: Any) -> dict[str, tuple[str, str, int]]:
    return {name: probe.identity(entry) for name, entry in probe.containers(host).items()}


def interval(host: Any) -> str:
    config: str = probe.prometheus(host, "status/config")["yaml"]
    return next(line.split()[-1] for line in config.splitlines() if "scrape_interval" in line)


def test_check_mode_says_what_would_change_and_changes_nothing(host: Any) -> None:
    before = identities(host)
    text, figures, status = probe.playbook(*INTERVAL, "--check", "--diff")
    assert status == 0 and figures["changed"] == 1, text
    assert "  prometheus  reload  no restart  change: prometheus/config/prometheus.yml" in text, text
    assert '-  scrape_interval: "15s"' in text and '+  scrape_interval: "20s"' in text, text
    assert identities(host) == before and interval(host) == "15s"


def test_a_changed_configuration_is_reloaded_without_a_restart(host: Any) -> None:
    before = identities(host)
    text, figures, status = probe.playbook(*INTERVAL)
    assert status == 0 and figures["changed"] == 1, text
    assert interval(host) == "20s"
    assert identities(host) == before
    text, figures, status = probe.playbook(*INTERVAL)
    assert status == 0 and figures["changed"] == 0, text


def test_a_changed_service_recreates_its_one_container_only(host: Any) -> None:
    before = identities(host)
    text, figures, status = probe.playbook(*MEMORY)
    assert status == 0 and figures["changed"] == 1, text
    after = identities(host)
    assert {name for name in before if before[name] != after.get(name)} == {"redis-exporter"}
    assert set(after) == set(before)
    assert probe.containers(host)["redis-exporter"]["HostConfig"]["Memory"] == 96 * 1024**2
    text, figures, status = probe.playbook(*MEMORY)
    assert status == 0 and figures["changed"] == 0, text


@pytest.mark.parametrize("role", ROLES)
def test_a_role_touches_its_own_containers_and_no_others(host: Any, role: str) -> None:
    own = {name for name, entry in probe.containers(host).items() if _component(entry) == role}
    if not own:
        pytest.skip(f"{role} is off unless the inventory asks for it")
    before = identities(host)
    text, figures, status = probe.playbook("--tags", role, "-e", f"{role}_memory=700m")
    assert status == 0 and figures["changed"] == 1, text
    after = identities(host)
    assert {name for name in before if before[name] != after.get(name)} <= own
    assert set(after) == set(before)
    limits = {probe.containers(host)[name]["HostConfig"]["Memory"] for name in own}
    assert 700 * 1024**2 in limits, limits


def _component(entry: probe.Inspect) -> str:
    """The folder below /opt/landfall that a container's compose file lies in."""
    return str(entry["Config"]["Labels"].get("com.docker.compose.project.working_dir", "")).rsplit("/", 1)[-1]


def test_targets_are_still_all_up(host: Any) -> None:
    def down() -> list[str]:
        targets = probe.prometheus(host, "targets")["activeTargets"]
        return [target["scrapeUrl"] for target in targets if target["health"] != "up"]

    assert probe.eventually(lambda: not down()), down()


def test_a_boolean_given_as_text_is_refused(host: Any) -> None:
    before = identities(host)
    text, figures, status = probe.playbook("--tags", "redis_exporter", "-e", "landfall_purge_volumes=false")
    assert status != 0 and figures["changed"] == 0, text
    assert "landfall_purge_volumes is the text 'false', not a boolean" in text
    assert identities(host) == before


def test_removing_a_component_removes_its_container_files_and_target(host: Any) -> None:
    before = identities(host)
    text, figures, status = probe.playbook("--tags", "redis_exporter", "-e", "redis_exporter_enabled=false")
    assert status == 0 and figures["changed"] == 1, text
    assert set(before) - set(identities(host)) == {"redis-exporter"}
    assert not host.file("/opt/landfall/redis_exporter/compose.yaml").exists

    def jobs() -> set[str]:
        return {target["labels"]["job"] for target in probe.prometheus(host, "targets")["activeTargets"]}

    assert probe.eventually(lambda: "redis-exporter" not in jobs()), jobs()
