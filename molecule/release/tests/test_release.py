"""Deploys while visitors come: no request fails, no order is lost or kept twice, no task is lost or done twice.

``RELEASE_DEPLOYS`` says how many good deploys there are (2), ``RELEASE_REDEPLOYS`` how many of workers (2),
``RELEASE_KILLS`` at which marks a run is killed (web.out; also web-next.in), ``RELEASE_ALL=1`` adds bad releases that
take longer to find out, late acknowledgement and a redeploy of the broker, ``RELEASE_FIGURES`` names a file for what
was measured. The long form is `make bench`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from testbed import loaded, probe
from testbed.loaded import BAD, MORE, ROTATION, Bad, visitors
from testbed.paths import ROOT

GOOD = "good"
TASKS = 1.5  # each second
ALL = bool(os.environ.get("RELEASE_ALL"))
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
    return loaded.address_of("molecule-release")


def ledger(host: Any) -> loaded.Ledger:
    """The files of the application."""

    def lines(name: str) -> loaded.Lines:
        return [line.split() for line in host.run("docker exec web cat /ledger/%s", name).stdout.splitlines()]

    return lines


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
            cut += 12
            time.sleep(5)
    found = {"deploys": count, "seconds of a deploy": seconds, **loaded.requests(seen, spans, ledger(host))}
    measured["deploys"] = found
    assert (found["failed"], found["lost"], found["twice"]) == (0, 0, 0), (found, seen["failures"][:20])
    assert found["requests"] > 1000 * count and seen["versions"][GOOD]
    assert min(found["by protocol"][name] for name in ("HTTP/1.1", "HTTP/2")) > 300 * count, found
    assert seen["streams_cut"] <= cut, "each stream is cut off once in a deploy"
    assert at_rest(host)


def test_a_rollback_fails_no_request_and_the_old_release_answers_within_seconds(host: Any, address: str) -> None:
    text, status, _took = deploy("app", release_version="newer")
    assert status == 0, text
    with visitors(address, streams=False) as seen:
        begun = time.time()
        text, _figures, status = probe.playbook(name="playbooks/rollback.yml")
        took = time.time() - begun
    assert status == 0 and "watched" not in text, text
    answered = seen["at"][f"first {GOOD}"] - begun
    measured["rollback"] = {
        "seconds until it answers": round(answered, 1), "seconds": round(took, 1), "failed": len(seen["failures"]),
        "load": os.getloadavg()[0],
    }  # fmt: skip
    assert not seen["failures"] and at_rest(host), seen["failures"][:20]
    assert answered < took < 120, measured["rollback"]


@pytest.mark.parametrize("bad", [*BAD, *MORE] if ALL else BAD, ids=lambda bad: bad.name)
def test_a_bad_release_is_undone_while_the_old_one_serves(host: Any, address: str, bad: Bad) -> None:
    containers = probe.containers(host)
    before = {name: probe.identity(containers[name]) for name in ("web", "worker")}
    with visitors(address) as seen:
        values = {**bad.values, "release_version": "bad" if bad.tags == "app" else GOOD}
        text, status, took = deploy(bad.tags, **values)
    plain = " ".join(text.split())
    assert status != 0 and bad.said in plain and "the previous version was not touched" in plain, text
    exposed = seen["at"].get("last bad", 0) - seen["at"].get("first bad", 0)
    measured[f"bad release: {bad.name}"] = {
        "seconds": took, "answers of it": seen["versions"].get("bad", 0), "failed": len(seen["failures"]),
        "seconds it answered": round(exposed, 1),
    }  # fmt: skip
    containers = probe.containers(host)
    assert {name: probe.identity(containers[name]) for name in before} == before and at_rest(host)
    assert seen["versions"], seen
    if not bad.reaches:
        assert not seen["versions"].get("bad") and not seen["failures"], seen["failures"][:10]
    cut_off = [failure for failure in seen["failures"] if failure["why"] != "500"]
    assert len(cut_off) <= bad.may_fail, cut_off[:20]


@pytest.mark.parametrize("late", ["no", "yes"] if ALL else ["no"])
def test_workers_lose_no_task_and_do_none_twice(host: Any, address: str, late: str) -> None:
    since, seconds = time.time(), []
    with visitors(address, tasks=TASKS, streams=False) as seen:
        for number in range(int(os.environ.get("RELEASE_REDEPLOYS", "2"))):
            values = {"ROUND": f"{late}{number}", "ACKS_LATE": late}
            text, status, took = deploy("celery", release_version=GOOD, celery_environment=values)
            assert status == 0 and "starts worker-next, then replaces worker" in text, text
            seconds.append(took)
            time.sleep(5)
    assert probe.eventually(lambda: not loaded.waiting(seen, ledger(host)), 120), loaded.waiting(seen, ledger(host))
    found = {"redeploys": len(seconds), "seconds": seconds, **loaded.worked(seen, ledger(host), since)}
    measured[f"worker redeploys, acknowledged late: {late}"] = found
    assert found["tasks"] > 20 and set(found["by kind"]) == {"plain", "eta", "retry", "chord"}, found
    assert (found["lost"], found["run again"], found["done twice"], found["doubled ticks"]) == (0, 0, 0, 0), found
    assert "worker-next" in found["by"], "the new one worked beside the old one"


@pytest.mark.skipif(not ALL, reason="RELEASE_ALL=1 tries what takes longer")
def test_a_broker_that_is_redeployed_loses_no_task(host: Any, address: str) -> None:
    since = time.time()
    with visitors(address, tasks=TASKS, streams=False) as seen:
        text, status, took = deploy("redis", release_version=GOOD, redis_maxmemory="48m")
        assert status == 0 and "redis is replaced in place: " in text, text
        time.sleep(10)
    assert probe.eventually(lambda: not loaded.waiting(seen, ledger(host)), 180), loaded.waiting(seen, ledger(host))
    found = {"seconds": took, **loaded.worked(seen, ledger(host), since)}
    longest = max(spent for _begun, spent in seen["took"])
    measured["broker redeployed"] = {**found, "failed": len(seen["failures"]), "longest request": round(longest, 1)}
    assert (found["lost"], found["done twice"]) == (0, 0), found


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
