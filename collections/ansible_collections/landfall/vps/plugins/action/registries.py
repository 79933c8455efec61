"""Controller side of landfall.vps.registries: has root signed in at registries, with passwords that nobody sees."""

from __future__ import annotations

import json
from typing import Any, Dict, Optional

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.landfall.vps.plugins.plugin_utils import seam
from ansible_collections.landfall.vps.plugins.plugin_utils.remote import TripError, interpreter, run_sign_in


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible ships no types for ActionBase
    """See the module of the same name."""

    _supports_check_mode = True

    def run(self, tmp: Optional[str] = None, task_vars: Optional[Dict[str, Any]] = None) -> Dict[str, Any]:
        """Return whether anything changed, or fail with each registry that refuses."""
        task_vars = task_vars or {}
        result: Dict[str, Any] = super().run(tmp, task_vars)
        registries = json.loads(json.dumps(self._task.args.get("registries") or []))
        names = ", ".join(str(one["address"]) for one in registries) or "none"
        if self._task.check_mode:
            seam.say(task_vars, "registries that root would be signed in at: {0}".format(names))
            result.update(changed=True)
            return result
        try:
            root = str(self._task.args.get("root", "/opt/landfall"))
            answer = run_sign_in(self, interpreter(task_vars, self), root, registries)
        except TripError as error:
            raise AnsibleActionFail("root cannot be signed in at registries: {0}".format(error)) from error
        if answer.get("failed"):
            raise AnsibleActionFail("{0}; no password was changed".format(answer["failed"]))
        seam.say(task_vars, "registries that root is signed in at by this inventory: {0}".format(names))
        result.update(changed=bool(answer["changed"]))
        return result
