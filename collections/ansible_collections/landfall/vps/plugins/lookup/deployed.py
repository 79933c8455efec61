"""Which of some components are there: the one way in which a role asks for another."""

from __future__ import annotations

from typing import Any, Dict, List, Optional

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase
from ansible_collections.landfall.vps.plugins.plugin_utils import session
from ansible_collections.landfall.vps.plugins.plugin_utils.declared import after, in_stack, is_there

DOCUMENTATION = r"""
name: deployed
short_description: Which of some components are on the VPS once this play is over
version_added: "0.1.0"
description:
  - A component of this play is there if its C(<role>_enabled) says so and the tags of the run select it or an earlier
    run deployed it. One that this play does not name is there if an earlier play of this run has it so, or else if an
    earlier run deployed it.
  - What stands on another host of the same stack (docs/several-machines.md) counts if it is enabled, whatever the tags.
options:
  _terms:
    description: Names of components, which are those of their roles.
    required: true
  here:
    description: Only those on this very host, where the stack has several.
    type: bool
    default: false
author:
  - The Landfall maintainers (@landfall)
"""

EXAMPLES = r"""
- name: Start after the database if this stack has one
  landfall.vps.component:
    name: shop
    needs: "{{ query('landfall.vps.deployed', 'database') }}"
"""

RETURN = r"""
_raw:
  description: Those of the names whose components are there, in their order.
  type: list
  elements: str
"""


class LookupModule(LookupBase):  # type: ignore[misc]  # ansible ships no types for LookupBase
    """See DOCUMENTATION."""

    def run(self, terms: List[str], variables: Optional[Dict[str, Any]] = None, **kwargs: Any) -> List[str]:
        """Return those of ``terms`` that are there."""
        variables = variables or {}
        self.set_options(var_options=variables, direct=kwargs)
        there = is_there if self.get_option("here") else in_stack
        recorded = after(session.known_records(variables), session.known_expected(variables))
        for name in terms:
            if not isinstance(name, str) or not name:
                raise AnsibleError("landfall.vps.deployed: {0!r} is no name of a component".format(name))
        return [str(name) for name in terms if there(str(name), variables, self._templar.template, recorded)]
