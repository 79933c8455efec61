"""A controller that is gone, a clock that is set, a second controller: at every step of a run, the old or the new."""

from __future__ import annotations

import functools
import shutil
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

import pytest
from ansible_collections.landfall.vps.plugins.module_utils import lease, trip
from ansible_collections.landfall.vps.plugins.module_utils.lock import Lock, Locked

from tests import interruptions
from tests.engine.test_transaction import FIRST, SECOND, Files, deploy, folder, started_with
from tests.engine.world import NETWORK, World, install, request

BAD = {**SECOND, "web/config/a": b"bad"}
THIRD = {**FIRST, "web/config/sub/b": b"two", "prometheus/targets.d/web.yml": b"two"}
CHANGES = [(FIRST, SECOND), (FIRST, BAD), (None, SECOND), (None, BAD), (SECOND, None)]
DAY = 86400.0


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    place = folder()
    (place / "root").mkdir()
    world = World(place / "root")
    install(world, monkeypatch)
    yield world
    shutil.rmtree(place)


def on_the_vps(world: World, new: Optional[Files], run: str) -> Dict[str, Any]:
    """What of a run happens on the VPS without its controller: the trip that it has begun, and nothing after it."""
    return trip.component(request(world.root, "web", new, run), False, False)


def at_each_step(
    world: World, old: Optional[Files], new: Optional[Files], work: Callable[[], Any], happens: Callable[[], Any]
) -> Iterator[Tuple[int, Any, Dict[str, Any], Dict[str, Any]]]:
    """Let something happen before each step of ``work``; yields step, its result, and the pictures of old and new."""
    started_with(world, old, True)
    before, saved = world.picture(), world.save(world.root.parent / "saved")
    deploy(world, "web", new, "n")
    after = world.picture()
    world.load(saved)
    world.dies_at(None, work)
    for step in range(world.steps):
        world.load(saved)
        world.before_step = functools.partial(_count_down, [step], happens)
        result = work()
        world.before_step = None
        interruptions.note()
        yield step, result, before, after


def _count_down(left: List[int], happens: Callable[[], Any]) -> None:
    if left[0] == 0:
        happens()
    left[0] -= 1


def ends_whole(world: World, new: Optional[Files], before: Any, after: Any, what: str) -> None:
    """Another run comes by, at once, and then the same once more."""
    told = trip.recover_all(str(world.root), NETWORK, "next", "ben@desk")
    settled = trip.settle_all(str(world.root), NETWORK, "next", "ben@desk")
    assert not told["busy"], f"{what}: a run that is over keeps others out: {told}"
    assert world.picture() in (before, after), f"{what}: neither old nor new: {told} {settled}"
    assert not world.leftovers(), what
    deploy(world, "web", new, "again")
    assert world.picture() == after, f"{what}: the next run did not finish"


@pytest.mark.parametrize(("old", "new"), CHANGES)
def test_what_goes_on_after_its_connection_was_cut_leaves_the_old_or_the_new(
    world: World, old: Optional[Files], new: Optional[Files]
) -> None:
    """SIGINT, a closed laptop: sshd lets the program work on, its keeper says that the run is over, nobody settles."""
    ended = 0
    for step, result, before, after in at_each_step(
        world, old, new,
        lambda: on_the_vps(world, new, "n"),
        lambda: lease.end(str(world.root), "n", "anna@laptop"),
    ):  # fmt: skip
        if "has ended" in str(result.get("msg")):  # the word came before the program had the lock
            assert world.picture() == before, f"step {step}"
            ended += 1
        ends_whole(world, new, before, after, f"step {step}")
    assert ended


@pytest.mark.parametrize("days", [1, -1])
@pytest.mark.parametrize(("old", "new"), CHANGES)
def test_a_clock_that_is_set_in_the_middle_of_a_run_decides_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, old: Optional[Files], new: Optional[Files], days: int
) -> None:
    real, offset, answers = time.time, [0.0], []
    monkeypatch.setattr(time, "time", lambda: real() + offset[0])

    def jump() -> None:
        offset[0] = days * DAY
        answers.append(trip.recover_all(str(world.root), NETWORK, "other", "ben@desk"))

    for step, result, _before, after in at_each_step(world, old, new, lambda: deploy(world, "web", new, "n"), jump):
        # Whoever comes then is refused, or has come before the run had the VPS, or after it had given it back
        assert answers.pop()["busy"] or world.picture() == after, f"step {step}"
        assert world.picture() == after and not world.leftovers(), f"step {step}: {result}"
        offset[0] = 0.0
        ends_whole(world, new, after, after, f"step {step}")


@pytest.mark.parametrize(("old", "new"), CHANGES[:3])
def test_a_second_controller_that_comes_at_any_step_is_refused_or_has_the_vps_alone(
    world: World, old: Optional[Files], new: Optional[Files]
) -> None:
    """Its whole run, with other files, falls into one step of the first one's."""
    started_with(world, old, True)
    saved, place = world.save(world.root.parent / "start"), Path(world.root)
    deploy(world, "web", THIRD, "other")
    third = world.picture()
    world.load(saved)
    shutil.rmtree(saved[0])
    answers: List[Dict[str, Any]] = []
    between = 0

    def second() -> None:
        answers.append(deploy(world, "web", THIRD, "other"))
        lease.end(str(place), "other", "ben@desk")

    for step, first, _before, after in at_each_step(world, old, new, lambda: deploy(world, "web", new, "n"), second):
        other, now = answers.pop(), world.picture()
        if other.get("failed"):
            assert "another run is in progress" in other["msg"] and "nothing was changed" in other["msg"], step
            assert now == after, f"step {step}: {first}"
        else:
            between += 1
            # The first one goes further only as one that has just begun
            assert now in (third, after), f"step {step}: a mixture of both; {first}"
        lease.end(str(place), "n", "anna@laptop")
        ends_whole(world, new, now, now if new is BAD else after, f"step {step}")
    assert 0 < between < 12


def test_a_run_that_has_the_vps_keeps_it_when_it_concludes_what_another_left(world: World) -> None:
    root = str(world.root)
    with Lock(root, "mine", "anna@laptop").held("Docker Engine"):
        pass  # as landfall.vps.lock does
    trip.recover_all(root, NETWORK, "mine", "anna@laptop")
    with pytest.raises(Locked, match="another run is in progress"):
        Lock(root, "other", "ben@desk").acquire("next")
