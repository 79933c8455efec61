"""Controller side of landfall.vps.releases: the releases of a VPS and its last runs, as tables."""

from __future__ import annotations

from typing import Any, Dict, Optional

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.landfall.vps.plugins.module_utils.history import columns
from ansible_collections.landfall.vps.plugins.module_utils.verify import table
from ansible_collections.landfall.vps.plugins.plugin_utils import seam
from ansible_collections.landfall.vps.plugins.plugin_utils.remote import TripError, interpreter, read_history

DEFAULTS = {"root": "/opt/landfall", "runs": 20}
COLUMNS = ("name", "digest", "commit", "when", "by", "state", "why")
RUNS = ("when", "who", "what", "release", "result", "seconds", "components")
WHY = 100  # characters


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible ships no types for ActionBase
    """See the module of the same name."""

    _supports_check_mode = True

    def run(self, tmp: Optional[str] = None, task_vars: Optional[Dict[str, Any]] = None) -> Dict[str, Any]:
        """Return the module's result."""
        task_vars = task_vars or {}
        result: Dict[str, Any] = super().run(tmp, task_vars)
        unknown = sorted(set(self._task.args) - set(DEFAULTS))
        if unknown:
            raise AnsibleActionFail("landfall.vps.releases: unknown option {0}".format(", ".join(unknown)))
        given = {**DEFAULTS, **self._task.args}
        try:
            answer = read_history(self, interpreter(task_vars, self), str(given["root"]), int(given["runs"]))
        except ValueError:
            raise AnsibleActionFail("runs: '{0}' is no number".format(given["runs"])) from None
        except TripError as error:
            raise AnsibleActionFail("the releases cannot be read: {0}".format(error)) from error
        rows = [{**row, "why": _short(row["why"])} for row in answer["releases"]]
        for line in table(rows, COLUMNS) if rows else ["no release yet: the first is made by the next change"]:
            seam.say(task_vars, line)
        if answer["under_way"]:
            seam.say(task_vars, "under way: {0}".format(answer["under_way"]))
        if answer["runs"]:
            seam.say(task_vars, "")
            for line in table(
                [{**row, "components": _short(row["components"])} for row in columns(answer["runs"])], RUNS
            ):
                seam.say(task_vars, line)
        result.update(changed=False, **answer)
        return result


def _short(text: str) -> str:
    line = " ".join(str(text).split())
    return line if len(line) <= WHY else line[: WHY - 3] + "..."
