"""Deploys while visitors come: no request fails, no order is lost or kept twice, no task is lost or done twice.

``RELEASE_DEPLOYS`` says how many good deploys there are (2), ``RELEASE_KILLS`` at which marks a run is killed (web.out;
also web-next.in), ``RELEASE_FIGURES`` a file for what was measured.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from testbed import probe, vps
from testbed.paths import ROOT

SITE = "shop.landfall.test"
LOAD = ROOT / "molecule/release/load.py"
ROTATION = "/opt/landfall/caddy/rotation"
FAST = 2.4  # seconds; what takes longer was asked to
TASKS = 240
GOOD = "good"
measured: dict[str, Any] = {}


@pytest.fixture(scope="module", autouse=True)
def told() -> Iterator[None]:
    """Write down what was measured, and show it."""
    yield
    text = json.dumps(measured, indent=1)
    print(text)
    if os.environ.get("RELEASE_FIGURES"):
        Path(os.environ["RELEASE_FIGURES"]).write_text(text + "\n", encoding="utf-8")


@pytest.fixture(scope="module")
def address() -> str:
    """The address at which visitors reach the VPS."""
    name = vps.container_of("molecule-release")
    form = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}"
    argv = ["docker", "inspect", "--format", form, name]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.split()[0]


@contextmanager
def visitors(address: str) -> Iterator[dict[str, Any]]:
    """Visitors who come until the end of the block; what they saw is in the dictionary afterwards."""
    seen: dict[str, Any] = {}
    argv = [sys.executable, str(LOAD), address, SITE, "3600"]
    load = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        time.sleep(5)
        yield seen
        time.sleep(2)
    finally:
        text, _ = load.communicate("\n", timeout=120)
        seen.update(json.loads(text))


def quantile(seen: dict[str, Any], share: float, spans: list[tuple[float, float]], within: bool) -> float:
    """The value below which this share of the fast requests lies, of those within or outside of some spans of time."""
    values = sorted(
        took for begun, took in seen["took"]
        if took < FAST and any(start <= begun <= end for start, end in spans) == within
    )  # fmt: skip
    return round(values[min(len(values) - 1, int(share * len(values)))], 3) if values else 0.0


def ledger(host: Any, name: str) -> list[list[str]]:
    """The lines of a file of the application, by words."""
    run = host.run("docker exec web cat /ledger/%s", name)
    return [line.split() for line in run.stdout.splitlines()]


def deploy(tags: str, **values: Any) -> tuple[str, int, float]:
    """What a run of some tags prints, its exit status and its seconds."""
    begun = time.monotonic()
    text, _figures, status = probe.playbook("--tags", tags, "-e", json.dumps(values))
    return text, status, round(time.monotonic() - begun, 1)


def at_rest(host: Any) -> bool:
    """No standby and no mark is left, and the container serves."""
    there = set(probe.containers(host))
    marks = probe.output(host, "ls", ROTATION).split()
    return "web" in there and not any(name.endswith("-next") for name in there) and not marks


def test_deploys_fail_no_request_and_lose_no_order(host: Any, address: str) -> None:
    count = int(os.environ.get("RELEASE_DEPLOYS", "2"))
    spans, seconds, cut = [], [], 0
    with visitors(address) as seen:
        time.sleep(10)
        for number in range(count):
            begun = time.time()
            text, status, took = deploy("app", release_version=GOOD if number == count - 1 else f"good-{number}")
            assert status == 0, text
            assert "starts web-next, then replaces web" in text, text
            spans.append((begun, time.time()))
            seconds.append(took)
            cut += 2 * 12
            time.sleep(5)
    kept = Counter(words[0] for words in ledger(host, "orders"))
    measured["deploys"] = {
        "deploys": count, "seconds of a deploy": seconds, "requests": seen["requests"],
        "failed": len(seen["failures"]), "orders": len(seen["orders"]),
        "lost": len([order for order in seen["orders"] if not kept[order]]),
        "twice": len([order for order, times in kept.items() if times > 1]),
        "p99 at rest": quantile(seen, 0.99, spans, False), "p99 during deploys": quantile(seen, 0.99, spans, True),
        "longest during deploys": quantile(seen, 1, spans, True), "streams cut off": seen["streams_cut"],
    }  # fmt: skip
    found = measured["deploys"]
    assert (found["failed"], found["lost"], found["twice"]) == (0, 0, 0), (found, seen["failures"][:20])
    assert found["requests"] > 1000 * count and seen["versions"][GOOD]
    assert seen["streams_cut"] <= cut, "each stream is cut off at most twice in a deploy"
    assert at_rest(host)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"release_fault": "exit"}, "this release does not start"),
        ({"release_fault": "unready"}, "answered 503 instead of 200"),
        ({"release_fault": "port"}, "not ready after"),
        ({"release_fault": "dies"}, "ended with exit code 3"),
        ({"release_fault": "errors"}, "were answered with 5xx"),
        ({"release_command": ["sh", "-c", "echo cannot migrate; exit 1"]}, "cannot migrate"),
    ],
    ids=["does not start", "is never ready", "wrong port", "dies", "one error in five", "release command fails"],
)
def test_a_bad_release_is_undone_while_the_old_one_serves(
    host: Any, address: str, fault: dict[str, Any], said: str
) -> None:
    before = probe.identity(probe.containers(host)["web"])
    with visitors(address) as seen:
        begun = time.time()
        text, status, took = deploy("app", release_version="bad", **fault)
        ended = time.time()
    plain = " ".join(text.split())
    assert status != 0 and said in plain and "the previous version was not touched" in plain, text
    reached = seen["versions"].get("bad", 0)
    kind = next(iter(fault.values())) if "release_fault" in fault else "release command"
    failed = [f for f in seen["failures"] if f["why"] != "500"]
    exposed = seen["at"].get("last bad", 0) - seen["at"].get("first bad", 0)
    measured[f"bad release: {kind}"] = {
        "seconds": took, "answers of it": reached, "failed": len(seen["failures"]),
        "seconds it answered": round(exposed, 1),
    }  # fmt: skip
    assert probe.identity(probe.containers(host)["web"]) == before and at_rest(host)
    assert ended > begun and seen["versions"], seen
    if fault.get("release_fault") not in ("errors", "dies"):
        assert reached == 0 and not seen["failures"], seen["failures"][:10]
    assert len(failed) <= (40 if fault.get("release_fault") == "dies" else 0), failed[:20]


def ask(address: str, path: str) -> bool:
    """Send a POST past TLS' names to the site."""
    argv = ["curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}", "-X", "POST", "--resolve", f"{SITE}:443:{address}"]
    done = subprocess.run([*argv, f"https://{SITE}{path}"], capture_output=True, text=True, check=False)
    return done.stdout == "200"


