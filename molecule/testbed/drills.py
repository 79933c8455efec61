"""What the tests of scenario `engine` do to its VPS and look at."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from . import probe
from .paths import ROOT

PLAY = "molecule/engine/converge.yml"
STATE = "/opt/landfall/.state"
LOCK = f"{STATE}/lock"


def play(*argv: str) -> tuple[str, dict[str, int], int]:
    """Run the scenario's own playbook once more; see ``probe.playbook``."""
    return probe.playbook(*argv, name=PLAY)


def identity(host: Any, name: str) -> tuple[str, str, int]:
    """What changes when container ``name`` is replaced or restarted."""
    return probe.identity(probe.containers(host)[name])


def record(host: Any, name: str) -> dict[str, Any]:
    """What the engine recorded of component ``name``."""
    value: dict[str, Any] = json.loads(probe.output(host, "cat", f"/opt/landfall/.state/{name}.json"))
    return value


def serves(host: Any) -> bool:
    """Whether Prometheus answers."""
    return "Prometheus Server is Ready" in probe.get(host, "http://127.0.0.1:9090/-/ready")


def unchanged(text: str, figures: dict[str, int], status: int) -> bool:
    """Whether a run that has to succeed changed nothing."""
    assert status == 0, text  # noqa: S101 - fails the test
    return figures["changed"] == 0


@contextmanager
def changed_roles(change: Callable[[Path], None]) -> Iterator[None]:
    """Let plays use a copy of all roles, to whose folder ``change`` was done.

    What an inventory can say is judged before a checker sees it, so that only a role can be wrong in a checker's eyes.
    """
    with tempfile.TemporaryDirectory() as folder:
        roles = Path(folder) / "roles"
        shutil.copytree(ROOT / "roles", roles)
        change(roles)
        os.environ["ANSIBLE_ROLES_PATH"] = str(roles)
        try:
            yield
        finally:
            del os.environ["ANSIBLE_ROLES_PATH"]


def added_to_role(path: str, text: str) -> AbstractContextManager[None]:
    """As ``changed_roles``, with ``text`` added to the end of the file ``path``."""

    def add(roles: Path) -> None:
        with (roles / path).open("a", encoding="utf-8") as handle:
            handle.write(text)

    return changed_roles(add)


def begin(*argv: str) -> subprocess.Popen[bytes]:
    """Start a run in a session of its own, so that all of it can be killed as a CI system kills its job."""
    scenario = Path(os.environ["MOLECULE_SCENARIO_DIRECTORY"])
    command = [
        str(Path(sys.executable).with_name("ansible-playbook")),
        "-i", str(ROOT / "molecule/shared/inventory.yml"), "-i", str(scenario / "hosts.yml"),
        PLAY, *argv,
    ]  # fmt: skip
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def leftovers(host: Any) -> list[str]:
    """What nobody needs once no run is at work."""
    found = probe.output(host, "find", STATE, "-mindepth", "1").split()
    return [path for path in found if "/staged-" in path or "/journal/" in path or path == LOCK]
