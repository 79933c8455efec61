"""Who belongs to the private network, what each host is told, and what is refused before anything changes."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ansible.errors import AnsibleError
from ansible_collections.landfall.vps.plugins.module_utils import host
from ansible_collections.landfall.vps.plugins.plugin_utils import mesh, neighbours, session
from ansible_collections.landfall.vps.plugins.plugin_utils.wanted import Wanted, wanted

from tests import rolekit

SUBNET = "10.99.0.0/16"
HOME = "/etc/landfall/private_network"
SETTINGS = {"interface": "wg-landfall", "subnet": SUBNET}


def member(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "known": True, "address": "", "endpoint": f"{name}.example.org", "port": 51820, **more}


def faults(*found: dict[str, Any], subnet: str = SUBNET, own: str = "web", **more: Any) -> list[str]:
    try:
        mesh.members(
            found or (member("web"), member("data")), subnet, own, more.get("ranges", {}), more.get("play", ())
        )
    except mesh.MeshError as error:
        return str(error).split("\n- ")
    return []


def test_an_address_is_dealt_by_the_name_alone() -> None:
    assert mesh.dealt_address("web", SUBNET) == mesh.dealt_address("web", SUBNET)
    among = [mesh.members([member(name) for name in names], SUBNET, "web", {}) for names in (["web", "data"], ["web"])]
    assert among[0][0]["address"] == among[1][0]["address"], "whoever comes or leaves"
    dealt = [mesh.dealt_address(f"host{number}", "10.99.0.0/28") for number in range(500)]
    assert {int(address.rpartition(".")[2]) for address in dealt} == set(range(1, 15)), "no address of network or all"


@pytest.mark.parametrize(
    ("found", "variable", "right"),
    [
        ([member("web", address="10.99.0.1"), member("data", address="10.99.0.1")], "private_network_address",
         "web and data have the same; give one"),
        ([member("web"), member("data", address="10.98.0.1")], "private_network_address", "choose one there"),
        ([member("web"), member("data", address="10.99.0.0")], "private_network_address", "choose one there"),
        ([member("web"), member("data", address="data")], "private_network_address", "choose one there"),
        ([member("web"), member("data", endpoint="127.0.0.1")], "private_network_endpoint", "where the others reach"),
        ([member("web"), member("data", endpoint="localhost")], "private_network_endpoint", "where the others reach"),
        ([member("web"), member("data", endpoint="web.example.org")], "private_network_endpoint", "each its own"),
        ([member("web"), member("dta", known=False)], "private_network_hosts", "correct the name"),
        ([member("data")], "private_network_hosts", "does not name web"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(found: list[dict[str, Any]], variable: str, right: str) -> None:
    (fault,) = faults(*found)
    assert fault.startswith(variable + ": ") and right in fault


@pytest.mark.parametrize(
    ("subnet", "right"),
    [
        ("10.99.0.0/30", "too few"), ("8.8.8.0/24", "is not private"), ("127.0.0.0/8", "is not private"),
        ("10.99.0.1/16", "no range"), ("landfall", "no range"), ("fd00::/64", "no range"),
    ],
)  # fmt: skip
def test_a_range_that_will_not_do_is_refused(subnet: str, right: str) -> None:
    (fault,) = faults(subnet=subnet)
    assert fault.startswith("private_network_subnet: ") and right in fault and "such as 10.99.0.0/16" in fault


def test_all_faults_are_told_at_once() -> None:
    found = faults(member("web", endpoint="::1"), member("data", address="192.0.2.1"),
                   ranges={"landfall_subnet": "10.99.3.0/24", "docker_address_pool": ""}, play=["web"])  # fmt: skip
    assert sorted(fault.partition(":")[0] for fault in found) == [
        "private_network_address", "private_network_endpoint", "private_network_rotate", "private_network_subnet"
    ]  # fmt: skip
    assert faults(member("web", endpoint="127.0.0.1")) == [], "a host that is alone needs no endpoint"
    assert faults(play=["web", "data"]) == []


# -- keys --------------------------------------------------------------------------------------------------------------


def told(seen: dict[str, Any], before: str = "") -> dict[str, str]:
    members = mesh.members([member("web"), member("data"), member("watch")], SUBNET, "web", {})
    return {peer["name"]: peer["public_key"] for peer in mesh.config(members, "web", seen, before, SETTINGS)["peers"]}


def test_a_key_is_what_was_made_or_read_in_this_run_or_else_what_was_known() -> None:
    before = json.dumps({"peers": [{"name": "data", "public_key": "old"}, {"name": "gone", "public_key": "x"}]})
    assert told({}, before) == {"data": "old"}, "of watch nobody knows a key, and gone has left"
    assert told({"data": {"read": True, "public": "new"}}, before) == {"data": "new"}
    assert told({"data": {"read": False, "public": "cached"}}, before) == {"data": "old"}, "facts of another run"
    assert told({"data": {"read": True, "public": "new", "made": "newer"}}, before) == {"data": "newer"}
    assert told({"data": {"read": True}}, before) == {"data": ""}, "it has lost its key, and will make one"
    assert told({"watch": {"read": True, "public": "k"}}, "no JSON") == {"watch": "k"}
    both = mesh.keys_to_come({"peers": [{"name": "data", "public_key": "old"}]}, {"data": "next\n"})
    assert both["peers"] == [{"name": "data", "public_key": "old", "next_key": "next"}]


def variables(tmp_path: Path, read: dict[str, str], before: str = "", **more: Any) -> dict[str, Any]:
    """What the play knows on the host web once these hosts were read, each with its public key."""
    public = f"{HOME}/public"
    states = {name: session.as_fact({"texts": {public: key + "\n"} if key else {}}) for name, key in read.items()}
    own = {"texts": {f"{HOME}/network.json": before, public: read.get("web", "") + "\n"}, "files": {
        f"{HOME}/network.json": hashlib.sha256(before.encode()).hexdigest() + ":0644"}}  # fmt: skip
    states["web"] = session.as_fact(own)
    names = ["web", "data", "watch"]
    hosts = {name: {"ansible_host": f"192.0.2.{number}", "ansible_facts": states.get(name, {})}
             for number, name in enumerate(names)}  # fmt: skip
    found = rolekit.inventory(tmp_path, **{"private_network_enabled": True, **more})
    found.update(rolekit.trusted(rolekit.load(rolekit.ROLES / "private_network/vars/main.yml")))
    return {**found, "inventory_hostname": "web", "hostvars": hosts, "groups": {"all": names},
            "ansible_host": "192.0.2.0", "ansible_facts": states["web"],
            "ansible_play_hosts_all": names}  # fmt: skip


def value(name: str, known: dict[str, Any]) -> Any:
    return rolekit.template(rolekit.trusted("{{ " + name + " }}"), known)


def test_a_host_is_needed_where_a_peer_has_another_key_than_it_knows(tmp_path: Path) -> None:
    keys = {"web": "a", "data": "b", "watch": "c"}
    text = str(value("_private_network_text", variables(tmp_path, keys)))
    assert [peer["public_key"] for peer in json.loads(text)["peers"]] == ["b", "c"]

    def stays(read: dict[str, str], **more: Any) -> bool:
        return bool(value("_private_network_stays", variables(tmp_path, read, text, **more)))

    assert not stays(keys)
    assert not stays({"web": "a"}), "--limit web: what it knows of the others stays"
    assert stays({**keys, "data": "z"}) and stays({**keys, "data": ""}), "data was set up again"
    assert stays(keys, private_network_mtu=1380) and stays(keys, private_network_rotate=True)
    assert stays(keys, private_network_hosts=["web", "data"]), "watch has left"
    assert not stays({**keys, "data": "z"}, landfall_compare=True), "verify changes nothing"
    assert not stays({**keys, "data": "z"}, private_network_enabled=False)


def test_without_tunnels_nothing_is_worked_out_of_them(tmp_path: Path) -> None:
    """The main process asks this in each run."""
    asked = tmp_path / "asked"

    def ask(enabled: bool) -> bool:
        known = variables(tmp_path, {"web": "a"}, private_network_enabled=enabled)
        known["_private_network_config"] = rolekit.trusted(f"{{{{ lookup('pipe', 'touch {asked}') }}}}")
        value("_private_network_stays", known)
        return asked.exists()

    assert not ask(False) and ask(True)


def test_what_is_put_back_is_what_was_written(tmp_path: Path, program: ModuleType) -> None:
    """Otherwise the next run would take it for changed by somebody."""
    text = str(value("_private_network_text", variables(tmp_path, {"web": "a", "data": "b\u00e9", "watch": "c"})))
    assert program.shown(json.loads(text)) == text


@pytest.fixture(scope="module")
def program() -> ModuleType:
    path = rolekit.ROLES / "private_network/files/config/tunnels.py"
    spec = importlib.util.spec_from_file_location("landfall_tunnels", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "dont_write_bytecode", True)  # nothing is to lie among the role's files
        patch.setattr(sys, "path", [*sys.path])
        spec.loader.exec_module(module)
    return module


def test_an_address_of_the_inventory_is_taken(tmp_path: Path) -> None:
    known = variables(tmp_path, {})
    known["hostvars"]["data"]["landfall_private_address"] = "10.99.0.2"
    known["hostvars"]["watch"].update(landfall_private_address="10.99.0.3", private_network_address="10.99.0.4")
    found = {one["name"]: one["address"] for one in value("private_network_members", known)}
    assert found == {"web": mesh.dealt_address("web", SUBNET), "data": "10.99.0.2", "watch": "10.99.0.4"}
    assert value("private_network_address", known) == found["web"]
    assert value("private_network_address", {**known, "landfall_private_address": "10.99.0.9"}) == "10.99.0.9"


def test_faults_come_with_the_check_of_the_inventory(tmp_path: Path) -> None:
    known = variables(tmp_path, {}, private_network_subnet="172.30.0.0/16")
    with pytest.raises(AnsibleError, match=r"private_network_subnet: .* overlaps landfall_subnet"):
        value("private_network_members", known)
    assert value("private_network_members", {**known, "private_network_enabled": False}) == []


def test_without_the_private_network_nothing_is_asked_of_the_inventory(tmp_path: Path) -> None:
    known = rolekit.inventory(tmp_path)
    assert value("private_network_members", known) == [] and value("private_network_address", known) == ""
    assert value("host_firewall_tunnels", known) == []
    on = rolekit.inventory(tmp_path, private_network_enabled=True)
    assert value("host_firewall_tunnels", on) == [{"opens": "51820/udp", "interface": "wg-landfall"}]


# -- what the engine looks at ------------------------------------------------------------------------------------------


def test_a_range_that_somebody_has_on_the_vps_is_refused() -> None:
    roles = {"private_network": {"private_network_subnet": SUBNET, "private_network_interface": "wg-landfall"}}
    want = wanted(roles, [])
    assert want.ranges == {"private_network_subnet": (SUBNET, "wg-landfall")}

    def found(want: Wanted, *routes: tuple[str, str], **networks: str) -> list[str]:
        docker = {name: {"subnet": subnet} for name, subnet in networks.items()}
        reached = [{"range": text, "interface": interface} for text, interface in routes]
        return neighbours.range_faults(
            {"networks": docker, "network": {"routes": reached}}, want, {"subnet": "172.30.0.0/24"}
        )

    assert found(want, ("192.0.2.0/24", "eth0"), (SUBNET, "wg-landfall"), shop="172.18.0.0/16") == []
    (fault,) = found(want, ("10.99.3.0/24", "eth1"), shop="10.99.8.0/24")
    assert fault.startswith("private_network_subnet: 10.99.0.0/16 overlaps the Docker network shop (10.99.8.0/24)")
    assert "a route through the interface eth1 (10.99.3.0/24)" in fault and "such as 172.31.0.0/16" in fault
    assert found(wanted({}, []), ("10.99.3.0/24", "eth1")) == []


def test_texts_are_read_where_they_can_be(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("text")
    (tmp_path / "two").write_bytes(b"\xff")
    (tmp_path / "three").write_text("x" * (host.LONGEST_TEXT + 9))
    paths = [str(tmp_path / name) for name in ("one", "two", "three", "four", "")]
    found = host.texts_of(paths)
    assert found == {paths[0]: "text", paths[2]: "x" * host.LONGEST_TEXT}


def test_tunnels_pass_the_firewall(tmp_path: Path) -> None:
    known = {**rolekit.inventory(tmp_path), "host_look": {"ssh": {"ports": [22]}, "bridges": []},
             "host_firewall_tunnels": [{"opens": "51999/udp", "interface": "wg7"}]}  # fmt: skip
    text = (rolekit.ROLES / "host/templates/config/firewall.nft.j2").read_text()
    lines = [line.strip() for line in str(rolekit.template(rolekit.trusted(text), known)).splitlines()]
    assert 'iifname "wg7" accept' in lines and "udp dport 51999 accept" in lines
