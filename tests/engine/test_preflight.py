"""Who has what the stack wants, and what the VPS cannot do: each kind, with the words that name cause and remedy."""

from __future__ import annotations

import copy
import ipaddress
import itertools
import socket
from typing import Any

import pytest
from ansible_collections.landfall.vps.plugins.plugin_utils import neighbours, preflight
from ansible_collections.landfall.vps.plugins.plugin_utils.wanted import Port, Wanted
from hypothesis import given
from hypothesis import strategies as st

ALL = "0.0.0.0"  # noqa: S104 - compared, not bound
SETTINGS = {"stack": "landfall", "network": "landfall", "subnet": "172.30.0.0/24", "profile": "standard"}
STATE: dict[str, Any] = {
    "root": "/opt/landfall",
    "been_here": True,
    "homes": [],
    "host": {
        "architecture": "x86_64",
        "cpus": 2,
        "memory_bytes": 2_000_000_000,
        "disks": [
            {"path": "/var/lib/docker", "holds": ["data", "images", "files"], "free": 10**11, "read_only": False}
        ],
        "sysctls": {"vm.overcommit_memory": "1"},
    },
    "containers": {},
    "images": {},
    "networks": {},
    "records": {},
    "engine": {"installed": True, "running": True, "setup": {"architecture": "x86_64", "cpus": 2, "daemon": {}}},
    "network": {"routes": [], "listeners": [], "ufw": None},
}


def state(**parts: Any) -> dict[str, Any]:
    """STATE with parts of it replaced: ``a__b=value`` is state["a"]["b"]."""
    result = copy.deepcopy(STATE)
    for name, value in parts.items():
        *place, last = name.split("__")
        target = result
        for step in place:
            target = target[step]
        target[last] = value
    return result


def listener(port: int, address: str = ALL, protocol: str = "tcp", **more: Any) -> dict[str, Any]:
    base = {"protocol": protocol, "address": address, "port": port, "pid": 7, "program": "nginx", "container": ""}
    return {**base, **more}


def container(name: str, folder: str, *ports: str, **more: Any) -> dict[str, Any]:
    return {
        "id": name * 4,
        "working_dir": folder,
        "ports": list(ports),
        "project": name,
        "state": "running",
        "stack": "",
        **more,
    }


WEB = Wanted(ports=(Port("caddy_publish[0]", "", 80, "tcp"), Port("caddy_publish[1]", "", 443, "udp")))
OWN = Wanted(ports=(Port("prometheus_publish[0]", "127.0.0.1", 9090, "tcp"),))
NODE = Wanted(ports=(Port("node_exporter_listens[0]", "gateway", 9100, "tcp"),))


def ports(wanted: Wanted, **parts: Any) -> str:
    return "\n".join(neighbours.port_faults(state(**parts), wanted, SETTINGS))


def test_an_idle_vps_has_neither_faults_nor_notes() -> None:
    assert preflight.look(state(), WEB, SETTINGS, 400_000_000, 10**9) == ([], [])


# -- ports ------------------------------------------------------------------------------------------------------------


def test_a_process_on_a_published_port_is_named_with_its_variable() -> None:
    found = ports(WEB, network__listeners=[listener(80)])
    assert "caddy_publish[0]: port 80/tcp of the VPS is taken by nginx (pid 7) on 0.0.0.0:80" in found
    assert "443" not in found


def test_protocols_are_apart() -> None:
    assert ports(WEB, network__listeners=[listener(443)]) == ""
    assert "port 443/udp" in ports(WEB, network__listeners=[listener(443, protocol="udp")])
    assert ports(WEB, network__listeners=[listener(80, protocol="udp")]) == ""


def test_addresses_that_do_not_meet_do_not_clash() -> None:
    assert ports(OWN, network__listeners=[listener(9090, "192.168.1.5")]) == ""
    assert ports(OWN, network__listeners=[listener(9090, "::1")]) == ""
    for address in ("127.0.0.1", ALL, "::"):
        assert "nginx (pid 7)" in ports(OWN, network__listeners=[listener(9090, address)])
    assert "[::1]:80" in ports(WEB, network__listeners=[listener(80, "::1")])