def test_workers_lose_no_task_and_do_none_twice(host: Any, address: str) -> None:
    sent: list[str] = []
    stop = threading.Event()

    def send() -> None:
        number = 0
        while not stop.is_set() and number < TASKS:
            number += 1
            seconds = (0.01, 0.1, 0.4, 4)[0 if number % 4 else 3 if number % 32 == 0 else 2]
            if ask(address, f"/tasks/t{number}?seconds={seconds}"):
                sent.append(f"t{number}")

    sender = threading.Thread(target=send)
    sender.start()
    seconds = []
    for number in range(2):
        text, status, took = deploy("celery", release_version=GOOD, celery_environment={"ROUND": str(number)})
        assert status == 0 and "starts worker-next, then replaces worker" in text, text
        seconds.append(took)
    sender.join(120)
    stop.set()
    assert sent and len(sent) > TASKS / 2

    def done() -> Counter[str]:
        return Counter(words[0] for words in ledger(host, "done"))

    assert probe.eventually(lambda: set(sent) <= set(done()), 60), sorted(set(sent) - set(done()))
    begun, ended = Counter(words[0] for words in ledger(host, "begun")), done()
    measured["worker redeploys"] = {
        "redeploys": 2, "seconds": seconds, "tasks": len(sent), "lost": len(set(sent) - set(ended)),
        "begun twice": len([t for t in sent if begun[t] > 1]), "done twice": len([t for t in sent if ended[t] > 1]),
        "by": dict(Counter(words[2] for words in ledger(host, "done"))),
    }  # fmt: skip
    found = measured["worker redeploys"]
    assert (found["lost"], found["begun twice"], found["done twice"]) == (0, 0, 0), found
    assert "worker-next" in found["by"], "the new one worked beside the old one"


KILL = """
import os, signal
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        held = [os.readlink(f"/proc/{pid}/fd/{n}") for n in os.listdir(f"/proc/{pid}/fd")]
    except OSError:
        continue
    if "/opt/landfall/.state/lock.guard" in held:
        os.kill(int(pid), signal.SIGKILL)
"""


@pytest.mark.parametrize("mark", os.environ.get("RELEASE_KILLS", "web.out").split(","))
def test_a_run_that_is_killed_in_the_middle_is_finished_by_the_next_one(host: Any, address: str, mark: str) -> None:
    scenario = Path(os.environ["MOLECULE_SCENARIO_DIRECTORY"])
    argv = [
        str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(ROOT / "molecule/shared/inventory.yml"),
        "-i", str(scenario / "hosts.yml"), "site.yml", "--tags", "app", "-e", f"release_version=killed-{mark}",
    ]  # fmt: skip
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
    with visitors(address) as seen:
        run = subprocess.Popen(argv, cwd=ROOT, env=environment, start_new_session=True, stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
        try:
            assert probe.eventually(lambda: host.file(f"{ROTATION}/{mark}").exists, 90), "it did not come so far"
        finally:
            os.killpg(run.pid, signal.SIGKILL)
            run.wait()
            probe.output(host, "python3", "-c", KILL)
        text, status, took = deploy("app", release_version=f"killed-{mark}")
        if "another run is in progress" in text:  # what was at work on the VPS has a moment to be gone
            time.sleep(30)
            text, status, took = deploy("app", release_version=f"killed-{mark}")
    assert status == 0, text
    assert at_rest(host) and not seen["failures"], seen["failures"][:20]
    measured[f"killed at {mark}"] = {"seconds of the next run": took, "requests": seen["requests"], "failed": 0}
