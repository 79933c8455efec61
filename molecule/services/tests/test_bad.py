"""Bad input that only the VPS can find out: told with its cause and variable, while all that served before serves."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from testbed import probe
from testbed.paths import ROOT

VPS = "molecule-services"
SCENARIO = Path(__file__).parent.parent
SERVICES = ("web-gateway", "order-api", "fulfillment-worker", "database")
TIMINGS = {"interval": "1s", "timeout": "2s", "retries": 2, "start_period": "1s"}
PATIENCE = 8  # s that a new version is given
BROKEN = "RUN for line in $(seq 80); do echo compiling part $line; done; echo no such header >&2; exit 3\n"
# Asks each place ten times a second until its input ends; tells how often, and what it was answered instead
ASK = """
import http.client, json, select, sys
told = {"asked": 0, "failed": []}
while not select.select([sys.stdin], [], [], 0.1)[0]:
    for method, address, path, wanted in json.loads(sys.argv[1]):
        told["asked"] += 1
        try:
            one = http.client.HTTPConnection(address, timeout=3)
            one.request(method, path, "one book" if method == "POST" else None)
            status = one.getresponse().status
            one.close()
        except OSError as error:
            status = str(error)
        if status != wanted:
            told["failed"].append([address, path, status])
print(json.dumps(told))
"""


def items() -> dict[str, dict[str, Any]]:
    """The inventory's services by name, to be changed for one run."""
    values = yaml.safe_load((SCENARIO / "hosts.yml").read_text())["all"]["hosts"][VPS]
    return {item["name"]: item for item in values["app_services"]}


def deploy(services: dict[str, dict[str, Any]]) -> tuple[str, dict[str, int]]:
    """What a run says, its line breaks gone, and the figures of its recap."""
    values = {"app_services": list(services.values()), "app_prove_timeout": PATIENCE}
    text, figures, _status = probe.playbook("--tags", "app", "-e", json.dumps(values))
    return " ".join(text.split()), figures


@contextmanager
def serving(host: Any) -> Iterator[None]:
    """All that served before the block answers each question during it, and is there after it, with nothing beside."""
    before = probe.containers(host)
    inner = {name: before[name]["NetworkSettings"]["Networks"]["landfall"]["IPAddress"] for name in SERVICES}
    places = [
        ("POST", "127.0.0.1:8080", "/orders", 201),  # by the gateway's port and the name of the API
        ("GET", f"{inner['order-api']}:8000", "/health", 200),
        ("GET", f"{inner['fulfillment-worker']}:2112", "/health", 200),
    ]
    argv = ["ssh", "-F", str(ROOT / ".cache/vps/ssh_config"), VPS, "python3", "-c",
            "'exec(bytes.fromhex(\"" + ASK.encode().hex() + "\").decode())'", f"'{json.dumps(places)}'"]  # fmt: skip
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as visitor:
        try:
            yield
        finally:
            told = json.loads(visitor.communicate("end\n", timeout=30)[0])
    assert told["failed"] == [] and told["asked"] > 100, told
    after = probe.containers(host)
    assert {name: probe.identity(after[name]) for name in after} == {
        name: probe.identity(before[name]) for name in before
    }
    assert probe.get(host, "http://127.0.0.1:8080/orders", "-d", "one book") == '{"accepted": true}'


def test_what_cannot_be_built_migrated_or_asked_is_told(host: Any, tmp_path: Path) -> None:
    shutil.copytree(SCENARIO / "shop", tmp_path / "shop")
    with (tmp_path / "shop/Dockerfile").open("a") as dockerfile:
        dockerfile.write(BROKEN)
    services = items()
    services["web-gateway"]["build"] = {"context": str(tmp_path / "shop")}
    services["order-api"].update(release=["migrate"], environment={"RELEASE": "2"})
    worker = services["fulfillment-worker"]
    del worker["port"]
    worker.update(health={"path": "/healthz", "port": 2112, **TIMINGS}, update_order="start-first")
    with serving(host):
        said, figures = deploy(services)
    assert figures["failed"] == 1, said
    assert "cannot be built; its build failed at step 3 of 3: RUN for line in" in said, said
    assert "its last 50 lines: " in said and "compiling part 80" in said and "no such header" in said, said
    assert not re.search(r"compiling part 9\b", said), "all of its lines"
    assert "the release command of order-api, 'migrate', failed" in said and "KeyError: 'migrate'" in said, said
    assert "its health check asks /healthz on port 2112: the answer is 404; look at health, port and host" in said


def test_what_ends_at_once_or_listens_elsewhere_is_told(host: Any) -> None:
    services = items()
    for name in ("order-api", "fulfillment-worker"):
        del services[name]["port"]
        services[name]["update_order"] = "start-first"
    services["order-api"]["health"] = {"tcp": 8001, **TIMINGS}
    services["fulfillment-worker"].update(
        command=["fulfil", "2112"], health={"path": "/health", "port": 2112, **TIMINGS}
    )
    with serving(host):
        said, figures = deploy(services)
    assert figures["failed"] == 1, said
    assert "nobody listens on its port 8001; look at port, health and command" in said, said
    assert "fulfillment-worker-next ended with exit code 1" in said and "KeyError: 'fulfil'" in said, said


def test_nothing_of_it_is_left_for_the_next_run(host: Any) -> None:
    said, figures, code = probe.playbook("--tags", "app")
    assert (code, figures["changed"]) == (0, 0), said
