"""A run may die at any step and a second one come at any: what is there afterwards is all old or all new."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, Dict, Iterator, Mapping, Optional, Tuple

import pytest
from ansible_collections.landfall.vps.plugins.module_utils import lease, trip
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from tests import interruptions
from tests.engine.world import NETWORK, World, install, request

RECEIVER = {
    "prometheus/compose.yaml": json.dumps(
        {"name": "prometheus", "services": {"prometheus": {"image": "x:1", "v": 1}}}
    ).encode(),
    "prometheus/config/prometheus.yml": b"global",
}
DROP_INS = {"rules.d": {"reload": True}, "targets.d": {"reload": True}}
Files = Dict[str, bytes]


def folder() -> Path:
    """A folder of its own for an example, in memory where there is such a place: thousands of trees are copied."""
    memory = Path("/dev") / "shm"
    return Path(tempfile.mkdtemp(prefix="landfall-test-", dir=memory if os.access(memory, os.W_OK) else None))


def compose_file(name: str, services: Mapping[str, int], image: str) -> bytes:
    return json.dumps(
        {"name": name, "services": {s: {"image": image, "v": version} for s, version in services.items()}}
    ).encode()


def bad(files: Optional[Files]) -> bool:
    return any(b"bad" in content for content in (files or {}).values())


@st.composite
def sets(draw: st.DrawFn) -> Files:
    """All files of one version of component ``web``."""
    services = draw(st.dictionaries(st.sampled_from(["web", "web-2"]), st.integers(1, 2), min_size=1))
    files = {"web/compose.yaml": compose_file("web", services, draw(st.sampled_from(["x:1", "x:2"])))}
    texts = st.sampled_from([b"one", b"two", b"bad"])
    paths = ["config/a", "config/sub/b", "secrets/token"]
    files.update({f"web/{path}": text for path, text in draw(st.dictionaries(st.sampled_from(paths), texts)).items()})
    rules = st.dictionaries(st.sampled_from(["rules.d/web--r.yml", "rules.d/web--s.yml", "targets.d/web.yml"]), texts)
    files.update({f"prometheus/{path}": text for path, text in draw(rules).items()})
    return files


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    (tmp_path / "root").mkdir()
    world = World(tmp_path / "root")
    install(world, monkeypatch)
    return world


def deploy(world: World, name: str, files: Optional[Files], run: str, **more: Any) -> Dict[str, Any]:
    """One whole run: the trip of a component, then what the handler does."""
    result = trip.component(request(world.root, name, files, run, **more), False, False)
    return {**result, "settled": trip.settle_all(str(world.root), NETWORK, run, "anna@laptop")}


def started_with(world: World, old: Optional[Files], receiver: bool) -> None:
    if receiver:
        assert not deploy(world, "prometheus", RECEIVER, "r", drop_ins=DROP_INS).get("failed")
    if old is not None:
        assert not deploy(world, "web", old, "o").get("failed")


def crash_points(
    world: World, place: Path, old: Optional[Files], new: Optional[Files]
) -> Iterator[Tuple[int, Any, Any]]:
    """Kill a run from ``old`` to ``new`` before each of its effects; yields the step and both pictures."""
    before, saved = world.picture(), world.save(place)
    world.dies_at(None, lambda: deploy(world, "web", new, "n"))
    after, steps = world.picture(), world.steps
    for step in range(steps):
        world.load(saved)
        world.dies_at(step, lambda: deploy(world, "web", new, "n"))
        yield step, before, after


BOUNDED = settings(
    max_examples=70, deadline=None, derandomize=True, phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
FIRST = {"web/compose.yaml": compose_file("web", {"web": 1}, "x:1"), "web/config/a": b"one"}
SECOND = {
    **FIRST,
    "web/config/a": b"two",
    "web/secrets/token": b"two",
    "prometheus/rules.d/web--r.yml": b"one",
}


@example(old=FIRST, new=SECOND, receiver=True)
@example(old=FIRST, new={**SECOND, "web/config/a": b"bad"}, receiver=True)
@example(old=None, new=SECOND, receiver=True)
@example(old=SECOND, new=None, receiver=True)
@given(old=st.none() | sets().filter(lambda f: not bad(f)), new=st.none() | sets(), receiver=st.booleans())
@BOUNDED
def kill_and_look(old: Optional[Files], new: Optional[Files], receiver: bool) -> None:
    place = folder()
    with pytest.MonkeyPatch.context() as patch:
        (place / "root").mkdir()
        world = World(place / "root")
        install(world, patch)
        started_with(world, old, receiver)
        for step, before, after in crash_points(world, place / "saved", old, new):
            lease.end(str(world.root), "n", "anna@laptop")  # as the controller's keeper does
            # Another component's run comes by: it concludes what it finds
            told = trip.recover_all(str(world.root), NETWORK, "next", "ben@desk")
            settled = trip.settle_all(str(world.root), NETWORK, "next", "ben@desk")
            assert not told["busy"], f"step {step}: a dead run keeps others out: {told}"
            now = world.picture()
            differs = {
                key: (now[key], before[key], after[key]) for key in now if now[key] not in (before[key], after[key])
            }
            assert now in (before, after), f"step {step}: neither old nor new: {differs}; {told} {settled}"
            assert not world.leftovers(), f"step {step}"
            # The same run once more brings what it wanted
            deploy(world, "web", new, "again")
            assert world.picture() == after, f"step {step}: the next run did not finish"
    shutil.rmtree(place)


@example(old=FIRST, new={**SECOND, "web/secrets/token": b"bad"})
@given(old=sets().filter(lambda f: not bad(f)), new=sets().filter(bad))
@settings(BOUNDED, max_examples=60)
def test_what_does_not_serve_leaves_exactly_what_was_there(old: Files, new: Files) -> None:
    place = folder()
    with pytest.MonkeyPatch.context() as patch:
        (place / "root").mkdir()
        world = World(place / "root")
        install(world, patch)
        started_with(world, old, True)
        before = world.picture()
        result = deploy(world, "web", new, "n")
        if result.get("failed"):
            assert world.picture() == before
            assert not world.leftovers()
        else:  # what is bad reached nobody: a drop-in in a folder that nobody reloads, or no container saw it
            assert world.picture()["files"] != before["files"]
    shutil.rmtree(place)


@pytest.mark.parametrize(
    ("old", "new"),
    [(FIRST, SECOND), (FIRST, {**SECOND, "web/config/a": b"bad"}), (None, SECOND), (SECOND, None)],
)
def test_a_recovery_that_is_interrupted_itself_is_finished_by_the_next(
    world: World, tmp_path: Path, old: Optional[Files], new: Optional[Files]
) -> None:
    started_with(world, old, True)
    pairs = 0

    def recover(run: str) -> None:
        trip.recover_all(str(world.root), NETWORK, run, "ben@desk")
        trip.settle_all(str(world.root), NETWORK, run, "ben@desk")

    for step, before, after in crash_points(world, tmp_path / "saved", old, new):
        if step % 4:
            continue
        lease.end(str(world.root), "n", "anna@laptop")
        halfway = world.save(tmp_path / f"halfway-{step}")
        world.dies_at(None, lambda: recover("next"))
        for again in range(step % 3, world.steps, 5):
            world.load(halfway)
            world.dies_at(again, lambda: recover("next"))
            lease.end(str(world.root), "next", "ben@desk")
            recover("last")
            assert world.picture() in (before, after) and not world.leftovers(), f"steps {step}, {again}"
            pairs += 1
    assert pairs > 30


def test_a_second_run_is_refused_at_every_step_of_the_first(world: World, tmp_path: Path) -> None:
    started_with(world, FIRST, True)
    before, saved = world.picture(), world.save(tmp_path / "saved")
    answers = []

    def second() -> None:
        answers.append(trip.component(request(world.root, "web", FIRST, "other"), False, False))
        lease.end(str(world.root), "other", "ben@desk")

    world.before_step = second
    first = trip.component(request(world.root, "web", SECOND, "n"), False, False)
    world.before_step = None
    held = [answer for answer in answers if answer.get("failed")]
    assert not first.get("failed") and len(answers) > 20
    # Up to the moment in which the first takes the lock the second may have it, with nothing to do
    free = [answer for answer in answers if not answer.get("failed")]
    assert all(
        "another run is in progress" in answer["msg"] and "nothing was changed" in answer["msg"] for answer in held
    )
    assert len(free) <= 8 and all(not answer["changed"] for answer in free)
    world.load(saved)
    deploy(world, "web", SECOND, "n")
    assert world.picture() != before


def test_the_run_after_one_that_died_anywhere_leaves_the_old_or_the_new() -> None:
    before = interruptions.noted()
    kill_and_look()
    assert interruptions.noted() - before >= 5000
