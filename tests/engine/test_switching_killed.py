"""A run that starts a new version beside the old one, killed anywhere: somebody serves, then and after the next run."""

from __future__ import annotations

import shutil

import pytest
from ansible_collections.landfall.vps.plugins.module_utils import lease, trip

from tests.engine.rotating import clean, deploy, made, wanted
from tests.engine.test_transaction import folder
from tests.engine.world import NETWORK


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
        assert tried > 20
    shutil.rmtree(place)
