#!/usr/bin/python
"""Goes back to a release. Documentation only: the action plugin of the same name sends the program."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: rollback
short_description: Bring all components of a release back to what they were in it
version_added: "0.1.0"
description:
  - Compose files, configuration, secrets, images and timers of all components that were part of the release, from what
    is kept on the VPS. Before anything is touched every file is compared with its digest and every image with its id.
  - Each component is planned, checked, swapped, proven and undone as by any deploy. Where one does not serve, all go
    back to the release that was left; an interrupted run is finished by the next one.
  - Release commands do not run. Where some ran for younger releases, C(confirm) has to name the release.
options:
  root:
    description: Folder of all components on the VPS.
    type: path
    default: /opt/landfall
  release:
    description: The release, by default the one that served before.
    type: str
    default: ""
  confirm:
    description: The release again, where what release commands of younger ones did is not taken back.
    type: str
    default: ""
  hooks:
    description: Commands C(before), C(after) and where it C(failed), each with C(command), C(where), C(timeout).
    type: dict
    default: {}
  network:
    description: The Docker network of the stack.
    type: str
    default: landfall
  subnet:
    description: Its IPv4 subnet, if it has to be made.
    type: str
    default: ""
  gateway:
    description: The address of the VPS in it.
    type: str
    default: ""
  mtu:
    description: Its MTU, 0 for that of the engine.
    type: str
    default: "0"
  stack:
    description: Value of the label by which everything of the stack is known.
    type: str
    default: landfall
author:
  - The Landfall maintainers (@landfall)
"""

EXAMPLES = r"""
- name: Go back to the release before
  landfall.vps.rollback:

- name: Go back to a release by its name
  landfall.vps.rollback:
    release: v1.2.0
"""

RETURN = r"""
release:
  description: The release that serves now, or would.
  returned: always
  type: str
before:
  description: The one that served until now; empty if that was none.
  returned: always
  type: str
components:
  description: What became of each component.
  returned: always
  type: dict
undone:
  description: What serves after a failure.
  returned: failure
  type: str
seconds:
  description: How long it took on the VPS.
  returned: always
  type: float
"""
