"""Who on a VPS has a port, an address range or a firewall rule that the stack wants. Pure: values in, sentences out."""

from __future__ import annotations

import ipaddress
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from ansible_collections.landfall.vps.plugins.module_utils.docker_api import bridge_name
from ansible_collections.landfall.vps.plugins.module_utils.ownership import container_owner
from ansible_collections.landfall.vps.plugins.plugin_utils.wanted import GATEWAY, Port, Wanted

State = Mapping[str, Any]
FREE = [*("172.{0}.0.0/16".format(n) for n in (30, 31, 29, 28)), "10.213.0.0/16", "192.168.128.0/17"]


# -- ports ----------------------------------------------------------------------------------------------------------


def gateway(state: State, settings: Mapping[str, Any]) -> str:
    """The address of the VPS in the containers' network, as it is or will be; empty when the engine will choose."""
    found = (state["networks"].get(settings["network"]) or {}).get("gateway")
    if found:
        return str(found)
    subnet = _range(settings.get("subnet"))
    return str(settings.get("gateway") or (next(subnet.hosts()) if subnet else ""))


def _meet(wanted: str, bound: str) -> bool:
    """Whether two sockets of one port cannot be bound to these addresses ("" is all of them).

    One that listens at all addresses of IPv6 may have those of IPv4 as well.
    """
    if not wanted or bound in (wanted, "::"):
        return True
    everywhere = "0.0.0.0" in (wanted, bound) or wanted == "::"  # noqa: S104 - compared, not bound
    return everywhere and (":" in wanted) == (":" in bound)


def _publishers(state: State, port: Port, address: str) -> Iterator[str]:
    """Containers that publish a port which meets ``port``."""
    for name, container in state["containers"].items():
        for text in container.get("ports") or []:
            place, _slash, protocol = str(text).partition("/")
            bound, _colon, number = place.rpartition(":")
            if protocol == port.protocol and number == str(port.port) and _meet(address, bound.strip("[]")):
                yield name


def _who(state: State, listener: Mapping[str, Any]) -> str:
    if not listener["pid"]:
        return "the kernel or a process that could not be found"
    if listener["pid"] == 1:
        return "systemd (pid 1) for a socket unit, which 'systemctl list-sockets' names"
    return "{0} (pid {1})".format(listener["program"], listener["pid"])


def port_faults(state: State, wanted: Wanted, settings: Mapping[str, Any]) -> List[str]:
    """Ports of the VPS that somebody else has, with whose they are and the variable that wants them."""
    names = {container["id"]: name for name, container in state["containers"].items()}
    owners = {name: container_owner(state, settings["stack"], name) for name in names.values()}
    faults = []
    for port in wanted.ports:
        address = gateway(state, settings) if port.address == GATEWAY else port.address
        holders: Dict[str, None] = {}
        published = list(_publishers(state, port, address))
        for name in published:
            if owners[name]:
                holders["the container {0} of {1}".format(name, owners[name])] = None
        for listener in state["network"]["listeners"]:
            if (listener["protocol"], listener["port"]) != (port.protocol, port.port):
                continue
            if not _meet(address, listener["address"]):
                continue
            inside = names.get(listener["container"])
            if inside:
                if owners[inside]:
                    holders["the container {0} of {1}".format(inside, owners[inside])] = None
            elif not (published and listener["program"] in ("docker-proxy", "dockerd")):
                holders["{0} on {1}".format(_who(state, listener), _shown(listener["address"], port.port))] = None
        if holders:
            faults.append(
                "{0}: port {1}/{2} of the VPS is taken by {3}; stop that, or choose another port in {4}".format(
                    port.variable, port.port, port.protocol, " and ".join(holders), port.variable.split("[", 1)[0]
                )
            )
    return faults


def _shown(address: str, port: int) -> str:
    return ("[{0}]:{1}" if ":" in address else "{0}:{1}").format(address, port)


# -- networks -------------------------------------------------------------------------------------------------------


def _range(text: Any) -> Optional[ipaddress.IPv4Network]:
    try:
        return ipaddress.IPv4Network(str(text), strict=False) if text else None
    except ValueError:
        return None


def _neighbours(state: State, own: str) -> Iterator[Tuple[ipaddress.IPv4Network, str]]:
    """(range, whose it is) of all networks that this host knows, but for the network ``own``."""
    named = set()
    mine = _range((state["networks"].get(own) or {}).get("subnet"))
    for name, network in sorted(state["networks"].items()):
        found = _range(network.get("subnet"))
        if found and name != own:
            named.add(found)
            yield found, "the Docker network {0}".format(name)
    for route in state["network"]["routes"]:
        found = _range(route["range"])
        if found and found not in named and found != mine:
            where = "the interface {0}".format(route["interface"]) if route["interface"] else "a further routing table"
            yield found, "a route through {0}".format(where)


