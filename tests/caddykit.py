"""A real Caddy on ports of its own with what the role renders, an upstream that echoes, and a visitor."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests import programs, rolekit
from tests.test_caddy_live import free_port

SHOP = "shop.landfall.test"


@cache
def hashed(password: str) -> str:
    """Return the bcrypt hash of a password, by Caddy's own command."""
    argv = [programs.from_debian("caddy", "caddy"), "hash-password", "--algorithm", "bcrypt", "--plaintext", password]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()


class Echo(BaseHTTPRequestHandler):
    """Says what it was asked; /events is a stream that begins and then says nothing for a while."""

    protocol_version = "HTTP/1.1"
    server: ThreadingHTTPServer

    def do_GET(self) -> None:
        body = json.dumps(
            {"path": self.path, "server": self.server.server_port, "headers": dict(self.headers)}
        ).encode()
        length = int(self.headers.get("Content-Length") or 0)
        if length:
            self.rfile.read(length)
        self.send_response(200)
        if self.path.startswith("/events"):
            self.send_header("Content-Type", "text/event-stream" if self.path == "/events" else "text/plain")
            self.send_header("Connection", "close")
            self.end_headers()
            if self.path == "/events":
                time.sleep(4)
            self.wfile.write(b"data: 1\n\n")
            self.wfile.flush()
            time.sleep(4)
            return
        self.send_header("Content-Type", "application/json")
        self.send_header("X-Powered-By", "echo")
        self.send_header("X-Frame-Options", "SAMEORIGIN")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *_arguments: Any) -> None:
        """Say nothing."""


@contextlib.contextmanager
def upstream() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


def placed(folder: Path, **variables: Any) -> Path:
    """Write what the role renders below ``folder``, with its places in the container replaced; return the Caddyfile."""
    rendered = rolekit.component("caddy", folder, **{"caddy_tls": "internal", **variables})
    for path, content in rendered.contents.items():
        if path.startswith("caddy/"):
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            text = content.replace(b"/etc/caddy", str(folder / "caddy/config").encode())
            text = text.replace(b"/run/secrets", str(folder / "caddy/secrets").encode())
            text = text.replace(b"/etc/rotation", str(folder / "rotation").encode())
            text = text.replace(b"unix//etc/previews", b"unix/" + str(folder / "previews").encode())
            target.write_bytes(text.replace(b" /srv/", f" {folder}/srv/".encode()))
    return folder / "caddy/config/Caddyfile"


def adapted(folder: Path, **variables: Any) -> dict[str, Any]:
    """Return the JSON that Caddy makes of what the role renders, which it has found valid."""
    place = placed(folder, **variables)
    environment = {**os.environ, "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    caddy = programs.from_debian("caddy", "caddy")
    argv = [caddy, "adapt", "--validate", "--adapter", "caddyfile", "--config", str(place)]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


class Answer:
    """What a visitor got."""

    def __init__(self, answer: http.client.HTTPResponse) -> None:
        self.status, self.headers = answer.status, {key.lower(): value for key, value in answer.getheaders()}
        self.text = answer.read().decode(errors="replace")

    @property
    def said(self) -> dict[str, Any]:
        return dict(json.loads(self.text))


class Proxy:
    """A running Caddy with these variables of its role; ``instead`` are texts of its file and what stands for them."""

    def __init__(self, folder: Path, instead: dict[str, str] | None = None, **variables: Any) -> None:
        self.port, self.plain = free_port(), free_port()
        place = placed(folder, **variables)
        text = place.read_text("utf-8")
        text = text.replace("admin localhost:2019", f"admin off\n\thttps_port {self.port}\n\thttp_port {self.plain}")
        for old, new in {":9180": f":{free_port()}", ":9181": f":{free_port()}", **(instead or {})}.items():
            text = text.replace(old, new)
        place.write_text(text, "utf-8")
        environment = {**os.environ, "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
        caddy = programs.from_debian("caddy", "caddy")
        self.log = (folder / "caddy.log").open("wb")
        argv = [caddy, "run", "--config", str(place), "--adapter", "caddyfile"]
        self.process = subprocess.Popen(argv, env=environment, stdout=self.log, stderr=self.log)
        end = time.monotonic() + 30
        while time.monotonic() < end and self.process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.1)
        raise AssertionError((folder / "caddy.log").read_text("utf-8"))

    def connect(self, name: str) -> ssl.SSLSocket:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        for _ in range(100):  # the certificate of a name is made after the start
            with contextlib.suppress(ssl.SSLError):
                secure = context.wrap_socket(
                    socket.create_connection(("127.0.0.1", self.port), 10), server_hostname=name
                )
                secure.settimeout(20)
                return secure
            time.sleep(0.1)
        raise AssertionError(f"no certificate for {name}")

    def ask(self, path: str, name: str = SHOP, body: bytes | None = None, **headers: str) -> Answer:
        with self.connect(name) as secure:
            connection = http.client.HTTPConnection(name)
            connection.sock = secure
            more = {key.replace("_", "-"): value for key, value in headers.items()}
            connection.request("POST" if body is not None else "GET", path, body, more)
            return Answer(connection.getresponse())

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.log.close()


@contextlib.contextmanager
def proxy(folder: Path, site: dict[str, Any], **more: Any) -> Iterator[Proxy]:
    found = Proxy(folder, caddy_sites=[{"host": SHOP, **site}], caddy_other_upstreams=["localhost"], **more)
    try:
        yield found
    finally:
        found.close()


def to(port: int) -> list[str]:
    return [f"127.0.0.1:{port}"]
