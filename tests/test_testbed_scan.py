"""The scan of a VPS from outside: it sees who answers, who refuses, and HTTP/3."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "molecule"))

from testbed import scan

LOOPBACK = ("127.0.0.1", "::1")


@pytest.fixture(params=LOOPBACK)
def address(request: pytest.FixtureRequest) -> str:
    """Give an address of this machine that it has."""
    found = str(request.param)
    try:
        with socket.socket(scan.family(found)) as one:
            one.bind((found, 0))
    except OSError:
        pytest.skip("no IPv6 on this machine")
    return found


@pytest.fixture
def free(address: str) -> tuple[int, int]:
    """Give a port of TCP and one of UDP at which nobody listens."""
    found = []
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(scan.family(address), kind) as one:
            one.bind((address, 0))
            found.append(int(one.getsockname()[1]))
    return found[0], found[1]


@pytest.fixture
def listening(address: str) -> Iterator[tuple[int, int]]:
    """Give a port of TCP that takes connections and one of UDP that answers once, what is long enough."""
    stream = socket.socket(scan.family(address), socket.SOCK_STREAM)
    echo = socket.socket(scan.family(address), socket.SOCK_DGRAM)
    with stream, echo:
        for one in (stream, echo):
            one.bind((address, 0))
        stream.listen()
        echo.settimeout(10)

        def answer() -> None:
            data, whom = echo.recvfrom(2048)
            if len(data) >= 1200 and data[0] & 0xC0 == 0xC0:
                echo.sendto(b"here", whom)

        thread = threading.Thread(target=answer)
        thread.start()
        yield stream.getsockname()[1], echo.getsockname()[1]
        with socket.socket(scan.family(address), socket.SOCK_DGRAM) as last:
            last.sendto(b"end", echo.getsockname())
        thread.join()


def test_who_listens_and_who_refuses_is_seen(address: str, listening: tuple[int, int], free: tuple[int, int]) -> None:
    assert scan.tcp(address, [listening[0], free[0]]) == {"open": {listening[0]}, "closed": {free[0]}}
    assert scan.udp(address, [free[1], listening[1], free[1]]) == {"open": {listening[1]}, "closed": {free[1]}}


def test_many_refusals_in_a_row_hide_nobody(address: str, listening: tuple[int, int]) -> None:
    ports = [port for port in range(40000, 40400) if port != listening[1]]
    found = scan.udp(address, [*ports, listening[1]])
    assert listening[1] in found["open"] and found["closed"]


def test_all_protocols_are_looked_at_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "tcp", lambda _address, _ports: {"open": {443, 80}, "closed": set()})
    monkeypatch.setattr(scan, "udp", lambda _address, _ports: {"open": {443}, "closed": {53}})
    assert scan.scan(["192.0.2.1"]) == {"192.0.2.1": {"open": ["80/tcp", "443/tcp", "443/udp"], "closed": ["53/udp"]}}


def test_a_look_that_fails_is_not_taken_for_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(address: str, _ports: Sequence[int]) -> scan.Found:
        raise OSError(address)

    monkeypatch.setattr(scan, "tcp", fails)
    monkeypatch.setattr(scan, "udp", lambda _address, _ports: {"open": set(), "closed": set()})
    monkeypatch.setattr(threading, "excepthook", lambda _args: None)
    with pytest.raises(SystemExit, match="not all"):
        scan.scan(["192.0.2.1"])
