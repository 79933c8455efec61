"""What the tests of the live stack share: tunnels to its servers, and load that makes it worth looking at."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest
from testbed import probe
from testbed.paths import ROOT

VPS = "molecule-default"
PROMETHEUS, LOKI = 9090, 3100
LOAD = ["--seconds", "45", "--rate", "10", "--settle", "60"]  # seconds, requests per second, seconds


@pytest.fixture(scope="session")
def vps() -> str:
    """Give the name by which ssh knows the VPS."""
    return VPS


@pytest.fixture(scope="session")
def servers() -> Iterator[dict[str, str]]:
    """Give the addresses here of the servers that answer queries, by the language they speak."""
    with probe.tunnel(VPS, PROMETHEUS, LOKI) as bases:
        yield {"promql": bases[PROMETHEUS], "logql": bases[LOKI]}


@pytest.fixture(scope="session")
def load() -> Iterator[subprocess.Popen[str]]:
    """Start load on every part of the application: work, failures, retries, slow requests and tasks, refusals."""
    generate = ["sudo", "docker", "exec", "app", "python", "-m", "landfall_app.loadgen", *LOAD]
    command = ["ssh", "-F", str(ROOT / ".cache/vps/ssh_config"), VPS, *generate]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.terminate()
