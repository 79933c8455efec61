"""Who has what the stack wants, and what the VPS cannot do: each kind, with the words that name cause and remedy."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import itertools
import socket
from typing import Any

import pytest
from ansible_collections.landfall.vps.plugins.plugin_utils import neighbours, preflight
from ansible_collections.landfall.vps.plugins.plugin_utils.wanted import Port, Wanted
from hypothesis import given
from hypothesis import strategies as st

from tests.engine.lived_in import ALL, NODE, OWN, SETTINGS, WEB, container, listener, state


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


@pytest.mark.parametrize("wanted", [ALL, "::", "127.0.0.1", "::1"])
@pytest.mark.parametrize("bound", [ALL, "::", "127.0.0.1", "::1"])
def test_addresses_clash_as_the_kernel_says(wanted: str, bound: str) -> None:
    """Containers' ports are bound for one kind of addresses alone, whatever listens already may have both."""
    kinds = [socket.AF_INET6 if ":" in address else socket.AF_INET for address in (bound, wanted)]
    with contextlib.ExitStack() as closing:
        first, second = (closing.enter_context(socket.socket(kind)) for kind in kinds)
        try:
            first.bind((bound, 0))
        except OSError as error:
            pytest.skip(f"this machine has no {bound}: {error}")
        first.listen()
        if kinds[1] == socket.AF_INET6:
            second.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            second.bind((wanted, first.getsockname()[1]))
            clash = False
        except OSError as error:
            clash = error.errno == errno.EADDRINUSE
    port = Wanted(ports=(Port("caddy_publish[0]", wanted, 80, "tcp"),))
    assert bool(ports(port, network__listeners=[listener(80, bound)])) == clash


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
