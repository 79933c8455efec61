"""Controller side of landfall.vps.component: render, plan, and make a trip only when something differs."""

from __future__ import annotations

import base64
import os
from typing import Any, Dict, List, Mapping, Optional, Sequence

from ansible.errors import AnsibleActionFail
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.template import Templar
from ansible_collections.landfall.vps.plugins.module_utils import plan as planning
from ansible_collections.landfall.vps.plugins.module_utils.context import ContextError
from ansible_collections.landfall.vps.plugins.plugin_utils import (
    ahead,
    hooks,
    keeper,
    neighbouring,
    releasing,
    seam,
    secrets,
    session,
    variables,
)
from ansible_collections.landfall.vps.plugins.plugin_utils.planned import PlanError, Planned, plan_task, stack_of
from ansible_collections.landfall.vps.plugins.plugin_utils.remote import (
    TripError,
    interpreter,
    read_state,
    run_components,
)
from ansible_collections.landfall.vps.plugins.plugin_utils.shipping import Shipping, ShippingError


class ActionModule(seam.OwnArguments):
    """See docs/architecture.md for the contract."""

    _supports_check_mode = True
    _supports_diff = True
    warned: Sequence[str] = ()

    def run(self, tmp: Optional[str] = None, task_vars: Optional[Dict[str, Any]] = None) -> Dict[str, Any]:
        """Return the module's result, or one without a trip when nothing differs."""
        task_vars = task_vars or {}
        result: Dict[str, Any] = super().run(tmp, task_vars)
        secrets.rehearsing = bool(self._task.check_mode)
        role_path = self._role_path(task_vars)
        known = session.known_state(task_vars)
        if known is None:  # --start-at-task went past the task that checks the inventory
            self._check(task_vars)
        state = known or self._read_state(task_vars)
        if known is None:  # what templates see of the VPS is what was read, too
            task_vars = {**task_vars, "ansible_facts": {**task_vars.get("ansible_facts", {}), **session.as_fact(state)}}
        try:
            values, templar = seam.remembering(self, task_vars)
            self.evaluate(templar)
            elsewhere = neighbouring.renderer(self, task_vars)
            planned = plan_task(templar, self._task.args, role_path, values, state, elsewhere)
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
        changed = [one for one in planned if one.plan.changed or one.name in state.get("stale", [])]
        if changed:
            self._change(changed, state, task_vars, result)
        return result

    def _compare(self, one: Planned, state: Mapping[str, Any], task_vars: Mapping[str, Any]) -> None:
        """Say so where the first task printed another plan: something that it could not know has come between."""
        first = (state.get("planned") or {}).get(one.name)
        if first is not None and first != one.brief():
            why = "; ".join(one.plan.reasons[:2]) or "nothing differs any more"
            seam.say(task_vars, "{0}: planned again: {1} ({2})".format(one.name, one.plan.action, why))

    def _change(
        self, several: Sequence[Planned], state: Dict[str, Any], task_vars: Dict[str, Any], result: Dict[str, Any]
    ) -> None:
        """Make one trip for the components of a task and add what came of each to the task's result."""
        company: List[ahead.Companion] = []
        answers = {} if self._task.check_mode else ahead.taken(several, state)
        try:
            if not answers:
                if not self._task.check_mode:
                    company += ahead.companions(self, several, task_vars, state)
                answers = self._trip(several, company, state, task_vars)
        finally:
            seam.forget_files(self)
        if self.warned:
            result.setdefault("warnings", []).extend(self.warned)
        done = []
        for one in several:
            answer = answers.get(one.name, {})
            self._report(one.name, task_vars, answer)
            limit = int(self._variable("landfall_new_file_lines", task_vars, 20))
            together(result, {**answer, "diff": shortened(answer.get("diff") or [], limit)})
            done += [] if answer.get("failed") else [one]
        if len(several) > 1:
            result["components"] = {one.name: answers.get(one.name, {}).get("action") for one in several}
        if not self._task.check_mode and done:
            well = [one.planned for one in company if not answers.get(one.planned.name, {"failed": True}).get("failed")]
            stale_now = sorted({*state.get("stale", []), *(one.name for one in [*done, *well])})
            # The next component may have an image of the same context, which is then not sent again
            images = {image: {"id": "", "labels": {}} for one in done for image in one.plan.missing_images}
            left = ahead.kept(several, company, answers, state)
            now = {**state, "stale": stale_now, "images": {**state["images"], **images}, ahead.FACT: left}
            result.update(ansible_facts=session.as_fact(now), _ansible_verbose_override=True)

    def _role_path(self, task_vars: Mapping[str, Any]) -> str:
        path = task_vars.get("role_path")
        if not path:
            raise AnsibleActionFail("landfall.vps.component renders the files of a role: call it from a role's tasks")
        if "landfall_root" not in task_vars:
            name = os.path.basename(str(path))
            raise AnsibleActionFail("{0}: put the role landfall before it; nothing was changed".format(name))
        return str(path)

    def _check(self, task_vars: Dict[str, Any]) -> None:
        templar = seam.remembering(self, task_vars)[1]
        found = variables.faults(templar, self._loader.get_text_file_contents, self._task.get_vars(), task_vars)
        if found:
            form = "the inventory of {0} has {1} faults; nothing was changed:\n- {2}"
            raise AnsibleActionFail(form.format(task_vars.get("inventory_hostname"), len(found), "\n- ".join(found)))

    def _read_state(self, task_vars: Dict[str, Any]) -> Dict[str, Any]:
        try:
            return read_state(self, interpreter(task_vars, self), self._root(task_vars), [])
        except TripError as error:
            raise AnsibleActionFail("the state of the VPS cannot be read: {0}".format(error)) from error

    def _root(self, task_vars: Mapping[str, Any]) -> str:
        return str(self._templar.template(task_vars.get("landfall_root", "/opt/landfall")))

    def _trip(
        self,
        several: Sequence[Planned],
        company: Sequence[ahead.Companion],
        state: Dict[str, Any],
        task_vars: Dict[str, Any],
    ) -> Dict[str, Dict[str, Any]]:
        """What became of each component, by name; of ``company`` only up to the first that failed."""
        requests = [self._request(one, state, self._templar, task_vars) for one in several]
        release = state.get("release") or releasing.choose(several, state, str(task_vars.get("inventory_dir") or ""))[0]
        told = releasing.request(release, several)
        requests = [{**one, "release": told} for one in requests] if told else requests
        if not self._task.check_mode:
            images = self._send_images(several, state, task_vars)
            requests = [{**request, **images} for request in requests]
        others = [self._request(one.planned, state, one.templar, one.values) for one in company]
        requests += [{**request, "ahead": True} for request in others]
        python = interpreter(task_vars, self)
        if told and release and not self._task.check_mode:
            self._before(release, state, task_vars)
        if not self._task.check_mode and not state.get("stale") and not state.get("kept"):
            keeper.start(self, python, requests[0]["root"])
        try:
            check, diff = self._task.check_mode, self._task.diff
            answer = run_components(self, python, requests, check, diff, seam.teller(task_vars))
        except TripError as error:
            raise AnsibleActionFail("{0}: {1}".format(self._task.args["name"], error)) from error
        self.warned = releasing.ended(self, answer.get("release"), release, task_vars)
        found: Dict[str, Dict[str, Any]] = answer["components"]
        return found

    def _before(self, release: Mapping[str, Any], state: Dict[str, Any], task_vars: Dict[str, Any]) -> None:
        """Run the hooks that come before the release, once in a run. Raises AnsibleActionFail, before any change."""
        if state.get("hooked"):
            return
        try:
            releasing.prepared(self, release, task_vars)
        except hooks.HookError as error:
            raise AnsibleActionFail("{0}; nothing was changed".format(error)) from error
        state["hooked"] = True

    def _request(
        self, one: Planned, state: Mapping[str, Any], templar: Templar, values: Mapping[str, Any]
    ) -> Dict[str, Any]:
        desired, whole = one.rendered.desired, stack_of(templar, values)
        purge = bool(templar.template(values.get("landfall_purge_volumes", False)))
        return {
            "root": str(templar.template(values.get("landfall_root", "/opt/landfall"))),
            "network": whole.network_request(),
            "claim": dict(one.claim),
            "keep_volumes": whole.keep_volumes,
            "purge": purge,
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

    def _variable(self, name: str, task_vars: Mapping[str, Any], default: Any) -> Any:
        return self._templar.template(task_vars[name]) if name in task_vars else default

    def _send_images(
        self, several: Sequence[Planned], state: Mapping[str, Any], task_vars: Mapping[str, Any]
    ) -> Dict[str, Any]:
        """Send what the missing images of all components are made of: each context once."""
        task = str(self._task.args["name"])
        shipping = Shipping(
            lambda path: seam.send_file(self, path),
            lambda line: seam.say(task_vars, "{0}: {1}".format(task, line)),
            str(self._variable("landfall_image_archives", task_vars, "")),
            str(self._variable("landfall_context_limit", task_vars, "1GB")),
        )
        offline = self._variable("landfall_images", task_vars, "registry") == "offline"
        try:
            missing = {image for one in several for image in one.plan.missing_images}
            known = [build for one in several for build in one.options["build"]]
            builds, archives = shipping.images(missing, known, state["images"], offline)
        except (ShippingError, ContextError, OSError, ValueError) as error:
            raise AnsibleActionFail("{0}: {1}; nothing was changed".format(task, error)) from error
        marks = (state.get("bundle") or {}).get("images") or {}
        digests = {image: marks[image]["sha256"] for image in archives if image in marks}
        return {"builds": builds, "archives": archives, "digests": digests}

    def _report(self, name: str, task_vars: Mapping[str, Any], answer: Mapping[str, Any]) -> None:
        if answer.get("failed"):
            if answer.get("undone"):
                seam.say(task_vars, "{0}: undone; {1}".format(name, answer["undone"]))
            return
        would, took = "would be " if self._task.check_mode else "", releasing.phases(answer.get("seconds"))
        seam.say(task_vars, "{0}: {1}{2}{3}".format(name, would, answer.get("action"), took))
        for line in [*answer.get("reasons", [])[:5], *answer.get("notes", [])]:
            seam.say(task_vars, "  {0}".format(line))


def shortened(diff: Sequence[Mapping[str, str]], limit: int) -> List[Dict[str, str]]:
    """The diffs of a component, of new files only their first ``limit`` lines and how many more there are."""
    found = []
    for one in diff:
        lines = one.get("after", "").splitlines(True)
        if one.get("before") or len(lines) <= limit:
            found.append(dict(one))
            continue
        rest = "... {0} more lines of this new file; all with -e landfall_new_file_lines=1000000\n"
        head = "{0} (new, {1} lines)".format(one.get("after_header", ""), len(lines))
        after = "".join(lines[:limit]) + rest.format(len(lines) - limit)
        found.append({**one, "after_header": head, "after": after})
    return found


def together(result: Dict[str, Any], answer: Mapping[str, Any]) -> None:
    """Add the ``answer`` of one component's trip to the result of a task that may stand for several."""
    told = dict(answer)
    told["changed"] = bool(result["changed"] or answer.get("changed"))
    took = answer.get("seconds", {})
    phases = dict.fromkeys([*result["seconds"], *took])
    told["seconds"] = {phase: round(result["seconds"].get(phase, 0.0) + took.get(phase, 0.0), 2) for phase in phases}
    if result["action"] != planning.NONE:
        same = answer.get("action", planning.NONE) in (planning.NONE, result["action"])
        told["action"] = result["action"] if same else "several"
    for key, joint in (("msg", "; "), ("undone", "; "), ("logs", "\n")):
        if result.get(key) and answer.get(key):
            told[key] = joint.join([str(result[key]), str(answer[key])])
    for key in ("reasons", "notes", "diff"):
        told[key] = [*result[key], *answer.get(key, [])]
    result.update(told)
