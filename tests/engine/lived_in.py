"""A VPS that others live on, as the preflight is told of it."""

from __future__ import annotations

import copy
from typing import Any

from ansible_collections.landfall.vps.plugins.plugin_utils.wanted import Port, Wanted

ALL = "0.0.0.0"  # noqa: S104 - compared, not bound
SETTINGS = {"stack": "landfall", "network": "landfall", "subnet": "172.30.0.0/24", "profile": "standard"}
STATE: dict[str, Any] = {
    "root": "/opt/landfall",
    "been_here": True,
    "homes": [],
    "host": {
        "architecture": "x86_64",
        "cpus": 2,
        "memory_bytes": 2_000_000_000,
        "disks": [
            {"path": "/var/lib/docker", "holds": ["data", "images", "files"], "free": 10**11, "read_only": False}
        ],
        "sysctls": {"vm.overcommit_memory": "1"},
    },
    "containers": {},
    "images": {},
    "networks": {},
    "records": {},
    "engine": {"installed": True, "running": True, "setup": {"architecture": "x86_64", "cpus": 2, "daemon": {}}},
    "network": {"routes": [], "listeners": [], "ufw": None},
}


def state(**parts: Any) -> dict[str, Any]:
    """STATE with parts of it replaced: ``a__b=value`` is state["a"]["b"]."""
    result = copy.deepcopy(STATE)
    for name, value in parts.items():
        *place, last = name.split("__")
        target = result
        for step in place:
            target = target[step]
        target[last] = value
    return result


def listener(port: int, address: str = ALL, protocol: str = "tcp", **more: Any) -> dict[str, Any]:
    """A process that listens."""
    base = {"protocol": protocol, "address": address, "port": port, "pid": 7, "program": "nginx", "container": ""}
    return {**base, **more}


def container(name: str, folder: str, *ports: str, **more: Any) -> dict[str, Any]:
    """A container as the engine lists it."""
    return {
        "id": name * 4,
        "working_dir": folder,
        "ports": list(ports),
        "project": name,
        "state": "running",
        "stack": "",
        **more,
    }


WEB = Wanted(ports=(Port("caddy_publish[0]", "", 80, "tcp"), Port("caddy_publish[1]", "", 443, "udp")))
OWN = Wanted(ports=(Port("prometheus_publish[0]", "127.0.0.1", 9090, "tcp"),))
NODE = Wanted(ports=(Port("node_exporter_listens[0]", "gateway", 9100, "tcp"),))
