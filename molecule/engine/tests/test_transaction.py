"""A run that is killed, a controller that is gone, an operator's umask: the next run finds no trace of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from testbed import probe
from testbed.drills import PLAY, identity, play, record, serves, unchanged
from testbed.paths import ROOT

DEBUG = ("--tags", "prometheus", "-e", '{"prometheus_arguments": ["--log.level=debug"]}')
STATE = "/opt/landfall/.state"
LOCK = f"{STATE}/lock"
# What root has after dev-sec's os_hardening, for everything that sudo starts
UMASK = "Defaults umask=0077\nDefaults umask_override\n"


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


def test_the_lock_of_a_controller_that_was_killed_frees_itself_at_once(host: Any) -> None:
    run = begin(*DEBUG)
    assert probe.eventually(lambda: host.file(LOCK).exists), "the run took no lock"
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    # What is at work on the VPS ends first; its lease of a minute is not waited for
    killed = time.monotonic()
    assert probe.eventually(lambda: not host.file(LOCK).exists, 45), probe.output(host, "cat", LOCK)
    assert time.monotonic() - killed < 45
    text, _figures, status = play(*DEBUG)
    assert status == 0 and serves(host), text
    assert leftovers(host) == []
    assert play("--tags", "prometheus")[2] == 0


def test_what_a_killed_run_had_staged_is_gone_after_the_next_one(host: Any) -> None:
    secret = f"{STATE}/staged-of-a-dead-run/redis/secrets/redis_password"
    probe.output(host, "install", "-D", "-m", "0400", "/dev/null", secret)
    probe.output(host, "mkdir", "-p", f"{STATE}/journal/redis.making/files")
    text, figures, status = play("--check")
    assert status == 0 and host.file(secret).exists, text  # a rehearsal touches nothing
    text, figures, status = play()
    assert status == 0 and figures["changed"] == 0, text
    assert leftovers(host) == []


def test_a_run_that_pauses_longer_than_a_lease_still_has_the_vps(host: Any) -> None:
    first: list[Any] = []

    def pausing() -> None:
        first.append(probe.playbook(name="molecule/engine/pausing.yml"))

    runner = threading.Thread(target=pausing)
    runner.start()
    assert probe.eventually(lambda: host.file(LOCK).exists), "the first run took no lock"
    time.sleep(65)  # a lease is 60 s
    text, _figures, status = play("--tags", "prometheus", *DEBUG[2:])
    runner.join()
    assert status != 0 and "another run is in progress on this VPS" in text, text
    assert first[0][2] == 0, first[0][0]
    assert probe.eventually(lambda: not host.file(LOCK).exists, 15), "the run has ended"
    assert play()[2] == 0


def test_root_s_umask_decides_nothing(host: Any) -> None:
    probe.output(host, "sh", "-c", f"printf '{UMASK}' >/etc/sudoers.d/umask && chmod 0440 /etc/sudoers.d/umask")
    try:
        assert probe.output(host, "sh", "-c", "umask").strip() == "0077", "the test's own preparation"
        assert play("--tags", "prometheus", "-e", "prometheus_enabled=false")[2] == 0
        probe.output(host, "rm", "-rf", "/opt/landfall/prometheus")
        text, _figures, status = play()
        assert status == 0 and serves(host), text
        assert host.file("/opt/landfall/prometheus/config").mode == 0o755
        assert host.file("/opt/landfall/prometheus/rules.d").mode == 0o755
    finally:
        probe.output(host, "rm", "/etc/sudoers.d/umask")
    text, _figures, status = play("--tags", "redis_exporter,prometheus")
    assert status == 0, text


def test_a_record_of_a_newer_landfall_is_refused_by_its_file(host: Any) -> None:
    path = f"{STATE}/prometheus.json"
    before = identity(host, "prometheus")
    probe.output(host, "cp", "-p", path, f"{path}.kept")
    try:
        newer = "import json,sys; p=sys.argv[1]; v=json.load(open(p)); v['format']=99; json.dump(v, open(p, 'w'))"
        probe.output(host, "python3", "-c", newer, path)
        text, figures, status = play("--tags", "redis", "-e", "redis_memory=600m")
        plain = " ".join(text.split())
        assert status != 0 and figures["changed"] == 0, text
        assert f"{path} was written by a newer Landfall (format 99" in plain, text
    finally:
        probe.output(host, "mv", f"{path}.kept", path)
    assert identity(host, "prometheus") == before and record(host, "prometheus")["proven"]
    assert unchanged(*play())
