"""A visitor's connection by HTTP/2: several requests at a time, each judged by whoever sent it."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.events
import h2.exceptions

PIECE = 65_536  # bytes


@dataclass
class Answer:
    """What has come of an answer; ``whole`` is done with its end, or fails with the connection."""

    whole: asyncio.Future[None]
    status: int = 0
    body: bytearray = field(default_factory=bytearray)

    def fail(self, why: str) -> None:
        """There will be no more of it."""
        if not self.whole.done():
            self.whole.set_exception(ConnectionResetError(why))


class Link:
    """One connection that is open, until it is closed or the other side says that it will be."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer, self.usable = reader, writer, True
        self.answers: dict[int, Answer] = {}
        self.room = asyncio.Event()
        self.state = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        self.state.initiate_connection()
        self.flush()
        self.reading = asyncio.ensure_future(self.read())

    def flush(self) -> None:
        """Send what waits to be sent."""
        self.writer.write(self.state.data_to_send())

    async def read(self) -> None:
        """Take in what comes until nothing does."""
        why = "the connection was closed"
        try:
            while data := await self.reader.read(PIECE):
                for event in self.state.receive_data(data):
                    self.take(event)
                self.flush()
        except (OSError, h2.exceptions.ProtocolError) as error:
            why = f"{type(error).__name__}: {error}"
        finally:
            self.usable = False
            self.writer.close()
            self.room.set()
            for answer in self.answers.values():
                answer.fail(why)

    def take(self, event: h2.events.Event) -> None:
        """Do what an event asks for."""
        if isinstance(event, h2.events.WindowUpdated | h2.events.RemoteSettingsChanged):
            self.room.set()
        elif isinstance(event, h2.events.ConnectionTerminated):
            # What was sent before is answered; the next request opens another connection
            self.usable = False
        elif isinstance(event, h2.events.DataReceived):
            if event.flow_controlled_length:
                self.state.acknowledge_received_data(event.flow_controlled_length, event.stream_id or 0)
            if event.stream_id in self.answers:
                self.answers[event.stream_id].body += event.data or b""
        elif getattr(event, "stream_id", None) in self.answers:
            answer = self.answers[event.stream_id]  # type: ignore[attr-defined]
            if isinstance(event, h2.events.ResponseReceived):
                answer.status = int(dict(event.headers or [])[b":status"])
            elif isinstance(event, h2.events.StreamReset):
                answer.fail(f"the request was reset: {event.error_code}")
            elif isinstance(event, h2.events.StreamEnded) and not answer.whole.done():
                answer.whole.set_result(None)

    async def send(self, stream: int, body: bytes) -> None:
        """Send a body, as much at a time as the other side takes."""
        while body:
            size = min(len(body), self.state.local_flow_control_window(stream), self.state.max_outbound_frame_size)
            if size > 0:
                self.state.send_data(stream, body[:size], end_stream=size == len(body))
                body = body[size:]
            self.flush()
            if size <= 0:
                self.room.clear()
                await self.room.wait()


class Connection:
    """Requests to one site; opened by the first, and anew by the first one after it was closed."""

    def __init__(self, address: str, name: str, port: int = 443) -> None:
        self.address, self.name, self.port = address, name, port
        self.context = ssl.create_default_context()
        self.context.check_hostname, self.context.verify_mode = False, ssl.CERT_NONE
        self.context.set_alpn_protocols(["h2"])
        self.link: Link | None = None
        self.opened = 0
        """How often it was opened."""
        self.opening = asyncio.Lock()

    async def open(self) -> Link:
        """Return a connection that is open. Raises OSError."""
        async with self.opening:
            if self.link is None or not self.link.usable:
                reader, writer = await asyncio.open_connection(
                    self.address, self.port, ssl=self.context, server_hostname=self.name
                )
                chosen = writer.get_extra_info("ssl_object").selected_alpn_protocol()
                if chosen != "h2":
                    writer.close()
                    raise ConnectionError(f"{self.name} speaks {chosen} instead of h2")
                self.link = Link(reader, writer)
                self.opened += 1
            return self.link

    async def ask(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        """Send one request and return status and body. Raises OSError."""
        link = await self.open()
        head = [(":method", method), (":scheme", "https"), (":authority", self.name), (":path", path)]
        stream = link.state.get_next_available_stream_id()
        answer = link.answers[stream] = Answer(asyncio.get_running_loop().create_future())
        try:
            link.state.send_headers(stream, [*head, ("content-length", str(len(body)))], end_stream=not body)
            await link.send(stream, body)
            link.flush()
            await answer.whole
        except h2.exceptions.ProtocolError as error:
            raise ConnectionResetError(str(error)) from error
        finally:
            del link.answers[stream]
        return answer.status, bytes(answer.body)

    def close(self) -> None:
        """Close it."""
        if self.link is not None:
            self.link.usable = False
            self.link.writer.close()
