"""A VPS with a proxy that is told by marks whom to send requests, and a service that starts its new version first."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Set

import pytest
from ansible_collections.landfall.vps.plugins.module_utils import room, rotation, switching, trip
from ansible_collections.landfall.vps.plugins.module_utils.plan import Container
from ansible_collections.landfall.vps.plugins.module_utils.probe import Unproven

from tests.engine.test_transaction import compose_file
from tests.engine.world import NETWORK, World, install, request

EDGE = {
    "edge/compose.yaml": compose_file("edge", {"edge": 1}, "x:1"),
}
SERVES: Dict[str, Any] = {"api": "proxy", "service": "edge", "folder": "rotation", "settle": 1}


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


def clean(world: Rotating) -> bool:
    marks = list((world.root / "edge/rotation").glob("*")) if "edge" in world.state else []
    return not marks and not world.leftovers() and world.marked() == {"web"} and set(world.state) == {"web", "edge"}
