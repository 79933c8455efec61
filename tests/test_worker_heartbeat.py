"""The module that workers of any application import: a real worker is well while it takes tasks from all its queues."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from tests import rolekit

MODULE = rolekit.ROOT / "roles/celery/files/config/landfall_heartbeat.py"
FILE = "/dev/shm/landfall-worker"  # noqa: S108 - what the module says
CELERY = rolekit.ROOT / "app/.venv/bin/celery"
SAID = "this worker takes no tasks from mails"
DEAF = """
from celery.signals import worker_ready
@worker_ready.connect
def go_deaf(sender, **_more):
    sender.cancel_task_queue("mails")
"""


CONFIGURED = "app.conf.task_queues = [Queue('celery'), Queue('mails')]\n"


@pytest.mark.parametrize(
    ("named", "deaf", "more"),
    [
        (["-Q", "celery,mails"], False, ""),
        (["-Q", "celery,mails"], True, ""),
        (["--queues=celery,mails"], True, ""),
        (["--exclude-queues=celery"], True, CONFIGURED),
        ([], True, CONFIGURED),
    ],
    ids=["takes tasks", "deaf to one queue", "the long option", "all but one", "queues of its settings"],
)
def test_a_worker_is_well_while_it_takes_tasks_from_all_its_queues(
    tmp_path: Path, named: list[str], deaf: bool, more: str
) -> None:
    if not CELERY.is_file():
        told = "app/.venv has no Celery: run `make -C app venv` first"
        pytest.fail(told) if os.environ.get("CI") else pytest.skip(told)
    file, log = tmp_path / "heartbeat", tmp_path / "log"
    text = MODULE.read_text(encoding="utf-8")
    assert text.count(FILE) == 1
    (tmp_path / "landfall_heartbeat.py").write_text(text.replace(FILE, str(file)))
    shop = "from celery import Celery\nfrom kombu import Queue\napp = Celery('shop', broker='memory://')\n"
    shop += more + (DEAF if deaf else "")
    (tmp_path / "shop.py").write_text(shop)
    argv = [str(CELERY), "-A", "shop", "worker", *named, "-n", f"{deaf}@here", "--concurrency=1",
            "--include=landfall_heartbeat"]  # fmt: skip
    with log.open("wb") as handle:
        worker = subprocess.Popen(argv, cwd=tmp_path, stdout=handle, stderr=handle,
                                  env={**os.environ, "PYTHONPATH": str(tmp_path)})  # fmt: skip
        try:
            end = time.monotonic() + 40
            while time.monotonic() < end and not (SAID in log.read_text() if deaf else file.exists()):
                assert worker.poll() is None, log.read_text()
                time.sleep(0.2)
            time.sleep(3)  # heartbeats come every two seconds
            assert (SAID in log.read_text()) == deaf, log.read_text()
            assert file.exists() != deaf, log.read_text()
            assert deaf or time.time() - file.stat().st_mtime < 4
        finally:
            worker.terminate()
            worker.wait(20)
