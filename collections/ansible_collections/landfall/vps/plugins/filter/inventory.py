"""Filters for roles: refuse impossible values while rendering, name images after what they are built from."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, Sequence

from ansible.errors import AnsibleFilterError
from ansible_collections.landfall.vps.plugins.module_utils import registry, units
from ansible_collections.landfall.vps.plugins.module_utils.context import ContextError, build_tag
from ansible_collections.landfall.vps.plugins.module_utils.docker_api import bridge_name
from ansible_collections.landfall.vps.plugins.plugin_utils import placement, stack, wanted


def refuse(condition: Any, message: str) -> str:
    """Return an empty string; raise AnsibleFilterError with ``message`` if ``condition`` holds."""
    if condition:
        raise AnsibleFilterError(message)
    return ""


def refuse_unless(value: Any, condition: Any, message: str) -> Any:
    """Return ``value``; raise AnsibleFilterError with ``message`` unless ``condition`` holds."""
    if not condition:
        raise AnsibleFilterError(message)
    return value


def context_tag(build: Any, variable: str = "") -> str:
    """The tag of an image after what it is built from: the path of a context, or a mapping with ``context`` in it.

    Raises AnsibleFilterError if there is no such context; the message begins with the ``variable`` that names it.
    """
    try:
        return build_tag(build if isinstance(build, Mapping) else {"context": build})
    except (ContextError, OSError) as error:
        raise AnsibleFilterError("{0}{1}".format(variable and variable + ": ", error)) from error


def seconds(text: str) -> int:
    """A duration such as 30m or 1h30m in whole seconds. Raises AnsibleFilterError if it is none."""
    try:
        return int(units.seconds(text))
    except ValueError as error:
        raise AnsibleFilterError(str(error)) from error


def gateway(subnet: Any, networks: Mapping[str, Any], name: str) -> str:
    """The address of the VPS in network ``name``, see ``stack.gateway``. Raises AnsibleFilterError for no subnet."""
    try:
        return stack.gateway(subnet, networks, name)
    except stack.StackError as error:
        raise AnsibleFilterError(str(error)) from error


def signs_in(registries: Sequence[Mapping[str, Any]], logins: Mapping[str, Any]) -> bool:
    """Whether root has other passwords for ``registries`` than the inventory says, see ``registry.differs``."""
    return registry.differs(registries or [], logins or {})


def public_ports(published: Sequence[str], protocols: bool = False) -> List[Any]:
    """The ports of ``published``, such as 8443:443, that are reached from outside; with ``protocols`` as 8443/tcp."""
    found = wanted.public_ports(published)
    return list(dict.fromkeys("{0}/{1}".format(*one) if protocols else one[0] for one in found))


class FilterModule:
    """Registers the filters as landfall.vps.<name>."""

    def filters(self) -> Dict[str, Callable[..., Any]]:
        """Name to function."""
        return {
            "refuse": refuse,
            "refuse_unless": refuse_unless,
            "context_tag": context_tag,
            "seconds": seconds,
            "gateway": gateway,
            "bridge": bridge_name,
            "public_ports": public_ports,
            "peers": placement.peers,
            "signs_in": signs_in,
        }
