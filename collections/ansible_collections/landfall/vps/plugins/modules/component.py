#!/usr/bin/python
"""Brings one component of the stack to its desired state."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: component
short_description: Render, check, swap, prove and, on failure, undo one compose component
version_added: "0.1.0"
description:
  - Renders the role's C(templates/) and C(files/) on the controller, compares them with what is on the VPS, and only
    if something differs starts one run on the VPS that stages, checks, locks, swaps, applies the least that suffices,
    proves and records. A failure after the swap goes back to the version before.
  - Needs python3, Docker Engine 25 or newer and the Compose v2 plugin on the VPS.
options:
  name:
    description: The component, which is the role's name and its folder below the root.
    type: str
    required: true
  state:
    description: Whether it is deployed. C(absent) keeps its volumes unless C(landfall_purge_volumes) is true.
    type: str
    choices: [present, absent]
    default: present
  uid:
    description: Owner of the files below C(secrets/) and user of the checkers.
    type: int
    default: 0
  needs:
    description:
      - Components that must serve before this one starts, by name, or C({name, condition}) with the condition
        C(healthy), C(started) or C(completed). The name of a role means all components that it deploys.
    type: list
    elements: raw
    default: []
  components:
    description:
      - The components that this task deploys instead of one, each a map with its C(name) and any option that differs
        from the task's own. All are rendered from the same templates, to which C(values) says what differs, and each is
        planned, proven and undone alone. They are a group by the task's C(name). One that is no longer listed is
        removed. The names are C(<name>) or begin with C(<name>-).
    type: list
    elements: dict
  values:
    description: Variables that the templates see beside those of the host.
    type: dict
    default: {}
  secrets:
    description:
      - More files below C(secrets/), path to content, for a role whose secrets are named in the inventory. Like those
        from templates they are mode 0400, owned by C(uid), and never shown.
    type: dict
    default: {}
  files:
    description:
      - Files that the inventory gives, path below the component's folder (C(config/…)) to content.
    type: dict
    default: {}
  folders:
    description:
      - Files and folders of the controller that become a part of the configuration, path below the component's folder
        (C(config/…)) to place on the controller.
    type: dict
    default: {}
  ships:
    description: Files of the controller that go where the role's own of their kind go, as they are.
    type: list
    elements: dict
    default: []
    suboptions:
      kind:
        description: Which kind, such as C(dashboards).
        type: str
        required: true
      files:
        description: Their places on the controller.
        type: list
        elements: str
        default: []
      variable:
        description: Variable that names them, for messages.
        type: str
        default: ""
  check:
    description: >-
      Checkers, as argument lists or C({argv, service, user, data}), run in a throw-away container of the new image.
      With C(data) they see the service's volumes as well, read-only.
    type: list
    elements: raw
    default: []
  reload:
    description: How the running program takes in changed files. Without it the container is recreated.
    type: dict
    suboptions:
      port:
        description: Port to POST to.
        type: int
      path:
        description: Path to POST to.
        type: str
      host:
        description: C(gateway) for a service in the host's network; the container otherwise.
        type: str
      service:
        description: The container, by default the first.
        type: str
      signal:
        description: Signal to send instead of a POST.
        type: str
      exec:
        description: Command inside the container instead of a POST; it failed if its exit code is not 0.
        type: list
        elements: str
      files:
        description: Patterns below the component's folder that it can take in without a restart.
        type: list
        elements: str
        default: [config/*]
  prove:
    description: Probes that must pass, see docs/architecture.md.
    type: list
    elements: dict
    default: []
  prove_timeout:
    description: Seconds until a component that does not serve is undone.
    type: int
    default: 60
  apply_timeout:
    description: Seconds that Compose may take, which includes the longest stop grace period.
    type: int
    default: 300
  image_timeout:
    description: Seconds that a pull, load or build may take.
    type: int
    default: 1800
  scrape:
    description: Scrape targets that it ships to whoever takes in C(targets).
    type: list
    elements: dict
    default: []
    suboptions:
      port:
        description: Port of the metrics.
        type: int
        required: true
      service:
        description: The container, by default the first.
        type: str
      job:
        description: Value of the label job, by default the container.
        type: str
      host:
        description: Name or address to scrape, by default the container.
        type: str
      path:
        description: Path of the metrics.
        type: str
        default: /metrics
      interval:
        description: Scrape interval, by default the global one.
        type: str
      timeout:
        description: Scrape timeout, by default the global one.
        type: str
      scheme:
        description: Scheme of the URL.
        type: str
        choices: [http, https]
        default: http
      labels:
        description: More labels.
        type: dict
        default: {}
  drop_ins:
    description: Folders in which other components place files, with C(check) (argument list) and C(reload) (boolean).
    type: dict
    default: {}
  serves:
    description: >-
      How others ask it, one item for each kind of API, kept in its record where C(verify) reads it. Item C(api) is
      metrics, logs, log_collector, pager, dashboards, backups or proxy; C(service) is the container, by default the
      first; what else an item must and may have is in docs/architecture.md.
    type: list
    elements: dict
    default: []
  saves:
    description: >-
      What a backup keeps of it, one item for each database server or volume, kept in its record where whatever backs up
      reads it. Item C(kind) is postgresql, rdb or volume; C(service) is the container, by default the first; what else
      an item must and may have is in docs/architecture.md.
    type: list
    elements: dict
    default: []
  without:
    description:
      - What the role holds and this stack has no use for, such as C(rules/slow-tasks.yml) or C(dashboards/slo.json); of
        a dashboard a single row, C(dashboards/overview.json#Requests).
    type: list
    elements: str
    default: []
  own_volumes:
    description: >-
      Whether a named volume that belongs to root as it was made is given to the user of the first service that mounts
      it; or a list of the volumes of which this is so.
    type: raw
    default: false
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
  exercise:
    description: Work that C(verify) gives the component, so that what it counts can move.
    type: dict
    default: {}
    suboptions:
      requests:
        description: Requests in the form of C(prove) items.
        type: list
        elements: dict
        default: []
      increases:
        description: PromQL expressions, each a single number, that must be larger afterwards.
        type: list
        elements: str
        default: []
  build:
    description: Images to build on the VPS when they are not there.
    type: list
    elements: dict
    default: []
    suboptions:
      image:
        description: Tag of the result.
        type: str
        required: true
      context:
        description: Folder on the controller.
        type: path
        required: true
      dockerfile:
        description: Path of the Dockerfile, in the context or relative to it.
        type: str
        default: Dockerfile
      args:
        description: Build arguments.
        type: dict
        default: {}
      target:
        description: Stage of the Dockerfile that is built, the last one by default.
        type: str
      platform:
        description: Platform that is built for, such as linux/arm64; the VPS's own by default.
        type: str
author:
  - The Landfall maintainers (@landfall)
"""

EXAMPLES = r"""
- name: Deploy the shop
  landfall.vps.component:
    name: shop
    uid: 10001
    check:
      - [shop, check-config, /etc/shop/shop.yml]
    reload: {port: 8000, path: /-/reload}
    prove:
      - {port: 8000, path: /-/ready}
    scrape:
      - {port: 8000}
  notify: Settle
"""

RETURN = r"""
action:
  description: What was done.
  returned: always
  type: str
  sample: reloaded
reasons:
  description: Why.
  returned: always
  type: list
notes:
  description: What an operator should know, such as a checker that could not run.
  returned: always
  type: list
seconds:
  description: Seconds per phase.
  returned: always
  type: dict
"""
