"""A small client for the Docker Engine API over its unix socket: standard library only.

Protocol: https://docs.docker.com/reference/api/engine/ (version 1.44, Engine 25). Starting containers is left to
Compose; this reads, waits and runs commands inside containers.
"""

from __future__ import annotations

import hashlib
import http.client
import ipaddress
import json
import os
import signal as signals
import socket
import struct
import time
import urllib.parse
from typing import Any, Dict, List, Optional, Tuple

SOCKET = "/run/docker.sock"
API = "/v1.44"
STACK_LABEL = "org.landfall.stack"
COMPONENT_LABEL = "org.landfall.component"
PROJECT_LABEL = "com.docker.compose.project"
BRIDGE_OPTION = "com.docker.network.bridge.name"
MTU_OPTION = "com.docker.network.driver.mtu"


class DockerError(Exception):
    """The engine does not answer, or answered with an error."""


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Docker:
    """Calls to one engine. Every method raises DockerError when the engine refuses or cannot be reached."""

    def __init__(self, path: str = SOCKET, timeout: float = 30.0) -> None:
        self.path = path
        self.timeout = timeout

    def call(
        self,
        method: str,
        path: str,
        body: Optional[Any] = None,
        versioned: bool = True,
        more_headers: Optional[Dict[str, str]] = None,
    ) -> Tuple[int, bytes]:
        """Return (status, body) of one request; ``body`` is sent as JSON. Raises DockerError if none comes back."""
        connection = _Connection(self.path, self.timeout)
        try:
            data = None if body is None else json.dumps(body).encode()
            headers = {**({"Content-Type": "application/json"} if data is not None else {}), **(more_headers or {})}
            connection.request(method, (API if versioned else "") + path, body=data, headers=headers)
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            raise DockerError("the Docker Engine at {0} does not answer: {1}".format(self.path, error)) from error
        finally:
            connection.close()

    def json(self, method: str, path: str, body: Optional[Any] = None, versioned: bool = True) -> Any:
        """Return the decoded answer. Raises DockerError on any status of 400 and above."""
        status, data = self.call(method, path, body, versioned)
        if status >= 400:
            raise DockerError("{0} {1}: {2} {3}".format(method, path, status, data.decode("utf-8", "replace").strip()))
        return json.loads(data) if data.strip() else None

    def version(self) -> Dict[str, Any]:
        """The engine's version answer (``Version``, ``ApiVersion``); asks without a version, so old engines answer."""
        result: Dict[str, Any] = self.json("GET", "/version", versioned=False)
        return result

    def info(self) -> Dict[str, Any]:
        """The engine's description of itself and of the host (``DockerRootDir``, ``SecurityOptions``, ``Swarm``, …)."""
        result: Dict[str, Any] = self.json("GET", "/info")
        return result

    def architecture(self, image: str) -> str:
        """Architecture of an image on this host in Go's words (``amd64``); empty when it is not there."""
        status, data = self.call("GET", "/images/{0}/json".format(urllib.parse.quote(image, safe=":/@")))
        return "" if status >= 400 else str(json.loads(data).get("Architecture") or "")

    def containers(self) -> Dict[str, Dict[str, Any]]:
        """All containers, running or not, by name."""
        result = {}
        for item in self.json("GET", "/containers/json?all=1"):
            labels = item.get("Labels") or {}
            status = item.get("Status") or ""
            health = [word for word in ("unhealthy", "starting", "healthy") if word in status]
            for name in item.get("Names") or []:
                result[name.lstrip("/")] = {
                    "id": item["Id"],
                    "image": item.get("Image"),
                    "image_id": item.get("ImageID"),
                    "state": item.get("State"),
                    "done": status.startswith("Exited (0)"),
                    "health": health[0] if health else "none",
                    "ports": _published(item.get("Ports") or []),
                    "config_hash": labels.get("com.docker.compose.config-hash"),
                    "project": labels.get(PROJECT_LABEL),
                    "working_dir": labels.get("com.docker.compose.project.working_dir") or "",
                    "stack": labels.get(STACK_LABEL) or "",
                    "oneoff": labels.get("com.docker.compose.oneoff") == "True",
                    "networks": sorted((item.get("NetworkSettings") or {}).get("Networks") or {}),
                    "volumes": sorted(m["Name"] for m in item.get("Mounts") or [] if m.get("Type") == "volume"),
                }
        return result

    def volumes(self) -> Dict[str, Dict[str, Any]]:
        """All volumes by name: ``{stack, component, project, key}``, empty strings where a label is missing."""
        result = {}
        for item in (self.json("GET", "/volumes") or {}).get("Volumes") or []:
            labels = item.get("Labels") or {}
            result[item["Name"]] = {
                "stack": labels.get(STACK_LABEL, ""),
                "component": labels.get(COMPONENT_LABEL, ""),
                "project": labels.get(PROJECT_LABEL, ""),
                "key": labels.get("com.docker.compose.volume", ""),
            }
        return result

    def create_volume(self, name: str, labels: Dict[str, str]) -> None:
        """Make a local volume. One of that name that is there already is left as it is."""
        self.json("POST", "/volumes/create", {"Name": name, "Labels": labels})

    def remove_volume(self, name: str) -> str:
        """Delete a volume and what is in it; returns why the engine did not, or nothing."""
        status, data = self.call("DELETE", "/volumes/{0}".format(urllib.parse.quote(name)))
        return "" if status < 400 or status == 404 else _message(data)

    def remove_container(self, name: str) -> None:
        """Stop a container, within its own grace period, and delete it; no error when there is none."""
        place = "/containers/{0}".format(urllib.parse.quote(name))
        described = self.inspect(name)
        if described is None:
            return
        grace = (described.get("Config") or {}).get("StopTimeout") or 10
        slow = Docker(self.path, self.timeout + float(grace))
        for method, path in (("POST", place + "/stop"), ("DELETE", place + "?force=1")):
            status, data = slow.call(method, path)
            if status >= 400 and status != 404:
                raise DockerError("{0} {1}: {2} {3}".format(method, path, status, _message(data)))

    def stop(self, name: str, grace: int) -> None:
        """Stop a container, with ``grace`` seconds to end by itself; it stays, and no error when there is none."""
        slow = Docker(self.path, self.timeout + grace)
        status, data = slow.call("POST", "/containers/{0}/stop?t={1}".format(urllib.parse.quote(name), grace))
        if status >= 400 and status != 404:
            raise DockerError("stop {0}: {1} {2}".format(name, status, _message(data)))

    def images(self) -> Dict[str, Dict[str, Any]]:
        """All images that have a name, by tag and by ``name@digest``: ``{id, labels, size}``, the size in bytes."""
        result = {}
        for item in self.json("GET", "/images/json"):
            for tag in [*(item.get("RepoTags") or []), *(item.get("RepoDigests") or [])]:
                result[tag] = {"id": item["Id"], "labels": item.get("Labels") or {}, "size": item.get("Size") or 0}
        return result

    def networks(self) -> Dict[str, Dict[str, Any]]:
        """All networks by name: ``{subnet, gateway, mtu, bridge, stack, project}``, empty where they have none."""
        result = {}
        for item in self.json("GET", "/networks"):
            pools = (item.get("IPAM") or {}).get("Config") or [{}]
            subnet, gateway = pools[0].get("Subnet", ""), pools[0].get("Gateway", "").split("/")[0]
            if subnet and not gateway:
                # Older engines list none and take the first address
                gateway = str(next(ipaddress.ip_network(subnet).hosts()))
            labels, options = item.get("Labels") or {}, item.get("Options") or {}
            result[item["Name"]] = {
                "subnet": subnet,
                "gateway": gateway,
                "mtu": options.get(MTU_OPTION, ""),
                "bridge": options.get(BRIDGE_OPTION, ""),
                "stack": labels.get(STACK_LABEL, ""),
                "project": labels.get(PROJECT_LABEL, ""),
            }
        return result

    def create_network(
        self, name: str, subnet: str, gateway: str = "", mtu: int = 0, labels: Optional[Dict[str, str]] = None
    ) -> None:
        """Create a user-defined bridge; what is empty or 0 is left to the engine."""
        options = {BRIDGE_OPTION: bridge_name(name)}
        if mtu:
            options[MTU_OPTION] = str(mtu)
        body: Dict[str, Any] = {"Name": name, "Driver": "bridge", "Options": options, "Labels": labels or {}}
        if subnet:
            pool = {"Subnet": subnet, **({"Gateway": gateway} if gateway else {})}
            body["IPAM"] = {"Driver": "default", "Config": [pool]}
        self.json("POST", "/networks/create", body)

    def inspect(self, name: str) -> Optional[Dict[str, Any]]:
        """A container's full description, or None when there is none of that name."""
        status, data = self.call("GET", "/containers/{0}/json".format(urllib.parse.quote(name)))
        if status == 404:
            return None
        if status >= 400:
            raise DockerError("inspect {0}: {1}".format(name, data.decode("utf-8", "replace").strip()))
        result: Dict[str, Any] = json.loads(data)
        return result

    def kill(self, name: str, signal: str) -> None:
        """Send a signal, such as SIGHUP, to a container's first process. Raises DockerError where it does not run.

        The engine itself takes every signal that it passes on for a stop by hand: with ``restart: unless-stopped`` it
        would not start the container again after a reboot (moby's killWithSignal sets HasBeenManuallyStopped).
        """
        process = int(((self.inspect(name) or {}).get("State") or {}).get("Pid") or 0)
        if not process:
            raise DockerError("{0} does not run, so that nobody takes in the signal {1}".format(name, signal))
        os.kill(process, getattr(signals, signal))

    def execute(self, name: str, argv: List[str], timeout: float = 30.0) -> Tuple[int, str]:
        """Run a command inside a container; return (exit code, both outputs). Raises DockerError on time-out."""
        body = {"AttachStdout": True, "AttachStderr": True, "Cmd": argv}
        identifier = self.json("POST", "/containers/{0}/exec".format(urllib.parse.quote(name)), body)["Id"]
        slow = Docker(self.path, timeout)
        status, data = slow.call("POST", "/exec/{0}/start".format(identifier), {"Detach": False, "Tty": False})
        if status >= 400:
            raise DockerError("exec in {0}: {1}".format(name, data.decode("utf-8", "replace").strip()))
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            state = self.json("GET", "/exec/{0}/json".format(identifier))
            if not state.get("Running"):
                return int(state.get("ExitCode") or 0), demultiplex(data)
            time.sleep(0.05)
        raise DockerError("exec in {0}: {1} did not end within {2:.0f} s".format(name, argv[0], timeout))

    def logs(self, name: str, lines: int = 50) -> str:
        """The last ``lines`` log lines of a container, both streams; empty when it does not exist."""
        path = "/containers/{0}/logs?stdout=1&stderr=1&tail={1}".format(urllib.parse.quote(name), lines)
        status, data = self.call("GET", path)
        return "" if status >= 400 else demultiplex(data)


