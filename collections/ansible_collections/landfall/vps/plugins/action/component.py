"""Controller side of landfall.vps.component: render, plan, and make a trip only when something differs."""

from __future__ import annotations

import base64
import json
import os
from typing import Any, Dict, Mapping, Optional

from ansible.errors import AnsibleActionFail
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible_collections.landfall.vps.plugins.module_utils import ownership
from ansible_collections.landfall.vps.plugins.module_utils import plan as planning
from ansible_collections.landfall.vps.plugins.module_utils.context import ContextError
from ansible_collections.landfall.vps.plugins.module_utils.spec import COMPONENT
from ansible_collections.landfall.vps.plugins.plugin_utils import declared, keeper, seam, secrets, session, stack
from ansible_collections.landfall.vps.plugins.plugin_utils.remote import (
    TripError,
    interpreter,
    read_state,
    run_component,
)
from ansible_collections.landfall.vps.plugins.plugin_utils.render import Rendered, RenderError, render
from ansible_collections.landfall.vps.plugins.plugin_utils.shipping import Shipping, ShippingError
from ansible_collections.landfall.vps.plugins.plugin_utils.templates import TemplateError, render_file
from yaml import YAMLError


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible ships no types for ActionBase
    """See docs/architecture.md for the contract."""

    _supports_check_mode = True
    _supports_diff = True

    def run(self, tmp: Optional[str] = None, task_vars: Optional[Dict[str, Any]] = None) -> Dict[str, Any]:
        """Return the module's result, or one without a trip when nothing differs."""
        task_vars = task_vars or {}
        result: Dict[str, Any] = super().run(tmp, task_vars)
        secrets.rehearsing = bool(self._task.check_mode)
        options = self._options()
        whole = stack.read(lambda name, default: self._variable(name, task_vars, default))
        role_path = self._role_path(task_vars)
        known = session.known_state(task_vars)
        state = known or self._read_state(task_vars)
        rendered = self._render(options, role_path, whole, state, task_vars)
        plan = planning.plan(rendered.desired, self._actual(rendered.desired, whole.claim(rendered.desired), state))
        if boolean(self._variable("landfall_compare", task_vars, False), strict=False):
            result.update(changed=False, action=planning.NONE, reasons=[], notes=[], seconds={}, diff=[])
            found = {"present": rendered.desired.present, "action": plan.action, "reasons": list(plan.reasons)}
            result.update(ansible_facts=session.declared_fact(options["name"], found), _ansible_verbose_override=True)
            return result
        stale = options["name"] in state.get("stale", [])
        if not plan.changed and not stale:
            result.update(changed=False, action=plan.action, reasons=[], notes=[], seconds={}, diff=[])
            if known is None:  # so that the next component need not read it again
                result.update(ansible_facts=session.as_fact(state), _ansible_verbose_override=True)
            return result
        try:
            answer = self._trip(options, rendered, whole, plan, state, task_vars)
        finally:
            seam.forget_files(self)
        if not self._task.check_mode and not answer.get("failed"):
            stale_now = sorted({*state.get("stale", []), options["name"]})
            # The next component may have an image of the same context, which is then not sent again
            images = {**state["images"], **{image: {"id": "", "labels": {}} for image in plan.missing_images}}
            answer["ansible_facts"] = session.as_fact({**state, "stale": stale_now, "images": images})
            answer["_ansible_verbose_override"] = True
        self._report(options["name"], task_vars, answer)
        result.update(answer)
        return result

    def _options(self) -> Dict[str, Any]:
        checked = ArgumentSpecValidator(COMPONENT).validate(self._task.args)
        if checked.error_messages:
            raise AnsibleActionFail("landfall.vps.component: {0}".format("; ".join(checked.error_messages)))
        # Plain values: Ansible's tagged strings are foreign to YAML dumpers, and tags mean nothing on the VPS
        options: Dict[str, Any] = json.loads(json.dumps(checked.validated_parameters))
        return options

    def _role_path(self, task_vars: Mapping[str, Any]) -> str:
        path = task_vars.get("role_path")
        if not path:
            raise AnsibleActionFail("landfall.vps.component renders the files of a role: call it from a role's tasks")
        if "landfall_root" not in task_vars:
            name = os.path.basename(str(path))
            raise AnsibleActionFail("{0}: put the role landfall before it; nothing was changed".format(name))
        return str(path)

    def _destinations(
        self, role_path: str, state: Mapping[str, Any], task_vars: Mapping[str, Any]
    ) -> declared.Destinations:
        def there(role: str) -> bool:
            return declared.is_there(role, task_vars, self._templar.template, state["records"])

        try:
            return declared.destinations(os.path.dirname(role_path), there)
        except (declared.DeclarationError, OSError, YAMLError) as error:
            raise AnsibleActionFail(str(error)) from error

    def _render(
        self,
        options: Mapping[str, Any],
        role_path: str,
        whole: stack.Stack,
        state: Mapping[str, Any],
        task_vars: Dict[str, Any],
    ) -> Rendered:
        shared = os.path.join(os.path.dirname(role_path), "landfall", "templates")
        folders = [os.path.join(role_path, "templates"), shared]

        def render_text(source: str, more: Mapping[str, Any], delimiters: Mapping[str, str]) -> str:
            return render_file(self._templar, role_path, source, folders, {**task_vars, **more}, delimiters)

        try:
            to, node = self._destinations(role_path, state, task_vars), str(task_vars["inventory_hostname"])
            return render(options, role_path, render_text, shared, node, whole, to)
        except TemplateError as error:
            raise AnsibleActionFail(str(error)) from error
        except RenderError as error:
            raise AnsibleActionFail("{0}: {1}".format(options["name"], error)) from error

    def _read_state(self, task_vars: Dict[str, Any]) -> Dict[str, Any]:
        try:
            return read_state(self, interpreter(task_vars, self), self._root(task_vars), [])
        except TripError as error:
            raise AnsibleActionFail("the state of the VPS cannot be read: {0}".format(error)) from error

    def _root(self, task_vars: Mapping[str, Any]) -> str:
        return str(self._templar.template(task_vars.get("landfall_root", "/opt/landfall")))

    def _actual(self, desired: planning.Desired, claim: Mapping[str, Any], state: Mapping[str, Any]) -> planning.Actual:
        record = state["records"].get(desired.name)
        try:
            containers = ownership.inspect(state, claim, record)
        except ownership.Foreign as error:
            raise AnsibleActionFail("{0}: {1}; nothing was changed".format(desired.name, error)) from error
        images = {tag: image["id"] for tag, image in state["images"].items()}
        return planning.Actual(planning.select(desired.name, state["files"], record), containers, images, record)

    def _trip(
        self,
        options: Mapping[str, Any],
        rendered: Rendered,
        whole: stack.Stack,
        plan: planning.Plan,
        state: Mapping[str, Any],
        task_vars: Dict[str, Any],
    ) -> Dict[str, Any]:
        desired = rendered.desired
        request: Dict[str, Any] = {
            "root": self._root(task_vars),
            "network": whole.network_request(),
            "claim": whole.claim(desired),
            "keep_volumes": whole.keep_volumes,
            "purge": bool(self._variable("landfall_purge_volumes", task_vars, False)),
            "run": session.run_id(),
            "who": session.who(),
            "holder": session.holder(),
            "dead": session.dead_run(state.get("lock")),
            "resumed": bool(state.get("stale")),
            "desired": {
                "name": desired.name,
                "present": desired.present,
                "files": dict(desired.files),
                "containers": {
                    n: {"service": c.service, "image": c.image, "mounts": list(c.mounts)}
                    for n, c in desired.containers.items()
                },
                "reload_files": list(desired.reload_files),
                "meta": desired.meta,
            },
            "contents": {path: base64.b64encode(text).decode() for path, text in rendered.contents.items()},
            "boards": list(rendered.boards),
            "builds": [],
            "archives": {},
        }
        if not self._task.check_mode:
            self._send_images(options, plan, state, request, task_vars)
        python = interpreter(task_vars, self)
        if not self._task.check_mode and not state.get("stale"):
            keeper.start(self, python, request["root"])
        try:
            return run_component(self, python, request, self._task.check_mode, self._task.diff)
        except TripError as error:
            raise AnsibleActionFail("{0}: {1}".format(options["name"], error)) from error

    def _variable(self, name: str, task_vars: Mapping[str, Any], default: Any) -> Any:
        return self._templar.template(task_vars[name]) if name in task_vars else default

    def _send_images(
        self,
        options: Mapping[str, Any],
        plan: planning.Plan,
        state: Mapping[str, Any],
        request: Dict[str, Any],
        task_vars: Mapping[str, Any],
    ) -> None:
        shipping = Shipping(
            lambda path: seam.send_file(self, path),
            lambda line: seam.say(task_vars, "{0}: {1}".format(options["name"], line)),
            str(self._variable("landfall_image_archives", task_vars, "")),
            str(self._variable("landfall_context_limit", task_vars, "1GB")),
        )
        offline = self._variable("landfall_images", task_vars, "registry") == "offline"
        try:
            request["builds"], request["archives"] = shipping.images(
                plan.missing_images, options["build"], state["images"], offline
            )
        except (ShippingError, ContextError, OSError, ValueError) as error:
            raise AnsibleActionFail("{0}: {1}; nothing was changed".format(options["name"], error)) from error

    def _report(self, name: str, task_vars: Mapping[str, Any], answer: Mapping[str, Any]) -> None:
        if answer.get("failed"):
            if answer.get("undone"):
                seam.say(task_vars, "{0}: undone; {1}".format(name, answer["undone"]))
            return
        took = ", ".join(
            "{0} {1:.1f} s".format(key, value) for key, value in answer.get("seconds", {}).items() if value >= 0.05
        )
        would = "would be " if self._task.check_mode else ""
        seam.say(
            task_vars, "{0}: {1}{2}{3}".format(name, would, answer.get("action"), " ({0})".format(took) if took else "")
        )
        for line in [*answer.get("reasons", [])[:5], *answer.get("notes", [])]:
            seam.say(task_vars, "  {0}".format(line))
