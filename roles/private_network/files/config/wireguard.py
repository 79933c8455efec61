"""WireGuard on this VPS: the kernel's where there is one, else wireguard-go. Used by the program tunnels."""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import json
import os
import select
import shutil
import socket
import stat
import struct
import subprocess
import time
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence

UNIT = Path("/etc/systemd/system/landfall-wireguard-go@.service")
Config = Dict[str, Any]
"""``{interface, address, subnet, port, mtu, keepalive, reports, peers: [{name, address, endpoint, port, public_key,
next_key?}]}``; addresses are IPv4, keys are public ones."""


class TunnelError(Exception):
    """Something failed; the message says what."""


def run(*argv: str, text: str = "", check: bool = True) -> str:
    """What a command prints. Raises TunnelError with what it said where it fails, unless ``check`` is false."""
    try:
        done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TunnelError(f"{argv[0]}: {error}") from error
    if check and done.returncode != 0:
        raise TunnelError(f"{' '.join(argv)}: {done.stderr.strip() or done.returncode}")
    return done.stdout if done.returncode == 0 else ""


# -- files ------------------------------------------------------------------------------------------------------------


def load(path: Path) -> Optional[Any]:
    """Content of a JSON file, None where there is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def write(path: Path, text: str, mode: int = 0o644) -> None:
    """A file appears whole, or stays as it was; it is on the disk before it has its name."""
    new = path.with_name(f".{path.name}.new")
    new.unlink() if new.exists() else None
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())
    new.chmod(mode)
    new.rename(path)


@contextlib.contextmanager
def alone(home: Path) -> Iterator[None]:
    """Nobody else changes the tunnels meanwhile."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (home / ".lock").open("w", encoding="utf-8") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def own_key(home: Path, name: str = "key") -> str:
    """The public key of a private one, which is made where there is none."""
    place = home / name
    if not place.exists():
        write(place, run("wg", "genkey"), 0o400)
    return run("wg", "pubkey", text=place.read_text(encoding="utf-8")).strip()


# -- peers ------------------------------------------------------------------------------------------------------------


def looked_up(endpoint: str, port: int) -> str:
    """``address:port`` of a name or address, empty where nobody knows it now."""
    try:
        found = socket.getaddrinfo(endpoint, port, type=socket.SOCK_DGRAM)[0][4]
    except OSError:
        return ""
    return f"[{found[0]}]:{port}" if ":" in str(found[0]) else f"{found[0]}:{port}"


def table(interface: str, what: str) -> Dict[str, List[str]]:
    """Public key of each peer to what ``wg show`` says of it."""
    lines = (line.split() for line in run("wg", "show", interface, what, check=False).splitlines())
    return {words[0]: words[1:] for words in lines if words}


def handshakes(interface: str) -> Dict[str, float]:
    """Public key of each peer to the seconds since 1970 of its last handshake, 0 for none."""
    return {key: float(words[0]) for key, words in table(interface, "latest-handshakes").items() if words}


def settings(config: Config, key: str, held: Mapping[str, Sequence[str]]) -> str:
    """What ``wg syncconf`` takes in.

    :param key: the private key
    :param held: public key of each peer to the addresses that are its own now. A peer that will change its key is
        known by both: what is sent to its address goes by the one with which it came last.
    """
    lines = ["[Interface]", f"PrivateKey = {key.strip()}", f"ListenPort = {config['port']}"]
    for peer in config["peers"]:
        address = f"{peer['address']}/32"
        following = peer.get("next_key")
        moved = following and address in held.get(following, [])
        for public in filter(None, [peer["public_key"], following]):
            lines += ["[Peer]", f"PublicKey = {public}"]
            if (public == following) == bool(moved):
                lines.append(f"AllowedIPs = {address}")
            endpoint = looked_up(str(peer["endpoint"]), int(peer["port"]))
            if endpoint:
                lines.append(f"Endpoint = {endpoint}")
            # The one that is to come is asked for by who has it
            lines.append(f"PersistentKeepalive = {config['keepalive'] if public != following else 0}")
    return "\n".join(lines) + "\n"


def follow(config: Config) -> List[str]:
    """Send to who has come with a new key by that one; return the names of those that have not come yet."""
    waiting = [peer for peer in config["peers"] if peer.get("next_key")]
    if not waiting:
        return []
    seen, held = handshakes(config["interface"]), table(config["interface"], "allowed-ips")
    left = []
    for peer in waiting:
        address = f"{peer['address']}/32"
        if address in held.get(peer["next_key"], []):
            continue
        if not seen.get(peer["next_key"]):
            left.append(str(peer["name"]))
            continue
        run("wg", "set", config["interface"], "peer", peer["next_key"], "allowed-ips", address)
    return left


