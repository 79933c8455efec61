"""Where a service answers and how it is asked whether it is well, from all that its project says."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from scripts.van import files, kinds
from scripts.van.proxies import Site

DOCKER_PORTS = {
    "flower": 5555,
    "adminer": 8080,
    "mailpit": 8025,
    "mailhog": 8025,
    "memcached": 11211,
    "rabbitmq": 5672,
    "minio": 9000,
    "elasticsearch": 9200,
    "meilisearch": 7700,
    "mongo": 27017,
    "mysql": 3306,
    "mariadb": 3306,
    "nginx": 80,
    "tika": 9998,
    "gotenberg": 3000,
    "pgadmin4": 80,
}
NO_WEB = {22, 25, 110, 143, 465, 587, 993, 995, 1025}
"""Ports of SSH and mail, which are no address of a web application that has others."""
PORT_OPTION = re.compile(r"(?:--port[= ]|--bind[= ]\S*?:|-b[= ]?\S*?:|0\.0\.0\.0:|\[::\]:)(\d{2,5})")
LOCAL_URL = re.compile(r"https?://(localhost|127\.0\.0\.1|0\.0\.0\.0|\[::1\])(?::(\d+))?(/[^\s\"'|;&>)]*)?")
TIMINGS = ("interval", "timeout", "retries", "start_period")


def port_of(name: str, service: Mapping[str, Any], sites: Sequence[Site]) -> int:
    """The port on which a service answers, 0 where nothing tells."""
    said = [site.port for site in sites if site.service == name and site.port]
    if said:
        return said[0]
    ports = [int(port["target"]) for port in service.get("ports") or [] if port.get("protocol", "tcp") == "tcp"]
    own = DOCKER_PORTS.get(kinds.base(kinds.origin(service)), 0)
    if ports:
        return own if own in ports else next((port for port in ports if port not in NO_WEB), ports[0])
    exposed = [re.match(r"\d+", str(port)) for port in service.get("expose") or []]
    if exposed and exposed[0]:
        return int(exposed[0][0])
    url = LOCAL_URL.search(" ".join((service.get("healthcheck") or {}).get("test") or []))
    if url and url[2]:
        return int(url[2])
    command, _script = kinds.command_of(service)
    for text in (" ".join(kinds.argv(service)), kinds.script(service)):
        option = PORT_OPTION.search(text)
        if option:
            return int(option[1])
    flower = DOCKER_PORTS["flower"] if command and command.kind == "flower" else 0
    return flower or files.Dockerfile(service.get("build")).port or own


def health(name: str, service: Mapping[str, Any], item: dict[str, Any], once: bool) -> dict[str, Any]:
    """``health`` and its timings, from the healthcheck of Compose."""
    check = service.get("healthcheck") or {}
    test = list(check.get("test") or [])
    found: dict[str, Any] = {}
    if check.get("disable") or test[:1] == ["NONE"] or not test:
        if once:
            return {}
        why = (
            "its healthcheck is switched off" if test or check.get("disable") else "its compose file has no healthcheck"
        )
        return {"health": "tcp" if item.get("port") and not check.get("disable") else {"none": why}}
    for key in TIMINGS:
        if check.get(key) not in (None, ""):
            found[f"health_{key}"] = int(check[key]) if key == "retries" else str(check[key])
    text = " ".join(test[1:])
    url = LOCAL_URL.search(text)
    plain = url and re.search(r"\b(curl|wget|urlopen|requests\.get)\b", text) and not re.search(r"grep|\$|&&", text)
    if plain and url:
        port, path = int(url[2] or 80), url[3] or "/"
        found["health"] = path if port == item.get("port") else {"path": path, "port": port}
        item.setdefault("port", port)
    else:
        found["health"] = test[1:] if test[0] == "CMD" else text
        if isinstance(found["health"], str) and (not re.search(r"\s", text) or text.startswith("/")):
            found["health"] = ["CMD-SHELL", text]
    return found
