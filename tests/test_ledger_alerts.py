"""The alerts that the requirements ask for: name, threshold, wait and severity as Prometheus would load them.

Whether each fires, stays silent and waits long enough is shown by the unit tests of its role (tests/test_rules.py).
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import programs, rolekit, rulekit

# Row, alert, how its condition ends, seconds it waits (None: the row says none), severity (None: the row says none).
# By C-9 ladders are S4's (5 % warning, 15 % critical), by C-16 resources warn and then get critical.
LEDGER: list[tuple[str, str, str, int | None, str | None]] = [
    ("ALR-01", "ApplicationDown", "== 0", 60, "critical"),
    ("ALR-02", "HighAPIErrorRate", "> 0.05", 300, "warning"),
    ("ALR-02", "CriticalAPIErrorRate", "> 0.15", 120, "critical"),
    ("ALR-03", "HighExtractionTaskFailureRate", "> 0.1", None, None),
    ("ALR-03", "HighSearchTaskFailureRate", "> 0.1", None, None),
    ("ALR-04", "HighClientErrorRate", "> 0.25", None, "info"),
    ("ALR-05", "ErrorRateSpike", "> 3 * service:http_requests_error:ratio_rate1h", None, None),
    ("ALR-06", "SlowAPILatency", "> 2", 300, "warning"),
    ("ALR-07", "CriticalAPILatency", "> 5", 120, "critical"),
    ("ALR-08", "SlowExtractionTask", "> 30", None, None),
    ("ALR-08", "SlowSearchIndexTask", "> 10", None, None),
    ("ALR-09", "DBQuerySlow", "> 1", None, None),
    ("ALR-09", "HighDatabaseLatency", "> 1", None, "warning"),
    ("ALR-10", "CacheOperationSlow", "> 0.1", None, None),
    ("ALR-11", "DatabasePoolExhaustion", "> 5", None, "warning"),
    ("ALR-12", "DatabaseConnectionPoolExhausted", "> 0.95", None, "warning"),
    ("ALR-13", "AIRequestFailures", "> 0.1", None, "warning"),
    ("ALR-14", "DiscordSendFailures", "> 0", None, "warning"),
    ("ALR-15", "LowCacheHitRate", "< 0.5", None, "info"),
    ("ALR-16", "HighMemoryUsage", "> 0.9", None, "warning"),
    ("ALR-16", "HighMemoryUsage", "> 0.95", None, "critical"),
    ("ALR-17", "HighDiskUsage", "> 0.85", None, "warning"),
    ("ALR-17", "HighDiskUsage", "> 0.95", None, "critical"),
    ("ALR-18", "HighCPUUsage", "> 0.9", 600, "warning"),
    ("ALR-19", "RedisMemoryHigh", "> 0.8", None, "warning"),
    ("ALR-20", "WorkerQueueBacklog", "> 1000", None, "warning"),
]
# The seeds' other names of the same alert, kept as a label so that silences and routes of those names still work
ALIASES = {"HighErrorRate", "SlowAPIResponses"}


@pytest.mark.parametrize(
    ("row", "name", "condition", "wait", "severity"), LEDGER, ids=[f"{one[0]}-{one[1]}-{one[2]}" for one in LEDGER]
)
def test_alert_of_the_ledger(row: str, name: str, condition: str, wait: int | None, severity: str | None) -> None:
    ends = re.compile(re.escape(condition) + r"(?![.\d])")
    found = [
        rule
        for rule in rulekit.alerts()
        if rule.name == name
        and ends.search(" ".join(rule.body["expr"].split()))
        and (wait is None or rulekit.seconds(rule.body.get("for", "0s")) == wait)
        and (severity is None or rule.severity == severity)
    ]
    assert found, f"{row}: no {name} with {condition}, for {wait} s, {severity}"


# What a good stack ships beyond the requirements, and the rule that does it: name, part of its condition, severity
BEYOND: list[tuple[str, str, str, str]] = [
    ("a pulse for an external heartbeat", "Watchdog", "vector(1)", "info"),
    ("a job that is gone", "JobAbsent", "absent(up{", "critical"),
    ("availability, 14.4 times on 1 h and 5 m", "AvailabilityBudgetBurnFast", "rate1h > 14.4 *", "critical"),
    ("availability, 14.4 times on 1 h and 5 m", "AvailabilityBudgetBurnFast", "rate5m > 14.4 *", "critical"),
    ("availability, 6 times on 6 h and 30 m", "AvailabilityBudgetBurnFast", "rate6h > 6 *", "critical"),
    ("availability, 6 times on 6 h and 30 m", "AvailabilityBudgetBurnFast", "rate30m > 6 *", "critical"),
    ("availability, 3 times on 1 d and 2 h", "AvailabilityBudgetBurnSlow", "rate1d > 3 *", "warning"),
    ("availability, 3 times on 1 d and 2 h", "AvailabilityBudgetBurnSlow", "rate2h > 3 *", "warning"),
    ("availability, at all on 3 d and 6 h", "AvailabilityBudgetBurnSlow", "rate3d > 1 *", "warning"),
    ("availability, at all on 3 d and 6 h", "AvailabilityBudgetBurnSlow", "rate6h > 1 *", "warning"),
    ("latency, 14.4 times on 1 h and 5 m", "LatencyBudgetBurnFast", "rate1h > 14.4 *", "critical"),
    ("latency, 14.4 times on 1 h and 5 m", "LatencyBudgetBurnFast", "rate5m > 14.4 *", "critical"),
    ("latency, 6 times on 6 h and 30 m", "LatencyBudgetBurnFast", "rate6h > 6 *", "critical"),
    ("latency, 6 times on 6 h and 30 m", "LatencyBudgetBurnFast", "rate30m > 6 *", "critical"),
    ("latency, 3 times on 1 d and 2 h", "LatencyBudgetBurnSlow", "rate1d > 3 *", "warning"),
    ("latency, 3 times on 1 d and 2 h", "LatencyBudgetBurnSlow", "rate2h > 3 *", "warning"),
    ("latency, at all on 3 d and 6 h", "LatencyBudgetBurnSlow", "rate3d > 1 *", "warning"),
    ("latency, at all on 3 d and 6 h", "LatencyBudgetBurnSlow", "rate6h > 1 *", "warning"),
    ("a queue that nobody consumes", "CeleryQueueNoConsumers", "celery_active_worker_count", "critical"),
    ("a queue that grows", "CeleryQueueGrowing", "deriv(", "warning"),
    ("tasks that are stuck unacknowledged", "CeleryTasksStuckUnacked", "unacked", "warning"),
    ("a scheduler that stands", "CeleryBeatStalled", "beat_last_tick_timestamp_seconds", "critical"),
    ("an exporter that sees nothing", "CeleryExporterBlind", "celery_", "warning"),
    ("evictions on a broker", "RedisEvictions", "redis_evicted_keys_total", "critical"),
    ("no limit of memory", "RedisMaxmemoryUnset", "redis_memory_max_bytes", "warning"),
    ("a save that failed", "RedisLastSaveFailed", "redis_rdb_last_bgsave_status", "critical"),
    ("disk full in 24 h", "HostDiskWillFill", "[6h], 86400) < 0", "warning"),
    ("disk full in 4 h", "HostDiskWillFill", "[1h], 14400) < 0", "critical"),
    ("no inodes in 24 h", "HostInodesWillRunOut", "[6h], 86400) < 0", "warning"),
    ("no inodes in 4 h", "HostInodesWillRunOut", "[1h], 14400) < 0", "critical"),
    ("a process killed for memory", "HostOOMKill", "node_vmstat_oom_kill", "critical"),
    ("a clock that is off", "HostClockSkew", "node_timex_offset_seconds", "warning"),
    ("a unit that failed", "HostSystemdUnitFailed", "node_systemd_unit_state", "warning"),
    ("a file system that is read-only", "HostReadOnlyFilesystem", "node_filesystem_readonly", "critical"),
    ("a reboot that is due", "HostRebootRequired", "node_reboot_required", "info"),
    ("a backup that is too old", "BackupTooOld", "landfall_backup_last_success_timestamp_seconds", "critical"),
    ("a container that is gone", "ContainerMissing", "container_last_seen", "critical"),
    ("a container that restarts again and again", "ContainerRestartLoop", "container_start_time_seconds", "critical"),
    ("a container near its limit", "ContainerMemoryNearLimit", "container_memory_working_set_bytes", "warning"),
    ("a container held back", "ContainerCPUThrottled", "container_cpu_cfs_throttled_periods_total", "info"),
    ("lines that Loki discards", "LokiDiscarding", "loki_discarded_samples_total", "warning"),
    ("retention that stands", "LokiRetentionStalled", "loki_compactor_apply_retention", "warning"),
    ("no logs at all", "NoLogsReceived", "loki_distributor_lines_received_total", "warning"),
    ("a collector that loses lines", "AlloyDroppingLogs", "loki_write_dropped_entries_total", "critical"),
    ("a probe that fails", "ProbeFailed", "probe_success", "critical"),
    ("a certificate with 14 days left", "TLSCertificateExpiring", "< 14", "warning"),
    ("a certificate with 3 days left", "TLSCertificateExpiring", "< 3", "critical"),
    ("nobody behind the proxy", "ProxyUpstreamDown", "caddy_", "warning"),
    ("a host that is gone", "HostDown", "node_exporter", "critical"),
]


@pytest.mark.parametrize(("what", "name", "part", "severity"), BEYOND)
def test_alert_beyond_the_ledger(what: str, name: str, part: str, severity: str) -> None:
    found = [rule for rule in rulekit.alerts() if (rule.name, rule.severity) == (name, severity)]
    assert any(part in " ".join(rule.body["expr"].split()) for rule in found), what


def test_alerts_that_nothing_here_feeds_are_said_to_be_so() -> None:
    """Their rules are there and tested; that they stay silent until somebody writes the metric must be no surprise."""
    page = (rolekit.ROOT / "docs" / "requirements.md").read_text(encoding="utf-8")
    listed = dict(re.findall(r"^\| (\w+) \| `(\w+)` \| .+ \|$", page.partition("\n## Not covered\n")[2], re.MULTILINE))
    assert listed == {
        "BackupTooOld": "landfall_backup_last_success_timestamp_seconds",
        "HostRebootRequired": "node_reboot_required",
    }
    for name, metric in listed.items():
        assert all(metric in rule.expr for rule in rulekit.alerts() if rule.name == name)


def test_names_of_other_rule_sets_are_labels() -> None:
    assert {r.body["labels"]["alias"] for r in rulekit.alerts() if "alias" in r.body["labels"]} >= ALIASES


def test_rules_are_split_by_topic_into_one_directory() -> None:
    """ALR-22."""
    topics = {Path(rule.file).name.split("--", 1)[1] for rule in rulekit.alerts()}
    assert {"app-high-error-rate.yml", "app-slow-tasks.yml", "app-resource-exhaustion.yml"} <= topics
    assert {Path(rule.file).parent for rule in rulekit.alerts()} == {Path()}


# ---------------------------------------------------------------- AM-04: inhibition, by Alertmanager itself
def _fire(url: str, alerts: list[dict[str, str]]) -> list[dict[str, Any]]:
    """Give Alertmanager alerts and return what it then knows of them.

    Its inhibitor takes them in beside the API, a moment later: what it holds back is waited for, or for half a second.
    """
    body = json.dumps([{"labels": {"cluster": "vps", **labels}} for labels in alerts]).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url + "/api/v2/alerts", body, headers)  # noqa: S310  of this machine
    urllib.request.urlopen(request, timeout=5).close()  # noqa: S310
    for attempt in range(50):
        with urllib.request.urlopen(url + "/api/v2/alerts", timeout=5) as answer:  # noqa: S310
            shown: list[dict[str, Any]] = json.load(answer)
        taken_in = len(shown) == len(alerts) and all(one["status"]["state"] != "unprocessed" for one in shown)
        if taken_in and (attempt >= 5 or any(one["status"]["inhibitedBy"] for one in shown)):
            return shown
        time.sleep(0.1)
    raise AssertionError(f"Alertmanager did not take the alerts in: {shown}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def alertmanager(tmp_path: Path) -> Iterator[str]:
    """A real Alertmanager (Debian's) of its own, with the rendered configuration; its address."""
    program = programs.in_image("alertmanager", "/bin/alertmanager", tmp_path)
    for path, content in rolekit.component("alertmanager", tmp_path).contents.items():
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    config = tmp_path / "alertmanager/config/alertmanager.yml"
    config.write_text(config.read_text(encoding="utf-8").replace("/etc/alertmanager/", f"{config.parent}/"), "utf-8")
    address = f"127.0.0.1:{_free_port()}"
    arguments = [f"--config.file={config}", f"--storage.path={tmp_path}/data", "--cluster.listen-address="]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([*program, *arguments, f"--web.listen-address={address}"], stderr=log, stdout=log)
    try:
        for _attempt in range(100):
            with suppress(OSError):
                urllib.request.urlopen(f"http://{address}/-/ready", timeout=5).close()
                break
            time.sleep(0.1)
        assert process.poll() is None, (tmp_path / "log").read_text(encoding="utf-8")
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(10)


def _alert(name: str, severity: str = "warning", /, **labels: str) -> dict[str, str]:
    return {"alertname": name, "severity": severity, **labels}


INHIBITED: list[tuple[dict[str, str], dict[str, str], bool]] = [
    (_alert("HostDown", "critical", node="a"), _alert("TargetDown", job="redis-exporter", node="a"), True),
    (_alert("HostDown", "critical", node="a"), _alert("TargetDown", job="redis-exporter", node="b"), False),
    (_alert("HostDown", "critical", node="a"), _alert("Watchdog", "info", node="a"), False),
    (_alert("ApplicationDown", "critical", component="app", service="app"),
     _alert("SlowAPILatency", component="app", service="app"), True),
    (_alert("ApplicationDown", "critical", component="app", service="app"),
     _alert("SlowAPILatency", component="app", service="shop"), False),
    (_alert("RedisDown", "critical"), _alert("CeleryQueueNoConsumers", "critical", component="celery_exporter"), True),
    (_alert("RedisDown", "critical"), _alert("ContainerMissing", "critical", component="redis", name="redis"), True),
    (_alert("RedisDown", "critical"), _alert("ContainerMissing", "critical", component="loki", name="loki"), False),
    (_alert("RedisDown", "critical"), _alert("ProbeFailed", "critical", service="app"), True),
    (_alert("RedisDown", "critical"), _alert("ProbeFailed", "critical", service="grafana"), False),
    (_alert("RedisDown", "critical"), _alert("CriticalAPIErrorRate", "critical", ladder="api-errors"), True),
    (_alert("RedisDown", "critical"), _alert("CriticalAPILatency", "critical", ladder="api-latency"), False),
    (_alert("ApplicationDown", "critical", service="app"), _alert("ProbeFailed", "critical", service="app"), True),
    (_alert("ApplicationDown", "critical", service="app"), _alert("ProbeFailed", "critical", service="loki"), False),
    (_alert("RedisDown", "critical"), _alert("ProxyUpstreamErrors", "critical", service="app"), True),
    (_alert("RedisDown", "critical"), _alert("ProxyUpstreamErrors", "critical", service="grafana"), False),
    (_alert("ApplicationDown", "critical", service="app"), _alert("ProxyUpstreamDown", service="app"), True),
    (_alert("ApplicationDown", "critical", service="app"), _alert("ProxyUpstreamDown", service="grafana"), False),
    (_alert("ApplicationDown", "critical", service="app"),
     _alert("ContainerMissing", "critical", component="app", name="app"), True),
    (_alert("DiskTest", "critical", mountpoint="/"), _alert("DiskTest2", mountpoint="/"), False),
    (_alert("CriticalAPIErrorRate", "critical", ladder="api-errors", service="app"),
     _alert("HighAPIErrorRate", ladder="api-errors", service="app"), True),
    (_alert("CriticalAPIErrorRate", "critical", ladder="api-errors", service="app"),
     _alert("SlowAPILatency", ladder="api-latency", service="app"), False),
]  # fmt: skip


@pytest.mark.parametrize(("bigger", "smaller", "held_back"), INHIBITED,
                         ids=[f"{a['alertname']}-{b['alertname']}-{c}" for a, b, c in INHIBITED])  # fmt: skip
def test_inhibition(alertmanager: str, bigger: dict[str, str], smaller: dict[str, str], held_back: bool) -> None:
    shown = _fire(alertmanager, [bigger, smaller])
    muted = {one["labels"]["alertname"] for one in shown if one["status"]["inhibitedBy"]}
    assert muted == ({smaller["alertname"]} if held_back else set())


def test_a_critical_alert_holds_back_the_warning_of_its_name(alertmanager: str) -> None:
    same = {"alertname": "HighDiskUsage", "mountpoint": "/"}
    shown = _fire(alertmanager, [{**same, "severity": "critical"}, {**same, "severity": "warning"}])
    state = {one["labels"]["severity"]: one["status"]["state"] for one in shown}
    assert state == {"critical": "active", "warning": "suppressed"}


def test_repeat_interval_is_a_variable(tmp_path: Path) -> None:
    """AM-05."""
    rendered = rolekit.component("alertmanager", tmp_path, alertmanager_repeat_interval="3h")
    config: dict[str, Any] = yaml.safe_load(rolekit.text(rendered, "alertmanager/config/alertmanager.yml"))
    assert "3h" in json.dumps(config["route"]) and "12h" not in json.dumps(config["route"])
