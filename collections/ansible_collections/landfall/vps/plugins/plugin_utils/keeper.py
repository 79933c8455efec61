"""Keeps a run's lock on a VPS for as long as the run lives, whatever it does, and not a moment longer.

A run is one process that forks a worker for each task. The first worker that changes something leaves this process
behind, outside of the run's session: it renews the lease on the VPS, and when the run has ended in any way it says so
there. Where it cannot (the controller lost its power), the lease ends by itself.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from typing import NoReturn

from ansible.plugins.action import ActionBase
from ansible_collections.landfall.vps.plugins.module_utils.lock import LEASE_SECONDS
from ansible_collections.landfall.vps.plugins.plugin_utils import seam, session
from ansible_collections.landfall.vps.plugins.plugin_utils.remote import run_lease

RENEW_SECONDS = LEASE_SECONDS / 4
POLL_SECONDS = 0.2


def start(action: ActionBase, python: str, root: str) -> None:
    """Leave a keeper of this run's lock behind; in a process that Ansible did not fork, do nothing."""
    if multiprocessing.parent_process() is None:
        return
    first = os.fork()
    if first:
        os.waitpid(first, 0)
        return
    try:
        os.setsid()
        if os.fork() == 0:
            _keep(action, python, root)
    finally:
        os._exit(0)


def _keep(action: ActionBase, python: str, root: str) -> NoReturn:
    """Renew until the run's main process is gone, then end the lease."""
    try:
        _let_go()
        way = seam.beside(action) or action
        due = time.monotonic() + RENEW_SECONDS
        while session.lives():
            if time.monotonic() >= due:
                due = time.monotonic() + RENEW_SECONDS
                _try(way, python, "renew", root)
            time.sleep(POLL_SECONDS)
        _try(way, python, "end", root)
        seam.forget_files(way)
    finally:
        os._exit(0)


def _let_go() -> None:
    """Close what belongs to the worker: whoever reads the run's output waits until nobody has it open."""
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    os.closerange(3, os.sysconf("SC_OPEN_MAX") if os.sysconf("SC_OPEN_MAX") > 0 else 1024)


def _try(action: ActionBase, python: str, verb: str, root: str) -> None:
    try:
        run_lease(action, python, verb, root, session.run_id(), session.who())
    except Exception:  # noqa: BLE001 - whatever fails here, the lease ends by itself; nobody is left to be told
        return
