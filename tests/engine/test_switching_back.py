"""On the way back to what served before nothing is waited for that need not be."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import List, Set, Tuple

import pytest
from ansible_collections.landfall.vps.plugins.module_utils import switching, watching

from tests.engine.rotating import clean, deploy, made, wanted


def test_on_the_way_back_one_is_not_watched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = made(tmp_path, monkeypatch)
    deploy(world, wanted(world, "x:2"))
    monkeypatch.setattr(watching, "figures", lambda *_arguments: pytest.fail("it was watched when it was new"))
    told = world.watched(lambda: deploy(world, {**wanted(world, "x:1", "b", watch=30), "back": True}))
    assert not told.get("failed") and world.state["web"]["image"] == "x:1" and clean(world), told
    assert not world.broken, world.broken
    assert not any("watched" in note for note in told["notes"])


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_on_the_way_back_one_that_has_nothing_to_finish_is_replaced_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, busy: bool
) -> None:
    world = made(tmp_path, monkeypatch, [])
    deploy(world, wanted(world, "x:2", proxied=False))
    done = threading.Event()
    stopped: List[Tuple[str, int]] = []
    seen: List[Set[str]] = []

    def stop(name: str, grace: int) -> None:
        stopped.append((name, grace))
        done.wait(10 if busy else 0)

    real = world.inspect
    monkeypatch.setattr(world, "inspect", lambda name: {**real(name), "Config": {"StopTimeout": 60}})
    monkeypatch.setattr(world, "stop", stop)
    monkeypatch.setattr(switching, "SOON", 0.2)
    monkeypatch.setattr(world, "touched", lambda name: seen.append(set(world.state)) if name == "web" else None)
    told = deploy(world, {**wanted(world, "x:1", "b", proxied=False), "back": True})
    done.set()
    assert not told.get("failed") and stopped == [("web", 60)], told
    assert ("web-next" in seen[0]) == busy and set(world.state) == {"web", "edge"}
    assert world.state["web"]["image"] == "x:1"
