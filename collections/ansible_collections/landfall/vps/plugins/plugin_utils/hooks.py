"""Commands of the inventory's before and after a release, on the controller or on the VPS: docs/releases.md."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, Sequence

from ansible.plugins.action import ActionBase
from ansible_collections.landfall.vps.plugins.module_utils import hook
from ansible_collections.landfall.vps.plugins.module_utils.release_list import COMPLETE, OPEN
from ansible_collections.landfall.vps.plugins.plugin_utils import quoting
from ansible_collections.landfall.vps.plugins.plugin_utils.remote import TripError, interpreter, run_hook

BEFORE, AFTER, FAILED = "before", "after", "failed"
TIMEOUT = 300  # seconds
SHOWN = 5  # lines of a command that failed


class HookError(Exception):
    """A command did not end well, or is none; the message says which, and what it said last."""


def words(item: Mapping[str, Any]) -> List[str]:
    """The command of a hook. Raises HookError."""
    try:
        found = quoting.words(item.get("command") or "")
    except quoting.QuotingError as error:
        raise HookError(str(error)) from error
    if not found:
        raise HookError("has no command; write one such as 'curl -fsS https://example.org/deployed'")
    return found


def environment(told: Mapping[str, Any], host: str, who: str) -> Dict[str, str]:
    """What a hook is given. ``told``: ``{action, name, commit, components, outcome, why}``."""
    result = {COMPLETE: "success"}.get(str(told.get("outcome") or ""), str(told.get("outcome") or ""))
    return {
        "LANDFALL_ACTION": str(told["action"]),
        "LANDFALL_RELEASE": str(told["name"]),
        "LANDFALL_COMMIT": str(told.get("commit") or ""),
        "LANDFALL_COMPONENTS": ",".join(sorted(str(name) for name in told.get("components") or [])),
        "LANDFALL_RESULT": result,
        "LANDFALL_REASON": str(told.get("why") or ""),
        "LANDFALL_HOST": host,
        "LANDFALL_BY": who,
    }


def run(
    action: ActionBase,
    items: Sequence[Mapping[str, Any]],
    told: Mapping[str, str],
    task_vars: Dict[str, Any],
    say: Callable[[str], None],
) -> None:
    """Run ``items`` one after another with the environment ``told``, until one fails. Raises HookError."""
    for item in items or []:
        argv, timeout = words(item), float(item.get("timeout") or TIMEOUT)
        where = "VPS" if item.get("where") == "vps" else "controller"
        name = " ".join(argv)
        say("hook on the {0}: {1}".format(where, name))
        try:
            if where == "VPS":
                done = run_hook(action, interpreter(task_vars, action), argv, told, timeout)
            else:
                done = hook.run(argv, told, timeout, str(task_vars.get("inventory_dir") or "."))
        except TripError as error:
            raise HookError("the hook '{0}' could not be run on the VPS: {1}".format(name, error)) from error
        for line in done["lines"]:
            say("  " + line)
        if done["status"]:
            late = ", as it took longer than {0:.0f} s".format(timeout) if done["status"] == hook.LATE else ""
            last = "; it said last: {0}".format(" / ".join(done["lines"][-SHOWN:])) if done["lines"] else ""
            form = "the hook '{0}' on the {1} ended with status {2}{3}{4}"
            raise HookError(form.format(name, where, done["status"], late, last))


def conclude(
    action: ActionBase,
    hooks: Mapping[str, Any],
    release: Mapping[str, Any],
    told: Mapping[str, Any],
    task_vars: Dict[str, Any],
    by: str,
    say: Callable[[str], None],
) -> List[str]:
    """Run what comes after a release that ended as ``release`` says; returns warnings: what is done stays done."""
    if not release.get("name") or release["outcome"] == OPEN:
        return []
    when = AFTER if release["outcome"] == COMPLETE else FAILED
    known = {**told, **{key: release.get(key) for key in ("name", "commit", "outcome", "why")}}
    try:
        given = environment(known, str(task_vars.get("inventory_hostname")), by)
        run(action, hooks.get(when) or [], given, task_vars, say)
    except HookError as error:
        return ["{0}; the release stays as it is".format(error)]
    return []
