"""What a VPS is apart from Landfall: routes, firewall, kernel settings, how its engine is set up. Changes nothing."""

from __future__ import annotations

import glob
import ipaddress
import json
import os
import re
from typing import Any, Dict, List, Mapping, Optional
from urllib.parse import urlsplit

from ansible_collections.landfall.vps.plugins.module_utils.docker_api import Docker

DAEMON = "/etc/docker/daemon.json"
SYSCTLS = ("vm.overcommit_memory", "vm.max_map_count", "net.core.somaxconn", "net.core.rmem_max", "net.core.wmem_max")
"""Kernel settings that a role may ask for (``<role>_host_sysctls``)."""
DAEMON_KEYS = ("data-root", "userns-remap", "live-restore", "iptables", "ip", "selinux-enabled", "mtu")
WIDEST = 8  # prefix length: wider routes are default routes in parts, as VPNs set them
PREFIX = re.compile(r"^/(\d+) \S+ UNICAST$")


def text_of(path: str) -> str:
    """Content of a text file, empty when it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as handle:
            return handle.read()
    except OSError:
        return ""


# -- network --------------------------------------------------------------------------------------------------------


def routes(route: str, fib_trie: str = "") -> List[Dict[str, str]]:
    """IPv4 ranges that this host reaches, ``{range, interface}``, from the texts of /proc/net/route and fib_trie.

    The first knows interfaces and the main table only; elsewhere the interface is empty. No default routes.
    """
    found: Dict[str, str] = {}
    for line in route.splitlines()[1:]:
        fields = line.split()
        if len(fields) < 8:
            continue
        try:
            address, mask = (str(ipaddress.IPv4Address(bytes.fromhex(word)[::-1])) for word in (fields[1], fields[7]))
            network = ipaddress.ip_network("{0}/{1}".format(address, mask), strict=False)
        except ValueError:
            continue
        found.setdefault(str(network), fields[0])
    address = ""
    for line in fib_trie.splitlines():
        words = line.strip()
        if words.startswith("|-- "):
            address = words[4:]
        matched = PREFIX.match(words)
        if matched and address:
            found.setdefault("{0}/{1}".format(address, matched.group(1)), "")
    return [
        {"range": network, "interface": interface}
        for network, interface in found.items()
        if WIDEST <= int(network.rpartition("/")[2]) < 32
    ]


def public_ipv6(if_inet6: str) -> List[str]:
    """Addresses by IPv6 under which the world may reach this host, from the text of /proc/net/if_inet6."""
    found = []
    for line in if_inet6.splitlines():
        fields = line.split()
        if len(fields) == 6 and re.fullmatch("[0-9a-f]{32}", fields[0]):
            address = ipaddress.IPv6Address(bytes.fromhex(fields[0]))
            # 2000::/3 is all that the internet routes
            if address in ipaddress.ip_network("2000::/3"):
                found.append("{0} on {1}".format(address, fields[5]))
    return found


def ufw(config: str, defaults: str, rules: str) -> Optional[Dict[str, Any]]:
    """The firewall ufw from the texts of ufw.conf, default/ufw and user.rules; None where it is not switched on.

    ``{input, rules}``: the policy for what comes in, in lower case, and the rules as
    ``{action, protocol, port, to, from, interface}``.
    """
    if not re.search(r"(?im)^\s*ENABLED\s*=\s*[\"']?yes", config):
        return None
    policy = re.search(r"(?im)^\s*DEFAULT_INPUT_POLICY\s*=\s*[\"']?(\w+)", defaults)
    found = []
    for line in rules.splitlines():
        # ### tuple ### action protocol port to sport from direction[_interface][!out…] [comment=…]
        if not line.startswith("### tuple ###"):
            continue
        words = line.split()[3:]
        # Rules for a named application carry two words more before the direction
        place = next((index for index, word in enumerate(words) if re.match(r"^in(_|$)", word)), 0)
        if place < 6:
            continue
        found.append(
            {
                "action": words[0],
                "protocol": words[1],
                "port": words[2],
                "to": words[3],
                "from": words[5],
                "interface": words[place][3:],
            }
        )
    return {"input": (policy.group(1) if policy else "drop").lower(), "rules": found}


def sysctls(proc: str = "/proc/sys") -> Dict[str, str]:
    """The values of SYSCTLS that this kernel has."""
    found = {name: text_of(os.path.join(proc, *name.split("."))).strip() for name in SYSCTLS}
    return {name: value for name, value in found.items() if value}


def network_facts() -> Dict[str, Any]:
    """Routes and firewall of this host."""
    return {
        "routes": routes(text_of("/proc/net/route"), text_of("/proc/net/fib_trie")),
        "ipv6": public_ipv6(text_of("/proc/net/if_inet6")),
        "ufw": ufw(text_of("/etc/ufw/ufw.conf"), text_of("/etc/default/ufw"), text_of("/etc/ufw/user.rules")),
    }


# -- engine ---------------------------------------------------------------------------------------------------------


def without_user(url: str) -> str:
    """A proxy's URL without user and password."""
    try:
        parts = urlsplit(url if "//" in url else "//" + url)
        host = parts.hostname or ""
        port = ":{0}".format(parts.port) if parts.port else ""
    except ValueError:
        return "(unreadable)"
    return "{0}{1}{2}".format(parts.scheme + "://" if parts.scheme else "", host, port)


