"""A run that begins in the middle of the play checks the inventory all the same, before it asks the VPS anything."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NOBODY = {"ansible_host": "127.0.0.1", "ansible_port": 1, "ansible_ssh_retries": 0}


def started_at(task: str, folder: Path, **variables: object) -> str:
    hosts = {"all": {"hosts": {"vps": NOBODY}, "vars": variables}}
    (folder / "hosts.json").write_text(json.dumps(hosts))
    env = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
    command = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(folder / "hosts.json"), "--check"]
    done = subprocess.run(
        [*command, "--start-at-task", task, "site.yml"],
        cwd=ROOT, env={**env, "ANSIBLE_NOCOLOR": "1"}, capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    return done.stdout + done.stderr


@pytest.mark.parametrize("task", ["Deploy Prometheus", "Deploy Redis"])
def test_bad_input_is_told_before_the_vps_is_asked(task: str, tmp_path: Path) -> None:
    said = started_at(task, tmp_path, redis_maxmemory="1x", prometheus_retention_time="soon")
    assert "the inventory of vps has 2 faults; nothing was changed:" in said
    assert "- redis_maxmemory: '1x' is no size here" in said
    assert "- prometheus_retention_time: 'soon' is no duration here" in said
    assert "unreachable=0" in said, said


def test_a_good_inventory_goes_on_to_the_vps(tmp_path: Path) -> None:
    assert "unreachable=1" in started_at("Deploy Redis", tmp_path)
