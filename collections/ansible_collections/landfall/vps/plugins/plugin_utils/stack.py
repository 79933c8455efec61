"""What an inventory says about its stack as a whole: names, network, what is somebody else's."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Any, Callable, Dict, Iterable, List, Mapping, Tuple

from ansible_collections.landfall.vps.plugins.module_utils import switching
from ansible_collections.landfall.vps.plugins.module_utils.ownership import STACK, project_name
from ansible_collections.landfall.vps.plugins.module_utils.plan import Desired

PREFIX = re.compile(r"[a-z0-9][a-z0-9-]{0,22}")
SMALLEST = 29  # prefix length: the VPS itself and five containers


class StackError(ValueError):
    """A value does not fit; the message names the variable."""


@dataclass(frozen=True)
class Stack:
    """Names and network of one stack."""

    prefix: str = ""
    network: str = STACK
    subnet: str = ""
    gateway: str = ""
    mtu: int = 0
    external_volumes: Tuple[str, ...] = ()
    external_network: bool = False
    keep_volumes: bool = False
    root: str = "/opt/" + STACK

    @property
    def name(self) -> str:
        """Value of the label by which everything of this stack is known."""
        return self.prefix + STACK

    def project(self, component: str, group: str = "") -> str:
        """The Compose project of a component, of a group or not."""
        return project_name(component, self.prefix, group)

    def claim(self, desired: Desired) -> Dict[str, Any]:
        """Everything on the VPS that a component needs the name of, see ``ownership.inspect``."""
        timers, standby = desired.meta.get("timers") or [], switching.standby_of({"meta": desired.meta})
        return {
            "stack": self.name,
            "project": str(desired.meta.get("project") or self.project(desired.name)),
            "containers": sorted({*desired.containers, *(self.prefix + timer["name"] for timer in timers)}),
            "standbys": [standby["container"]] if standby else [],
            "volumes": list(desired.meta.get("volumes") or []),
            "network": "" if self.external_network else self.network,
            "present": desired.present,
        }

    def network_request(self) -> Dict[str, Any]:
        """The network as ``ownership.provide_network`` makes it."""
        return {
            "name": self.network,
            "subnet": self.subnet,
            "gateway": self.gateway,
            "mtu": self.mtu,
            "stack": self.name,
        }


UNPREFIXED = Stack()


def read(variable: Callable[[str, Any], Any]) -> Stack:
    """The stack of a host; ``variable`` returns the value of a variable, or the given default."""
    prefix = str(variable("landfall_prefix", "") or "")
    return Stack(
        prefix,
        str(variable("landfall_network", prefix + STACK)),
        str(variable("landfall_subnet", "") or ""),
        str(variable("landfall_gateway", "") or ""),
        int(variable("landfall_mtu", 0) or 0),
        tuple(str(name) for name in variable("landfall_external_volumes", []) or []),
        bool(variable("landfall_external_network", False)),
        bool(variable("landfall_keep_new_volumes", False)),
        str(variable("landfall_root", "/opt/{0}{1}".format(prefix, STACK))),
    )


def gateway(subnet: Any, networks: Mapping[str, Mapping[str, Any]], name: str) -> str:
    """The address of the VPS in network ``name``: that of the network if it is there, else the subnet's first one.

    Empty without a subnet, when the engine is to choose. Raises StackError for a text that is no subnet.
    """
    found = (networks.get(name) or {}).get("gateway")
    if found:
        return str(found)
    if not subnet:
        return ""
    return str(next(_subnet(subnet).hosts()))


def _subnet(value: Any) -> ipaddress.IPv4Network:
    form = "landfall_subnet: '{0}' {1}; write a private range such as 172.30.0.0/24"
    try:
        found = ipaddress.IPv4Network(str(value), strict=False)
    except ValueError:
        raise StackError(form.format(value, "is no range of IPv4 addresses")) from None
    if "/" not in str(value) or found.prefixlen > SMALLEST:
        raise StackError(form.format(value, "has no room for containers"))
    if str(found) != str(value).strip():
        raise StackError("landfall_subnet: '{0}' is an address inside a range; write {1}".format(value, found))
    return found


def faults(values: Mapping[str, Any]) -> List[str]:
    """What is wrong with the names and the network that the inventory gives the stack."""
    found = []
    prefix = str(values.get("landfall_prefix") or "")
    if prefix and not PREFIX.fullmatch(prefix):
        found.append(
            "landfall_prefix: '{0}' cannot begin names; write up to 23 lower-case letters, digits and hyphens, such as "
            "staging-".format(prefix)
        )
    try:
        subnet = _subnet(values["landfall_subnet"]) if values.get("landfall_subnet") else None
    except StackError as error:
        return [*found, str(error)]
    return found + list(_address_faults(values, subnet))


def _address_faults(values: Mapping[str, Any], subnet: Any) -> Iterable[str]:
    chosen = values.get("landfall_gateway")
    if chosen and subnet:
        try:
            inside = ipaddress.IPv4Address(str(chosen)) in set(subnet.hosts())
        except ValueError:
            inside = False
        if not inside:
            yield "landfall_gateway: '{0}' is no address of a host in {1}; leave it out for the first one".format(
                chosen, subnet
            )
    mtu = str(values.get("landfall_mtu") or 0)
    if mtu != "0" and not (mtu.isdecimal() and 576 <= int(mtu) <= 65535):
        yield "landfall_mtu: {0} is no packet size; write 576 to 65535 bytes, or 0 for that of the engine".format(mtu)
