"""What the tests of scenario `engine` do to its VPS and look at."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from . import probe
from .paths import ROOT

PLAY = "molecule/engine/converge.yml"


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
def added_to_role(path: str, text: str) -> Iterator[None]:
    """Let plays use a copy of all roles in which ``text`` is added to the end of the file ``path``.

    What an inventory can say is judged before a checker sees it, so that only a role can be wrong in a checker's eyes.
    """
    with tempfile.TemporaryDirectory() as folder:
        roles = Path(folder) / "roles"
        shutil.copytree(ROOT / "roles", roles)
        with (roles / path).open("a", encoding="utf-8") as handle:
            handle.write(text)
        os.environ["ANSIBLE_ROLES_PATH"] = str(roles)
        try:
            yield
        finally:
            del os.environ["ANSIBLE_ROLES_PATH"]
