"""What a checker in its throw-away container is shown of the service it checks for: new files, and data if it asks."""

from __future__ import annotations

import os
from typing import Any, Iterable, List, Mapping


def data(service: Mapping[str, Any], volumes: Mapping[str, Any], there: Iterable[str]) -> List[str]:
    """``-v`` arguments that show a checker the service's volumes, read-only; Docker would make those not ``there``.

    ``volumes`` is what the compose file says of them.
    """
    result = []
    for volume in service.get("volumes") or []:
        name = str((volumes.get(volume.get("source", "")) or {}).get("name") or volume.get("source", ""))
        if volume.get("type") == "volume" and name in there:
            result += ["-v", "{0}:{1}:ro".format(name, volume["target"])]
    return result


def files(name: str, service: Mapping[str, Any], staged: str, root: str) -> List[str]:
    """``-v`` arguments that show a checker the staged files where the service will see them."""
    result = []
    here = os.path.join(staged, name)
    for volume in service.get("volumes") or []:
        source = volume.get("source", "")
        if volume.get("type") != "bind" or not (source + "/").startswith(here + "/"):
            continue
        relative = os.path.relpath(source, here)
        path = source if os.path.exists(source) else os.path.join(root, name, relative)
        if os.path.exists(path):
            result += ["-v", "{0}:{1}:ro".format(path, volume["target"])]
    return result
