"""Releases: named, kept whole, listed, gone back to together; a run that dies on the way leaves one or the other."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional

import pytest
from ansible_collections.landfall.vps.plugins.module_utils import (
    going_back,
    lease,
    plan,
    release_list,
    releases,
    rollout,
    trip,
    verify,
)
from ansible_collections.landfall.vps.plugins.module_utils.probe import Unproven

from tests.engine.test_transaction import Files, compose_file
from tests.engine.world import NETWORK, World, install, request

ANNA = "anna@laptop"


@pytest.fixture(name="world")
def fixture_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    (tmp_path / "root").mkdir()
    world = World(tmp_path / "root")
    install(world, monkeypatch)
    monkeypatch.setattr(rollout, "_release", lambda *_arguments: None)  # it works
    return world


def version(number: int, image: str = "x:1", **more: bytes) -> Dict[str, Files]:
    """Web and its worker; the keys of ``more`` are files of web, with two underscores for a slash."""
    web = {
        "web/compose.yaml": compose_file("web", {"web": number}, image),
        "web/secrets/token": b"secret of %d" % number,
        **{f"web/{path.replace('__', '/')}": text for path, text in more.items()},
    }
    return {"web": web, "worker": {"worker/compose.yaml": compose_file("worker", {"worker": number}, image)}}


def deploy(
    world: World, stack: Mapping[str, Optional[Files]], name: str, run: str, commands: Optional[List[str]] = None
) -> Dict[str, Any]:
    """One run that deploys members of one release; what became of them and of it."""
    wanted = [request(world.root, component, files, run) for component, files in stack.items()]
    wants = {}
    for one in wanted:
        desired = one["desired"]
        if desired["name"] == "web-2":
            desired["meta"]["role"] = "web"
        services = {n: (c["service"], c["image"]) for n, c in desired["containers"].items()}
        identity = plan.identity(desired["name"], desired["files"], services)
        wants[desired["name"]] = identity if desired["present"] else ""
        if commands:
            desired["meta"]["release"] = [{"service": "web", "argv": commands}]
    told = {"name": name, "given": True, "commit": "c0ffee", "groups": ["web", "worker"], "wants": wants, "keep": 3}
    told["images"] = [c["image"] for one in wanted for c in one["desired"]["containers"].values()]
    answer = trip.components([{**one, "release": told} for one in wanted], False, False)
    settled = trip.settle_all(str(world.root), NETWORK, run, ANNA)
    return {**answer, "settled": settled, "release": settled.get("release") or answer.get("release")}


def back(world: World, name: str = "", run: str = "back", check: bool = False, **more: Any) -> Dict[str, Any]:
    common = {"root": str(world.root), "network": NETWORK, "run": run, "who": ANNA, "holder": None, "dead": ""}
    return trip.go_back({**common, "name": name, "confirm": "", **more}, check, True)


def served(world: World) -> List[str]:
    return [one["name"] for one in release_list.load_all(str(world.root)) if one["outcome"] == "complete"]


def now(world: World) -> str:
    found = releases.serving(str(world.root))
    return found["name"] if found else ""


def three(world: World) -> None:
    for number in (1, 2, 3):
        assert deploy(world, version(number), f"v{number}", f"r{number}")["release"]["outcome"] == "complete"


def test_a_change_of_several_components_is_one_release(world: World) -> None:
    told = deploy(world, version(1), "v1", "r1")["release"]
    assert (told["name"], told["outcome"], told["after"]) == ("v1", "complete", "")
    assert served(world) == ["v1"] and now(world) == "v1"
    release = release_list.load(str(world.root), "v1")
    assert release and set(release["components"]) == {"web", "worker"} and release["by"] == ANNA
    assert release["components"]["web"]["images"] == {"x:1": "sha256:x:1"} and release["commit"] == "c0ffee"
    kept = world.root / ".state/releases/v1/components/web/files/web/secrets/token"
    assert kept.read_bytes() == b"secret of 1"
    assert (world.root / ".state/releases").stat().st_mode & 0o777 == 0o700
    assert deploy(world, version(2), "v2", "r2")["release"]["after"] == "v1"


def test_a_run_of_which_one_component_changes_keeps_all_of_them(world: World) -> None:
    three(world)
    told = deploy(world, {"web": version(4)["web"]}, "v4", "r4")["release"]
    assert told["outcome"] == "complete"
    found = release_list.load(str(world.root), "v4")
    assert found and set(found["components"]) == {"web", "worker"}


def test_what_changes_nothing_makes_no_release(world: World) -> None:
    three(world)
    before = served(world)
    deploy(world, version(3), "v9", "again")
    assert served(world) == before and now(world) == "v3"


def test_what_served_before_is_that_release_again_but_by_another_name_it_is_another(world: World) -> None:
    three(world)
    assert deploy(world, version(2), "v2", "r4")["release"]["name"] == "v2"
    assert served(world) == ["v2", "v3", "v1"]
    assert deploy(world, version(3), "v5", "r5")["release"]["name"] == "v5"
    assert served(world) == ["v5", "v2", "v3"] and now(world) == "v5"


def test_as_many_as_wanted_are_kept(world: World) -> None:
    for number in range(1, 7):
        deploy(world, version(number), f"v{number}", f"r{number}")
    assert served(world) == ["v6", "v5", "v4"]
    assert sorted(path.name for path in (world.root / ".state/releases").iterdir()) == ["v4", "v5", "v6"]


def test_images_that_dropped_releases_pulled_go_and_those_of_kept_ones_stay(world: World) -> None:
    world.tags = [f"shop:{number}" for number in range(1, 9)]
    for number in range(1, 7):
        deploy(world, version(number, f"shop:{number}"), f"v{number}", f"r{number}")
    assert world.tags == [f"shop:{number}" for number in (4, 5, 6, 7, 8)]  # nobody deployed the last two
    assert not back(world, "v4").get("failed") and now(world) == "v4"


def test_images_of_releases_that_never_served_go_with_them(world: World) -> None:
    world.tags = ["shop:1", *(f"shop:bad{number}" for number in range(7))]
    deploy(world, version(1, "shop:1"), "v1", "r1")
    for number in range(7):
        assert (
            deploy(world, version(2, f"shop:bad{number}"), f"b{number}", f"b{number}")["release"]["outcome"] == "failed"
        )
    assert world.tags == ["shop:1", *(f"shop:bad{number}" for number in range(2, 7))]


def test_the_same_name_for_another_configuration_is_numbered(world: World) -> None:
    deploy(world, version(1), "v1", "r1")
    assert deploy(world, version(2), "v1", "r2")["release"]["name"] == "v1+2"
    assert served(world) == ["v1+2", "v1"]


def test_what_does_not_serve_is_told_as_failed_or_incomplete(world: World) -> None:
    three(world)
    worse = version(4)
    worse["worker"]["worker/config/a"] = b"bad"
    told = deploy(world, {"worker": worse["worker"]}, "v4", "r4")["release"]
    assert told["outcome"] == "failed" and "unhealthy" in told["why"] and now(world) == "v3"
    told = deploy(world, worse, "v4", "r5")["release"]
    assert told["outcome"] == "incomplete" and now(world) == "" and served(world) == ["v3", "v2", "v1"]
    # The name is free again
    assert deploy(world, version(4), "v4", "r6")["release"]["outcome"] == "complete"
    assert now(world) == "v4"


def test_going_back_brings_files_secrets_and_containers_of_all_components(world: World) -> None:
    deploy(world, version(1), "v1", "r1")
    before = world.picture()
    deploy(world, version(2, "x:2", config__new=b"x"), "v2", "r2")
    result = back(world)
    assert not result.get("failed") and result["changed"], result
    assert (result["release"], result["before"]) == ("v1", "v2")
    assert world.picture() == before and now(world) == "v1"
    left = release_list.load(str(world.root), "v2")
    assert left and left["why"] == f"left for v1 by {ANNA}"
    assert not back(world, "v1", "once more")["changed"]
    assert not back(world, "v2", "forward").get("failed") and now(world) == "v2"


def test_the_one_before_is_what_served_before(world: World) -> None:
    three(world)
    assert back(world)["release"] == "v2"
    # Again is forward again: what served last beside v2 is v3. Who wants v1 names it
    assert back(world, run="b2")["release"] == "v3"
    assert back(world, "v1", "b3")["release"] == "v1"
    deploy(world, version(4), "v4", "r4")
    assert back(world, run="b4")["release"] == "v1"


@pytest.mark.parametrize("by_deploy", [True, False])
def test_the_first_release_that_serves_again_goes_back_to_what_served_meanwhile(world: World, by_deploy: bool) -> None:
    deploy(world, version(1), "v1", "r1")
    deploy(world, version(2), "v1", "r2")
    if by_deploy:
        assert deploy(world, version(1), "v1", "r3")["release"]["name"] == "v1"
    else:
        assert back(world)["release"] == "v1"
    result = back(world, run="b2")
    assert (result.get("release"), result.get("before")) == ("v1+2", "v1"), result
    assert now(world) == "v1+2"


def test_what_serves_is_not_offered_as_what_to_go_back_to(world: World) -> None:
    deploy(world, version(1), "v1", "r1")
    said = back(world)
    assert said["failed"] and "no release before v1" in said["msg"] and "nothing was changed" in said["msg"]
    assert "name one of" not in said["msg"]
    deploy(world, version(2), "v2", "r2")
    deploy(world, {"web": version(4, config__a=b"bad")["web"]}, "v4", "r4")
    assert back(world, "v4", "b2")["msg"].split("go back to one of: ")[1].split(";")[0].strip(" .") == "v1"


def test_a_component_that_came_since_goes_and_one_that_went_comes_back(world: World) -> None:
    deploy(world, version(1), "v1", "r1")
    before = world.picture()
    another = {"web-2/compose.yaml": compose_file("web-2", {"web-2": 1}, "x:1")}
    wanted = deploy(world, {"web": version(2)["web"], "worker": None, "web-2": another}, "v2", "r2")
    assert wanted["release"]["outcome"] == "complete", wanted
    assert set(world.state) == {"web", "web-2"}
    result = back(world)
    assert not result.get("failed"), result
    assert world.picture() == before


def test_nothing_is_touched_if_the_release_is_not_whole(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    deploy(world, version(1), "v1", "r1")
    deploy(world, version(2, "x:2"), "v2", "r2")
    before = world.picture()
    for images, words in (
        ({"x:2": {"id": "sha256:x:2"}}, "the image x:1 is not on the VPS any more"),
        ({"x:1": {"id": "sha256:new"}, "x:2": {"id": "sha256:x:2"}}, "the image x:1 is another one by now"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(world, "images", lambda images=images: images)
            said = back(world, run=words)
        assert said["failed"] and words in said["msg"] and "nothing was changed" in said["msg"]
    (world.root / ".state/releases/v1/components/web/files/web/secrets/token").write_bytes(b"other")
    assert "its file web/secrets/token is missing or damaged" in back(world, run="b3")["msg"]
    assert world.picture() == before


@pytest.mark.parametrize(
    ("name", "words"), [("v9", "no release 'v9' here; there are: v3, v2, v1"), ("v4", "is failed and never served")]
)
def test_what_cannot_be_gone_back_to_is_refused(world: World, name: str, words: str) -> None:
    three(world)
    deploy(world, {"web": version(4, config__a=b"bad")["web"]}, "v4", "r4")
    said = back(world, name)
    assert said["failed"] and words in said["msg"] and "nothing was changed" in said["msg"]


def test_release_commands_since_ask_for_a_word(world: World) -> None:
    deploy(world, version(1), "v1", "r1", ["alembic", "upgrade", "head"])
    deploy(world, version(2), "v2", "r2", ["alembic", "upgrade", "head"])
    before = world.picture()
    said = back(world)
    assert "'alembic upgrade head' for v2" in said["msg"] and "-e confirm=v1" in said["msg"]
    assert "confirm" in back(world, run="b2", confirm="v2")["msg"] and world.picture() == before
    assert not back(world, run="b3", confirm="v1").get("failed") and now(world) == "v1"
    # To what is younger no word is needed
    assert not back(world, "v2", "b4").get("failed")


def test_release_commands_do_not_run_on_the_way_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    deploy(world, version(1), "v1", "r1", ["migrate"])
    deploy(world, version(2), "v2", "r2", ["migrate"])
    ran: List[Any] = []
    monkeypatch.setattr(rollout, "_release", lambda *arguments: ran.append(arguments))
    assert not back(world, confirm="v1").get("failed") and ran == []


def test_check_mode_tells_and_changes_nothing(world: World) -> None:
    three(world)
    before = world.picture()
    said = back(world, check=True)
    assert said["changed"] and set(said["components"]) == {"web", "worker"}
    shown = {one["before_header"]: one for one in said["components"]["web"]["diff"]}
    assert "secret of" not in str(shown) and '"v": 2' in shown["web/compose.yaml"]["after"]
    assert world.picture() == before and not (world.root / ".state/releases/open.json").exists()


def test_if_one_does_not_serve_all_of_what_was_left_serves_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    deploy(world, version(1), "v1", "r1")
    deploy(world, version(2), "v2", "r2")
    before = world.picture()
    real = world.prove

    def prove(docker: Any, containers: Any, *more: Any, **named: Any) -> Dict[str, Any]:
        if "worker" in containers and json.loads((world.root / "worker/compose.yaml").read_text())["services"][
            "worker"]["v"] == 1:  # fmt: skip
            raise Unproven("container worker is unhealthy")
        return real(docker, containers, *more, **named)

    monkeypatch.setattr("ansible_collections.landfall.vps.plugins.module_utils.applying.prove", prove)
    said = back(world)
    assert said["failed"] and "worker is unhealthy" in said["msg"] and said["undone"] == "v2 serves again"
    assert world.picture() == before and now(world) == "v2"


def test_what_serves_without_being_a_release_is_kept_before_going_back(world: World) -> None:
    three(world)
    trip.component(request(world.root, "web", version(7)["web"], "hand"), False, False)
    trip.settle_all(str(world.root), NETWORK, "hand", ANNA)
    assert now(world) == ""
    result = back(world)
    assert result["release"] == "v3" and now(world) == "v3"
    unnamed = [name for name in served(world) if name.startswith("unnamed-")]
    assert len(unnamed) == 1
    assert going_back.choose(str(world.root), "")["name"] == "v2", "nobody made what was kept on the way a release"
    back(world, unnamed[0], "b2")
    assert (world.root / "web/secrets/token").read_bytes() == b"secret of 7"


def test_a_run_that_goes_back_may_die_anywhere(world: World, tmp_path: Path) -> None:
    deploy(world, version(1), "v1", "r1")
    old = world.picture()
    deploy(world, version(2, "x:2", config__new=b"x"), "v2", "r2")
    new, saved = world.picture(), world.save(tmp_path / "saved")
    world.dies_at(None, lambda: back(world))
    steps = world.steps
    assert steps > 60 and world.picture() == old
    ended = set()
    for step in range(steps):
        world.load(saved)
        world.dies_at(step, lambda: back(world))
        lease.end(str(world.root), "back", ANNA)
        told = trip.recover_all(str(world.root), NETWORK, "next", "ben@desk")
        settled = trip.settle_all(str(world.root), NETWORK, "next", "ben@desk")
        found = world.picture()
        assert found in (old, new), f"step {step}: {told} {settled}"
        assert now(world) == ("v1" if found == old else "v2"), f"step {step}"
        left = [path.name for path in (world.root / ".state/releases").iterdir()]
        assert sorted(left) == ["v1", "v2"], f"step {step}: {left}"
        ended.add(now(world))
    assert ended == {"v1", "v2"}


def test_a_way_back_that_turned_round_and_is_tried_again_by_the_same_run_goes_where_it_is_told(world: World) -> None:
    deploy(world, version(1), "v1", "r1")
    deploy(world, version(2), "v2", "r2")
    root = str(world.root)
    release = release_list.load(root, "v1")
    assert release is not None
    common = {"root": root, "network": NETWORK, "run": "back", "who": ANNA, "holder": None}
    going_back.turn(root, going_back.begin(root, release, common), "it did not serve")
    result = back(world, "v1")
    assert not result.get("failed") and result["before"] == "v2" and now(world) == "v1"


def test_a_deploy_may_die_anywhere_and_the_next_run_says_what_became_of_the_release(
    world: World, tmp_path: Path
) -> None:
    deploy(world, version(1), "v1", "r1")
    old, saved = world.picture(), world.save(tmp_path / "saved")
    world.dies_at(None, lambda: deploy(world, version(2), "v2", "r2"))
    new, steps = world.picture(), world.steps
    for step in range(steps):
        world.load(saved)
        world.dies_at(step, lambda: deploy(world, version(2), "v2", "r2"))
        lease.end(str(world.root), "r2", ANNA)
        trip.recover_all(str(world.root), NETWORK, "next", "ben@desk")
        trip.settle_all(str(world.root), NETWORK, "next", "ben@desk")
        found = world.picture()
        expected = {True: "v1"}.get(found == old, "v2" if found == new else "")
        assert now(world) == expected, f"step {step}"
        assert not (world.root / ".state/releases/open.json").exists(), f"step {step}"
        deploy(world, version(2), "v2", "again")
        assert now(world) == "v2" and world.picture() == new, f"step {step}"


def test_the_state_of_the_stack_names_the_release_that_serves(world: World) -> None:
    def told() -> Any:
        checker = verify.Verifier.__new__(verify.Verifier)
        checker.root, checker.facts = str(world.root), {}
        checker.release()
        return checker.facts.get("release")

    assert told() is None
    three(world)
    assert re.fullmatch(r"v3 since [-0-9]{10} [:0-9]{5} UTC, commit c0ffee", told())
    back(world)
    assert told().startswith("v2 since ")
    trip.component(request(world.root, "web", version(7)["web"], "hand"), False, False)
    trip.settle_all(str(world.root), NETWORK, "hand", ANNA)
    assert told().startswith("none: what serves is not as any release was")


def test_a_clock_that_is_set_back_changes_no_order(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    for number, days in enumerate((0, -1, 1, -30), 1):
        monkeypatch.setattr(time, "time", lambda days=days: now + days * 86400)
        told = deploy(world, version(number), f"v{number}", f"r{number}")["release"]
        assert told["outcome"] == "complete" and told["seconds"] >= 0
    assert served(world) == ["v4", "v3", "v2"], "three are kept, the last one first"
    assert back(world)["release"] == "v3"
