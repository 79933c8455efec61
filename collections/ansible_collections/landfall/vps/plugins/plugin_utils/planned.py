"""From the arguments of a component's task to what it will do: validated, rendered, compared with the VPS.

The first task of a play does this for all that follow, each of them again for itself: one function for both, so that
what is printed first is what happens.
"""

from __future__ import annotations

import json
import os
from collections import ChainMap
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Sequence, Set, cast

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.template import Templar
from ansible_collections.landfall.vps.plugins.module_utils import handover, ownership
from ansible_collections.landfall.vps.plugins.module_utils import plan as planning
from ansible_collections.landfall.vps.plugins.module_utils.spec import COMPONENT
from ansible_collections.landfall.vps.plugins.plugin_utils import compiled, declared, others, placement, stack
from ansible_collections.landfall.vps.plugins.plugin_utils.placing import ALONE, Place
from ansible_collections.landfall.vps.plugins.plugin_utils.render import TARGETS, Rendered, RenderError, render
from ansible_collections.landfall.vps.plugins.plugin_utils.targets import hyphens
from ansible_collections.landfall.vps.plugins.plugin_utils.templates import TemplateError, render_file
from yaml import YAMLError

_SPEC = json.dumps(COMPONENT)
SHARED = os.path.join("landfall", "templates")
"""Below the folder of the roles: the templates that all of them use."""


class PlanError(Exception):
    """A component cannot be planned; the message says what is wrong and what would be right."""


@dataclass(frozen=True)
class Planned:
    """One component: the task's ``options`` for it, what they render to, the plan, what is its own, what there is."""

    options: Mapping[str, Any]
    rendered: Rendered
    plan: planning.Plan
    claim: Mapping[str, Any]
    actual: planning.Actual

    @property
    def name(self) -> str:
        """The component's name."""
        return str(self.options["name"])

    def brief(self) -> Dict[str, str]:
        """What the plan of one task is compared with that of another by: ``{action, digest}``."""
        return {"action": self.plan.action, "digest": self.rendered.desired.digest}

    def compared(self) -> Dict[str, Any]:
        """What is told of it where it is only compared with the VPS."""
        return {
            "present": self.rendered.desired.present,
            "action": self.plan.action,
            "reasons": list(self.plan.reasons),
        }


def _checked(args: Mapping[str, Any]) -> Dict[str, Any]:
    # Plain values: Ansible's tagged strings are foreign to YAML dumpers, mean nothing on the VPS and are slow to copy,
    # which validating does. Of the spec a copy, since validating fills in the defaults of what is nested
    plain: Dict[str, Any] = json.loads(json.dumps(dict(args)))
    checked = ArgumentSpecValidator(json.loads(_SPEC)).validate(plain)
    if checked.error_messages:
        name = args.get("name") or "a component without a name"
        raise PlanError("landfall.vps.component: {0}: {1}".format(name, "; ".join(checked.error_messages)))
    validated: Dict[str, Any] = checked.validated_parameters
    return validated


def specs(args: Mapping[str, Any]) -> List[Dict[str, Any]]:
    """The options of each component that a task with these (templated) arguments stands for. Raises PlanError.

    Those of a group say so by ``group``; of one that is to be absent it is the task's name alone.
    """
    whole = _checked(args)
    items = whole.pop("components")
    if items is None:
        return [whole]
    group = whole["name"]
    if whole["state"] == "absent":
        return [{**whole, "group": group}]
    common = {key: value for key, value in args.items() if key != "components"}
    found: List[Dict[str, Any]] = []
    for item in items:
        name = str(item.get("name") or "")
        if name != group and not name.startswith(group + "-"):
            raise PlanError("{0}: component '{1}' of this group must begin with {0}-".format(group, name))
        if name in [one["name"] for one in found]:
            raise PlanError("{0}: two components are named {1}".format(group, name))
        needs = [need for need in whole["needs"] if need not in (item.get("needs") or [])]
        one = _checked({**common, **item, "needs": [*needs, *(item.get("needs") or [])]})
        found.append({**one, "group": group})
    return found


def _gone(options: Sequence[Mapping[str, Any]], recorded: Mapping[str, Mapping[str, Any]]) -> List[Dict[str, Any]]:
    """Options of the members of a group that are deployed and no longer wanted."""
    group, wanted = options[0].get("group") if options else None, {one["name"] for one in options}
    return [
        {**options[0], "name": name, "state": "absent"}
        for name, record in sorted(recorded.items())
        if group and planning.group_of(name, record) == group and name not in wanted
    ]


def stack_of(templar: Templar, values: Mapping[str, Any]) -> stack.Stack:
    """The stack that a host's variables describe. Raises what their templates raise, StackError or ValueError."""
    return stack.read(lambda name, default: templar.template(values[name]) if name in values else default)


