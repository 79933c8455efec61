"""A test for roles: whether what is known of a VPS was read in this run."""

from __future__ import annotations

from typing import Any, Callable, Dict

from ansible_collections.landfall.vps.plugins.plugin_utils import session


class TestModule:
    """Registers the test as landfall.vps.read_in_this_run."""

    def tests(self) -> Dict[str, Callable[[Any], bool]]:
        """Name to function."""
        return {"read_in_this_run": session.is_current}
