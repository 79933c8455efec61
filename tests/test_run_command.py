"""A single command is run whole or not at all, and never waits for somebody to type."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import rolekit

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(
    ("given", "lost"),
    [
        (("-e", "service=web", "-e", "command=alembic current"), "lost 'current'"),
        (("-e", "service=web", "-e", "command=python -c 'print(1)' --verbose"), "lost '-c 'print(1)' --verbose'"),
        (("-e", "service=web command=ls /tmp"), "lost '/tmp'"),
    ],
)
def test_a_command_whose_words_ansible_lost_is_refused(tmp_path: Path, given: tuple[str, ...], lost: str) -> None:
    tasks = [{"landfall.vps.run": {"service": "{{ service }}", "command": "{{ command }}"}}]
    play = {"hosts": "all", "gather_facts": False, "connection": "local", "tasks": tasks}
    (tmp_path / "play.yml").write_text(json.dumps([play]))
    env = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
    env |= {"ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"), "ANSIBLE_NOCOLOR": "1", "ANSIBLE_CONFIG": ""}
    argv = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "vps,", "play.yml", *given]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False, timeout=120, cwd=tmp_path)
    told = " ".join((done.stdout + done.stderr).split())
    assert done.returncode != 0 and lost in told and "nothing was run" in told, told
    assert """-e '{"service": "web", "command": "alembic current"}'""" in told


@pytest.mark.parametrize("name", ["compose", "timer_program"])
def test_nobody_holds_the_input_of_a_command_open(name: str) -> None:
    text = (rolekit.ROOT / f"collections/ansible_collections/landfall/vps/plugins/module_utils/{name}.py").read_text()
    assert text.count('"run", "--detach"') == text.count('"--interactive=false"') == 1
