"""A stack on three hosts, as a run of site.yml would deploy it, and a single VPS beside it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import fleetkit

ADDRESSES = {"web": "10.99.0.1", "db": "10.99.0.2", "watch": "10.99.0.3"}
PLACES = {"edge": "web", "app": "web", "workers": "web", "data": "db", "monitoring": "watch"}
HOLDS = {
    "web": {"alloy", "app", "blackbox_exporter", "caddy", "cadvisor", "celery-beat", "celery-enhancement",
            "celery-extraction", "celery-search", "node_exporter"},
    "db": {"alloy", "cadvisor", "celery_exporter", "node_exporter", "postgres", "postgres_exporter", "redis",
           "redis_exporter"},
    "watch": {"alertmanager", "alloy", "cadvisor", "grafana", "loki", "node_exporter", "prometheus"},
}  # fmt: skip
VALUES = {"caddy_app_host": "app.example.com", "caddy_grafana_host": "grafana.example.com", "caddy_tls": "internal",
          "app_database": "postgres"}  # fmt: skip
PUBLISHED = re.compile(r'^      - "([0-9.]+):(\d+):(\d+)"$', re.MULTILINE)
Seen = dict[str, dict[str, Any]]


def inventory(**hosts: dict[str, Any]) -> dict[str, Any]:
    groups: dict[str, Any] = {"landfall_" + place: {"hosts": {host: {}}} for place, host in PLACES.items()}
    return {"all": {"hosts": hosts, "children": groups, "vars": VALUES}}


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """What each of the three hosts would get, and one that is in no group."""
    hosts = {host: {"landfall_private_address": address} for host, address in ADDRESSES.items()}
    return fleetkit.planned(tmp_path_factory.mktemp("fleet"), inventory(**hosts, alone={}))


def compose(seen: Seen, host: str) -> dict[str, Any]:
    """Compose files of a host's components."""
    found = {}
    for name, one in seen[host]["components"].items():
        if one["present"]:
            found[name] = yaml.safe_load(one["files"][name + "/compose.yaml"])
    return found


@pytest.mark.parametrize("host", HOLDS)
def test_each_host_holds_what_its_groups_say(seen: Seen, host: str) -> None:
    assert seen[host]["faults"] == seen[host]["inventory"] == [] and seen[host]["later"] == {}
    assert set(compose(seen, host)) == HOLDS[host]
    assert seen[host]["told"][0].startswith("hosts: web (10.99.0.1) holds edge, app, workers; db (10.99.0.2)")


def test_a_host_in_no_group_is_what_it_would_be_without_the_others(seen: Seen, tmp_path: Path) -> None:
    assert set(compose(seen, "alone")) == set().union(*HOLDS.values())
    single = fleetkit.planned(tmp_path, {"all": {"hosts": {"alone": {}}, "vars": VALUES}})
    both = [single["alone"]["components"], seen["alone"]["components"]]
    public = [
        {
            name: {path: text for path, text in one["files"].items() if "/secrets/" not in path}
            for name, one in every.items()
        }
        for every in both
    ]
    assert public[0] == public[1]
    assert not any("10.99.0." in text for one in public[1].values() for text in one.values())


def test_names_lead_to_the_host_that_holds_them(seen: Seen) -> None:
    for host in HOLDS:
        names = {}
        for name, document in compose(seen, host).items():
            for service in document["services"].values():
                lines = dict(line.split(":", 1) for line in service.get("extra_hosts") or [])
                assert ("network_mode" in service) == (not lines), name
                names.update(lines)
        elsewhere = {"redis": "db", "postgres": "db", "prometheus": "watch", "alertmanager": "watch", "loki": "watch",
                     "grafana": "watch"}  # fmt: skip
        assert names == {name: ADDRESSES[home] for name, home in elsewhere.items() if home != host}


def test_nothing_is_published_but_on_the_private_address_and_by_the_proxy(seen: Seen) -> None:
    for host in HOLDS:
        for name, one in seen[host]["components"].items():
            for address, _outside, _inside in PUBLISHED.findall(one["files"].get(name + "/compose.yaml", "")):
                assert address == ADDRESSES[host] or address == "127.0.0.1", (host, name)
        every = [port for document in compose(seen, host).values() for service in document["services"].values()
                 for port in service.get("ports") or []]  # fmt: skip
        bare = [port for port in every if not port.startswith((ADDRESSES[host], "127.0.0.1"))]
        assert bare == (["80:80", "443:443", "443:443/udp"] if host == "web" else [])
    offered = {inside for document in compose(seen, "db").values() for service in document["services"].values()
               for port in service.get("ports") or [] for inside in [port.rsplit(":", 1)[1]]}  # fmt: skip
    assert offered == {"5432", "6379", "9121", "9187", "9808", "8080", "12345"}


