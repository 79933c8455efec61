"""Removes images of earlier releases that were built on the VPS: the last few stay, for a way back without a build.

Only tags of repositories that a component's own images are built under count, and of those none that a container has,
or a record or a release that is kept names. Images that were pulled or loaded, and the engine's build cache, are not
touched: the cache is not kept by owner, and the engine bounds it itself.
"""

from __future__ import annotations

import urllib.parse
from typing import AbstractSet, Any, Dict, Iterable, List, Mapping, Set

from ansible_collections.landfall.vps.plugins.module_utils.docker_api import Docker, DockerError

BUILT_HERE = "landfall/"
KEPT = 5
"""Images that stay of each repository, the one in use among them."""


def repositories(images: Iterable[str]) -> Set[str]:
    """The repositories of those images that are built on the VPS."""
    return {image.rpartition(":")[0] for image in images if image.startswith(BUILT_HERE) and "@" not in image}


def surplus(
    found: Iterable[Mapping[str, Any]], wanted: Set[str], named: Set[str], used: Set[str], count: int = KEPT
) -> List[str]:
    """Tags of the ``wanted`` repositories that may go, the oldest first.

    ``found`` is what the engine lists (``RepoTags``, ``Created`` in seconds, ``Id``), ``named`` the images that records
    and kept releases name, ``used`` the ids of images that containers or those releases have. ``count`` stay.
    """
    by_repository: Dict[str, List[Any]] = {}
    for item in found:
        for tag in item.get("RepoTags") or []:
            repository = tag.rpartition(":")[0]
            if repository in wanted:
                kept = tag in named or item["Id"] in used
                by_repository.setdefault(repository, []).append((not kept, -int(item.get("Created") or 0), tag))
    result = []
    for tags in by_repository.values():
        result += [(-age, tag) for free, age, tag in sorted(tags)[count:] if free]
    return [tag for _created, tag in sorted(result)]


def prune(
    docker: Docker,
    images: Iterable[str],
    records: Mapping[str, Mapping[str, Any]],
    held: AbstractSet[str] = frozenset(),
    count: int = KEPT,
) -> List[str]:
    """Remove what is left of releases before the last ones; returns what was done. Never fails a deploy.

    ``held`` are names and ids of images of releases that are kept; ``count`` images of each repository stay.
    """
    wanted = repositories(images)
    if not wanted:
        return []
    named = {str(c.get("image")) for record in records.values() for c in (record.get("containers") or {}).values()}
    try:
        used = {str(container.get("image_id")) for container in docker.containers().values()}
        gone = []
        for tag in surplus(docker.json("GET", "/images/json"), wanted, named | held, used | held, count):
            status, _data = docker.call("DELETE", "/images/{0}".format(urllib.parse.quote(tag, safe="/:")))
            gone += [tag] if status < 400 else []
    except (DockerError, OSError) as error:
        return ["old images stay: {0}".format(error)]
    return ["old images removed: {0}".format(", ".join(gone))] if gone else []