def test_a_host_network_port_is_asked_for_at_the_gateway() -> None:
    assert ports(NODE, network__listeners=[listener(9100, "127.0.0.1")]) == ""
    assert "nginx" in ports(NODE, network__listeners=[listener(9100, "172.30.0.1")])
    there = {"landfall": {"subnet": "10.9.0.0/24", "gateway": "10.9.0.254"}}
    assert ports(NODE, networks=there, network__listeners=[listener(9100, "172.30.0.1")]) == ""
    assert "nginx" in ports(NODE, networks=there, network__listeners=[listener(9100, "10.9.0.254")])


def test_a_socket_unit_is_said_to_be_one() -> None:
    assert "systemctl list-sockets" in ports(OWN, network__listeners=[listener(9090, pid=1, program="systemd")])
    assert "could not be found" in ports(OWN, network__listeners=[listener(9090, pid=0, program="")])


PROXY = listener(80, pid=99, program="docker-proxy")


def test_our_own_containers_are_no_strangers() -> None:
    own = {"caddy": container("caddy", "/opt/landfall/caddy", "0.0.0.0:80/tcp", ":::80/tcp")}
    assert ports(WEB, containers=own, network__listeners=[PROXY, {**PROXY, "address": "::"}]) == ""
    # with the userland proxy off nobody listens, or dockerd does
    assert ports(WEB, containers=own) == ""
    assert ports(WEB, containers=own, network__listeners=[{**PROXY, "program": "dockerd"}]) == ""
    node = {"node-exporter": container("node-exporter", "/opt/landfall/node_exporter")}
    inside = listener(9100, "172.30.0.1", program="node_exporter", container=node["node-exporter"]["id"])
    assert ports(NODE, containers=node, network__listeners=[inside]) == ""


def test_a_container_of_before_the_label_is_known_by_its_record() -> None:
    old = {"caddy": {**container("caddy", "", "0.0.0.0:80/tcp"), "config_hash": "h"}}
    record = {"caddy": {"containers": {"caddy": {"config_hash": "h"}}}}
    assert ports(WEB, containers=old, records=record, network__listeners=[PROXY]) == ""
    other = {"caddy": {"containers": {"caddy": {"config_hash": "another"}}}}
    assert "the container caddy" in ports(WEB, containers=old, records=other, network__listeners=[PROXY])


def test_foreign_containers_are_named_once_with_whose_they_are() -> None:
    foreign = {"web": container("web", "/srv/shop", "0.0.0.0:80/tcp", ":::80/tcp")}
    found = ports(WEB, containers=foreign, network__listeners=[PROXY])
    assert found.count("the container web of the Compose project 'web'") == 1 and "docker-proxy" not in found
    by_hand = {"web": {**foreign["web"], "working_dir": "", "project": None}}
    assert "the container web of somebody who made it by hand" in ports(WEB, containers=by_hand)
    hosted = {"web": container("web", "/srv/shop")}
    inside = listener(80, program="httpd", container=hosted["web"]["id"])
    assert "the container web of the Compose project" in ports(WEB, containers=hosted, network__listeners=[inside])


def test_another_landfall_stack_is_named_as_such() -> None:
    labelled = {
        "staging-caddy": container("staging-caddy", "/opt/staging/caddy", "0.0.0.0:80/tcp", stack="staging-landfall")
    }
    assert "the container staging-caddy of the Landfall stack 'staging-landfall' in /opt/staging" in ports(
        WEB, containers=labelled
    )
    own = {"caddy": container("caddy", "/opt/landfall/caddy", "0.0.0.0:80/tcp", stack="landfall")}
    assert ports(WEB, containers=own) == ""


ADDRESSES = (ALL, "127.0.0.1", "127.0.0.2", "::", "::1")


def _binds(first: str, second: str) -> bool:
    """Whether this kernel lets two sockets listen at one port of these addresses."""
    kinds = [socket.AF_INET6 if ":" in address else socket.AF_INET for address in (first, second)]
    with socket.socket(kinds[0]) as one, socket.socket(kinds[1]) as two:
        one.bind((first, 0))
        one.listen()
        try:
            two.bind((second, one.getsockname()[1]))
            two.listen()
        except OSError:
            return False
    return True


