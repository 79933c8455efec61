#!/usr/bin/python
"""Runs a single command in a new container of a service."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: run
short_description: Run a command once in a container of a service and show what it says
version_added: "0.1.0"
description:
  - The container has the service's image, environment, secrets, volumes, network and limits, but neither its published
    ports nor its health check, and is removed afterwards.
  - A deploy is kept out only while the container is made.
options:
  root:
    description: Folder of all components on the VPS.
    type: path
    default: /opt/landfall
  service:
    description: The service, as it is named in the stack; of replicas the first is taken.
    type: str
    required: true
  command:
    description: The command, a list or a string that is split as Compose does it.
    type: raw
    required: true
  entrypoint:
    description: Entrypoint in place of the service's own, in the same forms.
    type: raw
  timeout:
    description: Seconds after which the command is stopped; 0 lets it take its time.
    type: float
    default: 0
author:
  - The Landfall maintainers (@landfall)
"""

EXAMPLES = r"""
- name: See which migration the database is at
  landfall.vps.run:
    service: web
    command: alembic current
"""

RETURN = r"""
rc:
  description: Exit status of the command; 124 when it was stopped because of its time.
  returned: always
  type: int
stdout:
  description: The last lines that it said, on both of its outputs.
  returned: always
  type: str
container:
  description: Name of the container that it ran in.
  returned: always
  type: str
"""