def network_faults(state: State, settings: Mapping[str, Any]) -> Tuple[List[str], List[str]]:
    """(faults, notes): what overlaps the containers' network. One that is there already stays as it is."""
    own = settings["network"]
    found = _range((state["networks"].get(own) or {}).get("subnet"))
    subnet = found or _range(settings.get("subnet"))
    if subnet is None:
        return [], []
    taken = list(_neighbours(state, own))
    overlapping = ["{0} ({1})".format(whose, other) for other, whose in taken if other.overlaps(subnet)]
    if not overlapping:
        return [], []
    text = "landfall_subnet: {0} overlaps {1}".format(subnet, " and ".join(overlapping))
    if found:
        return [], [text + "; what lies there in both cannot be reached from one of them"]
    free = _free(subnet.prefixlen, [other for other, _whose in taken])
    return ["{0}; choose a range that is free here{1}".format(text, ", such as " + free if free else "")], []


def range_faults(state: State, wanted: Wanted, settings: Mapping[str, Any]) -> List[str]:
    """Ranges that roles bring to the VPS and that somebody else has there."""
    faults = []
    for variable, (text, interface) in sorted(wanted.ranges.items()):
        brought = _range(text)
        if brought is None:
            continue  # whoever checks values says so
        own = {**state["network"], "routes": [r for r in state["network"]["routes"] if r["interface"] != interface]}
        taken = list(_neighbours({**state, "network": own}, ""))
        overlapping = ["{0} ({1})".format(whose, other) for other, whose in taken if other.overlaps(brought)]
        if overlapping:
            containers = _range(settings.get("subnet"))
            free = _free(brought.prefixlen, [other for other, _whose in taken] + ([containers] if containers else []))
            faults.append(
                "{0}: {1} overlaps {2}; choose a range that is free on all hosts{3}".format(
                    variable, brought, " and ".join(overlapping), ", such as " + free if free else ""
                )
            )
    return faults


def _free(length: int, taken: Sequence[ipaddress.IPv4Network]) -> str:
    for pool in FREE:
        network = ipaddress.IPv4Network(pool)
        if length < network.prefixlen:
            continue
        for index, candidate in enumerate(network.subnets(new_prefix=length)):
            if not any(candidate.overlaps(other) for other in taken):
                return str(candidate)
            if index > 4096:
                break
    return ""


def visitor_notes(state: State, wanted: Wanted) -> List[str]:
    """Ports at which visitors by IPv6 would all have one address, as the containers' network has IPv4 only."""
    addresses = state["network"].get("ipv6") or []
    found: Dict[str, List[int]] = {}
    for port in wanted.ports:
        if port.address in ("", "::"):
            found.setdefault(port.variable.split("[", 1)[0], []).append(port.port)
    return [
        "visitors: this VPS has {0}, and all who come by IPv6 to port {1} ({2}) have one address, the bridge's: limits "
        "of rates take them for one. Listen by IPv4 alone, as 0.0.0.0:{3}:{3}, or publish no AAAA record".format(
            addresses[0], ", ".join(map(str, sorted(set(ports)))), variable, min(ports)
        )
        for variable, ports in sorted(found.items())
        if addresses
    ]


def firewall_notes(state: State, wanted: Wanted, settings: Mapping[str, Any]) -> List[str]:
    """Rules that ufw lacks, for ports at which containers ask the VPS itself."""
    ufw = state["network"].get("ufw")
    if not ufw or ufw["input"] == "accept" or ufw["input"] == "allow":
        return []
    address = gateway(state, settings)
    network = state["networks"].get(settings["network"]) or {}
    subnet = _range(network.get("subnet") or settings.get("subnet"))
    bridge = network.get("bridge") or bridge_name(settings["network"])
    notes = []
    for port in wanted.ports:
        if port.address == GATEWAY and not _allowed(ufw["rules"], port, address, subnet, bridge):
            rule = "ufw allow in on {0}{1} to {2} port {3} proto {4}".format(
                bridge, " from {0}".format(subnet) if subnet else "", address or "any", port.port, port.protocol
            )
            notes.append(
                "firewall: ufw drops what comes in, so that containers cannot reach port {0} of the VPS ({1}); allow "
                "it with: {2}".format(port.port, port.variable.split("[", 1)[0], rule)
            )
    return notes


def _allowed(
    rules: Sequence[Mapping[str, str]],
    port: Port,
    address: str,
    subnet: Optional[ipaddress.IPv4Network],
    bridge: str,
) -> bool:
    """Whether the first rule that fits lets the network's containers in."""
    for rule in rules:
        to, source = _range(rule["to"]), _range(rule["from"])
        fits = (
            rule["protocol"] in ("any", port.protocol)
            and _port_fits(rule["port"], port.port)
            and rule["interface"] in ("", bridge)
            and (to is None or not address or ipaddress.IPv4Address(address) in to)
            and (source is None or subnet is None or subnet.subnet_of(source))
        )
        if fits:
            return rule["action"].split("_", 1)[0] in ("allow", "limit")
    return False


def _port_fits(text: str, port: int) -> bool:
    for part in text.split(","):
        low, _colon, high = part.partition(":")
        if part == "any" or (low.isdigit() and int(low) <= port <= int(high if high.isdigit() else low)):
            return True
    return False
