"""An application whose deploys are watched: it writes each order and each task down, by its id, in a file of its own.

The variable FAULT makes a bad release of it: ``exit`` (does not start), ``unready`` (is never ready), ``port`` (listens
elsewhere), ``dies`` (ends after some seconds), ``errors`` (every fifth answer is 500).
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator

from celery import Celery
from fastapi import FastAPI, Request, Response, WebSocket
from fastapi.responses import StreamingResponse

VERSION, FAULT = os.environ.get("VERSION", "?"), os.environ.get("FAULT", "")
LEDGER = os.environ.get("LEDGER", "/ledger")
if FAULT == "exit":
    sys.exit("this release does not start")
started = time.monotonic()
if FAULT == "port" and sys.argv[-1] != "9999" and "uvicorn" in sys.argv[0]:
    os.execv(sys.argv[0], ["uvicorn", "release:app", "--host", "0.0.0.0", "--port", "9999"])  # noqa: S104, S606
app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
tasks = Celery("release", broker=os.environ.get("BROKER_URL", "memory://"))
tasks.conf.update(
    task_ignore_result=True,
    broker_connection_retry_on_startup=True,
    task_acks_late=os.environ.get("ACKS_LATE") == "yes",
    worker_prefetch_multiplier=1,
)
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
    await asyncio.sleep(seconds)
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
async def task(number: str, seconds: float = 0) -> dict[str, str]:
    """Hand a task to the workers."""
    await asyncio.to_thread(work.delay, number, seconds)
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


@tasks.task(name="release.work")
def work(number: str, seconds: float) -> None:
    """Take some time, and write down that it was done and by whom."""
    note("begun", f"{number} {VERSION}")
    time.sleep(seconds)
    note("done", f"{number} {VERSION} {os.uname().nodename}")
