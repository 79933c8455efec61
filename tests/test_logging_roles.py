"""What becomes of a log line, what Loki keeps, what Grafana is given: as rendered, without a host."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import rolekit

STANDINS = rolekit.ROOT / "molecule/images/standins"
CONFIG = "alloy/config/config.alloy"
# Runs lines through the stages of the rendered configuration, as the stand-in for Alloy does in the test bed.
RUNNER = """
import json, sys, time
from pathlib import Path
from pipeline import Entry, process, relabel
from syntax import parse
blocks = {block.id: block for block in parse(Path(sys.argv[1]).read_text(), sys.argv[1])}
for first, labels, line in json.load(sys.stdin):
    if first == "journal":
        fixed = {"job": "j", "service": "other", "source": "journal"}
        labels = relabel(blocks["loki.relabel.journal"].blocks, {**fixed, **labels})
        labels = {k: v for k, v in labels.items() if not k.startswith("__")}
    entry = Entry(dict(labels), line, time.time_ns())
    for name in (first, "levels"):
        if isinstance(entry, Entry):
            fresh = Entry(entry.labels, entry.line, entry.at, entry.metadata)
            entry = process(blocks["loki.process." + name].blocks, fresh)
    left_out = isinstance(entry, str)
    print(json.dumps(entry if left_out else [entry.labels, entry.metadata, entry.line, entry.at]))