def plan_task(
    templar: Templar,
    args: Mapping[str, Any],
    role_path: str,
    values: Mapping[str, Any],
    state: Mapping[str, Any],
    elsewhere: Optional[others.Render] = None,
) -> List[Planned]:
    """Plan what a task with these arguments, of the role at ``role_path``, does on a VPS in this ``state``.

    ``values`` are the task's variables, which ``templar`` knows, too; ``elsewhere`` renders what other hosts of its
    stack have for this one. Raises PlanError.
    """
    compiled.keep_texts_below(os.path.dirname(role_path))
    fleet = placement.read(values)
    whole, wanted = stack_of(templar, values), specs(_standing(args, role_path, fleet))
    wanted = [_with_needs_of_here(one, values) if fleet else one for one in wanted]
    wanted += _gone(wanted, state["records"])
    for options in wanted:
        role = str(options["name"]).replace("-", "_")
        if role != options.get("group", role) and os.path.isdir(os.path.join(os.path.dirname(role_path), role)):
            form = "{0}: the component {1} would be taken for the role {2}; give the service another name"
            raise PlanError(form.format(options["group"], options["name"], role))
    rendered = [_render(templar, options, role_path, whole, values, state["records"], fleet) for options in wanted]
    if fleet and elsewhere:
        rendered = [others.add(one, role_path, fleet, elsewhere) for one in rendered]
    found = []
    for options, one in zip(wanted, rendered):
        siblings = {name for other in rendered if other is not one for name in other.desired.containers}
        claim = whole.claim(one.desired)
        actual = _actual(one, str(options.get("group") or ""), claim, state, siblings)
        found.append(Planned(options, one, planning.plan(one.desired, actual), claim, actual))
    # What others leave comes after them
    left = {one.actual.part_of for one in found}
    return sorted(found, key=lambda one: one.name in left)


def _standing(args: Mapping[str, Any], role_path: str, fleet: Optional[placement.Fleet]) -> Mapping[str, Any]:
    """The arguments of a task; its role is to be absent from a host on which it does not stand. Raises PlanError."""
    try:
        here = fleet is None or fleet.holds(fleet.me, declared.stands(role_path))
    except (declared.DeclarationError, OSError, YAMLError) as error:
        raise PlanError(str(error)) from error
    return args if here else {**args, "state": "absent"}


def _with_needs_of_here(options: Dict[str, Any], values: Mapping[str, Any]) -> Dict[str, Any]:
    """The options of a component without what it needs of other hosts: whether that serves its proof will tell."""

    def name(need: Any) -> str:
        return str(need if isinstance(need, str) else need["name"])

    return {**options, "needs": [need for need in options["needs"] if not declared.elsewhere(name(need), values)]}


def _render(
    templar: Templar,
    options: Mapping[str, Any],
    role_path: str,
    whole: stack.Stack,
    values: Mapping[str, Any],
    records: Mapping[str, Any],
    fleet: Optional[placement.Fleet],
) -> Rendered:
    """One component as the variables ``values`` have it. Raises PlanError."""

    def there(role: str) -> bool:
        return declared.is_there(role, values, templar.template, records)

    def away(role: str) -> bool:
        return declared.elsewhere(role, values)

    try:
        to = declared.destinations(os.path.dirname(role_path), there, away)
        place = ALONE if fleet is None else _place(templar, role_path, values, fleet)
    except (declared.DeclarationError, OSError, YAMLError) as error:
        raise PlanError(str(error)) from error
    return rendered_for(templar, options, role_path, whole, values, to, place)


def _place(templar: Templar, role_path: str, values: Mapping[str, Any], fleet: placement.Fleet) -> Place:
    """What the other hosts mean for components of this role. Raises as ``declared.takers`` does."""
    roles = os.path.dirname(role_path)
    hosts, known = [], declared.takers(roles)
    for role in sorted(os.listdir(roles)):
        path = os.path.join(roles, role)
        home = fleet.home(declared.stands(path)) if declared.offers(path) else ""
        if home and declared.in_stack(role, values, templar.template, {}):
            hosts.append("{0}:{1}".format(hyphens(role), fleet.address(home)))
    readers = known.get(TARGETS) or {}
    scraped = any(declared.elsewhere(role, values) for role in readers)
    return Place(tuple(hosts), fleet.address(fleet.me), declared.offers(role_path), scraped)


def rendered_for(
    templar: Templar,
    options: Mapping[str, Any],
    role_path: str,
    whole: stack.Stack,
    values: Mapping[str, Any],
    to: declared.Destinations,
    place: Place,
) -> Rendered:
    """Render one component with the variables ``values``; ``to`` is where files for others go. Raises PlanError."""
    shared = os.path.join(os.path.dirname(role_path), SHARED)
    folders = [os.path.join(role_path, "templates"), shared]

    def render_text(source: str, more: Mapping[str, Any], delimiters: Mapping[str, str]) -> str:
        # Not one new map of all: what the task's variables come to is known once for all files
        known = ChainMap(dict(more), cast("Dict[str, Any]", values)) if more else values
        return render_file(templar, role_path, source, folders, known, delimiters)

    try:
        return render(options, role_path, render_text, shared, str(values["inventory_hostname"]), whole, to, place)
    except TemplateError as error:
        raise PlanError(str(error)) from error
    except RenderError as error:
        raise PlanError("{0}: {1}".format(options["name"], error)) from error


def _actual(
    rendered: Rendered, group: str, claim: Mapping[str, Any], state: Mapping[str, Any], siblings: Set[str]
) -> planning.Actual:
    """The component as it is; ``siblings`` are containers that others of its group have, or take over."""
    name, wanted = rendered.desired.name, rendered.desired.containers
    record = state["records"].get(name)
    try:
        containers = ownership.inspect(state, claim, record)
    except ownership.Foreign as error:
        raise PlanError("{0}: {1}; nothing was changed".format(name, error)) from error
    containers = {container: found for container, found in containers.items() if container not in siblings}
    images = {tag: image["id"] for tag, image in state["images"].items()}
    files = planning.select(name, state["files"], record)
    part_of = handover.predecessor(state["records"], name, group, wanted) if group else ""
    return planning.Actual(files, containers, images, record, state.get("timers") or {}, part_of)
