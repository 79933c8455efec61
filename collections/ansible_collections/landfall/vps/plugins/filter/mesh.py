"""Filters for tunnels between the hosts of an inventory."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, Sequence

from ansible.errors import AnsibleFilterError
from ansible_collections.landfall.vps.plugins.plugin_utils import mesh


def dealt_address(name: str, subnet: Any) -> str:
    """The address that a host's name is dealt, see ``mesh.dealt_address``."""
    try:
        return mesh.dealt_address(str(name), subnet)
    except mesh.MeshError as error:
        raise AnsibleFilterError(str(error)) from error


def tunnel_members(
    found: Sequence[mesh.Member], subnet: Any, own: str, ranges: Mapping[str, str], play: Sequence[str] = ()
) -> List[Dict[str, Any]]:
    """Who belongs to a private network, see ``mesh.members``. Raises AnsibleFilterError with all faults."""
    try:
        return mesh.members(found, subnet, own, ranges, play)
    except mesh.MeshError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """Registers the filters as landfall.vps.<name>."""

    def filters(self) -> Dict[str, Callable[..., Any]]:
        """Name to function."""
        return {
            "dealt_address": dealt_address,
            "tunnel_members": tunnel_members,
            "tunnel_config": mesh.config,
            "tunnel_keys_to_come": mesh.keys_to_come,
        }
