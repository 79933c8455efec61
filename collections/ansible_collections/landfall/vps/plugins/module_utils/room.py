"""Whether the VPS has the memory for a second container of a kind, for a moment."""

from __future__ import annotations

import re
import urllib.parse
from typing import Any, Mapping

from ansible_collections.landfall.vps.plugins.module_utils.docker_api import Docker, DockerError
from ansible_collections.landfall.vps.plugins.module_utils.sockets import read_text

MEMORY = "/proc/meminfo"
SPARE = 64 << 20  # bytes
MORE = 1.25
"""As much more may a new version need than the one that runs."""


def available(text: str) -> int:
    """Bytes that the kernel can give away, of the text of /proc/meminfo; 0 where it does not say."""
    found = re.search(r"^MemAvailable:\s+(\d+) kB$", text, re.MULTILINE)
    return int(found.group(1)) * 1024 if found else 0


def used(stats: Mapping[str, Any]) -> int:
    """Bytes that a container needs, of the engine's statistics: without files that the kernel can drop."""
    memory = stats.get("memory_stats") or {}
    more = memory.get("stats") or {}
    return int(memory.get("usage") or 0) - int(more.get("inactive_file") or more.get("total_inactive_file") or 0)


def missing(docker: Docker, container: str) -> str:
    """Why a container like this one does not fit beside it; empty if it does, or nobody can tell."""
    try:
        path = "/containers/{0}/stats?stream=false&one-shot=true".format(urllib.parse.quote(container))
        needed = int(used(docker.json("GET", path)) * MORE) + SPARE
    except (DockerError, ValueError, TypeError, AttributeError):
        return ""
    free = available(read_text(MEMORY))
    if not free or free >= needed:
        return ""
    form = "a second container needs some {0} MB of memory, and {1} MB are free"
    return form.format(needed >> 20, free >> 20)
