"""Services that were one component become one each: taken over one by one, and at any step each is the old or the new.

The old one is what the release before 2026-11-27 deployed: a record of format 1, one Compose project, three containers.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Dict, List, Mapping

import pytest
from ansible_collections.landfall.vps.plugins.module_utils import lease, records, trip

from tests.engine.test_transaction import compose_file, folder
from tests.engine.world import NETWORK, World, install, request

OLD = {
    "app/compose.yaml": compose_file("app", {"web": 1, "api": 1, "seed": 1}, "x:1"),
    "app/secrets/web/token": b"one",
    "prometheus/targets.d/app.yml": b"all three",
}
SERVICES = ("api", "seed", "web")


def member(service: str, text: bytes = b"two") -> Dict[str, bytes]:
    name = "app-" + service
    return {
        f"{name}/compose.yaml": compose_file("app_" + service, {service: 2}, "x:2"),
        f"{name}/secrets/{service}/token": text,
        f"prometheus/targets.d/{name}.yml": service.encode(),
    }


def requests(world: World, bad: str = "", run: str = "n", services: tuple[str, ...] = SERVICES) -> List[Dict[str, Any]]:
    """What the controller sends: each service as a component, then that the old one is to go."""
    found = []
    for service in services:
        files = member(service, b"bad" if service == bad else b"two")
        one = request(world.root, "app-" + service, files, run, reloads=False)
        one["claim"]["project"] = "app_" + service
        one["desired"]["meta"].update(role="app", stack="landfall", project="app_" + service)
        found.append(one)
    return [*found, request(world.root, "app", None, run)]


def deployed_before(world: World) -> None:
    """The state that the version before leaves: its records have no group."""
    trip.component(request(world.root, "app", OLD, "o", reloads=False), False, False)
    settled = trip.settle_all(str(world.root), NETWORK, "o", "anna@laptop")
    assert not settled.get("failed"), settled
    path = Path(records.path_of(str(world.root), "app"))
    kept = json.loads(path.read_text())
    kept.pop("group")
    path.write_text(json.dumps({**kept, "format": 1}))


def deploy(world: World, wanted: List[Dict[str, Any]]) -> Dict[str, Any]:
    told: Dict[str, Any] = trip.components(wanted, False, False)["components"]
    settled = trip.settle_all(str(world.root), NETWORK, wanted[0]["run"], "anna@laptop")
    assert not settled.get("failed"), settled
    return told


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    (tmp_path / "root").mkdir()
    world = World(tmp_path / "root")
    install(world, monkeypatch)
    deployed_before(world)
    return world


def projects(world: World) -> Dict[str, str]:
    return {name: one["project"] for name, one in sorted(world.state.items())}


def kept(world: World) -> Dict[str, List[str]]:
    good, bad = records.load_all(str(world.root))
    assert not bad
    return {name: sorted(record["containers"]) for name, record in good.items()}


def test_each_service_becomes_a_component_and_the_old_one_goes(world: World) -> None:
    told = deploy(world, requests(world))
    assert {name: result["action"] for name, result in told.items()} == {
        "app": "removed", "app-api": "recreated", "app-seed": "recreated", "app-web": "recreated",
    }  # fmt: skip
    assert told["app-web"]["reasons"][0].startswith("create: app-web/") and any(
        reason == "it was part of component app" for reason in told["app-web"]["reasons"]
    )
    assert projects(world) == {"api": "app_api", "seed": "app_seed", "web": "app_web"}
    assert kept(world) == {"app-api": ["api"], "app-seed": ["seed"], "app-web": ["web"]}
    assert not (world.root / "app").exists() and not (world.root / "prometheus/targets.d/app.yml").exists()
    assert not world.leftovers()
    again = deploy(world, requests(world, run="n2"))
    assert {result["action"] for result in again.values()} == {"none"}


def test_one_that_does_not_serve_stays_part_of_the_old_one_until_it_does(world: World) -> None:
    before = world.state["web"]
    told = deploy(world, requests(world, bad="web"))
    assert told["app-web"]["failed"] and "part of app, was restored and serves again" in told["app-web"]["undone"]
    assert not told["app-api"].get("failed") and not told["app-seed"].get("failed")
    assert told["app"]["notes"] == ["it stays as it is, since app-web still runs as part of it"]
    assert projects(world) == {"api": "app_api", "seed": "app_seed", "web": "app"}
    assert world.state["web"]["hash"] == before["hash"] and world.state["web"]["loaded"] == before["loaded"]
    assert kept(world) == {"app": ["web"], "app-api": ["api"], "app-seed": ["seed"]}
    assert not (world.root / "app-web").exists() and not world.leftovers()
    told = deploy(world, requests(world, run="n2"))
    assert not any(result.get("failed") for result in told.values())
    assert projects(world) == {"api": "app_api", "seed": "app_seed", "web": "app_web"}
    assert "app" not in kept(world)


def test_one_that_is_named_no_more_goes_with_the_old_one(world: World) -> None:
    deploy(world, requests(world, services=("api", "web")))
    assert projects(world) == {"api": "app_api", "web": "app_web"}
    assert kept(world) == {"app-api": ["api"], "app-web": ["web"]}


def test_the_service_that_has_the_role_s_name_keeps_its_place(world: World) -> None:
    deploy(world, requests(world)[-1:])
    old = {**OLD, "app/compose.yaml": compose_file("app", {"app": 1, "web": 1}, "x:1")}
    trip.component(request(world.root, "app", old, "o2", reloads=False), False, False)
    trip.settle_all(str(world.root), NETWORK, "o2", "anna@laptop")
    was = world.state["app"]
    own = {"app/compose.yaml": compose_file("app", {"app": 1}, "x:1"), "app/secrets/web/token": b"one"}
    told = deploy(world, [requests(world, services=("web",))[0], request(world.root, "app", own, "n", reloads=False)])
    assert not any(result.get("failed") for result in told.values())
    assert projects(world) == {"app": "app", "web": "app_web"} and world.state["app"] == was
    assert kept(world) == {"app": ["app"], "app-web": ["web"]}


def whole(world: World, service: str) -> str:
    """``old`` or ``new``: a service is wholly the one or wholly the other."""
    files = {str(p.relative_to(world.root)) for p in world.root.rglob("*") if p.is_file() and ".state" not in p.parts}
    known, name = kept(world), "app-" + service
    mine = {path for path in files if path.startswith((name + "/", f"prometheus/targets.d/{name}."))}
    found = (
        name in known,
        service not in known.get("app", []),
        world.state[service]["project"] == "app_" + service,
        mine == set(member(service)),
    )
    assert found == (True,) * 4 or (found == (False,) * 4 and not mine), f"{service}: {found} {mine}"
    return "new" if found[0] else "old"


@pytest.mark.parametrize("bad", ["", "seed"])
def test_a_run_that_dies_anywhere_leaves_each_service_old_or_new(bad: str) -> None:
    place = folder()
    with pytest.MonkeyPatch.context() as patch:
        (place / "root").mkdir()
        world = World(place / "root")
        install(world, patch)
        deployed_before(world)
        saved = world.save(place / "saved")
        world.dies_at(None, lambda: trip.components(requests(world, bad), False, False))
        after, steps = world.picture(), world.steps
        seen: Dict[str, int] = {}
        for step in range(steps):
            world.load(saved)
            world.dies_at(step, lambda: trip.components(requests(world, bad), False, False))
            lease.end(str(world.root), "n", "anna@laptop")
            trip.recover_all(str(world.root), NETWORK, "next", "ben@desk")
            trip.settle_all(str(world.root), NETWORK, "next", "ben@desk")
            states = {service: whole(world, service) for service in SERVICES}
            assert not bad or states[bad] == "old"
            assert not world.leftovers(), f"step {step}"
            seen[json.dumps(states)] = seen.get(json.dumps(states), 0) + 1
            trip.components(requests(world, bad, "again"), False, False)
            lease.end(str(world.root), "again", "anna@laptop")
            assert world.picture() == after, f"step {step}: the next run did not finish"
        assert steps > 100 and len(seen) >= 3
    shutil.rmtree(place)


def test_a_deployed_group_undoes_one_alone_and_leaves_its_siblings_containers(world: World) -> None:
    deploy(world, requests(world))
    before: Mapping[str, Any] = dict(world.state)
    changed = [request(world.root, "app-" + service, files, "n3", reloads=False) for service, files in (
        ("api", {**member("api"), "app-api/secrets/api/token": b"three"}),
        ("seed", {**member("seed"), "app-seed/secrets/seed/token": b"bad"}),
    )]  # fmt: skip
    for one in changed:
        project = one["desired"]["name"].replace("-", "_")
        one["claim"]["project"] = project
        one["desired"]["meta"].update(role="app", stack="landfall", project=project)
    told = deploy(world, changed)
    assert told["app-seed"]["failed"] and told["app-seed"]["action"] == "rolled_back"
    assert told["app-api"]["action"] == "recreated" and not told["app-api"].get("failed")
    assert world.state["web"] is before["web"], "nobody touched it"
    assert world.state["api"]["loaded"] != before["api"]["loaded"]
    assert world.state["seed"]["loaded"] == before["seed"]["loaded"]
