"""What the role host sees of a VPS, and what it refuses before it changes anything."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, Dict, List

import pytest
from ansible_collections.landfall.vps.plugins.module_utils.docker_api import bridge_name

from tests import rolekit

HOME = rolekit.ROLES / "host" / "files" / "config"
SS = """
udp   UNCONN 0      0                  0.0.0.0:68         0.0.0.0:*    users:(("dhclient",pid=611,fd=9))
tcp   LISTEN 0      128                0.0.0.0:22         0.0.0.0:*    users:(("sshd",pid=700,fd=3))
tcp   LISTEN 0      4096             127.0.0.1:5432       0.0.0.0:*    users:(("postgres",pid=800,fd=6))
tcp   LISTEN 0      4096         127.0.0.53%lo:53         0.0.0.0:*    users:(("systemd-resolve",pid=400,fd=1))
tcp   LISTEN 0      4096            172.30.0.1:9100       0.0.0.0:*    users:(("node_exporter",pid=900,fd=3))
tcp   LISTEN 0      4096             10.0.0.5:6379       0.0.0.0:*    users:(("redis-server",pid=901,fd=3))
tcp   LISTEN 0      4096                  [::]:8080          [::]:*    users:(("docker-proxy",pid=950,fd=4))
tcp   LISTEN 0      4096                     *:8080             *:*    users:(("docker-proxy",pid=951,fd=4))
udp   UNCONN 0      0                        *:41641            *:*    users:(("tailscaled",pid=99,fd=4))
"""
ADDRESSES = """
1: lo    inet 127.0.0.1/8 scope host lo\\       valid_lft forever preferred_lft forever
2: eth0    inet 10.0.0.5/24 brd 10.0.0.255 scope global eth0\\       valid_lft forever
7: br-1234    inet 172.30.0.1/24 brd 172.30.0.255 scope global br-1234\\       valid_lft forever
"""
ASKED: Dict[str, Any] = {
    "user": "deploy", "password": False, "ssh": True, "root_login": "never", "firewall": True,
    "open": ["80/tcp", "443/tcp", "443/udp"], "closed": [], "ssh_from": [], "deploys": "", "keys": 0,
}  # fmt: skip
SSH: Dict[str, Any] = {
    "there": True, "ports": [22], "address": "192.0.2.9", "includes": True, "keys": 1, "kept_out": "",
    "effective": {"passwordauthentication": "yes", "kbdinteractiveauthentication": "no", "permitrootlogin": "yes"},
}  # fmt: skip


@pytest.fixture(scope="module")
def look() -> ModuleType:
    spec = importlib.util.spec_from_file_location("landfall_host_look", HOME / "look.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "dont_write_bytecode", True)  # nothing is to lie among the role's files
        spec.loader.exec_module(module)
    return module


def faults(look: ModuleType, asked: Dict[str, Any], **ssh: Any) -> List[str]:
    answering = ssh.pop("answering", [])
    found: List[str] = look.faults({**ASKED, **asked}, {"ssh": {**SSH, **ssh}, "answering": answering})
    return found


def test_what_answers_from_outside_is_seen_and_nothing_else(look: ModuleType) -> None:
    found = look.answering(SS, look.addresses_of(ADDRESSES), ["lo", "docker0", "br-*"])
    assert found == [
        {"port": "22/tcp", "program": "sshd"},
        {"port": "41641/udp", "program": "tailscaled"},
        {"port": "6379/tcp", "program": "redis-server"},
        {"port": "8080/tcp", "program": "docker-proxy"},
    ]


def test_an_ordinary_vps_is_not_refused(look: ModuleType) -> None:
    assert faults(look, {}, answering=[{"port": "22/tcp", "program": "sshd"}]) == []


@pytest.mark.parametrize(
    ("asked", "ssh", "variable", "right"),
    [
        ({"user": "root"}, {}, "host_ssh_root_login", "host_ssh_root_login to keys"),
        ({"password": True}, {}, "host_ssh", "leave ansible_password out"),
        ({}, {"keys": 0}, "host_ssh", "ssh-copy-id"),
        ({}, {"there": False}, "host_ssh", "set it to false"),
        ({}, {"kept_out": "AllowUsers"}, "host_ssh", "correct that first"),
        ({}, {"includes": False}, "host_ssh", "Include /etc/ssh/sshd_config.d/*.conf"),
        ({}, {"address": ""}, "host_ssh and host_firewall", "deploy by SSH"),
        ({"ssh": False}, {"address": ""}, "host_firewall", "set host_firewall to false"),
        ({"ssh_from": ["198.51.100.0/24", "2001:db8::/32"]}, {}, "host_firewall_ssh_from", "add it"),
        ({"deploys": "ops"}, {}, "host_user_keys", "id_ed25519.pub"),
        (
            {},
            {"answering": [{"port": "5432/tcp", "program": "postgres"}]},
            "host_firewall_open",
            "host_firewall_closed",
        ),
    ],
)
def test_what_would_lock_somebody_out_is_refused(
    look: ModuleType, asked: Dict[str, Any], ssh: Dict[str, Any], variable: str, right: str
) -> None:
    (found,) = faults(look, asked, **ssh)
    assert found.startswith(variable + ": ") and right in found


@pytest.mark.parametrize(
    ("asked", "ssh"),
    [
        ({"user": "root", "root_login": "keys"}, {}),
        ({}, {"keys": -1}),  # a command or a certificate authority decides
        ({"ssh": False}, {"keys": 0}),
        # Somebody else has hardened sshd already, without drop-ins
        ({}, {"includes": False, "effective": dict.fromkeys(SSH["effective"], "no")}),
        ({"ssh": False, "firewall": False}, {"address": ""}),
        ({"ssh_from": ["192.0.2.0/28"]}, {}),
        ({"closed": ["5000-6000/tcp"]}, {"answering": [{"port": "5432/tcp", "program": "postgres"}]}),
        ({}, {"ports": [2222], "answering": [{"port": "2222/tcp", "program": "sshd"}]}),
    ],
)
def test_what_locks_nobody_out_is_not_refused(look: ModuleType, asked: Dict[str, Any], ssh: Dict[str, Any]) -> None:
    assert faults(look, asked, **ssh) == []


@pytest.mark.parametrize(
    ("text", "there"),
    [
        ("Include /etc/ssh/sshd_config.d/*.conf\nPort 22\n", True),
        ("include sshd_config.d/*.conf\n", True),
        ("# Include /etc/ssh/sshd_config.d/*.conf\n", False),
        ("Include /etc/ssh/other.d/*.conf\n", False),
        ("Match User x\nInclude /etc/ssh/sshd_config.d/*.conf\n", False),
    ],
)
def test_drop_ins_are_taken_in_or_not(look: ModuleType, text: str, there: bool) -> None:
    assert look.includes(text) is there


@pytest.mark.parametrize(
    ("settings", "by"),
    [
        ("allowusers root admin", "AllowUsers"),
        ("allowusers dep*", ""),
        ("allowusers deploy@192.0.2.*", ""),
        ("denyusers deploy", "DenyUsers"),
        ("allowgroups wheel", "AllowGroups"),
        ("allowgroups wheel\nallowgroups sudo", ""),
        ("denygroups sudo", "DenyGroups"),
    ],
)
def test_a_setting_that_keeps_the_user_out_is_found(look: ModuleType, settings: str, by: str) -> None:
    assert look.kept_out("deploy", ["deploy", "sudo"], look.settings_of(settings)) == by


def test_memory_is_read(look: ModuleType) -> None:
    assert look.memory("MemTotal:  1024 kB\nSwapTotal:      0 kB\n") == {"memory": 1 << 20, "swap": 0}


# -- files -------------------------------------------------------------------------------------------------------------


def rendered(name: str, tmp_path: Path, **values: Any) -> str:
    variables = {**rolekit.inventory(tmp_path), **rolekit.defaults("host"), **values}
    text = (rolekit.ROLES / "host/templates/config" / name).read_text()
    return str(rolekit.template(rolekit.trusted(text), variables))


def test_the_firewall_lets_in_what_was_asked_for(tmp_path: Path) -> None:
    text = rendered("firewall.nft.j2", tmp_path, host_look={"ssh": {"ports": [22, 2222]}, "bridges": ["shopbr"]},
                    host_firewall_ssh_from=["192.0.2.0/24", "2001:db8::/32"], host_firewall_inside=["wg0"],
                    host_firewall_open=["443/udp", "8000-8100/tcp"],
                    host_firewall_rules=["ip protocol esp accept"])  # fmt: skip
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    assert [line for line in lines if "accept" in line and "policy" not in line] == [
        'iifname "lo" accept', 'iifname "docker0" accept', 'iifname "docker_gwbridge" accept', 'iifname "br-*" accept',
        'iifname "landfall" accept', 'iifname "shopbr" accept', 'iifname "wg0" accept',
        "ct state established,related accept", "meta l4proto { icmp, ipv6-icmp } accept",
        "udp sport 67 udp dport 68 accept",
        "udp sport 547 udp dport 546 accept",
        "ip saddr 192.0.2.0/24 tcp dport 22 accept", "ip6 saddr 2001:db8::/32 tcp dport 22 accept",
        "ip saddr 192.0.2.0/24 tcp dport 2222 accept", "ip6 saddr 2001:db8::/32 tcp dport 2222 accept",
        "udp dport 443 accept", "tcp dport 8000-8100 accept", "ip protocol esp accept",
    ]  # fmt: skip
    end = lines.index("counter drop")
    assert lines[end + 1] == "}" and "priority -150" in text
    # What containers ask for is judged elsewhere, and goes on to Docker's rules
    assert not [line for line in lines[end:] if line.endswith("accept")]


def test_the_bridge_of_each_network_is_that_of_containers_but_for_the_way_outside(
    look: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine names the bridge of a stack's network after the network, docker's own are br- and docker0."""
    networks = "docker0\n\nlandfall\nstaging-landfall\nbr0\n"
    routes = "default via 192.0.2.1 dev br0 proto static\n192.0.2.0/24 dev br0\n"
    assert look.bridges(networks, routes) == ["docker0", "landfall", "staging-landfall"]
    assert look.bridges("", routes) == []
    # A network on the way outside lets nobody in, and while the engine is silent its networks are those of before
    tasks = (rolekit.ROLES / "host/tasks/host.yml").read_text()
    assert 'inside: "{{ host_own_bridges + ' in tasks
    monkeypatch.setattr(look, "said", lambda *_argv: "")
    assert look.docker_networks({"bridges": ["br-*", "mybr"]}).split() == ["br-*", "mybr"]
    assert look.docker_networks({}) == ""
    # That of the stack is known before its network is there
    text = rendered("firewall.nft.j2", tmp_path, host_look={"ssh": {"ports": [22]}, "bridges": []},
                    landfall_prefix="a-long-name-")  # fmt: skip
    assert f'iifname "{bridge_name("a-long-name-landfall")}" accept' in text


