"""Groups of an inventory: who holds what, where the others are found, and what cannot be."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from ansible_collections.landfall.vps.plugins.plugin_utils import placement, placing

ALL = ("edge", "app", "workers", "data", "monitoring")


def known(host: str, groups: dict[str, list[str]], **addresses: str) -> dict[str, Any]:
    """The variables of ``host``; underscores in names of hosts stand for nothing."""
    return {
        "inventory_hostname": host,
        "groups": {"all": [], **{"landfall_" + place: hosts for place, hosts in groups.items()}},
        "hostvars": {name: {"landfall_private_address": address} for name, address in addresses.items()},
    }


GOOD = {"edge": ["web"], "app": ["web"], "workers": ["web"], "data": ["db"], "monitoring": ["watch"]}
WHERE = {"web": "10.99.0.1", "db": "10.99.0.2", "watch": "10.99.0.3"}


def test_a_host_in_no_group_is_alone() -> None:
    assert placement.read(known("vps", {})) is None
    assert placement.read({}) is None
    assert placement.read(known("vps", GOOD, **WHERE)) is None  # beside a stack on several hosts
    assert placement.faults(known("vps", {})) == []


def test_each_host_knows_who_holds_what() -> None:
    fleet = placement.read(known("db", GOOD, **WHERE))
    assert fleet is not None
    assert fleet.others == ["web", "watch"]
    assert [fleet.holds(fleet.me, stands) for stands in ((), ("data",), ("edge", "data"), ("edge",))] == [
        True, True, True, False]  # fmt: skip
    assert [fleet.home(stands) for stands in ((), ("data",), ("app",), ("monitoring",))] == ["", "", "web", "watch"]
    assert fleet.told() == (
        "web (10.99.0.1) holds edge, app, workers; db (10.99.0.2) holds data; watch (10.99.0.3) holds monitoring"
    )
    assert placement.peers(known("db", GOOD)["groups"], known("db", GOOD, **WHERE)["hostvars"], "db") == [
        "10.99.0.1", "10.99.0.3"]  # fmt: skip
    assert placement.peers({}, {}, "db") == []


def test_what_can_be_is_not_refused() -> None:
    assert placement.faults(known("web", GOOD, **WHERE), "172.30.0.0/24") == []
    one = {place: ["vps"] for place in ALL}
    assert placement.faults(known("vps", one, vps="192.168.1.5"), "172.30.0.0/24") == []
    assert placement.faults({"groups": {"landfall_hosts": ["vps"]}, "inventory_hostname": "vps"}) == []


@pytest.mark.parametrize(
    ("groups", "addresses", "said"),
    [
        ({"data": ["db", "web"]}, {}, "landfall_data: has 2 hosts (db, web); one host holds it, so name one"),
        ({"edge": []}, {}, "landfall_edge: has no host, while other groups have one"),
        ({"monitoring": []}, {}, "landfall_monitoring: has no host"),
        ({"data": []}, {}, "landfall_data: has no host"),
        ({"workers": ["db"]}, {}, "landfall_workers: db; these three stand on one host, so name the same in each"),
        ({"monitor": ["watch"]}, {}, "landfall_monitor: no group has this name; did you mean landfall_monitoring?"),
        ({"worker": ["watch"]}, {}, "landfall_worker: no group has this name; did you mean landfall_workers?"),
        ({}, {"db": ""}, "landfall_private_address: db has none; give the address by which the other hosts reach it"),
        ({}, {"db": "db.internal"}, "landfall_private_address: db has 'db.internal', which is no IPv4 address"),
        ({}, {"db": "203.0.113.7"}, "landfall_private_address: db has 203.0.113.7, which is public"),
        ({}, {"db": "127.0.0.1"}, "landfall_private_address: db has 127.0.0.1, which is its own alone"),
        ({}, {"db": "10.99.0.1"}, "landfall_private_address: db has 10.99.0.1, which is that of web"),
        ({}, {"db": "172.30.0.9"}, "db has 172.30.0.9, which lies in landfall_subnet (172.30.0.0/24)"),
    ],
)
def test_what_cannot_be_is_refused(groups: dict[str, Any], addresses: dict[str, str], said: str) -> None:
    found = placement.faults(known("web", {**GOOD, **groups}, **{**WHERE, **addresses}), "172.30.0.0/24")
    assert [one for one in found if said in one], found
    assert len(found) == 1, found


def test_all_faults_come_at_once() -> None:
    groups = {**GOOD, "data": ["db", "web"], "edge": [], "monitor": ["watch"]}
    assert len(placement.faults(known("web", groups, web="10.99.0.1", db="8.8.8.8"), "")) == 5


def test_both_sides_come_to_the_same_port() -> None:
    assert placement.private_port("store", 5432, (5432,)) == 5432
    ports = {placement.private_port(f"worker-{number}", 9090) for number in range(20)}
    assert len(ports) == 20 and all(20000 <= port < 30000 for port in ports)
    assert placement.private_port("worker-1", 9090) == placement.private_port("worker-1", 9090)
    assert placement.private_port("worker-1", 9090) != placement.private_port("worker-1", 9091)


COMPOSE = """name: shop
services:
  "web":
    image: "shop/web:1"
    ports:
      - "127.0.0.1:80:80"
    # What it is for
    extra_hosts: ["own.example.com:192.0.2.1"]
    healthcheck:
      test: ["CMD", "true"]

  # The second
  worker:
    image: "shop/web:1"
  bare:
    image: "shop/web:1"
    network_mode: host
