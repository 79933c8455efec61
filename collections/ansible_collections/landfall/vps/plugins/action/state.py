"""Controller side of landfall.vps.state: checks the inventory while the VPS is being read. Changes nothing."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Dict, List, Optional

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.module_utils.common.text.formatters import human_to_bytes
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.landfall.vps.plugins.module_utils import ownership
from ansible_collections.landfall.vps.plugins.plugin_utils import claims, secrets, session, stack
from ansible_collections.landfall.vps.plugins.plugin_utils.checks import host_faults
from ansible_collections.landfall.vps.plugins.plugin_utils.dashboards import dashboard_faults
from ansible_collections.landfall.vps.plugins.plugin_utils.remote import TripError, interpreter, read_state
from ansible_collections.landfall.vps.plugins.plugin_utils.render import BRACKETS
from ansible_collections.landfall.vps.plugins.plugin_utils.specs import inventory_faults, role_specs
from ansible_collections.landfall.vps.plugins.plugin_utils.templates import warm_up

STACK_VARIABLES = ("landfall_prefix", "landfall_subnet", "landfall_gateway", "landfall_mtu")
OPTIONS = frozenset({"root", "files", "images", "image_size", "disk_reserve", "inventory"})
STRAYS = (
    "{0} holds {1}: with another ansible.cfg Ansible reads such files as inventory and prints what is in them. Take "
    "secrets of your own by lookup('landfall.vps.secret', '<name>'), which moves them, and move other files elsewhere"
)

warm_up(BRACKETS)


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible ships no types for ActionBase
    """See the module of the same name."""

    _supports_check_mode = True

    def run(self, tmp: Optional[str] = None, task_vars: Optional[Dict[str, Any]] = None) -> Dict[str, Any]:
        """Return the fact ``landfall_state``, or fail with every fault of the inventory or of the VPS at once."""
        task_vars = task_vars or {}
        result: Dict[str, Any] = super().run(tmp, task_vars)
        args = dict(self._task.args)
        unknown = sorted(set(args) - OPTIONS)
        if unknown:
            raise AnsibleActionFail("landfall.vps.state: unknown option {0}".format(", ".join(unknown)))
        python = interpreter(task_vars, self)
        with ThreadPoolExecutor(max_workers=1) as pool:
            # The connection waits for the VPS most of the time, which is enough to check the inventory
            reading = pool.submit(
                read_state, self, python, str(args.get("root", "/opt/landfall")), args.get("files", [])
            )
            if args.get("inventory", True):
                faults = self._inventory_faults(task_vars, result)
                self._refuse("the inventory of {0} has {1}", faults, task_vars)
            state = self._answer(reading.result, task_vars)
        if args.get("inventory", True):
            self._refuse("the dashboards for {0} have {1}", self._dashboard_faults(state, task_vars), task_vars)
        missing = len(set(args.get("images", [])) - set(state["images"]))
        image_size = human_to_bytes(str(args.get("image_size", "0"))) if missing else 0
        reserve = human_to_bytes(str(args.get("disk_reserve", "0"))) if missing else 0
        faults = host_faults(state, missing, image_size, reserve)
        if args.get("inventory", True):
            faults += self._foreign(state, task_vars)
        self._refuse("the VPS {0} cannot take the stack, it has {1}", faults, task_vars)
        result.update(changed=False, ansible_facts=session.as_fact(state), _ansible_verbose_override=True)
        return result

    def _foreign(self, state: Dict[str, Any], task_vars: Dict[str, Any]) -> List[str]:
        """What is somebody else's and has a name that this run wants; says how an existing network differs."""

        def variable(name: str, default: Any) -> Any:
            return self._templar.template(task_vars[name]) if name in task_vars else default

        whole = stack.read(variable)
        for note in ownership.network_notes(state, whole.network_request()):
            Display().warning("{0}: {1}".format(task_vars["inventory_hostname"], note))
        roles = claims.selected(task_vars.get("ansible_role_names") or [], task_vars.get("ansible_run_tags") or [])
        place = os.path.dirname(str(task_vars["role_path"]))
        return claims.clashes(state, whole, place, roles, self._templar, self._loader, task_vars)

    def _inventory_faults(self, task_vars: Dict[str, Any], result: Dict[str, Any]) -> List[str]:
        """Look at every variable, which makes the secrets that are missing, and tell what became of them."""
        secrets.heard, secrets.rehearsing = [], bool(self._task.check_mode)
        faults = self._faults_of_variables(task_vars)
        for line in secrets.grouped(secrets.heard):
            Display().display("  secrets: {0}".format(line))
        folder = str(self._templar.template(task_vars.get("landfall_secrets_dir", "")))
        inside = folder.startswith(str(task_vars.get("inventory_dir")) + os.sep)
        strays = secrets.strays(folder) if inside and not secrets.rehearsing else []
        if strays:
            result.setdefault("warnings", []).append(STRAYS.format(folder, ", ".join(strays)))
        return faults

    def _faults_of_variables(self, task_vars: Dict[str, Any]) -> List[str]:
        if not task_vars.get("role_path"):
            raise AnsibleActionFail("landfall.vps.state checks the variables of roles: call it from the role landfall")
        specs = role_specs(os.path.dirname(str(task_vars["role_path"])))
        # What tasks define for themselves is no part of the inventory
        apart = {**(task_vars.get("ansible_facts") or {}), **self._task.get_vars()}
        names = [name for name in task_vars if name not in apart]
        found = inventory_faults(
            task_vars.get("ansible_role_names") or [],
            specs,
            names,
            lambda name: self._templar.template(task_vars[name]),
        )
        return list(dict.fromkeys([*found, *stack.faults(self._own_values(task_vars))]))

    def _own_values(self, task_vars: Dict[str, Any]) -> Dict[str, Any]:
        values = {}
        for name in STACK_VARIABLES:
            if name in task_vars:
                try:
                    values[name] = self._templar.template(task_vars[name])
                except AnsibleError:
                    continue  # was told with all the others
        return values

    def _dashboard_faults(self, state: Dict[str, Any], task_vars: Dict[str, Any]) -> List[str]:
        def enabled(role: str) -> bool:
            return bool(boolean(self._templar.template(task_vars.get(role + "_enabled", True)), strict=False))

        roles = os.path.dirname(str(task_vars["role_path"]))
        return dashboard_faults(roles, task_vars.get("ansible_role_names") or [], state["files"], enabled)

    def _refuse(self, form: str, faults: List[str], task_vars: Dict[str, Any]) -> None:
        if not faults:
            return
        count = "a fault" if len(faults) == 1 else "{0} faults".format(len(faults))
        text = form.format(task_vars["inventory_hostname"], count)
        raise AnsibleActionFail("{0}; nothing was changed:\n{1}".format(text, "\n".join("- " + f for f in faults)))

    def _answer(self, wait: Any, task_vars: Dict[str, Any]) -> Dict[str, Any]:
        try:
            state: Dict[str, Any] = wait()
        except (TripError, AnsibleError) as error:
            if "sudo" in str(error).lower():
                raise AnsibleActionFail(self._no_sudo(task_vars, str(error))) from error
            if isinstance(error, TripError):
                raise AnsibleActionFail("the state of the VPS cannot be read: {0}".format(error)) from error
            raise
        return state

    def _no_sudo(self, task_vars: Dict[str, Any], said: str) -> str:
        user = task_vars.get("ansible_user") or self._play_context.remote_user or "the SSH user"
        return (
            "rights: {0} cannot use sudo on {1}; nothing was changed. Allow it without a password, or pass "
            "--ask-become-pass. sudo said: {2}".format(user, task_vars["inventory_hostname"], said)
        )
