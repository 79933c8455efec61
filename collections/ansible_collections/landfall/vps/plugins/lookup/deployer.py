"""The program that stays on a VPS for keys that may do nothing but deploy."""

from __future__ import annotations

from typing import Any, Dict, List, Optional

from ansible.plugins.lookup import LookupBase
from ansible_collections.landfall.vps.plugins.plugin_utils import remote

DOCUMENTATION = r"""
name: deployer
short_description: The program that an SSH key may run that may do nothing but deploy
version_added: "0.2.0"
description:
  - Returns the source of one Python program that needs nothing beside it. playbooks/deploy-keys.yml places it.
options: {}
author:
  - The Landfall maintainers (@landfall)
"""

EXAMPLES = r"""
- name: Place it
  ansible.builtin.copy:
    content: "{{ lookup('landfall.vps.deployer') }}"
    dest: /usr/local/lib/landfall/deployer.py
    mode: "0755"
"""

RETURN = r"""
_raw:
  description: One text.
  type: list
  elements: str
"""


class LookupModule(LookupBase):  # type: ignore[misc]  # ansible ships no types for LookupBase
    """See DOCUMENTATION."""

    def run(self, _terms: List[str], variables: Optional[Dict[str, Any]] = None, **_options: Any) -> List[str]:
        """Return the source."""
        return [remote.standing_program()]
