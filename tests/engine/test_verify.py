"""What verify expects, and what of a store's answers it takes for wrong."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from ansible_collections.landfall.vps.plugins.module_utils import stores, verify


def record(role: str = "", files: tuple[str, ...] = (), **meta: Any) -> dict[str, Any]:
    containers = {"c": {"service": "c", "image": "i:1"}}
    return {
        "containers": containers,
        "files": dict.fromkeys(files, "m"),
        "meta": {**meta, **({"role": role} if role else {})},
    }


def expectation(records: Mapping[str, Any], **wanted: Any) -> tuple[list[str], list[str], list[str]]:
    given = {"declared": {}, "roles": ["db", "shop", "off"], "enabled": ["db", "shop"], **wanted}
    names, faults, alone = verify.expectation(records, given)
    return names, ["{where}: {what}".format(**fault) for fault in faults], alone


def said(action: str = "none", *reasons: str, present: bool = True) -> dict[str, Any]:
    return {"present": present, "action": action, "reasons": reasons}


def test_without_a_comparison_roles_and_records_say_what_to_expect() -> None:
    assert expectation({"db": record()}) == (["db", "shop"], [], [])
    assert expectation({"db": record(), "shop-web": record("shop"), "shop-api": record("shop"), "own": record()}) == (
        ["db", "shop-api", "shop-web", "own"],
        [],
        [],
    )
    names, faults, _alone = expectation({"db": record(), "shop": record(), "off": record()})
    assert (names, faults) == (["db", "shop"], ["off: is deployed but not enabled in the inventory"])


def test_what_a_deployment_would_do_is_told() -> None:
    declared = {"db": said(), "shop": said("recreated", "change: shop/compose.yaml")}
    names, faults, alone = expectation({"db": record(), "shop": record(), "own": record()}, declared=declared)
    assert (names, alone) == (["db", "shop", "own"], ["own"])
    assert faults == [
        "shop: differs from the inventory: it would be recreated because change: shop/compose.yaml",
    ]


def test_what_the_inventory_has_no_more_is_told() -> None:
    declared = {"db": said(), "shop-web": said(), "off": said("removed", "state is absent", present=False)}
    records = {"db": record(), "shop-web": record("shop"), "shop-api": record("shop"), "off": record()}
    _names, faults, _alone = expectation(records, declared=declared)
    assert faults == [
        "off: is deployed but not enabled in the inventory",
        "shop-api: is deployed, but the inventory has it not",
    ]


def test_many_reasons_are_cut() -> None:
    declared = {"db": said("recreated", *[f"change: {number}" for number in range(8)])}
    [fault] = expectation({"db": record()}, declared=declared)[1]
    assert fault.endswith("change: 3; change: 4, and 3 more")


def test_a_component_that_is_not_deployed_is_expected_and_not_compared() -> None:
    assert expectation({}, declared={"db": said("created", "not deployed yet")}) == (["db"], [], [])


@pytest.mark.parametrize(
    ("wanted", "have", "wrong"),
    [
        ({"scrape_interval": "60s"}, {"scrape_interval": "1m"}, []),
        ({"scrape_interval": "90s"}, {"scrape_interval": "1m30s"}, []),
        ({"scrape_interval": "30s"}, {"scrape_interval": "1m"}, [("scrape_interval", "1m", "30s")]),
        ({"scrape_interval": "15s"}, {"scrape_interval": "unset"}, [("scrape_interval", "unset", "15s")]),
        ({"retention_time": "7d"}, {"retention": "1w"}, []),
        ({"retention_time": "14d"}, {"retention": "2w"}, []),
        ({"retention_time": "720h", "retention_size": "5GB"}, {"retention": "30d or 5GiB"}, []),
        ({"retention_time": "45d"}, {"retention": "6w3d or 5GiB"}, []),
        ({"retention_size": "1024MB"}, {"retention": "30d or 1GiB"}, []),
        ({"retention_size": "1536MB"}, {"retention": "30d or 1GiB512MiB"}, []),
        ({"retention_size": "5GB"}, {"retention": "30d or 15GiB"}, [("retention_size", "15GiB", "5GB")]),
        ({"retention_time": "3d"}, {"retention": "30d or 5GiB"}, [("retention_time", "30d", "3d")]),
        ({"retention_size": "5GB"}, {"retention": "30d"}, [("retention_size", "nothing", "5GB")]),
        ({"retention_time": "30d"}, {"retention": "5GiB"}, [("retention_time", "nothing", "30d")]),
        ({"retention_size": "0"}, {"retention": "30d"}, []),
        ({}, {"retention": "30d or 5GiB"}, []),
    ],
)
def test_settings_are_compared_as_durations_and_sizes(
    wanted: dict[str, str], have: dict[str, str], wrong: list[tuple[str, str, str]]
) -> None:
    assert stores.differing(wanted, {"scrape_interval": "15s", "retention": "15d", **have}) == wrong


class Server:
    """Stands for a store of metrics by a name that the engine never heard of."""

    loaded: tuple[str, ...] = ("shop--shop.yml",)
    retention = "1w or 5GiB"

    def fetch(self, url: str, **_: Any) -> tuple[int, str]:
        path = url.removeprefix("http://192.0.2.9:8428")
        labels = {"job": "shop", "__address__": "shop:1"}
        answers: dict[str, Any] = {
            "/api/v1/targets?state=active": {
                "activeTargets": [{"labels": labels, "discoveredLabels": labels, "health": "up", "scrapeUrl": "u"}]
            },
            "/api/v1/rules": {"groups": [{"file": f"/alerts/{name}", "rules": []} for name in self.loaded]},
            "/api/v1/status/config": {"yaml": "global:\n  scrape_interval: 1m\n"},
            "/api/v1/status/runtimeinfo": {"storageRetention": self.retention},
            "/api/v1/alerts": {
                "alerts": [{"state": "firing", "labels": {"alertname": name}} for name in ("Pulse", "Down")]
            },
        }
        return 200, json.dumps({"status": "success", "data": answers[path]})


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    made = Server()
    monkeypatch.setattr(stores, "address", lambda *_: "192.0.2.9")
    monkeypatch.setattr("ansible_collections.landfall.vps.plugins.module_utils.metrics_api.fetch", made.fetch)
    return made


def asked(_server: Server) -> stores.Store:
    serves = {"api": "metrics", "service": "victoria", "port": 8428, "pulse": "Pulse", "scrape_interval": "60s"}
    target = {"targets": ["shop:1"], "labels": {"job": "shop"}}
    records = {
        "victoria": record(
            serves=[{**serves, "retention_time": "7d", "retention_size": "5GB"}], takes={"rules": "alerts"}
        ),
        "shop": record(files=("victoria/alerts/shop--shop.yml", "other/rules.d/shop--shop.yml"), targets=[target]),
    }
    [found] = stores.served(records, list(records), "metrics")
    store = stores.Store(object(), "net", found, records, 0)  # type: ignore[arg-type]  # no engine is asked
    for check in (store.targets, store.rules, store.settings, store.alerts):
        check()
    return store


def test_a_store_by_any_name_is_asked_as_its_role_declares(server: Server) -> None:
    store = asked(server)
    assert store.faults == []
    assert store.facts == {
        "targets": {"expected": 1, "found": 1, "up": 1},
        "rules": {"files": 1, "rules": 0, "alerts": 0},
        "victoria": {"retention": "1w or 5GiB", "scrape_interval": "1m"},
        "firing_alerts": ["Down (none)"],
    }


def test_what_a_store_has_not_loaded_or_keeps_otherwise_is_told(server: Server) -> None:
    server.loaded, server.retention = (), "1w or 15GiB"
    assert [(fault["where"], fault["what"]) for fault in asked(server).faults] == [
        ("rules shop--shop.yml", "are on the VPS but not loaded"),
        ("victoria", "runs with retention size 15GiB instead of 5GB"),
    ]