def ask(config: Config, names: Sequence[str]) -> None:
    """Begin a handshake with these peers by their keys to come, as a keepalive that is turned on does."""
    for peer in config["peers"]:
        if peer["name"] in names:
            for keepalive in ("off", "25"):
                run("wg", "set", config["interface"], "peer", peer["next_key"], "persistent-keepalive", keepalive)


def answers(addresses: Sequence[str], seconds: float) -> Dict[str, float]:
    """Address to the milliseconds of its answer to an ICMP echo, of those that answer in time."""
    found: Dict[str, float] = {}
    mark, sent, number, due = os.getpid() & 0xFFFF, {}, 0, 0.0
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw:
        end = time.monotonic() + seconds
        while len(found) < len(set(addresses)) and time.monotonic() < end:
            if time.monotonic() >= due:
                number, due = number + 1, time.monotonic() + 0.2
                sent[number] = time.monotonic()
                for address in set(addresses) - set(found):
                    with contextlib.suppress(OSError):  # no peer, no route, no endpoint yet
                        raw.sendto(echo(mark, number), (address, 0))
            if not select.select([raw], [], [], max(0.0, min(due, end) - time.monotonic()))[0]:
                continue
            packet, (source, _port) = raw.recvfrom(2048)
            kind, _code, _sum, whose, which = struct.unpack_from("!BBHHH", packet, (packet[0] & 15) * 4)
            if (kind, whose) == (0, mark) and source in addresses and which in sent:
                found.setdefault(source, round((time.monotonic() - sent[which]) * 1000, 2))
    return found


def echo(mark: int, number: int) -> bytes:
    """An ICMP echo request."""
    body = struct.pack("!BBHHH", 8, 0, 0, mark, number & 0xFFFF)
    total = sum(struct.unpack("!4H", body))
    total = (total >> 16) + (total & 0xFFFF)
    return struct.pack("!BBHHH", 8, 0, ~total & 0xFFFF, mark, number & 0xFFFF)


def by_name(config: Optional[Config], seconds: float) -> Dict[str, float]:
    """Name of each peer that answers to the milliseconds that it takes."""
    peers = (config or {}).get("peers") or []
    found = answers([peer["address"] for peer in peers], seconds) if peers else {}
    return {peer["name"]: found[peer["address"]] for peer in peers if peer["address"] in found}


# -- interface --------------------------------------------------------------------------------------------------------


def there(interface: str) -> bool:
    """Whether the interface exists and answers."""
    return bool(run("wg", "show", interface, "public-key", check=False)) and bool(
        run("ip", "link", "show", "dev", interface, check=False)
    )


def make(interface: str) -> None:
    """Make the interface, in the kernel if that knows WireGuard. Raises TunnelError where nobody does."""
    with contextlib.suppress(TunnelError):
        run("ip", "link", "add", "dev", interface, "type", "wireguard")
        return
    if shutil.which("wireguard-go") is None:
        raise TunnelError("this kernel has no WireGuard and there is no wireguard-go: install the package wireguard-go")
    tun = Path("/dev/net/tun")
    if not tun.exists():
        try:
            tun.parent.mkdir(parents=True, exist_ok=True)
            os.mknod(tun, stat.S_IFCHR | 0o600, os.makedev(10, 200))
        except OSError as error:
            raise TunnelError(f"{tun} is missing and cannot be made: {error}; ask the provider for TUN") from error
    if UNIT.exists():
        run("systemctl", "start", f"landfall-wireguard-go@{interface}.service")
    else:  # it goes into the background itself, and must not hold the output of who started it
        subprocess.run(["wireguard-go", interface], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, check=False, timeout=30,
                       env={**os.environ, "LOG_LEVEL": "error"})  # fmt: skip
    for _ in range(50):
        if there(interface):
            return
        time.sleep(0.1)
    raise TunnelError(f"wireguard-go {interface} made no interface within 5 s")


def remove(interface: str) -> None:
    """Take the interface away; wireguard-go ends with it."""
    run("ip", "link", "del", "dev", interface, check=False)


def apply(home: Path, config: Config) -> None:
    """Make the interface what ``config`` says. Sessions with peers of whom nothing changed go on."""
    interface = str(config["interface"])
    if not there(interface):
        make(interface)
    held = table(interface, "allowed-ips")
    key = (home / "key").read_text(encoding="utf-8")
    run("wg", "syncconf", interface, "/dev/stdin", text=settings(config, key, held))
    wanted = f"{config['address']}/{ipaddress.ip_network(config['subnet']).prefixlen}"
    run("ip", "address", "replace", wanted, "dev", interface)
    for line in run("ip", "-o", "-4", "address", "show", "dev", interface).splitlines():
        if line.split()[3] != wanted:
            run("ip", "address", "del", line.split()[3], "dev", interface)
    run("ip", "link", "set", "dev", interface, "mtu", str(config["mtu"]), "up")
    if any(peer.get("next_key") for peer in config["peers"]):
        follow(config)