@pytest.mark.parametrize(("bound", "wanted"), list(itertools.product(ADDRESSES, ("127.0.0.1", "127.0.0.2", "::1"))))
def test_clashes_are_those_of_the_kernel(bound: str, wanted: str) -> None:
    try:
        free = _binds(bound, wanted)
    except OSError as error:
        pytest.skip(f"this machine cannot bind {bound}: {error}")
    assert neighbours._meet(wanted, bound) is not free


# -- networks ---------------------------------------------------------------------------------------------------------


def networks(**parts: Any) -> tuple[str, str]:
    faults, notes = neighbours.network_faults(state(**parts), SETTINGS)
    return "\n".join(faults), "\n".join(notes)


def test_an_overlapping_route_is_refused_with_a_range_that_is_free() -> None:
    routes = [{"range": "172.16.0.0/12", "interface": "eth1"}, {"range": "192.168.0.0/16", "interface": "eth0"}]
    faults, notes = networks(network__routes=routes)
    assert "landfall_subnet: 172.30.0.0/24 overlaps a route through the interface eth1 (172.16.0.0/12)" in faults
    assert faults.endswith("such as 10.213.0.0/24") and notes == ""
    assert "a further routing table" in networks(network__routes=[{"range": "172.30.0.0/16", "interface": ""}])[0]
    assert networks(network__routes=routes[1:]) == ("", "")


def test_an_overlapping_docker_network_is_told_by_its_name_only() -> None:
    other = {"shop_default": {"subnet": "172.30.0.0/16", "gateway": "172.30.0.1"}}
    routes = [{"range": "172.30.0.0/16", "interface": "br-0123456789ab"}]
    faults, _notes = networks(networks=other, network__routes=routes)
    assert "the Docker network shop_default (172.30.0.0/16)" in faults and "br-01" not in faults


def test_our_own_network_is_no_neighbour_of_itself() -> None:
    own = {"landfall": {"subnet": "172.30.0.0/24", "gateway": "172.30.0.1"}}
    routes = [{"range": "172.30.0.0/24", "interface": "landfall"}]
    assert networks(networks=own, network__routes=routes) == ("", "")
    wider = [*routes, {"range": "172.16.0.0/12", "interface": "wg0"}]
    faults, notes = networks(networks=own, network__routes=wider)
    assert faults == "" and "overlaps a route through the interface wg0" in notes


def test_without_a_subnet_the_engine_chooses() -> None:
    routes = [{"range": "172.30.0.0/24", "interface": "eth1"}]
    for subnet in ("", None, "nonsense"):
        assert neighbours.network_faults(state(network__routes=routes), {**SETTINGS, "subnet": subnet}) == ([], [])


RANGES = st.tuples(st.integers(0, 2**32 - 1), st.integers(8, 31)).map(lambda v: str(ipaddress.ip_network(v, False)))


@given(st.lists(RANGES, max_size=12), st.integers(16, 29))
def test_what_is_proposed_as_free_is_free(taken: list[str], length: int) -> None:
    networks_taken = [ipaddress.IPv4Network(text) for text in taken]
    free = neighbours._free(length, networks_taken)
    assert not free or not any(ipaddress.IPv4Network(free).overlaps(other) for other in networks_taken)
    assert not free or (ipaddress.IPv4Network(free).is_private and free.endswith(f"/{length}"))


@given(RANGES, RANGES)
def test_a_range_is_refused_exactly_if_it_overlaps(subnet: str, other: str) -> None:
    found = state(network__routes=[{"range": other, "interface": "x"}])
    faults, _notes = neighbours.network_faults(found, {**SETTINGS, "subnet": subnet})
    assert bool(faults) == ipaddress.IPv4Network(subnet).overlaps(ipaddress.IPv4Network(other))


# -- firewall ---------------------------------------------------------------------------------------------------------


def rule(action: str = "allow", port: str = "any", source: str = "0.0.0.0/0", interface: str = "", **more: str) -> Any:
    base = {
        "action": action,
        "protocol": "any",
        "port": port,
        "to": "0.0.0.0/0",
        "from": source,
        "interface": interface,
    }
    return {**base, **more}


