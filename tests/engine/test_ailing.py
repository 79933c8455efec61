"""What is told of a health check that fails: what it asks, what is answered, and which key to look at."""

from __future__ import annotations

from typing import Any, Dict, List

import pytest
from ansible_collections.landfall.vps.plugins.module_utils import ailing, probe
from ansible_collections.landfall.vps.plugins.plugin_utils import service_health

PYTHON = 'Traceback (most recent call last):\n  File "x"\nurllib.error.HTTPError: HTTP Error 404: Not Found\n'


class Engine:
    """A container whose health check failed."""

    def __init__(self, health: Any, status: str, output: str, code: int = 1) -> None:
        test = service_health.of({"name": "web", "port": 1, "health": health}, "web").test
        log: List[Dict[str, Any]] = [{"ExitCode": code, "Output": output}]
        self.description = {
            "State": {"Status": "running", "Health": {"Status": status, "Log": log}},
            "Config": {"Healthcheck": {"Test": list(test)}},
            "NetworkSettings": {"Networks": {"landfall": {"IPAddress": "127.0.0.1"}}},
        }

    def inspect(self, _name: str) -> Dict[str, Any]:
        return self.description


@pytest.mark.parametrize(
    ("health", "output", "answer", "told"),
    [
        (
            "/nowhere",
            PYTHON,
            404,
            "asks /nowhere on port 1: the answer is 404; look at health, port and host (urllib.error",
        ),
        ("/nowhere", "sh: python3: not found\n", 404, "the answer is 404; look at health, port and host"),
        ("/a?b=1&c=2", "", None, "asks /a?b=1&c=2 on port 1: nobody answers there; look at health"),
        ("tcp", "", None, "nobody listens on its port 1; look at port, health and command"),
        (["pg_isready", "-q"], "no response\n", None, "no response"),
    ],
)
@pytest.mark.parametrize("status", ["unhealthy", "starting"])
def test_the_cause_and_where_to_look(
    health: Any, output: str, answer: Any, told: str, status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(_url: str, **_more: Any) -> Any:
        if answer is None:
            raise probe.Unproven("refused")
        return answer, ""

    monkeypatch.setattr(probe, "fetch", fetch)
    with pytest.raises(probe.Unproven) as failed:
        probe.prove(Engine(health, status, output), ["web"], [], "landfall", 0.2)  # type: ignore[arg-type]
    assert told in str(failed.value), failed.value
    assert "python3: not found" not in str(failed.value)
    assert ("still starting; container web: " in str(failed.value)) == (status == "starting")


def test_a_check_that_has_not_failed_yet_is_no_cause() -> None:
    with pytest.raises(probe.Unproven, match=r"containers are still starting$"):
        probe.prove(Engine("tcp", "starting", "", code=0), ["web"], [], "landfall", 0.2)  # type: ignore[arg-type]
    assert not ailing.failing({"State": {}})
