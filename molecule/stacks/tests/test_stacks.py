"""A VPS that is not Landfall's alone: what is somebody else's stays as it is, and two stacks do not meet."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from testbed import probe

PLAY = "molecule/stacks/converge.yml"
FOREIGN = ("redis", "app-web-1")
OF_OTHERS = {"app_data", "prometheus-data", "redis-data"}
SECOND: dict[str, Any] = {
    "landfall_prefix": "b-",
    "landfall_subnet": "172.30.2.0/24",
    "prometheus_publish": ["127.0.0.1:19090:9090"],
}
OFF: dict[str, Any] = {f"{role}_enabled": False for role in ("redis", "redis_exporter", "node_exporter", "prometheus")}
CRASH: dict[str, Any] = {"prometheus_arguments": ["--no-such-flag"]}


def play(values: dict[str, Any], *argv: str) -> tuple[str, dict[str, int], int]:
    """Run the converge step with more variables; the text without its line breaks."""
    text, figures, status = probe.playbook("-e", json.dumps(values), *argv, name=PLAY)
    return " ".join(text.split()), figures, status


def volumes(host: Any) -> set[str]:
    return set(probe.output(host, "docker", "volume", "ls", "--quiet").split())


def identities(host: Any, prefix: str = "") -> dict[str, tuple[str, str, int]]:
    found = probe.containers(host)
    wanted = FOREIGN if not prefix else [name for name in found if name.startswith(prefix)]
    return {name: probe.identity(found[name]) for name in wanted}


def data(host: Any) -> list[str]:
    return [probe.output(host, "docker", "exec", name, "redis-cli", "get", "precious").strip() for name in FOREIGN]


@contextmanager
def untouched(host: Any) -> Iterator[None]:
    """What is done meanwhile leaves the foreign containers, volumes and data as they were."""
    before = identities(host)
    yield
    assert identities(host) == before
    assert volumes(host) >= OF_OTHERS and data(host) == list(FOREIGN)


def labels(host: Any, kind: str, name: str) -> dict[str, str]:
    form = "{{json .Config.Labels}}" if kind == "container" else "{{json .Labels}}"
    found: dict[str, str] = json.loads(probe.output(host, "docker", kind, "inspect", "--format", form, name))
    return found


def up(host: Any, port: int) -> dict[str, str]:
    """Target -> state, as the Prometheus that is published on a port tells."""
    answer = json.loads(probe.get(host, f"http://127.0.0.1:{port}/api/v1/targets?state=active"))["data"]
    return {one["scrapeUrl"].split("/")[2]: one["health"] for one in answer["activeTargets"]}


def all_up(host: Any, port: int, gateway: str) -> bool:
    wanted = dict.fromkeys(("prometheus:9090", "redis-exporter:9121", f"{gateway}:9100"), "up")
    return bool(probe.eventually(lambda: up(host, port) == wanted, 45))


def test_a_prefixed_stack_serves_beside_projects_of_the_same_names(host: Any) -> None:
    assert data(host) == list(FOREIGN)
    assert set(identities(host, "staging-")) == {
        f"staging-{name}" for name in ("redis", "redis-exporter", "node-exporter", "prometheus")
    }
    assert all_up(host, 9090, "172.30.1.129"), up(host, 9090)
    with untouched(host):
        text, figures, status = play({})
        assert status == 0 and figures["changed"] == 0, text


def test_all_that_the_stack_made_is_labelled(host: Any) -> None:
    for kind, name in (("container", "redis"), ("volume", "redis-data"), ("network", "landfall")):
        found = labels(host, kind, f"staging-{name}")
        assert found["org.landfall.stack"] == "staging-landfall", name
        assert kind == "network" or found["org.landfall.component"] == "redis"
    network = json.loads(probe.output(host, "docker", "network", "inspect", "staging-landfall"))[0]
    assert network["Options"]["com.docker.network.driver.mtu"] == "1400"
    assert network["IPAM"]["Config"][0]["Gateway"].split("/")[0] == "172.30.1.129"


def test_without_the_prefix_the_run_is_refused_before_anything_changes(host: Any) -> None:
    for more in ((), ("--check",)):
        with untouched(host):
            text, figures, status = play({"landfall_prefix": ""}, *more)
            assert status != 0 and figures["changed"] == 0, text
            assert "the Compose project redis (container redis) is there already" in text, text
            assert "belongs to the Compose project 'redis' in /srv/shop" in text and "landfall_prefix" in text
            assert "the volume prometheus-data is there already and belongs to somebody who made it by hand" in text
            assert not host.file("/opt/landfall").exists


def test_what_is_switched_off_leaves_what_others_have_of_its_name(host: Any) -> None:
    with untouched(host):
        text, figures, status = play(
            {"landfall_prefix": "", "landfall_subnet": "172.30.3.0/24", **OFF, "landfall_purge_volumes": True},
            "--tags",
            "redis",
        )
        assert status == 0 and figures["changed"] == 0, text


def test_two_stacks_live_beside_each_other_and_one_goes_without_the_other(host: Any) -> None:
    first, before = identities(host, "staging-"), volumes(host)
    with untouched(host):
        text, _figures, status = play(SECOND)
        assert status == 0, text
        assert all_up(host, 19090, "172.30.2.1") and all_up(host, 9090, "172.30.1.129")
        for values in (SECOND, {}):
            text, figures, status = play(values)
            assert status == 0 and figures["changed"] == 0, text
        # Same names and another root: whose they are is told by the label, where they came from by the folder
        text, figures, status = play({**SECOND, "landfall_root": "/opt/elsewhere"}, "--check")
        assert status != 0 and "the Landfall stack 'b-landfall' in /opt/b-landfall" in text, text
        assert volumes(host) - before == {"b-redis-data", "b-prometheus-data"}
        text, _figures, status = play({**SECOND, **OFF, "landfall_purge_volumes": True})
        assert status == 0 and "volume b-redis-data removed" in text, text
        assert volumes(host) == before and not identities(host, "b-")
        assert identities(host, "staging-") == first


def test_a_first_start_that_fails_takes_its_volume_with_it_unless_it_is_to_be_kept(host: Any) -> None:
    before = volumes(host)
    try:
        text, _figures, status = play({**SECOND, **CRASH}, "--tags", "prometheus")
        assert status != 0 and "with the volume b-prometheus-data that it had made" in text, text
        assert volumes(host) == before
        text, _figures, status = play({**SECOND, **CRASH, "landfall_keep_new_volumes": True}, "--tags", "prometheus")
        assert status != 0 and "b-prometheus-data that it had made kept" in text, text
        assert volumes(host) - before == {"b-prometheus-data"}
        # Made by an earlier start, and so not this one's to remove
        text, _figures, status = play({**SECOND, **CRASH}, "--tags", "prometheus")
        assert status != 0 and "its volumes kept" in text and "b-prometheus-data" in volumes(host), text
    finally:
        host.run("docker volume rm b-prometheus-data")


def test_somebody_s_container_in_a_project_of_ours_stays_when_the_component_goes(host: Any) -> None:
    image = probe.containers(host)["redis"]["Config"]["Image"]
    label = "com.docker.compose.project=staging-redis-exporter"
    probe.output(host, "docker", "run", "--detach", "--name", "guest", "--label", label, image)
    try:
        for argv in (("--tags", "redis_exporter"), ()):
            text, figures, status = play({}, *argv)
            assert status != 0 and figures["changed"] == 0, text
            assert "the Compose project staging-redis-exporter (container guest) is there already" in text, text
        text, _figures, status = play({"redis_exporter_enabled": False}, "--tags", "redis_exporter")
        found = probe.containers(host)
        assert status == 0 and "staging-redis-exporter" not in found, text
        assert found["guest"]["State"]["Running"]
        text, figures, status = play({"redis_exporter_enabled": False}, "--tags", "redis_exporter")
        assert status == 0 and figures["changed"] == 0, text
    finally:
        probe.output(host, "docker", "rm", "--force", "guest")
    text, _figures, status = play({})
    assert status == 0 and all_up(host, 9090, "172.30.1.129"), text
