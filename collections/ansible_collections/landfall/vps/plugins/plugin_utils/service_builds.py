"""Images of services: what an item's is called, how it is built, and what a build cannot say here. Pure functions."""

from __future__ import annotations

import difflib
import os
from typing import Any, Dict, List, Mapping, Sequence

from ansible_collections.landfall.vps.plugins.module_utils import context
from ansible_collections.landfall.vps.plugins.plugin_utils import service_lines
from ansible_collections.landfall.vps.plugins.plugin_utils.service_lines import ServiceError

BUILDS = ("context", "dockerfile", "args", "target", "platform")
BUILD_INSTEAD = {
    "secrets": "build the image where its secrets are (docker build --secret), push it to a registry and name it by "
    "image (docs/operations/registries.md); a build argument would stay readable in the image",
    "ssh": "build the image where the key is, push it to a registry and name it by image",
    "platforms": "name the one of the VPS by platform, or leave it out",
    "dockerfile_inline": "write it to a file of the context and name that by dockerfile",
    "additional_contexts": "put all that the build needs into one context",
    "cache_from": "leave it out; the engine of the VPS keeps its own cache",
    "cache_to": "leave it out; the engine of the VPS keeps its own cache",
    "labels": "write them into the Dockerfile",
    "tags": "name the image by image",
    "network": "leave it out; builds have the network of the engine",
    "shm_size": "build the image elsewhere and name it by image",
    "no_cache": "change an argument (args) to build again",
    "pull": "change the tag in the Dockerfile to build on another base",
}


def image_of(item: Mapping[str, Any], where: str = "services") -> str:
    """The exact image of one item: its own, or one named after what it is built from. Raises ServiceError.

    Of an item with both, as Compose allows it, the image is the name, and the digest joins its tag: a changed context
    is another image.
    """
    build, image = item.get("build"), str(item.get("image") or "")
    if not build:
        if not image:
            raise ServiceError("{0}: {1} has neither image nor build".format(where, item.get("name")))
        return image
    try:
        tag = context.build_tag(build_of(item, where))
    except (context.ContextError, OSError) as error:
        raise ServiceError("{0}: {1}: {2}".format(where, item.get("name"), error)) from error
    if not image:
        return "landfall/{0}:{1}".format(item["name"], tag)
    folder, slash, last = image.rpartition("/")
    name, _colon, own = last.partition(":")
    if own in ("", "latest", tag):
        return "{0}{1}{2}:{3}".format(folder, slash, name, tag)
    return "{0}{1}{2}:{3}-{4}".format(folder, slash, name, own, tag)


def build_of(item: Mapping[str, Any], where: str) -> Dict[str, Any]:
    """How an item is built: context, dockerfile, args, target and platform, as far as it says. Raises ServiceError."""
    build = item["build"]
    if isinstance(build, str):  # as Compose allows it
        build = {"context": build}
    _refuse_build(build, "{0}: {1}: build".format(where, item.get("name")))
    args = {
        str(key): service_lines.text(value, "{0}: {1}: build argument {2}".format(where, item.get("name"), key))
        for key, value in (build.get("args") or {}).items()
    }
    return {**{key: value for key, value in build.items() if value is not None}, "args": args}


def _refuse_build(build: Any, told: str) -> None:
    """Raise ServiceError for what nothing here would do, with what would."""
    if not isinstance(build, Mapping):
        raise ServiceError("{0}: names no context; write the folder, or {{context: …}}".format(told))
    for key in build:
        if key not in BUILDS:
            close = difflib.get_close_matches(str(key), BUILDS, n=1)
            instead = BUILD_INSTEAD.get(str(key)) or ("did you mean {0}?".format(close[0]) if close else "")
            known = "known are {0}".format(", ".join(BUILDS))
            raise ServiceError("{0}.{1}: has no counterpart here; {2}".format(told, key, instead or known))
    if not os.path.isabs(str(build.get("context") or "")):
        raise ServiceError(
            "{0}: '{1}' is no folder of this machine by its whole path; write one such as "
            "\"{{{{ inventory_dir }}}}/shop\"".format(told, build.get("context") or "")
        )  # fmt: skip
    if not isinstance(build.get("args") or {}, Mapping):
        raise ServiceError("{0}.args: is no map; write {{NAME: value}}".format(told))


def builds(items: Sequence[Mapping[str, Any]], where: str) -> List[Dict[str, Any]]:
    """What has to be built for ``items``, each image once. Raises ServiceError."""
    found = {image_of(item, where): build_of(item, where) for item in items if item.get("build")}
    return [{"image": image, **build} for image, build in sorted(found.items())]
