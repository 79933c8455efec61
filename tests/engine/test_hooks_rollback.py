"""Hooks of a rollback: they run around one that changes something, and around no other."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, Dict, List, Optional, Tuple

import pytest
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.landfall.vps.plugins.action import rollback
from ansible_collections.landfall.vps.plugins.plugin_utils import seam

DONE: Dict[str, Any] = {
    "changed": True, "components": {"web": {"action": "recreated"}}, "notes": [], "release": "v1", "before": "v2",
    "commit": "c0ffee", "seconds": 1.0,
}  # fmt: skip


def hook(folder: Path, name: str, more: str = "") -> List[Dict[str, Any]]:
    return [{"command": ["sh", "-c", f"env | grep ^LANDFALL_ | sort > {folder}/{name}; {more}"]}]


def go_back(
    folder: Path,
    patch: pytest.MonkeyPatch,
    answer: Dict[str, Any],
    check: bool = False,
    before: str = "",
    rehearsed: Optional[Dict[str, Any]] = None,
) -> Tuple[Dict[str, Any], List[bool]]:
    """What the task returns, and whether each trip to the VPS was a rehearsal."""
    trips: List[bool] = []

    def trip(_action: Any, _python: str, _request: Any, rehearsing: bool, *_more: Any) -> Dict[str, Any]:
        trips.append(rehearsing)
        return dict(rehearsed if rehearsed and rehearsing else answer)

    patch.setattr(ActionBase, "run", lambda *_arguments: {})
    patch.setattr(rollback, "run_go_back", trip)
    patch.setattr(rollback, "interpreter", lambda *_arguments: "python3")
    for name in ("say", "warn", "teller"):
        patch.setattr(seam, name, lambda *_arguments: None)
    found = {name: hook(folder, name) for name in ("after", "failed")}
    args = {"hooks": {**found, "before": hook(folder, "before", before)}}
    action = rollback.ActionModule.__new__(rollback.ActionModule)
    action._task = SimpleNamespace(args=args, check_mode=check, diff=False)
    return action.run(None, {"inventory_hostname": "vps1", "inventory_dir": str(folder)}), trips


def ran(folder: Path) -> List[str]:
    return sorted(path.name for path in folder.iterdir())


def test_they_run_before_and_after_and_are_given_what_it_is_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result, trips = go_back(tmp_path, monkeypatch, DONE)
    assert result["release"] == "v1" and trips == [True, False] and ran(tmp_path) == ["after", "before"]
    given = dict(line.split("=", 1) for line in (tmp_path / "after").read_text().splitlines())
    assert given.pop("LANDFALL_BY").count("@") == 1
    assert given == {
        "LANDFALL_ACTION": "rollback", "LANDFALL_RELEASE": "v1", "LANDFALL_COMMIT": "c0ffee", "LANDFALL_HOST": "vps1",
        "LANDFALL_COMPONENTS": "web", "LANDFALL_RESULT": "success", "LANDFALL_REASON": "",
    }  # fmt: skip
    assert "LANDFALL_RESULT=\n" in (tmp_path / "before").read_text()


def test_one_before_that_fails_stops_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AnsibleActionFail, match="ended with status 3; nothing was changed"):
        go_back(tmp_path, monkeypatch, DONE, before="exit 3")
    assert ran(tmp_path) == ["before", "failed"]


def test_where_what_is_gone_back_to_does_not_serve_those_for_a_failure_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = {**DONE, "failed": True, "msg": "web is unhealthy", "undone": "v2 serves again"}
    result, _trips = go_back(tmp_path, monkeypatch, bad, rehearsed=DONE)
    assert result["failed"] and ran(tmp_path) == ["before", "failed"]
    assert "LANDFALL_REASON=web is unhealthy" in (tmp_path / "failed").read_text()


@pytest.mark.parametrize(
    ("answer", "check"),
    [
        ({**DONE, "changed": False, "components": {}, "release": "", "failed": True, "msg": "there is none"}, False),
        ({**DONE, "changed": False, "components": {}}, False),
        (DONE, True),
    ],
    ids=["refused", "serves already", "check mode"],
)
def test_where_nothing_is_going_to_change_none_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Dict[str, Any], check: bool
) -> None:
    go_back(tmp_path, monkeypatch, answer, check)
    assert ran(tmp_path) == []
