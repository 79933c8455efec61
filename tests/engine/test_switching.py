"""A new version starts beside the one that runs: at no step, and wherever the run dies, nobody serves."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Set

import pytest
from ansible_collections.landfall.vps.plugins.module_utils import (
    lease,
    records,
    room,
    rotation,
    switching,
    trip,
    watching,
)
from ansible_collections.landfall.vps.plugins.module_utils.plan import Container
from ansible_collections.landfall.vps.plugins.module_utils.probe import Unproven

from tests.engine.test_transaction import compose_file, folder
from tests.engine.world import NETWORK, World, install, request

EDGE = {
    "edge/compose.yaml": compose_file("edge", {"edge": 1}, "x:1"),
}
SERVES: Dict[str, Any] = {"api": "proxy", "service": "edge", "folder": "rotation", "settle": 1}


ROOM = room.missing


class Rotating(World):
    """A world with a proxy that looks at its marks from time to time, and so may still believe what was there before.

    ``sick`` are (container, image) that come up and do not serve. At each step somebody must serve who is surely sent
    requests, and nobody is touched who may be sent some.
    """

    def __init__(self, root: Path, upstreams: List[str]) -> None:
        super().__init__(root)
        self.upstreams = upstreams
        self.sick: Set[Any] = set()
        self.views: List[Set[str]] = []
        self.watching = False
        self.visitors = {"web": 0, "web-next": 0}
        self.broken: List[str] = []
        self.died: Set[str] = set()
        """Containers that served when they were proven, and do no more."""
        self.short = ""
        """Why there is no room for a second container."""
        self.patient = False
        """Whether visitors have streams that never end."""
        self.at_touch: Callable[[str], Any] = lambda _name: None

    def marked(self) -> Set[str]:
        """Who is in rotation by the marks."""
        place = self.root / "edge/rotation"
        there = {path.name for path in place.iterdir()} if place.is_dir() else set()
        found = {name for name in self.upstreams if not name.endswith("-next") and name + ".out" not in there}
        return found | {name for name in self.upstreams if name.endswith("-next") and name + ".in" in there}

    def serves(self, name: str) -> bool:
        return name in self.state and not self.is_sick(name) and b"bad" not in self.loaded(name)

    def containers(self) -> Dict[str, Dict[str, Any]]:
        found = super().containers()
        return {name: {**one, "health": "healthy" if self.serves(name) else "unhealthy"} for name, one in found.items()}

    def inspect(self, name: str) -> Dict[str, Any]:
        status = "running" if name in self.state and self.serves(name) and name not in self.died else "exited"
        return {"State": {"Status": status, "ExitCode": 3}, "RestartCount": 0}

    def is_sick(self, name: str) -> bool:
        return (name, self.state[name]["image"]) in self.sick

    def loaded(self, name: str) -> bytes:
        return b"".join(base64.b64decode(text) for text in self.state[name]["loaded"].values())

    def look(self, what: str) -> None:
        """Note what is wrong at this moment."""
        if not self.watching:
            return
        now = self.marked()
        self.views.append(now)
        surely = set.intersection(*self.views)
        if not any(self.serves(name) for name in surely):
            self.broken.append(f"{what}: nobody serves of {sorted(surely)}")

    def step(self, what: str = "", path: Any = "") -> None:
        self.look(f"before {what} {path}")
        super().step(what, path)

    def touched(self, name: str) -> None:
        """A container is about to be replaced or removed."""
        self.at_touch(name)
        if self.watching and name in self.upstreams and name in self.state:
            if name in set.union(self.marked(), *self.views):
                self.broken.append(f"{name} is touched while it may be sent requests")
            elif self.visitors.get(name) and not self.patient:
                self.broken.append(f"{name} is touched while it has requests in flight")

    def pause(self, seconds: float) -> None:
        """The proxy looks once in a second; each time one request is answered of those who are sent no more."""
        self.step("pause")
        if seconds >= SERVES["settle"]:
            self.views = [self.marked()]
        for name in self.visitors:
            gone = name not in set.union(set(), *self.views)
            self.visitors[name] = max(int(self.patient), self.visitors[name] - 1) if gone else 2

    def connections(self, _docker: Any, container: str, clients: List[str]) -> int:
        assert clients == ["edge"]
        return self.visitors.get(container, 0)

    def stop(self, name: str, _grace: int) -> None:
        self.touched(name)
        self.step()

    def remove_container(self, name: str) -> None:
        self.touched(name)
        super().remove_container(name)

    def _up(self, component: str, document: Any, force: bool, named: Any) -> None:
        before = {name: dict(one) for name, one in self.state.items()}
        for name, options in document["services"].items():
            if name in before and self._differs(before[name], options, force):
                self.touched(name)
        super()._up(component, document, force, named)

    def _differs(self, there: Dict[str, Any], options: Any, force: bool) -> bool:
        digest = hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest()
        return force or bool(there["hash"] != digest)

    def prove(self, _docker: Any, containers: Sequence[str], *_more: Any, **_named: Any) -> Dict[str, Any]:
        for name in containers:
            if name in self.state and self.is_sick(name):
                raise Unproven(f"container {name} is sick")
        return super().prove(_docker, containers)

    def watched(self, work: Any, step: Optional[int] = None) -> Any:
        """Carry out ``work``, until ``step``, while visitors come."""
        self.views, self.watching, self.visitors = [self.marked()], True, {"web": 2, "web-next": 0}
        try:
            return self.dies_at(step, work)
        finally:
            self.look("at the end")
            self.watching = False


def files(image: str, token: bytes = b"one") -> Dict[str, bytes]:
    return {"web/compose.yaml": compose_file("web", {"web": 1}, image), "web/secrets/token": token}


def wanted(world: World, image: str, run: str = "n", token: bytes = b"one", **update: Any) -> Dict[str, Any]:
    """What the controller sends for a service that starts first."""
    content = files(image, token)
    found = request(world.root, "web", content, run, reloads=False)
    option = {"order": "start-first", "proxied": True, "drain": 5, **update}
    document = json.loads(content["web/compose.yaml"])
    found["desired"]["meta"]["update"] = switching.described(option, document, {"web": Container("web", image)})
    return found


def deploy(world: World, one: Dict[str, Any]) -> Dict[str, Any]:
    told: Dict[str, Any] = trip.component(one, False, False)
    settled = trip.settle_all(str(world.root), NETWORK, one["run"], "anna@laptop")
    assert not settled.get("failed"), settled
    return told


def made(place: Path, patch: pytest.MonkeyPatch, upstreams: Optional[List[str]] = None) -> Rotating:
    (place / "root").mkdir()
    world = Rotating(place / "root", ["web", "web-next"] if upstreams is None else upstreams)
    install(world, patch)
    patch.setattr(rotation, "pause", world.pause)
    patch.setattr(room, "missing", lambda _docker, _container: world.short)
    patch.setattr(rotation, "connections", world.connections)
    patch.setattr(switching, "prove", world.prove)
    edge = request(world.root, "edge", EDGE, "e", reloads=False, drop_ins={"rotation": {}})
    edge["desired"]["meta"]["serves"] = [{**SERVES, "upstreams": world.upstreams}]
    deploy(world, edge)
    deploy(world, wanted(world, "x:1", "o"))
    return world


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rotating]:
    world = made(tmp_path, monkeypatch)
    yield world
    assert not world.broken, world.broken


def clean(world: Rotating) -> bool:
    marks = list((world.root / "edge/rotation").glob("*")) if "edge" in world.state else []
    return not marks and not world.leftovers() and world.marked() == {"web"} and set(world.state) == {"web", "edge"}


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


@pytest.mark.parametrize("way", ["good", "bad", "sick"])
def test_a_run_that_dies_anywhere_leaves_the_old_or_the_new_and_somebody_serves(way: str) -> None:
    place = folder()
    with pytest.MonkeyPatch.context() as patch:
        world = made(place, patch)
        world.sick = {("web", "x:2")} if way == "sick" else set()
        token = b"bad" if way == "bad" else b"one"
        before, saved = world.picture(), world.save(place / "saved")
        world.watched(lambda: deploy(world, wanted(world, "x:2", token=token)))
        after, steps, seen = world.picture(), world.steps, {"old": 0, "new": 0}
        assert (after == before) == (way != "good")
        for step in range(steps):
            world.load(saved)
            world.watched(lambda: deploy(world, wanted(world, "x:2", token=token)), step)
            assert not world.broken, f"step {step}: {world.broken}"
            lease.end(str(world.root), "n", "anna@laptop")
            told = world.watched(lambda: trip.recover_all(str(world.root), NETWORK, "next", "ben@desk"))
            assert not world.broken, f"step {step}, then: {world.broken} {told}"
            now = world.picture()
            assert now in (before, after), f"step {step}: neither old nor new; {told}"
            assert clean(world), f"step {step}: {world.leftovers()} {world.marked()} {set(world.state)} {told}"
            seen["old" if now == before else "new"] += 1
            deploy(world, wanted(world, "x:2", "again", token))
            lease.end(str(world.root), "again", "anna@laptop")
            assert world.picture() == after, f"step {step}: the next run did not finish"
        print(f"{steps} crash points, {seen}")
        assert steps > 60 and (seen["new"] > 10) == (way == "good")
    shutil.rmtree(place)


@pytest.mark.parametrize("way", ["good", "bad", "sick"])
def test_two_runs_that_die_one_after_another_leave_somebody_who_serves(way: str) -> None:
    """The second one dies while it concludes what the first left."""
    place = folder()
    with pytest.MonkeyPatch.context() as patch:
        world = made(place, patch)
        world.sick = {("web", "x:2")} if way == "sick" else set()
        token = b"bad" if way == "bad" else b"one"
        before, saved = world.picture(), world.save(place / "saved")
        world.watched(lambda: deploy(world, wanted(world, "x:2", token=token)))
        after, steps, tried = world.picture(), world.steps, 0
        for step in range(3, steps, 7):
            world.load(saved)
            world.watched(lambda: deploy(world, wanted(world, "x:2", token=token)), step)
            lease.end(str(world.root), "n", "anna@laptop")
            halfway = world.save(place / "halfway")
            world.watched(lambda: trip.recover_all(str(world.root), NETWORK, "next", "ben@desk"))
            for again in range(2, world.steps, 11):
                world.load(halfway)
                world.watched(lambda: trip.recover_all(str(world.root), NETWORK, "next", "ben@desk"), again)
                lease.end(str(world.root), "next", "ben@desk")
                world.watched(lambda: trip.recover_all(str(world.root), NETWORK, "last", "cem@home"))
                assert not world.broken, f"steps {step}, {again}: {world.broken}"
                assert world.picture() in (before, after) and clean(world), f"steps {step}, {again}"
                tried += 1
            shutil.rmtree(halfway[0])
        print(f"{tried} pairs of crash points")
        assert tried > 20
    shutil.rmtree(place)


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