def daemon_settings(text: str) -> Dict[str, Any]:
    """Those of DAEMON_KEYS that a daemon.json sets; ``error`` when it is no JSON object. Empty text sets nothing."""
    if not text.strip():
        return {}
    try:
        value = json.loads(text)
    except ValueError as error:
        return {"error": str(error)}
    if not isinstance(value, dict):
        return {"error": "it holds no object"}
    return {key: value[key] for key in DAEMON_KEYS if key in value}


def client_settings(text: str) -> Dict[str, Any]:
    """What a client's config.json does to its commands: ``{proxies: {name: URL}, context}``; never a password."""
    try:
        value = json.loads(text)
    except ValueError:
        return {"proxies": {}, "context": ""}
    if not isinstance(value, dict):
        return {"proxies": {}, "context": ""}
    proxies = value.get("proxies")
    default = proxies.get("default") if isinstance(proxies, dict) else None
    named = default if isinstance(default, dict) else {}
    return {
        "proxies": {
            key: without_user(str(url)) for key, url in sorted(named.items()) if url and key.lower().endswith("proxy")
        },
        "context": str(value.get("currentContext") or ""),
    }


def engine_setup(info: Mapping[str, Any], version: Mapping[str, Any]) -> Dict[str, Any]:
    """What matters of the engine's answers to /info and /version."""
    status = [pair for pair in info.get("DriverStatus") or [] if isinstance(pair, (list, tuple)) and len(pair) == 2]
    options = [str(option).split(",") for option in info.get("SecurityOptions") or []]
    proxies = {name: str(info.get(name) or "") for name in ("HttpProxy", "HttpsProxy")}
    components = [str(part.get("Name") or "") for part in version.get("Components") or [] if isinstance(part, dict)]
    return {
        "data_root": str(info.get("DockerRootDir") or ""),
        "image_root": "/var/lib/containerd"
        if ["driver-type", "io.containerd.snapshotter.v1"] in map(list, status)
        else "",
        "architecture": str(info.get("Architecture") or ""),
        "cpus": int(info.get("NCPU") or 0),
        "memory_limits": bool(info.get("MemoryLimit", True)),
        "cpu_limits": bool(info.get("CpuCfsQuota", True)) and bool(info.get("CpuCfsPeriod", True)),
        "forwarding": bool(info.get("IPv4Forwarding", True)),
        "security": sorted(word[5:] for option in options for word in option if word.startswith("name=")),
        "swarm": str((info.get("Swarm") or {}).get("LocalNodeState") or "inactive"),
        "log_driver": str(info.get("LoggingDriver") or ""),
        "proxies": {name: without_user(url) for name, url in proxies.items() if url},
        "podman": any("podman" in name.lower() for name in components),
    }


def engine_surroundings(docker: Docker, version: Mapping[str, Any]) -> Dict[str, Any]:
    """How the engine of this host is set up, as far as it answers, and what its files say. Raises DockerError."""
    setup = engine_setup(docker.info(), version) if version else {}
    home = os.environ.get("DOCKER_CONFIG") or os.path.join(os.path.expanduser("~"), ".docker")
    return {
        **setup,
        "daemon": daemon_settings(text_of(DAEMON)),
        "client": client_settings(text_of(os.path.join(home, "config.json"))),
        "snap": os.path.lexists("/snap/bin/docker"),
        "rootless": sorted(glob.glob("/run/user/*/docker.sock")),
    }
