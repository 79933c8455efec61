"""Real faults, and who is told of them: the right receivers, in the time that the rule promises, and of their end.

Everything happens once, in the fixture `story`; the tests look at what came of it.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from testbed import alerts, probe

ALL, OPS = frozenset({"ops", "pager"}), frozenset({"ops"})  # who takes critical, and warning, in hosts.yml
DISK = "/mnt/full"
MAKE_DISK = f"""
set -e
command -v mkfs.ext4 >/dev/null || apt-get install -y -qq e2fsprogs >/dev/null 2>&1
[ -e /dev/loop-control ] || mknod /dev/loop-control c 10 237
device=$(losetup -f | cut -d' ' -f1)  # it says '(lost)' behind one that has no node yet
[ -e "$device" ] || mknod "$device" b 7 "${{device#/dev/loop}}"
truncate -s 64M /var/tmp/full.img
mkfs.ext4 -q /var/tmp/full.img
losetup "$device" /var/tmp/full.img
mkdir -p {DISK}
mount "$device" {DISK}
"""
REMOVE_DISK = f"""
umount {DISK}
losetup -j /var/tmp/full.img | cut -d: -f1 | xargs -r losetup -d
rm -rf /var/tmp/full.img {DISK}
"""
TEST_ALERT = """
printf 'header = "Authorization: Bearer %s"\n' "$(cat /opt/landfall/app/secrets/app/app_admin_token)" |
  curl -fsS -m 10 -K - -H 'Content-Type: application/json' -d '{"severity": "critical", "minutes": 1}' \
  http://{address}:8000/api/admin/test-alert
