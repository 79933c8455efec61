"""The whole play for a VPS that does not answer: what is wrong with the inventory is told all the same."""

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
    """What a run says that begins with a task; with none it begins at the beginning."""
    hosts = {"all": {"hosts": {"vps": NOBODY}, "vars": variables}}
    (folder / "hosts.json").write_text(json.dumps(hosts))
    return played("-i", str(folder / "hosts.json"), *(["--start-at-task", task] if task else []))


def played(*arguments: str) -> str:
    env = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
    command = [str(Path(sys.executable).parent / "ansible-playbook"), "--check", *arguments, "site.yml"]
    done = subprocess.run(
        command,
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


def test_without_a_folder_of_the_inventory_no_secret_is_made(tmp_path: Path) -> None:
    """Also where variables are evaluated already when the secret is looked up."""
    nowhere = ["-i", "127.0.0.1,", "-e", "ansible_port=1"]
    said = played(*nowhere)
    assert "landfall_secrets_dir: this inventory has no folder in which" in said
    assert "None/secrets" not in said
    assert f"would be generated in {tmp_path}/kept" in played(*nowhere, "-e", f"landfall_secrets_dir={tmp_path}/kept")
