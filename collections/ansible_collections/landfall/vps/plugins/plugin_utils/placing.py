"""What a compose file says of other hosts of the stack: their names with addresses, and ports published for them."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Dict, Iterable, List, Mapping, Sequence, Tuple

from ansible_collections.landfall.vps.plugins.plugin_utils import placement

_SERVICE = re.compile(r"^  (?! |#)(\S.*?):\s*$")
_PUBLISHED = re.compile(r'^      - "([0-9.]+:\d+):\d+"$', re.MULTILINE)


class PlacingError(Exception):
    """A compose file cannot be fitted to several hosts."""


@dataclass(frozen=True)
class Place:
    """What one host tells a component of the others.

    ``hosts`` are lines of ``extra_hosts`` (name:address) of what stands elsewhere, ``address`` is this host's private
    one, ``offers`` are ports of the component that others use, and ``scraped`` says that its targets are read from
    another host.
    """

    hosts: Tuple[str, ...] = ()
    address: str = ""
    offers: Tuple[int, ...] = ()
    scraped: bool = False

    def ports(self, scrape: Sequence[Mapping[str, Any]], services: Sequence[str], first: str) -> Dict[str, List[str]]:
        """Service to what it publishes on the private address; ``scrape`` is what its task asks to be scraped."""
        wanted = {(first, port) for port in self.offers}
        for item in scrape if self.scraped else []:
            service = item.get("host") or item.get("service") or first
            if service in services:
                wanted.add((service, int(item["port"])))
        found: Dict[str, List[str]] = {}
        for service, port in sorted(wanted) if self.address else []:
            outside = placement.private_port(service, port, self.offers if service == first else ())
            found.setdefault(service, []).append("{0}:{1}:{2}".format(self.address, outside, port))
        return found


ALONE = Place()
"""That of a VPS whose stack has no other host."""


def fitted(text: str, document: Mapping[str, Any], hosts: Sequence[str], ports: Mapping[str, Sequence[str]]) -> str:
    """A compose file with ``hosts`` and ``ports`` (service to lines) beside what its services have of both.

    What uses the network of the VPS, or none, stays as it is. Raises PlacingError for a file that is not written as a
    block for each service.
    """
    services: Mapping[str, Any] = document.get("services") or {}
    wanted = {
        name: {"extra_hosts": list(hosts), "ports": list(ports.get(name) or [])}
        for name, options in services.items()
        if "network_mode" not in options
    }
    wanted = {name: more for name, more in wanted.items() if more["extra_hosts"] or more["ports"]}
    if not wanted:
        return text
    result: List[str] = []
    block: List[str] = []
    name, inside = "", False
    left = set(wanted)

    def end() -> None:
        result.extend(_service(block, services[name], wanted[name]) if name in wanted else block)
        left.discard(name)
        block.clear()

    for line in text.splitlines():
        found = _SERVICE.match(line) if inside else None
        top = bool(line) and line[0] not in " #"
        if found or top:
            end()
            name = _plain(found.group(1)) if found else ""
            inside = line.startswith("services:") if top else inside
        block.append(line)
    end()
    if left:
        raise PlacingError("the compose file does not write {0} as a block".format(", ".join(sorted(left))))
    return "\n".join(result) + "\n"


def _plain(key: str) -> str:
    return key[1:-1] if key[:1] in "'\"" else key


def _service(lines: Iterable[str], options: Mapping[str, Any], more: Mapping[str, List[str]]) -> List[str]:
    """The lines of one service with ``more``: what it had of each key is written anew."""
    kept: List[str] = []
    dropping = False
    for line in lines:
        if re.match(r"    (?:extra_hosts|ports):", line) and more[line.strip().split(":", 1)[0]]:
            dropping = True
            continue
        dropping = dropping and line.startswith(("     ", "    -"))
        if not dropping:
            kept.append(line)
    trailing = len(kept)
    while trailing and (not kept[trailing - 1].strip() or kept[trailing - 1].lstrip().startswith("#")):
        trailing -= 1
    added: List[str] = []
    for key, values in more.items():
        if values:
            added.append("    {0}:".format(key))
            every = dict.fromkeys(json.dumps(value) for value in [*_listed(options.get(key)), *values])
            added += ["      - " + value for value in every]
    return [*kept[:trailing], *added, *kept[trailing:]]


def _listed(value: Any) -> List[Any]:
    if isinstance(value, Mapping):
        return ["{0}:{1}".format(name, address) for name, address in value.items()]
    return list(value or [])


def clashes(files: Mapping[str, str], address: str) -> List[str]:
    """Faults for a port of the private ``address`` that two compose files (by component) publish."""
    owner: Dict[str, str] = {}
    found = []
    for component, text in sorted(files.items()):
        for place in _PUBLISHED.findall(text):
            if place.startswith(address + ":") and owner.setdefault(place, component) != component:
                form = "{0}: {1} would publish {2}, which {3} does; name one of its services otherwise"
                found.append(form.format(component, component, place, owner[place]))
    return found
