"""Timers of a component: linked, changed, undone and removed with it, whenever a run dies; others' units stay."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence

import pytest
from ansible_collections.landfall.vps.plugins.module_utils import (
    compose,
    lease,
    timer_program,
    timer_units,
    timers,
    trip,
)
from ansible_collections.landfall.vps.plugins.module_utils import plan as planning

from tests.engine.world import NETWORK, World, install, request

Files = Dict[str, bytes]
COMPOSE = json.dumps({"name": "web", "services": {"web": {"image": "x:1", "v": 1}}}).encode()
NEWER = json.dumps({"name": "web", "services": {"web": {"image": "x:2", "v": 2}}}).encode()


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    (tmp_path / "root").mkdir()
    (tmp_path / "system").mkdir()
    world = World(tmp_path / "root")
    monkeypatch.setattr(timer_units, "SYSTEM", str(tmp_path / "system"))
    monkeypatch.setattr(timer_units, "PLACES", (str(tmp_path / "vendor"),))
    monkeypatch.setattr(timer_units, "_activity", lambda names: ["active"] * len(names))
    monkeypatch.setattr(timers, "STAMPS", str(tmp_path / "stamps"))
    install(world, monkeypatch)
    return world


def named(*units: str) -> List[Dict[str, Any]]:
    return [{"unit": unit, "name": unit, "service": "web", "schedule": ["daily"]} for unit in units]


def files(*units: str, text: bytes = b"one", document: bytes = COMPOSE) -> Files:
    found = {"web/compose.yaml": document}
    for unit in units:
        found.update({f"web/units/{unit}{kind}": text for kind in (".service", ".timer", ".json", ".yaml")})
    return found


def deploy(
    world: World, wanted: Optional[Files] = None, units: Sequence[Dict[str, Any]] = (), run: str = "r"
) -> Dict[str, Any]:
    result = trip.component(request(world.root, "web", wanted, run, timers=units), False, False)
    return {**result, "settled": trip.settle_all(str(world.root), NETWORK, run, "anna@laptop")}


def links(world: World) -> Dict[str, str]:
    system = Path(timer_units.SYSTEM)
    return {str(p.relative_to(system)): str(p.readlink()) for p in sorted(system.rglob("*")) if p.is_symlink()}


def expected(world: World, *units: str) -> Dict[str, str]:
    found = {}
    for unit in units:
        found[unit + ".service"] = str(world.root / "web/units" / (unit + ".service"))
        found[unit + ".timer"] = found[f"timers.target.wants/{unit}.timer"] = str(
            world.root / "web/units" / (unit + ".timer")
        )
    return found


def test_units_come_change_and_go_with_their_component(world: World) -> None:
    assert not deploy(world, files("a"), named("a")).get("failed")
    assert links(world) == expected(world, "a")
    again = trip.component(request(world.root, "web", files("a"), "r", timers=named("a")), False, False)
    assert (again["changed"], links(world)) == (False, expected(world, "a"))
    changed = deploy(world, files("a", "b", text=b"two"), named("a", "b"))
    assert (changed["action"], links(world)) == (planning.UPDATED, expected(world, "a", "b"))
    assert deploy(world, files("b", text=b"two"), named("b"))["action"] == planning.UPDATED
    assert links(world) == expected(world, "b")
    assert deploy(world, None, [])["action"] == planning.REMOVED
    assert links(world) == {}


def test_what_is_known_of_a_job_goes_with_it(world: World) -> None:
    deploy(world, files("a"), named("a"))
    report, state = world.root / "a.prom", world.root / ".state" / "timers" / "a.json"
    state.parent.mkdir()
    report.write_text("x")
    state.write_text(json.dumps({"reports": [str(report)], "container": "a", "job": "a"}))
    deploy(world, files(), [])
    assert (report.exists(), state.exists(), links(world)) == (False, False, {})


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ((files("a"), named("a")), (files("a", "b", text=b"two"), named("a", "b"))),
        ((files("a"), named("a")), (files("b", document=NEWER), named("b"))),
        ((files("a"), named("a")), (None, [])),
        ((None, []), (files("a"), named("a"))),
        ((files("a"), named("a")), (files("b", text=b"bad", document=NEWER), named("b"))),
    ],
    ids=["changed", "replaced", "removed", "new", "undone"],
)
def test_a_run_that_died_anywhere_leaves_the_old_or_the_new(world: World, tmp_path: Path, old: Any, new: Any) -> None:
    if old[0] is not None:
        assert not deploy(world, *old).get("failed")
    system = Path(timer_units.SYSTEM)
    before, linked, saved = world.picture(), links(world), world.save(tmp_path / "saved")

    def load() -> None:
        world.load(saved)
        for path in sorted(system.rglob("*"), reverse=True):
            path.unlink() if path.is_symlink() else path.rmdir()
        for name, target in linked.items():
            (system / name).parent.mkdir(exist_ok=True)
            (system / name).symlink_to(target)

    world.dies_at(None, lambda: deploy(world, new[0], new[1], "n"))
    after, linked_after, steps = world.picture(), links(world), world.steps
    serves = new[0] is None or not any(b"bad" in text for text in new[0].values())
    assert linked_after == expected(world, *(timer["unit"] for timer in (new if serves else old)[1]))
    assert steps > 20
    for step in range(steps):
        load()
        world.dies_at(step, lambda: deploy(world, new[0], new[1], "n"))
        lease.end(str(world.root), "n", "anna@laptop")
        told = trip.recover_all(str(world.root), NETWORK, "next", "ben@desk")
        trip.settle_all(str(world.root), NETWORK, "next", "ben@desk")
        now = (world.picture(), links(world))
        assert now in ((before, linked), (after, linked_after)), f"step {step}: {told}, {now[1]}"
        deploy(world, new[0], new[1], "again")
        assert links(world) == linked_after, f"step {step}"


def test_a_version_that_does_not_serve_gives_its_timers_back(world: World) -> None:
    deploy(world, files("a"), named("a"))
    result = deploy(world, {**files("b", document=NEWER), "web/config/a": b"bad"}, named("b"))
    assert (result["action"], links(world)) == (planning.ROLLED_BACK, expected(world, "a"))


@pytest.mark.parametrize("kind", ["file", "link", "vendor"])
def test_a_unit_of_somebody_else_is_refused(world: World, tmp_path: Path, kind: str) -> None:
    path = (tmp_path / "vendor" if kind == "vendor" else Path(timer_units.SYSTEM)) / "a.timer"
    path.parent.mkdir(exist_ok=True)
    path.symlink_to("/srv/other/a.timer") if kind == "link" else path.write_text("[Timer]")
    result = deploy(world, files("a"), named("a"))
    assert result["failed"] and f"a.timer is there already as {path}" in result["msg"]
    assert "nothing was changed" in result["msg"] and not world.state


def test_a_schedule_that_systemd_does_not_take_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(argv: List[str], *_more: Any, **_options: Any) -> str:
        if argv[:2] == ["systemd-analyze", "calendar"]:
            raise compose.CommandFailed("Failed to parse calendar specification 'daily'")
        return world.run(argv)

    monkeypatch.setattr(compose, "run", run)
    result = deploy(world, files("a"), named("a"))
    assert "schedule 'daily' of a: systemd does not understand it; write it as in OnCalendar" in result["msg"]
    assert not world.state and not links(world)


def test_a_timer_that_somebody_stopped_is_started_again() -> None:
    desired = planning.Desired("web", True, {}, {"web": planning.Container("web", "x:1")}, (), {"timers": named("a")})
    record = {"name": "web", "files": {}, "containers": {}, "meta": {}, "proven": True, "digest": desired.digest}
    there: Mapping[str, Any] = {"web": {"state": "running"}, "web-job": {"state": "exited", "oneoff": True}}

    def planned(state: str) -> planning.Plan:
        return planning.plan(desired, planning.Actual({}, there, {"x:1": "i"}, record, {"a.timer": state}))

    assert planned("active").action == planning.NONE
    assert (planned("inactive").action, planned("inactive").reasons) == (
        planning.UPDATED,
        ("timer a.timer is inactive",),
    )


@pytest.mark.parametrize(
    ("argv", "timeout", "status"),
    [(["true"], 30, 0), (["sh", "-c", "exit 7"], 30, 7), (["sleep", "30"], 1, 124), (["/nowhere"], 30, 125)],
)
def test_a_timer_runs_a_program_of_the_vps(tmp_path: Path, argv: Sequence[str], timeout: int, status: int) -> None:
    home = tmp_path / "web/units"
    home.mkdir(parents=True)
    (tmp_path / ".state").mkdir()
    (home / "run.py").write_bytes(Path(str(timer_program.__file__)).read_bytes())
    spec = {"argv": argv, "project": "web", "service": "web", "container": "x", "schedule": [], "grace_seconds": 1,
            "timeout_seconds": timeout, "late_after_seconds": 60, "reports": [],
            "labels": {"scheduled_job": "x", "scheduled_service": "web"}}  # fmt: skip
    (home / "a.json").write_text(json.dumps(spec))
    done = subprocess.run([sys.executable, "-I", str(home / "run.py"), "run", "a"], check=False, timeout=60)
    assert done.returncode == status
    assert json.loads((tmp_path / ".state/timers/a.json").read_text())["last_exit_status"] == status