"""


@dataclass(frozen=True)
class Expected:
    """An alert that a fault must raise, and who must be told."""

    fault: str
    labels: tuple[tuple[str, str], ...]
    receivers: frozenset[str]

    def __str__(self) -> str:
        """Name of the test."""
        return "-".join(value for _, value in self.labels)


def expected(fault: str, receivers: frozenset[str], alertname: str, severity: str, **labels: str) -> Expected:
    """Return what to expect of a fault."""
    return Expected(fault, (("alertname", alertname), ("severity", severity), *labels.items()), receivers)


EXPECTED = [
    expected("worker killed", ALL, "CeleryWorkersMissing", "critical", queue_name="search"),
    expected("worker killed", ALL, "CeleryQueueNoConsumers", "critical", queue_name="search"),
    expected("worker killed", ALL, "ContainerMissing", "critical", name="celery-search"),
    expected("worker killed", OPS, "TargetDown", "warning", job="celery-search"),
    expected("target stopped", ALL, "ContainerMissing", "critical", name="blackbox-exporter"),
    expected("target stopped", OPS, "TargetDown", "warning", job="blackbox-exporter"),
    expected("disk filled", ALL, "HighDiskUsage", "critical", mountpoint=DISK),
    expected("redis stopped", ALL, "RedisDown", "critical"),
]
# What fires because Redis is away, and must not be told beside that
DEPENDENTS = [
    {"alertname": "TargetDown", "job": "celery-exporter"},
    {"alertname": "ProbeFailed", "service": "app"},
    {"alertname": "ContainerMissing", "name": "redis"},
]
MUTED_WARNING = {"alertname": "HighDiskUsage", "severity": "warning", "mountpoint": DISK}


@dataclass
class Story:
    """What was done to the stack and when, and everything that was delivered. Times in seconds since 1970."""

    configuration: alerts.Configuration
    begun: float
    broken: dict[str, float] = field(default_factory=dict)
    mended: dict[str, float] = field(default_factory=dict)
    muted: list[dict[str, Any]] = field(default_factory=list)
    received: list[alerts.Delivery] = field(default_factory=list)

    def heard(self, labels: alerts.Labels, status: str, receiver: str, since: float) -> float | None:
        """Return when a receiver was first told after that time, None if it was not."""
        for one in self.received:
            if (one.status, one.receiver) == (status, receiver) and one.at >= since and one.is_of(labels):
                return one.at
        return None

    def all_heard(self, faults: set[str], status: str) -> bool:
        """Whether everybody who should has been told of all alerts of these faults, or of their end."""
        since = self.broken if status == "firing" else self.mended
        return all(
            self.heard(dict(one.labels), status, receiver, since[one.fault]) is not None
            for one in EXPECTED
            if one.fault in faults
            for receiver in one.receivers
        )


def firing(host: Any) -> list[dict[str, str]]:
    """Return the labels of the alerts that fire in Prometheus."""
    return [a["labels"] for a in probe.prometheus(host, "alerts")["alerts"] if a["state"] == "firing"]


def suppressed(host: Any) -> list[dict[str, Any]]:
    """Return the alerts that Alertmanager holds back because another fires."""
    active = json.loads(probe.get(host, "http://127.0.0.1:9093/api/v2/alerts"))
    return [entry for entry in active if entry["status"]["inhibitedBy"]]


def act(host: Any, story: Story) -> None:
    """Break things, wait until all is told, mend them, wait until that is told. About seven minutes."""
    address = probe.containers(host)["app"]["NetworkSettings"]["Networks"]["landfall"]["IPAddress"]

    def until(check: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not check() and time.monotonic() < deadline:
            time.sleep(2)
            story.received = alerts.deliveries(host)

    def limit(faults: set[str], which: str) -> float:
        promises = [
            story.configuration.promise(dict(one.labels), joins=True) for one in EXPECTED if one.fault in faults
        ]
        return max(promise.firing if which == "firing" else promise.resolved for promise in promises) + 15

    probe.output(host, "sh", "-c", MAKE_DISK)
    probe.output(host, "sh", "-c", TEST_ALERT.replace("{address}", address))
    amtool = ["docker", "exec", "alertmanager", "amtool", "--alertmanager.url=http://127.0.0.1:9093"]
    probe.output(host, *amtool, "alert", "add", "Chargebacks", "severity=warning", "team=payments")

    story.broken["disk filled"] = time.time()
    probe.output(host, "sh", "-c", f"head -c 60000000 /dev/zero > {DISK}/filler || true")
    story.broken["worker killed"] = time.time()
    probe.output(host, "docker", "kill", "celery-search")
    for _ in range(3):
        work = json.dumps({"tenant_id": "acme", "task": "update_index"})
        probe.get(host, f"http://{address}:8000/api/jobs/search", "-H", "Content-Type: application/json", "-d", work)
    story.broken["target stopped"] = time.time()
    probe.output(host, "docker", "stop", "blackbox-exporter")
    first = {"worker killed", "target stopped"}
    until(lambda: story.all_heard(first, "firing"), limit(first, "firing"))

    for fault, container in {"worker killed": "celery-search", "target stopped": "blackbox-exporter"}.items():
        story.mended[fault] = time.time()
        probe.output(host, "docker", "start", container)
    gone = [dict(one.labels) for one in EXPECTED if one.fault in first]
    until(lambda: not any(one.items() <= labels.items() for one in gone for labels in firing(host)), 120)

    # The end of the first faults is told while Redis is not yet missed for long enough
    story.broken["redis stopped"] = time.time()
    probe.output(host, "docker", "stop", "redis")
    rest = {"redis stopped", "disk filled"}

    def all_fire() -> bool:
        now = firing(host)
        return all(any(one.items() <= labels.items() for labels in now) for one in DEPENDENTS)

    until(lambda: all_fire() and story.all_heard(rest, "firing"), limit(rest, "firing"))
    time.sleep(alerts.SENDING)
    story.muted = suppressed(host)

    story.mended["redis stopped"] = time.time()
    probe.output(host, "docker", "start", "redis")
    story.mended["disk filled"] = time.time()
    probe.output(host, "rm", f"{DISK}/filler")
    until(lambda: story.all_heard({*first, *rest}, "resolved"), limit({*first, *rest}, "resolved"))


@pytest.fixture(scope="module")
def story(host: Any) -> Iterator[Story]:
    """Let it all happen, and leave the stack as it was."""
    told = Story(alerts.Configuration(host), begun=time.time())
    names = sorted(probe.containers(host))
    try:
        act(host, told)
        yield told
    finally:
        probe.output(host, "docker", "start", *names)
        probe.output(host, "sh", "-c", REMOVE_DISK)
        expected_health = dict.fromkeys(names, "healthy")
        healthy = probe.eventually(
            lambda: (
                {n: e["State"].get("Health", {}).get("Status") for n, e in probe.containers(host).items()}
                == expected_health
            ),
            120,
        )
        assert healthy, "not all containers are healthy again"


@pytest.mark.parametrize("one", EXPECTED, ids=str)
def test_a_fault_reaches_its_receivers_in_time_and_resolves(
    one: Expected, story: Story, capsys: pytest.CaptureFixture[str]
) -> None:
    labels, broken, mended = dict(one.labels), story.broken[one.fault], story.mended[one.fault]
    took = {who: story.heard(labels, "firing", who, broken) for who in ("ops", "pager", "payments")}
    over = {who: story.heard(labels, "resolved", who, mended) for who in one.receivers}
    assert {who for who, at in took.items() if at} == one.receivers
    assert None not in over.values(), f"not all were told of its end: {over}"
    others = [d for d in story.received if d.labels["alertname"] == labels["alertname"] and d.status == "firing"]
    ours = min(at for at in took.values() if at)
    joins = any(broken <= d.at < ours and not d.is_of(labels) for d in others)
    promise = story.configuration.promise(labels, joins=joins)
    latencies = {who: at - broken for who, at in sorted(took.items()) if at}
    ends = {who: at - mended for who, at in sorted(over.items()) if at}
    with capsys.disabled():
        sys.stdout.write(
            f"\n    {one.fault}: {one}: told after {max(latencies.values()):.0f} s of at most {promise.firing:.0f} s"
            f" (for {promise.wait:.0f} s), resolved {max(ends.values()):.0f} s after the repair"
            f" of at most {promise.resolved:.0f} s"
        )
    assert promise.wait <= min(latencies.values())
    assert max(latencies.values()) <= promise.firing
    assert max(ends.values()) <= promise.resolved


def test_a_critical_alert_holds_its_warning_back(story: Story) -> None:
    names = [entry["labels"] for entry in story.muted]
    assert any(MUTED_WARNING.items() <= labels.items() for labels in names), names
    assert story.heard(MUTED_WARNING, "firing", "ops", story.begun) is None


@pytest.mark.parametrize("dependent", DEPENDENTS, ids=lambda labels: "-".join(labels.values()))
def test_what_follows_from_redis_is_held_back(dependent: dict[str, str], story: Story) -> None:
    names = [entry["labels"] for entry in story.muted]
    assert any(dependent.items() <= labels.items() for labels in names), names
    assert story.heard(dependent, "firing", "ops", story.broken["redis stopped"]) is None


def test_what_was_counted_while_redis_was_away_is_not_told_afterwards(story: Story) -> None:
    assert story.heard({"alertname": "ApplicationRedisErrors"}, "firing", "ops", story.broken["redis stopped"]) is None


def test_nobody_is_paged_for_anything_else(story: Story, capsys: pytest.CaptureFixture[str]) -> None:
    # The kernel counts what it kills for the machine as a whole, whose other work is not this test's
    wanted = [*(dict(one.labels) for one in EXPECTED), {"alertname": "TestAlert"}, {"alertname": "HostOOMKill"}]
    paged = [d.labels for d in story.received if d.receiver == "pager" and d.status == "firing" and d.at > story.begun]
    assert [labels for labels in paged if not any(one.items() <= labels.items() for one in wanted)] == []
    told = {d.labels["alertname"] for d in story.received if d.receiver == "ops" and d.at > story.begun}
    with capsys.disabled():
        sys.stdout.write(f"\n    told to ops in all: {sorted(told)}; held back: ")
        sys.stdout.write(f"{sorted({entry['labels']['alertname'] for entry in story.muted})}")


def test_a_team_hears_its_own_alerts_and_no_others(story: Story) -> None:
    names = {d.labels["alertname"] for d in story.received if d.receiver == "payments" and d.at > story.begun}
    assert names == {"Chargebacks"}
    assert story.heard({"alertname": "Chargebacks"}, "firing", "ops", story.begun) is not None
    assert story.heard({"alertname": "Chargebacks"}, "firing", "pager", story.begun) is None


def test_the_test_alert_of_the_application_goes_all_the_way(story: Story, capsys: pytest.CaptureFixture[str]) -> None:
    labels = {"alertname": "TestAlert", "severity": "critical", "test": "true"}
    group_wait, group_interval = story.configuration.timing(labels)
    told, ended = [], []
    for receiver in ALL:
        told.append(story.heard(labels, "firing", receiver, story.begun) or 0.0)
        ended.append(story.heard(labels, "resolved", receiver, story.begun) or 0.0)
    first, last = min(told) - story.begun, max(ended) - story.begun
    with capsys.disabled():
        sys.stdout.write(f"\n    test alert told after {first:.1f} s, its end after {last:.0f} s")
    assert first > 0
    assert max(told) - story.begun <= group_wait + alerts.SENDING * 2
    assert min(ended) - story.begun > 0
    assert last <= 60 + group_interval + alerts.SENDING * 2


def test_the_pulse_keeps_coming(story: Story, capsys: pytest.CaptureFixture[str]) -> None:
    beats = [d.at for d in story.received if d.receiver == "heartbeat" and d.at > story.begun - 120]
    gaps = [after - before for before, after in zip(beats, beats[1:])]
    _, interval = story.configuration.timing({"alertname": "Watchdog"})
    with capsys.disabled():
        sys.stdout.write(f"\n    {len(beats)} heartbeats, at most {max(gaps):.0f} s apart")
    assert len(beats) >= (beats[-1] - beats[0]) / interval
    assert max(gaps) <= interval + 3 * alerts.SENDING
