"""Workflows that users copy: what their steps ask of the VPS is understood there, and each failure fails the job."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.landfall.vps.plugins.module_utils import deployer, pushing

from tests import rolekit

FOLDER = rolekit.ROOT / "examples" / "ci"
GITHUB: dict[str, Any] = yaml.safe_load((FOLDER / "github.yml").read_text(encoding="utf-8"))
GITLAB: dict[str, Any] = yaml.safe_load((FOLDER / "gitlab.yml").read_text(encoding="utf-8"))
COMMIT = "c0ffee" * 6 + "abcd"
REPOSITORY = "registry.example.com/acme/shop"
IMAGE = f"{REPOSITORY}@sha256:{'a' * 64}"
SAID = {"plan": "web: would be recreated", "deploy": "release c0ffee serves, after v1"}
FAKES = {
    "ssh": 'last=$(cat answer); echo "$last"; exit "$(cat rc)"',
    "gh": "",
    "curl": "",
    "apt-get": "",
    "docker": f"""case "$1" in
        login) cat >/dev/null ;;  # the password; who hands it on to nobody is ended by SIGPIPE
        image) printf '%s\\n' 'ghcr.io/other/x@sha256:0' '{IMAGE}' ;;
        esac""",
}


class Machine:
    """A CI machine on which what reaches the outside is written down instead."""

    def __init__(self, folder: Path, answer: str, status: int) -> None:
        self.folder = folder
        (folder / "bin").mkdir()
        (folder / "answer").write_text(answer)
        (folder / "rc").write_text(str(status))
        for name, body in FAKES.items():
            path = folder / "bin" / name
            path.write_text(f'#!/bin/bash\nprintf "%q " {name} "$@" >>calls; echo >>calls\n{body}\n')
            path.chmod(0o755)

    def run(self, script: str, **environment: str) -> int:
        """Run a script as GitHub's and GitLab's runners do: bash that stops at a failure, also within a pipe."""
        known = {"PATH": f"{self.folder}/bin:{os.environ['PATH']}", "HOME": str(self.folder), **environment}
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script], cwd=self.folder, env=known, check=False,
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        return done.returncode

    def calls(self, program: str) -> list[list[str]]:
        found = [shlex.split(line) for line in (self.folder / "calls").read_text().splitlines()]
        return [words for words in found if words[0] == program]

    def asked(self) -> Any:
        """What the VPS was asked for over SSH, as sshd hands it on and the program there understands it."""
        (words,) = self.calls("ssh")
        host = words.index("landfall@vps.example.org")
        assert "StrictHostKeyChecking=yes" in words and "BatchMode=yes" in words
        return deployer.understood(" ".join(words[host + 1 :]), ["plan", "deploy"])


def github_step(job: str, name: str) -> dict[str, Any]:
    (step,) = [step for step in GITHUB["jobs"][job]["steps"] if step.get("name") == name]
    found: dict[str, Any] = step
    return found


def github(machine: Machine, job: str, name: str, **more: str) -> int:
    step = github_step(job, name)
    assert set(step.get("env", {})) <= set(KNOWN) | set(more), step["env"]
    return machine.run(step["run"], **{**KNOWN, **more})


KNOWN = {
    "RELEASE": COMMIT, "HOST": "landfall@vps.example.org", "HOST_KEYS": "vps ssh-ed25519 AAAA", "KEY": "a key",
    "IMAGE": IMAGE, "GH_TOKEN": "t", "PULL_REQUEST": "7", "GITHUB_REPOSITORY": "Acme/Shop", "TOKEN": "t",
    "GITHUB_ACTOR": "anna", "GITHUB_OUTPUT": "output", "STATE": "success",
}  # fmt: skip


def gitlab(machine: Machine, job: str, **more: str) -> int:
    known = {
        "RELEASE": COMMIT, "IMAGE": IMAGE, "PLAN_KEY": "rc", "DEPLOY_KEY": "rc", "DEPLOY_HOST_KEYS": "known",
        "DEPLOY_HOST": "landfall@vps.example.org", "PLAN_TOKEN": "t", "CI_API_V4_URL": "https://git/api/v4",
        "CI_PROJECT_ID": "1", "CI_MERGE_REQUEST_IID": "7", "CI_REGISTRY_IMAGE": REPOSITORY, "CI_REGISTRY": "r",
        "CI_REGISTRY_USER": "u", "CI_REGISTRY_PASSWORD": "p", **more,
    }  # fmt: skip
    before = GITLAB.get(str(GITLAB[job].get("extends")), {}).get("before_script", [])
    return machine.run("\n".join([*before, *GITLAB[job]["script"]]), **known)


@pytest.mark.parametrize("verb", ["plan", "deploy"])
@pytest.mark.parametrize("service", ["github", "gitlab"])
def test_the_vps_is_asked_for_the_commit_by_its_digest(tmp_path: Path, service: str, verb: str) -> None:
    machine = Machine(tmp_path, SAID[verb], 0)
    status = github(machine, verb, verb.capitalize()) if service == "github" else gitlab(machine, verb)
    assert status == 0
    asked = machine.asked()
    assert (asked.verb, asked.release, asked.images, asked.commit) == (verb, COMMIT, [IMAGE], COMMIT)
    assert pushing.faults(asked.release, asked.images) == []
    assert verb == "plan" or asked.wait == 1800
    assert (tmp_path / "key").stat().st_mode & 0o77 == 0


@pytest.mark.parametrize("verb", ["plan", "deploy"])
@pytest.mark.parametrize("service", ["github", "gitlab"])
@pytest.mark.parametrize("rc", [1, 75, 255])
def test_what_fails_on_the_vps_fails_the_job(tmp_path: Path, service: str, verb: str, rc: int) -> None:
    machine = Machine(tmp_path, "FAILED: web: unhealthy", rc)
    status = github(machine, verb, verb.capitalize()) if service == "github" else gitlab(machine, verb)
    assert status == rc


@pytest.mark.parametrize("rc", [0, 1])
def test_the_plan_becomes_a_comment_also_where_it_is_refused(tmp_path: Path, rc: int) -> None:
    machine = Machine(tmp_path, SAID["plan"], rc)
    assert github(machine, "plan", "Plan") == rc
    comment = (tmp_path / "comment.md").read_text()
    assert comment == f"What a deploy of {COMMIT} would do:\n\n    {SAID['plan']}\n"
    assert github(machine, "plan", "Comment") == 0
    (call,) = machine.calls("gh")
    assert call[1:4] == ["pr", "comment", "7"] and call[-2:] == ["--body-file", "comment.md"]
    assert "always()" in github_step("plan", "Comment")["if"]
    (tmp_path / "calls").unlink()
    (tmp_path / "comment.md").unlink()
    assert gitlab(machine, "plan") == rc
    (call,) = machine.calls("curl")
    assert call[-1] == "https://git/api/v4/projects/1/merge_requests/7/notes" and "body@comment.md" in call
    assert (tmp_path / "comment.md").read_text() == comment


def test_the_result_becomes_the_status_of_the_commit(tmp_path: Path) -> None:
    machine = Machine(tmp_path, SAID["deploy"], 0)
    assert github(machine, "deploy", "Deploy") == 0
    assert github(machine, "deploy", "Tell the commit") == 0
    (call,) = machine.calls("gh")
    assert call[1:3] == ["api", f"repos/Acme/Shop/statuses/{COMMIT}"]
    assert "state=success" in call and f"description={SAID['deploy']}" in call
    (tmp_path / "result").unlink()
    assert github(machine, "deploy", "Tell the commit", STATE="failure") == 0
    assert "description=the deploy was not begun" in machine.calls("gh")[1]
    assert github_step("deploy", "Tell the commit")["if"] == "always()"


def test_the_digest_is_that_of_the_own_repository(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "", 0)
    assert gitlab(machine, "image") == 0
    assert (tmp_path / "image.env").read_text() == f"IMAGE={IMAGE}\n"
    step = github_step("image", "Build and push")
    script = step["run"].replace('"ghcr.io/${GITHUB_REPOSITORY,,}"', f'"{REPOSITORY}"')
    assert script != step["run"] and machine.run(script, **KNOWN) == 0
    assert (tmp_path / "output").read_text() == f"image={IMAGE}\n"


def test_nothing_that_a_stranger_writes_becomes_part_of_a_script() -> None:
    for name, job in GITHUB["jobs"].items():
        for step in job["steps"]:
            assert "${{" not in step.get("run", ""), name
        assert job["timeout-minutes"] <= 60
    assert "pull_request_target" not in GITHUB["on"]
    # Actions of others are those of GitHub itself
    used = [step["uses"] for job in GITHUB["jobs"].values() for step in job["steps"] if "uses" in step]
    assert all(re.fullmatch(r"actions/[a-z-]+@v\d+", name) for name in used), used


def test_keys_reach_the_jobs_that_need_them_alone() -> None:
    for name, job in GITHUB["jobs"].items():
        keys = set(re.findall(r"secrets\.(\w+)", yaml.safe_dump(job)))
        assert keys == {"plan": {"PLAN_KEY"}, "deploy": {"DEPLOY_KEY"}}.get(name, set())
    assert GITHUB["jobs"]["deploy"]["environment"] == "production"
    assert "head.repo.full_name == github.repository" in GITHUB["jobs"]["plan"]["if"]
    assert GITHUB["permissions"] == {"contents": "read"}
    for name in ("image", "plan", "deploy"):
        keys = set(re.findall(r"\$(\w+_KEY)\b", "\n".join(GITLAB[name]["script"])))
        assert keys == {"plan": {"PLAN_KEY"}, "deploy": {"DEPLOY_KEY"}}.get(name, set())


def test_deploys_of_one_application_queue() -> None:
    assert GITHUB["concurrency"]["cancel-in-progress"] is False
    assert GITLAB["deploy"]["resource_group"] == GITLAB["deploy"]["environment"] == "production"
