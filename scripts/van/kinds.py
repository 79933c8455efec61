"""What a service of a Compose project is: the application's own, or something that this stack has a role for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scripts.van import celery, files

# Names of images without registry and organisation
REDIS = {"redis", "valkey", "redis-stack-server", "keydb", "dragonfly"}
POSTGRES = {"postgres", "postgis", "pgvector", "postgresql"}
PROXIES = {
    "traefik",
    "nginx",
    "nginx-proxy",
    "caddy",
    "caddy-docker-proxy",
    "acme-companion",
    "haproxy",
    "certbot",
    "letsencrypt-nginx-proxy-companion",
    "jwilder-nginx-proxy",
    "swag",
    "nginx-proxy-manager",
    "nginx-unprivileged",
}
WATCHERS = {
    "prometheus",
    "grafana",
    "alertmanager",
    "node-exporter",
    "cadvisor",
    "loki",
    "promtail",
    "alloy",
    "celery-exporter",
    "redis_exporter",
    "postgres-exporter",
    "postgres_exporter",
    "blackbox-exporter",
    "watchtower",
    "autoheal",
    "docker-socket-proxy",
    "portainer",
    "portainer-ce",
    "dozzle",
}


def base(image: str) -> str:
    """The last part of an image's name, without tag."""
    return image.partition("@")[0].rpartition("/")[2].partition(":")[0]


def origin(service: Mapping[str, Any]) -> str:
    """The image a service begins with: its own, or that of its Dockerfile's last FROM."""
    build = service.get("build")
    if not build:
        return str(service.get("image") or "")
    lines = files.Dockerfile(build).lines
    return next(
        (rest.split()[-1 if " as " not in rest.lower() else 0] for name, rest in reversed(lines) if name == "FROM"), ""
    )


def argv(service: Mapping[str, Any]) -> list[str]:
    """The words that a service is started with, as far as its file and its Dockerfile tell."""
    dockerfile = files.Dockerfile(service.get("build"))
    own = [*(service.get("entrypoint") or []), *(service.get("command") or [])]
    return celery.unfold(own or dockerfile.command)


def script(service: Mapping[str, Any]) -> str:
    """The text of the scripts of its image that a service is started with."""
    image = files.Dockerfile(service.get("build"))
    found = [image.script_file(word) for word in argv(service)]
    return "\n".join(path.read_text(encoding="utf-8", errors="replace") for path in found if path)


def command_of(service: Mapping[str, Any]) -> Any:
    """The Celery command of a service, also one in a script that its image is built with; ``(command, script)``."""
    words = argv(service)
    found = celery.recognise(words)
    if found:
        return found, ""
    dockerfile = files.Dockerfile(service.get("build"))
    for word in words:
        place = dockerfile.script_file(word)
        if not place:
            continue
        text = place.read_text(encoding="utf-8", errors="replace")[: files.TEXT]
        inner = re.sub(r"\\\n", " ", text)
        lines = [line.strip() for line in inner.splitlines() if "celery" in line and not line.strip().startswith("#")]
        for line in reversed(lines):
            found = celery.recognise(celery.unfold(celery._split(line)))
            if found and found.app:
                return found, Path(word).name
    return None, ""


def kind_of(name: str, service: Mapping[str, Any]) -> str:
    """redis, postgres, proxy, watcher, worker, beat, flower or service."""
    image = base(origin(service))
    command, _script = command_of(service)
    if command:
        return str(command.kind)
    if image in REDIS and "sentinel" not in name:
        return "redis"
    if image in POSTGRES:
        return "postgres"
    if image in WATCHERS:
        return "watcher"
    if image in PROXIES:
        # A frontend is often an nginx with files of its own
        own = service.get("build") and not re.search(r"nginx|caddy|traefik|proxy", name)
        return "service" if own else "proxy"
    return "flower" if image == "flower" else "service"


def share_builds(services: Mapping[str, dict[str, Any]]) -> None:
    """Services that name the image which another one builds are built as that one is."""
    built = {one["image"]: one["build"] for one in services.values() if one.get("image") and one.get("build")}
    for service in services.values():
        if not service.get("build") and service.get("image") in built:
            service["build"] = built[service["image"]]


def untold(name: str, service: Mapping[str, Any]) -> bool:
    """Whether a service may be Celery's, by its name, and nobody can see what it runs: a script of a foreign image."""
    words = argv(service)
    own = files.Dockerfile(service.get("build"))
    seen = not words or any(own.script_file(word) for word in words) or len(words) > 1 or "/" not in words[0]
    return not seen and bool(re.search(r"celery|worker|async|beat", name + " ".join(words)))


def same_code(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two services run one image."""
    if one.get("build") and one.get("build") == other.get("build"):
        return True
    return bool(one.get("image")) and one.get("image") == other.get("image")