def firewall(*rules: Any, policy: str = "drop", wanted: Wanted = NODE) -> str:
    return "\n".join(
        neighbours.firewall_notes(state(network__ufw={"input": policy, "rules": list(rules)}), wanted, SETTINGS)
    )


def test_the_missing_rule_is_told_as_a_command() -> None:
    assert firewall().endswith("ufw allow in on landfall from 172.30.0.0/24 to 172.30.0.1 port 9100 proto tcp")
    assert firewall(rule(port="22"), policy="reject") == firewall()
    assert firewall(wanted=WEB) == "", "published ports do not pass ufw"
    assert firewall(policy="accept") == ""
    assert neighbours.firewall_notes(state(), NODE, SETTINGS) == []


@pytest.mark.parametrize(
    ("found", "enough"),
    [
        (rule(port="9100", source="172.30.0.0/24", interface="landfall", protocol="tcp", to="172.30.0.1"), True),
        (rule(source="172.16.0.0/12"), True),
        (rule(interface="landfall"), True),
        (rule(port="9000:9200", protocol="tcp"), True),
        (rule(port="22,9100", protocol="tcp"), True),
        (rule("limit", port="9100"), True),
        (rule(port="9100", protocol="udp"), False),
        (rule(interface="eth0"), False),
        (rule(source="172.30.0.128/25"), False),
        (rule(to="10.0.0.1"), False),
        (rule(port="9101:9200"), False),
    ],
)
def test_which_rules_are_enough(found: Any, enough: bool) -> None:
    assert (firewall(found) == "") is enough


def test_the_first_rule_that_fits_decides() -> None:
    assert firewall(rule("deny", port="9100"), rule()) != ""
    assert firewall(rule(), rule("deny", port="9100")) == ""


# -- engine -----------------------------------------------------------------------------------------------------------


def engine(settings: dict[str, Any] | None = None, **parts: Any) -> str:
    return "\n".join(preflight.engine_faults(state(**parts), {**SETTINGS, **(settings or {})}))


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"engine__setup": {"data_root": "/var/snap/docker/common/var-lib-docker"}}, ["snap", "snap remove docker"]),
        ({"engine__setup": {"snap": True}, "engine__installed": False}, ["snap"]),
        ({"engine__setup": {"podman": True}}, ["Podman", "podman-docker"]),
        ({"engine__setup": {"security": ["rootless"]}}, ["rootless"]),
        (
            {"engine__setup": {"rootless": ["/run/user/1000/docker.sock"]}, "engine__running": False},
            ["user/1000", "--now"],
        ),
        ({"engine__setup": {"security": ["userns"]}}, ["userns-remap", "/etc/docker/daemon.json"]),
        ({"engine__setup": {"daemon": {"userns-remap": "default"}}, "engine__running": False}, ["userns-remap"]),
        ({"engine__setup": {"daemon": {"error": "line 3"}}}, ["daemon.json is no JSON: line 3"]),
        ({"engine__setup": {"daemon": {"iptables": False}}}, ["iptables is false"]),
        ({"engine__setup": {"cpu_limits": False}}, ["CPU limits"]),
        ({"engine__setup": {"client": {"context": "remote"}}}, ["context 'remote'", "docker context use default"]),
    ],
)
def test_engines_that_cannot_run_the_stack_are_refused_by_name(parts: dict[str, Any], words: list[str]) -> None:
    found = engine(**parts)
    assert all(word in found for word in words), found
    assert found.count("\n") == 0, "one fault for one cause"


def test_what_the_inventory_would_make_of_the_engine_is_refused_too() -> None:
    found = engine({"engine_options": {"userns-remap": "default"}})
    assert "by the inventory" in found and "docker_daemon_options" in found
    assert "iptables" in engine({"engine_options": {"iptables": False}})


def test_a_swarm_is_used_unless_the_engine_would_not_start_in_it() -> None:
    swarm = {"swarm": "active", "daemon": {}}
    assert "docker_live_restore: false" in engine({"engine_defaults": {"live-restore": True}}, engine__setup=swarm)
    assert engine({"engine_defaults": {"live-restore": False}}, engine__setup=swarm) == ""
    kept = {"swarm": "active", "daemon": {"live-restore": False}}
    assert engine({"engine_defaults": {"live-restore": True}}, engine__setup=kept) == ""
    asked = {"engine_options": {"live-restore": True}}
    assert "live-restore" in engine(asked, engine__setup=kept)
    notes = preflight.engine_notes(state(engine__setup=kept), SETTINGS)
    assert len(notes) == 1 and "Swarm" in notes[0]


