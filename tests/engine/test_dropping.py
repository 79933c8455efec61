"""One file of an operator's in a drop-in folder: taken in, or all is as before."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Optional

import pytest
from ansible_collections.landfall.vps.plugins.module_utils import audit, dropping

from tests.engine.test_transaction import compose_file, deploy
from tests.engine.world import NETWORK, World, install

FILES = {"web/compose.yaml": compose_file("web", {"web": 1}, "x:1"), "web/config/a": b"one"}


@pytest.fixture(name="world")
def fixture_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    (tmp_path / "root").mkdir()
    world = World(tmp_path / "root")
    install(world, monkeypatch)
    monkeypatch.setattr(dropping, "Docker", lambda: world)
    deploy(world, "web", FILES, "r", drop_ins={"off.d": {"reload": True}})
    return world


def drop(world: World, content: Optional[str], check: bool = False, **more: Any) -> dict[str, Any]:
    request = {"root": str(world.root), "network": NETWORK, "run": "d", "who": "anna@laptop", "component": "web",
               "folder": "off.d", "name": "on.conf", "content": content, "what": "maintenance on", **more}  # fmt: skip
    return dropping.drop(request, check)


def test_it_is_taken_in_and_taken_away(world: World) -> None:
    assert drop(world, "closed") == {"changed": True}
    place = world.root / "web/off.d/on.conf"
    assert place.read_text() == "closed" and place.stat().st_mode & 0o777 == 0o644
    assert "off.d/on.conf" in world.state["web"]["loaded"]
    assert drop(world, "closed") == {"changed": False}
    assert drop(world, None) == {"changed": True} and not place.exists()
    assert "off.d/on.conf" not in world.state["web"]["loaded"]
    assert [entry["what"] for entry in audit.read(str(world.root), 2)] == ["maintenance on"] * 2


def test_a_deploy_leaves_it(world: World) -> None:
    drop(world, "closed")
    deploy(world, "web", {**FILES, "web/config/a": b"two"}, "r2", drop_ins={"off.d": {"reload": True}})
    assert (world.root / "web/off.d/on.conf").exists()


def test_what_is_refused_leaves_all_as_it_was(world: World) -> None:
    drop(world, "closed")
    before = world.picture()
    said = drop(world, "bad")
    assert said["failed"] and "reload of web was refused" in said["msg"] and said["msg"].endswith("it was undone")
    assert world.picture() == before and not said["changed"]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"component": "shop"}, "there is no shop on this VPS"),
        ({"folder": "config"}, "web takes in nothing by config"),
        ({"name": "../x"}, "'../x' is no name of a file"),
    ],
)
def test_where_it_cannot_go_is_refused(world: World, more: dict[str, Any], words: str) -> None:
    before = world.picture()
    said = drop(world, "closed", **more)
    assert said["failed"] and words in said["msg"] and "nothing was changed" in said["msg"]
    assert world.picture() == before


def test_check_mode_changes_nothing(world: World) -> None:
    before = world.picture()
    assert drop(world, "closed", check=True) == {"changed": True} and world.picture() == before