networks:
  landfall:
    external: true
"""


def test_names_and_ports_are_added_to_what_there_is() -> None:
    document = yaml.safe_load(COMPOSE)
    text = placing.fitted(COMPOSE, document, ["store:10.99.0.2"], {"web": ["10.99.0.1:20001:9090"]})
    found = yaml.safe_load(text)
    web = found["services"]["web"]
    assert web.pop("ports") == ["127.0.0.1:80:80", "10.99.0.1:20001:9090"]
    assert web.pop("extra_hosts") == ["own.example.com:192.0.2.1", "store:10.99.0.2"]
    assert found["services"]["worker"].pop("extra_hosts") == ["store:10.99.0.2"]
    for key in ("ports", "extra_hosts"):
        document["services"]["web"].pop(key)
    assert found == document  # and nothing else
    assert "# What it is for" in text and "  # The second\n  worker:" in text
    assert placing.fitted(text, yaml.safe_load(text), ["store:10.99.0.2"], {"web": ["10.99.0.1:20001:9090"]}) == text


def test_a_vps_alone_keeps_its_files_to_the_byte() -> None:
    assert placing.fitted(COMPOSE, yaml.safe_load(COMPOSE), [], {}) is COMPOSE
    assert placing.ALONE.ports([{"port": 9090}], ["web"], "web") == {}


def test_a_file_that_is_not_written_in_blocks_is_refused() -> None:
    text = 'services: {web: {image: "shop/web:1"}}\n'
    with pytest.raises(placing.PlacingError, match=re.escape("does not write web as a block")):
        placing.fitted(text, yaml.safe_load(text), ["store:10.99.0.2"], {})


def test_only_what_others_use_is_published() -> None:
    place = placing.Place((), "10.99.0.2", (5432,), scraped=True)
    scrape: list[dict[str, Any]] = [
        {"port": 9187},
        {"port": 9115, "host": "prober", "service": "web"},
        {"port": 1, "service": "second"},
    ]
    assert place.ports(scrape, ["store", "second"], "store") == {
        "second": [f"10.99.0.2:{placement.private_port('second', 1)}:1"],
        "store": ["10.99.0.2:5432:5432", f"10.99.0.2:{placement.private_port('store', 9187)}:9187"],
    }
    # Who reads its targets stands here
    assert placing.Place((), "10.99.0.2", (), False).ports(scrape, ["store"], "store") == {}


def test_two_components_cannot_publish_one_port() -> None:
    files = {name: f'    ports:\n      - "10.99.0.2:20001:{port}"\n' for name, port in (("a", 1), ("b", 2))}
    assert placing.clashes(files, "10.99.0.2") == [
        "b: b would publish 10.99.0.2:20001, which a does; name one of its services otherwise"
    ]
    assert placing.clashes(files, "10.99.0.3") == []
