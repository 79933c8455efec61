"""Services as an inventory names them, each turned into what a component's compose file, proofs and targets need.

Pure functions on the controller: the items of a list such as app_services in, plain data out. Whatever is wrong with an
item is a ServiceError that names the list, the item and what would be right.
"""

from __future__ import annotations

import os
import re
from typing import Any, Dict, List, Mapping, Optional, Sequence, Set, Tuple

from ansible_collections.landfall.vps.plugins.module_utils import units
from ansible_collections.landfall.vps.plugins.plugin_utils import (
    dangers,
    formats,
    jobs,
    service_builds,
    service_health,
    service_lines,
    service_needs,
    service_releases,
    service_updates,
)
from ansible_collections.landfall.vps.plugins.plugin_utils.service_lines import ServiceError

__all__ = ["ServiceError", "container_names", "expand"]

NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
SECRET = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
COMPOSE_OWN = {  # what the engine reads or the item says by another key
    "image": "image",
    "build": "build",
    "container_name": "name",
    "profiles": None,
    "scale": "replicas",
    "extends": None,
    "networks": None,
    "depends_on": "depends_on",
    "links": "depends_on",
}
OTHERS = ("network_mode", "pid", "ipc", "volumes_from")
"""Keys of Compose that may name another service, which is in no other service's project."""


def container_names(item: Mapping[str, Any]) -> List[str]:
    """The containers of one item: its name, or name-1, name-2 and so on for replicas."""
    count = _replicas(item)
    return [str(item["name"])] if count == 1 else ["{0}-{1}".format(item["name"], n) for n in range(1, count + 1)]


def _replicas(item: Mapping[str, Any]) -> int:
    value = item.get("replicas")
    return 1 if value is None else int(value)


def expand(items: Sequence[Mapping[str, Any]], where: str, settings: Mapping[str, Any]) -> Dict[str, Any]:
    """All that the components of ``items``, the value of the variable ``where``, need to be told.

    ``settings``: ``group`` (the role, whose components they are), ``enabled`` (whether there are to be any), ``uid``
    (owner of secrets that no item gives to another), ``cpus`` and ``memory`` (limits), ``needs`` (what ``depends_on``
    may name besides, each with its component), ``allow`` (keys of dangers.DANGERS), ``proxied`` (names of containers
    that the proxy leads to), ``drain`` (seconds that their requests in flight are waited for) and
    ``proxied_environment`` for those, ``prove_timeout`` (seconds), ``exercise`` (of all).

    Returns ``components`` (options of landfall.vps.component for each, in the order in which they start; ``values`` is
    what the template prints), ``build`` (each image once) and ``warnings``. Raises ServiceError.
    """
    group = str(settings["group"])
    if not settings.get("enabled", True):
        items = []
    elif not items:
        raise ServiceError("{0} is empty; set {1}_enabled to false for no service".format(where, group))
    faults = [fault for item in items for fault in _faults(item, where)]
    names = [name for item in items if not faults for name in container_names(item)]
    twice = sorted({name for name in names if names.count(name) > 1})
    faults += ["{0}: two containers would have the same name: {1}".format(where, name) for name in twice]
    if faults:
        raise ServiceError("; ".join(faults))
    known = {str(item["name"]): item for item in items}
    components = service_needs.component_names(group, known, where)
    result: Dict[str, Any] = {"components": [], "build": service_builds.builds(items, where), "warnings": []}
    updates = {
        name: service_updates.update_of(item, "{0}: {1}".format(where, name), _is_proxied(item, settings), settings)
        for name, item in known.items()
    }
    faults = service_updates.standby_faults(updates, names, where)
    if faults:
        raise ServiceError("; ".join(faults))
    owned: Set[str] = set()
    taken = list(names)  # of containers and of what runs on a timer
    for name in service_needs.in_start_order(known, where):
        item, told = known[name], "{0}: {1}".format(where, name)
        needs = service_needs.needs_of(item, told, known, components, settings.get("needs") or {})
        one = _expand_one(item, told, service_builds.image_of(item, where), settings, result["warnings"])
        timers = jobs.timers(item, told, container_names(item)[0], taken)
        taken += [timer["name"] for timer in timers]
        # A volume belongs to the first that mounts it
        mounted = [volume.split(":") for volume in item.get("volumes") or []]
        mine = {volume[0] for volume in mounted if volume[2:] != ["ro"] and not volume[0].startswith("/")} - owned
        owned |= mine
        exercise = service_needs.exercise_of(settings.get("exercise") or {}, container_names(item), names[0])
        component = {"name": components[name], "needs": needs, "own_volumes": sorted(mine), "timers": timers, **one}
        saves = [{"kind": "volume", "volume": volume} for volume in sorted(mine)]
        more = {"exercise": exercise, "update": updates[name], "saves": saves}
        result["components"].append({**component, **{key: value for key, value in more.items() if value}})
    return result


