#!/usr/bin/python
"""Puts a file into a drop-in folder. Documentation only: the action plugin of the same name sends the program."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: drop_in
short_description: Put one file into a drop-in folder of a component, or take it away
version_added: "0.1.0"
description:
  - The component takes it in by its reload and is proven; where it refuses, all is as before.
  - No deploy takes the file away, as no role renders it.
options:
  root:
    description: Folder of all components on the VPS.
    type: path
    default: /opt/landfall
  network:
    description: The Docker network of the stack.
    type: str
    default: landfall
  component:
    description: The component.
    type: str
    required: true
  folder:
    description: Its drop-in folder.
    type: str
    required: true
  name:
    description: The name of the file.
    type: str
    required: true
  content:
    description: What is in it.
    type: str
    default: ""
  present:
    description: Whether it is to be there.
    type: bool
    default: true
  what:
    description: What this is, for the log and for who waits.
    type: str
    default: ""
  told:
    description: What is said when it is done.
    type: str
    default: ""
author:
  - The Landfall maintainers (@landfall)
"""

EXAMPLES = r"""
- name: Give the shop's visitors a holiday greeting
  landfall.vps.drop_in:
    component: shop
    folder: greetings.d
    name: holiday.txt
    content: We are back on Monday.
    what: greeting
"""

RETURN = r"""
"""
