"""Filters that turn services and workers of an inventory into what a component needs, see plugin_utils/services.py."""

from __future__ import annotations

import json
import textwrap
from typing import Any, Callable, Dict, List, Mapping, Sequence

import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.landfall.vps.plugins.plugin_utils import (
    seam,
    service_health,
    service_needs,
    service_updates,
    services,
    workers,
)

REPLACED = ("command", "entrypoint", "test")
"""Lists that replace what was there; others are joined, as Compose does it."""


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value, default=str))


def expand(items: Sequence[Mapping[str, Any]], where: str, **settings: Any) -> Dict[str, Any]:
    """What a component needs to know of the services ``items``, the value of ``where``. Raises AnsibleFilterError.

    Warnings name the ``host`` among the settings.
    """
    try:
        found = services.expand(_plain(items), where, _plain(settings))
    except services.ServiceError as error:
        raise AnsibleFilterError(str(error)) from error
    for warning in found["warnings"]:
        seam.warn({"inventory_hostname": settings.get("host", "")}, warning)
    return found


def worker_services(items: Sequence[Mapping[str, Any]], **settings: Any) -> List[Dict[str, Any]]:
    """Workers and beat in the form of services. Raises AnsibleFilterError."""
    try:
        return workers.as_services(_plain(items), _plain(settings))
    except services.ServiceError as error:
        raise AnsibleFilterError(str(error)) from error


def components(items: Sequence[Mapping[str, Any]], group: str) -> Dict[str, str]:
    """The component of each service, and of the group as a whole, by the names under which others may need them."""
    return {group: group, **{str(item.get("name")): service_needs.component_name(group, str(item.get("name")))
                             for item in items}}  # fmt: skip


def asked_at(items: Sequence[Mapping[str, Any]], where: str) -> List[Dict[str, Any]]:
    """Where the containers of services are asked over HTTP: ``[{container, name, port, path, host}]``.

    Services that are not asked are left out; ``path`` is empty where only a TCP port is known. Raises
    AnsibleFilterError.
    """
    found = []
    try:
        for item in _plain(items):
            at = service_health.asked_at(item, "{0}: {1}".format(where, item.get("name")))
            if at:
                found += [{"container": name, "name": item["name"], **at} for name in services.container_names(item)]
    except (services.ServiceError, TypeError, ValueError, KeyError) as error:
        raise AnsibleFilterError("{0}: {1}".format(where, error)) from error
    return found


def rotated(items: Sequence[Mapping[str, Any]]) -> Dict[str, Any]:
    """What a proxy needs to know of services that it may lead to, see ``service_updates``."""
    return service_updates.rotated(_plain(items))


def overridden(text: str, values: Mapping[str, Any]) -> str:
    """The lines of a service in a compose file with ``values`` merged last; the lines as they are without any."""
    if not values:
        return text
    service = yaml.safe_load(textwrap.dedent(text))
    merged = _merge(service, _literal(_plain(values)))
    return textwrap.indent(yaml.safe_dump(merged, sort_keys=False, width=1000, allow_unicode=True), " " * 4).rstrip()


def _literal(value: Any) -> Any:
    """``$`` kept from Compose's own interpolation."""
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, dict):
        return {key: _literal(item) for key, item in value.items()}
    return [_literal(item) for item in value] if isinstance(value, list) else value


def _merge(old: Any, new: Any, key: str = "") -> Any:
    if key == "environment" and isinstance(new, list):
        new = dict(str(item).split("=", 1) for item in new)
    if isinstance(old, dict) and isinstance(new, dict):
        return {**old, **{name: _merge(old.get(name), value, name) for name, value in new.items()}}
    if isinstance(old, list) and isinstance(new, list) and key not in REPLACED:
        return [*old, *(item for item in new if item not in old)]
    return new


class FilterModule:
    """Registers the filters as landfall.vps.<name>."""

    def filters(self) -> Dict[str, Callable[..., Any]]:
        """Name to function."""
        return {
            "services": expand,
            "workers": worker_services,
            "service_components": components,
            "asked_at": asked_at,
            "rotated": rotated,
            "overridden": overridden,
        }
