"""Controller side of landfall.vps.component: render, plan, and make a trip only when something differs."""

from __future__ import annotations

import base64
import os
from typing import Any, Dict, Mapping, Optional

from ansible.errors import AnsibleActionFail
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible_collections.landfall.vps.plugins.module_utils import plan as planning
from ansible_collections.landfall.vps.plugins.module_utils.context import ContextError
from ansible_collections.landfall.vps.plugins.plugin_utils import keeper, seam, secrets, session
from ansible_collections.landfall.vps.plugins.plugin_utils.planned import PlanError, Planned, plan_task, stack_of
from ansible_collections.landfall.vps.plugins.plugin_utils.remote import (
    TripError,
    interpreter,
    read_state,
    run_component,
)
from ansible_collections.landfall.vps.plugins.plugin_utils.shipping import Shipping, ShippingError


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible ships no types for ActionBase
    """See docs/architecture.md for the contract."""

    _supports_check_mode = True
    _supports_diff = True

    def run(self, tmp: Optional[str] = None, task_vars: Optional[Dict[str, Any]] = None) -> Dict[str, Any]:
        """Return the module's result, or one without a trip when nothing differs."""
        task_vars = task_vars or {}
        result: Dict[str, Any] = super().run(tmp, task_vars)
        secrets.rehearsing = bool(self._task.check_mode)
        role_path = self._role_path(task_vars)
        known = session.known_state(task_vars)
        state = known or self._read_state(task_vars)
        try:
            planned = plan_task(self._templar, self._task.args, role_path, task_vars, state)
        except PlanError as error:
            raise AnsibleActionFail(str(error)) from error
        result.update(changed=False, action=planning.NONE, reasons=[], notes=[], seconds={}, diff=[])
        if boolean(self._variable("landfall_compare", task_vars, False), strict=False):
            result.update(ansible_facts={}, _ansible_verbose_override=True)
            for one in planned:
                result["ansible_facts"].update(session.declared_fact(one.name, one.compared()))
            return result
        if known is None:  # so that the next component need not read it again
            result.update(ansible_facts=session.as_fact(state), _ansible_verbose_override=True)
        for one in planned:
            self._compare(one, state, task_vars)
            if one.plan.changed or one.name in state.get("stale", []):
                self._change(one, state, task_vars, result)
                if result.get("failed"):
                    break
                state = session.known_state({"ansible_facts": result.get("ansible_facts")}) or state
        return result

    def _compare(self, one: Planned, state: Mapping[str, Any], task_vars: Mapping[str, Any]) -> None:
        """Say so where the first task printed another plan: something that it could not know has come between."""
        first = (state.get("planned") or {}).get(one.name)
        if first is not None and first != one.brief():
            why = "; ".join(one.plan.reasons[:2]) or "nothing differs any more"
            seam.say(task_vars, "{0}: planned anew: {1} ({2})".format(one.name, one.plan.action, why))

    def _change(
        self, one: Planned, state: Mapping[str, Any], task_vars: Dict[str, Any], result: Dict[str, Any]
    ) -> None:
        """Make the trip for one component and add what came of it to the task's result."""
        try:
            answer = self._trip(one, state, task_vars)
        finally:
            seam.forget_files(self)
        self._report(one.name, task_vars, answer)
        if not self._task.check_mode and not answer.get("failed"):
            stale_now = sorted({*state.get("stale", []), one.name})
            # The next component may have an image of the same context, which is then not sent again
            images = {**state["images"], **{image: {"id": "", "labels": {}} for image in one.plan.missing_images}}
            result["ansible_facts"] = session.as_fact({**state, "stale": stale_now, "images": images})
            result["_ansible_verbose_override"] = True
        together(result, answer)

    def _role_path(self, task_vars: Mapping[str, Any]) -> str:
        path = task_vars.get("role_path")
        if not path:
            raise AnsibleActionFail("landfall.vps.component renders the files of a role: call it from a role's tasks")
        if "landfall_root" not in task_vars:
            name = os.path.basename(str(path))
            raise AnsibleActionFail("{0}: put the role landfall before it; nothing was changed".format(name))
        return str(path)

    def _read_state(self, task_vars: Dict[str, Any]) -> Dict[str, Any]:
        try:
            return read_state(self, interpreter(task_vars, self), self._root(task_vars), [])
        except TripError as error:
            raise AnsibleActionFail("the state of the VPS cannot be read: {0}".format(error)) from error

    def _root(self, task_vars: Mapping[str, Any]) -> str:
        return str(self._templar.template(task_vars.get("landfall_root", "/opt/landfall")))

    def _trip(self, one: Planned, state: Mapping[str, Any], task_vars: Dict[str, Any]) -> Dict[str, Any]:
        desired, whole = one.rendered.desired, stack_of(self._templar, task_vars)
        request: Dict[str, Any] = {
            "root": self._root(task_vars),
            "network": whole.network_request(),
            "claim": dict(one.claim),
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
            "contents": {path: base64.b64encode(text).decode() for path, text in one.rendered.contents.items()},
            "boards": list(one.rendered.boards),
            "builds": [],
            "archives": {},
        }
        if not self._task.check_mode:
            self._send_images(one, state, request, task_vars)
        python = interpreter(task_vars, self)
        if not self._task.check_mode and not state.get("stale"):
            keeper.start(self, python, request["root"])
        try:
            return run_component(self, python, request, self._task.check_mode, self._task.diff)
        except TripError as error:
            raise AnsibleActionFail("{0}: {1}".format(one.name, error)) from error

    def _variable(self, name: str, task_vars: Mapping[str, Any], default: Any) -> Any:
        return self._templar.template(task_vars[name]) if name in task_vars else default

    def _send_images(
        self,
        one: Planned,
        state: Mapping[str, Any],
        request: Dict[str, Any],
        task_vars: Mapping[str, Any],
    ) -> None:
        shipping = Shipping(
            lambda path: seam.send_file(self, path),
            lambda line: seam.say(task_vars, "{0}: {1}".format(one.name, line)),
            str(self._variable("landfall_image_archives", task_vars, "")),
            str(self._variable("landfall_context_limit", task_vars, "1GB")),
        )
        offline = self._variable("landfall_images", task_vars, "registry") == "offline"
        try:
            request["builds"], request["archives"] = shipping.images(
                one.plan.missing_images, one.options["build"], state["images"], offline
            )
        except (ShippingError, ContextError, OSError, ValueError) as error:
            raise AnsibleActionFail("{0}: {1}; nothing was changed".format(one.name, error)) from error

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


def together(result: Dict[str, Any], answer: Mapping[str, Any]) -> None:
    """Add the ``answer`` of one component's trip to the result of a task that may stand for several."""
    told = dict(answer)
    if result["action"] != planning.NONE:
        told.update(
            changed=bool(result["changed"] or answer.get("changed")),
            action=result["action"] if answer.get("action") in (planning.NONE, result["action"]) else "several",
            seconds={
                phase: round(result["seconds"].get(phase, 0.0) + answer.get("seconds", {}).get(phase, 0.0), 2)
                for phase in [*result["seconds"], *answer.get("seconds", {})]
            },
        )
    for key in ("reasons", "notes", "diff"):
        told[key] = [*result[key], *answer.get(key, [])]
    result.update(told)
