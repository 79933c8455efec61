#!/usr/bin/python
"""Starts and proves what a run placed and frees the lock."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: settle
short_description: Start and prove, side by side, every component that a run placed, and free the run's lock
version_added: "0.1.0"
description:
  - Components of which no earlier version serves are placed one after the other, then started and proven together, each
    after those that it needs, so that their waits overlap.
    One that does not serve is removed again and the run fails with its log.
options:
  root:
    description: Folder of all components on the VPS.
    type: path
    default: /opt/landfall
  network:
    description: The bridge on which containers are reached.
    type: str
    default: landfall
  subnet:
    description: Address range of that bridge if it has to be made; empty lets the engine choose.
    type: str
    default: ""
  gateway:
    description: Address of the VPS in that network if it has to be made; empty is the first one.
    type: str
    default: ""
  mtu:
    description: Largest packet in bytes in that network if it has to be made; 0 is what the engine's own bridge has.
    type: int
    default: 0
  stack:
    description: Name of the stack, which labels that network.
    type: str
    default: landfall
author:
  - The Landfall maintainers (@landfall)
"""

EXAMPLES = r"""
- name: Start and check
  landfall.vps.settle:
    root: /opt/landfall
"""

RETURN = r"""
components:
  description: Seconds until each component served, or why it did not.
  returned: always
  type: dict
"""
