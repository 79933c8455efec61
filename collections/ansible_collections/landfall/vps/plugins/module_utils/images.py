"""Brings images to the VPS: loads, builds and pulls them."""

from __future__ import annotations

import os
import shutil
from typing import Any, Mapping, Sequence

from ansible_collections.landfall.vps.plugins.module_utils import compose


def provide_image(image: str, builds: Sequence[Mapping[str, Any]], archives: Mapping[str, str], timeout: float) -> str:
    """Bring an image to the VPS: load an archive, build from a context, or pull. Returns how. Raises CommandFailed."""
    if image in archives:
        compose.run(["docker", "load", "--input", archives[image]], timeout)
        return "loaded"
    for build in builds:
        if build["image"] == image:
            return _build(build, timeout)
    compose.run(["docker", "pull", "--quiet", image], timeout)
    return "pulled"


def _build(build: Mapping[str, Any], timeout: float) -> str:
    """Build an image from the parts of its context, or tag one that was built from the same. Raises CommandFailed."""
    if build.get("twin"):
        compose.run(["docker", "tag", build["twin"], build["image"]], 60)
        return "is the same as {0}".format(build["twin"])
    argv = ["docker", "build", "--tag", build["image"], "--file", build.get("dockerfile") or "Dockerfile"]
    for option in ("target", "platform"):
        if build.get(option):
            argv += ["--" + option, str(build[option])]
    for key, value in sorted((build.get("args") or {}).items()):
        argv += ["--build-arg", key if value is None else "{0}={1}".format(key, value)]
    compose.run(
        [*argv, "-"], timeout, stdin=_joined(build["tar"]), env={"BUILDKIT_PROGRESS": "plain"}, told=compose.BUILD_TAIL
    )
    return "built"


def _joined(parts: Sequence[str]) -> str:
    """The path of one file with all parts of a tar; the others are gone then, and no byte lies on the disk twice."""
    with open(parts[0], "ab") as whole:
        for part in parts[1:]:
            with open(part, "rb") as handle:
                shutil.copyfileobj(handle, whole)
            os.unlink(part)
    return parts[0]
