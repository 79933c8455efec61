"""The manifests in k8s/: their schema, what refers to what, a real Prometheus before a stand-in for the API server."""

from __future__ import annotations

import json
import queue
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import kubernetes_validate
import pytest
import requests
import yaml

from tests import programs, rolekit, rulekit

FOLDER = rolekit.ROOT / "k8s"
PATIENCE = 60.0  # seconds; discovery passes its findings on every 5 s
Manifest = dict[str, Any]


def manifests() -> list[Manifest]:
    return [document for path in sorted(FOLDER.glob("*.yaml")) for document in yaml.safe_load_all(path.read_text())]


def of_kind(kind: str, name: str = "prometheus") -> Manifest:
    (found,) = [one for one in manifests() if one["kind"] == kind and name in one["metadata"]["name"]]
    return found


@pytest.mark.parametrize("manifest", manifests(), ids=lambda one: f"{one['kind']}-{one['metadata']['name']}")
def test_manifest_fits_the_schema_of_kubernetes(manifest: Manifest) -> None:
    """K8S-11, as far as that goes without a cluster."""
    kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)


def test_a_misspelt_field_would_be_noticed() -> None:
    broken = of_kind("Deployment")
    broken["spec"]["replica"] = broken["spec"].pop("replicas")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, kubernetes_validate.latest_version(), strict=True)


def test_the_application_is_annotated_for_prometheus_and_runs_as_on_a_vps() -> None:
    """K8S-05."""
    deployment, service = yaml.safe_load_all((FOLDER / "app.yaml").read_text())
    pod, (container,) = deployment["spec"]["template"], deployment["spec"]["template"]["spec"]["containers"]
    notes = pod["metadata"]["annotations"]
    assert notes == {"prometheus.io/scrape": "true", "prometheus.io/port": "8000", "prometheus.io/path": "/metrics"}
    assert deployment["spec"]["selector"]["matchLabels"] == pod["metadata"]["labels"] == service["spec"]["selector"]
    assert container["ports"][0]["containerPort"] == service["spec"]["ports"][0]["targetPort"] == 8000
    assert pod["spec"]["automountServiceAccountToken"] is False, "its token lies in /run/secrets"
    uid = rolekit.defaults("app")["app_uid"]
    assert pod["spec"]["securityContext"]["runAsUser"] == uid
    paths = {mount["mountPath"] for mount in container["volumeMounts"]}
    named = {one["name"]: one["value"] for one in container["env"]}
    settings = (rolekit.ROOT / "docs" / "app.md").read_text("utf-8")
    assert {name for name in named if f"`{name}`" not in settings} <= {"PROMETHEUS_MULTIPROC_DIR"}
    assert {str(Path(path).parent) for name, path in named.items() if name.endswith("_FILE")} <= paths
    ready = container["readinessProbe"]["httpGet"]["path"], container["livenessProbe"]["httpGet"]["path"]
    item = rolekit.defaults("app")["app_services"][0]
    assert ready == (item["ready"], item["health"])


