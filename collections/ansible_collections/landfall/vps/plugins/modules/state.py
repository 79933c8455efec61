#!/usr/bin/python
"""Reads the state of a VPS in one trip. Documentation only: the action plugin of the same name sends the program."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: state
short_description: Check the inventory; read host, engine, containers, images, files and records at once
version_added: "0.1.0"
description:
  - Checks every variable of every role of the play against its argument spec, while the VPS is being read.
  - Compares what the enabled roles ask of the VPS (names, ports, images, memory, CPUs, network) with what others have
    there, and refuses engines that cannot run the stack. All faults are told at once, those of the inventory and those
    of the VPS; what is only peculiar is a warning. The same under C(--check).
  - Plans what each M(landfall.vps.component) of the play that the run's tags select will do, and prints it as a table
    before anything happens. Where no task of the play is left that would do anything for the host, C(landfall_state)
    says C(done), and the role landfall ends the play for it.
  - Sets the fact C(landfall_state), which M(landfall.vps.component) compares with what the inventory wants.
  - Needs python3 on the VPS, nothing else. Changes nothing.
options:
  root:
    description: Folder of all components on the VPS.
    type: path
    default: /opt/landfall
  files:
    description: Absolute paths outside the root whose fingerprints are wanted as well.
    type: list
    elements: path
    default: []
  texts:
    description: Absolute paths outside the root of small files without secrets whose text is wanted.
    type: list
    elements: path
    default: []
  inventory:
    description: Whether to check the inventory, too. Once in a play is enough, before roles register variables.
    type: bool
    default: true
  lock_wait:
    description: Seconds to wait while another run has the VPS. With 0, and under check mode, it is read at once.
    type: int
    default: 0
  bundle:
    description: Folder on the controller with a bundle from which missing images are loaded. Empty for none.
    type: path
  bundle_signers:
    description: Public SSH keys that may sign it, as lines of .pub files.
    type: list
    elements: str
    default: []
  bundle_into:
    description: Folder on the controller in which a bundle is made. The VPS is not looked at then.
    type: path
  sign_with:
    description: SSH key that signs that bundle.
    type: path
  finish:
    description: Whether a host may be called done when nothing is left to do for it.
    type: bool
    default: true
  images:
    description: Where images come from. Of C(registry) it is asked for which machines the missing ones are built.
    type: str
    choices: [registry, offline]
  archives:
    description: Folder on the controller with archives of images, which are loaded instead of pulled.
    type: path
  profile:
    description: The profile of the stack, for advice on memory.
    type: str
  registries:
    description: Registries with user and password that root is going to have besides those that it has.
    type: list
    elements: dict
    default: []
  engine_options:
    description: Settings of the engine that the inventory asks for.
    type: dict
  engine_defaults:
    description: Settings of the engine that are made unless its own file has others.
    type: dict
  image_size:
    description: Disk space to expect for each missing image.
    type: str
    default: "0"
  disk_reserve:
    description: Disk space to leave free beside the images.
    type: str
    default: "0"
author:
  - The Landfall maintainers (@landfall)
"""

EXAMPLES = r"""
- name: Read the state of the VPS
  landfall.vps.state:
    root: /opt/landfall
"""

RETURN = r"""
ansible_facts:
  description: One fact, C(landfall_state).
  returned: always
  type: dict
"""
