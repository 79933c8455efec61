"""Work behind the API: words are counted by a task, old notices are removed by beat."""

from __future__ import annotations

import os

from celery import Celery

from board import store

app = Celery("board", broker=os.environ["CELERY_BROKER_URL"])
app.conf.task_default_queue = "celery"
app.conf.task_send_sent_event = True
app.conf.beat_schedule = {"tidy": {"task": "board.tidy", "schedule": 5.0}}


@app.task(name="board.count", autoretry_for=(ValueError,), max_retries=1, default_retry_delay=1)
def count(notice: int) -> None:
    """Count the words of a notice."""
    [(text,)] = store.ask("SELECT text FROM notices WHERE id = :id", id=notice)
    store.ask("UPDATE notices SET words = :words WHERE id = :id", words=len(text.split()), id=notice)


@app.task(name="board.tidy")
def tidy() -> None:
    """Keep the newest thousand."""
    store.ask("DELETE FROM notices WHERE id < (SELECT coalesce(max(id), 0) - 1000 FROM notices)")
