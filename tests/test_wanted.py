"""What the preflight expects of a VPS is what the roles really render: ports, images, memory, CPUs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Dict, List, Set, Tuple

import pytest
import yaml
from ansible.module_utils.parsing.convert_bool import boolean
from ansible_collections.landfall.vps.plugins.module_utils.surroundings import SYSCTLS
from ansible_collections.landfall.vps.plugins.module_utils.units import size
from ansible_collections.landfall.vps.plugins.plugin_utils.neighbours import visitor_notes
from ansible_collections.landfall.vps.plugins.plugin_utils.preflight import PROFILES
from ansible_collections.landfall.vps.plugins.plugin_utils.wanted import Wanted, selected, wanted

from tests import rolekit

PUBLISHED = {
    f"{role}_publish": [f"127.0.0.1:{7000 + n}:{7000 + n}"] for n, role in enumerate(rolekit.component_names())
}
SHOP: Dict[str, Any] = {
    "app_services": [
        {"name": "web", "image": "ghcr.io/shop/web:1.2", "port": 80, "health": "/", "replicas": 3,
         "limits": {"memory": "1g", "cpus": 2}},
        {"name": "hook", "image": "ghcr.io/shop/hook:1", "port": 81, "health": "/",
         "publish": ["8081:81", "53:53/udp"]},
    ],
    "celery_service": "web",
    "celery_app": "shop.worker",
    "celery_workers": [{"name": "slow", "queues": ["slow"], "memory": "2g"}],
    "celery_beat_enabled": False,
}  # fmt: skip
INVENTORIES = {
    "defaults": {},
    "everything": {key: value for more in rolekit.OPTIONAL.values() for key, value in more.items()},
    "small": {"landfall_profile": "small"},
    "published": {k: v for k, v in PUBLISHED.items() if k not in ("node_exporter_publish", "celery_publish")},
    "bridge": {"node_exporter_network": "bridge", "node_exporter_publish": ["9100:9100"]},
    "shop": SHOP,
}


def enabled(secrets: Path, more: Dict[str, Any]) -> Dict[str, Dict[str, Any]]:
    """Values of the roles that an inventory leaves on, as the task that reads the VPS has them."""
    variables = rolekit.inventory(secrets, **more)
    found = {}
    for role in rolekit.component_names():
        here = {**variables, "role_path": str(rolekit.ROLES / role)}
        values = {name: rolekit.template(here[name], here) for name in rolekit.options(role) if name in here}
        if boolean(values.get(f"{role}_enabled", True), strict=False):
            found[role] = values
    return found


def rendered(secrets: Path, roles: Any, more: Dict[str, Any]) -> List[Tuple[str, Dict[str, Any]]]:
    return [service for role in roles for service in rolekit.services(rolekit.component(role, secrets, **more))]


def port_set(found: Wanted) -> Set[Tuple[str, int, str]]:
    return {(port.address, port.port, port.protocol) for port in found.ports}


@pytest.fixture(scope="module", params=sorted(INVENTORIES))
def both(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Tuple[Wanted, List[Tuple[str, Dict[str, Any]]]]:
    """(what is wanted, services that are rendered) of one inventory."""
    more = INVENTORIES[request.param]
    secrets = tmp_path_factory.mktemp("secrets")
    values = enabled(secrets, more)
    return wanted(values, list(values)), rendered(secrets, values, more)


Both = Tuple[Wanted, List[Tuple[str, Dict[str, Any]]]]


def test_published_ports_are_those_that_are_rendered(both: Both) -> None:
    found, services = both
    expected = set()
    for _name, service in services:
        for text in service.get("ports") or []:
            place, _slash, protocol = text.partition("/")
            address, port, _inner = (["", *place.split(":")])[-3:]
            expected.add((address, int(port), protocol or "tcp"))
    assert {port for port in port_set(found) if port[0] != "gateway"} == expected


def test_who_shares_the_hosts_network_says_where_it_listens(both: Both) -> None:
    found, services = both
    hosted = {name for name, service in services if service.get("network_mode") == "host"}
    listens = {
        port.variable.partition("_listens[")[0].replace("_", "-") for port in found.ports if "_listens" in port.variable
    }
    assert listens == hosted


def test_images_are_those_that_are_rendered(both: Both) -> None:
    found, services = both
    assert set(found.images) == {service["image"] for _name, service in services}


def test_memory_is_that_of_all_containers(both: Both) -> None:
    found, services = both
    assert sum(found.memory.values()) == sum(size(str(service["mem_limit"])) for _name, service in services)


def test_cpus_are_those_that_are_rendered(both: Both) -> None:
    found, services = both
    assert set(found.cpus.values()) == {float(service["cpus"]) for _name, service in services}


def test_the_advice_about_visitors_by_ipv6_can_be_followed(tmp_path: Path) -> None:
    state = {"network": {"ipv6": ["2a01:4f8::1 on eth0"]}}
    sites = {"caddy_app_host": "app.example.org"}
    for publish, told in ((["80:80"], 1), (["0.0.0.0:80:80", "0.0.0.0:443:443"], 0), (["[::]:80:80"], 1)):
        values = enabled(tmp_path, {**sites, "caddy_publish": publish})
        assert len(visitor_notes(state, wanted(values, ["caddy"]))) == told, publish


def test_variables_are_named_as_an_inventory_has_them(tmp_path: Path) -> None:
    values = enabled(tmp_path, {"app_publish": ["8000:8000"]})
    found = wanted(values, list(values))
    assert [port.variable for port in found.ports if port.port == 8000] == ["app_publish[0]"]
    assert {"app_memory", "app_cpus", "celery_memory", "celery_beat_memory"} <= {*found.memory, *found.cpus}
    assert found.images[values["app"]["app_image"]] == "app_image"
    shop = enabled(tmp_path, SHOP)
    found = wanted(shop, list(shop))
    assert found.memory["app_services[0].limits.memory"] == 3 * 2**30
    assert found.images["ghcr.io/shop/web:1.2"] == "app_services[0].image"


def test_only_what_the_tags_select_brings_ports_and_images(tmp_path: Path) -> None:
    values = enabled(tmp_path, {})
    roles = ["landfall", *values]
    chosen = [role for role in roles if selected(role, roles, ["redis", "verify"], [])]
    found = wanted(values, chosen)
    assert list(found.images) == [values["redis"]["redis_image"]] and port_set(found) == set()
    assert found.memory == wanted(values, roles).memory, "memory is that of all that runs"
    assert selected("redis", roles, ["all"], []) and selected("redis", roles, ["some-tag"], [])
    assert not selected("redis", roles, ["all"], ["redis"])


def test_values_of_wrong_types_are_left_to_who_checks_them() -> None:
    values: Dict[str, Any] = {
        "app_services": [None, "x", {"limits": 5, "memory": [], "publish": "80:80", "replicas": "many", "image": None}],
        "app_publish": {"a": 1},
        "app_cpus": "many",
        "app_memory": None,
        "app_host_sysctls": "x",
        "app_image": "",
    }
    found = wanted({"app": values}, ["app"])
    assert found.ports == () and found.images == {} and found.sysctls == {}


def test_all_kernel_settings_that_roles_want_are_read(tmp_path: Path) -> None:
    values = enabled(tmp_path, INVENTORIES["everything"])
    asked = {name for one in wanted(values, list(values)).sysctls.values() for name in one}
    assert asked and asked <= set(SYSCTLS)


def test_profiles_are_for_a_vps_of_the_documented_size() -> None:
    spec = rolekit.options("landfall")["landfall_profile"]
    assert sorted(PROFILES) == sorted(spec["choices"])
    page = (rolekit.ROOT / "docs" / "profiles.md").read_text(encoding="utf-8")
    (row,) = re.findall(r"^\| for a VPS with \|(.*)\|$", page, re.MULTILINE)
    (heads,) = re.findall(r"^\| \| (small .*) \|$", page, re.MULTILINE)
    assert dict(zip(heads.split(" | "), [int(cell.split()[0]) for cell in row.split("|")])) == PROFILES


def test_every_service_keeps_its_logs_where_alloy_reads_them(tmp_path: Path) -> None:
    """Whatever the engine's own log driver is (journald, local): it would leave nothing to read."""
    more = INVENTORIES["everything"]
    services = rendered(tmp_path, enabled(tmp_path, more), more)
    assert len(services) > 15
    for name, service in services:
        assert service["logging"]["driver"] == "json-file", yaml.safe_dump({name: service})
