"""Controller side of landfall.vps.rollback: one trip that goes back to a release, and what is said of it."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.landfall.vps.plugins.module_utils.release_list import COMPLETE, FAILED
from ansible_collections.landfall.vps.plugins.plugin_utils import hooks, releasing, seam, session
from ansible_collections.landfall.vps.plugins.plugin_utils.remote import TripError, interpreter, run_go_back

DEFAULTS = {
    "root": "/opt/landfall",
    "network": "landfall",
    "subnet": "",
    "gateway": "",
    "mtu": "0",
    "stack": "landfall",
    "release": "",
    "confirm": "",
}
VERB = "rollback"
NEXT = "the next site.yml deploys what the inventory says: to stay at {0}, let it say what {0} was made of"


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible ships no types for ActionBase
    """See the module of the same name."""

    _supports_check_mode = True
    _supports_diff = True

    def run(self, tmp: Optional[str] = None, task_vars: Optional[Dict[str, Any]] = None) -> Dict[str, Any]:
        """Return the module's result."""
        task_vars = task_vars or {}
        result: Dict[str, Any] = super().run(tmp, task_vars)
        unknown = sorted(set(self._task.args) - {*DEFAULTS, "hooks"})
        if unknown:
            raise AnsibleActionFail("landfall.vps.rollback: unknown option {0}".format(", ".join(unknown)))
        given = {key: str(self._task.args.get(key, default)) for key, default in DEFAULTS.items()}
        request = {
            "root": given["root"],
            "network": {"name": given["network"], **{k: given[k] for k in ("subnet", "gateway", "mtu", "stack")}},
            "run": session.run_id(),
            "who": session.who(),
            "holder": session.holder(),
            "dead": "",
            "name": given["release"],
            "confirm": given["confirm"],
        }
        rehearsing, found = bool(self._task.check_mode), dict(self._task.args.get("hooks") or {})
        try:
            prepared = not rehearsing and self._prepared(request, found, task_vars)
            answer = self._ask(request, task_vars, rehearsing)
        except hooks.HookError as error:
            raise AnsibleActionFail("{0}; nothing was changed".format(error)) from error
        except TripError as error:
            raise AnsibleActionFail("going back did not come to its end: {0}".format(error)) from error
        for line in said(answer, rehearsing):
            seam.say(task_vars, line)
        if not rehearsing and (answer["components"] or prepared):
            warned = self._concluded(answer, found, task_vars)
            result.update({"warnings": warned} if warned else {})
        diff = [item for outcome in answer["components"].values() for item in outcome.get("diff") or []]
        result.update({**answer, "diff": diff} if diff else answer)
        return result

    def _prepared(self, request: Mapping[str, Any], found: Mapping[str, Any], task_vars: Dict[str, Any]) -> bool:
        """Run the hooks that come before a release, if going back is going to change something; whether it is.

        Raises HookError and TripError. What would be refused runs none.
        """
        if not found.get(hooks.BEFORE):
            return False
        answer = self._ask(request, task_vars, True)
        if answer.get("failed") or not answer.get("changed"):
            return False
        told = {"name": answer["release"], "commit": answer.get("commit"), "wants": answer["components"]}
        releasing.prepared(self, {**told, "hooks": found}, task_vars, VERB)
        return True

    def _concluded(self, answer: Mapping[str, Any], found: Mapping[str, Any], task_vars: Dict[str, Any]) -> List[str]:
        """Run the hooks that come after it; returns warnings."""
        outcome = FAILED if answer.get("failed") else COMPLETE
        release = {"name": answer["release"], "commit": answer.get("commit"), "outcome": outcome,
                   "why": answer.get("msg") or ""}  # fmt: skip
        told = {"action": VERB, "components": answer["components"]}
        by = session.who()
        return hooks.conclude(self, found, release, told, task_vars, by, lambda line: seam.say(task_vars, line))

    def _ask(self, request: Mapping[str, Any], task_vars: Dict[str, Any], rehearsing: bool) -> Dict[str, Any]:
        python, modes = interpreter(task_vars, self), (rehearsing, bool(self._task.diff))
        answer = run_go_back(self, python, request, *modes, seam.teller(task_vars))
        dead = session.dead_run(answer.pop("lock", None))
        if dead:  # who has the lock was a process of this machine, and is gone
            answer = run_go_back(self, python, {**request, "dead": dead}, *modes, seam.teller(task_vars))
            answer.pop("lock", None)
        return answer


def said(answer: Mapping[str, Any], rehearsing: bool) -> List[str]:
    """What is told of an answer of ``trip.go_back``."""
    lines = list(answer.get("notes") or [])
    would = "would be " if rehearsing else ""
    for name, outcome in sorted(answer["components"].items()):
        took = releasing.phases(outcome.get("seconds"))
        lines.append("{0}: {1}{2}{3}".format(name, would, outcome.get("action"), took))
        lines += ["  {0}".format(line) for line in [*outcome.get("reasons", [])[:5], *outcome.get("notes", [])]]
    if answer.get("failed"):
        return lines + (["undone: {0}".format(answer["undone"])] if answer.get("undone") else [])
    if not answer["components"]:
        return [*lines, "release {0} serves already".format(answer["release"])]
    before = answer["before"] or "what is no release"
    if rehearsing:
        return [*lines, "release {0} would serve in place of {1}".format(answer["release"], before)]
    form = "release {0} serves in place of {1}, after {2:.1f} s"
    return [*lines, form.format(answer["release"], before, answer["seconds"]), NEXT.format(answer["release"])]
