"""What the roles of a play are going to call theirs on the VPS, known before the first of them changes anything."""

from __future__ import annotations

import os
from typing import Any, Dict, Iterable, List, Mapping, Tuple

from ansible.errors import AnsibleError
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible_collections.landfall.vps.plugins.module_utils import ownership
from ansible_collections.landfall.vps.plugins.plugin_utils import seam
from ansible_collections.landfall.vps.plugins.plugin_utils.planned import PlanError, specs
from ansible_collections.landfall.vps.plugins.plugin_utils.render import RenderError, names_in, rendered_compose
from ansible_collections.landfall.vps.plugins.plugin_utils.stack import Stack
from ansible_collections.landfall.vps.plugins.plugin_utils.templates import TemplateError, render_file

COMPONENT = "landfall.vps.component"


def _names(
    templar: Templar, loader: DataLoader, roles: str, role: str, task_vars: Mapping[str, Any], stack: Stack
) -> List[Tuple[str, List[str], List[str]]]:
    """(project, containers, volumes) of a role's components as their compose files say. Raises as rendering does."""
    place = os.path.join(roles, role)
    tasks = seam.load_trusted(loader, os.path.join(place, "tasks", "main.yml"))
    task = next(task for task in tasks if COMPONENT in task)
    values = {**task_vars, "role_path": place, **(task.get("vars") or {})}
    folders = [os.path.join(place, "templates"), os.path.join(roles, "landfall", "templates")]

    def render_text(source: str, more: Mapping[str, Any], delimiters: Mapping[str, str]) -> str:
        return render_file(templar, place, source, folders, {**values, **more}, delimiters)

    found = []
    for options in specs(seam.templar_with(templar, values).template(task[COMPONENT])):
        project = stack.project(options["name"], options.get("group") or "")
        text = rendered_compose(options["name"], place, render_text, project, options["values"])
        found.append((project, *names_in(*text, stack.external_volumes)))
    return found


def clashes(
    state: Mapping[str, Any],
    stack: Stack,
    roles_folder: str,
    roles: Iterable[str],
    templar: Templar,
    loader: DataLoader,
    task_vars: Mapping[str, Any],
) -> List[str]:
    """What somebody else on the VPS has of the names that the enabled ones of ``roles`` want.

    Costs nothing where all that is on the VPS is this stack's. A compose file that does not render is for its role to
    tell; until then it is taken to want what its role is called.
    """
    if ownership.all_own(state, stack.name):
        return []
    faults: Dict[str, None] = {}
    for role in roles:
        if not os.path.exists(os.path.join(roles_folder, role, "templates", "compose.yaml.j2")):
            continue
        if not boolean(templar.template(task_vars.get(role + "_enabled", True)), strict=False):
            continue
        try:
            wanted = _names(templar, loader, roles_folder, role, task_vars, stack)
        except (AnsibleError, TemplateError, RenderError, PlanError, OSError, StopIteration):
            wanted = [(stack.project(role), [stack.project(role)], [])]
        network = "" if stack.external_network else stack.network
        for names in wanted:
            faults.update(dict.fromkeys(ownership.clashes(state, stack.name, *names, network)))
    return list(faults)