def test_a_network_of_another_stack_is_let_in_by_the_next_run(tmp_path: Path) -> None:
    (step,) = rolekit.tasks("host")
    found = []
    for networks in ({}, {"landfall": {"bridge": "landfall"}}, {"shop": {"bridge": "shopbr"}, "other": {"bridge": ""}}):
        values = {**rolekit.inventory(tmp_path), **rolekit.trusted(dict(step["vars"])),
                  "ansible_facts": {"landfall_state": {"networks": networks}}}  # fmt: skip
        found.append(rolekit.template(rolekit.trusted("{{ host_bridges }}"), values))
    first, same, other = found
    assert first == same == ["docker0", "docker_gwbridge", "br-*", "landfall"]
    assert other == [*first, "shopbr"]
    assert "'bridges': host_bridges" in step["vars"]["host_asked_now"]


@pytest.mark.parametrize(
    ("protocols", "udp"), [(["h1", "h2", "h3"], ["443/udp"]), (["h1", "h2"], []), (None, ["443/udp"])]
)
def test_udp_is_let_in_and_published_where_http3_is_spoken(tmp_path: Path, protocols: Any, udp: List[str]) -> None:
    variables = {**rolekit.inventory(tmp_path), "caddy_protocols": protocols}
    if protocols is None:  # a play without the role caddy
        del variables["caddy_protocols"], variables["caddy_publish"]
    else:
        published = rolekit.template(rolekit.trusted("{{ caddy_publish }}"), variables)
        assert published == ["80:80", "443:443", *(f"443:{port}" for port in udp)]
    assert rolekit.template(rolekit.trusted("{{ host_firewall_open }}"), variables) == ["80/tcp", "443/tcp", *udp]


