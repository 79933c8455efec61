"""A run that begins in the middle renders with what it reads of the VPS, not with what another run left in a cache."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.landfall.vps.plugins.plugin_utils import session

from tests import rolekit

ROOT = Path(__file__).resolve().parents[1]
# Stands for a fact cache, and for a VPS that tells what is there today
CACHE = """
from ansible.plugins.action import ActionBase
from ansible_collections.landfall.vps.plugins.action import component
import base64, json

def read_state(action, python, root, files, texts=()):
    network = {"gateway": "today", "subnet": "", "bridge": "", "mtu": "", "stack": "landfall", "project": ""}
    return {"records": {}, "files": {}, "containers": {}, "volumes": {}, "networks": {"landfall": network}, "homes": [],
            "root": root, "been_here": False, "deployed_before": [], "lock": None,
            "images": {"example.com/thing:1": {"id": "i", "labels": {}}}}

def run_components(action, python, requests, check_mode, with_diff, tell=None):
    with open(action._task.get_variable_manager().extra_vars["to"], "w") as handle:
        json.dump([one["contents"] for one in requests], handle)
    done = {"changed": True, "action": "created", "reasons": [], "notes": [], "seconds": {}}
    return {"components": {one["desired"]["name"]: done for one in requests}, "release": None}

component.read_state, component.run_components = read_state, run_components
component.variables.faults = lambda *_args: []

class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        old = {"run": "of yesterday", "records": {}, "networks": {"landfall": {"gateway": "yesterday"}}}
        return {"changed": False, "ansible_facts": {"landfall_state": old} if self._task.args.get("cached") else {}}
"""
COMPOSE = """
name: {{ landfall_component }}
services:
  {{ landfall_component }}:
    image: example.com/thing:1
    environment:
      SEEN: "{{ (ansible_facts['landfall_state'] | default({})).networks.landfall.gateway | default('nothing') }}"
"""


@pytest.mark.parametrize("cached", [True, False])
def test_templates_see_what_was_read_and_nothing_of_before(tmp_path: Path, cached: bool) -> None:
    (tmp_path / "action_plugins").mkdir()
    (tmp_path / "action_plugins" / "cache.py").write_text(CACHE)
    home = tmp_path / "roles" / "a"
    (home / "tasks").mkdir(parents=True)
    (home / "tasks" / "main.yml").write_text(json.dumps([{"name": "Deploy", "landfall.vps.component": {"name": "a"}}]))
    (home / "templates").mkdir()
    (home / "templates" / "compose.yaml.j2").write_text(COMPOSE)
    tasks = [{"cache": {"cached": cached}}, {"ansible.builtin.import_role": {"name": "a"}}]
    play = {"hosts": "all", "gather_facts": False, "connection": "local", "tasks": tasks}
    (tmp_path / "play.yml").write_text(json.dumps([play]))
    env = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
    env |= {"ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"), "ANSIBLE_NOCOLOR": "1", "ANSIBLE_CONFIG": ""}
    argv = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "vps,", "play.yml", "--check"]
    argv += ["-e", "landfall_root=/opt/landfall", "-e", f"to={tmp_path / 'sent'}"]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False, timeout=300, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    (contents,) = json.loads((tmp_path / "sent").read_text())
    assert 'SEEN: "today"' in base64.b64decode(contents["a/compose.yaml"]).decode()


@pytest.mark.parametrize(
    ("name", "state", "now", "before"),
    [
        ("landfall_gateway", {"networks": {"landfall": {"gateway": "172.30.0.9"}}}, "172.30.0.9", "172.30.0.1"),
        ("landfall_docker_root", {"engine": {"data_root": "/srv/docker"}}, "/srv/docker", "/var/lib/docker"),
        ("verify_exercise", {"stale": ["app"]}, True, False),
    ],
)
def test_what_another_run_read_is_nobody_s_knowledge(
    tmp_path: Path, name: str, state: dict[str, Any], now: Any, before: Any
) -> None:
    values = rolekit.inventory(tmp_path)
    assert rolekit.template(values[name], {**values, "ansible_facts": session.as_fact(state)}) == now
    for facts in ({"landfall_state": {**state, "run": "of yesterday"}}, {}):
        assert rolekit.template(values[name], {**values, "ansible_facts": facts}) == before
