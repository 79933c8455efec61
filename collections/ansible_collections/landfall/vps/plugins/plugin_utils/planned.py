"""From the arguments of a component's task to what it will do: validated, rendered, compared with the VPS.

The first task of a play does this for all that follow, each of them again for itself: one function for both, so that
what is printed first is what happens.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.template import Templar
from ansible_collections.landfall.vps.plugins.module_utils import ownership
from ansible_collections.landfall.vps.plugins.module_utils import plan as planning
from ansible_collections.landfall.vps.plugins.module_utils.spec import COMPONENT
from ansible_collections.landfall.vps.plugins.plugin_utils import declared, stack
from ansible_collections.landfall.vps.plugins.plugin_utils.render import Rendered, RenderError, render
from ansible_collections.landfall.vps.plugins.plugin_utils.templates import TemplateError, render_file
from yaml import YAMLError

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


def specs(args: Mapping[str, Any]) -> List[Dict[str, Any]]:
    """The options of each component that a task with these (templated) arguments stands for. Raises PlanError."""
    checked = ArgumentSpecValidator(COMPONENT).validate(args)
    if checked.error_messages:
        raise PlanError("landfall.vps.component: {0}".format("; ".join(checked.error_messages)))
    # Plain values: Ansible's tagged strings are foreign to YAML dumpers, and tags mean nothing on the VPS
    return [json.loads(json.dumps(checked.validated_parameters))]


def stack_of(templar: Templar, values: Mapping[str, Any]) -> stack.Stack:
    """The stack that a host's variables describe. Raises what their templates raise, StackError or ValueError."""
    return stack.read(lambda name, default: templar.template(values[name]) if name in values else default)


def plan_task(
    templar: Templar, args: Mapping[str, Any], role_path: str, values: Dict[str, Any], state: Mapping[str, Any]
) -> List[Planned]:
    """Plan what a task with these arguments, of the role at ``role_path``, does on a VPS in this ``state``.

    ``values`` are the task's variables, which ``templar`` knows, too. Raises PlanError.
    """
    whole = stack_of(templar, values)
    found = []
    for options in specs(args):
        rendered = _render(templar, options, role_path, whole, values, state)
        claim = whole.claim(rendered.desired)
        actual = _actual(rendered, claim, state)
        found.append(Planned(options, rendered, planning.plan(rendered.desired, actual), claim, actual))
    return found


def _render(
    templar: Templar,
    options: Mapping[str, Any],
    role_path: str,
    whole: stack.Stack,
    values: Dict[str, Any],
    state: Mapping[str, Any],
) -> Rendered:
    shared = os.path.join(os.path.dirname(role_path), SHARED)
    folders = [os.path.join(role_path, "templates"), shared]

    def render_text(source: str, more: Mapping[str, Any], delimiters: Mapping[str, str]) -> str:
        return render_file(templar, role_path, source, folders, {**values, **more}, delimiters)

    def there(role: str) -> bool:
        return declared.is_there(role, values, templar.template, state["records"])

    try:
        to = declared.destinations(os.path.dirname(role_path), there)
    except (declared.DeclarationError, OSError, YAMLError) as error:
        raise PlanError(str(error)) from error
    try:
        return render(options, role_path, render_text, shared, str(values["inventory_hostname"]), whole, to)
    except TemplateError as error:
        raise PlanError(str(error)) from error
    except RenderError as error:
        raise PlanError("{0}: {1}".format(options["name"], error)) from error


def _actual(rendered: Rendered, claim: Mapping[str, Any], state: Mapping[str, Any]) -> planning.Actual:
    name = rendered.desired.name
    record = state["records"].get(name)
    try:
        containers = ownership.inspect(state, claim, record)
    except ownership.Foreign as error:
        raise PlanError("{0}: {1}; nothing was changed".format(name, error)) from error
    images = {tag: image["id"] for tag, image in state["images"].items()}
    files = planning.select(name, state["files"], record)
    return planning.Actual(files, containers, images, record, state.get("timers") or {})