def test_what_the_proxy_publishes_elsewhere_is_let_in(tmp_path: Path) -> None:
    publish = ["80:80", "8443:443", "0.0.0.0:8443:443/udp", "127.0.0.1:9443:443"]
    variables = rolekit.inventory(tmp_path, caddy_publish=publish)
    found = rolekit.template(rolekit.trusted("{{ host_firewall_open }}"), variables)
    assert found == ["80/tcp", "443/tcp", "8443/tcp", "8443/udp"]


def leaving(tmp_path: Path, **values: Any) -> List[str]:
    text = rendered("firewall.nft.j2", tmp_path, host_look={"ssh": {"ports": [22]}, "bridges": []}, **values)
    return [line.strip() for line in text.partition("counter drop")[2].splitlines() if line.strip()]


def test_containers_are_kept_from_where_providers_tell_credentials(tmp_path: Path) -> None:
    lines = leaving(tmp_path)
    told = [line for line in lines if line.endswith("reject")]
    assert len(told) == 2
    # All of link-local, Alibaba, Azure, Oracle; Amazon, Google, Scaleway, Linode, Oracle
    assert {"169.254.0.0/16", "100.100.100.200", "168.63.129.16", "192.0.0.192"} <= set(
        re.findall(r"[0-9./]+", told[0])
    )
    assert set(re.findall(r"fd[0-9a-f:]+", told[1])) == {
        "fd00:ec2::254", "fd20:ce::254", "fd00:42::42", "fd00:a9fe:a9fe::1", "fd00:c1::a9fe:a9fe"}  # fmt: skip
    assert lines.index("meta l4proto { tcp, udp } th dport 53 return") < lines.index(told[0])
    assert [line for line in lines if "jump" in line] == [
        f'iifname "{bridge}" jump asked' for bridge in ("docker0", "docker_gwbridge", "br-*", "landfall")
    ]
    assert "forward" not in "".join(leaving(tmp_path, host_containers_metadata=True))


