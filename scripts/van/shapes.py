"""One service of a Compose file in the long form of every key, as ``docker compose config`` prints it."""

from __future__ import annotations

import math
import os
import re
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Optional

from scripts.van.interpolate import ComposeError, Missing, read_file
from scripts.van.nodes import Override, Reset, text_of

PORT = re.compile(
    r"(?:(?P<ip>\[[0-9a-fA-F:]+\]|[0-9]+(?:\.[0-9]+){3}|):)?(?:(?P<published>[0-9-]*):)?(?P<target>[0-9-]+)(?:/(?P<protocol>tcp|udp))?"
)
LISTS = ("cap_add", "cap_drop", "dns", "dns_search", "devices", "expose", "group_add", "security_opt", "tmpfs",
         "profiles", "external_links", "links")  # fmt: skip
MAPS = ("labels", "annotations", "sysctls")


def long(service: Mapping[str, Any], folder: Path, outside: Mapping[str, str], missing: Optional[Missing]) -> Any:
    """The service with every key in its long form; paths are whole.

    :param folder: to which relative paths belong
    :param outside: variables that ``NAME`` without a value takes
    :raises ComposeError: for a form that Compose does not have
    """
    found: dict[str, Any] = {}
    for key, given in service.items():
        shape = SHAPES.get(key)
        if isinstance(given, Override):
            inner = given["value"]
            found[key] = Override(value=inner if shape is None else shape(inner, folder))
        elif given is None and key not in ("command", "entrypoint"):
            continue
        else:
            found[key] = given if shape is None or isinstance(given, Reset) else shape(given, folder)
    if "env_file" in found and not isinstance(found["env_file"], Reset):
        files = _env_files(found.pop("env_file"), folder)
        found["_env_files"] = [read_file(path, outside, missing) for path, needed in files if needed or path.exists()]
    arguments = found["build"].get("args") if isinstance(found.get("build"), dict) else None
    if arguments:
        found["build"]["args"] = {name: outside.get(name) if one is None else one for name, one in arguments.items()}
    if isinstance(found.get("environment"), dict) and not isinstance(found["environment"], Override):
        found["environment"] = {
            name: outside.get(name) if given is None else given for name, given in found["environment"].items()
        }
    return found


def _env_files(given: Any, folder: Path) -> list[tuple[Path, bool]]:
    files = given["value"] if isinstance(given, Override) else given
    return [
        (folder / Path(one["path"]).expanduser(), one.get("required") is not False)
        if isinstance(one, Mapping)
        else (folder / Path(str(one)).expanduser(), True)
        for one in (files if isinstance(files, list) else [files])
    ]


def _words(given: Any, _folder: Path) -> Optional[list[str]]:
    if given is None:
        return None
    if isinstance(given, list):
        return [text_of(word) for word in given]
    try:
        return shlex.split(text_of(given))
    except ValueError as error:
        raise ComposeError(f"'{given}': {str(error).lower()}") from error


def _map(given: Any, _folder: Path) -> dict[str, Any]:
    if isinstance(given, Mapping):
        return {str(key): None if one is None else text_of(one) for key, one in given.items()}
    found: dict[str, Any] = {}
    for one in given:
        name, equals, rest = text_of(one).partition("=")
        found[name] = rest if equals else None
    return found


def _labels(given: Any, folder: Path) -> dict[str, Any]:
    return {key: one or "" for key, one in _map(given, folder).items()}


def _list(given: Any, _folder: Path) -> list[str]:
    return [text_of(one) for one in (given if isinstance(given, list) else [given])]


def _hosts(given: Any, _folder: Path) -> list[str]:
    if isinstance(given, Mapping):
        pairs = [(name, ip) for name, one in given.items() for ip in (one if isinstance(one, list) else [one])]
        return [f"{name}:{ip}" for name, ip in pairs]
    return [re.sub(r"^([^:=]+)=", r"\1:", text_of(one)) for one in given]


