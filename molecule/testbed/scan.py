"""Tells which ports of addresses answer, by TCP and UDP: {address: {"open": ["22/tcp"], "closed": ["53/udp"]}}.

What answers, by SYN/ACK, by a datagram or by a refusal, is not hidden. Read as text and run where a VPS is seen from
outside, with nothing but the standard library.
"""

from __future__ import annotations

import argparse
import errno
import json
import resource
import select
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence

EVERY = range(1, 65536)
AT_ONCE = 8192  # connections
PATIENCE = 0.4  # seconds for what answers at the end
# Long enough and of no version that there is: QUIC answers it with those that it speaks (RFC 9000, 6.1)
HELLO = (b"\xc0\x1a\x2a\x3a\x4a" + b"\x08landfall" * 2).ljust(1200, b"\0")
# Of Linux: errors that came as ICMP are told one by one, with whom they are of
RECEIVE_ERRORS = {socket.AF_INET: (socket.IPPROTO_IP, 11), socket.AF_INET6: (socket.IPPROTO_IPV6, 25)}

Found = dict[str, set[int]]


def family(address: str) -> socket.AddressFamily:
    """Return the family of an address."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def tcp(address: str, ports: Sequence[int] = EVERY) -> Found:
    """Return the ports that take a connection or refuse it."""
    found: Found = {"open": set(), "closed": set()}
    for first in range(0, len(ports), AT_ONCE):
        connect(address, ports[first : first + AT_ONCE], found)
    return found


def connect(address: str, ports: Sequence[int], found: Found) -> None:
    """Try these ports at once."""
    poll, waiting = select.epoll(), {}
    for port in ports:
        one = socket.socket(family(address), socket.SOCK_STREAM)
        one.setblocking(False)
        if one.connect_ex((address, port)) == errno.ECONNREFUSED:
            found["closed"].add(port)
            one.close()
            continue
        waiting[one.fileno()] = (one, port)
        poll.register(one.fileno(), select.EPOLLOUT | select.EPOLLERR | select.EPOLLHUP)
    end = time.monotonic() + PATIENCE
    while waiting and time.monotonic() < end:
        for number, _event in poll.poll(0.1):
            one, port = waiting.pop(number)
            poll.unregister(number)
            refused = one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            found["closed" if refused else "open"].add(port)
            one.close()
    for one, _port in waiting.values():
        one.close()
    poll.close()


def udp(address: str, ports: Sequence[int] = EVERY) -> Found:
    """Return the ports that answer a datagram, and those of which one hears that nobody listens."""
    found: Found = {"open": set(), "closed": set()}
    with socket.socket(family(address), socket.SOCK_DGRAM) as one:
        one.setblocking(False)
        one.setsockopt(*RECEIVE_ERRORS[family(address)], 1)
        for port in ports:
            ask(one, (address, port), found)
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            hear(one, found)
            time.sleep(0.01)
        hear(one, found)
    return found


def ask(one: socket.socket, whom: tuple[str, int], found: Found) -> None:
    """Send a datagram. What was heard of an earlier one keeps it from being sent until it was read."""
    for _ in range(1000):
        try:
            one.sendto(HELLO, whom)
            return
        except BlockingIOError:
            select.select([], [one], [], PATIENCE)
        except OSError:
            pass
        hear(one, found)
    raise OSError(f"{whom[0]} port {whom[1]}: nothing could be sent")


def hear(one: socket.socket, found: Found) -> None:
    """Read what has come: datagrams and errors."""
    for kind, flags in (("closed", socket.MSG_ERRQUEUE), ("open", 0)):
        while True:
            try:
                _data, _more, _flags, whom = one.recvmsg(2048, 1024, flags)
            except BlockingIOError:
                break
            except OSError:
                continue  # an error that was read already
            found[kind].add(whom[1])


def scan(addresses: Sequence[str], ports: Sequence[int] = EVERY) -> dict[str, dict[str, list[str]]]:
    """Return what answers at each address, by its number."""
    found: dict[str, dict[str, list[str]]] = {address: {"open": [], "closed": []} for address in addresses}
    went: list[object] = []

    def one(address: str, protocol: str, look: Callable[[str, Sequence[int]], Found]) -> None:
        for kind, those in look(address, ports).items():
            found[address][kind] += [f"{port}/{protocol}" for port in sorted(those)]
        went.append(protocol)

    threads = [threading.Thread(target=one, args=(address, protocol, look))
               for address in addresses for protocol, look in (("tcp", tcp), ("udp", udp))]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(went) != len(threads):
        sys.exit("not all was looked at")
    for kinds in found.values():
        for named in kinds.values():
            named.sort(key=lambda port: (int(port.partition("/")[0]), port))
    return found


if __name__ == "__main__":
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    words = argparse.ArgumentParser()
    words.add_argument("--ports", type=int, nargs="*", default=EVERY)
    words.add_argument("addresses", nargs="+")
    asked = words.parse_args()
    sys.stdout.write(json.dumps(scan(asked.addresses, asked.ports)))
