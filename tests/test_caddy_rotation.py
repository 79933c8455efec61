"""Who is sent requests: the real proxy with what its role renders, and the marks that the engine makes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.landfall.vps.plugins.module_utils import rotation

from tests import caddykit, rolekit
from tests.test_caddy_live import free_port

WEB = {"name": "web", "image": "x/web:1", "port": 8000, "health": "/health"}
INTERVAL = 2.5  # seconds, in which it has looked at each mark
ASKED = 12


@contextlib.contextmanager
def proxied(folder: Path, metrics: int = 0, **site: Any) -> Iterator[tuple[caddykit.Proxy, int, int]]:
    """A proxy that leads to ``web``, and the ports of that and of its standby; they are called by addresses here.

    Its figures are to be had at the port ``metrics``.
    """
    (folder / "rotation").mkdir()
    with caddykit.upstream() as own, caddykit.upstream() as standby:
        instead = {"web-next:8000": f"localhost:{standby}", "web:8000": f"127.0.0.1:{own}"}
        instead.update({":9180": f":{metrics}"} if metrics else {})
        sites = [{"host": caddykit.SHOP, "upstreams": ["web:8000"], **site}]
        found = caddykit.Proxy(folder, instead, caddy_sites=sites, app_services=[WEB], caddy_tls="internal")
        try:
            time.sleep(INTERVAL)
            yield found, own, standby
        finally:
            found.close()


def answering(proxy: caddykit.Proxy) -> set[int]:
    return {proxy.ask("/").said["server"] for _ in range(ASKED)}


@pytest.mark.parametrize("site", [{}, {"health": "/health"}], ids=["no health", "health"])
def test_marks_say_who_is_sent_requests(site: dict[str, Any], tmp_path: Path) -> None:
    own_out, standby_in = tmp_path / "rotation/127.0.0.1.out", tmp_path / "rotation/localhost.in"
    with proxied(tmp_path, **site) as (proxy, own, standby):
        assert answering(proxy) == {own}, "the standby is none of those that are asked"
        standby_in.touch()
        time.sleep(INTERVAL)
        assert answering(proxy) == {own, standby}
        own_out.touch()
        time.sleep(INTERVAL)
        assert answering(proxy) == {standby}
        own_out.unlink()
        time.sleep(INTERVAL)
        standby_in.unlink()
        time.sleep(INTERVAL)
        assert answering(proxy) == {own}


@pytest.mark.parametrize("site", [{}, {"health": "/health"}], ids=["no health", "health"])
def test_the_engine_sees_when_it_has_looked(site: dict[str, Any], tmp_path: Path) -> None:
    """Again and again, at any moment between two looks."""
    marks = [tmp_path / "rotation" / name for name in ("127.0.0.1.out", "localhost.in")]
    port = free_port()
    sites = [{"host": caddykit.SHOP, "upstreams": ["web:8000"], **site}]
    rendered = rolekit.component(
        "caddy", tmp_path / "rendered", caddy_sites=sites, app_services=[WEB], caddy_tls="internal"
    )
    (item,) = [item for item in rendered.desired.meta["serves"] if item["api"] == "proxy"]
    asks = {**item["asks"], "port": port}
    assert asks["round"] == 4, "two upstreams, for what stays open and for the rest"
    found = {"NetworkSettings": {"Networks": {"x": {"IPAddress": "127.0.0.1"}}}}
    docker: Any = SimpleNamespace(inspect=lambda _name: found)
    record = {"proven": True, "meta": {"serves": [{**item, "asks": asks, "settle": 10}]}}
    engine = rotation.Rotation(str(tmp_path), docker, {"caddy": record})
    with proxied(tmp_path, port, **site) as (proxy, own, standby):
        for number in range(2):
            for mark, kept in ((marks[1], {own, standby}), (marks[0], {standby})):
                mark.touch()
                assert engine._has_looked(engine.proxies[0][1], time.monotonic()), "it did not see it"
                assert answering(proxy) == kept
            for mark, kept in ((marks[0], {own, standby}), (marks[1], {own})):
                mark.unlink()
                assert engine._has_looked(engine.proxies[0][1], time.monotonic())
                assert answering(proxy) == kept
            time.sleep(0.23 * number)


def test_what_stays_open_waits_for_who_is_there_next(tmp_path: Path) -> None:
    own_out, standby_in, leaving = (
        tmp_path / "rotation" / name for name in ("127.0.0.1.out", "localhost.in", "localhost.leaving")
    )
    with proxied(tmp_path) as (proxy, own, standby), ThreadPoolExecutor(1) as pool:
        own_out.touch()
        standby_in.touch()
        time.sleep(INTERVAL)
        stream: dict[str, Any] = {"Accept": "text/event-stream"}
        assert proxy.ask("/", **stream).said["server"] == standby
        leaving.touch()
        time.sleep(INTERVAL)
        assert answering(proxy) == {standby}, "what ends soon is answered as before"
        kinds: list[dict[str, Any]] = [stream, {"Upgrade": "websocket"}]
        waiting = pool.submit(lambda: [proxy.ask("/", **kind).said["server"] for kind in kinds])
        time.sleep(INTERVAL)
        assert not waiting.done()
        own_out.unlink()
        assert waiting.result(10) == [own, own]


def test_the_proxy_declares_whom_it_leads_to(tmp_path: Path) -> None:
    services = [WEB, {**WEB, "name": "wiki", "volumes": ["wiki:/data"]}, {**WEB, "name": "api", "replicas": 2}]
    sites = [
        {"host": "shop.example.org", "upstreams": ["web:8000"], "aliases": ["www.example.org"]},
        {"host": "api.example.org", "upstreams": ["api-1:8000", "api-2:8000"]},
        {"host": "wiki.example.org", "upstreams": ["wiki:8000"]},
    ]
    rendered = rolekit.component("caddy", tmp_path, caddy_sites=sites, app_services=services)
    (found,) = [item for item in rendered.desired.meta["serves"] if item["api"] == "proxy"]
    assert found["upstreams"] == ["api-1", "api-2", "web", "web-next"]
    assert found["sites"]["web"] == ["shop.example.org", "www.example.org"]
    text = rolekit.text(rendered, "caddy/config/Caddyfile")
    assert "reverse_proxy wiki:8000 {" in text and "reverse_proxy api-1:8000 api-2:8000 {" in text
    # For what stays open once more
    assert text.count("health_upstream 127.0.0.1:9181") == 3 and "header Landfall-Upstream web-next:8000" in text


def test_without_a_service_that_is_rotated_there_is_no_such_block(tmp_path: Path) -> None:
    rendered = rolekit.component("caddy", tmp_path, caddy_grafana_host="grafana.example.org")
    assert "9181" not in rolekit.text(rendered, "caddy/config/Caddyfile")
    assert [item["api"] for item in rendered.desired.meta["serves"]] == ["maintenance"]
