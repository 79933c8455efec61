"""Controller side of landfall.vps.verify: derives what to expect from roles and inventory, prints the table."""

from __future__ import annotations

import json
from typing import Any, Dict, Mapping, Optional

from ansible.errors import AnsibleActionFail
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.action import ActionBase
from ansible_collections.landfall.vps.plugins.module_utils.signals import sentence
from ansible_collections.landfall.vps.plugins.module_utils.spec import VERIFY
from ansible_collections.landfall.vps.plugins.module_utils.verify import table
from ansible_collections.landfall.vps.plugins.plugin_utils import seam, session
from ansible_collections.landfall.vps.plugins.plugin_utils.declared import expected
from ansible_collections.landfall.vps.plugins.plugin_utils.remote import TripError, interpreter, run_verify

COLUMNS = ("component", "health", "targets", "version", "seconds")


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible ships no types for ActionBase
    """See the module of the same name."""

    _supports_check_mode = True

    def run(self, tmp: Optional[str] = None, task_vars: Optional[Dict[str, Any]] = None) -> Dict[str, Any]:
        """Return what was found; fail with every fault and what to do about it."""
        task_vars = task_vars or {}
        result: Dict[str, Any] = super().run(tmp, task_vars)
        if (session.known_state(task_vars) or {}).get("bundled"):
            result.update(changed=False, skipped=True, msg="nothing is deployed, so there is nothing to verify")
            return result
        if self._task.check_mode:
            result.update(changed=False, msg="nothing is deployed under --check, so there is nothing to verify")
            return result
        try:
            python, options = interpreter(task_vars, self), self._arguments(task_vars)
            answer = run_verify(self, python, options, seam.teller(task_vars))
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

        # A play that only verifies need not know the variables of the roles: the play before it left what it expects
        known = session.known_state(task_vars) or {}
        left = known.get("expected") or {}
        given = {
            "root": value("landfall_root") or known.get("root"),
            "network": value("landfall_network") or left.get("network"),
            **self._task.args,
        }
        checked = ArgumentSpecValidator(VERIFY).validate({key: item for key, item in given.items() if item is not None})
        if checked.error_messages:
            raise AnsibleActionFail("landfall.vps.verify: {0}".format("; ".join(checked.error_messages)))
        # Plain values: tags of Ansible's mean nothing on the VPS
        options: Dict[str, Any] = json.loads(json.dumps(checked.validated_parameters))
        options.update(self._expected(task_vars, known))
        options["ssh_port"] = int(value("ansible_port") or 22)
        return options

    def _expected(self, task_vars: Dict[str, Any], known: Mapping[str, Any]) -> Dict[str, Any]:
        """What the roles and the inventory say should be on the VPS; see ``verify.expectation``."""
        found = expected(task_vars, self._templar.template, known.get("records") or {})
        if not found["roles"]:
            found = known.get("expected") or {}
        if not found:
            raise AnsibleActionFail(
                "landfall.vps.verify: nobody said in this run what to expect; let a play with the role landfall and the"
                " components come before this one, as in site.yml (--tags verify keeps it, --start-at-task does not)"
            )
        return {"roles": found["roles"], "enabled": found["enabled"], "declared": session.declared(task_vars)}
