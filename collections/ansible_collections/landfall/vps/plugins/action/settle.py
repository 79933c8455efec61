"""Controller side of landfall.vps.settle: names the run whose work is concluded."""

from __future__ import annotations

from typing import Any, Dict, Optional

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.landfall.vps.plugins.plugin_utils import releasing, seam, session
from ansible_collections.landfall.vps.plugins.plugin_utils.remote import TripError, interpreter, run_settle

DEFAULTS = {
    "root": "/opt/landfall",
    "network": "landfall",
    "subnet": "",
    "gateway": "",
    "mtu": "0",
    "stack": "landfall",
}


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible ships no types for ActionBase
    """See the module of the same name."""

    _supports_check_mode = True

    def run(self, tmp: Optional[str] = None, task_vars: Optional[Dict[str, Any]] = None) -> Dict[str, Any]:
        """Return the module's result."""
        task_vars = task_vars or {}
        result: Dict[str, Any] = super().run(tmp, task_vars)
        given = {key: str(self._task.args.get(key, default)) for key, default in DEFAULTS.items()}
        if self._task.check_mode:
            result.update(changed=False, components={}, msg="nothing is started under --check, so nothing to prove")
            return result
        python = interpreter(task_vars, self)
        try:
            network = {"name": given["network"], **{key: given[key] for key in ("subnet", "gateway", "mtu", "stack")}}
            result.update(
                run_settle(
                    self, python, given["root"], network, session.run_id(), session.who(), seam.teller(task_vars)
                )
            )
        except TripError as error:
            raise AnsibleActionFail("what was placed cannot be started: {0}".format(error)) from error
        chosen = (session.known_state(task_vars) or {}).get("release")
        warned = releasing.ended(self, result.get("release"), chosen, task_vars)
        if warned:
            result.setdefault("warnings", []).extend(warned)
        for component, outcome in sorted(result.get("components", {}).items()):
            if "seconds" in outcome:
                seam.say(task_vars, "{0}: serves, after {1:.1f} s".format(component, outcome["seconds"]))
            for line in outcome.get("told") or []:
                seam.say(task_vars, "  {0}".format(line))
        return result
