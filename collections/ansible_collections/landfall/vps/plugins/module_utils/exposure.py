"""Who reaches what listens on this host."""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import os
import socket
import struct
from typing import Iterable, List, Union

from ansible_collections.landfall.vps.plugins.module_utils.sockets import read_text

Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]
Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]
SIOCGIFADDR = 0x8915
# What no router of the Internet leads to: loopback, private use (RFC 1918, RFC 4193), link-local, and the addresses
# that carriers and VPNs share (RFC 6598)
PRIVATE = [
    ipaddress.ip_network(text)
    for text in (
        "127.0.0.0/8",
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "169.254.0.0/16",
        "100.64.0.0/10",
        "::1/128",
        "fc00::/7",
        "fe80::/10",
    )
]


def parse(text: str) -> Address:
    """An address, without brackets and zone; an IPv4 address in IPv6 clothes is one of IPv4. Raises ValueError."""
    found = ipaddress.ip_address(text.strip("[]").split("%", 1)[0])
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found


def private(host: str) -> bool:
    """Whether an address is reachable from this machine and its own networks only; what is no address is not."""
    try:
        return _within(parse(host), PRIVATE)
    except ValueError:
        return False


def _within(address: Address, networks: Iterable[Network]) -> bool:
    return any(address in network for network in networks if network.version == address.version)


def interface_addresses(name: str) -> List[str]:
    """The addresses of a network interface; none if there is no such interface."""
    result = []
    request = struct.pack("256s", name.encode()[:15])
    # Refused if there is no such interface, or none of its addresses is of IPv4
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked, contextlib.suppress(OSError):
        result.append(socket.inet_ntoa(fcntl.ioctl(asked.fileno(), SIOCGIFADDR, request)[20:24]))
    for line in read_text("/proc/net/if_inet6").splitlines():
        fields = line.split()
        if fields[-1] == name:
            result.append(str(ipaddress.ip_address(bytes.fromhex(fields[0]))))
    return result


class Trusted:
    """Where what listens is not public: private addresses and ``items``: interfaces, addresses or networks."""

    def __init__(self, items: Iterable[str]) -> None:
        self.networks: List[Network] = list(PRIVATE)
        for item in items:
            try:
                self.networks.append(ipaddress.ip_network(item, strict=False))
            except ValueError:
                self.networks += [ipaddress.ip_network(address) for address in interface_addresses(item)]

    def covers(self, host: str) -> bool:
        """Whether an address is one of those."""
        try:
            return _within(parse(host), self.networks)
        except ValueError:
            return False


def join(host: str, port: int) -> str:
    """Address and port as people write them."""
    return "{0}:{1}".format("[{0}]".format(host) if ":" in host else host, port)


def ssh_port(otherwise: int) -> int:
    """The port at which SSH took the connection that this process runs in; ``otherwise`` when it is in none.

    sudo drops the variable that says so, so that the processes which led here are asked for it.
    """
    pid = os.getpid()
    while pid > 1:
        for entry in read_text("/proc/{0}/environ".format(pid)).split("\0"):
            fields = entry.split()
            if entry.startswith("SSH_CONNECTION=") and len(fields) == 4 and fields[3].isdigit():
                return int(fields[3])
        # The second field is the program's name, in brackets, and may hold anything
        fields = read_text("/proc/{0}/stat".format(pid)).rpartition(")")[2].split()
        pid = int(fields[1]) if len(fields) > 1 else 0
    return otherwise