def test_deployment_and_service_are_in_one_file_and_fit_together() -> None:
    """K8S-01, K8S-02, K8S-03, K8S-09, K8S-10."""
    deployment, service = yaml.safe_load_all((FOLDER / "prometheus-deployment.yaml").read_text())
    pod = deployment["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    assert (deployment["kind"], service["kind"], deployment["spec"]["replicas"]) == ("Deployment", "Service", 1)
    assert deployment["spec"]["selector"]["matchLabels"] == pod["metadata"]["labels"] == {"app": "prometheus"}
    assert service["spec"]["selector"] == {"app": "prometheus"} and service["spec"]["type"] == "ClusterIP"
    assert service["spec"]["ports"] == [{"name": "web", "port": 9090, "targetPort": 9090}]
    assert container["ports"] == [{"name": "web", "containerPort": 9090}]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    config, data = pod["spec"]["volumes"]
    assert config["configMap"]["name"] == of_kind("ConfigMap")["metadata"]["name"] == "prometheus-config"
    assert f"{mounts[config['name']]}/prometheus.yml" == "/etc/prometheus/prometheus.yml"
    assert (mounts[data["name"]], data["emptyDir"]) == ("/prometheus", {})
    claim = of_kind("PersistentVolumeClaim")["spec"]
    assert (claim["storageClassName"], claim["resources"]["requests"]["storage"]) == ("standard", "10Gi")


def test_limits_and_probes() -> None:
    """K8S-06, K8S-07."""
    (container,) = of_kind("Deployment")["spec"]["template"]["spec"]["containers"]
    assert container["resources"] == {
        "requests": {"cpu": "250m", "memory": "512Mi"},
        "limits": {"cpu": "500m", "memory": "1Gi"},
    }
    live, ready = container["livenessProbe"], container["readinessProbe"]
    assert (live["httpGet"], live["initialDelaySeconds"], live["periodSeconds"]) == (
        {"path": "/-/healthy", "port": 9090}, 30, 10)  # fmt: skip
    assert (ready["httpGet"], ready["initialDelaySeconds"], ready["periodSeconds"]) == (
        {"path": "/-/ready", "port": 9090}, 5, 5)  # fmt: skip


def test_prometheus_may_read_pods_and_change_nothing() -> None:
    """K8S-08."""
    account, binding = of_kind("ServiceAccount")["metadata"]["name"], of_kind("ClusterRoleBinding")
    assert of_kind("Deployment")["spec"]["template"]["spec"]["serviceAccountName"] == account
    assert binding["subjects"][0]["name"] == account
    assert binding["roleRef"]["name"] == of_kind("ClusterRole")["metadata"]["name"]
    (rule,) = of_kind("ClusterRole")["rules"]
    assert rule == {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}


def test_the_same_version_interval_and_time_of_retention_as_on_a_vps(tmp_path: Path) -> None:
    """K8S-12."""
    variables = rolekit.inventory(tmp_path)

    def default(name: str) -> Any:
        return rolekit.template(variables[name], variables)

    (container,) = of_kind("Deployment")["spec"]["template"]["spec"]["containers"]
    settings = yaml.safe_load(of_kind("ConfigMap")["data"]["prometheus.yml"])["global"]
    assert container["image"] == default("prometheus_image")
    assert settings["scrape_interval"] == default("prometheus_scrape_interval") == "15s"
    assert f"--storage.tsdb.retention.time={default('prometheus_retention_time')}" in container["args"]


def test_promtool_accepts_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "prometheus.yml").write_text(of_kind("ConfigMap")["data"]["prometheus.yml"])
    done = rulekit.run_promtool("check", "config", "--lint-fatal", tmp_path / "prometheus.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def pod(name: str, port: int, asks: dict[str, str], phase: str = "Running") -> dict[str, Any]:
    """A pod as the API describes it, on the loopback, with a second port that nobody scrapes."""
    notes = {f"prometheus.io/{key}": value for key, value in {"port": str(port), **asks}.items()}
    return {
        "metadata": {"name": name, "namespace": "default", "uid": name, "resourceVersion": "2",
                     "labels": {"app": "fastapi"}, "annotations": notes},
        "spec": {"containers": [{"name": "app", "image": "app:1", "ports": [
            {"name": "http", "containerPort": port, "protocol": "TCP"},
            {"name": "other", "containerPort": 1, "protocol": "TCP"}]}]},
        "status": {"phase": phase, "podIP": "127.0.0.1", "hostIP": "127.0.0.1",
                   "conditions": [{"type": "Ready", "status": "True"}]},
    }  # fmt: skip


class Cluster(BaseHTTPRequestHandler):
    """Stands for the API server (list and watch of pods) and for the pods' own metrics."""

    protocol_version = "HTTP/1.0"
    pods: list[dict[str, Any]]
    events: queue.Queue[dict[str, Any]]

    def do_GET(self) -> None:
        """Answer as https://kubernetes.io/docs/reference/using-api/api-concepts/ says."""
        url = urlsplit(self.path)
        asked = parse_qs(url.query)
        if url.path == "/metrics":
            self.reply("text/plain; version=0.0.4", "up_to_date 1\n")
        elif url.path != "/api/v1/pods" or "sendInitialEvents" in asked:
            self.send_error(400)
        elif "watch" in asked:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            while event := self.events.get():
                self.wfile.write(json.dumps(event).encode() + b"\n")
                self.wfile.flush()
        else:
            listing = {"kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": "2"}, "items": self.pods}
            self.reply("application/json", json.dumps(listing))

    def reply(self, kind: str, text: str) -> None:
        """Send one whole answer."""
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: Any) -> None:
        """Be silent."""


