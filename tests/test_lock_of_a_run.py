"""What is no component is changed by one run at a time as well: packages, the engine's settings, firewall, tunnels."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.landfall.vps.plugins.module_utils.lock import Lock

from tests import rolekit

ROOT = Path(__file__).resolve().parents[1]
CHANGES = {"apt", "apt_repository", "authorized_key", "copy", "deb822_repository", "file", "lineinfile", "package",
           "systemd_service", "template", "user"}  # fmt: skip


def run(tmp_path: Path, *more: str) -> tuple[str, int]:
    """Run a play that takes the lock of a stack below tmp_path and shows it; returns (output, exit status)."""
    root = str(tmp_path / "stack")
    tasks: list[dict[str, Any]] = [
        {"landfall.vps.lock": {"root": root, "doing": "Docker Engine"}},
        {"ansible.builtin.command": {"argv": ["cat", f"{root}/.state/lock"]}, "changed_when": True},
        {"landfall.vps.lock": {"root": root, "doing": "the VPS itself"}},
    ]
    play = {"hosts": "all", "gather_facts": False, "connection": "local", "tasks": tasks}
    (tmp_path / "play.yml").write_text(json.dumps([play]))
    env = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
    env |= {"ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"), "ANSIBLE_NOCOLOR": "1", "ANSIBLE_CONFIG": ""}
    argv = [str(Path(sys.executable).parent / "ansible-playbook"), "-v", "-i", "vps,", "play.yml", *more]
    argv += ["-e", f"ansible_python_interpreter={sys.executable}"]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False, timeout=300, cwd=tmp_path)
    return done.stdout + done.stderr, done.returncode


def test_a_run_has_the_vps_until_it_ends(tmp_path: Path) -> None:
    text, status = run(tmp_path)
    assert status == 0, text
    assert '\\"doing\\": \\"between components, last Docker Engine\\"' in text, text
    # Whoever keeps the lock gives it back as soon as the run has ended
    Lock(str(tmp_path / "stack"), "another", "somebody").acquire_within(30, "next")


def test_another_run_is_refused_before_it_changes_anything(tmp_path: Path) -> None:
    other = Lock(str(tmp_path / "stack"), "another", "somebody@somewhere")
    with other.held("redis: recreated"):
        pass  # its lease stays, as between two programs of a run
    text, status = run(tmp_path)
    told = " ".join(text.split())
    assert status != 0 and "another run is in progress on this VPS: somebody@somewhere" in told, text
    assert "nothing was changed" in told and "ansible.builtin.command" not in text, text


def test_a_rehearsal_takes_no_lock(tmp_path: Path) -> None:
    text, status = run(tmp_path, "--check")
    assert status == 0 and not (tmp_path / "stack").exists(), text


@pytest.mark.parametrize("role", sorted(path.name for path in rolekit.ROLES.iterdir() if (path / "tasks").is_dir()))
def test_a_role_that_changes_the_vps_itself_has_the_lock_first(role: str) -> None:
    used: set[str] = set()
    for path in (rolekit.ROLES / role / "tasks").glob("*.yml"):
        queue = list(yaml.safe_load(path.read_text()) or [])
        while queue:
            task = queue.pop()
            queue += [one for part in ("block", "rescue", "always") for one in task.get(part, [])]
            if "delegate_to" not in task:
                used |= {name.removeprefix("ansible.builtin.") for name in task}
    assert not used & CHANGES or "landfall.vps.lock" in used, used & CHANGES
