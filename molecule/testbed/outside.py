"""A network namespace on a VPS that is the world outside: it asks the VPS, and containers of the VPS ask it."""

from __future__ import annotations

import json
from collections.abc import Callable

from .paths import ROOT

Run = Callable[..., str]  # a shell command as root, and what it reads
ADDRESSES = ("192.0.2.1", "2001:db8::1")  # of the VPS, as the world sees it
FROM = "192.0.2.66"  # the world, as the VPS sees it
# Where providers tell a VPS its credentials; in the world somebody listens there
METADATA = (
    *("169.254.169.254", "100.100.100.200", "168.63.129.16", "192.0.0.192"),
    *("fd00:ec2::254", "fd00:42::42", "fd00:a9fe:a9fe::1", "fd00:c1::a9fe:a9fe", "fd20:ce::254"),
)
NAMED = ("203.0.113.7", "2001:db8:7::7")  # what an inventory lets containers reach
OTHERS = ("203.0.113.8", "2001:db8:8::8")  # and what it does not
BESIDE = ("10.203.0.0/24", "2001:db8:99::/64")  # networks of the container that is not the stack's
PYTHON = "python:3.13-slim"
# Answers every datagram
ECHO = """
import socket
one = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
one.bind(("::", 8096))
while True:
    one.sendto(*one.recvfrom(2048))
"""
ECHO_8097 = ECHO.replace("8096", "8097")
WORLD = f"""
set -e
ip netns list | grep -qw world && exit 0
ip netns add world
ip link add wan0 type veth peer name eth0 netns world
for key in all default wan0; do echo 0 >/proc/sys/net/ipv6/conf/$key/disable_ipv6; done
ip address add {ADDRESSES[0]}/24 dev wan0
ip -6 address add {ADDRESSES[1]}/64 dev wan0 nodad
ip link set wan0 up
ip netns exec world sh -ec 'for key in all default eth0; do echo 0 >/proc/sys/net/ipv6/conf/$key/disable_ipv6; done
ip address add {FROM}/24 dev eth0; ip -6 address add 2001:db8::66/64 dev eth0 nodad
ip link set lo up; ip link set eth0 up'
for address in {" ".join((*METADATA, *NAMED, *OTHERS))}; do
  ip route add $address dev wan0
  case $address in *:*) address="$address/128 nodad";; esac
  ip -n world address add $address dev eth0
done
# Who comes from a container is answered also where nothing translates its address
ip -n world route add default via {ADDRESSES[0]}
ip -n world -6 route add default via {ADDRESSES[1]}
for port in 80 53; do
  systemd-run --unit=world-$port ip netns exec world python3 -m http.server $port --bind ::
done
"""
# On the VPS itself and in two containers, one in the stack's network and one in another, with IPv6
NEIGHBOURS = f"""
set -e
docker container inspect inside >/dev/null 2>&1 && exit 0
systemd-run --unit=on-vps-tcp python3 -m http.server 8098 --bind ::
systemd-run --unit=on-vps-udp python3 -c '{ECHO_8097}'
docker run --detach --name inside --restart always --network landfall --publish 8096:8096/udp {PYTHON} \
  python -c '{ECHO}'
docker network create --ipv6 --subnet {BESIDE[0]} --subnet {BESIDE[1]} beside
docker run --detach --name beside --restart always --network beside {PYTHON} python -c '{ECHO}'
"""
AWAY = """
systemctl stop world-80 world-53 on-vps-tcp on-vps-udp
docker rm --force inside beside; docker network rm beside
ip netns delete world
"""
ASK = """
import json, socket, sys
found = {}
for word in sys.argv[1:]:
    address, port = word.rsplit(" ", 1)
    try:
        socket.create_connection((address, int(port)), 2).close()
        found[word] = "open"
    except OSError as error:
        found[word] = type(error).__name__
print(json.dumps(found))
"""


def make(run: Run) -> None:
    """Make the world, and who is asked and asks."""
    run("sh", WORLD)
    run("sh", NEIGHBOURS)


def take_away(run: Run) -> None:
    """Remove them."""
    run("sh", AWAY, check=False)


def answering(run: Run, *ports: int) -> dict[str, dict[str, list[str]]]:
    """Return which ports answer the world at each address of the VPS, open and closed ones; of all or of some."""
    program = (ROOT / "molecule/testbed/scan.py").read_text()
    some = " ".join(("--ports", *map(str, ports))) if ports else ""
    found: dict[str, dict[str, list[str]]] = json.loads(
        run(f"ip netns exec world python3 - {' '.join(ADDRESSES)} {some}", program)
    )
    return found


def reached(run: Run) -> dict[str, dict[str, str]]:
    """Return what the VPS itself and the containers reach outside: "open", or what they are told instead."""
    asked = " ".join(f'"{one} 80"' for one in (*METADATA, *NAMED, *OTHERS))
    asked += " ".join(f' "{one} 53"' for one in (METADATA[0], METADATA[-1], OTHERS[0], OTHERS[1]))
    words = ("python3", *(f"docker exec {one} python" for one in ("inside", "beside")))
    lines = ["set -e", f"ASK='{ASK}'", *(f'{one} -c "$ASK" {asked} </dev/null' for one in words)]
    told = run("sh", "\n".join(lines) + "\n").splitlines()
    return {who: json.loads(line) for who, line in zip(("vps", "inside", "beside"), told, strict=True)}
