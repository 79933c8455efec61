"""What a component says a backup must keep of it: option ``saves`` of ``landfall.vps.component``.

An item names a kind of data and how its server is asked for a consistent copy. It is kept in the record, where whatever
backs up reads it on the VPS (``module_utils/backups``): what is deployed is what is backed up.
"""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Sequence, Tuple

from ansible_collections.landfall.vps.plugins.module_utils.plan import Container, main_container

KINDS: Dict[str, Tuple[Tuple[str, ...], Tuple[str, ...]]] = {
    # Every database by pg_dump, with the roles; ``restored`` is run in the container after a database was put back
    "postgresql": (("user",), ("restored",)),
    # The file that BGSAVE writes; ``ask`` is argv of a client that signs in, to which a command is added
    "rdb": (("ask", "file", "volume"), ()),
    # A named volume file by file, SQLite files in it by their own backup; ``exclude`` are patterns of restic
    "volume": (("volume",), ("exclude",)),
}
"""Kind of data to the keys that an item must have and those that it may have, beside kind and service."""


class SavesError(Exception):
    """An item of ``saves`` that the engine does not understand."""


def described(
    items: Sequence[Mapping[str, Any]], containers: Mapping[str, Container], document: Mapping[str, Any], name: str = ""
) -> Dict[str, Any]:
    """``saves`` for a record: each item with ``what`` (its name for people), its container and the volume's real name.

    ``containers`` are those of component ``name`` by theirs, ``document`` its compose file. Nothing where there are no
    items. Raises SavesError.
    """
    names = {container.service: name for name, container in containers.items()}
    services = {container: service for service, container in names.items()}
    first = services[main_container(name, services)] if services else ""
    volumes = document.get("volumes") or {}
    found: List[Dict[str, Any]] = []
    for index, given in enumerate(items):
        place = "saves[{0}]".format(index)
        item = {key: value for key, value in given.items() if value not in (None, "", [], {})}
        if item.get("kind") not in KINDS:
            raise SavesError("{0}.kind is {1!r}; it must be {2}".format(place, item.get("kind"), " or ".join(KINDS)))
        needed, more = KINDS[item["kind"]]
        unknown = sorted(set(item) - {"kind", "service", *needed, *more})
        missing = [key for key in needed if key not in item]
        if unknown or missing:
            fault = "has no " + unknown[0] if unknown else "lacks " + missing[0]
            raise SavesError("{0} ({1}) {2}; it takes {3}".format(place, item["kind"], fault, (*needed, *more)))
        service = str(item.get("service") or first)
        if service not in names:
            raise SavesError("{0}: there is no service {1}".format(place, service))
        item.update(service=service, container=names[service], what=service)
        if "volume" in item:
            volume = str(item["volume"])
            if volume not in volumes:
                raise SavesError("{0}: the compose file has no volume {1}".format(place, volume))
            item["what"] = "volume/" + volume if item["kind"] == "volume" else service
            item["volume"] = str((volumes[volume] or {}).get("name") or volume)
        found.append(item)
    return {"saves": found} if found else {}