def test_an_engine_that_is_only_peculiar_is_used() -> None:
    setup = {
        "data_root": "/mnt/docker",
        "log_driver": "journald",
        "rootless": ["/run/user/1000/docker.sock"],
        "security": ["apparmor", "seccomp", "cgroupns"],
        "client": {"context": "default", "proxies": {}},
        "swarm": "inactive",
    }
    assert engine(engine__setup=setup) == ""
    assert preflight.engine_notes(state(engine__setup=setup), SETTINGS) == []


def test_proxies_are_told() -> None:
    client = {"proxies": {"httpProxy": "http://p:1", "noProxy": "x"}, "context": ""}
    setup = {"proxies": {"HttpProxy": "http://p:3128", "HttpsProxy": "http://p:3128"}, "client": client}
    notes = preflight.engine_notes(state(engine__setup=setup), SETTINGS)
    assert len(notes) == 2
    assert notes[0].endswith("through the proxy http://p:3128")
    assert "httpProxy http://p:1" in notes[1] and "noProxy" in notes[1]


# -- what it can hold -----------------------------------------------------------------------------------------------


def disk(path: str, free: float, *holds: str, read_only: bool = False) -> dict[str, Any]:
    return {"path": path, "holds": list(holds), "free": int(free), "read_only": read_only}


IMAGES = Wanted(images={"redis:8": "redis_image", "grafana/loki:3": "loki_image"})


def disks(wanted: Wanted, *found: dict[str, Any], **parts: Any) -> str:
    return "\n".join(preflight.disk_faults(state(host__disks=list(found), **parts), wanted, 400_000_000, 10**9))


def test_disk_space_is_asked_where_images_go() -> None:
    images, files = disk("/mnt/docker", 1.5e9, "data", "images"), disk("/opt/landfall", 2e8, "files")
    found = disks(IMAGES, images, files)
    assert "/mnt/docker has 1.5 GB free; 2 missing images and the reserve need 1.8 GB" in found
    assert "/opt/landfall" not in found, "files of components need no room for images"
    assert disks(IMAGES, images, files, images={"redis:8": {}, "grafana/loki:3": {}}) == ""
    assert "1 missing image and" in disks(IMAGES, disk("/x", 1e9, "images"), images={"redis:8": {}})


def test_a_read_only_file_system_is_refused_whatever_is_missing() -> None:
    assert "/opt/landfall is mounted read-only" in disks(Wanted(), disk("/opt/landfall", 1e12, "files", read_only=True))


def test_an_image_that_is_built_is_there_under_any_tag() -> None:
    built = Wanted(images={"landfall/shop": "app_services[0].build"}, built=("landfall/shop",))
    assert preflight.missing_images(state(images={"landfall/shop:0123": {}}), built) == []
    assert preflight.missing_images(state(images={"landfall/shopping:0123": {}}), built) == ["landfall/shop"]


def test_an_image_named_by_its_digest_is_there_under_that() -> None:
    digest = "@sha256:" + "a" * 64
    wanted = Wanted(images={"redis:8" + digest: "redis_image"})
    there = state(images={"redis" + digest: {"architecture": "arm64"}})
    assert preflight.missing_images(there, wanted) == []
    assert "is built for arm64" in preflight.architecture_faults(there, wanted, {})[0]
    assert preflight.missing_images(state(images={"redis:8": {}}), wanted) == ["redis:8" + digest]


def test_more_cpus_than_there_are_are_refused() -> None:
    wanted = Wanted(cpus={"app_cpus": 4.0, "redis_cpus": 2.0})
    (found,) = preflight.cpu_faults(state(), wanted)
    assert found.startswith("app_cpus: 4 CPUs are more than this VPS has (2)")


GB = 10**9


