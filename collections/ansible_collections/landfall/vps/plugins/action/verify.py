"""Controller side of landfall.vps.verify: derives what to expect from roles and inventory, prints the table."""

from __future__ import annotations

import json
import os
from typing import Any, Dict, Optional

from ansible.errors import AnsibleActionFail
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.action import ActionBase
from ansible_collections.landfall.vps.plugins.module_utils.signals import sentence
from ansible_collections.landfall.vps.plugins.module_utils.spec import VERIFY
from ansible_collections.landfall.vps.plugins.module_utils.verify import table
from ansible_collections.landfall.vps.plugins.plugin_utils import seam, session
from ansible_collections.landfall.vps.plugins.plugin_utils.declared import components, is_there
from ansible_collections.landfall.vps.plugins.plugin_utils.remote import TripError, interpreter, run_verify

COLUMNS = ("component", "health", "targets", "version", "seconds")


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible ships no types for ActionBase
    """See the module of the same name."""

    _supports_check_mode = True

    def run(self, tmp: Optional[str] = None, task_vars: Optional[Dict[str, Any]] = None) -> Dict[str, Any]:
        """Return what was found; fail with every fault and what to do about it."""
        task_vars = task_vars or {}
        result: Dict[str, Any] = super().run(tmp, task_vars)
        if self._task.check_mode:
            result.update(changed=False, msg="nothing is deployed under --check, so there is nothing to verify")
            return result
        try:
            answer = run_verify(self, interpreter(task_vars, self), self._arguments(task_vars))
        except TripError as error:
            raise AnsibleActionFail("the VPS cannot be verified: {0}".format(error)) from error
        result.update(answer)
        for line in table(answer.get("rows", []), COLUMNS):
            seam.say(task_vars, line)
        for name, value in sorted(answer.get("facts", {}).items()):
            seam.say(task_vars, "{0}: {1}".format(name.replace("_", " "), sentence(value)))
        faults = answer.get("faults", [])
        if faults:
            lines = ["- {where}: {what}\n  -> {do}".format(**fault) for fault in faults]
            if self._task.args.get("status"):
                for line in lines:
                    seam.say(task_vars, line)
                return result
            result.update(
                failed=True, msg="{0} of what was verified is wrong:\n{1}".format(len(faults), "\n".join(lines))
            )
        return result

    def _arguments(self, task_vars: Dict[str, Any]) -> Dict[str, Any]:
        def value(name: str) -> Any:
            return self._templar.template(task_vars[name]) if name in task_vars else None

        given = {"root": value("landfall_root"), "network": value("landfall_network"), **self._task.args}
        checked = ArgumentSpecValidator(VERIFY).validate({key: item for key, item in given.items() if item is not None})
        if checked.error_messages:
            raise AnsibleActionFail("landfall.vps.verify: {0}".format("; ".join(checked.error_messages)))
        # Plain values: tags of Ansible's mean nothing on the VPS
        options: Dict[str, Any] = json.loads(json.dumps(checked.validated_parameters))
        options.update(self._expected(task_vars))
        options["ssh_port"] = int(value("ansible_port") or 22)
        return options

    def _expected(self, task_vars: Dict[str, Any]) -> Dict[str, Any]:
        """What the roles of this play and the inventory say should be on the VPS; see ``verify.expectation``."""
        roles = components(os.path.dirname(str(task_vars["role_path"])), seam.roles_of_play(task_vars))
        records = (session.known_state(task_vars) or {}).get("records") or {}
        there = [role for role in roles if is_there(role, task_vars, self._templar.template, records)]
        return {"roles": roles, "enabled": there, "declared": session.declared(task_vars)}