"""
APP_LINE = {
    "time": "2026-01-02T03:04:05Z",
    "level": "INFO",
    "logger": "landfall.api",
    "message": "request",
    "request_id": "r-1",
    "tenant": "acme",
    "duration_ms": 12,
}
LEVELS = [
    (json.dumps({"level": "WARNING", "message": "x"}), "warning"),
    (json.dumps({"level": "warn"}), "warning"),
    (json.dumps({"level": 50, "msg": "pino"}), "error"),
    (json.dumps({"severity": "CRITICAL"}), "critical"),
    (json.dumps({"level": "purple"}), "unknown"),
    (json.dumps({"level": None}), "unknown"),
    (json.dumps({"message": "the water level: high"}), "unknown"),
    ('ts=2026-01-02T03:04:05Z level=error msg="boom"', "error"),
    ('time="2026-01-02T03:04:05Z" level="warn" msg=x', "warning"),
    ("[2026-01-02 03:04:05,678: WARNING/MainProcess] slow", "warning"),
    ("[2026-01-02 03:04:05,678: CRITICAL/ForkPoolWorker-1] gone", "critical"),
    ("INFO:     127.0.0.1:4711 - GET / 200", "info"),
    ("2026-01-02 03:04:05,678 ERROR root: boom", "error"),
    ("2026-01-02 03:04:05.678 | INFO     | src.http_server:start:66 - Started", "info"),
    ("2026-01-02 03:04:05.678 | WARNING  | src.exporter:track:12 - ERROR in a message", "warning"),
    ("1:M 02 Jan 2026 03:04:05.678 * Ready to accept connections tcp", "info"),
    ("1:M 02 Jan 2026 03:04:05.678 # Out of memory", "warning"),
    ("1:C 02 Jan 2026 03:04:05.678 - DB 0: 1 keys", "debug"),
    ("I1122 09:08:55.191092       6 factory.go:222] Registration of the docker container factory", "info"),
    ("W1122 09:08:55.191092       6 watcher.go:93] Error while processing event", "warning"),
    ("E1122 09:08:55.191092       6 manager.go:1116] Failed to create existing container", "error"),
    ("F1122 09:08:55.191092       6 cadvisor.go:182] gone", "critical"),
    ("I1122 is no line of that kind", "unknown"),
    ("ERRORS were not found", "unknown"),
    ("just words", "unknown"),
]
UNITS = [
    ("nginx.service", "nginx"),
    ("user@1000.service", "user"),
    ("run-r0123.service", "transient"),
    ("session-3.scope", "transient"),
    ("init.scope", "other"),
]


def _process(config: Path, *lines: tuple[str, dict[str, str], str]) -> list[Any]:
    done = subprocess.run(
        [sys.executable, "-c", RUNNER, str(config)],
        input=json.dumps(lines),
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(STANDINS / "alloy")},
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(text) for text in done.stdout.splitlines()]


def _docker(line: str, age: float = 60) -> tuple[str, dict[str, str], str]:
    written = time.strftime("%Y-%m-%dT%H:%M:%S.678901234Z", time.gmtime(time.time() - age))
    wrapped = json.dumps({"log": line + "\n", "stream": "stdout", "time": written})
    return "containers", {"container": "app", "service": "app", "filename": "/x"}, wrapped


@pytest.fixture(scope="module")
def alloy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("alloy")
    config = folder / "config.alloy"
    config.write_text(rolekit.text(rolekit.component("alloy", folder), CONFIG))
    return config


@pytest.mark.parametrize(("line", "level"), LEVELS)
def test_level_of_a_line(alloy: Path, line: str, level: str) -> None:
    [[labels, _, _, _]] = _process(alloy, _docker(line))
    assert labels["level"] == level


def test_labels_are_few_and_the_rest_is_metadata(alloy: Path) -> None:
    before = time.time()
    [[labels, metadata, line, at]] = _process(alloy, _docker(json.dumps(APP_LINE), age=3600))
    assert labels == {"source": "docker", "container": "app", "service": "app", "level": "info"}
    assert metadata == {"logger": "landfall.api", "request_id": "r-1", "tenant": "acme", "stream": "stdout"}
    assert line == json.dumps(APP_LINE)
    assert at % 10**9 == 678901234
    assert 0 <= at // 10**9 - int(before - 3600) <= 1


def test_lines_that_loki_would_refuse_for_their_age_are_left_out(alloy: Path, tmp_path: Path) -> None:
    """Else old containers make Loki answer 400 on the day that the collector joins them, and somebody is woken."""
    limit = 168 * 3600  # loki_reject_older_than
    loki = rolekit.text(rolekit.component("loki", tmp_path), "loki/config/loki.yaml")
    assert yaml.safe_load(loki)["limits_config"]["reject_old_samples_max_age"] == "168h"
    old, young = _process(alloy, _docker("old", age=limit - 300), _docker("young", age=limit - 900))
    assert old == "older_than_loki_takes"
    assert young[2] == "young"
    other = tmp_path / "config.alloy"
    other.write_text(rolekit.text(rolekit.component("alloy", tmp_path, loki_reject_older_than="48h"), CONFIG))
    assert _process(other, _docker("x", age=48 * 3600 - 300)) == ["older_than_loki_takes"]
    other.write_text(rolekit.text(rolekit.component("alloy", tmp_path, alloy_drop_older_than=""), CONFIG))
    assert _process(other, _docker("x", age=10**8))[0][2] == "x"


@pytest.mark.parametrize(("unit", "service"), UNITS)
def test_a_unit_of_the_host_becomes_a_bounded_service(alloy: Path, unit: str, service: str) -> None:
    internal = {"__journal__systemd_unit": unit, "__journal_priority_keyword": "err", "__journal__transport": "stdout"}
    [[labels, metadata, _, _]] = _process(alloy, ("journal", internal, "x"))
    assert labels == {"source": "journal", "service": service, "level": "error"}
    assert metadata == {"unit": unit}


def test_the_kernel_is_a_service(alloy: Path) -> None:
    internal = {"__journal__transport": "kernel", "__journal_priority_keyword": "notice"}
    [[labels, _, _, _]] = _process(alloy, ("journal", internal, "x"))
    assert (labels["service"], labels["level"]) == ("kernel", "info")


def _regex_of(text: str, block: str) -> str:
    """Return the last regular expression of a block, as Alloy reads the string."""
    found = re.findall(r'regex +?= (".*?")$', text[text.index(block) :].split("\n\n", maxsplit=1)[0], re.MULTILINE)
    return str(json.loads(found[-1]))


@pytest.mark.parametrize(
    ("name", "container"),
    [("/app", "app"), ("/48b9b551f91c_app", "app"), ("/my_app", "my_app"), ("/f00_app", "f00_app")],
)
def test_a_container_that_is_being_replaced_keeps_its_name(alloy: Path, name: str, container: str) -> None:
    """Compose names it after its forerunner until that is gone, and each such name would be a stream for ever."""
    text = alloy.read_text("utf-8")
    match = re.fullmatch(_regex_of(text, "// While Compose replaces"), name)
    assert match and match.group(1) == container


def test_excluded_containers_are_dropped_before_they_are_read(tmp_path: Path) -> None:
    rendered = rolekit.component("alloy", tmp_path, alloy_exclude_containers=["noisy-.*", "other"])
    text = rolekit.text(rendered, CONFIG)
    dropped = re.search(r'_container_name"\]\n +regex +?= (".*?")\n +action +?= "drop"', text)
    assert dropped is not None
    for name, out in {"/noisy-1": True, "/other": True, "/48b9b551f91c_other": True, "/others": False}.items():
        assert bool(re.fullmatch(json.loads(dropped.group(1)), name)) == out, name


def _check(standin: str, *argv: str) -> subprocess.CompletedProcess[str]:
    program = STANDINS / standin / f"{standin}.py"
    return subprocess.run([sys.executable, str(program), *argv], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("max_age ", "maximum_age ", 'unrecognized attribute name "maximum_age"'),
        ("stage.docker {}", "stage.dockr {}", 'unrecognized block name "stage.dockr"'),
        ("[loki.write.loki.receiver]", "[loki.write.nobody.receiver]", '"loki.write.nobody.receiver" does not exist'),
        ('    url = "', '    uri = "', 'unrecognized attribute name "uri"'),
        ("(?i)^(warn|40)$", "(?i)^(warn|40$", "error parsing regexp"),
        ('"loki" {', '"loki" ', "expected {"),
        ('= "10070m"', '= "a week"', "older_than: not a valid duration"),
        ("older_than ", "// older_than ", "must contain at least one of"),
    ],
)
def test_the_standin_for_alloy_refuses_what_alloy_refuses(alloy: Path, tmp_path: Path, old: str, new: str,
                                                          complaint: str) -> None:  # fmt: skip
    assert _check("alloy", "validate", str(alloy)).returncode == 0
    broken = tmp_path / "config.alloy"
    assert old in alloy.read_text()
    broken.write_text(alloy.read_text().replace(old, new))
    done = _check("alloy", "validate", str(broken))
    assert done.returncode == 1
    assert complaint in done.stderr


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("retention_period: 720h", "retention_period: 30 days", 1),
        ("delete_request_store: filesystem", "", 1),
        ("period: 24h", "period: 12h", 1),
        ("max_line_size:", "max_lines_size:", 1),
        ("schema_config:", "schema_conf:", 1),
        ("configs:", "configz:", 1),
        ("auth_enabled: false", "auth_enabled: [", 1),
    ],
)
def test_the_standin_for_loki_refuses_what_loki_refuses(tmp_path: Path, old: str, new: str, code: int) -> None:
    text = rolekit.text(rolekit.component("loki", tmp_path), "loki/config/loki.yaml")
    config = tmp_path / "loki.yaml"
    config.write_text(text)
    assert _check("loki", "-verify-config", f"-config.file={config}").returncode == 0
    assert old in text
    config.write_text(text.replace(old, new))
    assert _check("loki", "-verify-config", f"-config.file={config}").returncode == code


def test_loki_is_told_to_forget(tmp_path: Path) -> None:
    rendered = rolekit.component("loki", tmp_path)
    config = yaml.safe_load(rolekit.text(rendered, "loki/config/loki.yaml"))
    assert config["compactor"]["retention_enabled"] is True
    assert config["compactor"]["delete_request_store"] == "filesystem"
    assert config["compactor"]["working_directory"].startswith("/loki/")
    assert config["common"]["replication_factor"] == 1
    service = rolekit.compose(rendered)["services"]["loki"]
    assert "/tmp" in [mount.split(":")[0] for mount in service["tmpfs"]]  # noqa: S108  the target of a mount
    assert "loki-data:/loki" in service["volumes"]


@pytest.mark.parametrize(("collector", "expected"), [(True, True), ("true", True), (False, False), ("false", False)])
def test_nobody_waits_for_logs_where_nothing_collects_them(
    collector: bool | str, expected: bool, tmp_path: Path
) -> None:
    rendered = rolekit.component("loki", tmp_path, alloy_enabled=collector)
    assert ("NoLogsReceived" in rolekit.text(rendered, "prometheus/rules.d/loki--loki.yml")) == expected


@pytest.mark.parametrize(
    ("role", "variables", "words"),
    [
        ("loki", {"loki_retention": "30d"}, "loki_retention: is 30d; must be whole hours, such as 720h"),
        ("loki", {"loki_retention": "12h"}, "loki_retention: is 12h; must be at least"),
        ("loki", {"loki_retention": "100h"}, "loki_retention: is 100h; must be at least 168h"),
        ("loki", {"loki_reject_older_than": "1w"}, "loki_reject_older_than: is 1w; must be whole hours"),
        ("alloy", {"alloy_drop_older_than": "1w"}, "alloy_drop_older_than: is 1w; must be whole hours or minutes"),
        ("grafana", {"grafana_admin_password": "admin"}, "grafana_admin_password: is admin or shorter than 12"),
        ("grafana", {"grafana_root_url": "grafana.example.com"}, "grafana_root_url: is grafana.example.com; must be"),
        (
            "blackbox_exporter",
            {"blackbox_exporter_targets": [{"name": "shop", "url": "shop.example.com"}]},
            "blackbox_exporter_targets: shop: shop.example.com is no http:// or https:// URL",
        ),
        (
            "blackbox_exporter",
            {"blackbox_exporter_targets": [{"name": "mail", "url": "https://mail.example.com", "module": "tls"}]},
            "is no host:port",
        ),
        (
            "blackbox_exporter",
            {"blackbox_exporter_targets": [{"name": "shop", "url": "https://u:s3cret@shop.example.com/"}]},
            "blackbox_exporter_targets: shop: url has a user or a password, which every label",
        ),
        (
            "grafana",
            {"grafana_root_url": "https://x.example.com/a;b/"},
            "grafana_root_url: is https://x.example.com/a;b/",
        ),
    ],
)
def test_refused_before_anything_changes(role: str, variables: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(Exception, match=re.escape(words)):
        rolekit.component(role, tmp_path, **variables)


def test_grafana_is_closed_and_its_datasources_keep_their_uids(tmp_path: Path) -> None:
    rendered = rolekit.component("grafana", tmp_path)
    text = rolekit.text(rendered, "grafana/config/provisioning/datasources/landfall.yaml")
    assert [item["uid"] for item in yaml.safe_load(text)["datasources"]] == ["prometheus", "loki", "alertmanager"]
    ini = rolekit.text(rendered, "grafana/config/grafana.ini")
    assert "[auth.anonymous]\nenabled = false" in ini
    assert "admin_password = $__file{/run/secrets/admin_password}" in ini
    password = rolekit.text(rendered, "grafana/secrets/admin_password")
    assert all(
        password.encode() not in content for path, content in rendered.contents.items() if "secrets/" not in path
    )


def test_the_profile_small_leaves_the_logs_out(tmp_path: Path) -> None:
    for role in ("loki", "alloy"):
        assert rolekit.component(role, tmp_path).desired.present
        assert not rolekit.component(role, tmp_path, landfall_profile="small").desired.present
    grafana = rolekit.component("grafana", tmp_path, landfall_profile="small")
    assert "uid: loki" not in rolekit.text(grafana, "grafana/config/provisioning/datasources/landfall.yaml")
    assert "datasources/uid/loki" not in rolekit.text(grafana, "grafana/config/prove.sh")
    command = rolekit.compose(rolekit.component("cadvisor", tmp_path, landfall_profile="small"))["services"]["cadvisor"]
    assert "--enable_metrics=cpu,memory,network,oom_event" in command["command"]


def test_probes_come_from_what_is_deployed(tmp_path: Path) -> None:
    shop = {"name": "shop", "url": "https://shop.example.com/"}
    rendered = rolekit.component("blackbox_exporter", tmp_path, blackbox_exporter_targets=[shop], loki_enabled=False)
    probes = {
        t["labels"]["service"]: t["labels"] for t in rolekit.targets(rendered) if t["labels"]["job"] == "blackbox"
    }
    assert set(probes) == {"app", "prometheus", "alertmanager", "grafana", "shop"}
    assert probes["app"]["__param_target"] == "http://app:8000/health/ready"
    assert probes["shop"]["__param_module"] == "https_2xx"
    assert probes["app"]["__param_module"] == "http_2xx"
