"""Controller side of landfall.vps.run: starts a command beside a service, shows what it says, returns its status."""

from __future__ import annotations

import time
from typing import Any, Dict, List, Optional

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.landfall.vps.plugins.plugin_utils import quoting, seam, session
from ansible_collections.landfall.vps.plugins.plugin_utils.remote import TripError, interpreter, run_single

OPTIONS = frozenset({"root", "service", "command", "entrypoint", "timeout"})
EXAMPLE = """playbooks/run.yml -e '{"service": "web", "command": "alembic current"}'"""
USAGE = "say which service and which command: " + EXAMPLE
LOST = "ansible-playbook split the command at a blank and lost '{0}'; nothing was run. Write "
PATIENCE = 5.0  # seconds for which a trip waits for something to show
KEPT = 10_000  # lines of the result


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible ships no types for ActionBase
    """See the module of the same name."""

    _supports_check_mode = True

    def run(self, tmp: Optional[str] = None, task_vars: Optional[Dict[str, Any]] = None) -> Dict[str, Any]:
        """Return the module's result; failed where the command's status is not 0."""
        task_vars = task_vars or {}
        result: Dict[str, Any] = super().run(tmp, task_vars)
        args = dict(self._task.args)
        unknown = sorted(set(args) - OPTIONS)
        if unknown:
            raise AnsibleActionFail("landfall.vps.run: unknown option {0}".format(", ".join(unknown)))
        service = str(args.get("service") or "")
        argv, entrypoint = self._words(args, "command"), self._words(args, "entrypoint")
        lost = str(task_vars.get("_raw_params") or "")
        if lost:
            raise AnsibleActionFail(LOST.format(lost) + EXAMPLE)
        if not service or not argv:
            raise AnsibleActionFail(USAGE)
        limit = self._limit(args.get("timeout"))
        if self._task.check_mode:
            result.update(changed=False, skipped=True, msg="nothing is run under --check")
            return result
        python = interpreter(task_vars, self)
        try:
            result.update(
                self._run(python, [args.get("root", "/opt/landfall"), service, argv, entrypoint], limit, task_vars)
            )
        except TripError as error:
            raise AnsibleActionFail(str(error)) from error
        return result

    def _words(self, args: Dict[str, Any], name: str) -> List[str]:
        try:
            return quoting.words(args[name]) if args.get(name) else []
        except quoting.QuotingError as error:
            raise AnsibleActionFail("{0}: {1}".format(name, error)) from error

    def _limit(self, value: Any) -> float:
        try:
            return float(value or 0)
        except (TypeError, ValueError):
            raise AnsibleActionFail("timeout: '{0}' is no number of seconds".format(value)) from None

    def _run(self, python: str, what: List[Any], limit: float, task_vars: Dict[str, Any]) -> Dict[str, Any]:
        """Run ``what``: root, service, argv and entrypoint."""
        _root, service, argv, entrypoint = what
        answer = run_single(self, python, "begin", [*what, session.run_id(), session.who()])
        if answer.get("failed"):
            raise AnsibleActionFail(answer["failed"])
        container = answer["container"]
        seam.say(task_vars, "{0}: {1}".format(container, " ".join([*entrypoint, *argv])))
        began, since = time.monotonic(), ""
        said: List[str] = []
        try:
            while True:
                answer = run_single(self, python, "follow", [container, since, PATIENCE])
                for line in answer["lines"]:
                    seam.say(task_vars, line)
                said, since = [*said, *answer["lines"]][-KEPT:], answer["since"]
                if answer["ended"]:
                    break
                if limit and time.monotonic() - began > limit:
                    answer.update(status=124, late=True)
                    break
        finally:
            run_single(self, python, "end", [container])
        return self._told(service, container, said, answer, limit)

    def _told(
        self, service: str, container: str, said: List[str], answer: Dict[str, Any], limit: float
    ) -> Dict[str, Any]:
        status = -1 if answer.get("gone") else int(answer["status"])
        result: Dict[str, Any] = {"changed": True, "rc": status, "stdout": "\n".join(said), "container": container}
        why = "ended with exit status {0}".format(status)
        if answer.get("gone"):
            why = "was removed by somebody while it ran"
        elif answer.get("late"):
            why = "was stopped, as it took longer than {0:.0f} s".format(limit)
        elif answer.get("oom"):
            why += ": it was killed, as it needed more memory than the service may have"
        if status != 0:
            result.update(failed=True, msg="the command in {0} {1}".format(service, why))
        return result
