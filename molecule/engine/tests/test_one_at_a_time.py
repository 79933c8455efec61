"""One run at a time on a VPS, however long the first one takes and whatever it does."""

from __future__ import annotations

import os
import re
import threading
import time
from pathlib import Path
from typing import Any

import yaml
from testbed import probe
from testbed.drills import LOCK, changed_roles, identity, play, record, unchanged

DEBUG = ("--tags", "prometheus", "-e", '{"prometheus_arguments": ["--log.level=debug"]}')
# Runs and is healthy, since its healthcheck asks on the loopback address, and yet serves nobody
DEAF = ("--tags", "prometheus", "-e", '{"prometheus_arguments": ["--web.listen-address=127.0.0.1:9090"]}')
DOCKER = ("--tags", "docker", "-e", "docker_log_max_files=4")  # restarts the engine, and with it every build
REDIS = ("--tags", "redis", "-e", "redis_memory=600m")
BUILD_SECONDS = int(os.environ.get("LANDFALL_BUILD_SECONDS", "190"))
"""How long the build takes: by default three leases of a minute each."""
IMAGE = "landfall/slow:1"


def test_a_second_run_at_the_same_time_is_refused_with_who_and_since_when(host: Any) -> None:
    first: list[Any] = []
    runner = threading.Thread(target=lambda: first.append(play(*DEAF)))
    runner.start()
    lock = "/opt/landfall/.state/lock"
    assert probe.eventually(lambda: host.file(lock).exists), "the first run took no lock"
    text, _figures, status = play(*REDIS)
    runner.join()
    assert status != 0, text
    assert "another run is in progress on this VPS" in text, text
    assert re.search(r"since\s+20\d\d-\d\d-\d\d", text) and "prometheus: recreated" in text, text
    assert first[0][2] != 0 and "previous version was restored" in first[0][0], first[0][0]
    assert "not ready after 60 s" in first[0][0], first[0][0]
    assert not host.file(lock).exists, "both runs ended, so the lock must be free"
    assert unchanged(*play())


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


def test_a_second_run_is_refused_during_all_of_a_long_build(host: Any, tmp_path: Path) -> None:
    base = probe.containers(host)["redis-exporter"]["Config"]["Image"]
    (tmp_path / "Dockerfile").write_text(f"FROM {base}\nRUN sleep {BUILD_SECONDS}\n")

    def built(roles: Path) -> None:
        path = roles / "redis_exporter/tasks/main.yml"
        tasks = yaml.safe_load(path.read_text())
        tasks[0]["landfall.vps.component"]["build"] = [{"image": IMAGE, "context": str(tmp_path)}]
        path.write_text(yaml.safe_dump(tasks))

    def seen() -> tuple[Any, ...]:
        settings = str(host.file("/etc/docker/daemon.json").sha256sum)
        return record(host, "redis")["digest"], identity(host, "redis-exporter"), settings

    before = seen()
    first: list[Any] = []

    def building() -> None:
        with changed_roles(built):
            first.append(play("--tags", "redis_exporter", "-e", f"redis_exporter_image={IMAGE}"))

    began = time.monotonic()
    runner = threading.Thread(target=building)
    runner.start()
    busy = f"pgrep -f '^sleep {BUILD_SECONDS}$' || pgrep -f 'sh -c sleep {BUILD_SECONDS}$'"
    assert probe.eventually(lambda: host.run(busy).rc == 0, 60), "nothing is built"
    refused = 0
    while time.monotonic() < began + BUILD_SECONDS - 15:
        text, figures, status = play(*(DOCKER if refused == 1 else REDIS))
        plain = " ".join(text.split())
        assert status != 0 and figures["changed"] == 0, text
        assert "another run is in progress on this VPS" in plain and "It is working right now" in plain, text
        assert "redis_exporter: providing its images" in plain, text
        assert seen() == before
        refused += 1
        time.sleep(BUILD_SECONDS / 6)
    runner.join()
    text, _figures, status = first[0]
    assert status == 0 and refused >= 3 and time.monotonic() - began > BUILD_SECONDS, (refused, text)
    assert probe.containers(host)["redis-exporter"]["Config"]["Image"] == IMAGE
    assert record(host, "redis")["digest"] == before[0]
    text, _figures, status = play()
    assert status == 0 and probe.containers(host)["redis-exporter"]["Config"]["Image"] == base, text
    assert unchanged(*play())
    probe.output(host, "docker", "rmi", IMAGE)
