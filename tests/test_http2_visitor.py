"""The visitor by HTTP/2 of the scenario release, against a real proxy: it shares a connection and misses no failure."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import caddykit, rolekit

sys.path.insert(0, str(rolekit.ROOT / "molecule"))
from testbed import http2

WEB = {"name": "web", "image": "x/web:1", "port": 8000, "health": "/health", "update_order": "stop-first"}
BIG = 300_000  # bytes: several windows of flow control


def proxy(folder: Path, port: int) -> caddykit.Proxy:
    sites = [{"host": caddykit.SHOP, "upstreams": ["web:8000"]}]
    instead = {"web:8000": f"127.0.0.1:{port}"}
    running = caddykit.Proxy(folder, instead, caddy_sites=sites, app_services=[WEB])
    running.connect(caddykit.SHOP).close()  # its certificate is made after the start
    return running


def test_many_requests_share_one_connection_and_large_bodies_arrive(tmp_path: Path) -> None:
    async def visit(port: int) -> tuple[list[Any], int]:
        connection = http2.Connection("127.0.0.1", caddykit.SHOP, port)
        asked = [connection.ask("GET", f"/{number}") for number in range(20)]
        asked += [connection.ask("POST", "/big", b"x" * BIG) for _ in range(3)]
        answers = await asyncio.gather(*asked)
        connection.close()
        return answers, connection.opened

    with caddykit.upstream() as port:
        running = proxy(tmp_path, port)
        try:
            answers, opened = asyncio.run(visit(running.port))
        finally:
            running.close()
    assert opened == 1 and {status for status, _body in answers} == {200}
    said = [json.loads(body) for _status, body in answers]
    assert [one["path"] for one in said] == [*(f"/{number}" for number in range(20)), *["/big"] * 3]
    assert {one["headers"]["Content-Length"] for one in said[20:]} == {str(BIG)}


def test_a_proxy_that_goes_away_is_a_failure_of_what_it_was_asked(tmp_path: Path) -> None:
    async def visit(running: caddykit.Proxy) -> None:
        connection = http2.Connection("127.0.0.1", caddykit.SHOP, running.port)
        assert (await connection.ask("GET", "/"))[0] == 200
        slow = asyncio.ensure_future(connection.ask("GET", "/events"))
        await asyncio.sleep(0.5)
        running.process.kill()
        with pytest.raises(OSError):
            await asyncio.wait_for(slow, 10)
        with pytest.raises(OSError):
            await asyncio.wait_for(connection.ask("GET", "/"), 10)

    with caddykit.upstream() as port:
        running = proxy(tmp_path, port)
        try:
            asyncio.run(visit(running))
        finally:
            running.close()
