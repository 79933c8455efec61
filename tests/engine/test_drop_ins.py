"""Files that components ship to others are checked by who reads them, at the latest before that is started.

The throw-away container is replaced by promtool itself, which reads the files where they lie.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.landfall.vps.plugins.module_utils import compose, converge
from ansible_collections.landfall.vps.plugins.module_utils.plan import fingerprint, plan

from tests import rulekit

GOOD = b"groups: [{name: a, rules: [{alert: Up, expr: up == 1}]}]\n"
BAD = b"groups:\n  - name: a\n    rules:\n      - alert: Down\n        expr: up == (\n"
RULES = "prometheus/rules.d/"
IMAGE = "prom/prometheus:v1"
CHECK = {"rules.d": {"check": ["promtool", "check", "rules"], "reload": True}}


def place(root: Path, path: str, content: bytes) -> str:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_bytes(content)
    return fingerprint(content, 0o644, 0)


def remember(root: Path, name: str, files: dict[str, str], image: str = "", **meta: Any) -> None:
    """Leave the record of a component that was deployed."""
    container = {name: {"service": name, "image": image}}
    record = {"name": name, "files": files, "containers": container, "meta": meta, "proven": False, "images": {}}
    place(root, f".state/{name}.json", json.dumps(record).encode())


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The names of the files that promtool was shown, one list for each time that it ran."""
    seen: list[list[str]] = []

    def throw_away(_image: str, argv: list[str], mounts: list[str], *_more: Any) -> None:
        sources = {shown: source for source, shown, _mode in (mount.split(":") for mount in mounts[1::2])}
        seen.append(sorted(Path(shown).name for shown in sources))
        compose.run([rulekit.promtool(), *argv[1:3], *(sources[path] for path in argv[3:])], 60)

    monkeypatch.setattr(compose, "throw_away", throw_away)
    monkeypatch.setattr(compose.Project, "config", lambda _self: {"services": {}})
    return seen


def trip(root: Path, name: str, contents: dict[str, bytes], **meta: Any) -> list[str]:
    """Check what a trip of this component would place; return the notes. Raises Refused."""
    files = {path: place(root / "staged", path, content) for path, content in contents.items()}
    containers = {name: {"service": name, "image": IMAGE}}
    desired = {"name": name, "present": True, "files": files, "containers": containers, "reload_files": []}
    request = {"root": str(root), "desired": {**desired, "meta": {"uid": 0, **meta}}, "run": "x:1", "who": "me@x"}
    engine: Any = SimpleNamespace(path="/nowhere", images=lambda: {IMAGE: {"id": "sha256:1"}}, volumes=dict)
    worker = converge.Converger({**request, "contents": {}, "network": {"name": "landfall"}}, engine)
    worker.staged = str(root / "staged")
    worker._check(plan(worker.desired, worker.actual()))
    return worker.notes


def test_rules_that_came_before_prometheus_are_checked_before_it_is_placed(tmp_path: Path, checked: Any) -> None:
    notes = trip(tmp_path, "redis", {RULES + "redis--a.yml": BAD})
    assert notes == ["1 files in prometheus/rules.d are checked when prometheus is deployed"] and checked == []

    remember(tmp_path, "redis", {RULES + "redis--a.yml": place(tmp_path, RULES + "redis--a.yml", BAD)})
    with pytest.raises(compose.Refused, match=r"(?s)prometheus/rules\.d: .*redis--a\.yml: 5:15: group \"a\"") as caught:
        trip(tmp_path, "prometheus", {RULES + "prometheus--b.yml": GOOD}, drop_ins=CHECK)
    assert checked == [["prometheus--b.yml", "redis--a.yml"]]
    assert "unclosed left parenthesis" in str(caught.value)
    assert not (tmp_path / RULES / "prometheus--b.yml").exists()

    place(tmp_path, RULES + "redis--a.yml", GOOD)
    assert trip(tmp_path, "prometheus", {RULES + "prometheus--b.yml": GOOD}, drop_ins=CHECK) == []


def test_its_own_rules_are_checked_on_the_first_deployment(tmp_path: Path, checked: Any) -> None:
    with pytest.raises(compose.Refused, match=r"prometheus--b\.yml: 5:15"):
        trip(tmp_path, "prometheus", {RULES + "prometheus--b.yml": BAD}, drop_ins=CHECK)
    assert len(checked) == 1


def test_of_its_own_rules_the_new_ones_count(tmp_path: Path, checked: Any) -> None:
    old = {RULES + "prometheus--b.yml": place(tmp_path, RULES + "prometheus--b.yml", BAD)}
    old[RULES + "prometheus--gone.yml"] = place(tmp_path, RULES + "prometheus--gone.yml", BAD)
    remember(tmp_path, "prometheus", old, "prom/prometheus:v0", drop_ins=CHECK)
    trip(tmp_path, "prometheus", {RULES + "prometheus--b.yml": GOOD}, drop_ins=CHECK)
    assert checked == [["prometheus--b.yml"]]


def test_a_component_that_ships_rules_is_refused_where_prometheus_runs(tmp_path: Path, checked: Any) -> None:
    remember(tmp_path, "prometheus", {}, IMAGE, drop_ins=CHECK)
    with pytest.raises(compose.Refused, match=r"redis--a\.yml: 5:15"):
        trip(tmp_path, "redis", {RULES + "redis--a.yml": BAD, RULES + "redis--b.yml": GOOD})
    assert checked == [["redis--a.yml", "redis--b.yml"]]


def test_what_is_wrong_stays_in_a_long_message() -> None:
    script = "echo the fault >&2; yes 'this file is right' | head -500; exit 1"
    with pytest.raises(compose.CommandFailed, match="the fault"):
        compose.run(["sh", "-c", script], 60)
    assert compose.run(["sh", "-c", "echo asked; echo by the way >&2"], 60) == "asked\n"
