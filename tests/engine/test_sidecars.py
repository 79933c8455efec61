"""A component with a sidecar whose name sorts first, or that is written first, is known by its own service."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.landfall.vps.plugins.module_utils import applying, plan, stores, verify
from ansible_collections.landfall.vps.plugins.module_utils.probe import Unproven
from ansible_collections.landfall.vps.plugins.plugin_utils import saving

RECORD: dict[str, Any] = {
    "name": "shop",
    "containers": {
        "a-agent": {"service": "agent", "image": "agent:9"},
        "shop": {"service": "shop", "image": "example.com/shop:1.2"},
    },
    "files": {},
    "meta": {"drop_ins": {"rules.d": {"reload": True}}, "reload": {"port": 1, "path": "/", "service": "shop"}},
    "proven": False,
}


class Engine:
    """The containers that run, by name."""

    def __init__(self, *running: str) -> None:
        self.running = running

    def containers(self) -> dict[str, Any]:
        return {name: {"state": "running", "health": "healthy"} for name in self.running}

    def images(self) -> dict[str, Any]:
        return {}


@pytest.mark.parametrize("meta", [RECORD["meta"], {"drop_ins": {"rules.d": {"reload": True}}}])
@pytest.mark.parametrize(("running", "told"), [(["a-agent"], 0), (["shop"], 1), (["a-agent", "shop"], 1)])
def test_a_receiver_that_is_not_started_yet_is_not_asked_by_its_sidecar(
    monkeypatch: pytest.MonkeyPatch, running: list[str], told: int, meta: dict[str, Any]
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(applying, "read_records", lambda _root: {"shop": {**RECORD, "meta": meta}})
    monkeypatch.setattr(applying, "reload_component", lambda *arguments: asked.append(arguments))
    monkeypatch.setattr(applying, "prove", lambda *_arguments: {})
    applying.tell_receivers("/x", Engine(*running), "net", "web", ["shop/rules.d"])  # type: ignore[arg-type]
    assert len(asked) == told


def test_a_component_s_version_and_log_are_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(*_arguments: Any) -> None:
        raise Unproven("not ready")

    monkeypatch.setattr(verify, "prove", silent)
    engine = Engine("a-agent", "shop")
    made: Any = object.__new__(verify.Verifier)
    made.docker, made.network, made.wanted, made.faults = engine, "net", {"timeout": 1, "exercise": True}, []
    made.records = {"shop": {**RECORD, "proven": True}}
    row = made._component("shop", made.records["shop"], engine.containers(), {})
    assert row["version"] == "1.2"
    assert [fault["do"] for fault in made.faults] == ["docker logs shop"]


def test_counters_that_do_not_grow_point_to_the_component_s_own_log(monkeypatch: pytest.MonkeyPatch) -> None:
    work = {"requests": [], "increases": ["sum(done_total)"]}
    record = {**RECORD, "meta": {"exercise": work, "serves": [{"api": "metrics", "service": "shop", "port": 9}]}}
    monkeypatch.setattr(stores, "address", lambda *_arguments: "192.0.2.9")
    store = stores.Store(object(), "net", ("shop", "shop", {"port": 9}), {"shop": record}, 0)  # type: ignore[arg-type]
    monkeypatch.setattr(store.server, "number", lambda _text: 1.0)
    store.exercise(["shop"])
    assert [fault["do"] for fault in store.faults] == ["docker logs shop"]


def test_a_backup_asks_the_component_s_own_service() -> None:
    containers = {"a-agent": plan.Container("agent", "agent:9"), "shop": plan.Container("shop", "x:1")}
    [item] = saving.described([{"kind": "postgresql", "user": "x"}], containers, {}, "shop")["saves"]
    assert (item["service"], item["container"]) == ("shop", "shop")
