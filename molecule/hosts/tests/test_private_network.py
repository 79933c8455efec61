"""Tunnels between three VPSs: what answers through them and nowhere else, and what no change may cut."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from typing import Any

REACH = """
import socket, sys
one = socket.create_connection((sys.argv[1], 6379), 3)
one.sendall(b"PING\\r\\n")
print(one.recv(9))
"""


def reaches(host: Any, address: str) -> bool:
    """Whether Redis answers a host at an address; it asks for a password, which is an answer."""
    return "NOAUTH" in host.run(f"python3 - {address}", REACH, check=False)


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
