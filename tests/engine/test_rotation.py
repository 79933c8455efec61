"""What an update looks at: memory that is free, what visitors get of the proxy, connections that are in use."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.landfall.vps.plugins.module_utils import room, rotation, sockets, watching
from ansible_collections.landfall.vps.plugins.module_utils.probe import Unproven


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


class Asking:
    """A proxy that asks itself for marks: what its figures say at each look, and the seconds that pass meanwhile."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, looks: list[tuple[float, float] | None]) -> None:
        self.now, self.looks = 0.0, looks
        item = {"api": "proxy", "service": "edge", "folder": "rotation", "upstreams": ["web"], "settle": 3}
        asks = {"port": 1, "path": "/m", "asked": "n_total", "asking": "n_now", "server": "rotation", "round": 4}
        record = {"proven": True, "meta": {"serves": [{**item, "asks": asks}]}}
        docker: Any = SimpleNamespace(
            inspect=lambda _name: {"NetworkSettings": {"Networks": {"x": {"IPAddress": "a"}}}}
        )
        self.rotation = rotation.Rotation("/nowhere", docker, {"edge": record})
        monkeypatch.setattr(rotation, "pause", self.pass_by)
        monkeypatch.setattr(f"{rotation.__name__}.time.monotonic", lambda: self.now)
        monkeypatch.setattr(rotation, "fetch", self.fetch)

    def pass_by(self, seconds: float) -> None:
        self.now += seconds

    def fetch(self, url: str, timeout: float) -> tuple[int, str]:
        assert url == "http://a:1/m" and timeout <= 3
        look = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        if look is None:
            raise Unproven("it does not answer")
        form = 'n_total{{host="_other",server="{0}"}} {1}\nn_now{{server="{0}"}} {2}\n'
        return 200, form.format("rotation", *look) + form.format("srv0", 900, 9)


@pytest.mark.parametrize(
    ("looks", "count"),
    [
        # Quiet, what was asked until then, a round of four since, and none under way: seen at the fourth look
        ([(10, 0), (10, 0), (12, 2), (14, 0)], 4),
        # One was under way when the mark was made: it counts for nothing
        ([(10, 1), (11, 0), (11, 0), (14, 0), (15, 0)], 5),
        # The round is over, and one of the next is under way that may be an old answer's
        ([(10, 0), (10, 0), (14, 1), (14, 0)], 4),
    ],
    ids=["a round", "one under way", "not quiet"],
)
def test_a_proxy_has_looked_once_it_has_asked_for_every_mark(
    monkeypatch: pytest.MonkeyPatch, looks: list[tuple[float, float] | None], count: int
) -> None:
    asking = Asking(monkeypatch, looks)
    asking.rotation.settle("web")
    assert asking.now == pytest.approx(count * rotation.GLANCE)


@pytest.mark.parametrize(
    "looks",
    [[None], [(10, 0), (10, 0), None], [(10, 0), (10, 0), (13, 0)], [(10, 1)], [(10, 0), (10, 0), (14, 1)]],
    ids=["silent", "falls silent", "too few", "never quiet", "one without an end"],
)
def test_where_nobody_can_tell_the_time_decides(
    monkeypatch: pytest.MonkeyPatch, looks: list[tuple[float, float] | None]
) -> None:
    asking = Asking(monkeypatch, looks)
    asking.rotation.settle("web")
    assert 3 <= asking.now < 3 + 2 * rotation.GLANCE
