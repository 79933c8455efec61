"""What the controller does to the lease of a run that lives, and of one that has ended."""

from __future__ import annotations

from typing import Any, Dict

from ansible_collections.landfall.vps.plugins.module_utils.lock import Lock


def renew(root: str, run: str, who: str) -> Dict[str, Any]:
    """Lengthen a run's lease; returns ``{held}``."""
    return {"held": Lock(root, run, who).renew()}


def end(root: str, run: str, who: str) -> Dict[str, Any]:
    """Give back the lease of a run that has ended; what it still has at work does so itself."""
    Lock(root, run, who).end()
    return {"held": False}
