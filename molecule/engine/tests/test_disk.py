"""The disk of a VPS that is full, or that the kernel has made read-only: what serves goes on, and the run says so."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from testbed import probe
from testbed.drills import PLAY

ROOT = "/srv/small"
# A stack of its own, whose files lie on a disk of 3 MB
STACK: dict[str, Any] = {
    "landfall_root": ROOT,
    "landfall_prefix": "small-",
    "landfall_subnet": "172.30.9.0/24",
    "landfall_secrets_dir": "{{ playbook_dir }}/../../.cache/molecule/small-secrets",
    "redis_exporter_enabled": False,
    "prometheus_enabled": False,
}


def play(**values: Any) -> tuple[str, dict[str, int], int]:
    text, figures, status = probe.playbook("-e", json.dumps({**STACK, **values}), name=PLAY)
    return " ".join(text.split()), figures, status


def looks(host: Any) -> tuple[Any, str]:
    """What must not change: the container, and every file of the component."""
    files = probe.output(host, "sh", "-c", f"cd {ROOT}/redis && find . -type f -exec sha256sum {{}} + | sort")
    return probe.identity(probe.containers(host)["small-redis"]), files


@pytest.fixture
def disk(host: Any) -> Iterator[Any]:
    probe.output(host, "sh", "-c", f"mkdir -p {ROOT} && mount -t tmpfs -o size=3m,mode=0755 tmpfs {ROOT}")
    text, _figures, status = play()
    assert status == 0, text
    yield host
    probe.output(host, "sh", "-c", f"mount -o remount,rw {ROOT}; rm -f {ROOT}/filler")
    text, _figures, status = play(redis_enabled=False, landfall_purge_volumes=True)
    probe.output(host, "sh", "-c", f"umount {ROOT} && docker network rm small-landfall")
    assert status == 0, text


def test_a_disk_that_refuses_leaves_what_serves(disk: Any) -> None:
    before = looks(disk)
    disk.run(f"sh -c 'cat /dev/zero >{ROOT}/filler'")
    text, figures, status = play(redis_memory="700m")
    assert status != 0 and figures["changed"] == 0, text
    assert "No space left on device" in text and "the disk is full: free some of it and run again" in text, text
    assert looks(disk) == before
    probe.output(disk, "rm", f"{ROOT}/filler")
    probe.output(disk, "mount", "-o", "remount,ro", ROOT)
    text, figures, status = play(redis_memory="700m")
    assert status != 0 and figures["changed"] == 0, text
    assert f"{ROOT} is mounted read-only; mount it for writing" in text, text
    assert looks(disk) == before
    probe.output(disk, "mount", "-o", "remount,rw", ROOT)
    text, figures, status = play(redis_memory="700m")
    assert status == 0 and figures["changed"] == 1, text
    assert looks(disk) != before
