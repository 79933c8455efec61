"""Which files of its component's folder a service of a compose file sees, in whichever way Compose lets it."""

from __future__ import annotations

import os
from typing import Any, List, Mapping, Tuple


def seen(options: Mapping[str, Any], document: Mapping[str, Any]) -> Tuple[str, ...]:
    """Paths below the component's folder that a service sees; ``.`` is all of it.

    Bind mounts, files of environment, and Compose's own configs and secrets.
    """
    found = []
    for volume in options.get("volumes") or []:
        source = str(volume.get("source", "")) if isinstance(volume, dict) else str(volume).split(":", 1)[0]
        found += [source] if source == "." or source.startswith("./") else []  # others are volumes, or absolute
    found += [_named(item, "path") for item in _listed(options.get("env_file"))]
    for kind in ("configs", "secrets"):
        declared = document.get(kind) or {}
        for item in _listed(options.get(kind)):
            found.append(str((declared.get(_named(item, "source")) or {}).get("file") or ""))
    normal = {os.path.normpath(path) for path in found if path and not os.path.isabs(path)}
    return tuple(sorted(path for path in normal if not path.startswith("..")))


def _listed(value: Any) -> List[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _named(item: Any, key: str) -> str:
    return str(item.get(key) or "") if isinstance(item, dict) else str(item)
