"""Which host holds what, where several VPSs are one stack. The groups of an inventory say so; pure functions.

A host in none of the groups holds everything, and knows nothing of the others. A role says in ``meta/landfall.yml``
at which places it ``stands``; one that says nothing stands on every host.
"""

from __future__ import annotations

import difflib
import ipaddress
import zlib
from dataclasses import dataclass, field
from typing import Any, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple

from ansible_collections.landfall.vps.plugins.module_utils.exposure import private

PREFIX = "landfall_"
PLACES = ("edge", "app", "workers", "data", "monitoring")
TOGETHER = ("edge", "app", "workers")
"""What one host holds at the same time: a proxy, the application behind it, and workers that share its volumes."""
ALIKE = 0.7
FIRST_PORT, PORTS = 20000, 10000
ADDRESS = "landfall_private_address"


@dataclass(frozen=True)
class Fleet:
    """The hosts of one stack as ``me`` sees them; ``places`` maps each to what it holds."""

    me: str
    places: Mapping[str, Tuple[str, ...]]
    hostvars: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def others(self) -> List[str]:
        """All hosts but this one."""
        return [host for host in self.places if host != self.me]

    def address(self, host: str) -> str:
        """The private address of a host, empty where the inventory names none."""
        return str((self.hostvars.get(host) or {}).get(ADDRESS) or "")

    def holds(self, host: str, stands: Sequence[str]) -> bool:
        """Whether what ``stands`` at these places (everywhere, if at none) stands on ``host``."""
        return not stands or bool(set(stands) & set(self.places[host]))

    def home(self, stands: Sequence[str]) -> str:
        """The first other host on which it stands; empty where it stands on this one, or on none."""
        if self.holds(self.me, stands):
            return ""
        return next((host for host in self.others if self.holds(host, stands)), "")

    def told(self) -> str:
        """Who holds what, in one line."""
        form = "{0} ({1}) holds {2}"
        return "; ".join(form.format(host, self.address(host), ", ".join(held)) for host, held in self.places.items())


def _members(groups: Mapping[str, Any]) -> Dict[str, List[str]]:
    """Place to its hosts."""
    return {place: [str(host) for host in groups.get(PREFIX + place) or []] for place in PLACES}


def read(variables: Mapping[str, Any]) -> Optional[Fleet]:
    """The fleet that a host belongs to by its variables; None for one in none of the groups."""
    groups = variables.get("groups") or {}
    places: Dict[str, List[str]] = {}
    for place, hosts in _members(groups).items():
        for host in hosts:
            places.setdefault(host, []).append(place)
    me = str(variables.get("inventory_hostname") or "")
    if me not in places:
        return None
    found = {host: tuple(held) for host, held in places.items()}
    return Fleet(me, found, variables.get("hostvars") or {})


def peers(groups: Mapping[str, Any], hostvars: Mapping[str, Any], me: str) -> List[str]:
    """Private addresses of the other hosts of the stack that ``me`` belongs to; none for a host that is alone."""
    fleet = read({"groups": groups, "hostvars": hostvars, "inventory_hostname": me})
    return sorted(filter(None, (fleet.address(host) for host in fleet.others))) if fleet else []


def private_port(service: str, port: int, offers: Sequence[int] = ()) -> int:
    """Where other hosts find a port of a container: at the same one if its role offers it, else at one of its name's.

    Several containers of a host may have the same port, and both sides come to the same number by themselves.
    """
    if port in offers:
        return port
    return FIRST_PORT + zlib.crc32("{0}:{1}".format(service, port).encode()) % PORTS


def faults(variables: Mapping[str, Any], subnet: str = "") -> List[str]:
    """What is wrong with the groups of the inventory and with private addresses; ``subnet`` is that of containers."""
    groups = variables.get("groups") or {}
    found = list(_slips(groups))
    fleet = read(variables)
    if fleet is None:
        return found
    return found + list(_group_faults(_members(groups))) + list(_address_faults(fleet, subnet))


def _slips(groups: Iterable[str]) -> Iterator[str]:
    for name in sorted(str(group) for group in groups):
        rest = name[len(PREFIX) :]
        if name.startswith(PREFIX) and rest not in PLACES:
            close = difflib.get_close_matches(rest, PLACES, 1, ALIKE)
            if close:
                yield "{0}: no group has this name; did you mean {1}{2}?".format(name, PREFIX, close[0])


def _group_faults(members: Mapping[str, List[str]]) -> Iterator[str]:
    for place, hosts in members.items():
        name = PREFIX + place
        if not hosts:
            yield "{0}: has no host, while other groups have one; name the host that holds it".format(name)
        elif len(hosts) > 1:
            form = "{0}: has {1} hosts ({2}); one host holds it, so name one"
            yield form.format(name, len(hosts), ", ".join(hosts))
    front = [members[place] for place in TOGETHER]
    if all(len(hosts) == 1 for hosts in front) and len({hosts[0] for hosts in front}) > 1:
        told = ", ".join("{0}{1}: {2}".format(PREFIX, place, members[place][0]) for place in TOGETHER)
        yield "{0}; these three stand on one host, so name the same in each".format(told)


def _address_faults(fleet: Fleet, subnet: str) -> Iterator[str]:
    seen: Dict[str, str] = {}
    for host in fleet.places:
        text = fleet.address(host)
        told = "{0}: {1}".format(ADDRESS, host)
        if not text:
            yield "{0} has none; give the address by which the other hosts reach it, such as 10.99.0.2".format(told)
            continue
        try:
            address = ipaddress.IPv4Address(text)
        except ValueError:
            yield "{0} has '{1}', which is no IPv4 address; write one such as 10.99.0.2".format(told, text)
            continue
        if address.is_loopback or address.is_link_local or not private(text):
            form = "{0} has {1}, which is {2}; what hosts publish for each other belongs on a private one"
            yield form.format(told, text, "its own alone" if private(text) else "public")
        elif text in seen:
            yield "{0} has {1}, which is that of {2}; give each host its own".format(told, text, seen[text])
        elif subnet and _within(address, subnet):
            form = "{0} has {1}, which lies in landfall_subnet ({2}), where containers live; choose another range"
            yield form.format(told, text, subnet)
        seen.setdefault(text, host)


def _within(address: ipaddress.IPv4Address, subnet: str) -> bool:
    try:
        return address in ipaddress.IPv4Network(subnet, strict=False)
    except ValueError:
        return False  # told where subnets are judged