def bridge_name(network: str) -> str:
    """The name of the device behind a network: Linux takes 15 characters, and two long names must not meet."""
    if len(network) <= 15:
        return network
    return "br-" + hashlib.sha256(network.encode()).hexdigest()[:12]


def _message(data: bytes) -> str:
    """What the engine says in an error, without the JSON around it."""
    try:
        return str(json.loads(data)["message"])
    except (ValueError, KeyError, TypeError):
        return data.decode("utf-8", "replace").strip()


def _published(ports: List[Dict[str, Any]]) -> List[str]:
    """``address:port/protocol`` of each port that a container publishes."""
    shown = ((port.get("IP") or "0.0.0.0", port.get("PublicPort"), port.get("Type") or "tcp") for port in ports)  # noqa: S104
    return sorted({"{0}:{1}/{2}".format(*port) for port in shown if port[1]})


def demultiplex(data: bytes) -> str:
    """Text of the engine's multiplexed stream (8-byte header: stream, three zero bytes, big-endian length)."""
    parts = []
    position = 0
    while position + 8 <= len(data) and data[position] in (0, 1, 2) and data[position + 1 : position + 4] == b"\0\0\0":
        (length,) = struct.unpack(">I", data[position + 4 : position + 8])
        parts.append(data[position + 8 : position + 8 + length])
        position += 8 + length
    raw = b"".join(parts) if position else data
    return raw.decode("utf-8", "replace")
