"""Asks from inside the containers' network: what the VPS reaches at its own address a firewall may keep from them."""

from __future__ import annotations

import ctypes
import json
import os
import socket
import threading
import urllib.parse
from typing import List, Optional

from ansible_collections.landfall.vps.plugins.module_utils.docker_api import Docker, bridge_name
from ansible_collections.landfall.vps.plugins.module_utils.sockets import read_text

CLONE_NEWNET = 0x40000000
PATIENCE = 3.0  # seconds
UFW = "/etc/ufw/ufw.conf"
FIREWALLD = "/run/firewalld"


def process_in(docker: Docker, network: str) -> int:
    """The process id of a running container in ``network``; 0 if there is none."""
    query = urllib.parse.urlencode({"filters": json.dumps({"network": [network], "status": ["running"]})})
    for item in docker.json("GET", "/containers/json?" + query):
        described = docker.inspect(item["Id"]) or {}
        pid = int((described.get("State") or {}).get("Pid") or 0)
        if pid:
            return pid
    return 0


def refusal(pid: int, host: str, port: int) -> str:
    """Why a connection from the network of process ``pid`` does not come about; empty if it does, or cannot be tried.

    Needs root. Only the thread that asks enters the network, and it ends with its question.
    """
    said: List[str] = []

    def ask() -> None:
        try:
            namespace = os.open("/proc/{0}/ns/net".format(pid), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return
        try:
            if ctypes.CDLL(None, use_errno=True).setns(namespace, CLONE_NEWNET) != 0:
                return
        finally:
            os.close(namespace)
        try:
            socket.create_connection((host, port), timeout=PATIENCE).close()
        except OSError as error:
            said.append(str(error))

    asker = threading.Thread(target=ask, daemon=True)
    asker.start()
    asker.join(PATIENCE + 5)
    return said[0] if said else ""


def rule(bridge: str, subnet: str, host: str, port: int) -> str:
    """The command that lets containers in, for the firewall that this VPS has."""
    if "ENABLED=yes" in read_text(UFW).replace('"', ""):
        return "ufw allow in on {0} from {1} to {2} port {3} proto tcp".format(bridge, subnet, host, port)
    if os.path.isdir(FIREWALLD):
        form = "firewall-cmd --permanent --zone=docker --add-port={0}/tcp && firewall-cmd --reload"
        return form.format(port)
    return "iptables -I INPUT -i {0} -s {1} -d {2} -p tcp --dport {3} -j ACCEPT".format(bridge, subnet, host, port)


def kept_out(docker: Docker, network: str, host: str, port: int) -> Optional[str]:
    """What keeps the containers of ``network`` from a port of the VPS, and the rule that is missing; None if nothing.

    Without a running container in the network there is nobody to ask. Raises DockerError.
    """
    pid = process_in(docker, network)
    said = refusal(pid, host, port) if pid else ""
    if not said:
        return None
    found = docker.networks().get(network) or {}
    missing = rule(found.get("bridge") or bridge_name(network), found.get("subnet") or "any", host, port)
    form = (
        "{0}:{1} answers the VPS itself, but not containers ({2}), so that it cannot be scraped: a firewall drops what "
    )
    form += "comes from network {3}; let it in: {4}"
    return form.format(host, port, said, network, missing)
