"""What the tasks of a play are going to do, known in its first one, and whether anything is left to do for a host."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence

from ansible.errors import AnsibleError, AnsibleUndefinedVariable
from ansible.plugins.action import ActionBase
from ansible_collections.landfall.vps.plugins.module_utils import plan as planning
from ansible_collections.landfall.vps.plugins.module_utils import rotation, switching
from ansible_collections.landfall.vps.plugins.module_utils.docker_api import Docker
from ansible_collections.landfall.vps.plugins.module_utils.verify import table
from ansible_collections.landfall.vps.plugins.plugin_utils import (
    halves,
    neighbouring,
    others,
    placement,
    placing,
    seam,
    session,
)
from ansible_collections.landfall.vps.plugins.plugin_utils.planned import PlanError, Planned, plan_task

COMPONENT = "landfall.vps.component"
VERIFY = "landfall.vps.verify"
HARMLESS_META = ("flush_handlers", "noop", "role_complete", "end_host", "end_play", "end_batch", "end_role")
# What Ansible puts before a role of `roles:`; the first task has checked the variables of all of them
HARMLESS = ("ansible.builtin.validate_argument_spec", "validate_argument_spec")
COLUMNS = ("component", "action", "containers", "why")
VERBS = {
    planning.CREATED: "create",
    planning.RECREATED: "recreate",
    planning.RELOADED: "reload",
    planning.STARTED: "start",
    planning.UPDATED: "update",
    planning.REMOVED: "remove",
}
REASONS = 2
"""As many are told in the table; the task of the component tells more."""


@dataclass
class Outlook:
    """What is ahead for one host.

    ``planned`` are components, ``later`` those (by their role's name, with why) that only their own task can plan,
    ``faults`` what refuses the run. ``others`` are tasks besides components that will run, or may; ``verifies`` says
    that this play verifies. ``known`` is false where nobody could look ahead.
    """

    planned: List[Planned] = field(default_factory=list)
    later: Dict[str, str] = field(default_factory=dict)
    faults: List[str] = field(default_factory=list)
    others: List[str] = field(default_factory=list)
    verifies: bool = False
    known: bool = True
    records: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What is deployed already."""
    hosts: str = ""
    """Who holds what, where the stack has several hosts."""

    @property
    def changes(self) -> List[Planned]:
        """The components for which something is to be done."""
        return [one for one in self.planned if one.plan.changed]

    @property
    def nothing_left(self) -> bool:
        """Whether no task of this play that is still to come would do anything for this host."""
        return self.known and not (self.changes or self.later or self.others or self.faults)


@dataclass(frozen=True)
class Seen:
    """What one task of ``role`` is going to do; ``lacks`` says that its ``fault`` is a variable that is not there."""

    role: str
    planned: List[Planned] = field(default_factory=list)
    others: List[str] = field(default_factory=list)
    later: Dict[str, str] = field(default_factory=dict)
    fault: str = ""
    lacks: bool = False


def look_ahead(action: ActionBase, task_vars: Dict[str, Any], state: Mapping[str, Any]) -> Outlook:
    """Plan all components of the play that the run's tags select, on a VPS in this ``state``; nothing is changed."""
    found = seam.play_tasks(action, task_vars)
    if found is None:
        return Outlook(known=False)
    before, after = found
    outlook = Outlook(records=state.get("records") or {})
    # What an earlier task notified is done when its section ends, which a host that is done never comes to
    outlook.others += [task.raw.get_name() for task in before if task.notifies and task.section == _own(after, before)]
    facts, fleet = session.as_fact(state), placement.read(task_vars)
    elsewhere = neighbouring.renderer(action, task_vars)
    outlook.hosts = fleet.told() if fleet else ""
    coming = [task for task in after if seam.meta_of(task) not in HARMLESS_META and task.action not in HARMLESS]
    outlook.verifies = any(task.action == VERIFY for task in coming)

    def seen(task: seam.PlayTask) -> Optional[Seen]:
        values = seam.variables_of(action, task, task_vars, facts)
        return None if values is None else _seen(action, task, values, state, elsewhere)

    for one in halves.done(seen, coming, halves.useful(task_vars)):
        if one is None:
            return Outlook(known=False)
        outlook.planned += one.planned
        outlook.others += one.others
        outlook.later.update(one.later)
        # One of the tasks before may bring what is missing
        if one.fault and outlook.others and one.lacks:
            outlook.later[one.role] = one.fault
        elif one.fault:
            outlook.faults.append(one.fault)
    if fleet:
        files = {
            one.name: one.rendered.contents.get(one.name + "/compose.yaml", b"").decode() for one in outlook.planned
        }
        outlook.faults += placing.clashes(files, fleet.address(fleet.me))
    return outlook


def _own(after: Sequence[seam.PlayTask], before: Sequence[seam.PlayTask]) -> int:
    """The section of the task between these."""
    return after[0].section if after else before[-1].section


def _seen(
    action: ActionBase,
    task: seam.PlayTask,
    values: Mapping[str, Any],
    state: Mapping[str, Any],
    elsewhere: Optional[others.Render],
) -> Seen:
    name = task.role.rpartition("/")[2] or str(task.raw.get_name())
    values, templar = seam.remembering(action, values)
    try:
        if not task.peculiar and not seam.holds(templar, task):
            return Seen(name)
    except AnsibleError:  # it asks for what a task before it will know
        return Seen(name, others=[str(task.raw.get_name())])
    if task.action != COMPONENT:
        return Seen(name, others=[str(task.raw.get_name())])
    if task.peculiar:
        return Seen(name, later={name: "its task loops, is delegated or may fail"})
    try:
        return Seen(name, plan_task(templar, templar.template(task.args), task.role, values, state, elsewhere))
    except (PlanError, AnsibleError) as error:
        return Seen(name, fault=str(error), lacks=_lacks_variable(error))


def _lacks_variable(error: BaseException) -> bool:
    """Whether an error came of a variable that nobody has defined so far, and not of a value that was refused."""
    seen: List[int] = []
    one: Optional[BaseException] = error
    while one is not None and id(one) not in seen:
        if isinstance(one, AnsibleUndefinedVariable):
            return True
        seen.append(id(one))
        one = one.__cause__ or one.__context__
    return False


def facts_of(outlook: Outlook) -> Dict[str, Dict[str, str]]:
    """What the tasks of the components compare their own plans with: ``{component: {action, digest}}``."""
    return {one.name: one.brief() for one in outlook.planned}


def told(outlook: Outlook) -> List[str]:
    """The plan as lines: a table of what differs, and how many components are as they should be."""
    if outlook.hosts:
        return ["hosts: " + outlook.hosts, *_told(outlook)]
    return _told(outlook)


def _told(outlook: Outlook) -> List[str]:
    if not outlook.known:
        return ["plan: each component tells its own, as this Ansible does not let the first task look ahead"]
    rows = [
        {
            "component": one.name,
            "action": VERBS.get(one.plan.action, one.plan.action),
            "containers": touched(one, outlook.records),
            "why": _why(one.plan.reasons),
        }
        for one in outlook.changes
    ]
    rows += [
        {"component": name, "action": "?", "containers": "", "why": "planned when its turn comes: " + _short(why)}
        for name, why in outlook.later.items()
    ]
    same = len(outlook.planned) - len(outlook.changes)
    kept = "{0} component{1} as the inventory says".format(same, " is" if same == 1 else "s are")
    if not rows:
        if not outlook.planned:
            return []
        return ["plan: nothing to do, {0}".format(kept)]
    pauses = ["  " + line for line in _pauses(outlook)]
    return ["plan:", *("  " + line for line in table(rows, COLUMNS)), *(["  " + kept] if same else []), *pauses]


def _pauses(outlook: Outlook) -> Iterator[str]:
    """What is gone for a moment that others of the VPS need, with who does without it for that time."""
    planned = {
        one.name: {"group": one.options.get("group") or one.name, "meta": one.rendered.desired.meta}
        for one in outlook.planned
    }
    records = {**outlook.records, **planned}
    for one in outlook.changes:
        if one.plan.action != planning.RECREATED or _beside(one, outlook.records):
            continue
        users = sorted(name for name in records if one.name in planning.needed(name, records))
        if users:
            yield "{0} is replaced in place: {1} {2} without it meanwhile".format(
                one.name, ", ".join(users), "is" if len(users) == 1 else "are"
            )


def touched(one: Planned, records: Mapping[str, Any]) -> str:
    """What happens to containers, and who else takes something in. ``records`` are those on the VPS."""
    plan, desired = one.plan, one.rendered.desired
    names = sorted(desired.containers)
    if plan.action == planning.CREATED:
        what = "starts " + ", ".join(names)
    elif plan.action == planning.RECREATED and _beside(one, records):
        what = "starts {0}, then replaces {1}".format(_beside(one, records), names[0])
    elif plan.action == planning.RECREATED:
        what = "restarts " + _recreated(one, names)
    elif plan.action == planning.STARTED:
        down = [n for n in names if one.actual.containers.get(n, {}).get("state") != "running"]
        what = "starts " + ", ".join(down or names)
    elif plan.action == planning.RELOADED:
        what = "no restart"
    elif plan.action == planning.REMOVED:
        what = "stops " + (", ".join(sorted(one.actual.containers)) or "nothing")
    else:
        what = "none"
    others = sorted({folder.split("/", 1)[0] for folder in plan.receivers} - {one.name})
    return "{0}; {1} takes in files".format(what, " and ".join(others)) if others else what


def _beside(one: Planned, records: Mapping[str, Any]) -> str:
    """The container that serves while the component's own is replaced, if it has one and that runs.

    What a proxy is to lead to is replaced in place until that proxy is there and knows both.
    """
    meta = one.rendered.desired.meta
    standby = switching.standby_of({"meta": meta})
    if standby is None:
        return ""
    names = [container.service for container in one.rendered.desired.containers.values()]
    known = rotation.Rotation("", Docker(), records).leads_to([*names, str(standby["service"])])
    waits = bool((meta.get("update") or {}).get("proxied")) and not known
    runs = [name for name, found in one.actual.containers.items() if found.get("state") == "running"]
    return str(standby["service"]) if not waits and set(one.rendered.desired.containers) <= set(runs) else ""


def _recreated(one: Planned, names: List[str]) -> str:
    """The containers that are replaced; Compose knows which, where the compose file of several has changed."""
    changed = "{0}/compose.yaml".format(one.name) in one.plan.files
    if len(names) == 1 or not one.plan.force or changed:
        return names[0] if len(names) == 1 else "what differs of " + ", ".join(names)
    services = {container.service: name for name, container in one.rendered.desired.containers.items()}
    return ", ".join(sorted(services.get(service, service) for service in one.plan.force))


def _why(reasons: Sequence[str]) -> str:
    shown = "; ".join(_short(reason) for reason in reasons[:REASONS])
    more = len(reasons) - REASONS
    return "{0}; {1} more".format(shown, more) if more > 0 else shown


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 160 else line[:157] + "..."
