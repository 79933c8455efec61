"""A new version starts beside the one that runs: at no step nobody serves."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any, Dict, Iterator, List, Set

import pytest
from ansible_collections.landfall.vps.plugins.module_utils import records, rotation, switching, trip, watching

from tests.engine.rotating import Rotating, clean, deploy, files, made, wanted
from tests.engine.world import NETWORK


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rotating]:
    world = made(tmp_path, monkeypatch)
    yield world
    assert not world.broken, world.broken


def test_the_new_version_serves_before_the_old_one_is_touched(world: Rotating) -> None:
    told = world.watched(lambda: deploy(world, wanted(world, "x:2")))
    assert told["action"] == "recreated" and not told.get("failed"), told
    assert any("web-next started first: ready " in note for note in told["notes"]), told["notes"]
    assert world.state["web"]["image"] == "x:2" and clean(world)


def test_what_does_not_serve_never_touches_the_one_that_does(world: Rotating) -> None:
    before = world.state["web"]
    told = world.watched(lambda: deploy(world, wanted(world, "x:2", token=b"bad")))
    assert told["action"] == "rolled_back" and "web-next is unhealthy" in told["msg"]
    assert "the previous version was not touched and serves" in told["undone"]
    assert world.state["web"] is before and clean(world)


def test_one_that_serves_as_standby_alone_is_undone_by_the_old_one(world: Rotating) -> None:
    world.sick = {("web", "x:2")}
    told = world.watched(lambda: deploy(world, wanted(world, "x:2")))
    assert told["action"] == "rolled_back" and "the previous version was restored" in told["undone"], told
    assert world.state["web"]["image"] == "x:1" and clean(world)


def test_streams_that_never_end_are_cut_off_and_told(world: Rotating) -> None:
    world.patient, leaving = True, []
    mark = world.root / "edge/rotation/web-next.leaving"
    world.at_touch = lambda name: leaving.append((name, mark.exists()))
    told = world.watched(lambda: deploy(world, wanted(world, "x:2", drain=0.01)))
    assert leaving[0] == ("web", True), "streams that are cut off wait for the new one, and are not cut off twice"
    assert "1 connection of web still in use after 0 s was cut off" in told["notes"], told["notes"]
    assert "1 connection of web-next still in use after 0 s was cut off" in told["notes"]
    assert world.state["web"]["image"] == "x:2" and clean(world)


@pytest.mark.parametrize(
    ("ails", "errors", "said"),
    [
        ("container web-next became unhealthy", 0, "became unhealthy"),
        ("", 10, r"10 of 50 requests \(20.0 %\) were answered with 5xx, before it were 1.0 %"),
        ("", 2, ""),
    ],
)
def test_a_release_is_watched_while_the_old_one_is_still_there(
    world: Rotating, monkeypatch: pytest.MonkeyPatch, ails: str, errors: int, said: str
) -> None:
    before = world.state["web"]
    read = iter([watching.Figures(1000, 10)] * 2 + [watching.Figures(1050, 10 + errors)] * 2000)
    monkeypatch.setattr(watching, "figures", lambda *_arguments: next(read))
    monkeypatch.setattr(watching, "ailing", lambda *_arguments: ails)
    monkeypatch.setattr(switching, "pause", lambda _seconds: time.sleep(0.01))
    world.patient = True
    one = wanted(world, "x:2", drain=0.01, watch=0.1, error_ratio=0.05, min_requests=20)
    told = world.watched(lambda: deploy(world, one))
    assert bool(told.get("failed")) == bool(said) and clean(world)
    if said:
        assert re.search("0.0 s after requests were sent to it: .*" + said, told["msg"]), told["msg"]
        assert world.state["web"] is before and "was not touched and serves" in told["undone"]


def test_one_that_dies_while_the_old_one_is_drained_is_undone(world: Rotating) -> None:
    world.died = {"web-next"}
    before = world.state["web"]
    told = world.watched(lambda: deploy(world, wanted(world, "x:2")))
    assert "after it was let in: container web-next ended with exit code 3" in told["msg"], told
    assert world.state["web"] is before and clean(world)


def test_where_memory_is_short_it_is_replaced_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = made(tmp_path, monkeypatch)
    world.short = "a second container needs some 320 MB of memory, and 100 MB are free"
    told = deploy(world, wanted(world, "x:2"))
    assert told["notes"] == ["web was replaced in place: " + world.short] and clean(world)


def test_without_a_proxy_that_knows_both_it_is_replaced_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = made(tmp_path, monkeypatch, ["web"])
    told = deploy(world, wanted(world, "x:2"))
    assert "web was replaced in place: no proxy here leads to web-next as well yet" in told["notes"]
    assert world.state["web"]["image"] == "x:2" and not list((world.root / "edge/rotation").iterdir())


def test_one_that_no_proxy_leads_to_starts_first_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = made(tmp_path, monkeypatch, [])
    seen: List[Set[str]] = []
    monkeypatch.setattr(world, "touched", lambda name: seen.append({name, *world.state}))
    assert not deploy(world, wanted(world, "x:2", proxied=False)).get("failed")
    assert {"web", "web-next", "edge"} in seen and set(world.state) == {"web", "edge"}


def test_a_standby_that_is_left_behind_goes(world: Rotating) -> None:
    deploy(world, wanted(world, "x:2"))
    document = switching.standby_file(json.loads(files("x:2")["web/compose.yaml"]), "web", "web")
    world._up("web", document, False, [])
    (world.root / "edge/rotation/web-next.in").touch()
    told = trip.recover_all(str(world.root), NETWORK, "next", "ben@desk")
    assert told["notes"] == ["web-next: it stood by for an update that is over, and was removed"] and clean(world)


def test_a_standby_has_all_of_its_service_but_names_and_ports() -> None:
    document: Dict[str, Any] = {
        "name": "shop-app_web",
        "services": {
            "web": {
                "image": "x:1",
                "container_name": "shop-web",
                "hostname": "web",
                "ports": ["127.0.0.1:8000:8000"],
                "labels": {"org.landfall.stack": "shop-landfall"},
                "networks": {"shop": {"aliases": ["x"]}},
                "volumes": ["./secrets/web:/run/secrets:ro"],
            }
        },
        "networks": {"shop": {"external": True}},
    }
    found = switching.standby_file(document, "web", "shop-web")
    assert found == {
        "name": "shop-app_web__next",
        "services": {
            "web-next": {
                "image": "x:1",
                "container_name": "shop-web-next",
                "hostname": "web-next",
                "labels": {"org.landfall.stack": "shop-landfall", "org.landfall.standby": "true"},
                "networks": {"shop": None},
                "volumes": ["./secrets/web:/run/secrets:ro"],
            }
        },
        "networks": {"shop": {"external": True}},
    }
    assert document["services"]["web"]["ports"], "the document itself stays as it is"


def test_records_that_were_read_name_who_leads_where(world: Rotating) -> None:
    known = records.load_all(str(world.root))[0]
    found = rotation.Rotation(str(world.root), world, known)  # type: ignore[arg-type]
    assert found.leads_to(["web", "web-next"]) and found.leads_to(["web"]) and not found.leads_to(["web", "other"])
    assert not rotation.Rotation(str(world.root), world, {}).leads_to(["web"])  # type: ignore[arg-type]
