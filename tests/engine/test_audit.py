"""The log of who changed what, and the figures that monitoring gets of deploys."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.landfall.vps.plugins.module_utils import audit, history, records, release_list, trip

from tests.engine.test_releases import ANNA, back, deploy, fixture_world, three, version
from tests.engine.test_transaction import compose_file
from tests.engine.world import NETWORK, World, request

__all__ = ["fixture_world"]


def entries(world: World) -> list[dict[str, Any]]:
    return audit.read(str(world.root), 50)


def test_each_trip_says_who_changed_what_and_how_it_ended(world: World) -> None:
    three(world)
    newest = entries(world)[0]
    assert newest["who"] == ANNA and newest["run"] == "r3" and newest["result"] == "done"
    assert newest["release"] == "v3" and newest["commit"] == "c0ffee" and newest["what"] == "deploy"
    assert newest["components"] == {"web": "recreated", "worker": "recreated"}
    deploy(world, {"web": version(4, config__a=b"bad")["web"]}, "v4", "r4")
    newest = entries(world)[0]
    assert newest["result"] == "failed" and newest["components"] == {"web": "rolled_back"}
    assert "unhealthy" in newest["why"] and "secret of" not in json.dumps(entries(world))
    back(world)
    assert entries(world)[0]["what"] == "rollback" and entries(world)[0]["release"] == "v2"
    assert audit.path_of(str(world.root)) and Path(audit.path_of(str(world.root))).stat().st_mode & 0o777 == 0o600


def test_what_changes_nothing_writes_nothing(world: World) -> None:
    three(world)
    before = entries(world)
    deploy(world, version(3), "v3", "again")
    back(world, "v3", "b1")
    back(world, "v2", "b2", check=True)
    assert entries(world) == before


def test_what_is_refused_is_in_the_log(world: World) -> None:
    three(world)
    (world.root / ".state/releases/v2/components/web/record.json").unlink()
    back(world, "v2")
    assert entries(world)[0]["result"] == "refused" and "not whole" in entries(world)[0]["why"]


def test_the_log_keeps_its_younger_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".state").mkdir()
    monkeypatch.setattr(audit, "LARGEST", 2000)
    for number in range(100):
        audit.append(str(tmp_path), {"run": f"run {number}"})
    assert Path(audit.path_of(str(tmp_path))).stat().st_size <= 2000
    kept = [entry["run"] for entry in audit.read(str(tmp_path), 1000)]
    assert kept[0] == "run 99" and kept == [f"run {99 - index}" for index in range(len(kept))] and len(kept) > 10


def test_monitoring_is_told_of_each_group(world: World) -> None:
    folder = world.root / "exporter/textfile.d"
    wanted = request(world.root, "exporter", {"exporter/compose.yaml": compose_file("exporter", {"e": 1}, "x:1")},
                     "r0", drop_ins={"textfile.d": {}})  # fmt: skip
    wanted["desired"]["meta"]["takes"] = {"textfiles": "textfile.d"}
    trip.component(wanted, False, False)
    trip.settle_all(str(world.root), NETWORK, "r0", ANNA)
    three(world)
    deploy(world, {"web": version(4, config__a=b"bad")["web"]}, "v4", "r4")
    text = (folder / "landfall-deploys.prom").read_text()
    assert 'landfall_deploy_last_success{group="web"} 0' in text
    assert 'landfall_deploy_last_success{group="worker"} 1' in text
    assert 'landfall_deploys_total{group="web",result="failure"} 1' in text
    assert 'landfall_release_timestamp_seconds{release="v3",commit="c0ffee"}' in text
    assert (folder / "landfall-deploys.prom").stat().st_mode & 0o777 == 0o644
    # Who goes back to what serves has given up what failed
    back(world, "v3", "b1")
    assert 'landfall_deploy_last_success{group="web"} 1' in (folder / "landfall-deploys.prom").read_text()


def test_what_is_removed_or_refused_as_a_whole_has_no_figures(world: World) -> None:
    three(world)
    back(world, "v9", "b1")
    assert set(audit.figures_of(str(world.root))) == {"web", "worker"}
    deploy(world, {"worker": None}, "v4", "r4")
    assert set(audit.figures_of(str(world.root))) == {"web"}


def test_a_disk_that_refuses_the_log_fails_no_deploy(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(audit, "append", full)
    three(world)


def test_the_list_has_name_digest_commit_time_who_and_state(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    three(world)
    deploy(world, {"web": version(4, config__a=b"bad")["web"]}, "v4", "r4")
    back(world)
    monkeypatch.setattr(history, "Docker", lambda: world)
    found = history.listing(str(world.root), 2)
    assert {row["name"]: row["state"] for row in found["releases"]} == {
        "v4": "failed", "v3": "kept", "v2": "serving", "v1": "kept"
    }  # fmt: skip
    row = next(row for row in found["releases"] if row["name"] == "v3")
    assert row["why"] == f"left for v2 by {ANNA}" and row["commit"] == "c0ffee" and row["digest"] == "x:1"
    assert found["serving"] == "v2" and len(found["runs"]) == 2
    monkeypatch.setattr(world, "images", dict)
    states = {row["name"]: row["state"] for row in history.listing(str(world.root), 2)["releases"]}
    assert states["v3"] == "kept, image missing"
    shown = history.columns(found["runs"])[0]
    assert shown["what"] == "rollback" and shown["components"] == "web recreated, worker recreated"


def test_the_list_is_in_the_order_of_the_times_that_it_shows(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "Docker", lambda: world)
    started = time.time()
    bad = {"web": version(4, config__a=b"bad")["web"]}
    for minutes, (name, stack) in enumerate([("v1", version(1)), ("v2", version(2)), ("v4", bad)]):
        monkeypatch.setattr(time, "time", lambda minutes=minutes: started + 60 * minutes)
        deploy(world, stack, name, name)
    monkeypatch.setattr(time, "time", lambda: started + 600)
    assert back(world)["release"] == "v1"
    rows = history.listing(str(world.root), 2)["releases"]
    assert [row["name"] for row in rows] == ["v1", "v4", "v2"]
    assert [row["when"] for row in rows] == sorted((row["when"] for row in rows), reverse=True)


def test_a_release_file_that_is_none_is_left_out(world: World) -> None:
    three(world)
    records.write_whole(str(world.root / ".state/releases/v2/release.json"), {"format": 99, "name": "v2"})
    assert [one["name"] for one in release_list.load_all(str(world.root))] == ["v3", "v1"]
