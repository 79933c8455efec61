"""Filters for SSH keys that may do nothing but deploy."""

from __future__ import annotations

from typing import Any, Callable, Dict

from ansible.errors import AnsibleFilterError
from ansible_collections.landfall.vps.plugins.plugin_utils import deploy_keys as judging


def authorized_keys(keys: Any, program: str, variable: str = "landfall_deploy_keys") -> str:
    """The file authorized_keys in which each key may run ``program`` alone."""
    try:
        return judging.lines(judging.judged(keys, variable), program)
    except judging.KeyFault as error:
        raise AnsibleFilterError(str(error)) from error


def verbs_of_keys(keys: Any, variable: str = "landfall_deploy_keys") -> Dict[str, Any]:
    """Name of each key to the verbs that it may use."""
    try:
        return {key["name"]: key["may"] for key in judging.judged(keys, variable)}
    except judging.KeyFault as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """Filters of this file."""

    def filters(self) -> Dict[str, Callable[..., Any]]:
        """Name to function."""
        return {"authorized_keys": authorized_keys, "verbs_of_keys": verbs_of_keys}
