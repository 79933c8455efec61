"""How a new version of a service takes the place of the one that runs: beside it, in turn, or in its place.

Pure functions over items of an inventory; what happens on the VPS is in module_utils/switching.py.
"""

from __future__ import annotations

from typing import Any, Dict, Iterable, List, Mapping

from ansible_collections.landfall.vps.plugins.module_utils import units
from ansible_collections.landfall.vps.plugins.module_utils.switching import START_FIRST, SUFFIX
from ansible_collections.landfall.vps.plugins.plugin_utils import service_health
from ansible_collections.landfall.vps.plugins.plugin_utils.service_lines import ServiceError

STOP_FIRST = "stop-first"
ORDERS = (START_FIRST, STOP_FIRST)
LONGEST = 63
"""Characters of the name of a host."""


def obstacle(item: Mapping[str, Any], told: str) -> str:
    """Why a service cannot have a second container beside its own, with the remedy; empty if it can."""
    name, compose = str(item.get("name")), item.get("compose") or {}
    if item.get("one_shot"):
        return "it runs once; leave update_order out"
    if item.get("publish") or compose.get("ports"):
        return (
            "it publishes a port of the VPS, which one container can have at a time; let the proxy lead to it and "
            "leave publish out"
        )
    if str(compose.get("network_mode") or "").startswith(("host", "container:")):
        return "it has no network of its own; take compose.network_mode out"
    if service_health.kind_of(item, told)[0] == "none":
        return "nobody can ask whether the new version is healthy; give it a health check"
    if len(name) + len(SUFFIX) > LONGEST:
        return "its name leaves no room for that of a second container; give it one of at most {0} characters".format(
            LONGEST - len(SUFFIX)
        )
    return ""


def update_of(item: Mapping[str, Any], told: str, proxied: bool, settings: Mapping[str, Any]) -> Dict[str, Any]:
    """Option ``update`` of a service's component. ``proxied``: whether the proxy leads to it.

    ``settings``: ``drain`` (seconds), ``watch`` (what ``update`` says of that). Raises ServiceError for an order that
    cannot be.
    """
    asked, count = item.get("update_order"), int(item.get("replicas") or 1)
    if asked and asked not in ORDERS:
        raise ServiceError("{0}: update_order is {1}; it must be {2}".format(told, asked, " or ".join(ORDERS)))
    common = {"order": START_FIRST, "proxied": bool(item.get("port")), "drain": int(settings.get("drain") or 30)}
    common.update(settings.get("watch") or {} if item.get("port") else {})
    if count > 1:
        return common if proxied or asked == START_FIRST else {}
    if asked == STOP_FIRST:
        return {}
    usual = bool(item.get("_starts_first")) or proxied
    if not asked and not usual:
        return {}
    against = obstacle(item, told)
    if asked and against:
        raise ServiceError("{0}: update_order is {1}, but {2}".format(told, START_FIRST, against))
    if not against and item.get("port"):
        _check_drain(item, told, int(settings.get("drain") or 30), settings)
    shared = [] if asked or item.get("_starts_first") else _written(item)
    if shared:
        against = "two containers would write to its volume {0}; if they may, write update_order: {1}".format(
            " and ".join(shared), START_FIRST
        )
    return {"order": STOP_FIRST, "why": against} if against else common


def _check_drain(item: Mapping[str, Any], told: str, drain: int, settings: Mapping[str, Any]) -> None:
    """Requests that a service is given time to finish are not cut off before that. Raises ServiceError."""
    grace = str(item.get("stop_grace_period") or "")
    if not grace or "drain" not in settings or units.duration_fault(grace, "compose"):
        return
    if units.seconds(grace) > drain:
        form = (
            "{0}: stop_grace_period is {1}, but a deploy waits {2} s for requests in flight; "
            "{3} must be {4:.0f} or more"
        )
        name = settings.get("drain_variable", "the drain")
        raise ServiceError(form.format(told, grace, drain, name, units.seconds(grace)))


def _written(item: Mapping[str, Any]) -> List[str]:
    """The named volumes that a service writes to."""
    mounts = [str(volume).split(":") for volume in item.get("volumes") or []]
    return list(dict.fromkeys(parts[0] for parts in mounts if parts[2:] != ["ro"] and not parts[0].startswith("/")))


def standby_faults(updates: Mapping[str, Mapping[str, Any]], names: Iterable[str], where: str) -> List[str]:
    """What has the name of the standby of another service; ``updates`` are those of the services, by name."""
    form = (
        "{0}: {2} has the name of the container that stands in for {1} while that is updated; give it another name, or "
        "{1} update_order: {3}"
    )
    there = set(names)
    return [
        form.format(where, name, name + SUFFIX, STOP_FIRST)
        for name, update in updates.items()
        if update.get("order") == START_FIRST and name + SUFFIX in there
    ]


def rotated(items: Iterable[Mapping[str, Any]]) -> Dict[str, Any]:
    """What a proxy needs to know of the services that it may lead to.

    ``standbys`` (service to its standby) and ``services`` (all containers that may be out of rotation). What is wrong
    with an item is told by whoever deploys it.
    """
    standbys: Dict[str, str] = {}
    services: List[str] = []
    for item in items:
        try:
            count, name = int(item.get("replicas") or 1), str(item["name"])
            update = update_of(item, name, True, {})
        except (ServiceError, KeyError, TypeError, ValueError, AttributeError):
            continue
        if update.get("order") != START_FIRST:
            continue
        services += [name] if count == 1 else ["{0}-{1}".format(name, number) for number in range(1, count + 1)]
        if count == 1:
            standbys[name] = name + SUFFIX
    return {"standbys": standbys, "services": services}
