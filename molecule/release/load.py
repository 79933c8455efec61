"""Visitors of a site, in one process: keep-alive connections through TLS, orders that are counted, open streams.

``python load.py ADDRESS NAME SECONDS [TASKS]`` prints what came of it as JSON when it ends, or is told to by a line on
stdin; TASKS tasks a second are handed in meanwhile. Half of the visitors speak HTTP/1.1 and half HTTP/2, several on one
connection. Each request is judged: no answer, or one that is not 200, is a failure. Who answered (a version) is
counted. With STREAMS=no nobody keeps a stream open.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import random
import ssl
import sys
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from testbed.http2 import Connection

CHANCE = random.SystemRandom()
CLIENTS, SLOW_CLIENTS, WEBSOCKETS, STREAMS = 12, 4, 8, 4
SHARED = 3
"""How many visitors share one connection by HTTP/2."""
PAUSE = 0.08  # seconds between two requests of a client
SLOW = 2.5  # seconds
TIMEOUT = 90.0  # seconds; the proxy waits for up to 60 s for somebody who serves
RECONNECT = 0.2  # seconds
TEXT, PING, PONG = 0x81, 0x89, 0x8A
HELLO = b"\x81\x82\0\0\0\0hi"
"""A masked frame with a short text."""


@dataclass
class Seen:
    """What visitors saw. ``orders`` are the ids of those that were confirmed."""

    requests: int = 0
    failures: list[dict[str, Any]] = field(default_factory=list)
    orders: list[str] = field(default_factory=list)
    tasks: list[tuple[str, str]] = field(default_factory=list)
    """Id and kind of those that were taken."""
    by_protocol: Counter[str] = field(default_factory=Counter)
    took: list[tuple[float, float]] = field(default_factory=list)
    versions: Counter[str] = field(default_factory=Counter)
    streams_cut: int = 0
    at: dict[str, float] = field(default_factory=dict)
    """When each version answered first and last, in seconds since 1970."""


class Judge:
    """Sends requests and judges each; ``ask`` says how."""

    protocol = ""

    def __init__(self, seen: Seen) -> None:
        self.seen = seen

    async def ask(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        """Send one request and return status and body."""
        raise NotImplementedError

    def close(self) -> None:
        """Drop the connection."""

    async def visit(self, method: str, path: str, body: bytes = b"") -> bool:
        """Send one request and judge it."""
        begun, why = time.time(), ""
        self.seen.requests += 1
        self.seen.by_protocol[self.protocol] += 1
        try:
            status, content = await asyncio.wait_for(self.ask(method, path, body), TIMEOUT)
            if status == 200:  # noqa: PLR2004 - an HTTP status
                version = str(json.loads(content)["version"])
                self.seen.versions[version] += 1
                self.seen.at.setdefault("first " + version, time.time())
                self.seen.at["last " + version] = time.time()
            else:
                why = f"{status}"
        except (OSError, asyncio.IncompleteReadError, TimeoutError, ValueError, KeyError, IndexError) as error:
            why = f"{type(error).__name__}: {error}"
            self.close()
        self.seen.took.append((begun, time.time() - begun))
        if why:
            what = f"{self.protocol} {method} {path.split('/')[1][:12]}"
            self.seen.failures.append({"at": begun, "what": what, "why": why})
        return not why


class Multiplexed(Judge):
    """One of several on a connection by HTTP/2."""

    protocol = "HTTP/2"

    def __init__(self, connection: Connection, seen: Seen) -> None:
        super().__init__(seen)
        self.connection = connection

    async def ask(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        """Send one request and return status and body."""
        return await self.connection.ask(method, path, body)


class Visitor(Judge):
    """One connection by HTTP/1.1 that is kept alive."""

    protocol = "HTTP/1.1"

    def __init__(self, address: str, name: str, seen: Seen) -> None:
        super().__init__(seen)
        self.address, self.name = address, name
        self.reader: asyncio.StreamReader | None = None
        self.writer: asyncio.StreamWriter | None = None
        self.context = ssl.create_default_context()
        self.context.check_hostname, self.context.verify_mode = False, ssl.CERT_NONE
        self.context.set_alpn_protocols(["http/1.1"])

    async def connect(self) -> None:
        """Open the connection."""
        self.reader, self.writer = await asyncio.open_connection(
            self.address, 443, ssl=self.context, server_hostname=self.name
        )

    def close(self) -> None:
        """Drop it."""
        if self.writer is not None:
            self.writer.close()
        self.reader = self.writer = None

    def streams(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Return both directions of the connection."""
        if self.reader is None or self.writer is None:
            raise ConnectionResetError("closed")
        return self.reader, self.writer

    async def head(self) -> tuple[int, dict[str, str]]:
        """Read the head of an answer."""
        reader, _writer = self.streams()
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        pairs = (line.partition(":")[::2] for line in lines[1:] if line)
        return int(lines[0].split()[1]), {key.strip().lower(): value.strip() for key, value in pairs}

    async def ask(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        """Send one request and return status and body."""
        if self.writer is None:
            await self.connect()
        reader, writer = self.streams()
        lines = f"{method} {path} HTTP/1.1\r\nHost: {self.name}\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(lines.encode() + body)
        await writer.drain()
        status, headers = await self.head()
        content = await reader.readexactly(int(headers.get("content-length", "0")))
        if headers.get("connection", "").lower() == "close":
            self.close()
        return status, content


async def shop(visitor: Judge, end: asyncio.Event, slow: bool) -> None:
    """Look at pages, and order something every fourth time."""
    number = CHANCE.randrange(4)
    while not end.is_set():
        number += 1
        if slow:
            await visitor.visit("GET", f"/?seconds={SLOW}")
        elif number % 4:
            await visitor.visit("GET", "/")
        else:
            order = uuid.uuid4().hex
            if await visitor.visit("POST", f"/orders/{order}", os.urandom(CHANCE.randrange(10, 20_000))):
                visitor.seen.orders.append(order)
        await asyncio.sleep(CHANCE.uniform(0, 2 * PAUSE))
    visitor.close()


def kind_of(number: int) -> tuple[str, float]:
    """Kind and seconds of a task: most take a moment, some seconds, a few half a minute."""
    if number % 120 == 60:  # noqa: PLR2004
        return "plain", 30
    kinds = {3: ("eta", 0.1), 6: ("retry", 0.0), 9: ("chord", 0.2), 12: ("plain", 4.0)}
    return kinds.get(number % 20, ("plain", (0.01, 0.1, 0.4)[number % 3]))


async def work(visitor: Judge, end: asyncio.Event, rate: float) -> None:
    """Hand in so many tasks a second."""
    number, name = 0, uuid.uuid4().hex[:6]
    while not end.is_set():
        number += 1
        kind, seconds = kind_of(number)
        if await visitor.visit("POST", f"/tasks/{name}-{number}?kind={kind}&seconds={seconds}"):
            visitor.seen.tasks.append((f"{name}-{number}", kind))
        await asyncio.sleep(1 / rate)
    visitor.close()


async def answered(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
    """Read a frame of a websocket and return its first byte; a ping is answered, an end is an error."""
    kind, length = await reader.readexactly(2)
    content = await reader.readexactly(length)
    if kind == PING:
        writer.write(bytes((PONG, 0x80 | length, 0, 0, 0, 0)) + content)
    elif kind != TEXT:
        raise ConnectionResetError("closed")
    return int(kind)


async def listen(visitor: Visitor, end: asyncio.Event, websocket: bool) -> None:
    """Keep a stream open; one that ends is opened anew and counted as cut."""
    while not end.is_set():
        try:
            await visitor.connect()
            reader, writer = visitor.streams()
            key = base64.b64encode(os.urandom(16)).decode()
            more = (
                "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                f"Sec-WebSocket-Key: {key}\r\n"
                if websocket
                else "Accept: text/event-stream\r\n"
            )
            path = "/ws" if websocket else "/events"
            writer.write(f"GET {path} HTTP/1.1\r\nHost: {visitor.name}\r\n{more}\r\n".encode())
            await visitor.head()
            while not end.is_set():
                if websocket:
                    writer.write(HELLO)
                    await writer.drain()
                    while await answered(reader, writer) != TEXT:
                        pass
                    await asyncio.sleep(0.5)
                elif not await reader.read(4096):
                    raise ConnectionResetError("closed")
        except (OSError, asyncio.IncompleteReadError, IndexError, ValueError):
            visitor.seen.streams_cut += 1
            await asyncio.sleep(RECONNECT)
        visitor.close()


def customers(address: str, name: str, seen: Seen, count: int) -> list[Judge]:
    """Half of them by HTTP/1.1, each on a connection of its own, half by HTTP/2."""
    half = count // 2
    shared = [Connection(address, name) for _ in range(-(-half // SHARED))]
    several: list[Judge] = [Multiplexed(shared[number // SHARED], seen) for number in range(half)]
    return [*(Visitor(address, name, seen) for _ in range(count - half)), *several]


async def everybody(address: str, name: str, seconds: float, tasks: float) -> Seen:
    """Let all visitors come for so long, or until a line is read."""
    seen, end = Seen(), asyncio.Event()
    jobs = [shop(one, end, False) for one in customers(address, name, seen, CLIENTS)]
    jobs += [shop(one, end, True) for one in customers(address, name, seen, SLOW_CLIENTS)]
    jobs += [work(Visitor(address, name, seen), end, tasks)] if tasks else []
    kept = os.environ.get("STREAMS") != "no"
    streams = [listen(Visitor(address, name, seen), end, True) for _ in range(WEBSOCKETS if kept else 0)]
    streams += [listen(Visitor(address, name, seen), end, False) for _ in range(STREAMS if kept else 0)]
    running = [asyncio.ensure_future(job) for job in jobs]
    open_streams = [asyncio.ensure_future(job) for job in streams]
    told = asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(asyncio.shield(told), seconds)
    end.set()
    await asyncio.gather(*running)
    for stream in open_streams:
        stream.cancel()
    return seen


def main() -> None:
    """Run and print."""
    address, name, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
    seen = asyncio.run(everybody(address, name, seconds, float(sys.argv[4]) if sys.argv[4:] else 0))
    print(json.dumps(vars(seen)))
    os._exit(0)  # a thread may still wait for a line


if __name__ == "__main__":
    main()
