"""What gives a container the VPS it runs on: refused unless the inventory says that it is meant. Pure functions."""

from __future__ import annotations

import difflib
import posixpath
from typing import Any, Iterator, Mapping, Sequence

from ansible_collections.landfall.vps.plugins.plugin_utils.service_lines import ServiceError

DANGERS = {
    "privileged": "privileged: the container is the VPS's administrator",
    "host_network": "network_mode host: the container sees and opens all ports of the VPS",
    "host_pid": "pid host: the container sees all processes of the VPS",
    "docker_socket": "the engine's socket: whoever has it is the VPS's administrator",
    "host_files": "files and disks of the VPS itself: whoever has them may become its administrator",
    "host_rights": "rights over the VPS itself: whoever has them may become its administrator",
}
"""What ``app_allow`` may name, and why it has to."""
SOCKETS = ("/run/docker.sock", "/run/containerd/containerd.sock")
WHOLE = ("/", "/dev", "/etc", "/home", "/proc", "/root", "/sys", "/var", "/var/lib")
"""Folders that are nobody's to see as a whole."""
SYSTEM = ("/bin", "/boot", "/dev", "/etc", "/lib", "/lib64", "/proc", "/root", "/sbin", "/sys", "/usr",
          "/var/lib/containerd", "/var/lib/docker", "/var/spool/cron")  # fmt: skip
"""Folders below which nobody may write."""
HARMLESS = ("/dev/shm",)  # noqa: S108 - of the VPS, and only named here
RIGHTS = ("ALL", "BPF", "DAC_READ_SEARCH", "MAC_ADMIN", "MAC_OVERRIDE", "SYS_ADMIN", "SYS_BOOT", "SYS_MODULE",
          "SYS_RAWIO", "SYS_TIME")  # fmt: skip
CAPABILITIES = frozenset(
    (*RIGHTS, "AUDIT_CONTROL", "AUDIT_READ", "AUDIT_WRITE", "BLOCK_SUSPEND", "CHECKPOINT_RESTORE", "CHOWN",
     "DAC_OVERRIDE", "FOWNER", "FSETID", "IPC_LOCK", "IPC_OWNER", "KILL", "LEASE", "LINUX_IMMUTABLE", "MKNOD",
     "NET_ADMIN", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_RAW", "PERFMON", "SETFCAP", "SETGID", "SETPCAP", "SETUID",
     "SYSLOG", "SYS_CHROOT", "SYS_NICE", "SYS_PACCT", "SYS_PTRACE", "SYS_RESOURCE", "SYS_TTY_CONFIG", "WAKE_ALARM")
)  # fmt: skip


def refuse(item: Mapping[str, Any], told: str, settings: Mapping[str, Any]) -> None:
    """Raise ServiceError for what ``item`` asks for and ``settings["allow"]`` does not name.

    ``settings["allow_variable"]`` is the variable that would name it.
    """
    for danger, what in found(item, told):
        if danger not in (settings.get("allow") or []):
            raise ServiceError(
                "{0}: {1}{2}; if that is meant, add {3} to {4}".format(
                    told, what and what + " gives it ", DANGERS[danger], danger, settings.get("allow_variable")
                )
            )


def found(item: Mapping[str, Any], told: str) -> Iterator[Any]:
    """``(key of DANGERS, what asks for it)`` of each danger. Raises ServiceError for a capability that nobody has."""
    compose = item.get("compose") or {}
    if compose.get("privileged"):
        yield "privileged", ""
    if compose.get("network_mode") == "host":
        yield "host_network", ""
    if compose.get("pid") == "host":
        yield "host_pid", ""
    for key in ("ipc", "cgroup"):
        if compose.get(key) == "host":
            yield "host_rights", "{0} host".format(key)
    for right in [*(item.get("cap_add") or []), *(compose.get("cap_add") or [])]:
        if capability(str(right), told) in RIGHTS:
            yield "host_rights", "the capability {0}".format(right)
    for rule in compose.get("device_cgroup_rules") or []:
        yield "host_rights", "the rule for devices {0}".format(rule)
    for device in compose.get("devices") or []:
        source = str(device.get("source", "") if isinstance(device, Mapping) else device).split(":")[0]
        if source.startswith(("/dev/sd", "/dev/vd", "/dev/xvd", "/dev/nvme", "/dev/dm-", "/dev/mapper", "/dev/mem",
                              "/dev/kmem", "/dev/port", "/dev/loop")):  # fmt: skip
            yield "host_files", source
    for volume in [*(item.get("volumes") or []), *(compose.get("volumes") or [])]:
        yield from _mounted(volume)


def capability(name: str, told: str) -> str:
    """A capability by its plain name. Raises ServiceError for one that the kernel does not know."""
    plain = name.upper()[4:] if name.upper().startswith("CAP_") else name.upper()
    if plain not in CAPABILITIES:
        close = difflib.get_close_matches(plain, sorted(CAPABILITIES), n=1)
        raise ServiceError("{0}: cap_add: there is no capability {1}{2}".format(
            told, name, "; did you mean {0}?".format(close[0]) if close else ""))  # fmt: skip
    return plain


def _mounted(volume: Any) -> Iterator[Any]:
    if isinstance(volume, Mapping):
        source, readable = str(volume.get("source", "")), bool(volume.get("read_only"))
    else:
        parts = str(volume).split(":")
        source, readable = parts[0], "ro" in ",".join(parts[2:]).split(",")
    if not source.startswith("/"):
        return
    # A path may be written in many ways, and /var/run is /run
    path = posixpath.normpath("/" + source.lstrip("/"))
    path = "/run" + path[len("/var/run") :] if path == "/var/run" or path.startswith("/var/run/") else path
    if path != "/" and any(_inside(socket, path) for socket in SOCKETS):
        yield "docker_socket", "" if path in SOCKETS else source
    elif path in WHOLE or (not readable and _below(path, SYSTEM) and path not in HARMLESS):
        yield "host_files", source


def _inside(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _below(path: str, folders: Sequence[str]) -> bool:
    return any(_inside(path, folder) for folder in folders)
