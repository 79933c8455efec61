"""New components of several tasks share a trip: checked side by side, placed one after another up to one that fails."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.landfall.vps.plugins.module_utils import compose, lease, trip

from tests.engine.test_transaction import DROP_INS, RECEIVER, compose_file, folder
from tests.engine.world import NETWORK, World, install, request

NAMES = ("cache", "web", "zoo")


def files(name: str, text: bytes = b"one") -> dict[str, bytes]:
    return {
        f"{name}/compose.yaml": compose_file(name, {name: 1}, "x:1"),
        f"{name}/config/a": text,
        f"{name}/secrets/token": text,
        f"prometheus/rules.d/{name}--r.yml": text,
    }


def requests(world: World, run: str = "n", texts: Mapping[str, bytes] | None = None) -> list[dict[str, Any]]:
    """What the controller sends: the first component, and two whose tasks come later."""
    found: list[dict[str, Any]] = []
    for name in NAMES:
        one = request(world.root, name, files(name, (texts or {}).get(name, b"one")), run, reloads=False)
        one["desired"]["meta"]["check"] = [{"argv": ["look", name], "service": name}]
        found.append({**one, "ahead": bool(found)})
    return found


def new_world(place: Path, patch: pytest.MonkeyPatch) -> World:
    (place / "root").mkdir()
    world = World(place / "root")
    install(world, patch)
    return world


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return new_world(tmp_path, monkeypatch)


def deploy(world: World, wanted: list[dict[str, Any]]) -> dict[str, Any]:
    """The trip, and what the handler does."""
    told: dict[str, Any] = trip.components(wanted, False, False)["components"]
    trip.settle_all(str(world.root), NETWORK, wanted[0]["run"], "anna@laptop")
    return told


def checkers(monkeypatch: pytest.MonkeyPatch, look: Callable[[str, Path], object]) -> None:
    """Let ``look`` be the checker: it is given the component and the folder that the checker sees as its config."""

    def throw_away(_image: str, argv: list[str], mounts: list[str], *_more: Any, **_options: Any) -> None:
        shown = [mount.split(":")[0] for mount in mounts if "staged-" in mount]
        look(argv[1], Path(shown[0]) if shown else Path())

    monkeypatch.setattr(compose, "throw_away", throw_away)


def test_the_checkers_of_all_run_side_by_side(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    together = threading.Barrier(len(NAMES), timeout=20)  # breaks, and so refuses, unless all wait at once
    checkers(monkeypatch, lambda _name, _folder: together.wait())
    told = deploy(world, requests(world))
    assert {name: result["action"] for name, result in told.items()} == dict.fromkeys(NAMES, "created")
    assert set(world.state) == set(NAMES) and not world.leftovers()
    assert all(result["seconds"].keys() >= {"stage", "check", "swap", "apply"} for result in told.values())


def test_nothing_of_a_component_is_in_place_while_it_is_checked(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, bool] = {}
    checkers(monkeypatch, lambda name, _folder: seen.update({name: (world.root / name / "compose.yaml").exists()}))
    deploy(world, requests(world))
    assert seen == dict.fromkeys(NAMES, False)


def test_what_comes_after_one_that_is_refused_is_not_begun(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def look(name: str, _folder: Path) -> None:
        if name == "web":
            raise compose.CommandFailed("no such thing")

    checkers(monkeypatch, look)
    told = deploy(world, requests(world))
    assert told["cache"]["action"] == "created" and list(told) == ["cache", "web"]
    assert told["web"]["msg"] == "web: look web: no such thing; of web nothing was changed"
    assert set(world.state) == {"cache"} and not world.leftovers()
    there = {str(p.relative_to(world.root)) for p in world.root.rglob("*") if p.is_file() and ".state" not in p.parts}
    assert there == set(files("cache"))
    checkers(monkeypatch, lambda _name, _folder: None)
    assert set(deploy(world, requests(world, "n2"))) == set(NAMES)
    assert set(world.state) == set(NAMES)


def test_who_takes_in_files_of_others_is_checked_in_its_turn(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """By then those are in place, and what was staged for it has them all."""
    seen: list[list[str]] = []
    store = request(world.root, "prometheus", RECEIVER, "n", drop_ins=DROP_INS)
    store["desired"]["meta"]["check"] = [{"argv": ["look", "prometheus"], "service": "prometheus"}]
    rules = world.root / "prometheus/rules.d"
    checkers(
        monkeypatch,
        lambda name, _folder: seen.append(sorted(p.name for p in rules.glob("*"))) if name == "prometheus" else None,
    )
    told = deploy(world, [*requests(world), {**store, "ahead": True}])
    assert not any(result.get("failed") for result in told.values())
    assert seen == [["cache--r.yml", "web--r.yml", "zoo--r.yml"]]


def test_another_run_at_work_refuses_the_first_and_begins_none(world: World) -> None:
    others = {"other/compose.yaml": compose_file("other", {"other": 1}, "x:1")}
    trip.component(request(world.root, "other", others, "o"), False, False)
    told = trip.components(requests(world), False, False)["components"]
    assert list(told) == ["cache"] and told["cache"]["busy"] and "of cache nothing was changed" in told["cache"]["msg"]
    assert not (world.root / "cache").exists()


def test_a_disk_that_refuses_what_is_staged_early_fails_the_turn_of_its_component(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkers(monkeypatch, lambda _name, _folder: None)
    (world.root / ".state").mkdir()
    (world.root / "web").write_text("no folder")
    told = deploy(world, requests(world))
    assert told["cache"]["action"] == "created" and told["web"]["failed"] and "zoo" not in told
    assert not world.leftovers()


def whole(world: World, name: str) -> bool:
    """Whether a component is there, wholly; fails where only a part of it is."""
    there = {str(p.relative_to(world.root)) for p in world.root.rglob("*") if p.is_file() and ".state" not in p.parts}
    mine = {path for path in there if path in files(name)}
    assert mine in (set(), set(files(name)))
    assert (name in world.state) == bool(mine)
    return bool(mine)


@pytest.mark.parametrize("bad", [{}, {"web": b"bad"}], ids=["all serve", "one does not"])
def test_a_run_that_dies_at_any_step_leaves_each_whole_or_absent(bad: Mapping[str, bytes]) -> None:
    place = folder()
    with pytest.MonkeyPatch.context() as patch:
        world = new_world(place, patch)
        checkers(patch, lambda _name, _folder: world.step())
        saved = world.save(place / "before")
        world.dies_at(None, lambda: deploy(world, requests(world, texts=bad)))
        steps = world.steps
        assert steps > 60
        for step in range(steps):
            world.load(saved)
            world.dies_at(step, lambda: deploy(world, requests(world, texts=bad)))
            lease.end(str(world.root), "n", "anna@laptop")
            trip.recover_all(str(world.root), NETWORK, "n2", "anna@laptop")
            trip.settle_all(str(world.root), NETWORK, "n2", "anna@laptop")
            assert [whole(world, name) for name in NAMES if name in bad] in ([], [False])
            again = deploy(world, requests(world, "n3"))
            assert not any(result.get("failed") for result in again.values()), (step, again)
            assert all(whole(world, name) for name in NAMES) and not world.leftovers()
