#!/usr/bin/python
"""Has the VPS for one run."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: lock
short_description: Have the VPS for this run alone, from this task to the end of the run
version_added: "0.2.0"
description:
  - For tasks that are no components, such as those of the roles docker and host, before the first of them that changes
    something. Components take the same lock themselves.
  - It is freed when the run ends, however it does. Under C(--check) nothing is done.
  - While another run has the VPS it fails at once. Who waits does so before the VPS is read and planned for, see
    M(landfall.vps.state).
options:
  root:
    description: Folder of all components on the VPS.
    type: path
    default: /opt/landfall
  doing:
    description: What others are told while they cannot have the VPS.
    type: str
    required: true
author:
  - The Landfall maintainers (@landfall)
"""

EXAMPLES = r"""
- name: Let no other run change this VPS meanwhile
  landfall.vps.lock:
    doing: packages
"""

RETURN = r"""#"""
