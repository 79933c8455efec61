"""Imported by a Celery worker (--include): the age of a file says that its heart beats and it takes tasks."""

import pathlib
import sys

from celery.signals import celeryd_after_setup, heartbeat_sent, worker_ready

FILE = pathlib.Path("/dev/shm/landfall-worker")  # noqa: S108 - the container's own
_known = {"consumer": None, "queues": [], "told": False}


def _set_up(instance=None, **_what):
    """Keep its queues as Celery understood them, however they were named: what cancels one makes Celery forget it."""
    _known["queues"] = list(instance.app.amqp.queues.consume_from)


def _deaf():
    """Its queues that it takes no tasks from; of one that has no connection nobody can tell."""
    tasks = getattr(_known["consumer"], "task_consumer", None)
    return [queue for queue in _known["queues"] if tasks and not tasks.consuming_from(queue)]


def _touch(**_what):
    deaf = _deaf()
    if not deaf:
        FILE.touch()
    elif not _known["told"]:
        print(f"landfall: this worker takes no tasks from {', '.join(deaf)}", file=sys.stderr, flush=True)
    if deaf:
        FILE.unlink(missing_ok=True)
    _known["told"] = bool(deaf)


def _ready(sender=None, **_what):
    _known["consumer"] = sender
    if getattr(sender, "hub", None):
        sender.hub.call_soon(_touch)  # after whatever else the application does now
    else:
        _touch()


FILE.unlink(missing_ok=True)
# Weak references would be gone at once
celeryd_after_setup.connect(_set_up, weak=False)
worker_ready.connect(_ready, weak=False)
heartbeat_sent.connect(_touch, weak=False)
