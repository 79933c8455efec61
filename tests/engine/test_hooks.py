"""Hooks of a release: what they are given, where they run, what one that fails or does not end does."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Dict, List

import pytest
from ansible_collections.landfall.vps.plugins.module_utils import hook
from ansible_collections.landfall.vps.plugins.plugin_utils import hooks, releasing, seam

CHOSEN: Dict[str, Any] = {"name": "v1", "commit": "c0ffee", "wants": {"web": "1", "api": "2"}}
ACTION: Any = None


@pytest.fixture(name="said")
def fixture_said(monkeypatch: pytest.MonkeyPatch) -> List[str]:
    said: List[str] = []
    monkeypatch.setattr(seam, "say", lambda _vars, line: said.append(line))
    monkeypatch.setattr(seam, "warn", lambda _vars, line: said.append("warning " + line))
    return said


def variables(folder: Path) -> Dict[str, Any]:
    return {"inventory_hostname": "vps1", "inventory_dir": str(folder)}


def noting(folder: Path, name: str) -> Dict[str, Any]:
    script = f"env | grep ^LANDFALL_ | sort > {folder}/{name}; echo noted"
    return {"command": ["sh", "-c", script]}


def test_a_hook_on_the_controller_is_given_what_it_is_about(tmp_path: Path, said: List[str]) -> None:
    releasing.prepared(ACTION, {**CHOSEN, "hooks": {"before": [noting(tmp_path, "a")]}}, variables(tmp_path))
    given = dict(line.split("=", 1) for line in (tmp_path / "a").read_text().splitlines())
    assert given.pop("LANDFALL_BY").count("@") == 1
    assert given == {
        "LANDFALL_ACTION": "deploy",
        "LANDFALL_RELEASE": "v1",
        "LANDFALL_COMMIT": "c0ffee",
        "LANDFALL_COMPONENTS": "api,web",
        "LANDFALL_RESULT": "",
        "LANDFALL_REASON": "",
        "LANDFALL_HOST": "vps1",
    }
    assert "  noted" in said


def test_one_before_that_fails_stops_all_and_those_for_a_failure_run(tmp_path: Path, said: List[str]) -> None:
    found = {
        "before": [{"command": "sh -c 'echo no; exit 3'"}, noting(tmp_path, "never")],
        "after": [noting(tmp_path, "after")],
        "failed": [noting(tmp_path, "failed")],
    }
    with pytest.raises(hooks.HookError, match="ended with status 3; it said last: no"):
        releasing.prepared(ACTION, {**CHOSEN, "hooks": found}, variables(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["failed"]
    assert "LANDFALL_RESULT=refused" in (tmp_path / "failed").read_text()


@pytest.mark.parametrize(
    ("outcome", "ran", "result"),
    [("complete", "after", "success"), ("failed", "failed", "failed"), ("incomplete", "failed", "incomplete")],
)
def test_what_runs_afterwards_depends_on_how_it_ended(
    tmp_path: Path, said: List[str], outcome: str, ran: str, result: str
) -> None:
    chosen = {**CHOSEN, "hooks": {key: [noting(tmp_path, key)] for key in ("before", "after", "failed")}}
    release = {"name": "v1+2", "commit": "c0ffee", "outcome": outcome, "why": "because", "after": "", "notes": []}
    assert releasing.ended(ACTION, release, chosen, variables(tmp_path)) == []
    assert [path.name for path in tmp_path.iterdir()] == [ran]
    text = (tmp_path / ran).read_text()
    assert f"LANDFALL_RESULT={result}" in text and "LANDFALL_RELEASE=v1+2" in text and "REASON=because" in text


def test_while_a_release_goes_on_none_runs(tmp_path: Path, said: List[str]) -> None:
    chosen = {**CHOSEN, "hooks": {"after": [noting(tmp_path, "a")], "failed": [noting(tmp_path, "f")]}}
    release = {"name": "v1", "commit": "", "outcome": "open", "why": "", "after": "", "notes": []}
    assert releasing.ended(ACTION, release, chosen, variables(tmp_path)) == []
    assert not list(tmp_path.iterdir())


def test_one_after_that_fails_is_a_warning(tmp_path: Path, said: List[str]) -> None:
    chosen = {**CHOSEN, "hooks": {"after": [{"command": "no-such-program"}]}}
    release = {"name": "v1", "commit": "", "outcome": "complete", "why": "", "after": "", "notes": []}
    (warning,) = releasing.ended(ACTION, release, chosen, variables(tmp_path))
    assert "status 127" in warning and warning.endswith("the release stays as it is")


def test_one_that_does_not_end_is_ended_with_all_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hook, "GRACE", 0.5)
    began = time.monotonic()
    done = hook.run(["sh", "-c", f"trap '' TERM; echo on; (sleep 3; touch {tmp_path}/late) & sleep 30"], {}, 0.5)
    assert done == {"status": hook.LATE, "lines": ["on"]} and time.monotonic() - began < 15
    time.sleep(max(0.0, 4 - (time.monotonic() - began)))
    assert not (tmp_path / "late").exists()


def test_on_the_vps_it_is_a_program_there(tmp_path: Path, said: List[str], monkeypatch: pytest.MonkeyPatch) -> None:
    sent: List[Any] = []

    def run_hook(_action: Any, python: str, argv: List[str], given: Dict[str, str], timeout: float) -> Dict[str, Any]:
        sent.append((python, argv, given["LANDFALL_RELEASE"], timeout))
        return {"status": 0, "lines": ["there"]}

    monkeypatch.setattr(hooks, "run_hook", run_hook)
    monkeypatch.setattr(hooks, "interpreter", lambda *_arguments: "python3")
    found = {"before": [{"command": "true --there", "where": "vps", "timeout": 7}]}
    releasing.prepared(ACTION, {**CHOSEN, "hooks": found}, variables(tmp_path))
    assert sent == [("python3", ["true", "--there"], "v1", 7.0)] and "  there" in said
