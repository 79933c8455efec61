"""The hosts of this scenario, each by SSH, and runs of Ansible for all of them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from testbed import probe
from testbed.paths import ROOT

HOME = ROOT / "molecule" / "hosts"
PROGRAM = "/usr/local/lib/landfall/private_network/tunnels.py"


class Vps:
    """One host, as root."""

    def __init__(self, name: str) -> None:
        self.name = name

    def run(self, command: str, text: str = "", *, check: bool = True) -> str:
        """Run a shell command as root and return what it printed."""
        argv = ["ssh", "-F", str(ROOT / ".cache/vps/ssh_config"), f"molecule-hosts-{self.name}", "sudo", "sh", "-c",
                "'" + command.replace("'", "'\\''") + "'"]  # fmt: skip
        done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False, timeout=120)
        if check and done.returncode != 0:
            pytest.fail(f"{self.name}: {command}: {done.stdout}{done.stderr}")
        return done.stdout

    def proof(self, seconds: float = 15) -> dict[str, Any]:
        """Return what the role's program says of the peers: answer, silent, cut."""
        found: dict[str, Any] = json.loads(self.run(f"{PROGRAM} prove {seconds}"))
        return found

    def config(self) -> dict[str, Any]:
        """Return what the tunnels are to be."""
        found: dict[str, Any] = json.loads(self.run("cat /etc/landfall/private_network/network.json"))
        return found


@pytest.fixture(scope="session")
def hosts() -> dict[str, Vps]:
    """Give the hosts by their names in the inventory."""
    return {name: Vps(name) for name in ("web", "data", "watch")}


@pytest.fixture
def deploy() -> Callable[..., tuple[str, dict[str, int]]]:
    """Give what deploys: further arguments, ``book`` below the root, ``own`` variables of hosts by their names."""

    def run(*more: str, book: str = "molecule/hosts/converge.yml", fails: bool = False,
            own: dict[str, dict[str, Any]] | None = None) -> tuple[str, dict[str, int]]:  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            added = Path(folder) / "own.yml"
            added.write_text(yaml.safe_dump({"all": {"hosts": own or {}}}))
            places = (ROOT / "molecule/shared/inventory.yml", HOME / "hosts.yml", added)
            argv = ["ansible-playbook", *(f"--inventory={place}" for place in places), str(ROOT / book), *more]
            done = subprocess.run(argv, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
                                  timeout=400, env={**os.environ, **probe.PLAIN,
                                                    "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")})  # fmt: skip
        text = done.stdout + done.stderr
        if (done.returncode != 0) != fails:
            pytest.fail(text)
        sys.stdout.write(text[-4000:])
        return text, {name: int(changed) for name, changed in re.findall(r"^(\w+) +:.* changed=(\d+)", text, re.M)}

    return run
