"""The API: notices, uploads, a websocket that echoes, a stream of events, metrics by the instrumentator."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

from fastapi import FastAPI, UploadFile, WebSocket, WebSocketDisconnect
from fastapi.responses import StreamingResponse
from fastapi.staticfiles import StaticFiles
from prometheus_fastapi_instrumentator import Instrumentator
from starlette.middleware.trustedhost import TrustedHostMiddleware

from board import store, tasks

UPLOADS = Path("/uploads")
app = FastAPI()
app.add_middleware(TrustedHostMiddleware, allowed_hosts=os.environ["ALLOWED_HOSTS"].split(","))
Instrumentator().instrument(app).expose(app)


@app.get("/healthz")
def healthz() -> dict[str, str]:
    """Whether the process answers."""
    return {"status": "ok"}


@app.get("/readyz")
def readyz() -> dict[str, int]:
    """Whether the database is there and migrated."""
    return {"notices": store.ask("SELECT count(*) FROM notices")[0][0]}


@app.post("/api/notices", status_code=201)
def post(text: str) -> dict[str, int]:
    """Keep a notice; a worker counts its words."""
    [(number,)] = store.ask("INSERT INTO notices (text) VALUES (:text) RETURNING id", text=text)
    tasks.count.delay(number)
    return {"id": number}


@app.get("/api/notices/{number}")
def get(number: int) -> dict[str, str | int | None]:
    """A notice, with its words once they are counted."""
    [(text, words)] = store.ask("SELECT text, words FROM notices WHERE id = :id", id=number)
    return {"text": text, "words": words}


@app.post("/api/notices/{number}/count", status_code=202)
def recount(number: int) -> dict[str, int]:
    """Have the words of a notice counted again."""
    tasks.count.delay(number)
    return {"id": number}


@app.post("/api/uploads", status_code=201)
async def upload(file: UploadFile) -> dict[str, int]:
    """Keep a file on the volume."""
    content = await file.read()
    (UPLOADS / Path(file.filename or "unnamed").name).write_bytes(content)
    return {"bytes": len(content)}


@app.get("/api/events")
async def events() -> StreamingResponse:
    """Two events a second, the first at once."""

    async def stream() -> AsyncIterator[str]:
        for number in range(60):
            yield f"data: {number}\n\n"
            await asyncio.sleep(0.5)

    return StreamingResponse(stream(), media_type="text/event-stream")


@app.websocket("/api/echo")
async def echo(socket: WebSocket) -> None:
    """Say back what is said."""
    await socket.accept()
    try:
        while True:
            await socket.send_text(await socket.receive_text())
    except WebSocketDisconnect:
        return


app.mount("/", StaticFiles(directory="static", html=True))
