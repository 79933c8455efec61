"""What an inventory asks of a VPS: ports, images, memory, CPUs, kernel settings of what will really run. Values in."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Dict, Iterator, List, Mapping, Sequence, Tuple

from ansible.module_utils.parsing.convert_bool import boolean
from ansible_collections.landfall.vps.plugins.module_utils.exposure import private
from ansible_collections.landfall.vps.plugins.module_utils.units import size

PUBLISHED = re.compile(
    r"^(?:(?P<address>\d{1,3}(?:\.\d{1,3}){3}|\[[0-9a-fA-F:]+\]|gateway):)?(?P<port>\d{1,5})(?::\d{1,5})?"
    r"(?:/(?P<protocol>tcp|udp))?$"
)
ITEMS = ("_services", "_workers")
GATEWAY = "gateway"
Roles = Mapping[str, Mapping[str, Any]]
"""Role to its variables and their values, of the roles that are enabled."""


@dataclass(frozen=True)
class Port:
    """A port that a component takes on the VPS.

    ``address`` is as it was written, "" for all of IPv4 and IPv6, ``gateway`` for that of the network.
    """

    variable: str
    address: str
    port: int
    protocol: str


@dataclass(frozen=True)
class Wanted:
    """``images``, ``memory`` (bytes, all replicas) and ``cpus`` (of one container) by the variable that names each."""

    ports: Tuple[Port, ...] = ()
    images: Mapping[str, str] = field(default_factory=dict)
    built: Tuple[str, ...] = ()
    memory: Mapping[str, int] = field(default_factory=dict)
    cpus: Mapping[str, float] = field(default_factory=dict)
    sysctls: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    ranges: Mapping[str, Tuple[str, str]] = field(default_factory=dict)
    """Variable to the range of addresses that a role brings to the VPS, and the interface that it has there."""


def selected(role: str, roles: Sequence[str], run_tags: Sequence[str], skip_tags: Sequence[str]) -> bool:
    """Whether the run's tags leave this role in; each role has its name as a tag, other tags say nothing of roles."""
    if role in skip_tags:
        return False
    tags = set(run_tags) & set(roles)
    return not tags or role in tags


def _items(values: Mapping[str, Any]) -> Iterator[Tuple[str, Mapping[str, Any]]]:
    """(path, item) of the services that the role's variables list."""
    for name, value in values.items():
        if name.endswith(ITEMS) and isinstance(value, list):
            for index, item in enumerate(value):
                if isinstance(item, Mapping):
                    yield "{0}[{1}]".format(name, index), item


def public_ports(published: Any) -> List[Tuple[int, str]]:
    """(port, protocol) of what of ``published`` is reached from outside, in order; what is none is told elsewhere."""
    found = [PUBLISHED.match(text) for text in _texts(published)]
    return [
        (int(one.group("port")), one.group("protocol") or "tcp")
        for one in found
        if one and one.group("address") != GATEWAY and not private(one.group("address") or "")
    ]


def has_items(values: Mapping[str, Any]) -> bool:
    """Whether these are variables of a role whose containers are listed items."""
    return any(name.endswith(ITEMS) and isinstance(value, list) for name, value in values.items())


def _texts(value: Any) -> List[str]:
    return [str(item) for item in value] if isinstance(value, list) else []


def _ports(role: str, values: Mapping[str, Any]) -> Iterator[Port]:
    default = "{0}_publish".format(role)
    # What an item takes from the role's own variable is said of that
    named = [
        (default if item.get("publish") == values.get(default) else path + ".publish", item.get("publish"))
        for path, item in _items(values)
    ]
    own = ["{0}_listens".format(role)] + ([] if has_items(values) else [default])
    named += [(name, values.get(name)) for name in own]
    for variable, ports in named:
        for index, text in enumerate(_texts(ports)):
            found = PUBLISHED.match(text)
            if found:
                address = (found.group("address") or "").strip("[]")
                path = "{0}[{1}]".format(variable, index)
                yield Port(path, address, int(found.group("port")), found.group("protocol") or "tcp")


def _images(role: str, values: Mapping[str, Any]) -> Iterator[Tuple[str, str, bool]]:
    """(variable, image, whether it is built on the VPS)."""
    default = str(values.get("{0}_image".format(role)) or "")
    items = list(_items(values))
    if not items and default and not has_items(values):
        yield "{0}_image".format(role), default, False
    for path, item in items:
        image = str(item.get("image") or "")
        if image or item.get("build"):
            place = "{0}_image".format(role) if image == default else path + (".image" if image else ".build")
            yield place, image or "landfall/" + str(item.get("name")), bool(item.get("build"))
        elif default and not item.get("service") and not values.get("{0}_service".format(role)):
            # Otherwise it runs the code of another item, which has the image
            yield "{0}_image".format(role), default, False


def _amount(value: Any) -> int:
    try:
        return size(str(value))
    except ValueError:
        return 0  # whoever checks values says so


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return 0.0


def _limits(role: str, values: Mapping[str, Any], what: str) -> Iterator[Tuple[str, Any, int]]:
    """(variable, value, number of containers) of each limit ``memory`` or ``cpus``."""
    own = "{0}_{1}".format(role, what)
    items = list(_items(values))
    for path, item in items:
        limits = item.get("limits")
        inner = limits.get(what) if isinstance(limits, Mapping) else None
        place = path + (".limits." if inner else ".") + what
        given = inner or item.get(what)
        replicas = item.get("replicas") or 1
        count = int(replicas) if str(replicas).isdigit() else 1
        yield (place, given, count) if given and given != values.get(own) else (own, values.get(own), count)
    if own in values and not has_items(values):
        yield own, values[own], 1
    for name, value in values.items():
        # celery_beat_memory is the limit of a further container, which celery_beat_enabled may switch off
        if name != own and name.startswith(role + "_") and name.endswith("_" + what):
            switch = name[: -len(what)] + "enabled"
            if "_alert_" not in name and boolean(values.get(switch, switch not in values), strict=False):
                yield name, value, 1


def wanted(enabled: Roles, chosen: Sequence[str]) -> Wanted:
    """What the ``enabled`` roles ask of a VPS: ports and images of the ``chosen`` ones, of all of them the rest."""
    ports: List[Port] = []
    images: Dict[str, str] = {}
    built = set()
    memory: Dict[str, int] = {}
    cpus: Dict[str, float] = {}
    sysctls: Dict[str, Dict[str, str]] = {}
    ranges: Dict[str, Tuple[str, str]] = {}
    for role, values in sorted(enabled.items()):
        for variable, value, count in _limits(role, values, "memory"):
            memory[variable] = memory.get(variable, 0) + _amount(value) * count
        for variable, value, _count in _limits(role, values, "cpus"):
            cpus[variable] = _number(value)
        asked = values.get("{0}_host_sysctls".format(role))
        if isinstance(asked, Mapping):
            sysctls["{0}_host_sysctls".format(role)] = {str(name): str(value) for name, value in asked.items()}
        if values.get("{0}_subnet".format(role)) and values.get("{0}_interface".format(role)):
            own = tuple(str(values["{0}_{1}".format(role, what)]) for what in ("subnet", "interface"))
            ranges["{0}_subnet".format(role)] = (own[0], own[1])
        if role not in chosen:
            continue
        ports += _ports(role, values)
        for variable, image, is_built in _images(role, values):
            images.setdefault(image, variable)
            if is_built:
                built.add(image)
    return Wanted(tuple(ports), images, tuple(sorted(built)), memory, cpus, sysctls, ranges)
