"""Runs of Ansible against the VPS of this scenario, and a network namespace on it that is the world outside."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from testbed import outside
from testbed.paths import ROOT

VPS = "molecule-host"
HOME = ROOT / "molecule" / "host"


class Vps:
    """The VPS, as root and from outside."""

    def run(self, command: str, text: str = "", *, check: bool = True) -> str:
        """Run a shell command as root and return what it printed."""
        argv = ["ssh", "-F", str(ROOT / ".cache/vps/ssh_config"), VPS, "sudo", "sh", "-c", f"'{command}'"]
        done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False, timeout=120)
        if check and done.returncode != 0:
            pytest.fail(f"{command}: {done.stdout}{done.stderr}")
        return done.stdout

    def answering(self, *ports: int) -> dict[str, list[str]]:
        """Return the ports that answer the world, by address; all that do, unless some are named.

        Without names none may be told to be closed either: what is hidden says nothing.
        """
        found = outside.answering(self.run, *ports)
        if not ports and any(said["closed"] for said in found.values()):
            pytest.fail(f"says that it is closed: {found}")
        return {address: said["open"] for address, said in found.items()}

    def reached(self) -> dict[str, dict[str, str]]:
        """Return what the VPS itself and its containers reach outside, or what they are told instead."""
        return outside.reached(self.run)

    def until(self, holds: Callable[[], bool], seconds: float) -> float:
        """Wait until something holds; return after how many seconds it did."""
        began = time.monotonic()
        while not holds():
            if time.monotonic() - began > seconds:
                pytest.fail(f"does not hold after {seconds} s")
            time.sleep(0.5)
        return time.monotonic() - began


@pytest.fixture(scope="session")
def vps() -> Iterator[Vps]:
    """Give the VPS with a world outside."""
    found = Vps()
    outside.make(found.run)
    yield found
    outside.take_away(found.run)


@pytest.fixture(scope="session")
def play() -> Callable[..., subprocess.Popen[str]]:
    """Give what starts a run of Ansible with further variables."""

    def start(*more: str, **values: Any) -> subprocess.Popen[str]:
        inventories = [f"--inventory={ROOT}/molecule/shared/inventory.yml", f"--inventory={HOME}/hosts.yml"]
        argv = ["ansible-playbook", *inventories, str(HOME / "converge.yml"), "--extra-vars", json.dumps(values), *more]
        return subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                stdin=subprocess.DEVNULL, start_new_session=True)  # fmt: skip

    return start


@pytest.fixture
def only_once(tmp_path: Path) -> str:
    """Give options for ssh by which the first connection comes through and no further one: a way in that is lost."""
    came = tmp_path / "came"
    config = tmp_path / "ssh_config"
    config.write_text(
        f'Match exec "test -d {came} || ! mkdir {came}"\n  ProxyCommand sleep 3600\n'
        f"Match all\nInclude {ROOT}/.cache/vps/ssh_config\n"
    )
    return f'-F "{config}"'
