"""A secret of this host, made once and kept on the controller."""

from __future__ import annotations

import os
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from ansible.errors import AnsibleError, AnsibleLookupError
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.lookup import LookupBase
from ansible_collections.landfall.vps.plugins.plugin_utils import placement, seam, secrets, session

DOCUMENTATION = r"""
---
name: secret
short_description: A secret of this host, generated once and kept on the controller
version_added: "0.2.0"
description:
  - Returns what C(landfall_secrets_dir)/host_vars/<host>/<name> holds, and makes that file when there is none, whole or
    not at all, for this user alone. Two runs at once make one secret.
  - Names in C(landfall_shared_secrets) lie in C(group_vars/all) instead and are the same for all hosts. So do all names
    on a host that is one of several of a stack (docs/several-machines.md).
  - Files of M(ansible.builtin.password) that lie in C(landfall_secrets_dir) itself are moved there with their content.
  - Under C(--check) nothing is written.
options:
  _terms:
    description: Names of the secrets.
    required: true
  length:
    description: Characters of a new secret.
    type: int
    default: 40
  chars:
    description: Sets of Python's C(string) or characters, of which a new secret is made.
    type: list
    elements: str
    default: [ascii_letters, digits]
  before:
    description: Return the value that a rotation (playbooks/rotate-secrets.yml) replaces; nothing while there is none.
    type: bool
    default: false
author:
  - The Landfall maintainers (@landfall)
"""

EXAMPLES = r"""
- name: Show where a secret comes from
  ansible.builtin.debug:
    msg: "{{ lookup('landfall.vps.secret', 'database_password') | length }}"
"""

RETURN = r"""
_raw:
  description: The secrets.
  type: list
  elements: str
"""

NO_FOLDER = (
    "landfall_secrets_dir: this inventory has no folder in which generated secrets could be kept; make one (cp -r "
    "inventory/example inventory/production), or set landfall_secrets_dir to a folder that you keep{0}"
)


class LookupModule(LookupBase):  # type: ignore[misc]  # ansible ships no types for LookupBase
    """See DOCUMENTATION."""

    def run(self, terms: List[str], variables: Optional[Dict[str, Any]] = None, **kwargs: Any) -> List[str]:
        """Return one secret for each name."""
        self.set_options(var_options=variables, direct=kwargs)
        known = variables or {}
        try:
            host, shared, store = self.store(known)
            if self.get_option("before"):
                return [store.before(str(t), host, t in shared) for t in terms]
            alphabet = secrets.characters(self.get_option("chars"))
            return [store.get(str(t), host, t in shared, self.get_option("length"), alphabet) for t in terms]
        except secrets.SecretError as error:
            raise AnsibleLookupError(str(error)) from error

    def store(self, known: Dict[str, Any]) -> Tuple[str, Sequence[str], secrets.Store]:
        """(host, names that all hosts share, where the secrets lie). Raises SecretError, AnsibleLookupError."""
        host = str(known["inventory_hostname"])
        shared = self._value(known, "landfall_shared_secrets", [])
        if isinstance(shared, str) or not isinstance(shared, Sequence):
            raise AnsibleLookupError("landfall_shared_secrets: write a list of names such as [database_password]")
        rehearse = secrets.rehearsing or boolean(known.get("ansible_check_mode", False), strict=False)
        before = self._folder(known)
        folder = secrets.root_for(before, [known.get("inventory_dir") or "", known.get("playbook_dir") or ""])
        made = secrets.Store(
            folder, before, rehearse, session.run_id(), lambda text: _tell(known, text), lambda: self._hosts(known)
        )
        fleet = placement.read(known)
        if fleet is not None:  # a stack has one set of secrets, however many hosts it has
            made.among = [secrets.place_of(one) for one in fleet.places]
            return host, secrets.EVERY, made
        return host, shared, made

    def _value(self, known: Dict[str, Any], name: str, default: Any) -> Any:
        return self._templar.template(known[name]) if name in known else default

    def _folder(self, known: Dict[str, Any]) -> str:
        has_none = str(known.get("inventory_dir") or "None") == "None"  # core 2.19 makes text of it
        folder = str(self._value(known, "landfall_secrets_dir", None) or "")
        # The variable as it was written, or what became of it where variables are evaluated already
        of_none = "inventory_dir" in str(known.get("landfall_secrets_dir")) or (folder + os.sep).startswith("None/")
        if not folder or (has_none and of_none):
            lost = self._loader.path_dwim("None/secrets")
            hint = "; those that an earlier version made lie in {0}: move that folder there".format(lost)
            raise AnsibleLookupError(NO_FOLDER.format(hint if os.path.isdir(lost) else ""))
        return str(self._loader.path_dwim(folder))

    def _hosts(self, known: Dict[str, Any]) -> List[str]:
        """Hosts of the same inventory: they had one set of secrets."""
        mine, result = known.get("inventory_dir"), []
        for name in (known.get("groups") or {}).get("all", []):
            try:
                theirs = known["hostvars"][name].get("inventory_dir")
            except (AnsibleError, KeyError):
                theirs = mine
            if theirs == mine:
                result.append(str(name))
        return result


def _tell(known: Mapping[str, Any], text: str) -> None:
    if secrets.heard is not None:
        secrets.heard.append(text)
    elif "would be" not in text:  # under --check each task asks anew, and the first one has told
        seam.say(known, "secrets: {0}".format(text))