def _faults(item: Mapping[str, Any], where: str) -> List[str]:
    """What is wrong with the shape of one item."""
    name = str(item.get("name") or "")
    told = "{0}: {1}".format(where, name or "an item without a name")
    found = []
    if not NAME.fullmatch(name):
        good = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:63] or "web"
        found.append(
            "{0}: '{1}' is no name of a host and container; write small letters, digits and hyphens, at most 63, such "
            "as {2}".format(where, name, good)
        )
    try:
        count = _replicas(item)
    except (TypeError, ValueError):
        count = 0
    if count < 1 or isinstance(item.get("replicas"), bool):
        found.append("{0}: replicas is {1}; it must be a whole number from 1 on".format(told, item.get("replicas")))
    elif count > 1 and item.get("publish"):
        found.append("{0} has replicas and publish; one port cannot lead to several containers".format(told))
    if count > 1 and item.get("one_shot"):
        found.append("{0} has replicas and one_shot; what runs once runs in one container".format(told))
    return found


def _expand_one(
    item: Mapping[str, Any], told: str, image: str, settings: Mapping[str, Any], warnings: List[str]
) -> Dict[str, Any]:
    """Options of one component, but for what it needs and the volumes that are its own."""
    name = str(item["name"])
    dangers.refuse(item, told, settings)
    user, owner = _user(item, told, settings)
    files, variables = _secrets(item, told)
    volumes = [_volume(volume, told) for volume in item.get("volumes") or []]
    named = {volume.split(":")[0] for volume in volumes if not volume.startswith("/")}
    volumes += item.get("_mounts") or []
    warnings += _open_ports(item, told)
    overrides = _overrides(item, told)
    if item.get("one_shot"):
        overrides = {"restart": "no", **overrides}
    health = service_health.of(item, told)
    limits = item.get("limits") or {}
    names = container_names(item)
    containers, prove, scrape = [], [], []
    for container in names:
        environment = {**_proxied(container, settings), **_environment(item, told), **variables}
        lines = service_lines.of(item, told, health, environment, volumes, bool(files))
        containers.append(
            {
                "name": container,
                "image": image,
                "cpus": limits.get("cpus") or settings["cpus"],
                "memory": service_lines.memory(limits.get("memory"), told) or settings["memory"],
                "user": user,
                "read_only": item.get("read_only") is not False,
                "cap_add": [str(cap) for cap in item.get("cap_add") or []],
                "labels": {
                    str(key): service_lines.text(value, "{0}: label {1}".format(told, key))
                    for key, value in (item.get("labels") or {}).items()
                },
                "lines": lines,
                "compose": overrides,
            }
        )
        prove += service_health.proofs(item, told, container)
        scrape += _scrapes(item, container, _metrics_kind(image, settings), told)
    argv = service_releases.command(item, told)
    return {
        "secrets": {
            "{0}/{1}".format(name, relative): {"content": content, "uid": owner} for relative, content in files.items()
        },
        "prove": prove,
        "prove_timeout": max(int(settings.get("prove_timeout") or 60), health.patience),
        "scrape": scrape,
        "release": [{"service": names[0], "argv": argv}] if argv else [],
        "rolling": [names] if len(names) > 1 else [],
        "values": {"landfall_service": {"containers": containers, "volumes": sorted(named)}},
    }


