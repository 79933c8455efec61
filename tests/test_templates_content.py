"""What single components render: settings that others rely on, and inventories that are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict

import pytest
import yaml

from tests import rolekit

THREE_SERVICES = [
    {
        "name": "web-gateway",
        "image": "registry.example.com/gateway:1.4.0",
        "port": 3000,
        "health": "/health",
        "metrics": {"port": 3000},
        "publish": ["127.0.0.1:3000:3000"],
    },
    {
        "name": "order-api",
        "image": "registry.example.com/orders:2.0.1",
        "port": 8000,
        "health": ["/app/check", "--socket"],
        "ready": "/ready",
        "metrics": {"port": 8000, "path": "/api/v1/metrics", "interval": "30s"},
        "secrets": {"ORDER_DB_PASSWORD": "s3cret"},
        "environment": {"PRICE": "5$", "DEBUG": False},
        "volumes": ["orders:/data"],
    },
    {
        "name": "fulfillment-worker",
        "image": "registry.example.com/fulfillment:2.0.1",
        "port": 2112,
        "health": "/health",
        "metrics": {"port": 2112},
        "replicas": 2,
        "limits": {"cpus": 0.5, "memory": "256m"},
    },
]


def _prometheus(secrets: Path, **more: Any) -> Dict[str, Any]:
    rendered = rolekit.component("prometheus", secrets, **more)
    return dict(yaml.safe_load(rolekit.text(rendered, "prometheus/config/prometheus.yml")))


def test_three_services_from_inventory_alone(tmp_path: Path) -> None:
    rendered = rolekit.component("app", tmp_path, app_services=THREE_SERVICES)
    services = dict(rolekit.services(rendered))
    assert set(services) == {"web-gateway", "order-api", "fulfillment-worker-1", "fulfillment-worker-2"}
    assert services["web-gateway"]["ports"] == ["127.0.0.1:3000:3000"]
    api = services["order-api"]
    assert api["healthcheck"]["test"] == ["CMD", "/app/check", "--socket"]
    assert api["environment"] == {
        "PRICE": "5$$",  # Compose would otherwise look for a variable
        "DEBUG": "false",
        "ORDER_DB_PASSWORD_FILE": "/run/secrets/order_db_password",
    }
    assert rendered.contents["app-order-api/secrets/order-api/order_db_password"] == b"s3cret"
    assert services["fulfillment-worker-2"]["mem_limit"] == "256m"
    labels = {t["targets"][0]: t["labels"] for t in rolekit.targets(rendered)}
    assert set(labels) == {
        "web-gateway:3000",
        "order-api:8000",
        "fulfillment-worker-1:2112",
        "fulfillment-worker-2:2112",
    }
    assert labels["order-api:8000"]["__metrics_path__"] == "/api/v1/metrics"
    assert labels["order-api:8000"]["__scrape_interval__"] == "30s"
    assert labels["fulfillment-worker-2:2112"]["job"] == "fulfillment-worker"
    assert [p["service"] for p in rendered.desired.meta["prove"]] == ["order-api"]


def test_a_service_is_built_only_when_it_has_no_image_of_its_own(tmp_path: Path) -> None:
    context = tmp_path / "gateway"
    context.mkdir()
    (context / "Dockerfile").write_text("FROM scratch\n", encoding="utf-8")
    item = {"name": "gateway", "build": {"context": str(context)}, "port": 3000, "health": "/health"}
    built = dict(rolekit.services(rolekit.component("app", tmp_path, app_services=[item])))
    first = built["gateway"]["image"]
    assert first.startswith("landfall/gateway:") and len(first.split(":")[1]) == 12
    (context / "Dockerfile").write_text("FROM scratch\nUSER 1\n", encoding="utf-8")
    again = dict(rolekit.services(rolekit.component("app", tmp_path, app_services=[item])))
    assert again["gateway"]["image"] != first, "the tag follows the content"


def test_workers_consume_their_queues_under_a_fixed_name(tmp_path: Path) -> None:
    services = dict(rolekit.services(rolekit.component("celery", tmp_path)))
    assert set(services) == {"celery-enhancement", "celery-extraction", "celery-search", "celery-beat"}
    command = services["celery-search"]["command"]
    assert command[command.index("-Q") + 1] == "search"
    assert command[command.index("-n") + 1] == "celery-search@%h"
    assert services["celery-search"]["hostname"] == "celery-search"
    assert "REMAP_SIGTERM" not in services["celery-search"]["environment"]


def test_soft_shutdown(tmp_path: Path) -> None:
    services = dict(rolekit.services(rolekit.component("celery", tmp_path, celery_shutdown="soft")))
    assert services["celery-search"]["environment"]["REMAP_SIGTERM"] == "SIGQUIT"


def test_beat_can_run_elsewhere(tmp_path: Path) -> None:
    assert "celery-beat" not in dict(rolekit.services(rolekit.component("celery", tmp_path, celery_beat_enabled=False)))


def test_one_visibility_timeout_for_all_clients_of_the_broker(tmp_path: Path) -> None:
    more = {"celery_visibility_timeout": 7300}
    for role, service in (("app", "app"), ("celery", "celery-search")):
        environment = dict(rolekit.services(rolekit.component(role, tmp_path, **more)))[service]["environment"]
        assert environment["APP_VISIBILITY_TIMEOUT"] == "7300"
    exporter = dict(rolekit.services(rolekit.component("celery_exporter", tmp_path, **more)))["celery-exporter"]
    assert "--broker-transport-option=visibility_timeout=7300" in exporter["command"]


def test_exporters_know_every_queue(tmp_path: Path) -> None:
    more = {"celery_workers": [{"name": "w", "queues": ["a", "b"]}, {"name": "v", "queues": ["b", "c"]}]}
    celery = dict(rolekit.services(rolekit.component("celery_exporter", tmp_path, **more)))["celery-exporter"]
    assert "--queues=a,b,c" in celery["command"]
    redis = dict(rolekit.services(rolekit.component("redis_exporter", tmp_path, **more)))["redis-exporter"]
    keys = redis["environment"]["REDIS_EXPORTER_CHECK_SINGLE_KEYS"]
    assert keys == "db0=a,db0=b,db0=c,db0=unacked,db0=unacked_index"


def test_prometheus_scrapes_what_components_ship(tmp_path: Path) -> None:
    config = _prometheus(tmp_path)
    assert config["global"]["scrape_interval"] == config["global"]["evaluation_interval"] == "15s"
    assert config["global"]["external_labels"] == {"cluster": "vps", "environment": "production", "node": "vps"}
    assert [job["job_name"] for job in config["scrape_configs"]] == ["landfall"]
    volumes = dict(rolekit.services(rolekit.component("prometheus", tmp_path)))["prometheus"]["volumes"]
    places = {volume.split(":")[1]: volume.split(":")[0] for volume in volumes}
    assert places[str(Path(config["scrape_configs"][0]["file_sd_configs"][0]["files"][0]).parent)] == "./targets.d"
    assert places[str(Path(config["rule_files"][0]).parent)] == "./rules.d"


def test_prometheus_retention_by_time_and_size(tmp_path: Path) -> None:
    command = dict(rolekit.services(rolekit.component("prometheus", tmp_path)))["prometheus"]["command"]
    assert "--storage.tsdb.retention.time=30d" in command
    assert "--storage.tsdb.retention.size=5GB" in command
    # Whoever reaches its port could end it
    assert "--web.enable-lifecycle" not in command


def test_prometheus_without_alertmanager(tmp_path: Path) -> None:
    config = _prometheus(tmp_path, alertmanager_enabled=False)
    assert config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] == []


def test_prometheus_scrapes_an_application_elsewhere(tmp_path: Path) -> None:
    extra = [{"job": "shop", "targets": ["shop.example.com:443"], "scheme": "https", "labels": {"team": "web"}}]
    job = _prometheus(tmp_path, prometheus_extra_targets=extra)["scrape_configs"][1]
    assert (job["job_name"], job["scheme"], job["metrics_path"]) == ("shop", "https", "/metrics")
    labels = {"service": "shop", "component": "app", "metrics_kind": "auto", "team": "web"}
    assert job["static_configs"] == [{"targets": ["shop.example.com:443"], "labels": labels}]


def test_node_exporter_listens_on_the_gateway_alone(tmp_path: Path) -> None:
    rendered = rolekit.component("node_exporter", tmp_path, landfall_subnet="10.9.8.0/24")
    service = dict(rolekit.services(rendered))["node-exporter"]
    assert "--web.listen-address=10.9.8.1:9100" in service["command"]
    assert rolekit.targets(rendered)[0]["targets"] == ["10.9.8.1:9100"]
    bridge = rolekit.component("node_exporter", tmp_path, node_exporter_network="bridge")
    service = dict(rolekit.services(bridge))["node-exporter"]
    assert "network_mode" not in service and service["networks"] == ["landfall"]
    assert rolekit.targets(bridge)[0]["targets"] == ["node-exporter:9100"]
    assert rolekit.targets(bridge)[0]["labels"]["instance"] == rolekit.targets(rendered)[0]["labels"]["instance"]


def test_redis_users(tmp_path: Path) -> None:
    rendered = rolekit.component("redis", tmp_path, redis_password="one", redis_monitor_password="two")  # noqa: S106
    lines = {line.split()[1]: line for line in rolekit.text(rendered, "redis/secrets/users.acl").splitlines()}
    assert set(lines) == {"default", "monitor", "admin"}
    assert "nopass" not in str(lines) and "-@admin" in lines["default"] and " -@all " in lines["monitor"]
    assert " >" not in str(lines), "passwords stand there as digests"


@pytest.mark.parametrize(
    ("more", "needs"),
    [
        ({}, ["prometheus", "loki"]),
        ({"loki_enabled": False}, ["prometheus"]),
        ({"loki_enabled": "false", "prometheus_enabled": False}, []),
    ],
)
def test_grafana_waits_for_the_data_sources_that_its_proof_asks(
    more: Dict[str, Any], needs: list[str], tmp_path: Path
) -> None:
    assert rolekit.component("grafana", tmp_path, **more).desired.meta["needs"] == needs


@pytest.mark.parametrize(
    ("role", "more", "message"),
    [
        ("redis", {"redis_maxmemory": "512m"}, "redis_maxmemory"),
        ("celery", {"celery_grace": 4000}, "celery_visibility_timeout"),
        ("celery", {"celery_grace": 30}, "celery_task_time_limit"),
        ("celery_exporter", {"celery_exporter_retry_interval": 0}, "celery_exporter_retry_interval"),
        ("node_exporter", {"node_exporter_publish": ["127.0.0.1:9100:9100"]}, "node_exporter_network"),
        ("prometheus", {"prometheus_image": "prom/prometheus:latest"}, "latest"),
        ("prometheus", {"prometheus_image": "prom/prometheus"}, "no tag"),
        ("app", {"app_services": [{**THREE_SERVICES[2], "publish": ["127.0.0.1:1:1"]}]}, "replicas"),
        ("app", {"app_services": [{**THREE_SERVICES[1], "user": "postgres"}]}, "not known here.*uid"),
        ("app", {"app_services": [{"name": "a", "image": "a:1", "health": "/health"}]}, "no port"),
        ("app", {"app_services": [{"name": "a", "port": 1, "health": "/health"}]}, "neither image nor build"),
        ("app", {"app_services": [THREE_SERVICES[0], {**THREE_SERVICES[0]}]}, "web-gateway"),
        ("app", {"app_services": []}, "app_services"),
    ],
)
def test_refused(role: str, more: Dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(Exception, match=message):  # whatever the renderer raises becomes the task's message
        rolekit.component(role, tmp_path, **more)
