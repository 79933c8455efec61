"""A dashboard that Grafana would not load is refused before it becomes live, with its file and what would be right."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.landfall.vps.plugins.module_utils import compose, converge, dashboards
from ansible_collections.landfall.vps.plugins.module_utils.plan import fingerprint, plan
from ansible_collections.landfall.vps.plugins.plugin_utils.dashboards import dashboard_faults

FOLDER = "boards/dashboards.d"
LIVE = FOLDER + "/"


def board(uid: Any = "mine") -> bytes:
    return json.dumps({"uid": uid, "title": "Mine"}).encode()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"uid": "mine",', "a.json: it is no dashboard in JSON: Expecting property name"),
        (b"[]", "a.json: it is no dashboard in JSON: it is no object"),
        (b"\xff", "a.json: it is no dashboard in JSON: 'utf-8' codec"),
        (b'{"title": "x"}', "a.json: its uid is missing; it must be 1 to 40 letters"),
        (board(None), "a.json: its uid is missing"),
        (board(""), 'a.json: its uid is ""'),
        (board(7), "a.json: its uid is 7"),
        (board("a b"), 'a.json: its uid is "a b"'),
        (board("x" * 41), "a.json: its uid is "),
        (board("theirs"), "a.json: its uid theirs is that of z.json already; give each dashboard a uid of its own"),
    ],
)
def test_what_is_refused(content: bytes, words: str) -> None:
    [fault] = dashboards.faults({"a.json": content}, {"z.json": board("theirs"), "hand-made.json": b"nonsense"})
    assert words in fault


def test_two_new_ones_are_told_apart_too() -> None:
    [fault] = dashboards.faults({"a.json": board(), "b.json": board(), "c.json": board("c")}, {})
    assert fault.startswith("b.json: its uid mine is that of a.json already")


def ship(roles: Path, role: str, name: str, content: bytes) -> str:
    folder = roles / role / "files" / "dashboards"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    return fingerprint(content, 0o644, 0)


def test_roles_are_looked_at_together_before_anything_changes(tmp_path: Path) -> None:
    ship(tmp_path, "one", "a.json", board())
    ship(tmp_path, "my_two", "b.json", board())
    ship(tmp_path, "elsewhere", "c.json", board())
    [fault] = dashboard_faults(str(tmp_path), ["one", "my_two", "none"], {}, lambda role: True, [FOLDER])
    assert "roles/one/files/dashboards/a.json: its uid mine is that of roles/my_two/files/dashboards/b.json" in fault
    assert dashboard_faults(str(tmp_path), ["one", "my_two"], {}, lambda role: role == "one", [FOLDER]) == []


def test_what_lies_on_the_vps_unchanged_is_not_parsed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marks = {
        LIVE + "one--a.json": ship(tmp_path, "one", "a.json", board()),
        LIVE + "my-two--b.json": ship(tmp_path, "my_two", "b.json", board("b")),
    }
    ship(tmp_path, "off", "c.json", b"nonsense")
    monkeypatch.setattr(dashboards, "faults", lambda *_: pytest.fail("parsed"))
    assert dashboard_faults(str(tmp_path), ["one", "my_two", "off"], marks, lambda role: role != "off", [FOLDER]) == []
    monkeypatch.undo()
    ship(tmp_path, "my_two", "b.json", board())
    assert (
        len(dashboard_faults(str(tmp_path), ["one", "my_two", "off"], marks, lambda role: role != "off", [FOLDER])) == 1
    )


def place(root: Path, path: str, content: bytes) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_bytes(content)


def converger(root: Path, contents: dict[str, bytes]) -> converge.Converger:
    """The trip of a component that ships ``contents``, all of it staged."""
    desired = {
        "name": "mine",
        "present": True,
        "files": {path: fingerprint(content, 0o644, 0) for path, content in contents.items()},
        "containers": {},
        "reload_files": [],
        "meta": {"uid": 0},
    }
    request = {
        "root": str(root),
        "desired": desired,
        "run": "x:1",
        "who": "me@x",
        "network": {"name": "landfall"},
        "boards": [FOLDER],
    }
    engine: Any = SimpleNamespace(path="/nowhere", images=dict)
    worker = converge.Converger({**request, "contents": {}}, engine)
    worker.staged = str(root / "staged")
    for path, content in contents.items():
        place(root / "staged", path, content)
    return worker


def check(worker: converge.Converger) -> None:
    worker._check(plan(worker.desired, worker.actual()))


def test_a_trip_is_refused_when_another_component_owns_the_uid(tmp_path: Path) -> None:
    place(tmp_path, LIVE + "theirs--z.json", board())
    worker = converger(tmp_path, {LIVE + "mine--a.json": board()})
    with pytest.raises(compose.Refused, match=f"{LIVE}mine--a.json: its uid mine is that of {LIVE}theirs--z.json"):
        check(worker)


def test_a_component_may_move_its_dashboard_to_another_file(tmp_path: Path) -> None:
    place(tmp_path, LIVE + "mine--old.json", board())
    files = {LIVE + "mine--new.json": fingerprint(board(), 0o644, 0)}
    changes = {LIVE + "mine--new.json": "create", LIVE + "mine--old.json": "remove"}
    place(tmp_path / "staged", LIVE + "mine--new.json", board())
    assert dashboards.placed_faults(str(tmp_path), str(tmp_path / "staged"), files, changes, [FOLDER]) == []


def test_a_trip_for_something_else_reads_no_dashboard(tmp_path: Path) -> None:
    place(tmp_path, LIVE + "theirs--z.json", board())
    wanted = {LIVE + "mine--a.json": "…", "mine/compose.yaml": "…"}
    assert dashboards.placed_faults(str(tmp_path), "/nowhere", wanted, {"mine/compose.yaml": "change"}, [FOLDER]) == []
