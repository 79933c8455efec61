"""State on a VPS that is cut off, damaged, foreign or newer: told by its file, and the next run finishes.

Nobody else's file is touched by what it says.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any, Callable, Dict

import pytest
from ansible_collections.landfall.vps.plugins.module_utils import host, lease, lock, records, shapes, trip
from ansible_collections.landfall.vps.plugins.module_utils.lock import Lock

from tests.engine.test_transaction import FIRST, SECOND, deploy, started_with
from tests.engine.world import NETWORK, World, install

BOOT = lock._boot()
Value = Dict[str, Any]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    (tmp_path / "root").mkdir()
    (tmp_path / "victim").write_text("of somebody else")
    (tmp_path / "empty").mkdir()
    world = World(tmp_path / "root")
    install(world, monkeypatch)
    started_with(world, FIRST, True)
    lease.end(str(world.root), "o", "anna@laptop")
    return world


def others_are_as_before(world: World) -> bool:
    place = world.root.parent
    mine = world.root / ".state/prometheus.json", world.root / "prometheus/config/prometheus.yml"
    return (place / "victim").exists() and (place / "empty").is_dir() and all(path.exists() for path in mine)


def told_by_the_next_run(world: World) -> str:
    told = trip.recover_all(str(world.root), NETWORK, "next", "ben@desk")
    assert not told["busy"] and others_are_as_before(world), told
    return "; ".join(told["notes"])


def finishes(world: World) -> None:
    result = deploy(world, "web", SECOND, "again")
    assert not result.get("failed"), result
    assert (world.root / "web/config/a").read_bytes() == b"two" and others_are_as_before(world)
    assert records.leftovers(str(world.root)) == []


LOCKS = [
    '{"run": "x", "until": NaN}',
    '{"run": "x", "until": Infinity}',
    '{"run": "x", "until": 1e30, "since": 1e30}',
    f'{{"run": "x", "until": NaN, "boot": "{BOOT}"}}',
    f'{{"run": "x", "until": 1e30, "since": NaN, "boot": "{BOOT}"}}',
    f'{{"run": {{"a": 1}}, "until": "{"9" * 5000}", "boot": "{BOOT}"}}',
    '{"a":' * 5000,
    "\udcff",
]


@pytest.mark.parametrize("text", LOCKS)
def test_a_lock_that_cannot_be_keeps_nobody_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(lock, "PATIENCE", 0.1)
    (tmp_path / ".state").mkdir()
    (tmp_path / ".state/lock").write_bytes(text.encode("utf-8", "surrogateescape"))
    later, booted = time.time() + 61, lock._now() + 61
    monkeypatch.setattr(time, "time", lambda: later)
    monkeypatch.setattr(lock, "_now", lambda: booted)
    Lock(str(tmp_path), "2", "ben").acquire("b")


def test_a_lease_of_the_version_before_does_not_last_a_day_when_the_clock_is_set_back(tmp_path: Path) -> None:
    (tmp_path / ".state").mkdir()
    (tmp_path / ".state/lock").write_text(json.dumps({"run": "laptop:1", "until": time.time() + 86400}))
    Lock(str(tmp_path), "2", "ben").acquire("b")


def at(name: str, make: Callable[[Path], Any]) -> Callable[[Path], Any]:
    def put(state: Path) -> None:
        (state / name).parent.mkdir(exist_ok=True)
        make(state / name)

    return put


def folder_instead(path: Path) -> None:
    path.unlink()
    path.mkdir()


def emptied_then_file(path: Path) -> None:
    shapes.discard(str(path))
    path.write_text("x")


ODD = {
    "a staged set that is a file": at("staged-x", lambda path: path.write_text("secret")),
    "a staged set that is a link": at("staged-x", lambda path: path.symlink_to("/etc")),
    "a staged set that is a pipe": at("staged-x", os.mkfifo),
    "a record half written that is a folder": at("web.json.new", Path.mkdir),
    "a set of an earlier version that is a file": at("previous", lambda path: path.write_text("x")),
    "a standby that is a folder": at("standby-web.yaml", Path.mkdir),
    "a journal that is a file": at("journal/web", lambda path: path.write_text("x")),
    "a journal that is a link": at("journal/web", lambda path: path.symlink_to("/etc")),
    "a journal that leads nowhere": at("journal/web", lambda path: path.symlink_to("/nowhere")),
    "a journal without a word": at("journal/web", Path.mkdir),
    "a journal half made that is a file": at("journal/web.making", lambda path: path.write_text("x")),
    "a file in place of all journals": at("journal", emptied_then_file),
    "a change of releases that is cut off": at("releases/open.json", lambda path: path.write_text('{"format": 1')),
    "a change of releases that is a folder": at("releases/open.json", Path.mkdir),
    "a change of releases that leads outside": at(
        "releases/open.json",
        lambda path: path.write_text(
            json.dumps({"format": 1, "name": "../../x", "base": "../../x", "outcome": "open", "at": 1, "run": "o",
                        "components": {}, "wants": {}, "groups": ["web"]})
        ),
    ),
    "a release half made that is a file": at("releases/.x", lambda path: path.write_text("x")),
    "a lock that is a folder": at("lock", Path.mkdir),
    "a guard of the lock that is a folder": at("lock.guard", folder_instead),
    "a last run that is a folder": at("last-run", folder_instead),
    "a word of an end that is a folder": at("lock.ended", folder_instead),
    "a lock of Compose that is a folder": at("compose-web.lock", folder_instead),
    "a log of changes that is a folder": at("audit.jsonl", folder_instead),
    "a version of Compose that is a folder": at("compose-version", Path.mkdir),
    "a folder of releases that is a file": at("releases", lambda path: path.write_text("x")),
    "a folder of timers that is a file": at("timers", lambda path: path.write_text("x")),
    "a folder of figures that is a file": at("deploys", emptied_then_file),
}  # fmt: skip


@pytest.mark.parametrize("what", ODD)
def test_whatever_has_a_name_of_ours_stops_nobody(world: World, what: str) -> None:
    before = world.picture()
    ODD[what](world.root / ".state")
    told_by_the_next_run(world)
    assert records.leftovers(str(world.root)) == [] and world.picture() == before
    finishes(world)


ENTRY: Value = {"format": 1, "phase": "swap", "paths": {}, "folders": [], "record": None, "intent": {}}
OTHER: Value = {"name": "other", "group": "other", "files": {}, "containers": {}, "meta": {}, "proven": True}
JOURNALS: Dict[str, Value] = {
    "without intent": {key: value for key, value in ENTRY.items() if key != "intent"},
    "without record": {key: value for key, value in ENTRY.items() if key != "record"},
    "marks that are numbers": {**ENTRY, "paths": {"web/config/a": 5}},
    "a path outside": {**ENTRY, "paths": {"../victim": "absent"}},
    "a path outside by way of its own": {**ENTRY, "paths": {"web/config/../../../victim": "absent"}},
    "an absolute path": {**ENTRY, "paths": {"VICTIM": "absent"}},
    "another's file": {**ENTRY, "paths": {"prometheus/config/prometheus.yml": "absent"}},
    "a folder outside": {**ENTRY, "folders": ["../empty"]},
    "an intent that is a list": {**ENTRY, "intent": []},
    "a record that is a text": {**ENTRY, "record": "x"},
    "nothing to finish": {**ENTRY, "phase": "apply"},
    "no phase that there is": {**ENTRY, "phase": "later"},
    "the record of another": {**ENTRY, "record": OTHER},
    "work that is a list": {**ENTRY, "phase": "remove", "intent": {"work": [1]}},
    "an older format": {**ENTRY, "format": 0},
}


def journal(world: World, entry: Value) -> Path:
    place = world.root / ".state/journal/web"
    place.mkdir(parents=True)
    text = json.dumps(entry).replace("VICTIM", str(world.root.parent / "victim"))
    (place / "journal.json").write_text(text)
    return place / "journal.json"


@pytest.mark.parametrize("what", JOURNALS)
def test_a_journal_that_cannot_be_is_told_and_nothing_is_done_by_it(world: World, what: str) -> None:
    before = world.picture()
    path = journal(world, JOURNALS[what])
    assert f"web: {path} " in told_by_the_next_run(world)
    assert world.picture() == before and not path.exists()
    finishes(world)


def test_what_a_newer_landfall_began_is_left_to_it(world: World) -> None:
    before = world.picture()
    path = journal(world, {**ENTRY, "format": 99})
    result = deploy(world, "web", SECOND, "again")
    assert result["failed"] and f"{path} was begun by a newer Landfall (format 99" in result["msg"], result
    path.unlink()
    opened = world.root / ".state/releases/open.json"
    opened.parent.mkdir()
    opened.write_text('{"format": 99}')
    assert f"{opened} was begun by a newer Landfall (format 99" in told_by_the_next_run(world)
    assert opened.exists() and world.picture() == before


def changed(**more: Any) -> Callable[[Value], Value]:
    return lambda record: {**record, **more}


def of_meta(**more: Any) -> Callable[[Value], Value]:
    return lambda record: {**record, "meta": {**record["meta"], **more}}


def with_file(path: str) -> Callable[[Value], Value]:
    return lambda record: {**record, "files": {**record["files"], path: "0:644:0"}}


RECORDS: Dict[str, Callable[[Value], Value]] = {
    "is that of component 'edge'": changed(name="edge"),
    "'../victim'": with_file("../victim"),
    "victim'": with_file("VICTIM"),
    "'.state/prometheus.json'": with_file(".state/prometheus.json"),
    "'prometheus/config/prometheus.yml'": with_file("prometheus/config/prometheus.yml"),
    "'prometheus/rules.d/../x'": with_file("prometheus/rules.d/../x"),
    "'containers.web.service'": changed(containers={"web": {"image": "x:1"}}),
    "'containers.web.image'": changed(containers={"web": {"image": 5, "service": "web"}}),
    "'proven'": changed(proven=1),
    "'images'": changed(images=["x"]),
    "'start'": changed(start="x"),
    "'digest'": changed(digest=7),
    "'meta.needs'": of_meta(needs=5),
    "'meta.needs[1]'": of_meta(needs=["redis", 5]),
    "'meta.drop_ins'": of_meta(drop_ins=["a"]),
    "'meta.update'": of_meta(update="x"),
    "'meta.timers'": of_meta(timers="x"),
    "'meta.volumes[0]'": of_meta(volumes=[{}]),
    "'meta.prove_timeout'": of_meta(prove_timeout="soon"),
}


@pytest.mark.parametrize("words", RECORDS)
def test_a_record_that_cannot_be_is_refused_by_its_file_and_place(world: World, words: str) -> None:
    path = world.root / ".state/web.json"
    text = json.dumps(RECORDS[words](json.loads(path.read_text())))
    path.write_text(text.replace("VICTIM", str(world.root.parent / "victim")))
    before = world.picture()
    assert list(host.gather(str(world.root), [])["bad_records"]) == ["web"]
    result = deploy(world, "web", SECOND, "again")
    assert result["failed"] and str(path) in result["msg"] and words in result["msg"], result
    assert "nothing was changed" in result["msg"] and world.picture() == before and others_are_as_before(world)
    path.unlink()  # as the message says
    finishes(world)


def test_a_pipe_in_place_of_a_record_is_not_waited_for(world: World) -> None:
    path = world.root / ".state/web.json"
    path.unlink()
    os.mkfifo(path)
    result = deploy(world, "web", SECOND, "again")
    assert result["failed"] and f"{path} cannot be read: it is no ordinary file" in result["msg"]


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"a": 1, "b": [{"c": "x"}], "more": object()}, ""),
        ({"a": True, "b": []}, "a"),
        ({"b": []}, "a"),
        ({"a": 1, "b": [{"c": "x"}, {"c": None}]}, "b[1].c"),
        ({"a": 1, "b": [], "m": {"k": 1}}, "m.k"),
        ({"a": 1, "b": [], "m": None}, ""),
        ([], "it"),
    ],
)
def test_the_first_place_that_does_not_fit_is_named(value: Any, place: str) -> None:
    form = {"a": (int, float), "b": [{"c": str}], "m?": {"*": (str, dict)}}
    assert shapes.misfit(value, form) == place
