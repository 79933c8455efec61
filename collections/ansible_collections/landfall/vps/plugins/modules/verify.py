#!/usr/bin/python
"""Compares what runs on a VPS with what the roles declared."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: verify
short_description: Compare what runs on a VPS with what the roles of the stack declared
version_added: "0.1.0"
description:
  - Every container healthy, every readiness probe passing, exactly the declared scrape targets and all of them up,
    every rule loaded and evaluating, retention and scrape interval as set, nothing listening in public that should not.
  - With O(exercise), work for the application shows in its counters, the last line of every container is in the store
    of logs, the alert that always fires has arrived at the pager, and every dashboard is loaded and has its data.
  - What to expect comes from the roles of the play, the inventory, and what components recorded on the VPS of how they
    are asked. Where the roles of the play only compared (C(landfall_compare)), what differs from the inventory is told.
  - Prints a table and fails with every fault and what to do about it. Changes nothing but the counters it exercises.
options:
  root:
    description: Folder of all components on the VPS.
    type: path
    default: /opt/landfall
  network:
    description: The bridge on which containers are reached.
    type: str
    default: landfall
  exercise:
    description: Whether to give the application some work and wait until it shows in the metrics.
    type: bool
    default: false
  status:
    description: Only report; what is wrong is listed and does not fail.
    type: bool
    default: false
  public_ports:
    description: Ports that may listen on public addresses, beside the one at which SSH took this connection.
    type: list
    elements: int
    default: []
  trusted:
    description: Interfaces, addresses and networks of the VPS that are not public.
    type: list
    elements: str
    default: []
  test_alert:
    description: Severity of a test alert that is sent to whoever takes it; none sends none.
    type: str
    choices: [none, info, warning, critical]
    default: none
  timeout:
    description: Seconds to wait for targets to be scraped and counters to move.
    type: int
    default: 60
author:
  - The Landfall maintainers (@landfall)
"""

EXAMPLES = r"""
- name: Verify
  landfall.vps.verify:
    exercise: true
"""

RETURN = r"""
rows:
  description: One row per component.
  returned: always
  type: list
facts:
  description: Figures that were found.
  returned: always
  type: dict
faults:
  description: What is wrong and what to do about it.
  returned: always
  type: list
"""
