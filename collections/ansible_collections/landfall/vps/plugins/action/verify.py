"""Controller side of landfall.vps.verify: derives what to expect from the enabled roles, prints the table."""

from __future__ import annotations

import os
from typing import Any, Dict, List, Mapping, Optional

import yaml
from ansible.errors import AnsibleActionFail
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.action import ActionBase
from ansible_collections.landfall.vps.plugins.module_utils.signals import sentence
from ansible_collections.landfall.vps.plugins.module_utils.spec import VERIFY
from ansible_collections.landfall.vps.plugins.module_utils.verify import table
from ansible_collections.landfall.vps.plugins.plugin_utils import seam
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
        roles_folder = os.path.dirname(str(task_vars["role_path"]))
        roles = [name for name in self._stack(roles_folder, task_vars) if _deploys(os.path.join(roles_folder, name))]
        templar = seam.templar_with(self._templar, {**self._defaults(roles_folder, task_vars), **task_vars})

        def value(expression: str) -> Any:
            try:
                return seam.evaluate(templar, expression)
            except Exception as error:
                raise AnsibleActionFail("what to expect cannot be told: {0}: {1}".format(expression, error)) from error

        args = {
            "root": value("landfall_root"),
            "network": value("landfall_network"),
            "components": [name for name in roles if value(name + "_enabled | bool")],
        }
        if "prometheus" in roles:
            args.update(
                scrape_interval=value("prometheus_scrape_interval"),
                retention=[value("prometheus_retention_time"), value("prometheus_retention_size")],
                other_jobs=value("prometheus_extra_targets | map(attribute='job') | list"),
            )
        if "loki" in args["components"]:
            args["log_retention"] = value("loki_retention")
        if "alloy" in args["components"]:
            args["unlogged"] = value("alloy_exclude_containers")
        checked = ArgumentSpecValidator(VERIFY).validate({**args, **self._task.args})
        if checked.error_messages:
            raise AnsibleActionFail("landfall.vps.verify: {0}".format("; ".join(checked.error_messages)))
        options: Dict[str, Any] = checked.validated_parameters
        return options

    def _stack(self, roles_folder: str, task_vars: Mapping[str, Any]) -> List[str]:
        """Roles of this play in start order; those of site.yml when the play only verifies."""
        own = [
            name
            for name in seam.roles_of_play(task_vars, with_dependencies=False)
            if name not in ("verify", "landfall")
        ]
        if own:
            return own
        with open(os.path.join(os.path.dirname(roles_folder), "site.yml"), encoding="utf-8") as handle:
            plays = yaml.safe_load(handle)
        return [str(task["ansible.builtin.import_role"]["name"]) for play in plays for task in play["tasks"]]

    def _defaults(self, roles_folder: str, task_vars: Mapping[str, Any]) -> Dict[str, Any]:
        """Defaults of all roles; what a play that deploys them would have anyway."""
        if [
            name
            for name in seam.roles_of_play(task_vars, with_dependencies=False)
            if name not in ("verify", "landfall")
        ]:
            return {}
        result: Dict[str, Any] = {}
        for role in sorted(os.listdir(roles_folder)):
            path = os.path.join(roles_folder, role, "defaults", "main.yml")
            if os.path.exists(path):
                result.update(seam.load_trusted(self._loader, path) or {})
        return result


def _deploys(role: str) -> bool:
    return os.path.exists(os.path.join(role, "templates", "compose.yaml.j2"))
