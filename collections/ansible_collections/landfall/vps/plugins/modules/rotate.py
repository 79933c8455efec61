#!/usr/bin/python
"""New values for generated secrets. Documentation only: the action plugin of the same name works on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: rotate
short_description: Give generated secrets new values, or end the old ones
version_added: "0.2.0"
description:
  - Works on the files in which the controller keeps secrets (see the lookup C(landfall.vps.secret)); a deploy
    afterwards brings them to the VPS. C(playbooks/rotate-secrets.yml) does both.
  - A run that died is made good by the same step.
options:
  names:
    description: Names of secrets.
    type: list
    elements: str
    required: true
  step:
    description:
      - C(begin) makes new values and keeps the old ones beside, C(end) forgets the old ones, C(back) goes back to them.
    type: str
    choices: [begin, end, back]
    required: true
  missing:
    description: Whether names of secrets that were never generated are left out. Otherwise they are refused.
    type: bool
    default: false
author:
  - The Landfall maintainers (@landfall)
"""

EXAMPLES = r"""
- name: Begin to replace a password
  landfall.vps.rotate:
    names: [database_password]
    step: begin
"""

RETURN = r"""
names:
  description: The secrets for which something was done.
  returned: always
  type: list
  elements: str
"""
