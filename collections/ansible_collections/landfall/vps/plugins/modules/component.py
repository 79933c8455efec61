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
extends_documentation_fragment: [landfall.vps.changes]
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
      success:
        description: >-
          How the program tells what came of the signal: C(port) and C(path) of its metrics, C(at), the metric with the
          time of the last success, and C(well), that which is 1 after one. Without it nobody waits.
        type: dict
        default: {}
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
