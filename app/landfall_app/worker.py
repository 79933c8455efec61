"""The worker: `celery -A landfall_app.worker worker -Q enhancement -n celery-enhancement@%h`.

Importing this connects to nothing and opens nothing; what a running worker does besides its tasks (logs, metrics,
heartbeat, reports) hangs on Celery's signals and boot steps.
"""

from __future__ import annotations

import logging
import os
import time
from typing import Any

from celery import bootsteps, signals

from . import logs, metrics, multiproc, tasks
from .broker import get_celery
from .db import forget_database
from .repository import Role
from .settings import get_settings
from .worker_server import Reporter, record_memory, record_wait, serve

log = logging.getLogger(__name__)
app = get_celery()


class HeartbeatStep(bootsteps.StartStopStep):
    """Touches the heartbeat file from the consumer's own loop: one that hangs, or has no broker, touches nothing."""

    requires = ("celery.worker.consumer.tasks:Tasks",)  # so that the first touch says that it consumes

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        super().__init__(parent, **kwargs)
        self._timer: Any = None

    def start(self, parent: Any) -> None:
        """Touch now and then at every interval."""
        settings = get_settings()
        settings.heartbeat_file.touch()
        self._timer = parent.timer.call_repeatedly(settings.heartbeat_interval, settings.heartbeat_file.touch)

    def stop(self, parent: Any) -> None:
        """Stop touching."""
        if self._timer:
            self._timer.cancel()
            self._timer = None

    shutdown = stop


app.steps["consumer"].add(HeartbeatStep)


@signals.setup_logging.connect(weak=False)
def _logging(**_: Any) -> None:
    logs.configure(get_settings())


@signals.celeryd_init.connect(weak=False)
def _first(**_: Any) -> None:
    """Run in the parent before anything is counted or forked."""
    Role.worker = True
    if get_settings().prometheus_enabled:
        multiproc.wipe()


_reporter: Reporter | None = None


@signals.worker_ready.connect(weak=False)
def _ready(sender: Any = None, **_: Any) -> None:
    global _reporter  # noqa: PLW0603  one worker per process, begun and ended by signals
    queues = [queue.name for queue in sender.task_consumer.queues]
    _reporter = Reporter(sender.hostname, queues)
    _reporter.start()
    serve(get_settings())


@signals.worker_shutdown.connect(weak=False)
def _shutdown(**_: Any) -> None:
    if _reporter:
        _reporter.stop()


@signals.worker_process_init.connect(weak=False)
def _child(**_: Any) -> None:
    Role.worker = True
    forget_database()
    tasks.forget()
    record_memory()


@signals.worker_process_shutdown.connect(weak=False)
def _child_ends(pid: int | None = None, **_: Any) -> None:
    multiproc.bury(pid or os.getpid())


@signals.task_prerun.connect(weak=False)
def _before(task_id: str = "", task: Any = None, **_: Any) -> None:
    logs.task_id.set(task_id)
    logs.tenant_id.set("")
    task.request.started_at = time.perf_counter()
    headers = task.request.headers or {}
    logs.request_id.set(str(headers.get("request_id") or ""))
    record_wait(task.request, headers)


@signals.task_postrun.connect(weak=False)
def _after(task: Any = None, state: str = "", **_: Any) -> None:
    seconds = time.perf_counter() - getattr(task.request, "started_at", time.perf_counter())
    extra = {"task_name": task.name, "state": state, "retries": task.request.retries}
    log.info("task ended", extra=extra | {"duration_ms": round(seconds * 1000, 2)})
    logs.tenant_id.set("")
    logs.task_id.set("")
    logs.request_id.set("")
    if metrics.enabled():
        record_memory()
