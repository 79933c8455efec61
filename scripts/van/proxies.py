"""The names under which services are reached, from labels of Traefik and Caddy, nginx-proxy and files of proxies."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.van import files

YAML = (".yml", ".yaml")
TRAEFIK = ("traefik.y*ml", "dynamic*.y*ml")
LOCAL = re.compile(r"localhost|127\..*|.*\.(?:localhost|local|test)|_|")


@dataclass(frozen=True)
class Site:
    """Requests for a path of a host go to a port of a service; 0 where nobody says the port."""

    host: str
    path: str
    service: str
    port: int
    where: str = ""
    users: tuple[tuple[str, str], ...] = ()
    """Who may enter, with the hash of each password; everybody if there is nobody."""

    @property
    def public(self) -> bool:
        """Whether the host is a name that visitors can ask for."""
        return not LOCAL.fullmatch(self.host)


def of(project: Any) -> list[Site]:
    """All sites of a project, each once, in the order of its services."""
    found: dict[tuple[str, str], Site] = {}
    for site in _all(project):
        found.setdefault((site.host, site.path), site)
    return list(found.values())


def clashes(project: Any) -> Iterator[tuple[str, str, str, str]]:
    """``(host, path, service, other service)``: one address that leads to two, such as on two ports."""
    first: dict[tuple[str, str], str] = {}
    for site in _all(project):
        service = first.setdefault((site.host, site.path), site.service)
        if site.public and service != site.service:
            yield site.host, site.path, service, site.service


def _all(project: Any) -> Iterator[Site]:
    for name, service in project.services.items():
        yield from _traefik(name, service, project)
        yield from _caddy(name, service, project)
        yield from _virtual(name, service, project)
        yield from _mounted(name, service, project)


def _traefik(name: str, service: Mapping[str, Any], project: Any) -> Iterator[Site]:
    labels: Mapping[str, str] = service.get("labels") or {}
    if labels.get("traefik.enable", "true").lower() == "false":
        return
    ports = [value for key, value in labels.items() if key.endswith(".loadbalancer.server.port")]
    port = int(ports[0]) if ports and ports[0].isdigit() else 0
    for key, rule in labels.items():
        if not re.fullmatch(r"traefik\.https?\.routers\..+\.rule", key, re.IGNORECASE):
            continue
        for host, path in files.rule(rule):
            users = _basic_auth(key.rpartition(".")[0], labels, project)
            yield Site(host, path, name, port, project.line(name, "labels", key), users)


def _basic_auth(router: str, labels: Mapping[str, str], project: Any) -> tuple[tuple[str, str], ...]:
    """The users of the middlewares of a router of Traefik, which any service may declare."""
    named = {one.strip().partition("@")[0] for one in labels.get(f"{router}.middlewares", "").split(",")}
    found = []
    every = [service.get("labels") or {} for service in project.services.values()]
    for key, value in [pair for one in every for pair in one.items()]:
        middleware = re.fullmatch(r"traefik\.http\.middlewares\.([^.]+)\.basicauth\.users", key, re.IGNORECASE)
        if middleware and middleware[1] in named:
            pairs = [pair.strip().partition(":") for pair in value.split(",")]
            found += [(user, hashed) for user, _colon, hashed in pairs]
    return tuple(found)


def _caddy(name: str, service: Mapping[str, Any], project: Any) -> Iterator[Site]:
    labels: Mapping[str, str] = service.get("labels") or {}
    for key, value in labels.items():
        if re.fullmatch(r"caddy(?:_\d+)?", key):
            proxied = [
                (one, text) for one, text in labels.items() if re.match(rf"{key}\.(?:\S*\.)?reverse_proxy$", one)
            ]
            port = re.search(r"upstreams\s+(?:https?\s+)?(\d+)", " ".join(text for _one, text in proxied))
            path = re.match(r"(/\S*)\s", proxied[0][1]) if proxied else None
            for host in re.split(r"[,\s]+", value):
                bare = re.sub(r"^https?://|:\d+$", "", host)
                yield Site(
                    bare, path[1] if path else "/", name, int(port[1]) if port else 0, project.line(name, "labels", key)
                )


def _virtual(name: str, service: Mapping[str, Any], project: Any) -> Iterator[Site]:
    environment, labels = service.get("environment") or {}, service.get("labels") or {}
    for host in str(environment.get("VIRTUAL_HOST") or labels.get("virtual.host") or "").split(","):
        if host.strip():
            port = str(environment.get("VIRTUAL_PORT") or labels.get("virtual.port") or "0")
            path = str(environment.get("VIRTUAL_PATH") or "/")
            yield Site(host.strip(), path, name, int(port) if port.isdigit() else 0, project.line(name, "environment"))


def _mounted(_name: str, service: Mapping[str, Any], project: Any) -> Iterator[Site]:
    """Sites in files that a proxy of the project mounts or is built with."""
    for path in _configurations(service):
        text = path.read_text(encoding="utf-8", errors="replace")[: files.TEXT]
        read = {"Caddyfile": files.caddy_sites, ".conf": files.nginx_sites}.get(path.suffix or path.name)
        for host, prefix, service_name, port in (read or files.traefik_sites)(text):
            if service_name in project.services:
                yield Site(host, prefix, service_name, port, path.name)


def _configurations(service: Mapping[str, Any]) -> Iterator[Path]:
    """The files of nginx and Caddy that a service mounts or is built with."""
    seen: set[Path] = set()
    places = [Path(mount["source"]) for mount in service.get("volumes") or [] if mount.get("type") == "bind"]
    build = service.get("build")
    named = f"{build.get('context', '')} {build.get('dockerfile', '')}" if build else ""
    if build and re.search(r"nginx|caddy|proxy|traefik", named):
        dockerfile = Path(build["context"]) / str(build.get("dockerfile") or "Dockerfile")
        places += [dockerfile.parent, *files.Dockerfile(build).copied]
    traefik = "traefik" in f"{service.get('image')} {named}"
    for place in dict.fromkeys(places):
        if place.is_dir():
            candidates = sorted(one for pattern in ("*.conf", "Caddyfile", *TRAEFIK) for one in place.glob(pattern))
        else:
            known = place.suffix == ".conf" or place.name == "Caddyfile" or (traefik and place.suffix in YAML)
            candidates = [place] if place.is_file() and known else []
        yield from (one for one in candidates if one not in seen)
        seen.update(candidates)


LOST = {
    r"\b(?:alias|root)\s+([^;\s]+);": "files of {0}: give the site a route with static (docs/operations/proxy.md)",
    r"\bclient_max_body_size\s+([^;\s]+);": "bodies up to {0}: max_body of the site",
    r"\bauth_basic_user_file\s+([^;\s]+);": "passwords of {0}: users of the site",
    r"\b(?:allow|deny)\s+([^;\s]+);": "an allow-list with {0}: allow of the site",
    r"\badd_header\s+(\S+)": "the header {0}: headers of the site",
    r"\b(?:uwsgi|fastcgi)_pass\s+([^;\s]+);": "to {0} it speaks no HTTP: let the service itself serve HTTP",
    r"\breturn\s+30[1278]\s+(\S+);": "a redirect to {0}: redirect, unless it is that to https, which is there anyway",
}


def lost(project: Any, kinds: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """``(file:line, service, what it said)`` of a proxy's own files that no site takes along."""
    for name, service in project.services.items():
        if kinds[name] != "proxy":
            continue
        for path in _configurations(service):
            if path.suffix != ".conf":
                continue
            for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
                for pattern, told in LOST.items():
                    found = None if line.strip().startswith("#") else re.search(pattern, line)
                    if found:
                        yield f"{path.name}:{number}", name, told.format(found[1])
