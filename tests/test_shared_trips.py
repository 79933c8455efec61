"""Tasks of new components that follow one another share a trip, and each tells under its own banner what it did."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from ansible_collections.landfall.vps.plugins.plugin_utils import ahead

ROOT = Path(__file__).resolve().parents[1]
# Knows a VPS where nothing is, and carries out trips by writing down what was asked for
FIRST = """
import json
from ansible.plugins.action import ActionBase
from ansible_collections.landfall.vps.plugins.plugin_utils import keeper, remote, session

CASE = {}

def run_components(action, python, requests, check_mode, with_diff, tell=None):
    names = [one["desired"]["name"] for one in requests]
    case = action._task.get_variable_manager().extra_vars
    with open(case["to"], "a") as handle:
        handle.write(json.dumps([[n, bool(r.get("ahead")), r["resumed"]] for n, r in zip(names, requests)]) + "\\n")
    found = {}
    for name in names:
        found[name] = {"changed": True, "action": "created", "reasons": ["new " + name], "notes": [], "seconds": {}}
        if name == case.get("bad"):
            found[name].update(failed=True, changed=False, action="none", msg=name + ": refused")
            break
    return {"components": found, "release": None}

remote.run_components = run_components
keeper.start = lambda *_args: None

class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        state = {"records": {}, "files": {}, "containers": {}, "volumes": {}, "networks": {}, "homes": [],
                 "root": "/opt/landfall", "been_here": False, "deployed_before": [], "lock": None,
                 "images": {"example.com/thing:1": {"id": "i", "labels": {}}}}
        return {"changed": False, "ansible_facts": session.as_fact(state)}
"""
COMPOSE = """
name: {{ landfall_component }}
services:
  {{ landfall_component }}:
    image: example.com/thing:{{ tag | default('1') }}
"""
A, B, C = ({"ansible.builtin.import_role": {"name": name}} for name in "abc")
SAY: dict[str, Any] = {"name": "Say something", "ansible.builtin.debug": {"msg": "hello"}}
ALONE = [["a"], ["b"], ["c"]]
CASES: dict[str, tuple[list[dict[str, Any]], dict[str, Any], list[str], list[list[str]]]] = {
    "one after another": ([A, B, C], {}, [], [["a", "b", "c"]]),
    "a task between": ([A, B, SAY, C], {}, [], [["a", "b"], ["c"]]),
    "a task between that is not for now": ([A, {**SAY, "when": False}, B, C], {}, [], [["a", "b", "c"]]),
    "a flush of handlers between": ([A, {"ansible.builtin.meta": "flush_handlers"}, B, C], {}, [], [["a"], ["b", "c"]]),
    "an image that is missing": ([A, {**B, "vars": {"tag": "2"}}, C], {}, [], ALONE),
    "another user": ([A, B, {**C, "become_user": "anna"}], {}, [], [["a", "b"], ["c"]]),
    "another connection": ([A, B, {**C, "vars": {"ansible_user": "anna"}}], {}, [], [["a", "b"], ["c"]]),
    "one that may fail": ([A, {**B, "ignore_errors": True}, C], {}, [], [["a"], ["b", "c"]]),
    "other hosts that stop with this one": ([A, B, C], {"any_errors_fatal": True}, [], ALONE),
    "hosts that stop with a share of them": ([A, B, C], {"max_fail_percentage": 10}, [], ALONE),
    "a rehearsal": ([A, B, C], {}, ["--check"], ALONE),
    "the same role twice": ([A, B, {**A, "vars": {"again": True}}], {}, [], [["a", "b"], ["a"]]),
    "one that is refused": ([A, B, C], {}, ["-e", "bad=b"], [["a", "b", "c"]]),
}


def role(home: Path, name: str) -> None:
    task = {"name": f"Deploy {name}", "landfall.vps.component": {"name": name}}
    (home / "roles" / name / "tasks").mkdir(parents=True)
    (home / "roles" / name / "tasks" / "main.yml").write_text(json.dumps([task]))
    (home / "roles" / name / "templates").mkdir()
    (home / "roles" / name / "templates" / "compose.yaml.j2").write_text(COMPOSE)


@pytest.mark.parametrize("case", CASES)
def test_what_shares_a_trip(tmp_path: Path, case: str) -> None:
    tasks, more, options, wanted = CASES[case]
    (tmp_path / "action_plugins").mkdir()
    (tmp_path / "action_plugins" / "first.py").write_text(FIRST)
    for name in "abc":
        role(tmp_path, name)
    play = {"hosts": "all", "gather_facts": False, "connection": "local", "tasks": [{"first": {}}, *tasks], **more}
    (tmp_path / "play.yml").write_text(json.dumps([play]))
    env = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
    env |= {"ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"), "ANSIBLE_NOCOLOR": "1", "ANSIBLE_CONFIG": ""}
    argv = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "vps,", "play.yml", *options]
    argv += ["-e", "landfall_root=/opt/landfall", "-e", f"to={tmp_path / 'trips'}"]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False, timeout=300, cwd=tmp_path)
    trips = [json.loads(line) for line in (tmp_path / "trips").read_text().splitlines()]
    assert [[name for name, _ahead, _resumed in trip] for trip in trips] == wanted, done.stdout + done.stderr
    assert all(is_ahead == bool(place) for trip in trips for place, (_name, is_ahead, _resumed) in enumerate(trip))
    # Only a later program of a run goes on from what an earlier one found
    if "--check" not in options:
        assert [trip[0][2] for trip in trips] == [bool(number) for number in range(len(trips))]
    parts = re.split(r"^TASK \[(\w) : Deploy \w\].*$", done.stdout, flags=re.MULTILINE)[1:]
    told = [
        (
            banner[0],
            re.findall(r"^  (\w): (?:would be )?created", text, re.MULTILINE),
            re.findall(r"^    new (\w)$", text, re.MULTILINE),
            "changed: [vps]" in text,
        )
        for banner, text in zip(parts[::2], parts[1::2], strict=True)
    ]
    names = [
        str(task["ansible.builtin.import_role"]["name"]) for task in tasks if "ansible.builtin.import_role" in task
    ]
    if "bad=b" in options:
        assert done.returncode == 2 and told == [("a", ["a"], ["a"], True), ("b", [], [], False)], done.stdout
        assert "b: refused" in done.stdout
    else:
        assert done.returncode == 0, done.stdout + done.stderr
        assert told == [(name, [name], [name], True) for name in names], done.stdout


def test_what_was_done_for_another_plan_is_not_told_as_this_one_s() -> None:
    def one(name: str, digest: str) -> Any:
        return cast(Any, SimpleNamespace(name=name, brief=lambda: {"action": "created", "digest": digest}))

    company = [SimpleNamespace(planned=one("b", "1")), SimpleNamespace(planned=one("c", "1"))]
    answers = {"a": {"action": "created"}, "b": {"action": "created"}}
    left = ahead.kept([one("a", "1")], cast(Any, company), answers, {})
    assert list(left) == ["b"]  # of c nobody knows anything
    assert ahead.taken([one("b", "1")], {ahead.FACT: left}) == {"b": {"action": "created"}}
    assert not ahead.taken([one("b", "2")], {ahead.FACT: left})
    assert not ahead.taken([one("b", "1"), one("c", "1")], {ahead.FACT: left})
    assert ahead.kept([one("b", "1")], [], {}, {ahead.FACT: left}) == {}
