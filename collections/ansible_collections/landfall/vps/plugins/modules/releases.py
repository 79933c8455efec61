#!/usr/bin/python
"""Lists releases and runs. Documentation only: the action plugin of the same name sends the program."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: releases
short_description: List the releases that a VPS keeps, and the last runs that changed something there
version_added: "0.1.0"
description:
  - A table of the releases (name, digests of the images, commit, since when, by whom, state) and one of the log.
  - Changes nothing.
options:
  root:
    description: Folder of all components on the VPS.
    type: path
    default: /opt/landfall
  runs:
    description: How many entries of the log are shown.
    type: int
    default: 20
author:
  - The Landfall maintainers (@landfall)
"""

EXAMPLES = r"""
- name: List the releases
  landfall.vps.releases:
"""

RETURN = r"""
releases:
  description: The releases, by when they were made or last began to serve, the last one first.
  returned: always
  type: list
serving:
  description: The one that serves; empty if what serves is none.
  returned: always
  type: str
runs:
  description: Entries of the log, the youngest first.
  returned: always
  type: list
"""
