"""One stack's names on the VPS: labels, the prefix that lets two stacks live side by side, and the network."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible_collections.landfall.vps.plugins.plugin_utils import claims, render, session, stack

from tests import rolekit

PREFIX = "staging-"
NETWORK = {"landfall": {"subnet": "10.9.8.0/24", "gateway": "10.9.8.254"}}


@pytest.mark.parametrize("role", rolekit.component_names())
def test_everything_carries_labels_by_which_its_stack_is_known(role: str, tmp_path: Path) -> None:
    for rendered in rolekit.components(role, tmp_path, **rolekit.OPTIONAL.get(role, {})):
        component = rendered.desired.name
        for name, service in rolekit.services(rendered):
            labels = service["labels"]
            assert labels["org.landfall.stack"] == "landfall" and labels["org.landfall.component"] == component, name
            # The image's and not Landfall's own, so that an upgrade of Landfall recreates nothing by it
            assert labels["org.landfall.version"] == service["image"].rsplit(":", 1)[1], name
        assert rendered.desired.meta["stack"] == "landfall"
        member = component.startswith(role + "-")
        project = component.replace(role + "-", role + "_") if member else component.replace("_", "-")
        assert rendered.desired.meta["project"] == project == rolekit.compose(rendered)["name"]


@pytest.mark.parametrize("role", rolekit.component_names())
def test_a_prefix_is_on_all_names_outside_and_on_none_inside(role: str, tmp_path: Path) -> None:
    plain = rolekit.deployed(role, tmp_path)
    prefixed = rolekit.deployed(role, tmp_path, landfall_prefix=PREFIX)
    before, after = rolekit.compose(plain), rolekit.compose(prefixed)
    assert after["name"] == PREFIX + before["name"]
    assert list(after["services"]) == list(before["services"]), "what others in the network call it"
    for name, service in after["services"].items():
        old = before["services"][name]
        assert service["container_name"] == PREFIX + old["container_name"]
        assert service.get("hostname") == old.get("hostname")
        assert service["labels"]["org.landfall.stack"] == "staging-landfall"
        if "networks" in service:
            assert set(service["networks"]) == {"staging-landfall"}
    assert [v["name"] for v in (after.get("volumes") or {}).values()] == [
        PREFIX + v["name"] for v in (before.get("volumes") or {}).values()
    ]
    assert prefixed.desired.meta["volumes"] == [PREFIX + name for name in plain.desired.meta["volumes"]]
    assert set(prefixed.desired.containers) == {PREFIX + name for name in plain.desired.containers}
    assert prefixed.desired.meta["targets"] == plain.desired.meta["targets"]
    assert prefixed.desired.meta["check"] == plain.desired.meta["check"], "checkers look into the compose file"
    for item in prefixed.desired.meta["prove"]:
        assert item["service"] in prefixed.desired.containers, "probes ask the engine for containers"
        assert item.get("host", "gateway") in {"gateway", *prefixed.desired.containers}
    inside = [path for path in plain.contents if re.match(r"[a-z_]+/(config|secrets)/", path)]
    for path in inside:
        # They say which stack's logs are read, and where what is backed up lies
        if path not in ("alloy/config/config.alloy", "backup/config/settings.json"):
            assert plain.contents[path] == prefixed.contents[path], path


def test_the_rules_of_presence_know_containers_as_cadvisor_does(tmp_path: Path) -> None:
    rendered = rolekit.component("redis", tmp_path, landfall_prefix=PREFIX)
    text = rolekit.text(rendered, "prometheus/rules.d/redis--presence.yml")
    assert 'container_last_seen{name="staging-redis"' in text and 'name="redis"' not in text
    exporter = rolekit.component("redis_exporter", tmp_path, landfall_prefix=PREFIX)
    assert 'up{job="redis-exporter"' in rolekit.text(exporter, "prometheus/rules.d/redis-exporter--presence.yml")
    proof = rolekit.component("cadvisor", tmp_path, landfall_prefix=PREFIX).desired.meta["prove"]
    assert any(item.get("contains") == 'name="staging-cadvisor"' for item in proof)


@pytest.mark.parametrize("prefix", ["", PREFIX])
def test_alloy_reads_the_logs_of_its_own_stack_and_of_what_no_stack_made(prefix: str, tmp_path: Path) -> None:
    text = rolekit.text(rolekit.component("alloy", tmp_path, landfall_prefix=prefix), "alloy/config/config.alloy")
    rule = re.search(r'container_label_org_landfall_stack"\]\n +regex += "(.*)"\n +action += "keep"', text)
    assert rule
    kept = [name for name in ("", "landfall", "staging-landfall", "x-landfall") if re.fullmatch(rule.group(1), name)]
    assert kept == ["", f"{prefix}landfall"]


def test_root_and_network_follow_the_prefix_and_external_volumes_do_not(tmp_path: Path) -> None:
    values = rolekit.inventory(tmp_path, landfall_prefix=PREFIX)
    assert rolekit.template(values["landfall_root"], values) == "/opt/staging-landfall"
    assert rolekit.template(values["landfall_network"], values) == "staging-landfall"
    rendered = rolekit.component("redis", tmp_path, landfall_prefix=PREFIX, landfall_external_volumes=["redis-data"])
    assert rolekit.compose(rendered)["volumes"] == {"redis-data": {"external": True, "name": "redis-data"}}
    assert rendered.desired.meta["volumes"] == [], "neither made nor removed"


@pytest.mark.parametrize(
    ("subnet", "networks", "address"),
    [
        ("172.30.0.0/24", {}, "172.30.0.1"),
        ("172.30.0.128/25", {}, "172.30.0.129"),
        ("10.0.4.0/22", {}, "10.0.4.1"),
        ("172.30.0.0/24", NETWORK, "10.9.8.254"),
        ("", {}, ""),
    ],
)
def test_the_gateway_is_the_one_that_the_network_has_or_will_have(
    subnet: str, networks: dict[str, Any], address: str, tmp_path: Path
) -> None:
    assert stack.gateway(subnet, networks, "landfall") == address
    facts = session.as_fact({"networks": networks})
    values = rolekit.inventory(tmp_path, landfall_subnet=subnet, ansible_facts=facts)
    assert rolekit.template(values["landfall_gateway"], values) == address
    if address:
        rendered = rolekit.component("node_exporter", tmp_path, landfall_subnet=subnet, ansible_facts=facts)
        assert f"--web.listen-address={address}:9100" in rolekit.text(rendered, "node_exporter/compose.yaml")
        assert rendered.desired.meta["targets"][0]["targets"] == [f"{address}:9100"]


def test_node_exporter_does_not_listen_everywhere_for_want_of_a_subnet(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="landfall_subnet: is empty"):
        rolekit.component("node_exporter", tmp_path, landfall_subnet="")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"landfall_prefix": "Staging"}, "landfall_prefix: 'Staging' cannot begin names"),
        ({"landfall_prefix": "-a"}, "landfall_prefix"),
        ({"landfall_prefix": "a_b"}, "landfall_prefix"),
        ({"landfall_prefix": "a.b"}, "landfall_prefix"),
        ({"landfall_prefix": "a b"}, "landfall_prefix"),
        ({"landfall_prefix": "../x"}, "landfall_prefix"),
        ({"landfall_prefix": "ä"}, "landfall_prefix"),
        ({"landfall_prefix": "a\n"}, "landfall_prefix"),
        ({"landfall_prefix": "a" * 24}, "landfall_prefix"),
        ({"landfall_subnet": "172.30.0.5/24"}, "write 172.30.0.0/24"),
        ({"landfall_subnet": "172.30.0.0"}, "has no room"),
        ({"landfall_subnet": "172.30.0.0/31"}, "has no room"),
        ({"landfall_subnet": "fd00::/64"}, "is no range of IPv4"),
        ({"landfall_subnet": "here"}, "is no range of IPv4"),
        ({"landfall_subnet": "10.0.0.0/24", "landfall_gateway": "10.0.1.1"}, "landfall_gateway: '10.0.1.1'"),
        ({"landfall_subnet": "10.0.0.0/24", "landfall_gateway": "10.0.0.255"}, "landfall_gateway"),
        ({"landfall_mtu": 100}, "landfall_mtu: 100"),
        ({"landfall_mtu": "1450b"}, "landfall_mtu: 1450b"),
    ],
)
def test_what_cannot_be_a_name_or_a_network_is_refused_by_its_variable(value: dict[str, Any], said: str) -> None:
    faults = stack.faults(value)
    assert len(faults) == 1 and said in faults[0]


@pytest.mark.parametrize("prefix", ["", "staging-", "s", "2024-", "a" * 23])
def test_what_can_be_a_prefix_is_taken(prefix: str) -> None:
    assert stack.faults({"landfall_prefix": prefix, "landfall_subnet": "172.30.0.128/25", "landfall_mtu": 1450}) == []


def test_a_volume_that_compose_would_make_is_refused_while_rendering(tmp_path: Path) -> None:
    role = tmp_path / "roles" / "own"
    (role / "templates").mkdir(parents=True)
    text = "services: {own: {image: 'x:1'}}\nvolumes: {data: {}}\n"
    (role / "templates" / "compose.yaml.j2").write_text(text)
    with pytest.raises(Exception, match=r"lets Compose make the volume data; list it with service\.volumes"):
        render.names_in(*render.rendered_compose("own", str(role), lambda *_a: text), ())


def wanted(state: dict[str, Any], tmp_path: Path, **more: Any) -> list[str]:
    """What the first task of a run over all roles tells of a VPS in this state."""
    variables = rolekit.inventory(tmp_path, **more)
    templar = Templar(loader=DataLoader(), variables=variables)
    whole = stack.read(
        lambda name, default: rolekit.template(variables[name], variables) if name in variables else default
    )
    empty = {"root": "/opt/landfall", "been_here": False, "deployed_before": [], "homes": [], "records": {}}
    world = {**empty, "containers": {}, "volumes": {}, "networks": {}, **state}
    roles = rolekit.role_names()
    return claims.clashes(world, whole, str(rolekit.ROLES), roles, templar, DataLoader(), variables)


THEIRS = {"project": "shop", "working_dir": "/srv/shop", "stack": "", "config_hash": "h"}
MANY: dict[str, Any] = {
    "containers": {"celery-beat": THEIRS, "shop-1": {**THEIRS, "project": "app"}, "else": THEIRS},
    "volumes": {"grafana-data": {"stack": "", "project": "", "key": ""}},
}


def test_all_that_somebody_else_has_is_told_before_the_first_component(tmp_path: Path) -> None:
    told = wanted(MANY, tmp_path)
    assert sorted(fault.split(" is there")[0] for fault in told) == [
        "the Compose project app (container shop-1)",
        "the container celery-beat",
        "the volume grafana-data",
    ]
    assert wanted(MANY, tmp_path, landfall_prefix=PREFIX) == []


def test_components_that_are_off_want_nothing(tmp_path: Path) -> None:
    off = {f"{role}_enabled": False for role in ("app", "celery", "grafana")}
    assert wanted(MANY, tmp_path, **off) == []
    assert wanted(MANY, tmp_path, **{**off, "grafana_enabled": "false"}) == []


def test_a_compose_file_that_does_not_render_still_has_its_role_s_name(tmp_path: Path) -> None:
    told = wanted({"containers": {"redis": THEIRS}}, tmp_path, redis_maxmemory="10g")
    assert [fault.split(" is there")[0] for fault in told] == ["the container redis"]
