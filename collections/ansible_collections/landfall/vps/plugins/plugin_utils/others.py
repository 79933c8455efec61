"""What roles on other hosts of a stack ship to one that stands here: rendered with the variables of their hosts.

So a host writes on none but itself: who takes in rules, targets or dashboards writes those of all hosts in its own run.
"""

from __future__ import annotations

import dataclasses
import os
from typing import Any, Callable, Dict, Iterable, Iterator, List, Mapping, NamedTuple, Set, Tuple

import yaml
from ansible_collections.landfall.vps.plugins.module_utils.plan import Desired, fingerprint
from ansible_collections.landfall.vps.plugins.plugin_utils import declared, placement
from ansible_collections.landfall.vps.plugins.plugin_utils.render import BOARDS, PRESENCE, RULES, TARGETS, Rendered
from ansible_collections.landfall.vps.plugins.plugin_utils.targets import hyphens

KINDS = (RULES, TARGETS, BOARDS)
OF_EACH = PRESENCE[:-3]
"""The rules that each host has of its own; all others are the same for all hosts, and written once."""


class Shipped(NamedTuple):
    """What one component on ``host`` is, rendered as its own host would."""

    host: str
    address: str
    gateway: str
    role: str
    rendered: Rendered


Render = Callable[[Mapping[str, List[str]]], Iterable[Shipped]]
"""(kind of file to folders) -> what all components of other hosts ship there"""


def add(rendered: Rendered, role: str, fleet: placement.Fleet, render: Render) -> Rendered:
    """The component of the ``role`` (its folder), which takes in files, with those that come from other hosts."""
    takes = {kind: folder for kind, folder in declared.takes(role).items() if kind in KINDS}
    if not takes or not rendered.desired.present:
        return rendered
    name = rendered.desired.name
    folders = {kind: ["{0}/{1}".format(name, folder)] for kind, folder in takes.items()}
    contents: Dict[str, bytes] = {}
    targets: List[Dict[str, Any]] = []
    told: Set[str] = set()
    for one in render(folders):
        entries = list(_reached(one, fleet, os.path.dirname(role))) if TARGETS in takes else []
        targets += entries
        own = fleet.holds(fleet.me, declared.stands(one.role))
        for path, content in _files(one, folders, entries, own, told):
            folder, _slash, base = path.rpartition("/")
            contents["{0}/{1}--{2}--{3}".format(folder, hyphens(name), one.host, base)] = content
    if not contents:
        return rendered
    desired = rendered.desired
    files = {**desired.files, **{path: fingerprint(content, 0o644, 0) for path, content in contents.items()}}
    meta = {**desired.meta, "targets": [*(desired.meta.get("targets") or []), *targets]}
    return dataclasses.replace(
        rendered,
        desired=Desired(name, True, files, desired.containers, desired.reload_files, meta),
        contents={**rendered.contents, **contents},
    )


def _files(
    one: Shipped, folders: Mapping[str, List[str]], entries: List[Dict[str, Any]], own: bool, told: Set[str]
) -> Iterator[Tuple[str, bytes]]:
    """(path, content) of what a component of another host ships; ``own`` says that its role stands here as well."""
    for kind, (folder,) in folders.items():
        if kind == TARGETS:
            if entries:
                head = "# What {0} on {1} asks to be scraped.\n".format(hyphens(one.rendered.desired.name), one.host)
                path = "{0}/{1}.yml".format(folder, hyphens(one.rendered.desired.name))
                yield path, (head + yaml.safe_dump(entries, sort_keys=False)).encode()
            continue
        for path, content in one.rendered.contents.items():
            if os.path.dirname(path) != folder:
                continue
            if not path.endswith("--" + OF_EACH):
                if own or path in told:
                    continue
                told.add(path)
            yield path, content


def _reached(one: Shipped, fleet: placement.Fleet, roles: str) -> Iterator[Dict[str, Any]]:
    """The targets of a component of another host, by the addresses at which they are reached from here.

    Their label ``instance`` is what their host calls them, after its name, since each host has a node-exporter. What is
    probed on another's behalf is known by whose it is, wherever the probe comes from.
    """
    for entry in one.rendered.desired.meta.get("targets") or []:
        (known,) = entry["targets"]
        name, _colon, port = known.rpartition(":")
        called = entry["labels"].get("instance") or known
        probed = "__param_target" in entry["labels"]
        labels = {**entry["labels"], "instance": called if probed else "{0}/{1}".format(one.host, called)}
        yield {"targets": [_address(name, int(port), one, fleet, roles)], "labels": labels}


def _address(name: str, port: int, one: Shipped, fleet: placement.Fleet, roles: str) -> str:
    if name == one.gateway:  # in the network of the VPS, where it listens on the private address as well
        return "{0}:{1}".format(one.address, port)
    if "." in name or ":" in name:  # a machine that is none of the stack's
        return "{0}:{1}".format(name, port)
    role = os.path.join(roles, name.replace("-", "_"))
    known = os.path.isdir(role)
    stands = declared.stands(role) if known else ()
    offered = declared.offers(role) if known else ()
    if fleet.holds(one.host, stands):
        return "{0}:{1}".format(one.address, placement.private_port(name, port, offered))
    if fleet.holds(fleet.me, stands):
        return "{0}:{1}".format(name, port)
    return "{0}:{1}".format(fleet.address(fleet.home(stands)), placement.private_port(name, port, offered))
