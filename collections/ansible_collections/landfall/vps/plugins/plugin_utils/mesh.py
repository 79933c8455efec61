"""Who belongs to a private network of tunnels, by which address and key. Pure: values in, values or sentences out."""

from __future__ import annotations

import hashlib
import ipaddress
import json
from typing import Any, Dict, Iterator, List, Mapping, Sequence

SMALLEST = 28  # prefix length: fewer addresses would soon be dealt twice
Member = Mapping[str, Any]
"""``{name, address, endpoint, port}``"""


class MeshError(ValueError):
    """Something does not fit; the message names the variable, one fault a line."""


def subnet_of(text: Any) -> ipaddress.IPv4Network:
    """The range of the private network. Raises MeshError if it is none or not private."""
    form = "private_network_subnet: '{0}' {1}; write a private range such as 10.99.0.0/16"
    try:
        found = ipaddress.IPv4Network(str(text))
    except ValueError:
        raise MeshError(form.format(text, "is no range of IPv4 addresses")) from None
    if found.prefixlen > SMALLEST:
        raise MeshError(form.format(text, "has too few addresses"))
    if not found.is_private or found.is_loopback or found.is_link_local:
        raise MeshError(form.format(text, "is not private"))
    return found


def dealt_address(name: str, subnet: Any) -> str:
    """The address that a host's name is dealt: the same for ever, and without asking any host. Raises MeshError."""
    network = subnet_of(subnet)
    digest = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    return str(network.network_address + 1 + digest % (network.num_addresses - 2))


def _twice(members: Sequence[Member], what: Any) -> Iterator[List[str]]:
    seen: Dict[Any, List[str]] = {}
    for member in members:
        seen.setdefault(what(member), []).append(str(member["name"]))
    return (names for names in seen.values() if len(names) > 1)


def _loopback(endpoint: str) -> bool:
    try:
        return ipaddress.ip_address(endpoint).is_loopback
    except ValueError:
        return endpoint.lower() == "localhost"


def _faults(
    members: Sequence[Member], network: ipaddress.IPv4Network, own: str, ranges: Mapping[str, str], play: Sequence[str]
) -> Iterator[str]:
    for name, text in sorted(ranges.items()):
        try:
            other = ipaddress.IPv4Network(text, strict=False) if text else None
        except ValueError:
            continue  # whoever checks that variable says so
        if other and other.overlaps(network):
            yield f"private_network_subnet: {network} overlaps {name} ({other}); choose another private range"
    if own not in [member["name"] for member in members]:
        yield f"private_network_hosts: does not name {own} ; add it, or set its private_network_enabled to false"
    for member in members:
        name, address, endpoint = (str(member[key]) for key in ("name", "address", "endpoint"))
        if not member.get("known", True):
            yield f"private_network_hosts: {name} is no host of this inventory; correct the name or take it out"
            continue
        try:
            fits = ipaddress.IPv4Address(address) in network
        except ValueError:
            fits = False
        edge = (str(network.network_address), str(network.broadcast_address))
        if not fits or address in edge:
            yield f"private_network_address: '{address}' of {name} is no host's address in {network}; choose one there"
        if len(members) > 1 and _loopback(endpoint):
            yield (
                f"private_network_endpoint: '{endpoint}' of {name} is every host's own; name where the others reach "
                f"{name}"
            )
    for names in _twice(members, lambda member: member["address"]):
        yield f"private_network_address: {' and '.join(names)} have the same; give one of them another"
    for names in _twice(members, lambda member: (member["endpoint"], int(member["port"]))):
        yield (
            f"private_network_endpoint: {' and '.join(names)} have the same, with the same private_network_port; give "
            "each its own"
        )
    missed = sorted({str(member["name"]) for member in members} - set(play)) if play else []
    if missed:
        yield (
            f"private_network_rotate: this run does not come to {', '.join(missed)}, who would not know the new keys; "
            "run it for all hosts, without --limit"
        )


def members(
    found: Sequence[Member], subnet: Any, own: str, ranges: Mapping[str, str], play: Sequence[str] = ()
) -> List[Dict[str, Any]]:
    """``found`` with the addresses that are dealt. Raises MeshError with all that is wrong, a line each.

    :param own: name of the host that asks
    :param ranges: variable to range, of what the private network must not overlap
    :param play: hosts of a run that replaces keys; empty for any other run
    """
    network = subnet_of(subnet)
    whole = [{**one, "address": one["address"] or dealt_address(str(one["name"]), subnet)} for one in found]
    faults = list(_faults(whole, network, own, ranges, play))
    if faults:
        raise MeshError("\n- ".join(faults))
    return [{**{key: str(one[key]) for key in ("name", "address", "endpoint")}, "port": int(one["port"])}
            for one in whole]  # fmt: skip


def keys_of(text: str) -> Dict[str, str]:
    """Name to public key, of the peers in the text of a host's own network.json; nothing where it cannot be read."""
    try:
        return {str(peer["name"]): str(peer["public_key"]) for peer in json.loads(text)["peers"]}
    except (ValueError, KeyError, TypeError):
        return {}


def config(
    found: Sequence[Member], own: str, seen: Mapping[str, Mapping[str, Any]], before: str, settings: Mapping[str, Any]
) -> Dict[str, Any]:
    """What a host's network.json is to say.

    The key of a peer is what it made in this run, else what was read of it in this run, else (``--limit``) what this
    host knows. A peer of whom nobody knows the key is left out, and one that is about to make its first has none yet.

    :param seen: name to ``{made, read, public}``: the key made, whether it was read in this run, the key read
    :param before: text of this host's own network.json
    :param settings: further keys of the file
    """
    known = keys_of(before)
    peers = []
    for member in sorted(found, key=lambda one: str(one["name"])):
        name = str(member["name"])
        its = seen.get(name, {})
        key = its.get("made") or (str(its.get("public", "")) if its.get("read") else known.get(name))
        if name != own and key is not None:
            peers.append({**member, "public_key": key})
    me = next(member for member in found if member["name"] == own)
    return {**settings, "address": me["address"], "port": me["port"], "peers": peers}


def keys_to_come(told: Mapping[str, Any], keys: Mapping[str, str]) -> Dict[str, Any]:
    """A network.json in which each peer is known by the key that it is going to have as well."""
    return {**told, "peers": [{**peer, "next_key": keys[peer["name"]].strip()} for peer in told["peers"]]}
