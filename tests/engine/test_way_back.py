"""What is said where going back brings not everything back: a migration that was made, an old version that is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.landfall.vps.plugins.module_utils import applying, rollout, trip
from ansible_collections.landfall.vps.plugins.module_utils.probe import Unproven

from tests.engine.test_transaction import compose_file, deploy
from tests.engine.world import World, install, request

RELEASE = [{"service": "web", "argv": ["alembic", "upgrade", "head"]}]


@pytest.fixture(name="world")
def fixture_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    (tmp_path / "root").mkdir()
    world = World(tmp_path / "root")
    install(world, monkeypatch)
    monkeypatch.setattr(rollout, "_release", lambda *_arguments: None)  # it works
    deploy(world, "web", {"web/compose.yaml": compose_file("web", {"web": 1}, "x:1")}, "one")
    return world


def broken(world: World, release: list[dict[str, Any]]) -> str:
    """Deploy a version that does not serve; return all that is said."""
    wanted = request(world.root, "web", {"web/compose.yaml": compose_file("web", {"web": 2}, "x:2"),
                                         "web/config/a": b"bad"}, "two")  # fmt: skip
    wanted["desired"]["meta"]["release"] = release
    return str(trip.component(wanted, False, False))


def test_what_the_release_command_did_is_told(world: World) -> None:
    said = broken(world, RELEASE)
    assert "previous version was restored and serves again" in said
    assert "what 'alembic upgrade head' did is not taken back" in said


def test_without_a_release_command_nothing_is_told_of_one(world: World) -> None:
    said = broken(world, [])
    assert "restored and serves again" in said and "taken back" not in said


def test_an_old_version_that_cannot_start_any_more_says_why(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_arguments: Any, **_options: Any) -> dict[str, Any]:
        raise Unproven("container web keeps restarting")

    monkeypatch.setattr(applying, "prove_record", never)
    said = broken(world, RELEASE)
    _before, _but, after = said.partition("the previous files were restored, but container web keeps restarting")
    assert after.index("last words of web") < after.index("did is not taken back")