def test_containers_reach_what_was_named_and_nothing_else(tmp_path: Path) -> None:
    lines = leaving(tmp_path, host_egress=True, host_egress_networks=["192.0.2.0/24", "2001:db8::/32"],
                    host_egress_ports=["53/udp", "443/tcp"], host_firewall_inside=["wg0"])  # fmt: skip
    begin = lines.index("chain leaving {")
    assert lines[begin + 1 : lines.index("}", begin)] == [
        "ct state established,related accept", 'oifname "docker0" accept', 'oifname "docker_gwbridge" accept',
        'oifname "br-*" accept', 'oifname "landfall" accept', 'oifname "wg0" accept', "ip daddr 192.0.2.0/24 accept",
        "ip6 daddr 2001:db8::/32 accept", "udp dport 53 accept", "tcp dport 443 accept", "counter reject",
    ]  # fmt: skip
    # Of other stacks and of what others run on the VPS nothing is filtered, unless the engine chooses the network
    assert 'iifname "landfall" ip saddr 172.30.0.0/24 jump leaving' in lines
    assert 'iifname "br-*" ip saddr 172.30.0.0/24 jump leaving' in lines
    assert 'iifname "br-*" jump leaving' in leaving(tmp_path, host_egress=True, host_egress_of=[])


def test_what_is_there_for_the_other_hosts_of_the_stack_need_not_be_named(look: ModuleType) -> None:
    def ports(private: str) -> List[str]:
        known = look.known_addresses(ADDRESSES, private)
        return [one["port"] for one in look.answering(SS, known, ["lo", "docker0", "br-*"])]

    assert "6379/tcp" in ports("") and "6379/tcp" not in ports("10.0.0.5")
    assert {"22/tcp", "8080/tcp"} <= set(ports("10.0.0.5"))


def test_the_firewall_lets_in_the_other_hosts_of_the_stack_at_the_private_address_alone(tmp_path: Path) -> None:
    text = rendered("firewall.nft.j2", tmp_path, host_look={"ssh": {"ports": [22]}, "bridges": []},
                    landfall_private_address="10.99.0.1", landfall_peers=["10.99.0.2", "10.99.0.3"])  # fmt: skip
    assert [line.strip() for line in text.splitlines() if "10.99" in line] == [
        "ip saddr 10.99.0.2 ip daddr 10.99.0.1 accept", "ip saddr 10.99.0.3 ip daddr 10.99.0.1 accept"]  # fmt: skip


def test_the_report_is_written_whole_and_only_where_somebody_reads_it(tmp_path: Path) -> None:
    script = tmp_path / "report"
    script.write_text(rendered("report.sh.j2", tmp_path, host_reports=str(tmp_path / "it's here")))
    assert subprocess.run(["sh", str(script)], check=False).returncode == 0
    (tmp_path / "it's here").mkdir()
    assert subprocess.run(["sh", str(script)], check=False).returncode == 0
    (found,) = (tmp_path / "it's here").iterdir()
    assert found.name == "landfall-host.prom"
    assert found.read_text().splitlines()[-1].startswith("node_reboot_required ")
