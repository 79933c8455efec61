"""The program of the role private_network among real hosts: namespaces with wireguard-go between them."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import tunnelkit

pytestmark = pytest.mark.skipif(bool(tunnelkit.unusable()), reason=tunnelkit.unusable())


@pytest.fixture
def world(tmp_path: Path) -> Iterator[tunnelkit.World]:
    found = tunnelkit.World(tmp_path, 3)
    try:
        yield found
    finally:
        found.close()


def test_all_reach_all_and_a_peer_that_left_reaches_nobody(world: tunnelkit.World) -> None:
    world.mesh()
    one, two, three = world.hosts
    for host in world.hosts:
        found = host.proof()
        assert (sorted(found["answer"]), found["silent"], found["cut"]) == (
            sorted(other.name for other in world.hosts if other is not host), [], []
        )  # fmt: skip
        assert (host.home / "key").stat().st_mode & 0o777 == 0o400
    assert "1420" in one.run("ip", "link", "show", "dev", one.interface)
    # The third leaves: the others no longer know it, and their own tunnel has not been cut for it
    pings = tunnelkit.Pings(one, two.address).begin(2)
    for host in (one, two):
        host.tunnels("arm")
        host.write(host.config([one, two]))
        host.tunnels("apply")
        assert host.proof()["cut"] == []
        host.tunnels("confirm")
    assert pings.longest() < 1
    assert three.proof(1)["answer"] == {}


def test_a_change_that_cuts_a_tunnel_is_known_and_undone(world: tunnelkit.World) -> None:
    world.mesh()
    one, two, _three = world.hosts
    assert one.proof()["silent"] == []
    before = json.loads((one.home / "network.json").read_text())
    one.tunnels("arm")
    wrong = one.config(world.hosts, port=51999)
    wrong["peers"][0]["public_key"] = world.hosts[2].public.replace(world.hosts[2].public[:4], "AAAA")
    one.write(wrong)
    one.tunnels("apply")
    assert one.proof(1.5)["cut"] == [two.name]
    one.tunnels("undo")
    assert json.loads((one.home / "network.json").read_text()) == before
    assert one.proof()["silent"] == []
    one.tunnels("undo")
    assert one.proof()["silent"] == [], "to undo it twice does no harm"


def test_what_nobody_confirmed_is_as_it_was_after_a_reboot(world: tunnelkit.World) -> None:
    world.mesh()
    one, two, _three = world.hosts
    one.proof()
    one.tunnels("arm")
    one.write(one.config([two], mtu=1300))
    one.tunnels("apply")
    one.run("ip", "link", "del", "dev", one.interface)  # as a reboot does
    one.tunnels("up")
    assert "mtu 1420" in one.run("ip", "link", "show", "dev", one.interface)
    assert one.proof()["silent"] == []
    assert not (one.home / "before.json").exists()


def test_the_watch_puts_back_an_interface_and_tells_node_exporter(world: tunnelkit.World) -> None:
    world.mesh()
    one, two, three = world.hosts
    one.proof()
    one.reports.mkdir()
    one.run("ip", "link", "del", "dev", one.interface)
    three.run("ip", "link", "del", "dev", three.interface)
    one.tunnels("watch")
    assert list(one.proof(3)["answer"]) == [two.name]
    one.tunnels("watch")
    text = (one.reports / "landfall-tunnels.prom").read_text()
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert values['landfall_tunnel_answers{peer="host2"}'] == "1"
    assert values['landfall_tunnel_answers{peer="host3"}'] == "0"
    assert time.time() - float(values['landfall_tunnel_last_handshake_timestamp_seconds{peer="host2"}']) < 60
    assert float(values['landfall_tunnel_receive_bytes_total{peer="host2"}']) > 0
    assert one.public not in text


def told(world: tunnelkit.World) -> dict[str, str]:
    """Let every host know the keys that are to come; return them by name."""
    coming = {host.name: host.tunnels("next").strip() for host in world.hosts}
    for host in world.hosts:
        host.tunnels("arm")
        config = host.config(world.hosts)
        for peer in config["peers"]:
            peer["next_key"] = coming[peer["name"]]
        host.write(config)
        host.tunnels("apply")
        assert host.proof()["cut"] == []
    return coming


def test_hosts_that_change_their_keys_at_the_same_moment_find_each_other(world: tunnelkit.World) -> None:
    world.mesh()
    for host in world.hosts:
        host.proof()
    told(world)
    followers = [tunnelkit.Follower(host, 30) for host in world.hosts]
    world.cut()  # no host hears of another's change before its own
    for host in world.hosts:
        host.tunnels("switch")
    world.join()
    assert [follower.left() for follower in followers] == [[], [], []]
    assert [host.proof()["silent"] for host in world.hosts] == [[], [], []]


def test_keys_are_replaced_while_all_tunnels_are_in_use(world: tunnelkit.World) -> None:
    world.mesh()
    for host in world.hosts:
        host.proof()
    old = [host.public for host in world.hosts]
    coming = told(world)
    assert {host.name: host.tunnels("next").strip() for host in world.hosts} == coming, "the same, when asked again"
    pings = [tunnelkit.Pings(host, other.address).begin(9)
             for host in world.hosts for other in world.hosts if host is not other]  # fmt: skip
    followers = [tunnelkit.Follower(host) for host in world.hosts]
    for host in world.hosts:
        host.tunnels("switch")
        time.sleep(0.7)  # they come one after another, as hosts of a play may
    assert [follower.left() for follower in followers] == [[], [], []]
    for host in world.hosts:
        host.public = coming[host.name]
    for host in world.hosts:
        host.write(host.config(world.hosts))
        host.tunnels("apply")
        assert host.proof()["silent"] == []
        host.tunnels("confirm")
    gaps = [one.longest() for one in pings]
    sys.stdout.write(f"longest gaps: {gaps} s\n")
    assert max(gaps) < 2, gaps
    for host in world.hosts:
        known = host.run("wg", "show", host.interface, "peers").split()
        assert set(known) == set(coming.values()) - {coming[host.name]} and not set(known) & set(old)
        assert (host.home / "public").read_text().strip() == coming[host.name]
        assert not (host.home / "next").exists()
