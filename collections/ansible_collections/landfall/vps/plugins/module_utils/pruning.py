"""Removes images of earlier releases: those of the last few stay, for a way back without a build and a registry.

Of images that were built on the VPS, tags of repositories that a component's own images are built under count; of
those that were pulled or loaded, only what a release that is dropped had or tried. Nothing goes that a container has,
or that a record or a release that is kept names. The engine's build cache is not kept by owner; the role docker bounds
it.
"""

from __future__ import annotations

import urllib.parse
from typing import AbstractSet, Any, Dict, Iterable, List, Mapping, Set

from ansible_collections.landfall.vps.plugins.module_utils.docker_api import Docker, DockerError
from ansible_collections.landfall.vps.plugins.module_utils.plan import repository, stored_as

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
            own = tag.rpartition(":")[0]
            if own in wanted:
                kept = tag in named or item["Id"] in used
                by_repository.setdefault(own, []).append((not kept, -int(item.get("Created") or 0), tag))
    result = []
    for tags in by_repository.values():
        result += [(-age, tag) for free, age, tag in sorted(tags)[count:] if free]
    return [tag for _created, tag in sorted(result)]


def forgettable(
    images: Iterable[str],
    found: Iterable[Mapping[str, Any]],
    containers: Iterable[Mapping[str, Any]],
    own: AbstractSet[str],
    held: AbstractSet[str],
) -> List[str]:
    """Those of ``images``, which dropped releases had and did not build here, that nobody has a use for any more.

    ``found`` is what the engine lists, ``own`` are the stacks whose releases these are, ``held`` names and ids that
    stay. What shares its repository with a container of somebody else stays, too: it may be theirs.
    """
    used = {str(one.get("image_id")) for one in containers}
    others = {repository(str(one.get("image"))) for one in containers if one.get("stack") not in own}
    ids = {
        name: str(item["Id"])
        for item in found
        for name in [*(item.get("RepoTags") or []), *(item.get("RepoDigests") or [])]
    }
    return [
        image
        for image in sorted(set(images))
        if stored_as(image) in ids
        and not image.startswith(BUILT_HERE)
        and not {image, stored_as(image), ids[stored_as(image)]} & held
        and ids[stored_as(image)] not in used
        and repository(image) not in others
    ]


def forget(
    docker: Docker, images: Iterable[str], records: Mapping[str, Mapping[str, Any]], held: AbstractSet[str]
) -> List[str]:
    """Remove ``images`` of dropped releases that were pulled or loaded; returns what was done. Never fails a deploy."""
    here = {name: c for record in records.values() for name, c in (record.get("containers") or {}).items()}
    kept = set(held) | {str(container.get("image")) for container in here.values()}
    try:
        containers = docker.containers()
        own = {str(found.get("stack")) for name, found in containers.items() if name in here}
        gone = forgettable(images, docker.json("GET", "/images/json"), list(containers.values()), own, kept)
        return _remove(docker, [stored_as(image) for image in gone])
    except (DockerError, OSError) as error:
        return ["old images stay: {0}".format(error)]


def _remove(docker: Docker, tags: Iterable[str]) -> List[str]:
    """Remove names of images; what the engine refuses stays."""
    gone = []
    for tag in tags:
        status, _data = docker.call("DELETE", "/images/{0}".format(urllib.parse.quote(tag, safe="/:@")))
        gone += [tag] if status < 400 else []
    return ["old images removed: {0}".format(", ".join(gone))] if gone else []


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
        return _remove(docker, surplus(docker.json("GET", "/images/json"), wanted, named | held, used | held, count))
    except (DockerError, OSError) as error:
        return ["old images stay: {0}".format(error)]
