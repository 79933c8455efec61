"""Documentation of the options that say how a component changes: releases, turns, updates, timers."""

from __future__ import annotations


class ModuleDocFragment:
    """Options of ``landfall.vps.component``."""

    DOCUMENTATION = r"""
options:
  release:
    description: >-
      Commands that run once, each in a new container of a service, before anything of a new version is started. If one
      fails, what runs goes on running.
    type: list
    elements: dict
    default: []
    suboptions:
      service:
        description: The service.
        type: str
        required: true
      argv:
        description: The command.
        type: list
        elements: str
        required: true
  releases:
    description:
      - Whether what changes becomes a release, which has a name and is kept on the VPS, together with all other
        components for which this is set.
    type: dict
    suboptions:
      name:
        description: The name. Without one it is what C(git describe) says of what is built, or the time and a digest.
        type: str
        default: ""
      keep:
        description: How many releases that served are kept, with their images.
        type: int
        default: 5
      variable:
        description: The variable of the inventory with the name, for messages.
        type: str
        default: ""
      hooks:
        description: Commands C(before), C(after) and on C(failed), see docs/releases.md.
        type: dict
        default: {}
  rolling:
    description: Lists of services that do the same and are replaced in turn, each when the one before is healthy.
    type: list
    elements: list
    default: []
  update:
    description: How a new version takes the place of the one that runs, see C(module_utils/switching.py).
    type: dict
    suboptions:
      order:
        description: >-
          C(start-first) has the new version run and proven beside the old one before that is touched, of a component
          with one container as a second container; C(stop-first) replaces it in place.
        type: str
        choices: [stop-first, start-first]
        default: stop-first
      proxied:
        description: >-
          Whether others reach it by a proxy. Without one that knows both containers it is then replaced in place.
        type: bool
        default: false
      drain:
        description: Seconds that requests in flight are waited for before they are cut off.
        type: int
        default: 30
      watch:
        description: >-
          Seconds that a new version is watched for after requests are sent to it and before the old one is touched.
        type: int
        default: 0
      error_ratio:
        description: Share of 5xx, beyond that of before, for which it is switched back meanwhile; 0 asks for nothing.
        type: float
        default: 0.05
      latency:
        description: Seconds that 5 of 100 answers may take to begin; 0 asks for nothing.
        type: float
        default: 0.0
      min_requests:
        description: Requests below which neither is judged.
        type: int
        default: 20
      why:
        description: Why it is replaced in place, where one might expect otherwise.
        type: str
  timers:
    description: >-
      Commands that systemd runs on a schedule, each in a new container of a service, or on the VPS. Their units lie in
      the component's folder C(units/), linked into systemd, and are checked, swapped and undone with all else; how runs
      end is reported to whoever takes in C(textfiles).
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the container; the units are named after it and the stack.
        type: str
        required: true
      service:
        description: The service whose image, environment, secrets, volumes, network and limits it has.
        type: str
        required: true
      argv:
        description: The command.
        type: list
        elements: str
        required: true
      schedule:
        description: When it runs, each as systemd's OnCalendar takes it.
        type: list
        elements: str
        required: true
      timeout:
        description: Seconds after which a run is stopped.
        type: int
        default: 3600
      late_after:
        description: Seconds after which a run that did not begin is late.
        type: int
        default: 900
      persistent:
        description: Whether a run that was missed while the VPS was off is made up for.
        type: bool
        default: true
      changes:
        description: What Compose merges into the service for a run, such as other limits.
        type: dict
        default: {}
      on_host:
        description: >-
          Whether the command is a program of the VPS itself, run as root, and not one in a container; then C(service)
          only says whose it is.
        type: bool
        default: false
"""
