"""The pod of k8s/ with the limits of its manifest, as far as an engine without a cluster can run it (VER-14)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from testbed import probe
from testbed.paths import ROOT

POD, FOLDER = "pod-prometheus", "/tmp/pod"  # noqa: S108 - on the VPS of the test


def manifest(kind: str) -> dict[str, Any]:
    """Return the one manifest of this kind that Prometheus has."""
    documents = [
        one for path in sorted((ROOT / "k8s").glob("prometheus-*.yaml")) for one in yaml.safe_load_all(path.read_text())
    ]
    (found,) = [one for one in documents if one["kind"] == kind]
    return dict(found)


@pytest.fixture(scope="module")
def container(host: Any) -> Iterator[dict[str, Any]]:
    """Run the pod's container: user, limits, mounts and arguments are the manifest's."""
    spec = manifest("Deployment")["spec"]["template"]["spec"]
    (found,) = spec["containers"]
    user, security = spec["securityContext"], found["securityContext"]
    assert security["readOnlyRootFilesystem"] and security["capabilities"] == {"drop": ["ALL"]}
    (config,) = manifest("ConfigMap")["data"].items()
    probe.output(host, "mkdir", "-p", FOLDER)
    probe.output(host, "sh", "-c", f"cat > {FOLDER}/{config[0]} <<'END'\n{config[1]}\nEND")
    config_mount, data_mount = (mount["mountPath"] for mount in found["volumeMounts"])
    mega = int(found["resources"]["limits"]["memory"].removesuffix("Gi")) * 1024
    probe.output(
        host, "docker", "run", "--detach", "--name", POD, "--network", "none", "--read-only", "--cap-drop", "ALL",
        "--security-opt", "no-new-privileges", "--user", f"{user['runAsUser']}:{user['runAsGroup']}",
        "--memory", f"{mega}m", "--volume", f"{FOLDER}:{config_mount}:ro",
        "--tmpfs", f"{data_mount}:uid={user['runAsUser']},gid={user['fsGroup']}", found["image"], *found["args"],
    )  # fmt: skip
    yield found
    probe.output(host, "docker", "rm", "--force", POD)


def test_the_pod_becomes_ready_and_answers_from_inside(host: Any, container: dict[str, Any]) -> None:
    for name in ("readinessProbe", "livenessProbe"):
        asked = container[name]["httpGet"]
        url = f"http://127.0.0.1:{asked['port']}{asked['path']}"

        def answers(url: str = url) -> bool:
            return bool(host.run(f"docker exec {POD} wget -qO- {url}").rc == 0)

        assert probe.eventually(answers, 60), probe.output(host, "docker", "logs", POD)


def test_the_pod_took_in_its_configuration(host: Any, container: dict[str, Any]) -> None:
    ask = "http://127.0.0.1:9090/api/v1/status/"
    config = probe.output(host, "docker", "exec", POD, "wget", "-qO-", ask + "config")
    assert "kubernetes-pods" in config
    flags = probe.output(host, "docker", "exec", POD, "wget", "-qO-", ask + "runtimeinfo")
    assert '"storageRetention":"30d"' in flags, flags