def test_every_target_of_every_host_is_scraped_where_it_is_published(seen: Seen) -> None:
    published = {
        f"{address}:{outside}"
        for host in HOLDS
        for name, one in seen[host]["components"].items()
        for address, outside, _inside in PUBLISHED.findall(one["files"].get(name + "/compose.yaml", ""))
    } | {f"{address}:9100" for address in ADDRESSES.values()}
    store = seen["watch"]["components"]["prometheus"]
    entries = [
        entry
        for path, text in store["files"].items()
        if path.startswith("prometheus/targets.d/prometheus--")
        for entry in yaml.safe_load(text)
    ]
    assert {entry["targets"][0] for entry in entries} <= published
    for host in ("web", "db"):
        own = [(entry["labels"]["job"], entry["labels"].get("__param_target", "")) for one in
               seen[host]["components"].values() for entry in one["targets"]]  # fmt: skip
        have = [(entry["labels"]["job"], entry["labels"].get("__param_target", "")) for entry in entries
                if entry["labels"]["node"] == host]  # fmt: skip
        assert sorted(own) == sorted(have) and own
    # Two hosts' exporters are told apart, and the record says what verify is to find
    assert len({(entry["labels"]["job"], entry["labels"]["instance"]) for entry in entries}) == len(entries)
    assert [entry for entry in store["targets"] if entry["labels"]["node"] != "watch"] == entries


def test_rules_and_dashboards_of_all_hosts_lie_where_they_are_read_and_once(seen: Seen) -> None:
    for host in ("web", "db"):
        files = [path for one in seen[host]["components"].values() for path in one["files"]]
        assert not [path for path in files if ".d/" in path and "textfile.d/" not in path]
    watch = {path: text for one in seen["watch"]["components"].values() for path, text in one["files"].items()}
    alone = {path: text for one in seen["alone"]["components"].values() for path, text in one["files"].items()}

    def kinds(files: dict[str, str], folder: str) -> list[str]:
        return sorted(path.rpartition("--")[2] for path in files if path.startswith(folder)
                      and not path.endswith("presence.yml"))  # fmt: skip

    for folder in ("prometheus/rules.d/", "grafana/dashboards.d/"):
        assert kinds(watch, folder) == kinds(alone, folder)
    uids = [json.loads(text)["uid"] for path, text in watch.items() if path.startswith("grafana/dashboards.d/")]
    assert len(uids) == len(set(uids)) > 10


def test_each_container_of_each_host_is_missed_by_name(seen: Seen) -> None:
    rules = [
        rule
        for path, text in seen["watch"]["components"]["prometheus"]["files"].items()
        if path.startswith("prometheus/rules.d/") and path.endswith("presence.yml")
        for group in yaml.safe_load(text)["groups"]
        for rule in group["rules"]
    ]
    for host in ("web", "db"):
        for document in compose(seen, host).values():
            for service in document["services"].values():
                name = service["container_name"]
                assert [rule for rule in rules if rule["alert"] == "ContainerMissing" and rule["labels"]["name"] == name
                        and f'node="{host}"' in rule["expr"]], (host, name)  # fmt: skip
    containers = seen["watch"]["components"]["cadvisor"]["files"]["prometheus/rules.d/cadvisor--containers.yml"]
    assert "max by (name, node) (container_health_state" in containers


def test_hosts_of_a_stack_share_secrets(seen: Seen) -> None:
    def secret(host: str, component: str, name: str) -> str:
        return str(seen[host]["components"][component]["files"][f"{component}/secrets/{name}"]).strip()

    password = secret("db", "redis", "redis_password")
    assert password == secret("web", "app", "app/app_redis_password")
    assert password != secret("alone", "redis", "redis_password")


def test_what_is_needed_of_another_host_is_not_waited_for(seen: Seen) -> None:
    assert seen["alone"]["components"]["app"]["needs"] == ["postgres", "redis"]
    assert seen["web"]["components"]["app"]["needs"] == []
    assert seen["web"]["components"]["celery-search"]["needs"] == ["app"]
    assert seen["db"]["components"]["redis_exporter"]["needs"] == ["redis"]


def test_the_firewall_and_node_exporter_know_the_other_hosts(seen: Seen) -> None:
    for host, address in ADDRESSES.items():
        command = compose(seen, host)["node_exporter"]["services"]["node-exporter"]["command"]
        assert f"--web.listen-address={address}:9100" in command
    command = compose(seen, "alone")["node_exporter"]["services"]["node-exporter"]["command"]
    assert [part for part in command if "listen-address" in part] == ["--web.listen-address=172.30.0.1:9100"]


def test_lines_of_each_host_say_whose_they_are(seen: Seen) -> None:
    for host, label in (("web", 'node = "web"'), ("watch", 'node = "watch"'), ("alone", "")):
        config = seen[host]["components"]["alloy"]["files"]["alloy/config/config.alloy"]
        assert label in config and ("node = " in config) == bool(label)


def test_what_is_wrong_with_groups_and_addresses_is_told_with_the_rest_of_the_inventory(tmp_path: Path) -> None:
    wrong = inventory(web={"landfall_private_address": "172.30.0.9"}, db={"landfall_private_address": "203.0.113.7"},
                      watch={"landfall_private_address": ""}, other={})  # fmt: skip
    wrong["all"]["children"]["landfall_data"]["hosts"]["web"] = {}
    wrong["all"]["children"]["landfall_monitor"] = {"hosts": {"other": {}}}
    wrong["all"]["vars"] = {**VALUES, "landfall_mtu": 1}
    seen = fleetkit.planned(tmp_path, wrong)
    for host in ("web", "db", "watch"):
        told = seen[host]["inventory"]
        for part in ("landfall_mtu: 1 is no packet size", "landfall_data: has 2 hosts (db, web)",
                     "web has 172.30.0.9, which lies in landfall_subnet", "db has 203.0.113.7, which is public",
                     "watch has none", "landfall_monitor: no group has this name"):  # fmt: skip
            assert len([one for one in told if part in one]) == 1, (host, part, told)
    assert "did you mean landfall_monitoring?" in " ".join(seen["other"]["inventory"])
