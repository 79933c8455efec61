"""A disk that is full or read-only from any step of a run on: the old or the new, and it says which."""

from __future__ import annotations

import errno
import os
import shutil
from typing import Any, Dict, Iterator, Optional, Tuple

import pytest
from ansible_collections.landfall.vps.plugins.module_utils import lease, trip

from tests import interruptions
from tests.engine.test_transaction import FIRST, SECOND, Files, deploy, folder, started_with
from tests.engine.world import NETWORK, Disk, World, install

BAD = {**SECOND, "web/config/a": b"bad"}


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    place = folder()
    (place / "root").mkdir()
    world = World(place / "root")
    install(world, monkeypatch)
    yield world
    shutil.rmtree(place)


def refused_at_each_step(
    world: World, number: int, old: Optional[Files], new: Optional[Files]
) -> Iterator[Tuple[int, Dict[str, Any], Any, Any]]:
    """Let the disk refuse from each effect of a run on; yields step, result and the pictures of before and after."""
    started_with(world, old, True)
    before, saved = world.picture(), world.save(world.root.parent / "saved")
    deploy(world, "web", new, "n")
    after = world.picture()
    world.load(saved)
    world.dies_at(None, lambda: deploy(world, "web", new, "n"))
    for step in range(world.steps):
        world.load(saved)
        world.steps, world.disk = 0, Disk(number, step)
        result = deploy(world, "web", new, "n")
        interruptions.note()
        yield step, result, before, after
        world.disk = None
        lease.end(str(world.root), "n", "anna@laptop")
        told = trip.recover_all(str(world.root), NETWORK, "next", "ben@desk")
        settled = trip.settle_all(str(world.root), NETWORK, "next", "ben@desk")
        assert not told["busy"], f"step {step}: {told}"
        assert world.picture() in (before, after), f"step {step}: neither old nor new: {told} {settled}"
        assert not world.leftovers(), f"step {step}"
        deploy(world, "web", new, "again")
        assert world.picture() == after, f"step {step}: the next run did not finish"


HINTS = {errno.ENOSPC: "free some of it and run again", errno.EROFS: "see dmesg, mend it and run again"}
CHANGES = [(FIRST, SECOND), (FIRST, BAD), (None, SECOND), (None, BAD), (SECOND, None)]


@pytest.mark.parametrize(("old", "new"), CHANGES)
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_disk_that_refuses_is_told_and_the_next_run_finishes(
    world: World, number: int, old: Optional[Files], new: Optional[Files]
) -> None:
    seen = 0
    for step, result, before, _after in refused_at_each_step(world, number, old, new):
        if not result.get("failed") and not result["settled"].get("failed"):
            continue  # all that it still had to do was possible
        seen += 1
        said = str(result)
        assert os.strerror(number) in said or "unhealthy" in said, f"step {step}: {said}"
        assert os.strerror(number) not in said or HINTS[number] in said, f"step {step}: {said}"
        if "nothing was changed" in str(result.get("msg")):
            assert world.picture() == before, f"step {step}: {result}"
    assert seen > 5


@pytest.mark.parametrize("new", [SECOND, BAD])
def test_going_back_needs_no_space(world: World, new: Files) -> None:
    for step, result, before, _after in refused_at_each_step(world, errno.ENOSPC, FIRST, new):
        if result.get("failed"):
            assert world.picture() == before, f"step {step}: {result}"
