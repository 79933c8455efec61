"""Controller side of landfall.vps.drop_in: one file in a drop-in folder of a component that runs."""

from __future__ import annotations

from typing import Any, Dict, Optional

from ansible.errors import AnsibleActionFail
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible_collections.landfall.vps.plugins.plugin_utils import seam, session
from ansible_collections.landfall.vps.plugins.plugin_utils.remote import TripError, interpreter, run_drop

DEFAULTS: Dict[str, Any] = {
    "root": "/opt/landfall",
    "network": "landfall",
    "component": "",
    "folder": "",
    "name": "",
    "content": "",
    "present": True,
    "what": "",
    "told": "",
}


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible ships no types for ActionBase
    """See the module of the same name."""

    _supports_check_mode = True

    def run(self, tmp: Optional[str] = None, task_vars: Optional[Dict[str, Any]] = None) -> Dict[str, Any]:
        """Return the module's result."""
        task_vars = task_vars or {}
        result: Dict[str, Any] = super().run(tmp, task_vars)
        unknown = sorted(set(self._task.args) - set(DEFAULTS))
        if unknown:
            raise AnsibleActionFail("landfall.vps.drop_in: unknown option {0}".format(", ".join(unknown)))
        given = {**DEFAULTS, **self._task.args}
        request = {key: str(given[key]) for key in ("root", "component", "folder", "name", "what")}
        network = {"name": str(given["network"]), "subnet": "", "gateway": "", "mtu": "0"}
        content = str(given["content"]) if boolean(given["present"], strict=False) else None
        who = {"run": session.run_id(), "who": session.who()}
        try:
            python = interpreter(task_vars, self)
            answer = run_drop(
                self, python, {**request, "network": network, "content": content, **who}, bool(self._task.check_mode)
            )
        except TripError as error:
            raise AnsibleActionFail("the file was not put in place: {0}".format(error)) from error
        if not answer.get("failed") and given["told"]:
            seam.say(task_vars, "{0}{1}".format("would be: " if self._task.check_mode else "", given["told"]))
        result.update(answer)
        return result
