"""Somebody who visits a site of a VPS in a container: requests, and a websocket that stays open."""

from __future__ import annotations

import base64
import http.client
import json
import os
import socket
import ssl
from typing import Any

from . import probe

AUTHORITY = "/data/caddy/pki/authorities/local/root.crt"
TEXT = b"\x81"  # begins a frame of text that is whole


class Visitor:
    """Asks a site through the proxy from outside, by name and through TLS, on a connection for each request.

    It trusts the proxy's own authority, and nobody else.
    """

    def __init__(self, host: Any, name: str) -> None:
        self.name = name
        (route,) = json.loads(probe.output(host, "ip", "-json", "-4", "route", "get", "192.0.2.1"))
        self.address = str(route["prefsrc"])
        self.trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.trust.load_verify_locations(cadata=probe.output(host, "docker", "exec", "caddy", "cat", AUTHORITY))

    def connect(self) -> ssl.SSLSocket:
        """Open a connection, for at most 30 s of silence."""
        raw = socket.create_connection((self.address, 443), 10)
        secure = self.trust.wrap_socket(raw, server_hostname=self.name)
        secure.settimeout(30)
        return secure

    def ask(
        self, method: str, path: str, body: bytes | None = None, kind: str = "", authorization: str = ""
    ) -> tuple[int, str]:
        """Return status and text of one answer.

        :param kind: of the body, as Content-Type says it
        :param authorization: user and password, with a colon between them
        """
        headers = {"Content-Type": kind} if kind else {}
        if authorization:
            headers["Authorization"] = f"Basic {base64.b64encode(authorization.encode()).decode()}"
        with self.connect() as secure:
            connection = http.client.HTTPConnection(self.name)
            connection.sock = secure
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()


class Echo:
    """An open websocket to a site whose other side says back what is said; short texts alone."""

    def __init__(self, visitor: Visitor, path: str) -> None:
        self.socket = visitor.connect()
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(
            f"GET {path} HTTP/1.1\r\nHost: {visitor.name}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
        )
        self.reader = self.socket.makefile("rb")
        status = self.reader.readline()
        if status.split()[1:2] != [b"101"]:
            raise ConnectionError(f"no websocket: {status!r}")
        while self.reader.readline().strip():
            pass

    def say(self, text: str) -> str:
        """Return what comes back of a text."""
        mask, data = os.urandom(4), text.encode()
        masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(data))
        self.socket.sendall(TEXT + bytes([0x80 | len(data)]) + mask + masked)
        head = self.reader.read(2)
        if head[:1] != TEXT:
            raise ConnectionError(f"no text came back: {head!r}")
        return self.reader.read(head[1]).decode()
