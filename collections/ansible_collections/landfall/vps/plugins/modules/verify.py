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
  - With O(exercise), work for the application shows in its counters, the last line of every container is in Loki, the
    alert that always fires is in Alertmanager, and Grafana reaches its data sources and has loaded every dashboard.
  - What to expect comes from the roles that the inventory enables and from what they recorded on the VPS.
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
    description: Whether to give the application some work and wait until Prometheus has seen it.
    type: bool
    default: false
  status:
    description: Only report; what is wrong is listed and does not fail.
    type: bool
    default: false
  scrape_interval:
    description: What Prometheus must report as its scrape interval.
    type: str
    default: 15s
  retention:
    description: What Prometheus must report as its retention, time and size.
    type: list
    elements: str
    default: []
  public_ports:
    description: Ports that may listen on public addresses.
    type: list
    elements: int
    default: [22]
  other_jobs:
    description: Scrape jobs that no component declares and that are meant.
    type: list
    elements: str
    default: []
  log_retention:
    description: What Loki must report as its retention.
    type: str
    default: 720h
  unlogged:
    description: Regular expressions of containers whose lines do not go to Loki.
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
  components:
    description: Internal. What the inventory enables; set by the action plugin.
    type: list
    elements: str
    default: []
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
