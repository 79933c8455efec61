"""What the tests of scenario `engine` do to its VPS and look at."""

from __future__ import annotations

import json
from typing import Any

from . import probe

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
