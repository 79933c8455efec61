"""What services are called as components, in which order they start, and what each waits for.

Each service is a component of its own in the group of its role: planned, proven and undone alone. Pure functions.
"""

from __future__ import annotations

import difflib
from typing import Any, Dict, Iterable, List, Mapping, Sequence

from ansible_collections.landfall.vps.plugins.module_utils.plan import COMPLETED, HEALTHY, STARTED
from ansible_collections.landfall.vps.plugins.plugin_utils.service_lines import ServiceError

CONDITIONS = {
    "service_started": STARTED,
    "service_healthy": HEALTHY,
    "service_completed_successfully": COMPLETED,
}
"""Compose's words for when a service may start after another one, with the engine's."""
Items = Mapping[str, Mapping[str, Any]]
"""Services by name, in the inventory's order."""


def component_name(group: str, service: str) -> str:
    """The component of a service: its folder, its record. No role has a hyphen in its name, so that none has this."""
    return service if service == group or service.startswith(group + "-") else "{0}-{1}".format(group, service)


def component_names(group: str, services: Iterable[str], where: str) -> Dict[str, str]:
    """Service to component. Raises ServiceError when two would be the same."""
    found: Dict[str, str] = {}
    for service in services:
        name = component_name(group, service)
        if name in found.values():
            raise ServiceError(
                "{0}: {1} and {2} would both be the component {1} on the VPS; rename one of them".format(
                    where, name, name[len(group) + 1 :]
                )
            )
        found[service] = name
    return found


def wanted(item: Mapping[str, Any]) -> Mapping[str, Any]:
    """What ``depends_on`` of an item names, each with its condition or None, whatever form it has."""
    value = item.get("depends_on") or {}
    if isinstance(value, str):
        value = [value]
    return value if isinstance(value, Mapping) else dict.fromkeys(value, None)


def in_start_order(known: Items, where: str) -> List[str]:
    """The services, each after those that it depends on, otherwise as the inventory has them. Raises ServiceError."""
    order: List[str] = []

    def visit(name: str, path: Sequence[str]) -> None:
        if name in path:
            circle = " -> ".join([*path[path.index(name) :], name])
            raise ServiceError("{0}: depends_on goes round in a circle: {1}; take one out".format(where, circle))
        if name not in order:
            for other in wanted(known[name]):
                if other in known and other != name:
                    visit(str(other), [*path, name])
            order.append(name)

    for name in known:
        visit(name, [])
    return order


def needs_of(
    item: Mapping[str, Any], told: str, known: Items, names: Mapping[str, str], components: Mapping[str, str]
) -> List[Any]:
    """What the component of ``item`` needs: a name, or ``{name, condition}`` where being healthy is not what counts.

    ``names`` are the components of the services ``known``, ``components`` what may be named besides, each with its
    component. Raises ServiceError.
    """
    found: Dict[str, str] = {}
    for name, said in wanted(item).items():
        condition = (said.get("condition") if isinstance(said, Mapping) else said) or "service_started"
        what = "{0}: depends_on {1}".format(told, name)
        if condition not in CONDITIONS:
            raise ServiceError("{0}: no condition {1}; write {2}".format(what, condition, ", ".join(CONDITIONS)))
        if name == item["name"]:
            raise ServiceError("{0}: a service cannot wait for itself; take it out".format(what))
        if name in known:
            if CONDITIONS[condition] == COMPLETED and not known[name].get("one_shot"):
                raise ServiceError("{0}: {1} never ends; set one_shot: true there, or wait until it is healthy".format(
                    what, name))  # fmt: skip
            found[names[name]] = CONDITIONS[condition]
        elif name in components:
            found[str(components[name])] = CONDITIONS[condition]
        else:
            close = difflib.get_close_matches(str(name), [*known, *components], n=1)
            raise ServiceError("{0}: nothing here is named so{1}".format(
                what, "; did you mean {0}?".format(close[0]) if close else ""))  # fmt: skip
    return [
        name if condition == HEALTHY else {"name": name, "condition": condition}
        for name, condition in sorted(found.items())
    ]


def exercise_of(exercise: Mapping[str, Any], containers: Sequence[str], first: str) -> Dict[str, Any]:
    """What `verify` asks, for the component that has ``containers``: all of it, if it is asked first; or nothing.

    A request without a service is for ``first``, a container.
    """
    requests = [{**item, "service": item.get("service") or first} for item in exercise.get("requests") or []]
    at = str(requests[0]["service"]) if requests else first
    return {"requests": requests, "increases": list(exercise.get("increases") or [])} if at in containers else {}