@pytest.mark.parametrize(
    ("have", "together", "profile", "words"),
    [
        (1.0, 6.0, "standard", ["1.0 GB", "6.0 GB", "landfall_profile: small (now standard, for 2 GB and more)"]),
        (2.0, 10.2, "full", ["landfall_profile: standard (now full, for 4 GB"]),
        (1.0, 10.2, "full", ["landfall_profile: small"]),
        (0.5, 2.8, "small", ["larger VPS"]),
        (4.1, 20.0, "full", ["lower their limits"]),
        (2.05, 6.0, "standard", []),
        (1.0, 2.8, "small", []),
        (4.0, 10.2, "full", []),
    ],
)
def test_a_small_vps_is_told_which_profile_fits(have: float, together: float, profile: str, words: list[str]) -> None:
    wanted = Wanted(memory={f"part_{n}": int(together * GB / 20) for n in range(20)})
    found = "\n".join(preflight.memory_notes(state(host__memory_bytes=int(have * GB)), wanted, profile))
    assert all(word in found for word in words), found
    assert bool(found) is bool(words)


def test_a_limit_above_the_memory_bounds_nothing() -> None:
    (found,) = preflight.memory_notes(state(), Wanted(memory={"app_memory": 3 * GB}), "standard")
    assert found.startswith("app_memory: 3.0 GB are more than the memory of this VPS (2.0 GB)")


@pytest.mark.parametrize(
    ("machine", "present", "told", "refused"),
    [
        ("aarch64", "amd64", None, True),
        ("aarch64", "arm64", None, False),
        ("x86_64", None, ["arm64"], True),
        ("x86_64", None, ["amd64", "arm64"], False),
        ("x86_64", None, None, False),
        ("armv7l", None, ["arm", "arm64"], False),
        ("riscv64", "riscv64", None, False),
    ],
)
def test_images_for_other_machines_are_refused(
    machine: str, present: str | None, told: list[str] | None, refused: bool
) -> None:
    wanted = Wanted(images={"x:1": "x_image"})
    found = state(engine__setup={"architecture": machine}, images={"x:1": {"architecture": present}} if present else {})
    faults = preflight.architecture_faults(found, wanted, {"x:1": told} if told else {})
    assert bool(faults) is refused
    assert not refused or faults[0].startswith("x_image: x:1 is built for ")


def test_kernel_settings_that_a_component_wants_are_told() -> None:
    wanted = Wanted(sysctls={"redis_host_sysctls": {"vm.overcommit_memory": "1", "vm.unheard_of": "1"}})
    assert preflight.sysctl_notes(state(), wanted) == []
    (found,) = preflight.sysctl_notes(state(host__sysctls={"vm.overcommit_memory": "0"}), wanted)
    assert "vm.overcommit_memory is 0, wanted is 1" in found and "/etc/sysctl.d/90-redis.conf" in found


def test_all_faults_come_at_once() -> None:
    found = state(
        network__listeners=[listener(80)],
        network__routes=[{"range": "172.30.0.0/16", "interface": "eth1"}],
        engine__setup={"security": ["userns"], "cpus": 2},
        host__disks=[disk("/", 0, "data", "images", "files")],
    )
    wanted = Wanted(ports=WEB.ports, images=IMAGES.images, cpus={"app_cpus": 8.0})
    faults, _notes = preflight.look(found, wanted, SETTINGS, 1, 1)
    assert [fault.split(":")[0] for fault in faults] == [
        "engine", "caddy_publish[0]", "landfall_subnet", "disk", "app_cpus"]  # fmt: skip


def test_visitors_by_ipv6_who_share_an_address_are_told() -> None:
    six = state(network__ipv6=["2a01:4f8::1 on eth0"])
    (note,) = neighbours.visitor_notes(six, WEB)
    assert "2a01:4f8::1 on eth0" in note and "port 80, 443 (caddy_publish)" in note and "0.0.0.0:80:80" in note
    assert note in preflight.look(six, WEB, SETTINGS, 400_000_000, 10**9)[1]
    four = Wanted(ports=(Port("caddy_publish[0]", "0.0.0.0", 80, "tcp"),))  # noqa: S104
    assert neighbours.visitor_notes(six, four) == neighbours.visitor_notes(six, OWN) == []
    assert neighbours.visitor_notes(state(network__ipv6=[]), WEB) == neighbours.visitor_notes(state(), WEB) == []
