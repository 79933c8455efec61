"""Each service is planned, proven and undone alone: of two that change, the bad one is what it was (I7, I8)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from testbed import probe

HOSTS = Path(__file__).parent.parent / "hosts.yml"
SERVICES = ("web-gateway", "order-api", "fulfillment-worker", "database")


def changed_services() -> list[dict[str, Any]]:
    """The inventory's services: the gateway has one variable more, and the API a command that ends at once."""
    values = yaml.safe_load(HOSTS.read_text())["all"]["hosts"]["molecule-services"]
    items: list[dict[str, Any]] = values["app_services"]
    by_name = {item["name"]: item for item in items}
    by_name["web-gateway"]["environment"] = {"RELEASE": "2"}
    by_name["order-api"]["command"] = ["nonsense"]
    return items


def ids(host: Any) -> dict[str, str]:
    found = probe.containers(host)
    return {name: found[name]["Id"] for name in SERVICES}


def test_of_two_changed_services_the_bad_one_is_undone_and_the_others_stay(host: Any) -> None:
    before = ids(host)
    said, numbers, code = probe.playbook(
        "--tags", "app", "-e", json.dumps({"app_services": changed_services(), "app_prove_timeout": 20})
    )
    assert code and numbers["failed"] == 1, said
    assert "app-order-api: undone" in said and "app-web-gateway: recreated" in said, said
    found, after = probe.containers(host), ids(host)
    assert {name for name in SERVICES if after[name] != before[name]} == {"web-gateway", "order-api"}
    assert "RELEASE=2" in found["web-gateway"]["Config"]["Env"]
    assert found["order-api"]["Config"]["Cmd"] == ["api", "8000"]
    states = {name: found[name]["State"]["Health"]["Status"] for name in SERVICES}
    assert states == dict.fromkeys(SERVICES, "healthy")
    # A project, a folder and a record for each
    projects = {name: found[name]["Config"]["Labels"]["com.docker.compose.project"] for name in SERVICES}
    assert projects == {name: "app_" + name for name in SERVICES}
    folders = host.check_output("ls /opt/landfall/.state").split()
    assert {f"app-{name}.json" for name in SERVICES} <= set(folders) and "app.json" not in folders
    # As the inventory says: one service differs from it now, and nothing else is touched
    said, numbers, code = probe.playbook("--tags", "app")
    assert not code and numbers["changed"] == 1, said
    again = ids(host)
    assert {name for name in SERVICES if again[name] != after[name]} == {"web-gateway"}