def _user(item: Mapping[str, Any], told: str, settings: Mapping[str, Any]) -> Tuple[str, int]:
    """``(user of the containers or nothing for the image's own, uid of the owner of the secrets)``."""
    user, uid = item.get("user"), item.get("uid")
    has_secrets = bool(item.get("secrets") or item.get("secret_environment") or item.get("env_file"))
    if uid is not None and not re.fullmatch(r"[0-9]+", str(uid)):
        raise ServiceError("{0}: uid is {1}; write the number of the user that reads the secrets".format(told, uid))
    if user is None or user == "":
        if uid is None and has_secrets:
            return "{0}:{0}".format(settings["uid"]), int(settings["uid"])
        return "", int(settings["uid"] if uid is None else uid)
    text = service_lines.text(user, told + ": user")
    first = text.split(":")[0]
    if uid is None and first.isdigit():
        return text, int(first)
    if uid is None and has_secrets:
        raise ServiceError(
            "{0} has secrets and the user {1}, whose number is not known here; write user: \"uid:gid\" in numbers, or "
            "name the number by uid".format(told, text)
        )  # fmt: skip
    return text, int(settings["uid"] if uid is None else uid)


def _secrets(item: Mapping[str, Any], told: str) -> Tuple[Dict[str, str], Dict[str, str]]:
    """``(files below the service's own folder of secrets, variables that say where they are)``."""
    files: Dict[str, str] = {}
    variables: Dict[str, str] = {}
    for name, value in (item.get("secrets") or {}).items():
        what = "{0}: secret {1}".format(told, name)
        if not SECRET.fullmatch(str(name)):
            raise ServiceError(
                "{0} is no name of a file below secrets/; write letters, digits and underscores such as "
                "DB_PASSWORD".format(what)
            )
        path = str(name).lower()
        if path in files:
            raise ServiceError("{0}: another secret differs from it in capital letters alone".format(what))
        if not isinstance(value, str):
            raise ServiceError("{0} is no text; write it in quotes, and '' for an empty one".format(what))
        files[path] = value
        variables["{0}_FILE".format(name)] = "/run/secrets/{0}".format(path)
    hidden = {**_env_files(item, told), **(item.get("secret_environment") or {})}
    if hidden:
        lines = [service_lines.env_line(str(name), value, told) for name, value in sorted(hidden.items())]
        files[service_lines.ENV_FILE] = "".join(lines)
    return files, variables


def _env_files(item: Mapping[str, Any], told: str) -> Dict[str, str]:
    paths = item.get("env_file") or []
    found: Dict[str, str] = {}
    for path in [paths] if isinstance(paths, str) else paths:
        if not os.path.isabs(path) or not os.path.isfile(path):
            raise ServiceError(
                "{0}: env_file: {1} is no file on this machine; write its whole path, such as "
                "\"{{{{ inventory_dir }}}}/web.env\"".format(told, path)
            )  # fmt: skip
        try:
            with open(path, encoding="utf-8") as handle:
                found.update(service_lines.read_env(handle.read(), path))
        except UnicodeDecodeError as error:
            raise ServiceError("{0}: env_file: {1} is no UTF-8: {2}".format(told, path, error)) from error
    return found


def _environment(item: Mapping[str, Any], told: str) -> Dict[str, str]:
    return {
        str(name): service_lines.text(value, "{0}: environment {1}".format(told, name))
        for name, value in (item.get("environment") or {}).items()
    }


def _is_proxied(item: Mapping[str, Any], settings: Mapping[str, Any]) -> bool:
    return any(name in (settings.get("proxied") or []) for name in container_names(item))


