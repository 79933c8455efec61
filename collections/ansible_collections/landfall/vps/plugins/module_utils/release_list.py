"""The releases that a VPS keeps, and the change of releases that goes on: what they are, and how they are read.

A release is what all components of some groups were together: their own files, images and records. Below
``<root>/.state/releases`` each has a folder with ``release.json`` and, if it served, ``components/<component>`` with
``record.json`` and ``files/<path>``. It holds the secrets of that release, so that only root may enter it.

``release.json`` and ``open.json``, the change that goes on:

- ``name``; ``base`` is the name without the number that tells it from others of that name; ``given`` by who deploys
- ``commit``, ``by``, ``run``, ``groups``; ``at`` in seconds since 1970, ``seconds`` that it took
- ``outcome``: ``open``, ``complete``, ``incomplete`` (a part of it serves) or ``failed``; ``why``
- ``wants``: component to identity (``plan.identity``), empty for one that goes
- ``tried``: images that what the run wanted has, of which one that never served knows no more
- ``components``: component to ``{identity, images}``, the latter image to id; of a complete one
- ``ran``: release commands that ran for it; ``served``: when it began to serve, each time; ``after``: what did before
- in ``open.json`` alone ``touched``: whether anything was changed, and ``back``: the release that is gone back to,
  while ``after`` is the one that was left
"""

from __future__ import annotations

import os
from typing import Any, Dict, List, Mapping, Optional, Set

from ansible_collections.landfall.vps.plugins.module_utils import shapes
from ansible_collections.landfall.vps.plugins.module_utils.records import STATE_DIR, BadRecord

FOLDER = "releases"
FORMAT = 1
OPEN, COMPLETE, INCOMPLETE, FAILED = "open", "complete", "incomplete", "failed"
KEEP = 5
"""Releases that are kept where nobody says otherwise."""
Release = Dict[str, Any]


def home(root: str) -> str:
    """The folder of all releases."""
    return os.path.join(root, STATE_DIR, FOLDER)


def open_file(root: str) -> str:
    """Where the change lies that goes on."""
    return os.path.join(home(root), "open.json")


def _read(path: str) -> Optional[Release]:
    try:
        value = shapes.read(path)
    except (OSError, ValueError):
        return None
    if not isinstance(value, dict) or value.get("format") != FORMAT or shapes.misfit(value, shapes.RELEASE):
        return None
    names = [str(value.get(key) or "") for key in ("name", "base", "back", "after")]
    return None if any("/" in name or name.startswith(".") for name in names) else value


def under_way(root: str) -> Optional[Release]:
    """The change that goes on, or that a run that died left; None for none. Raises BadRecord for a newer one."""
    path = open_file(root)
    try:
        value = shapes.read(path)
    except (OSError, ValueError):
        return None
    number = value.get("format") if isinstance(value, dict) else None
    if isinstance(number, int) and number > FORMAT:
        form = "{0} was begun by a newer Landfall (format {1}, this one reads {2}); let that version finish it"
        raise BadRecord(form.format(path, number, FORMAT))
    return _read(path)


def load(root: str, name: str) -> Optional[Release]:
    """The release ``name``, or None."""
    found = _read(os.path.join(home(root), name, "release.json"))
    return found if found and found["name"] == name else None


def load_all(root: str) -> List[Release]:
    """All releases that can be read, that which began to serve last first, then those that never served."""
    names = os.listdir(home(root)) if os.path.isdir(home(root)) else []
    found = [release for name in names if not name.startswith(".") for release in [load(root, name)] if release]
    return sorted(found, key=lambda one: (one["outcome"] == COMPLETE, last_served(one), one["at"]), reverse=True)


def last_served(release: Mapping[str, Any]) -> float:
    """When a release began to serve, the last time; 0 for never."""
    return max([float(at) for at in release.get("served") or []], default=0.0)


def identities(release: Mapping[str, Any]) -> Dict[str, str]:
    """Component to identity."""
    return {name: str(one.get("identity")) for name, one in release["components"].items()}


def images_of(releases: List[Release]) -> Set[str]:
    """Names and ids of the images of ``releases``."""
    found: Set[str] = set()
    for release in releases:
        for one in release["components"].values():
            images = one.get("images") or {}
            found |= {str(image) for image in images} | {str(identifier) for identifier in images.values()}
    return found


def brief(root: str) -> List[Release]:
    """What the controller has to know of each release, see ``load_all``."""
    keys = ("name", "base", "outcome", "given", "at", "groups", "components")
    return [{key: release.get(key) for key in keys} for release in load_all(root)]
