"""What the scenarios' tests ask a VPS: its containers, Prometheus, and runs of playbooks against it."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable

from .paths import ROOT

# The names that `docker inspect` gives what the tests compare
Inspect = dict[str, Any]
PLAIN = {"ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0"}


def output(host: Any, *argv: str) -> str:
    """Run a program on the VPS as root and return what it printed; fail the test if it fails.

    :param host: testinfra's host
    :param argv: program and arguments
    """
    done = host.run(" ".join(["%s"] * len(argv)), *argv)
    assert done.rc == 0, f"{argv}: exit status {done.rc}\n{done.stdout}{done.stderr}"  # noqa: S101 - fails the test
    return str(done.stdout)


def containers(host: Any) -> dict[str, Inspect]:
    """Return name -> what `docker inspect` says, for all containers of the VPS, also those that stopped."""
    names = output(host, "docker", "ps", "--all", "--format", "{{.Names}}").split()
    found: list[Inspect] = json.loads(output(host, "docker", "inspect", *names)) if names else []
    return {entry["Name"].lstrip("/"): entry for entry in found}


def identity(entry: Inspect) -> tuple[str, str, int]:
    """Return what changes when a container is replaced or restarted: id, start time, restart count."""
    return entry["Id"], entry["State"]["StartedAt"], entry["RestartCount"]


def get(host: Any, url: str, *options: str) -> str:
    """Fetch a URL on the VPS with curl and return the body; an HTTP error fails the test."""
    return output(host, "curl", "-fsS", "-m", "10", *options, url)


def prometheus(host: Any, path: str, **parameters: str) -> Any:
    """Ask Prometheus' API on the VPS and return the `data` of its answer."""
    query = f"?{urllib.parse.urlencode(parameters)}" if parameters else ""
    return json.loads(get(host, f"http://127.0.0.1:9090/api/v1/{path}{query}"))["data"]


def value(host: Any, promql: str) -> float | None:
    """Return the first sample of an instant query, None if it has none."""
    result = prometheus(host, "query", query=promql)["result"]
    return float(result[0]["value"][1]) if result else None


@contextmanager
def tunnel(name: str, *ports: int) -> Iterator[dict[int, str]]:
    """Forward ports of the VPS' loopback address over SSH, as an operator does; yield port -> base URL here.

    :param name: name of the VPS
    :raises AssertionError: the tunnel does not open within 10 s
    """
    free = {port: _free_port() for port in ports}
    forwards = [part for port, here in free.items() for part in ("-L", f"127.0.0.1:{here}:127.0.0.1:{port}")]
    command = ["ssh", "-F", str(ROOT / ".cache/vps/ssh_config"), "-o", "ControlMaster=no", "-o", "ControlPath=none"]
    command += ["-o", "ExitOnForwardFailure=yes", "-N", *forwards, name]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        try:
            opened = eventually(lambda: process.poll() is not None or all(map(_answers, free.values())), 10)
            if not opened or process.poll() is not None:
                process.kill()
                raise AssertionError(f"no tunnel to {name}: {process.communicate()[1]}")
            yield {port: f"http://127.0.0.1:{here}" for port, here in free.items()}
        finally:
            process.terminate()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def eventually(check: Callable[[], Any], seconds: float = 60.0) -> Any:
    """Repeat until the result is true, and return it; the last one once the time is over.

    :param check: what is asked
    :param seconds: for how long at most
    """
    deadline = time.monotonic() + seconds
    while True:
        result = check()
        if result or time.monotonic() > deadline:
            return result
        time.sleep(1)


def playbook(*argv: str, name: str = "site.yml") -> tuple[str, dict[str, int], int]:
    """Run a playbook against the scenario's VPS as an operator would.

    :param argv: further arguments of ansible-playbook
    :param name: the playbook below the repository's root
    :returns: everything it printed, the figures of its recap, its exit status
    """
    scenario = Path(os.environ["MOLECULE_SCENARIO_DIRECTORY"])
    done = subprocess.run(
        [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(ROOT / "molecule/shared/inventory.yml"),
         "-i", str(scenario / "hosts.yml"), name, *argv],
        cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        env={**os.environ, **PLAIN, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")},
    )  # fmt: skip
    text = done.stdout + done.stderr
    recap = re.search(r"^molecule-\S+\s+:(.*)$", text, re.MULTILINE)
    figures = {key: int(number) for key, number in re.findall(r"(\w+)=(\d+)", recap.group(1))} if recap else {}
    return text, figures, done.returncode
