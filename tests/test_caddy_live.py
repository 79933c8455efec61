"""The proxy itself, with the configuration that the role renders: what happens while something behind it changes.

A real Caddy on ports of its own, its own authority, and upstreams of this test; only ports and addresses are replaced.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import programs, rolekit

SITE = "shop.landfall.test"
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Upstream:
    """Answers every request, keeps connections open, echoes what follows an upgrade, and counts connections."""

    def __init__(self, port: int) -> None:
        self.connections = 0
        self.bodies: list[bytes] = []
        self.listener = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)  # or the thread that accepts would hold it
        self.listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection, connection.makefile("rb") as reader:
            while request := reader.readline():
                headers = {}
                while (line := reader.readline().strip()) != b"":
                    name, _, value = line.partition(b":")
                    headers[name.lower()] = value.strip()
                if headers.get(b"upgrade"):
                    connection.sendall(SWITCHED)
                    while line := reader.readline():
                        connection.sendall(line)
                    return
                if request.startswith(b"POST"):
                    self.bodies.append(reader.read(int(headers[b"content-length"])))
                connection.sendall(ANSWER)


class Proxy:
    """Caddy with the rendered Caddyfile of one site, which leads to the port ``upstream``."""

    def __init__(self, folder: Path, upstream: int, **more: Any) -> None:
        self.folder, self.port, self.admin = folder, free_port(), free_port()
        site = {"host": SITE, "upstreams": [f"localhost:{upstream}"]}
        rendered = rolekit.component("caddy", folder, caddy_sites=[site], caddy_tls="internal",
                                     caddy_other_upstreams=["localhost"], **more)  # fmt: skip
        text = rolekit.text(rendered, "caddy/config/Caddyfile")
        text = text.replace("admin localhost:2019", f"admin localhost:{self.admin}\n\thttps_port {self.port}")
        text = text.replace("persist_config off", f"persist_config off\n\thttp_port {free_port()}")
        text = text.replace(":9180", f":{free_port()}")
        (folder / "Caddyfile").write_text(text, "utf-8")
        self.caddy = programs.from_debian("caddy", "caddy")
        self.environment = {**os.environ, "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
        self.log = (folder / "caddy.log").open("wb")
        argv = [self.caddy, "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]
        self.process = subprocess.Popen(argv, env=self.environment, stdout=self.log, stderr=self.log)
        end = time.monotonic() + 30
        while time.monotonic() < end and self.process.poll() is None:
            with contextlib.suppress(OSError):
                self.connect().close()
                return
            time.sleep(0.1)
        raise AssertionError((folder / "caddy.log").read_text("utf-8"))

    def connect(self) -> ssl.SSLSocket:
        """Open a connection to the site as a visitor does."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        raw = socket.create_connection(("127.0.0.1", self.port), 10)
        secure = context.wrap_socket(raw, server_hostname=SITE)
        secure.settimeout(20)
        return secure

    def ask(self, method: str, body: bytes | None = None) -> int:
        """Return the status of one request on a connection of its own."""
        with self.connect() as secure:
            connection = http.client.HTTPConnection(SITE)
            connection.sock = secure
            connection.request(method, "/", body)
            return connection.getresponse().status

    def reload(self) -> None:
        """Let it take in its configuration anew, as the role does."""
        argv = [self.caddy, "reload", "--force", "--address", f"localhost:{self.admin}"]
        argv += ["--config", str(self.folder / "Caddyfile"), "--adapter", "caddyfile"]
        subprocess.run(argv, env=self.environment, check=True, capture_output=True, timeout=60)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        self.log.close()


@contextlib.contextmanager
def proxy(folder: Path, upstream: int, **more: Any) -> Iterator[Proxy]:
    found = Proxy(folder, upstream, **more)
    try:
        yield found
    finally:
        found.stop()


def _outlives_a_reload(found: Proxy) -> bool:
    with found.connect() as secure:
        request = f"GET /ws HTTP/1.1\r\nHost: {SITE}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        secure.sendall(f"{request}Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: YWxlcnRz\r\n\r\n".encode())
        reader = secure.makefile("rb")
        assert reader.readline().split()[1] == b"101"
        while reader.readline().strip():
            pass
        secure.sendall(b"before\n")
        assert reader.readline() == b"before\n"
        found.reload()
        time.sleep(1)
        try:
            secure.sendall(b"after\n")
            return reader.readline() == b"after\n"
        except OSError:
            return False


@pytest.mark.parametrize(("more", "outlives"), [({}, True), ({"caddy_stream_close_delay": "0s"}, False)])
def test_an_open_websocket_outlives_a_reload(more: dict[str, Any], outlives: bool, tmp_path: Path) -> None:
    upstream = Upstream(port := free_port())
    with contextlib.closing(upstream), proxy(tmp_path, port, **more) as found:
        assert _outlives_a_reload(found) is outlives


def test_requests_wait_for_an_upstream_that_is_away_with_their_bodies(tmp_path: Path) -> None:
    """The default waits for longer than a start takes; here with a start of 4 s, and a patience that is too short."""
    assert rolekit.defaults("caddy")["caddy_upstream_patience"] == "60s"
    seen, body = {}, b"x" * 200_000
    for patience in ("60s", "1s"):
        port = free_port()
        (tmp_path / patience).mkdir()
        with proxy(tmp_path / patience, port, caddy_upstream_patience=patience) as found:
            statuses: dict[str, int] = {}

            def ask(method: str, found: Proxy = found, statuses: dict[str, int] = statuses) -> None:
                statuses[method] = found.ask(method, body if method == "POST" else None)

            waiting = [threading.Thread(target=ask, args=(method,)) for method in ("GET", "POST")]
            for thread in waiting:
                thread.start()
            time.sleep(4)
            with contextlib.closing(Upstream(port)) as upstream:
                for thread in waiting:
                    thread.join()
                seen[patience] = (statuses, upstream.bodies)
    assert seen == {"60s": ({"GET": 200, "POST": 200}, [body]), "1s": ({"GET": 502, "POST": 502}, [])}


@pytest.mark.parametrize(("more", "connections"), [({}, 2), ({"caddy_upstream_keepalive": "60s"}, 1)])
def test_an_idle_connection_ends_before_the_upstream_would_end_it(
    more: dict[str, Any], connections: int, tmp_path: Path
) -> None:
    """Gunicorn ends one after 2 s, uvicorn after 5 s: the next request must not be sent into it."""
    upstream = Upstream(port := free_port())
    with contextlib.closing(upstream), proxy(tmp_path, port, **more) as found:
        assert found.ask("GET") == 200
        time.sleep(1.8)
        assert found.ask("POST", b"x") == 200
    assert upstream.connections == connections
