"""A run whose controller, connection or program is cut off ends in the old or the new, and the next one finishes."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any, Callable

import pytest
from testbed import probe
from testbed.drills import STATE, begin, identity, leftovers, play, record, serves, unchanged

LOCK = f"{STATE}/lock"
DEBUG = ("--tags", "prometheus", "-e", '{"prometheus_arguments": ["--log.level=debug"]}')
PLAIN = ("--tags", "prometheus")
# Runs on the VPS: waits until a run has come to a step, and then does to it what the third word says. The program is
# whoever holds the engine's lock; its connection is the sshd above it.
INTERRUPT = r"""
import glob, json, os, signal, sys, time
state, step, act = "/opt/landfall/.state", sys.argv[1], sys.argv[2]

def arrived():
    if step == "staged":
        return glob.glob(state + "/staged-*/prometheus/compose.yaml")
    try:
        return json.load(open(state + "/journal/prometheus/journal.json"))["phase"] == step
    except (OSError, ValueError):
        return False

def holder():
    for link in glob.glob("/proc/[0-9]*/fd/*"):
        try:
            if os.readlink(link) == state + "/lock.guard":
                return int(link.split("/")[2])
        except OSError:
            pass
    return 0

def connection(pid):
    while pid > 1:
        fields = open("/proc/%d/stat" % pid).read()
        if "(sshd" in fields:
            return pid
        pid = int(fields.rpartition(")")[2].split()[1])
    return 0

deadline = time.monotonic() + 60
while time.monotonic() < deadline:
    if arrived():
        pid = holder() if act != "tell" else 1
        pid = connection(pid) if act == "connection" else pid
        if not pid:
            continue
        if act != "tell":
            os.kill(pid, signal.SIGKILL)
        print(act)
        sys.exit(0)
    time.sleep(0.002)
sys.exit("no run came to " + step)
"""


def at(host: Any, step: str, act: str, then: Callable[[], None]) -> threading.Thread:
    """Wait in a thread until a run has come to ``step``, do ``act`` on the VPS, then ``then`` here."""

    def wait() -> None:
        assert host.run("python3 -c %s %s %s", INTERRUPT, step, act).stdout == f"{act}\n"
        then()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


@pytest.mark.parametrize(
    ("what", "step"),
    [
        ("connection", "staged"),
        ("connection", "apply"),
        ("program", "staged"),
        ("program", "apply"),
        (signal.SIGINT, "staged"),
        (signal.SIGINT, "apply"),
        (signal.SIGKILL, "apply"),
    ],
)
def test_wherever_a_run_is_interrupted_the_next_one_finishes(host: Any, what: Any, step: str) -> None:
    wanted = PLAIN if "--log.level=debug" in probe.containers(host)["prometheus"]["Args"] else DEBUG
    old = record(host, "prometheus")["digest"]
    happened: list[Any] = []
    run = begin(*wanted)

    def interrupt() -> None:
        if not isinstance(what, str):
            os.killpg(run.pid, what)
        happened.append(what)

    waits = at(host, step, what if isinstance(what, str) else "tell", interrupt)
    waits.join()
    run.wait()
    assert happened, "nothing interrupted the run"
    # Ansible connects again where a connection is gone, and the run may come to its end
    assert run.returncode != 0 or what == "connection", "the run was not interrupted"
    # A program that lost its controller works on to its end; nobody's lease is waited for
    assert probe.eventually(lambda: not host.file(LOCK).exists, 45), probe.output(host, "cat", LOCK)
    now = record(host, "prometheus")["digest"]
    text, figures, status = play(*wanted)
    assert status == 0 and serves(host) and leftovers(host) == [], text
    new = record(host, "prometheus")["digest"]
    assert new != old and now in (old, new) and record(host, "prometheus")["proven"]
    assert ("--log.level=debug" in probe.containers(host)["prometheus"]["Args"]) == (wanted is DEBUG)
    if what == "program" and step == "apply":
        assert "prometheus: what a run that died had begun was finished and proven" in " ".join(text.split()), text
    if figures["changed"]:
        assert now == old, "what is done already is not done again"
    before = identity(host, "prometheus")
    assert unchanged(*play(*wanted)) and identity(host, "prometheus") == before


def test_the_stack_is_as_the_scenario_left_it(host: Any) -> None:
    assert play(*PLAIN)[2] == 0 and serves(host)
    assert unchanged(*play())
