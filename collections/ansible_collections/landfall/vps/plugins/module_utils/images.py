"""Brings images to the VPS: loads, builds and pulls them."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
from typing import Any, Mapping, Sequence

from ansible_collections.landfall.vps.plugins.module_utils import compose, progress, registry

PAUSES = (2.0, 10.0, 30.0)
"""Seconds before a pull is tried again that failed for a reason that may pass."""
BUILD_LINES = 50
"""Lines that are told of a build that failed, each of at most LINE characters."""
LINE = 300
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
"""How the older builder marks what a step wrote to its standard error."""
PASSING = (registry.LIMIT, registry.UNREACHABLE)


def provide_image(
    image: str, builds: Sequence[Mapping[str, Any]], archives: Mapping[str, str], timeout: float, digest: str = ""
) -> str:
    """Bring an image to the VPS: load an archive, build from a context, or pull. Returns how. Raises CommandFailed.

    An archive whose sha256 is not ``digest``, where one is told, is not loaded.
    """
    if image in archives:
        if digest and _sha256(archives[image]) != digest:
            form = "the archive of {0} is not what was signed: it was changed, or cut off, on its way to the VPS"
            raise compose.CommandFailed(form.format(image))
        compose.run(["docker", "load", "--input", archives[image]], timeout)
        return "loaded"
    for build in builds:
        if build["image"] == image:
            return _build(build, timeout)
    return pull(image, timeout)


def _sha256(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as handle:
        for block in iter(lambda: handle.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def pull(image: str, timeout: float) -> str:
    """Pull an image, some times if its registry cannot be reached or limits pulls. Raises CommandFailed with advice."""
    deadline = time.monotonic() + timeout
    pauses = list(PAUSES)
    while True:
        try:
            compose.run(["docker", "pull", image], max(1.0, deadline - time.monotonic()), image=image)
            tries = len(PAUSES) - len(pauses) + 1
            return "pulled" if tries == 1 else "pulled, the {0}. time it was tried".format(tries)
        except compose.CommandFailed as error:
            said = str(error)
            if registry.cause(said) in PASSING and pauses and time.monotonic() + pauses[0] < deadline:
                time.sleep(pauses.pop(0))
                continue
            hint = registry.advice(image, said)
            raise compose.CommandFailed("{0}{1}".format(said, ". " + hint if hint else "")) from error


def _build(build: Mapping[str, Any], timeout: float) -> str:
    """Build an image from the parts of its context, or tag one that was built from the same. Raises CommandFailed."""
    if build.get("twin"):
        compose.run(["docker", "tag", build["twin"], build["image"]], 60)
        return "is the same as {0}".format(build["twin"])
    argv = ["docker", "build", "--tag", build["image"], "--file", build.get("dockerfile") or "Dockerfile"]
    argv.append("--force-rm")  # the older builder would leave the container of the step that failed
    for option in ("target", "platform"):
        if build.get(option):
            argv += ["--" + option, str(build[option])]
    for key, value in sorted((build.get("args") or {}).items()):
        argv += ["--build-arg", key if value is None else "{0}={1}".format(key, value)]
    plain = {"BUILDKIT_PROGRESS": "plain"}
    try:
        compose.run([*argv, "-"], timeout, _joined(build["tar"]), plain, image=build["image"])
    except compose.CommandFailed as error:
        raise compose.CommandFailed(_why(build["image"], error)) from error
    return "built"


def _why(image: str, error: compose.CommandFailed) -> str:
    """What is told of a build that failed: the step, and the last lines."""
    lines = [COLOUR.sub("", line)[:LINE] for line in error.said.splitlines()]
    if not lines:
        return str(error)
    step = progress.failed_step(error.said)
    where = " at step {0}".format(step) if step else ", and no step of its Dockerfile ran to the end"
    last = "its last {0} lines".format(BUILD_LINES) if len(lines) > BUILD_LINES else "it said"
    form = "{0} cannot be built; its build failed{1}; look at build and its Dockerfile; {2}:\n{3}"
    return form.format(image, where, last, "\n".join(lines[-BUILD_LINES:]))


def _joined(parts: Sequence[str]) -> str:
    """The path of one file with all parts of a tar; the others are gone then, and no byte lies on the disk twice."""
    with open(parts[0], "ab") as whole:
        for part in parts[1:]:
            with open(part, "rb") as handle:
                shutil.copyfileobj(handle, whole)
            os.unlink(part)
    return parts[0]
