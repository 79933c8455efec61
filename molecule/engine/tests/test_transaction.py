"""A run that is killed, a controller that is gone, an operator's umask: the next run finds no trace of it."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import pytest
from testbed import probe
from testbed.drills import LOCK, STATE, begin, identity, leftovers, play, record, serves, unchanged

DEBUG = ("--tags", "prometheus", "-e", '{"prometheus_arguments": ["--log.level=debug"]}')
# What root has after dev-sec's os_hardening, for everything that sudo starts, and the strictest there is
UMASK = "Defaults umask={}\nDefaults umask_override\n"


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


@pytest.mark.parametrize("umask", ["0027", "0077"])
def test_root_s_umask_decides_nothing(host: Any, umask: str) -> None:
    text = UMASK.format(umask)
    probe.output(host, "sh", "-c", f"printf '{text}' >/etc/sudoers.d/umask && chmod 0440 /etc/sudoers.d/umask")
    try:
        assert probe.output(host, "sh", "-c", "umask").strip() == umask, "the test's own preparation"
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