def _build(given: Any, folder: Path) -> dict[str, Any]:
    build = {"context": given} if isinstance(given, str) else dict(given)
    context = text_of(build.get("context") or ".")
    if "://" not in context and not context.startswith("git@"):
        build["context"] = os.path.normpath(folder / Path(context).expanduser())
    if build.get("args"):
        build["args"] = _map(build["args"], folder)
    return build


def _depends(given: Any, _folder: Path) -> dict[str, Any]:
    if isinstance(given, Mapping):
        return {name: {"condition": "service_started", **(one or {})} for name, one in given.items()}
    return {name: {"condition": "service_started"} for name in given}


def _health(given: Any, _folder: Path) -> dict[str, Any]:
    found = dict(given)
    test = found.get("test")
    if isinstance(test, str):
        found["test"] = ["CMD-SHELL", test]
    elif isinstance(test, list):
        found["test"] = [text_of(word) for word in test]
    return found


def _range(text: str) -> list[str]:
    first, _dash, last = text.partition("-")
    return [str(port) for port in range(int(first), int(last or first) + 1)] if first else [""]


def _ports(given: Any, _folder: Path) -> list[dict[str, str]]:
    found = []
    for one in given:
        if isinstance(one, Mapping):
            found.append(
                {key: text_of(one[key]) for key in ("host_ip", "published", "target", "protocol") if one.get(key)}
            )
            continue
        match = PORT.fullmatch(text_of(one).strip())
        if not match:
            raise ComposeError(f"ports: '{one}' is no port of Compose")
        targets = _range(match["target"])
        published = _range(match["published"] or "")
        if len(published) != len(targets):
            published = [published[0]] * len(targets)
        for target, outer in zip(targets, published):
            port = {"target": target, "protocol": match["protocol"] or "tcp"}
            port.update({"published": outer} if outer else {})
            port.update({"host_ip": match["ip"].strip("[]")} if match["ip"] else {})
            found.append(port)
    return found


def _mounts(given: Any, folder: Path) -> list[dict[str, Any]]:
    found = []
    for one in given:
        mount = dict(one) if isinstance(one, Mapping) else _short_mount(text_of(one))
        if mount.get("type") == "bind" and mount.get("source"):
            mount["source"] = os.path.normpath(folder / Path(text_of(mount["source"])).expanduser())
        found.append(mount)
    return found


def _short_mount(text: str) -> dict[str, Any]:
    parts = text.split(":")
    if len(parts) == 1:
        return {"type": "volume", "target": parts[0]}
    kind = "bind" if parts[0].startswith((".", "/", "~")) else "volume"
    mount: dict[str, Any] = {"type": kind, "source": parts[0], "target": parts[1].rstrip("/") or "/"}
    if len(parts) > 2 and "ro" in parts[2].split(","):  # noqa: PLR2004 - source, target, mode
        mount["read_only"] = True
    return mount


def _sources(given: Any, _folder: Path) -> list[dict[str, Any]]:
    return [dict(one) if isinstance(one, Mapping) else {"source": text_of(one)} for one in given]


SHAPES: dict[str, Callable[[Any, Path], Any]] = {
    "build": _build, "command": _words, "entrypoint": _words, "environment": _map, "depends_on": _depends,
    "extra_hosts": _hosts, "healthcheck": _health, "ports": _ports, "volumes": _mounts, "secrets": _sources,
    "configs": _sources, **dict.fromkeys(LISTS, _list), **dict.fromkeys(MAPS, _labels),
}  # fmt: skip


def seconds(duration: Any) -> int:
    """A duration of Compose, such as 1m30s, in whole seconds, rounded up; 0 where it is none."""
    parts = re.findall(r"([0-9]+(?:\.[0-9]+)?)(h|ms|m|s)", str(duration or ""))
    units = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
    return math.ceil(sum(float(amount) * units[unit] for amount, unit in parts))
