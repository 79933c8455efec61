"""Plans the whole stack of an inventory without a host, by a run of Ansible whose first task looks ahead on each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
# Looks ahead on a VPS where nothing is, and writes down all that would be deployed
AHEAD = """
import json
from ansible.plugins.action import ActionBase
from ansible_collections.landfall.vps.plugins.plugin_utils import foresight, seam, variables

class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        state = {"records": {}, "files": {}, "containers": {}, "images": {}, "volumes": {}, "networks": {}, "homes": []}
        state.update({"root": "/opt/landfall", "been_here": True, "deployed_before": []})
        found = foresight.look_ahead(self, task_vars, state)
        known = {**task_vars, "role_path": self._task.args["role"]}
        templar = seam.remembering(self, known)[1]
        wrong = variables.faults(templar, self._loader.get_text_file_contents, self._task.get_vars(), known)
        told = foresight.told(found)
        line = {"faults": found.faults, "inventory": wrong, "later": found.later, "told": told, "components": {
            one.name: {"present": one.rendered.desired.present, "needs": one.options["needs"],
                       "targets": one.rendered.desired.meta.get("targets") or [],
                       "files": {path: text.decode() for path, text in one.rendered.contents.items()}}
            for one in found.planned}}
        with open(self._task.args["to"] + "/" + task_vars["inventory_hostname"] + ".json", "w") as handle:
            json.dump(line, handle)
        return {"changed": False}
"""


def planned(home: Path, inventory: dict[str, Any], root: Path = ROOT) -> dict[str, dict[str, Any]]:
    """What each host of an ``inventory`` would get from site.yml, by host.

    ``{faults, inventory, later, told, components: {name: {present, needs, targets, files: {path: text}}}}``, where
    ``inventory`` is what is wrong with the variables. ``home`` is an empty folder for the run; secrets are kept in
    ``home``/secrets. ``root`` is the checkout whose roles are rendered.
    """
    (home / "action_plugins").mkdir(exist_ok=True)
    (home / "action_plugins" / "ahead.py").write_text(AHEAD)
    (home / "seen").mkdir(exist_ok=True)
    site = yaml.safe_load((root / "site.yml").read_text(encoding="utf-8"))[0]
    ahead = {"name": "Look ahead", "ahead": {"to": str(home / "seen"), "role": str(root / "roles" / "landfall")}}
    known = {"ansible.builtin.import_role": {"name": "landfall", "tasks_from": "known.yml"}}
    tasks = [known, ahead, {"ansible.builtin.meta": "end_play"}, *site["tasks"][1:]]
    (home / "play.yml").write_text(json.dumps([{**site, "become": False, "tasks": tasks, "connection": "local"}]))
    (home / "hosts.json").write_text(json.dumps(inventory))
    more = {"landfall_secrets_dir": str(home / "secrets"), "app_context": str(ROOT / "app")}
    argv = [
        str(BIN / "ansible-playbook"),
        "-i",
        str(home / "hosts.json"),
        str(home / "play.yml"),
        "-e",
        json.dumps(more),
    ]
    done = subprocess.run(
        argv,
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "ANSIBLE_CONFIG": str(root / "ansible.cfg"), "ANSIBLE_ROLES_PATH": str(root / "roles"),
             "ANSIBLE_COLLECTIONS_PATH": str(root / "collections"), "ANSIBLE_FORCE_COLOR": "0"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return {path.stem: json.loads(path.read_text()) for path in sorted((home / "seen").glob("*.json"))}
