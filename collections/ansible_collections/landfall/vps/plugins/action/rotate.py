"""Controller side of landfall.vps.rotate: new values for generated secrets, and the end of the old ones."""

from __future__ import annotations

from typing import Any, Dict, List, Optional

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible.plugins.loader import lookup_loader
from ansible_collections.landfall.vps.plugins.plugin_utils import seam, secrets

LENGTH, ALPHABET = 40, secrets.characters(["ascii_letters", "digits"])  # as the lookup has them
STEPS = ("begin", "end", "back")
OPTIONS = frozenset({"names", "step", "missing"})
GIVEN = (
    "{0}: the inventory sets it, so that it is yours to replace: give the new value in {0}, deploy, and see "
    "docs/security.md for how both are accepted meanwhile"
)


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible ships no types for ActionBase
    """See the module of the same name."""

    _supports_check_mode = True

    def run(self, tmp: Optional[str] = None, task_vars: Optional[Dict[str, Any]] = None) -> Dict[str, Any]:
        """Return the names whose value changed, or fail before one did."""
        known = task_vars or {}
        result: Dict[str, Any] = super().run(tmp, task_vars)
        unknown = sorted(set(self._task.args) - OPTIONS)
        if unknown:
            raise AnsibleActionFail("landfall.vps.rotate: unknown option {0}".format(", ".join(unknown)))
        names, step = self._task.args.get("names") or [], self._task.args.get("step")
        if isinstance(names, str) or step not in STEPS:
            raise AnsibleActionFail("landfall.vps.rotate: give a list of names, and step: begin, end or back")
        secrets.rehearsing = bool(self._task.check_mode)
        lookup = lookup_loader.get("landfall.vps.secret", loader=self._loader, templar=self._templar)
        try:
            host, shared, store = lookup.store(known)
            may_miss = boolean(self._task.args.get("missing", False), strict=False)
            names = [n for n in map(str, names) if not may_miss or secrets.read(store.path(n, host, n in shared))]
            if step == "begin":
                self._refuse(names, known, host, shared, store)
                done = [name for name in names if store.begin(name, host, name in shared, LENGTH, ALPHABET)]
            else:
                done = [name for name in names if store.end(name, host, name in shared, back=step == "back")]
        except (secrets.SecretError, OSError, AnsibleError) as error:
            raise AnsibleActionFail(str(error)) from error
        words = {"begin": "has a new value", "end": "is to be accepted no more by its old value",
                 "back": "has its old value again"}  # fmt: skip
        for name in done:
            seam.say(known, "secrets: {0} {1}".format(name, words[str(step)]))
        result.update(changed=bool(done), names=done)
        return result

    def _refuse(self, names: List[str], known: Dict[str, Any], host: str, shared: Any, store: secrets.Store) -> None:
        for name in names:
            kept = secrets.read(store.path(name, host, name in shared))
            if kept is None:
                raise secrets.SecretError("{0} is not generated here; deploy first (site.yml)".format(name))
            if name in known and str(self._templar.template(known[name])) != kept:
                raise secrets.SecretError(GIVEN.format(name))
