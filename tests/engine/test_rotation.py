"""What an update looks at: memory that is free, what visitors get of the proxy, connections that are in use."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.landfall.vps.plugins.module_utils import room, rotation, sockets, watching


def test_memory_is_what_the_kernel_can_give_away(monkeypatch: pytest.MonkeyPatch) -> None:
    stats = {"memory_stats": {"usage": 300 << 20, "stats": {"inactive_file": 100 << 20}}}
    docker: Any = SimpleNamespace(json=lambda _method, _path: stats)
    for free, said in (
        (400, ""),
        (200, "a second container needs some 314 MB of memory, and 200 MB are free"),
        (0, ""),
    ):
        text = f"MemTotal: 8 kB\nMemAvailable:   {free * 1024} kB\n"
        monkeypatch.setattr(room, "read_text", lambda _path, text=text: text)
        assert room.missing(docker, "web") == said


def test_what_visitors_get_is_read_from_the_proxy() -> None:
    names = {"answers": "d_count", "first_byte": "f_bucket"}
    text = """# HELP d_count x
d_count{code="200",handler="subroute",host="shop.test",method="GET"} 90
d_count{code="502",handler="subroute",host="shop.test",method="GET"} 6
d_count{code="500",handler="subroute",host="shop.test",method="POST"} 4
d_count{code="500",handler="subroute",host="other.test",method="GET"} 1000
f_bucket{code="200",host="shop.test",le="0.1"} 90
f_bucket{code="200",host="shop.test",le="1"} 96
f_bucket{code="200",host="shop.test",le="+Inf"} 100
"""
    found = watching.parsed(text, names, ["shop.test"])
    assert (found.requests, found.errors, found.ratio, found.latency) == (100, 10, 0.1, 1.0)
    later = watching.parsed(text.replace("} 90", "} 190"), names, ["shop.test"]).since(found)
    assert (later.requests, later.errors) == (100, 0)
    none = watching.Figures()
    assert (none.ratio, none.latency) == (0, 0)
    limits = {"error_ratio": 0.05, "latency": 0.5, "min_requests": 100}
    assert "10 of 100 requests (10.0 %)" in watching.condemned(none, found, limits)
    assert "longer than 0.5 s to begin, before it were 0 s" in watching.condemned(none, found, limits)
    assert watching.condemned(found, found, limits) == "", "it was so before"
    assert watching.condemned(none, found, {**limits, "min_requests": 101}) == ""
    assert watching.condemned(none, found, {"error_ratio": 0, "latency": 0}) == ""


TCP = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:1F40 00000000:0000 0A 00000000:00000000 00:00000000 00000000 10001        0 1 1 0 100 0 0 10 0
   1: 040012AC:1F40 050012AC:A1B2 01 00000000:00000000 00:00000000 00000000 10001        0 2 1 0 20 4 30 10 -1
   2: 040012AC:1F40 090012AC:A1B3 01 00000000:00000000 00:00000000 00000000 10001        0 3 1 0 20 4 30 10 -1
   3: 040012AC:1F40 050012AC:A1B4 06 00000000:00000000 00:00000000 00000000 0        0 0 1 0 20 4 30 10 -1
   4: 040012AC:C001 050012AC:18EB 01 00000000:00000000 00:00000000 00000000 10001        0 4 1 0 20 4 30 10 -1
"""


def test_connections_of_a_proxy_are_those_that_it_made_to_a_port_that_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    described = {
        "web": {"State": {"Pid": 7}, "NetworkSettings": {"Networks": {"landfall": {"IPAddress": "172.18.0.4"}}}},
        "edge": {"State": {"Pid": 8}, "NetworkSettings": {"Networks": {"landfall": {"IPAddress": "172.18.0.5"}}}},
    }
    monkeypatch.setattr(rotation, "read_text", lambda path: TCP if path == "/proc/7/net/tcp" else "")
    docker: Any = SimpleNamespace(inspect=described.get)
    assert sockets.peers(TCP, [TCP]) == ["172.18.0.5", "172.18.0.9"]
    assert rotation.connections(docker, "web", ["edge"]) == 1
    assert rotation.connections(docker, "web", ["nobody"]) == 0 == rotation.connections(docker, "gone", ["edge"])
