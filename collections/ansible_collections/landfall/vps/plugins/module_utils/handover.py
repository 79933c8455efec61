"""What a component takes over from the one that its containers were part of before.

Since 2026-11-27 each service is a component of its own; records of format 1 have all services of a role in one project.
A container changes its project by being removed there and made here, which is undone by the same in reverse. Until the
new one is proven the old record is as it was and its files are in place, so that nothing has to be built up again.
"""

from __future__ import annotations

from typing import Any, Dict, Iterable, Mapping, Optional

from ansible_collections.landfall.vps.plugins.module_utils import records
from ansible_collections.landfall.vps.plugins.module_utils.docker_api import Docker
from ansible_collections.landfall.vps.plugins.module_utils.plan import group_of

Records = Mapping[str, Mapping[str, Any]]


def predecessor(known: Records, name: str, group: str, containers: Iterable[str]) -> str:
    """The component of the same group that has one of ``containers`` while ``name`` is not deployed; empty for none.

    One that never served has nothing that could be gone back to.
    """
    wanted = set(containers)
    if name in known:
        return ""
    for other, record in sorted(known.items()):
        if group_of(other, record) == group and record["proven"] and wanted & set(record["containers"]):
            return other
    return ""


def taken(known: Records, name: str, group: str, containers: Iterable[str]) -> Optional[Dict[str, Any]]:
    """What ``name`` takes over: ``{component, containers}``, the latter as its record has them; None for nothing."""
    wanted = set(containers)
    other = predecessor(known, name, group, wanted)
    if not other:
        return None
    return {"component": other, "containers": {n: c for n, c in known[other]["containers"].items() if n in wanted}}


def make_room(docker: Docker, names: Iterable[str], project: str) -> None:
    """Stop and remove the containers ``names`` that are not of ``project``: Compose could not make its own.

    They are this stack's, or their component would have been refused.
    """
    there = docker.containers()
    for name in sorted(names):
        if name in there and there[name].get("project") != project:
            docker.remove_container(name)


def _without(record: Mapping[str, Any], names: Iterable[str]) -> Dict[str, Any]:
    """``record`` of a component that has the containers ``names`` no more."""
    gone = set(names)
    services = {c["service"] for n, c in record["containers"].items() if n in gone}
    meta = dict(record["meta"])
    meta["prove"] = [item for item in meta.get("prove") or [] if item.get("service") not in gone]
    meta["release"] = [item for item in meta.get("release") or [] if item["service"] not in services]
    meta["rolling"] = [item for item in meta.get("rolling") or [] if not gone & set(item["containers"])]
    meta["volume_owners"] = [item for item in meta.get("volume_owners") or [] if item["container"] not in gone]
    kept = {n: c for n, c in record["containers"].items() if n not in gone}
    return {**record, "containers": kept, "meta": meta}


def conclude(root: str, takes: Optional[Mapping[str, Any]]) -> None:
    """What was taken over serves where it is now: the component before has it no more. Twice does the same."""
    record = records.load(root, takes["component"]) if takes else None
    if takes and record is not None and set(takes["containers"]) & set(record["containers"]):
        records.write(root, takes["component"], _without(record, takes["containers"]))


def take_back(root: str, takes: Mapping[str, Any]) -> Optional[Dict[str, Any]]:
    """The record of the component before, with what was to be taken over; None if it is gone."""
    record = records.load(root, takes["component"])
    if record is not None and set(takes["containers"]) - set(record["containers"]):
        record = {**record, "containers": {**record["containers"], **takes["containers"]}}
        records.write(root, takes["component"], record)
    return record