def _proxied(container: str, settings: Mapping[str, Any]) -> Dict[str, str]:
    if container not in (settings.get("proxied") or []):
        return {}
    return {str(key): str(value) for key, value in (settings.get("proxied_environment") or {}).items()}


def _volume(volume: Any, told: str) -> str:
    text = service_lines.text(volume, told + ": volumes")
    parts = text.split(":")
    if len(parts) not in (2, 3) or not parts[1].startswith("/"):
        raise ServiceError("{0}: volumes: '{1}' is no mount; write name:/path or /folder:/path".format(told, text))
    if parts[0].startswith((".", "~")):
        raise ServiceError(
            "{0}: volumes: '{1}' starts at a folder of this machine, which the VPS does not have; put the files "
            "into the image, name a volume (data:{2}), or a folder of the VPS by its whole path".format(
                told, text, parts[1]
            )
        )
    if not parts[0].startswith("/") and not re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*", parts[0]):
        raise ServiceError("{0}: volumes: '{1}' is no name of a volume".format(told, parts[0]))
    return text


def _overrides(item: Mapping[str, Any], told: str) -> Dict[str, Any]:
    """The item's ``compose``, merged last into its service."""
    value = dict(item.get("compose") or {})
    for key in value:
        if key in COMPOSE_OWN:
            instead = COMPOSE_OWN[key]
            raise ServiceError(
                "{0}: compose.{1} is not for the item to say{2}".format(
                    told, key, "; use {0}".format(instead) if instead else ""
                )
            )
    for key in OTHERS:
        named = [text for text in _listed(value.get(key)) if key == "volumes_from" or str(text).startswith("service:")]
        for text in [str(text) for text in named if not str(text).startswith("container:")]:
            raise ServiceError(
                "{0}: compose.{1}: {2} names a service of the same Compose project, and each service has a project of "
                "its own; write container:{3}".format(told, key, text, text.replace("service:", ""))
            )
    return value


def _listed(value: Any) -> List[Any]:
    return list(value) if isinstance(value, list) else [value] if value else []


def _open_ports(item: Mapping[str, Any], told: str) -> List[str]:
    return [
        "{0} opens port {1} on all addresses of the VPS, past the proxy and TLS; write 127.0.0.1:{2} unless that is "
        "meant, and then 0.0.0.0:{2}".format(told, str(port).split(":")[0], port)
        for port in item.get("publish") or []
        if re.fullmatch(r"[0-9]+:[0-9]+(?:/(?:tcp|udp))?", str(port))
    ]


def _metrics_kind(image: str, settings: Mapping[str, Any]) -> str:
    """What metrics are called of which the item says nothing; nothing where no role asks for it."""
    if "reference_image" not in settings:
        return ""
    return "landfall" if image == settings["reference_image"] else "auto"


def _scrapes(item: Mapping[str, Any], container: str, usual: str, told: str) -> List[Dict[str, Any]]:
    metrics: Optional[Mapping[str, Any]] = item.get("metrics")
    if not metrics:
        return []
    job = str(metrics.get("job") or item.get("job") or item["name"])
    fault = formats.FORMATS["job"](job)
    if fault:
        raise ServiceError("{0}: metrics.job: {1!r} {2}".format(told, job, fault))
    found = {key: value for key, value in metrics.items() if value is not None and key != "kind"}
    kind = metrics.get("kind") or usual
    labels = {**({"metrics_kind": kind} if kind else {}), **(metrics.get("labels") or {})}
    return [{"path": "/metrics", **found, "labels": labels, "service": container, "job": job}]


def seconds(value: Any, told: str) -> int:
    """A duration as Compose writes it, in whole seconds. Raises ServiceError."""
    fault = units.duration_fault(str(value), "compose")
    if fault:
        raise ServiceError("{0}: {1}".format(told, fault))
    return int(units.seconds(str(value)))
