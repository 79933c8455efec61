"""Tunnels between three VPSs: what answers through them and nowhere else, and what no change may cut."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from testbed import probe
from testbed.paths import ROOT

FOLDER = "/usr/local/lib/landfall/private_network"
# Asks an address every 20 ms until its input ends, and tells the longest time without an answer
PINGS = f"""
import select, sys, time
sys.path.insert(0, "{FOLDER}")
import wireguard
last, gap, asked = time.monotonic(), 0.0, 0
while not select.select([sys.stdin], [], [], 0.02)[0]:
    asked += 1
    if wireguard.answers([sys.argv[1]], 0.1):
        gap, last = max(gap, time.monotonic() - last), time.monotonic()
print(round(max(gap, time.monotonic() - last), 2), asked)
"""
REACH = """
import socket, sys
one = socket.create_connection((sys.argv[1], 6379), 3)
one.sendall(b"PING\\r\\n")
print(one.recv(9))
"""


def reaches(host: Any, address: str) -> bool:
    """Whether Redis answers a host at an address; it asks for a password, which is an answer."""
    return "NOAUTH" in host.run(f"python3 - {address}", REACH, check=False)


def pinging(host: Any, address: str) -> subprocess.Popen[str]:
    argv = ["ssh", "-F", str(ROOT / ".cache/vps/ssh_config"), f"molecule-hosts-{host.name}", "sudo", "python3", "-c",
            "'exec(bytes.fromhex(\"" + PINGS.encode().hex() + "\").decode())'", address]  # fmt: skip
    return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def longest(pings: subprocess.Popen[str]) -> float:
    """Seconds of the longest time without an answer."""
    gap, asked = pings.communicate("end\n", timeout=30)[0].split()
    assert int(asked) > 50
    return float(gap)


def test_all_answer_all(hosts: dict[str, Any]) -> None:
    for name, host in hosts.items():
        found = host.proof()
        sys.stdout.write(f"{name}: {found['answer']} ms\n")
        assert sorted(found["answer"]) == sorted(set(hosts) - {name}) and found["silent"] == []
        assert max(found["answer"].values()) < 50


def test_a_published_port_answers_through_the_tunnel_alone(hosts: dict[str, Any]) -> None:
    private = hosts["web"].config()["address"]
    public = next(peer["endpoint"] for peer in hosts["data"].config()["peers"] if peer["name"] == "web")
    assert reaches(hosts["data"], private) and reaches(hosts["watch"], private)
    assert not reaches(hosts["data"], public) and not reaches(hosts["web"], "127.0.0.1")


def test_a_key_never_leaves_its_host(hosts: dict[str, Any]) -> None:
    secret = {name: host.run("cat /etc/landfall/private_network/key").strip() for name, host in hosts.items()}
    assert len(set(secret.values())) == 3
    for host in hosts.values():
        assert host.run("stat -c %a /etc/landfall/private_network/key").strip() == "400"
        config = json.dumps(host.config())
        processes = host.run("cat /proc/*/cmdline /proc/*/environ 2>/dev/null | tr \\\\0 \\\\n", check=False)
        assert not [name for name, key in secret.items() if key in config or key in processes]


def test_a_change_that_cuts_a_tunnel_is_undone(hosts: dict[str, Any], deploy: Callable[..., Any]) -> None:
    before = hosts["web"].config()
    text, _changed = deploy("--limit", "web", "--tags", "private_network", fails=True,
                            own={"web": {"private_network_address": "10.99.7.7"}})  # fmt: skip
    assert re.search(r"the change cut\s+web to data,\s+web to watch", text), text
    assert hosts["web"].config() == before
    assert hosts["web"].proof()["silent"] == []


def test_what_the_controller_did_not_confirm_the_host_undoes(hosts: dict[str, Any]) -> None:
    web = hosts["web"]
    before = web.config()
    # As the role does: the timer of a change that was undone at once is still there
    web.run("systemctl stop landfall-private-network-undo.timer 2>/dev/null; "
            f"{FOLDER}/tunnels.py arm; systemd-run --quiet --collect --unit=landfall-private-network-undo "
            "--timer-property=AccuracySec=1s --property=KillMode=process --on-active=5 "
            f"{FOLDER}/tunnels.py undo")  # fmt: skip
    web.run("cat >/etc/landfall/private_network/network.json", json.dumps({**before, "address": "10.99.7.7"}))
    web.run(f"{FOLDER}/tunnels.py apply")
    assert web.proof(2)["cut"] == ["data", "watch"]
    assert probe.eventually(lambda: web.config() == before, 20)
    assert web.proof()["silent"] == []


def test_keys_are_replaced_while_tunnels_are_in_use(hosts: dict[str, Any], deploy: Callable[..., Any]) -> None:
    old = {name: host.run("cat /etc/landfall/private_network/public").strip() for name, host in hosts.items()}
    addresses = {name: host.config()["address"] for name, host in hosts.items()}
    pings = [pinging(host, address) for name, host in hosts.items()
             for other, address in addresses.items() if other != name]  # fmt: skip
    deploy("--extra-vars", '{"private_network_rotate": true}')
    gaps = [longest(one) for one in pings]
    sys.stdout.write(f"longest times without an answer: {gaps} s\n")
    assert max(gaps) < 5, "a handshake that is lost is repeated after five seconds: none was"
    new = {name: host.run("cat /etc/landfall/private_network/public").strip() for name, host in hosts.items()}
    assert not set(old.values()) & set(new.values())
    for name, host in hosts.items():
        assert {peer["name"]: peer["public_key"] for peer in host.config()["peers"]} == {
            other: key for other, key in new.items() if other != name
        }
    _text, changed = deploy()
    assert changed == {"web": 0, "data": 0, "watch": 0}
    text, _changed = deploy("--limit", "web", "--extra-vars", '{"private_network_rotate": true}', fails=True)
    assert "does not come to data, watch" in text


def test_a_host_that_was_set_up_again_is_known_to_all_by_one_run(
    hosts: dict[str, Any], deploy: Callable[..., Any]
) -> None:
    hosts["data"].run("systemctl stop landfall-private-network-watch.timer landfall-private-network.service; "
                      "rm -r /etc/landfall/private_network")  # fmt: skip
    assert "data" in hosts["web"].proof(1)["silent"]
    deploy("--tags", "private_network")
    assert [host.proof()["silent"] for host in hosts.values()] == [[], [], []]


def test_a_host_leaves_and_comes_back(hosts: dict[str, Any], deploy: Callable[..., Any]) -> None:
    pings = pinging(hosts["web"], hosts["data"].config()["address"])
    deploy("--tags", "private_network", own={"watch": {"private_network_enabled": False, "redis_publish": []}})
    assert longest(pings) < 2, "the tunnel of those that stay"
    assert [peer["name"] for peer in hosts["web"].config()["peers"]] == ["data"]
    left = hosts["watch"].run(
        "ls /etc/landfall/private_network; ip link show wg-landfall; pgrep wireguard-go", check=False
    )
    assert left == ""
    deploy("--tags", "private_network")
    assert [host.proof()["silent"] for host in hosts.values()] == [[], [], []]


def test_a_range_that_a_host_has_already_is_refused(hosts: dict[str, Any], deploy: Callable[..., Any]) -> None:
    before = {name: host.config() for name, host in hosts.items()}
    text, _changed = deploy("--extra-vars", "private_network_subnet=172.17.0.0/16", fails=True)
    assert re.search(r"private_network_subnet: 172.17.0.0/16\s+overlaps", text) and "nothing was changed" in text
    assert {name: host.config() for name, host in hosts.items()} == before


def test_tunnels_come_back_after_a_reboot_before_what_is_published_on_them(hosts: dict[str, Any]) -> None:
    private = hosts["data"].config()["address"]
    hosts["data"].run("systemctl --no-block reboot", check=False)
    time.sleep(5)
    began = time.monotonic()
    assert probe.eventually(lambda: reaches(hosts["web"], private), 180)
    sys.stdout.write(f"Redis of data answered web {time.monotonic() - began + 5:.0f} s after the reboot began\n")
    assert [host.proof()["silent"] for host in hosts.values()] == [[], [], []]
