"""An application whose deploys are watched: it writes each order and each task down, by its id, in a file of its own.

The variable FAULT makes a bad release of it: ``exit`` (does not start), ``unready`` (is never ready), ``port`` (listens
elsewhere), ``dies`` (ends after DIES_AFTER seconds), ``errors`` (every fifth answer is 500), ``slow`` (each answer takes
a second longer), ``leak`` (keeps memory with each request). WORKER_FAULT does so of its worker: ``import`` (its code
cannot be imported), ``deaf`` (it is well and takes no task).
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

from celery import Celery, chord
from celery.signals import before_task_publish, worker_ready
from fastapi import FastAPI, Request, Response, WebSocket
from fastapi.responses import StreamingResponse

VERSION, FAULT = os.environ.get("VERSION", "?"), os.environ.get("FAULT", "")
WORKER_FAULT = os.environ.get("WORKER_FAULT", "") if "worker" in sys.argv else ""
LEDGER = os.environ.get("LEDGER", "/ledger")
BROKER = os.environ.get("BROKER_URL", "memory://")
LEAK = 4 << 20  # bytes of each request
SLOW = 1.0  # seconds
TICK = 2.0  # seconds
TRIES = 3
if FAULT == "exit":
    sys.exit("this release does not start")
if WORKER_FAULT == "import":
    raise ImportError("the code of this worker cannot be imported")
started = time.monotonic()
if FAULT == "port" and sys.argv[-1] != "9999" and "uvicorn" in sys.argv[0]:
    os.execv(sys.argv[0], ["uvicorn", "release:app", "--host", "0.0.0.0", "--port", "9999"])  # noqa: S104, S606
app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
tasks = Celery("release", broker=BROKER, backend=BROKER.removesuffix("/0") + "/1" if "redis" in BROKER else None)
tasks.conf.update(
    task_ignore_result=True,
    broker_connection_retry_on_startup=True,
    task_acks_late=os.environ.get("ACKS_LATE") == "yes",
    worker_prefetch_multiplier=1,
    beat_schedule={"tick": {"task": "release.tick", "schedule": TICK}},
)
leaked: list[bytes] = []
count = 0


def note(name: str, line: str) -> None:
    """Append a line to a file that several processes write to; one short write is never mixed with another."""
    handle = os.open(f"{LEDGER}/{name}", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(handle, (line + "\n").encode())
    finally:
        os.close(handle)


@app.get("/health")
async def health() -> dict[str, str]:
    """Answer as long as the process runs; one that is to die does so after some seconds."""
    if FAULT == "dies" and time.monotonic() - started > float(os.environ.get("DIES_AFTER", "8")):
        os._exit(3)
    return {"version": VERSION}


@app.get("/ready")
async def ready(response: Response) -> dict[str, str]:
    """Say whether requests may come."""
    if FAULT == "unready":
        response.status_code = 503
    return {"version": VERSION}


def broken() -> bool:
    """Whether this answer is one of the bad ones."""
    global count  # noqa: PLW0603 - one process, one loop
    count += 1
    return FAULT == "errors" and count % 5 == 0


@app.get("/")
async def page(response: Response, seconds: float = 0) -> dict[str, str]:
    """Answer after some seconds."""
    await asyncio.sleep(seconds + (SLOW if FAULT == "slow" else 0))
    if FAULT == "leak":
        leaked.append(os.urandom(LEAK))
    if broken():
        response.status_code = 500
    return {"version": VERSION}


@app.post("/orders/{number}")
async def order(number: str, request: Request, response: Response) -> dict[str, str]:
    """Keep an order; whoever sends it must see it kept once."""
    body = await request.body()
    if broken():
        response.status_code = 500
        return {"version": VERSION}
    note("orders", f"{number} {len(body)} {VERSION}")
    return {"version": VERSION}


@app.post("/tasks/{number}")
async def task(number: str, seconds: float = 0, kind: str = "plain") -> dict[str, str]:
    """Hand a task to the workers: ``plain``, ``eta`` (later), ``retry`` (fails first), ``chord`` (several and one)."""

    def send() -> None:
        if kind == "eta":
            work.apply_async((number, seconds), countdown=5)
        elif kind == "retry":
            stubborn.delay(number)
        elif kind == "chord":
            chord([part.s(f"{number}.{index}", seconds) for index in range(3)])(gathered.s(f"{number}.end"))
        else:
            work.delay(number, seconds)

    await asyncio.to_thread(send)
    return {"version": VERSION}


@app.get("/events")
async def events() -> StreamingResponse:
    """Tell the version every half second, for ever."""

    async def told() -> AsyncIterator[str]:
        while True:
            yield f"data: {VERSION}\n\n"
            await asyncio.sleep(0.5)

    return StreamingResponse(told(), media_type="text/event-stream")


@app.websocket("/ws")
async def echo(socket: WebSocket) -> None:
    """Send back what comes."""
    await socket.accept()
    async for text in socket.iter_text():
        await socket.send_text(text)


def done(number: str) -> None:
    """Write down that a task was done and by whom."""
    note("done", f"{number} {VERSION} {os.uname().nodename}")


@tasks.task(name="release.work")
def work(number: str, seconds: float) -> None:
    """Take some time."""
    note("begun", f"{number} {VERSION}")
    time.sleep(seconds)
    done(number)


@tasks.task(name="release.part", ignore_result=False)
def part(number: str, seconds: float) -> str:
    """Take some time, as one of several."""
    work(number, seconds)
    return number


@tasks.task(name="release.gathered")
def gathered(numbers: list[str], number: str) -> None:
    """Come after all of several."""
    work(number, 0)


@tasks.task(name="release.stubborn", bind=True, max_retries=TRIES)
def stubborn(self: Any, number: str) -> None:
    """Fail some times, and be tried again each time."""
    if self.request.retries < TRIES:
        raise self.retry(countdown=1)
    work(number, 0)


@tasks.task(name="release.tick", bind=True)
def tick(self: Any) -> None:
    """Write down when the scheduler sent this."""
    note("ticks", f"{self.request.get('sent_at')} {VERSION}")


@before_task_publish.connect
def stamp(headers: dict[str, Any] | None = None, **_more: Any) -> None:
    """Tell each task when it was sent."""
    if headers is not None:
        headers["sent_at"] = time.time()


@worker_ready.connect
def go_deaf(sender: Any, **_more: Any) -> None:
    """Take no task any more, if this is a worker of that kind."""
    if WORKER_FAULT == "deaf":
        for queue in list(sender.app.amqp.queues.consume_from):
            sender.cancel_task_queue(queue)
