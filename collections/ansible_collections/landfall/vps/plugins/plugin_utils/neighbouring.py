"""Renders the components of the other hosts of a stack as their own runs would, in the run of one of them."""

from __future__ import annotations

from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible.template import Templar
from ansible_collections.landfall.vps.plugins.plugin_utils import declared, others, placement, seam
from ansible_collections.landfall.vps.plugins.plugin_utils.placing import ALONE
from ansible_collections.landfall.vps.plugins.plugin_utils.planned import PlanError, rendered_for, specs, stack_of

COMPONENT = "landfall.vps.component"


def renderer(action: ActionBase, task_vars: Dict[str, Any]) -> Optional[others.Render]:
    """What renders the components of other hosts of this one's stack; None for a host that is alone.

    It knows the inventory and no host but its own: what runs elsewhere has no say. Raises PlanError when it is used.
    """
    fleet = placement.read(task_vars)
    if fleet is None:
        return None
    known: List[_Task] = []

    def render(folders: Mapping[str, List[str]]) -> Iterator[others.Shipped]:
        if not known:
            known.extend(_tasks(action, task_vars, fleet))
        for task in known:
            yield from task.shipped(dict(folders), fleet)

    return render


class _Task:
    """A component's task as another host has it."""

    def __init__(self, host: str, role: str, values: Mapping[str, Any], templar: Templar, args: Any) -> None:
        self.host, self.role, self._values, self._templar = host, role, values, templar
        self._whole = stack_of(templar, values)
        self._options = specs(templar.template(args))

    def shipped(self, to: declared.Destinations, fleet: placement.Fleet) -> Iterator[others.Shipped]:
        """What the components of this task are, with their files for others in the folders ``to``."""
        address = fleet.address(self.host)
        for options in self._options:
            if options["state"] != "absent":
                made = rendered_for(self._templar, options, self.role, self._whole, self._values, to, ALONE)
                yield others.Shipped(self.host, address, self._whole.gateway, self.role, made)


def _tasks(action: ActionBase, task_vars: Dict[str, Any], fleet: placement.Fleet) -> Iterator[_Task]:
    tasks = [task for task in seam.every_task(action) if task.action == COMPONENT and not task.peculiar]
    for host, task in _standing(tasks, fleet):
        values = seam.variables_of(action, task, task_vars, {}, host)
        if values is None:
            raise PlanError("this Ansible does not tell the variables of {0}".format(host))
        # Of the inventory alone: not what this run has come to know of that host, nor what its tags leave out
        values.update(ansible_facts={}, ansible_run_tags=["all"], ansible_skip_tags=[])
        lazy, templar = seam.remembering(action, values)
        try:
            if seam.holds(templar, task):
                yield _Task(host, task.role, lazy, templar, task.args)
        except AnsibleError as error:
            raise PlanError("{0}: {1}".format(host, error)) from error


def _standing(tasks: List[seam.PlayTask], fleet: placement.Fleet) -> Iterator[Tuple[str, seam.PlayTask]]:
    for host in fleet.others:
        for task in tasks:
            if task.role and fleet.holds(host, declared.stands(task.role)):
                yield host, task
