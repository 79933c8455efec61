"""Controller side of landfall.vps.lock: has the VPS for this run until the run ends."""

from __future__ import annotations

from typing import Any, Dict, Optional

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.landfall.vps.plugins.plugin_utils import keeper, session
from ansible_collections.landfall.vps.plugins.plugin_utils.remote import TripError, interpreter, run_queue


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible ships no types for ActionBase
    """See the module of the same name."""

    _supports_check_mode = True

    def run(self, tmp: Optional[str] = None, task_vars: Optional[Dict[str, Any]] = None) -> Dict[str, Any]:
        """Return once the VPS is this run's, or fail with who has it."""
        task_vars = task_vars or {}
        result: Dict[str, Any] = super().run(tmp, task_vars)
        state = session.known_state(task_vars)
        result.update(changed=False)
        args = self._task.args
        root = str(args.get("root", "/opt/landfall"))
        if self._task.check_mode or (state and state.get("kept") and state.get("root") == root):
            return result
        dead = session.dead_run((state or {}).get("lock"))
        me = (session.run_id(), session.who(), dead, session.holder())
        python = interpreter(task_vars, self)
        try:
            told = run_queue(self, python, root, me, 0, str(args["doing"]))
        except TripError as error:
            raise AnsibleActionFail("the lock of this VPS cannot be taken: {0}".format(error)) from error
        if not told["held"]:
            raise AnsibleActionFail("{0}; nothing was changed".format(told["why"]))
        keeper.start(self, python, root)
        if state is not None:
            result.update(ansible_facts=session.as_fact({**state, "kept": True}), _ansible_verbose_override=True)
        return result
