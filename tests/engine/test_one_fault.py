"""One call that fails, wherever in a run: each component reports its own end, and the next run finishes."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any, Dict, Optional

import pytest
from ansible_collections.landfall.vps.plugins.module_utils import compose, lease, trip
from ansible_collections.landfall.vps.plugins.module_utils.docker_api import DockerError

from tests import interruptions
from tests.engine.test_transaction import FIRST, SECOND, Files, compose_file, folder, started_with
from tests.engine.world import NETWORK, World, install, request

BAD = {**SECOND, "web/config/a": b"bad"}
OTHER = {"api/compose.yaml": compose_file("api", {"api": 1}, "x:1"), "api/config/a": b"one"}
NEWER = {**OTHER, "api/config/a": b"two"}
CHANGES = [(FIRST, SECOND), (FIRST, BAD), (None, SECOND), (None, BAD), (SECOND, None)]
ENGINE: Dict[str, Callable[[], Exception]] = {
    "a command that hangs": lambda: compose.CommandFailed("docker compose: no end after 5 s"),
    "an engine that is away": lambda: DockerError("/run/docker.sock: Connection refused"),
}


class Faulty(World):
    """A world in which one effect fails, and no other."""

    fault_at = -1
    of_engine: Callable[[], Exception]

    def step(self, what: str = "", path: Any = "") -> None:
        super().step(what, path)
        if self.steps == self.fault_at:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path)) if what else self.of_engine()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[Faulty]:
    place = folder()
    (place / "root").mkdir()
    world = Faulty(place / "root")
    install(world, monkeypatch)
    yield world
    shutil.rmtree(place)


def both(world: World, new: Optional[Files], run: str) -> Dict[str, Any]:
    """A run that changes web and, after it, api; then what its handler does."""
    requests = [request(world.root, "web", new, run), request(world.root, "api", NEWER, run)]
    answer = trip.components(requests, False, False)
    return {**answer, "settled": trip.settle_all(str(world.root), NETWORK, run, "anna@laptop")}


@pytest.mark.parametrize("kind", ENGINE)
@pytest.mark.parametrize(("old", "new"), CHANGES)
def test_each_component_reports_its_own_end(
    world: Faulty, old: Optional[Files], new: Optional[Files], kind: str
) -> None:
    started_with(world, old, True)
    assert not trip.component(request(world.root, "api", OTHER, "o"), False, False).get("failed")
    trip.settle_all(str(world.root), NETWORK, "o", "anna@laptop")
    saved = world.save(world.root.parent / "saved")
    world.dies_at(None, lambda: both(world, new, "n"))
    after, steps = world.picture(), world.steps
    reported = 0
    for step in range(1, steps + 1):
        world.load(saved)
        world.steps, world.fault_at, world.of_engine = 0, step, ENGINE[kind]
        answer = both(world, new, "n")
        interruptions.note()
        world.fault_at = -1
        ends = answer["components"]
        assert set(ends) == {"web", "api"}, f"step {step}: {answer}"
        failed = [name for name, end in ends.items() if end.get("failed")]
        assert all(ends[name]["msg"].startswith(f"{name}: ") for name in failed), f"step {step}: {answer}"
        assert len(set(failed) - ({"web"} if new is BAD else set())) <= 1, f"step {step}: {answer}"
        reported += bool(failed)
        lease.end(str(world.root), "n", "anna@laptop")
        told = trip.recover_all(str(world.root), NETWORK, "next", "ben@desk")
        trip.settle_all(str(world.root), NETWORK, "next", "ben@desk")
        assert not told["busy"] and not world.leftovers(), f"step {step}: {told} {world.leftovers()}"
        both(world, new, "again")
        assert world.picture() == after, f"step {step}: the next run did not finish: {answer}"
    assert reported > 10
