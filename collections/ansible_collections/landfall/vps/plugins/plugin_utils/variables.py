"""What is wrong with the variables of a host, for the tasks of a play that may change it."""

from __future__ import annotations

import os
from typing import Any, Callable, Dict, Iterable, List, Optional

from ansible.errors import AnsibleError
from ansible.template import Templar
from ansible_collections.landfall.vps.plugins.plugin_utils import declared, formats, placement, stack
from ansible_collections.landfall.vps.plugins.plugin_utils.origin import Sources
from ansible_collections.landfall.vps.plugins.plugin_utils.specs import inventory_faults, role_specs

STACK_VARIABLES = ("landfall_prefix", "landfall_subnet", "landfall_gateway", "landfall_mtu")


def faults(
    templar: Templar,
    read: Callable[[str], str],
    own: Iterable[str],
    task_vars: Dict[str, Any],
    values: Optional[Dict[str, Dict[str, Any]]] = None,
) -> List[str]:
    """All faults of the variables of this play's roles, each once; ``values`` is filled with those of enabled roles.

    ``templar`` knows ``task_vars``, which are those of a task of a role; ``own`` are the variables that it defines for
    itself, and ``read`` returns the text of a file as Ansible reads it.
    """
    place = os.path.dirname(str(task_vars["role_path"]))
    specs = role_specs(place)
    # What tasks define for themselves is no part of the inventory
    apart = {*(task_vars.get("ansible_facts") or {}), *own}
    names = [name for name in task_vars if name not in apart]
    found = inventory_faults(
        declared.roles_here(task_vars),
        specs,
        names,
        lambda name: templar.template(task_vars[name]),
        values,
        {role: formats.load(place, role) for role in specs},
        Sources(read, place + os.sep),
        task_vars,
    )
    whole = _of_stack(templar, task_vars)
    hosts = placement.faults(task_vars, str(whole.get("landfall_subnet") or ""))
    return list(dict.fromkeys([*found, *stack.faults(whole), *hosts]))


def _of_stack(templar: Templar, task_vars: Dict[str, Any]) -> Dict[str, Any]:
    values = {}
    for name in STACK_VARIABLES:
        if name in task_vars:
            try:
                values[name] = templar.template(task_vars[name])
            except AnsibleError:
                continue  # was told with all the others
    return values
