"""The workflows of GitHub Actions: what they run is a target of the Makefile, with as few rights as it needs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import rolekit

WORKFLOWS = sorted((rolekit.ROOT / ".github/workflows").glob("*.yml"))
TARGETS = set(re.findall(r"(?m)^([a-z-]+):", (rolekit.ROOT / "Makefile").read_text("utf-8")))


def load(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text("utf-8"))
    return found


def faults(workflow: dict[str, Any]) -> list[str]:
    """What is wrong with a workflow, apart from what actionlint finds (`make workflows`)."""
    found = (
        [] if workflow.get("permissions") == {"contents": "read"} else ["permissions: the default is not read alone"]
    )
    for name, job in workflow["jobs"].items():
        found += [] if job.get("timeout-minutes") else [f"{name}: has no timeout-minutes"]
        for step in job["steps"]:
            run = str(step.get("run", ""))
            found += [f"{name}: no target {one}" for one in re.findall(r"\bmake ([a-z-]+)", run) if one not in TARGETS]
            if re.search(r"\$\{\{ *github\.(event|head_ref)", run):
                found.append(f"{name}: puts what a stranger writes into a command: {run}")
            uses = step.get("uses", "")
            if uses and not re.fullmatch(r"[\w-]+/[\w-]+@(v\d+(\.\d+)*|[0-9a-f]{40})", uses):
                found.append(f"{name}: {uses} is not pinned")
    return found


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_runs_targets_with_few_rights(path: Path) -> None:
    assert faults(load(path)) == []


def test_what_is_wrong_is_found() -> None:
    steps = [
        {"uses": "actions/checkout@main"},
        {"run": "make nothing-such"},
        {"run": "echo ${{ github.event.pull_request.title }}"},
    ]
    assert len(faults({"jobs": {"x": {"steps": steps}}})) == 5


def test_a_pull_request_is_linted_and_tested_and_the_night_runs_everything() -> None:
    jobs = load(rolekit.ROOT / ".github/workflows/ci.yml")["jobs"]
    always = {step.get("run") for job in jobs.values() if "if" not in job for step in job["steps"]}
    assert {"make lint", "make unit", "make site", "make collection", "make workflows"} <= always
    assert any("make test" in str(step.get("run")) for step in jobs["nightly"]["steps"])
    assert jobs["clean-room"]["strategy"]["matrix"]["suite"] == ["bookworm", "trixie"]


def test_renovate_looks_after_every_kind_of_pin() -> None:
    settings = json.loads((rolekit.ROOT / "renovate.json").read_text("utf-8"))
    managers = settings["customManagers"]
    makefile = (rolekit.ROOT / "Makefile").read_text("utf-8")
    patterns = [re.sub(r"\(\?<", "(?P<", one) for manager in managers for one in manager["matchStrings"]]
    found = [match.groupdict() for pattern in patterns for match in re.finditer(pattern, makefile)]
    assert found == [{"datasource": "go", "depName": "github.com/rhysd/actionlint", "currentValue": "v1.7.12"}] or (
        found and found[0]["depName"] == "github.com/rhysd/actionlint"
    )
