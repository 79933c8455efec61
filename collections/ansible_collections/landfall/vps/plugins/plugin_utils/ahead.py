"""Which later tasks of a play share the trip of this one: what a first deploy costs is trips, and a checker for each.

The tasks that come next are planned as the first task of the play planned them. What their trip did is kept as a fact;
each tells it when its turn comes, if by then it would ask for the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, Mapping, Sequence

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible.template import Templar
from ansible_collections.landfall.vps.plugins.module_utils import plan as planning
from ansible_collections.landfall.vps.plugins.plugin_utils import foresight, neighbouring, seam, session
from ansible_collections.landfall.vps.plugins.plugin_utils.planned import PlanError, Planned, plan_task

FACT = "ahead"
"""The key of the state under which is kept what became of components whose tasks are still to come."""
PASSED_OVER = ("noop", "role_complete")
SETTINGS = (
    *("connection", "remote_user", "port", "become", "become_user", "become_method", "become_exe", "become_flags"),
    *("check_mode", "diff", "no_log", "timeout", "debugger", "any_errors_fatal"),
)
REACHED_BY = (
    *("ansible_connection", "ansible_host", "ansible_port", "ansible_user", "ansible_python_interpreter"),
    *("ansible_become", "ansible_become_user", "ansible_become_method"),
)


@dataclass(frozen=True)
class Companion:
    """A component of a later task, with the variables that this task will have."""

    planned: Planned
    values: Mapping[str, Any]
    templar: Templar


def is_new(one: Planned) -> bool:
    """Whether nothing of a component is on the VPS so far and its images are: only files are to be brought there."""
    own = not one.options.get("group") and not one.options.get("releases") and not one.actual.part_of
    known = one.actual.record is not None or one.plan.missing_images
    return bool(own and not known and one.plan.action == planning.CREATED)


def companions(
    action: ActionBase, several: Sequence[Planned], task_vars: Dict[str, Any], state: Mapping[str, Any]
) -> Iterator[Companion]:
    """New components whose tasks come next, up to the first task that does anything else.

    None unless those of this task, ``several``, are new, too.
    """
    found = seam.play_tasks(action, task_vars) if all(is_new(one) for one in several) else None
    names = {one.name for one in several}
    elsewhere = neighbouring.renderer(action, task_vars)
    mine = seam.variables_of(action, None, task_vars, {}) or {}
    for task in found[1] if found else []:
        meta = seam.meta_of(task)
        if meta in PASSED_OVER:
            continue
        values = None if meta else seam.variables_of(action, task, task_vars, session.as_fact(state))
        if values is None:
            return
        known, templar = seam.remembering(action, values)
        try:
            if not task.peculiar and not seam.holds(templar, task):
                continue
            alike = seam.runs_alike(action, task, SETTINGS) and all(values.get(n) == mine.get(n) for n in REACHED_BY)
            if task.action != foresight.COMPONENT or task.peculiar or not alike:
                return
            planned = plan_task(templar, templar.template(task.args), task.role, known, state, elsewhere)
        except (PlanError, AnsibleError):  # its own task tells why
            return
        changed = [one for one in planned if one.plan.changed]
        # A role that comes twice is planned anew once the first of its tasks is done
        if not all(is_new(one) and one.name not in names for one in changed):
            return
        names |= {one.name for one in changed}
        yield from (Companion(one, known, templar) for one in changed)


def taken(several: Sequence[Planned], state: Mapping[str, Any]) -> Dict[str, Dict[str, Any]]:
    """What the trip of an earlier task made of these components; nothing unless all are still to be just that."""
    known = state.get(FACT) or {}
    same = all((known.get(one.name) or {}).get("brief") == one.brief() for one in several)
    return {one.name: dict(known[one.name]["answer"]) for one in several} if same else {}


def kept(
    several: Sequence[Planned], company: Sequence[Companion], answers: Mapping[str, Any], state: Mapping[str, Any]
) -> Dict[str, Any]:
    """What later tasks are to know once those of ``several`` have told theirs, as ``taken`` reads it."""
    names: List[str] = [one.name for one in several]
    left = {name: one for name, one in (state.get(FACT) or {}).items() if name not in names}
    for one in company:
        if one.planned.name in answers:
            left[one.planned.name] = {"brief": one.planned.brief(), "answer": answers[one.planned.name]}
    return left