@pytest.fixture
def cluster() -> Iterator[tuple[int, type[Cluster]]]:
    class OneCluster(Cluster):
        events: queue.Queue[dict[str, Any]] = queue.Queue()
        pods: list[dict[str, Any]] = []  # noqa: RUF012 - a class for each test

    handler = OneCluster
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1], handler
    handler.events.put({})  # ends the watch
    server.shutdown()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture
def targets(cluster: tuple[int, type[Cluster]], tmp_path: Path) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """A real Prometheus with the ConfigMap's configuration; only the API server and the waits are the test's."""
    port = free_port()
    api = f"http://127.0.0.1:{port}/api/v1"
    config = yaml.safe_load(of_kind("ConfigMap")["data"]["prometheus.yml"])
    config["global"]["scrape_interval"] = "1s"
    (discovery,) = config["scrape_configs"][1]["kubernetes_sd_configs"]
    discovery["api_server"] = f"http://127.0.0.1:{cluster[0]}"
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    argv = [*programs.in_image("prometheus", "/bin/prometheus", tmp_path), f"--config.file={tmp_path}/prometheus.yml",
            f"--storage.tsdb.path={tmp_path}/data", f"--web.listen-address=127.0.0.1:{port}"]  # fmt: skip
    with (tmp_path / "log").open("w") as log, subprocess.Popen(argv, stdout=log, stderr=log) as process:

        def active() -> list[dict[str, Any]]:
            assert process.poll() is None, (tmp_path / "log").read_text()
            try:
                found = requests.get(f"{api}/targets?state=active", timeout=5).json()["data"]["activeTargets"]
            except requests.RequestException:  # not there yet, or still starting, which it says in plain text
                return []
            return [one for one in found if one["labels"]["job"] == "kubernetes-pods"]

        yield active
        process.terminate()


def eventually(check: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE
    while not check():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.5)
    return True


def test_annotated_pods_are_found_and_a_new_replica_too(
    cluster: tuple[int, type[Cluster]], targets: Callable[[], list[dict[str, Any]]]
) -> None:
    """K8S-04, K8S-05 and as much of VER-14 as needs no cluster: the API server is a stand-in, Prometheus is real."""
    port, handler = cluster
    asks = {"scrape": "true"}
    handler.pods += [
        pod("fastapi-1", port, {**asks, "path": "/metrics"}),
        pod("silent", port, {}),
        pod("unwilling", port, {"scrape": "false"}),
        pod("done", port, asks, phase="Succeeded"),
    ]

    def up() -> list[str]:
        return sorted(one["labels"]["pod"] for one in targets() if one["health"] == "up")

    assert eventually(lambda: up() == ["fastapi-1"]), targets()
    (target,) = targets()
    assert target["scrapeUrl"] == f"http://127.0.0.1:{port}/metrics"
    assert (target["labels"]["namespace"], target["labels"]["app"]) == ("default", "fastapi")
    replica = {"kind": "Pod", "apiVersion": "v1", **pod("fastapi-2", port, asks)}
    handler.events.put({"type": "ADDED", "object": replica})
    assert eventually(lambda: up() == ["fastapi-1", "fastapi-2"]), targets()
