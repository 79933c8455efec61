"""What the requirements ask of Prometheus, the exporters and the containers, one test for each row: as rendered.

docs/requirements.md says which row each test proves. What only a running stack can show is in molecule/.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import rolekit, rulekit

_FOLDER = tempfile.TemporaryDirectory()
GATEWAY = "172.30.0.1"  # the first address of landfall_subnet: node-exporter's, which has no name on the bridge


@cache
def _rendered(role: str) -> rolekit.Rendered:
    return rolekit.deployed(role, Path(_FOLDER.name))


def _service(role: str, **more: Any) -> dict[str, Any]:
    rendered = rolekit.component(role, Path(_FOLDER.name), **more) if more else _rendered(role)
    [(_name, service)] = rolekit.services(rendered)
    return service


def _targets(**more: Any) -> list[dict[str, Any]]:
    """All scrape targets of the stack."""
    rendered = [rolekit.component(role, Path(_FOLDER.name), **more) for role in rolekit.stack_names()]
    return [target for one in rendered if one.desired.present for target in rolekit.targets(one)]


def _volumes(role: str) -> dict[str, list[str]]:
    """Mount point to its source and options."""
    found = [volume.split(":") for volume in _service(role)["volumes"]]
    return {target: [source, *options] for source, target, *options in found}


# ---------------------------------------------------------------- Prometheus
def test_jobs_use_the_global_interval_and_cadvisor_its_own_variable() -> None:
    """PRM-02, by C-4: 15 s for all, and one variable for the costliest."""
    own = {t["labels"]["job"]: t["labels"]["__scrape_interval__"] for t in _targets() if
           "__scrape_interval__" in t["labels"]}  # fmt: skip
    assert own == {"cadvisor": "15s", "blackbox": "15s"}
    own = {t["labels"]["job"]: t["labels"].get("__scrape_interval__") for t in _targets(cadvisor_scrape_interval="10s")}
    assert own["cadvisor"] == "10s"


def test_jobs_of_the_reference_stack() -> None:
    """PRM-03, PRM-06 and the containers of docs/architecture.md."""
    jobs = {t["labels"]["job"]: t["targets"] for t in _targets()}
    assert jobs["celery-exporter"] == ["celery-exporter:9808"]
    assert (jobs["app"], jobs["prometheus"], jobs["grafana"]) == (["app:8000"], ["prometheus:9090"], ["grafana:3000"])
    assert set(jobs) == {
        "alertmanager", "alloy", "app", "blackbox", "blackbox-exporter", "cadvisor", "celery-enhancement",
        "celery-exporter", "celery-extraction", "celery-search", "grafana", "loki", "node-exporter", "prometheus",
        "redis-exporter",
    }  # fmt: skip


def test_jobs_that_the_inventory_names() -> None:
    """PRM-03 (worker:8000, celery), PRM-04 (fastapi:8000), PRM-07 (another path, workers on 9090)."""
    worker = [{"name": "worker", "queues": ["q"]}]
    api = {"image": "registry.example.com/api:1.0.0", "port": 8000, "health": "/health"}
    services = [
        {"name": "fastapi", **api, "metrics": {"port": 8000, "job": "fastapi-app"}},
        {"name": "api", **api, "metrics": {"port": 8000, "path": "/api/v1/metrics", "job": "pybase-api"}},
    ]
    own = {"celery_service": "api", "celery_app": "shop.celery", "app_services": services, "app_exercise": {}}
    found = {
        t["labels"]["job"]: (t["targets"][0], t["labels"].get("__metrics_path__", "/metrics"))
        for t in _targets(celery_workers=worker, celery_metrics_port=8000, celery_exporter_job="celery", **own)
    }
    assert found["worker"] == ("worker:8000", "/metrics")
    assert found["celery"] == ("celery-exporter:9808", "/metrics")
    assert found["fastapi-app"] == ("fastapi:8000", "/metrics")
    assert found["pybase-api"] == ("api:8000", "/api/v1/metrics")


def test_every_target_says_its_service_and_component() -> None:
    """PRM-07."""
    for target in _targets():
        assert {"job", "service", "component"} <= set(target["labels"]), target
        assert target["labels"]["component"] in rolekit.component_names()


@pytest.mark.parametrize("role", sorted(set(rolekit.component_names()) - {"prometheus"}))
def test_a_component_can_be_switched_off_and_takes_its_targets_along(role: str) -> None:
    """PRM-07, DKR-13: exporters are optional, and so is everything else beside Prometheus."""
    assert _rendered(role).desired.present
    off = rolekit.component(role, Path(_FOLDER.name), **{f"{role}_enabled": False})
    assert not off.desired.present and rolekit.targets(off) == []


def test_targets_are_names_of_containers() -> None:
    """PRM-19."""
    names = {name for role in rolekit.component_names() for name, _service in rolekit.services(_rendered(role))}
    hosts = {address.split(":")[0] for target in _targets() for address in target["targets"]}
    assert hosts - names == {GATEWAY}
    asked = {t["labels"]["__param_target"] for t in _targets() if "__param_target" in t["labels"]}
    assert {re.sub(r"https?://([^:/]+).*", r"\1", url) for url in asked} <= names


def test_prometheus_mounts_its_configuration_read_only_and_keeps_its_data() -> None:
    """PRM-11. A folder and not the file: a replaced file would keep its old content inside the container."""
    volumes = _volumes("prometheus")
    assert volumes["/etc/prometheus"] == ["./config", "ro"]
    assert volumes["/prometheus"] == ["prometheus-data"]
    assert "prometheus/config/prometheus.yml" in _rendered("prometheus").contents
    command = _service("prometheus")["command"]
    assert "--config.file=/etc/prometheus/prometheus.yml" in command
    assert "--storage.tsdb.path=/prometheus" in command


def test_prometheus_healthcheck() -> None:
    """PRM-14, C-7."""
    check = _service("prometheus")["healthcheck"]
    assert check["test"] == ["CMD-SHELL", "http_proxy= wget --spider -q http://localhost:9090/-/ready"]
    assert [check[k] for k in ("interval", "timeout", "retries", "start_period")] == ["5s", "3s", 5, "15s"]


def test_applications_start_before_prometheus_which_waits_for_none_of_them() -> None:
    """PRM-15 by C-8: the order of the play, and no dependency that a broken application could hold up."""
    play = (rolekit.ROOT / "site.yml").read_text(encoding="utf-8")
    at = {}
    for role in ("redis", "app", "celery", "prometheus", "verify"):
        found = re.search(rf"\b(?:role|name): {role}\b", play)
        assert found, role
        at[role] = found.start()
    assert max(at["redis"], at["app"], at["celery"]) < at["prometheus"] < at["verify"]
    assert not _rendered("prometheus").desired.meta["needs"]
    assert "depends_on" not in _service("prometheus")


def test_prometheus_limits() -> None:
    """PRM-16, C-6."""
    service = _service("prometheus")
    assert (service["cpus"], service["mem_limit"], service["mem_reservation"]) == (1.0, "1g", "512m")
    small = _service("prometheus", landfall_profile="small")
    assert (small["cpus"], small["mem_limit"]) == (0.5, "512m")
    own = _service("prometheus", landfall_profile="small", prometheus_memory="2g", prometheus_cpus=2.0)
    assert (own["cpus"], own["mem_limit"]) == (2.0, "2g")


def test_prometheus_configuration_is_clean_and_commented() -> None:
    """PRM-21: yamllint, promtool, and a comment above each section."""
    text = rolekit.text(_rendered("prometheus"), "prometheus/config/prometheus.yml")
    rules = "{extends: default, rules: {document-start: disable, line-length: {max: 160}}}"
    command = [sys.executable, "-m", "yamllint", "--strict", "-d", rules, "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = text.splitlines()
    sections = [number for number, line in enumerate(lines) if re.match(r"\w+:", line)]
    assert len(sections) == 4
    assert [lines[number] for number in sections if not lines[number - 1].startswith("#")] == []


def test_promtool_accepts_the_configuration(tmp_path: Path) -> None:
    """PRM-21, DKR-14: with an application elsewhere as well (PRM-23)."""
    extra = [{"job": "shop", "targets": ["shop.example.com"], "scheme": "https"}]
    rendered = rolekit.component("prometheus", tmp_path, prometheus_extra_targets=extra)
    config = tmp_path / "prometheus.yml"
    config.write_text(rolekit.text(rendered, "prometheus/config/prometheus.yml"), encoding="utf-8")
    result = rulekit.run_promtool("check", "config", config)
    assert result.returncode == 0, result.stdout + result.stderr
    config.write_text(config.read_text(encoding="utf-8").replace("scheme:", "schema:"), encoding="utf-8")
    assert rulekit.run_promtool("check", "config", config).returncode != 0


# ---------------------------------------------------------------- exporters
def test_celery_exporter_as_required() -> None:
    """EXP-01, EXP-03, EXP-04 (D-5): internal, limited, and asked for its health by what the image has."""
    service = _service("celery_exporter")
    assert service["image"].startswith("ghcr.io/danihodovic/celery-exporter:")
    assert "ports" not in service
    assert (service["cpus"], service["mem_limit"], service["restart"]) == (0.25, "256m", "unless-stopped")
    assert service["networks"] == ["landfall"]
    assert _rendered("celery_exporter").desired.meta["needs"] == ["redis"]
    check = service["healthcheck"]
    assert check["test"] == ["CMD", "python", "/etc/celery-exporter/healthy.py"]
    assert int(check["timeout"].removesuffix("s")) >= 10, "its scrape takes two seconds, and more under load"


def test_the_broker_s_password_is_in_a_file_alone(tmp_path: Path) -> None:
    """EXP-02, DKR-12."""
    rendered = rolekit.component("celery_exporter", tmp_path, redis_password="s3cretBroker")  # noqa: S106
    path = "celery_exporter/secrets/broker_url"
    assert rolekit.text(rendered, path).strip() == "redis://:s3cretBroker@redis:6379/0"
    assert [p for p, content in rendered.contents.items() if b"s3cretBroker" in content] == [path]


def test_probes_of_http_and_tls(tmp_path: Path) -> None:
    """EXP-07."""
    wanted = [{"name": "shop", "url": "https://shop.example.com/"},
              {"name": "mail", "url": "mail.example.com:993", "module": "tls"},
              {"name": "db", "url": "[2001:db8::7]:5432", "module": "tcp"}]  # fmt: skip
    rendered = rolekit.component("blackbox_exporter", tmp_path, blackbox_exporter_targets=wanted)
    modules = yaml.safe_load(rolekit.text(rendered, "blackbox_exporter/config/blackbox.yml"))["modules"]
    used = {t["labels"]["service"]: t["labels"].get("__param_module") for t in rolekit.targets(rendered)}
    assert {used["shop"], used["mail"], used["db"]} <= set(modules)
    assert modules[used["mail"]]["tcp"]["tls"] is True


# ---------------------------------------------------------------- cAdvisor, node-exporter
def test_cadvisor_sees_what_it_must() -> None:
    """CAD-01. The one difference: privileged only on request, the capability and the device suffice."""
    volumes = _volumes("cadvisor")
    assert {target: (source.rstrip("/") or "/", options) for target, (source, options) in volumes.items()} == {
        "/rootfs": ("/", "ro"), "/var/run": ("/var/run", "ro"), "/sys": ("/sys", "ro"),
        "/var/lib/docker": ("/var/lib/docker", "ro"), "/dev/disk": ("/dev/disk", "ro"),
    }  # fmt: skip
    service = _service("cadvisor")
    assert service["devices"] == ["/dev/kmsg"]
    assert "privileged" not in service and "SYSLOG" in service["cap_add"]
    assert _service("cadvisor", cadvisor_privileged=True)["privileged"] is True


def test_cadvisor_port_is_inner_unless_asked_for() -> None:
    """CAD-02, C-3."""
    assert "ports" not in _service("cadvisor")
    assert _service("cadvisor", cadvisor_publish=["127.0.0.1:8081:8080"])["ports"] == ["127.0.0.1:8081:8080"]
    assert _targets_of("cadvisor") == ["cadvisor:8080"]


def _targets_of(role: str) -> list[str]:
    return [address for target in rolekit.targets(_rendered(role)) for address in target["targets"]]


def test_cadvisor_limits() -> None:
    """CAD-03 by D-11 and C-4: 256 MB in place of 200, and the flags that cut its cost."""
    service = _service("cadvisor")
    assert (service["cpus"], service["mem_limit"], service["restart"]) == (0.5, "256m", "unless-stopped")
    flags = dict(flag.split("=", 1) for flag in service["command"])
    assert flags["--docker_only"] == "true" and flags["--store_container_labels"] == "false"
    assert flags["--housekeeping_interval"] != "1s", "the default, which is what makes it expensive"


def test_cadvisor_image_is_one_that_sees_docker_29() -> None:
    """CAD-04, D-7."""
    registry, version = _service("cadvisor")["image"].rsplit(":v", 1)
    assert registry == "ghcr.io/google/cadvisor"
    assert tuple(map(int, version.split("."))) >= (0, 54)


def test_node_exporter_sees_the_host() -> None:
    """NOD-01, NOD-03; NOD-02 by D-8, and to the letter with one variable."""
    service = _service("node_exporter")
    assert "--path.rootfs=/host" in service["command"] and service["pid"] == "host"
    assert _volumes("node_exporter")["/host"] == ["/", "ro,rslave"]
    assert (service["cpus"], service["mem_limit"]) == (0.25, "100m")
    assert service["network_mode"] == "host"
    bridge = _service("node_exporter", node_exporter_network="bridge", node_exporter_publish=["127.0.0.1:9100:9100"])
    assert "network_mode" not in bridge and bridge["ports"] == ["127.0.0.1:9100:9100"]


# ---------------------------------------------------------------- the rest of the stack
def test_alertmanager_port_and_state() -> None:
    """AM-01."""
    assert _service("alertmanager")["ports"] == ["127.0.0.1:9093:9093"]
    assert _volumes("alertmanager")["/alertmanager"] == ["alertmanager-data"]
    assert "--storage.path=/alertmanager" in _service("alertmanager")["command"]


def test_grafana_port_volume_health_and_provisioning() -> None:
    """GRF-01, GRF-02."""
    service = _service("grafana")
    assert service["ports"] == ["127.0.0.1:3000:3000"]
    assert _volumes("grafana")["/var/lib/grafana"] == ["grafana-data"]
    assert _volumes("grafana")["/dashboards"] == ["./dashboards.d", "ro"]
    assert "/api/health" in str(service["healthcheck"]["test"])
    text = rolekit.text(_rendered("grafana"), "grafana/config/provisioning/dashboards/landfall.yaml")
    assert yaml.safe_load(text)["providers"][0]["options"]["path"] == "/dashboards"


def test_logs_have_a_retention_of_their_own(tmp_path: Path) -> None:
    """LOG-02: changing one leaves the other."""
    loki = rolekit.component("loki", tmp_path, loki_retention="2160h")
    assert yaml.safe_load(rolekit.text(loki, "loki/config/loki.yaml"))["limits_config"]["retention_period"] == "2160h"
    assert "--storage.tsdb.retention.time=30d" in _service("prometheus", loki_retention="2160h")["command"]


def test_named_volumes() -> None:
    """DKR-16."""
    documents = [rolekit.compose(_rendered(role)) for role in rolekit.component_names()]
    found = {volume for document in documents for volume in document.get("volumes") or {}}
    assert found == {"alertmanager-data", "alloy-data", "app-data", "backup-cache", "caddy-data", "grafana-data",
                     "loki-data", "postgres-data", "prometheus-data", "redis-data"}  # fmt: skip


def test_a_secret_that_is_missing_is_named(tmp_path: Path) -> None:
    """DKR-10: the run stops with the name of the variable."""
    services = [{"name": "shop", "image": "registry.example.com/shop:1.0.0", "port": 8000, "health": "/health",
                 "secrets": {"SHOP_KEY": "{{ vault_shop_key }}"}}]  # fmt: skip
    with pytest.raises(Exception, match="vault_shop_key"):
        rolekit.component("app", tmp_path, app_services=services)
