#!/usr/bin/python
"""Signs root in at registries."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: registries
short_description: Let root's Docker client sign in at registries
version_added: "0.1.0"
description:
  - Tries each user and password at its registry, through the engine, then keeps them in root's C(config.json), which
    only root may read. What else is in that file stays. None is kept if one is refused.
  - Passwords travel on the standard input of a program and are in no list of processes, log or diff.
options:
  root:
    description: Folder of all components on the VPS.
    type: path
    default: /opt/landfall
  registries:
    description: The registries. Those that were named before and are no more are signed out of.
    type: list
    elements: dict
    default: []
    suboptions:
      address:
        description: Name of the registry, with its port if it has one; docker.io for Docker's own.
        type: str
        required: true
      user:
        description: User.
        type: str
        required: true
      password:
        description: Password or token.
        type: str
        required: true
author:
  - The Landfall maintainers (@landfall)
"""

EXAMPLES = r"""
- name: Sign in
  landfall.vps.registries:
    registries:
      - {address: registry.example.com, user: deploy, password: "{{ vault_registry_password }}"}
"""

RETURN = r"""#"""
