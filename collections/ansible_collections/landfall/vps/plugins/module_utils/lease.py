"""What the controller does to the lease of a run that begins, of one that lives, and of one that has ended."""

from __future__ import annotations

from typing import Any, Dict, Mapping, Optional

from ansible_collections.landfall.vps.plugins.module_utils import progress
from ansible_collections.landfall.vps.plugins.module_utils.lock import Lock, Locked


def queue(
    root: str, run: str, who: str, dead: str, holder: Optional[Mapping[str, Any]], seconds: float, doing: str
) -> Dict[str, Any]:
    """Wait for the VPS so many seconds, and have the lease of it then, ``doing`` that; returns ``{held, why}``."""
    lock = Lock(root, run, who, dead, holder)
    try:
        lock.acquire_within(seconds, doing, lambda line: progress.say("lock", line))
    except Locked as error:
        return {"held": False, "why": str(error)}
    lock.keep()
    return {"held": True, "why": ""}


def renew(root: str, run: str, who: str) -> Dict[str, Any]:
    """Lengthen a run's lease; returns ``{held}``."""
    return {"held": Lock(root, run, who).renew()}


def end(root: str, run: str, who: str) -> Dict[str, Any]:
    """Give back the lease of a run that has ended; what it still has at work does so itself."""
    Lock(root, run, who).end()
    return {"held": False}
