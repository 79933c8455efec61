"""Hosts for tests of the private network: network namespaces behind one bridge, each with tunnels of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from functools import cache
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

from tests import programs, rolekit  # isort: skip
from testbed import debian, paths

PROGRAM = rolekit.ROLES / "private_network/files/config/tunnels.py"
SUITE = "bookworm"  # whose C library is the oldest that the test bed runs on
PACKAGES = ("wireguard-tools", "wireguard-go")
HOME = programs.PROGRAMS / "tunnels"


def unusable() -> str:
    """Why there can be no such hosts on this machine, or nothing."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if subprocess.run(["unshare", "--net", "true"], check=False, capture_output=True).returncode != 0:
        return "this machine makes no network namespaces"
    if not Path("/dev/net/tun").exists():
        return "this machine has no /dev/net/tun"
    return ""


@cache
def binaries() -> str:
    """Folder with wg and wireguard-go of Debian's packages, fetched once."""
    folder = HOME / "usr/bin"
    with paths.locked(HOME.with_suffix(".lock")):
        if not (folder / "wireguard-go").is_file():
            with tempfile.TemporaryDirectory(dir=HOME.parent) as scratch:
                for deb in debian.download(SUITE, PACKAGES):
                    subprocess.run(["dpkg-deb", "-x", str(deb), f"{scratch}/root"], check=True)
                Path(f"{scratch}/root").rename(HOME)
    return str(folder)


def ip(*argv: str) -> None:
    """Run the command ip."""
    subprocess.run(["ip", *argv], check=True, capture_output=True, text=True)


class Host:
    """One host of a ``World``: its namespace, its folder, its tunnels."""

    def __init__(self, world: World, number: int) -> None:
        self.world, self.number, self.name = world, number, f"host{number}"
        self.space = f"{world.mark}{number}"
        self.home = world.home / self.name
        self.address, self.endpoint = f"10.99.0.{number}", f"10.77.0.{number}"
        self.interface = f"w{world.mark}{number}"
        self.reports = world.home / f"reports{number}"
        ip("netns", "add", self.space)
        ip("-n", world.bridge, "link", "add", f"p{number}", "type", "veth", "peer", "name", "eth0", "netns", self.space)
        ip("-n", world.bridge, "link", "set", f"p{number}", "master", "br0", "up")
        for command in ("address add {}/24 dev eth0", "link set lo up", "link set eth0 up"):
            ip("-n", self.space, *command.format(self.endpoint).split())
        self.public = self.tunnels("keys").strip()

    def run(self, *argv: str, check: bool = True) -> str:
        """Run a command in the host's namespace; return what it printed."""
        environment = {**os.environ, "PATH": f"{binaries()}:{os.environ['PATH']}"}
        done = subprocess.run(["ip", "netns", "exec", self.space, *argv], check=False, capture_output=True, text=True,
                              env=environment)  # fmt: skip
        assert not check or done.returncode == 0, f"{argv}: {done.stderr}"
        return done.stdout

    def tunnels(self, *argv: str, check: bool = True) -> str:
        """Run the role's program."""
        return self.run(sys.executable, str(PROGRAM), "--home", str(self.home), *argv, check=check)

    def config(self, peers: Sequence[Host], **more: Any) -> Dict[str, Any]:
        """What network.json says with these peers."""
        return {
            "interface": self.interface, "address": self.address, "subnet": "10.99.0.0/24", "port": 51820, "mtu": 1420,
            "keepalive": 25, "reports": str(self.reports), "public_key": self.public,
            "peers": [
                {"name": one.name, "address": one.address, "endpoint": one.endpoint, "port": 51820,
                 "public_key": one.public}
                for one in peers if one is not self
            ],
            **more,
        }  # fmt: skip

    def write(self, config: Dict[str, Any]) -> None:
        """Place network.json."""
        (self.home / "network.json").write_text(json.dumps(config))

    def proof(self, seconds: float = 10) -> Dict[str, Any]:
        """What the program says of the peers."""
        found: Dict[str, Any] = json.loads(self.tunnels("prove", str(seconds)))
        return found


class World:
    """Hosts that reach each other, until it is left."""

    def __init__(self, home: Path, count: int) -> None:
        self.home, self.mark = home, f"lf{os.getpid() % 10000}n"
        self.bridge = f"{self.mark}0"
        ip("netns", "add", self.bridge)
        ip("-n", self.bridge, "link", "add", "br0", "type", "bridge")
        ip("-n", self.bridge, "link", "set", "br0", "up")
        self.hosts = [Host(self, number + 1) for number in range(count)]

    def mesh(self, hosts: Optional[List[Host]] = None) -> None:
        """Let these hosts, or all, have tunnels to each other."""
        among = hosts or self.hosts
        for host in among:
            host.write(host.config(among))
        for host in among:
            host.tunnels("apply")

    def cut(self) -> None:
        """Let what hosts send reach nobody."""
        for host in self.hosts:
            ip("-n", self.bridge, "link", "set", f"p{host.number}", "nomaster")

    def join(self) -> None:
        """Let hosts reach each other again."""
        for host in self.hosts:
            ip("-n", self.bridge, "link", "set", f"p{host.number}", "master", "br0")

    def close(self) -> None:
        """Remove everything; wireguard-go ends with its interface."""
        for host in self.hosts:
            host.run("ip", "link", "del", "dev", host.interface, check=False)
            subprocess.run(["ip", "netns", "del", host.space], check=False, capture_output=True)
        subprocess.run(["ip", "netns", "del", self.bridge], check=False, capture_output=True)


class Pings(threading.Thread):
    """Asks a host through the tunnel every 20 ms, and knows the longest time without an answer."""

    def __init__(self, host: Host, address: str) -> None:
        super().__init__(daemon=True)
        script = (
            "import sys,time; sys.path.insert(0,sys.argv[1]); import wireguard as w; last=time.monotonic(); gap=0\n"
            "end=last+float(sys.argv[3])\n"
            "while time.monotonic()<end:\n"
            "    if w.answers([sys.argv[2]],0.1): now=time.monotonic(); gap=max(gap,now-last); last=now\n"
            "    time.sleep(0.02)\n"
            "print(round(max(gap, time.monotonic()-last),2))"
        )
        self.host, self.argv = host, [sys.executable, "-c", script, str(PROGRAM.parent), address]
        self.gap = float("inf")

    def begin(self, seconds: float) -> Pings:
        """Ask for some seconds."""
        self.argv.append(str(seconds))
        self.start()
        time.sleep(0.5)
        return self

    def run(self) -> None:
        """Ask until the time is over."""
        self.gap = float(self.host.run(*self.argv))

    def longest(self) -> float:
        """Seconds of the longest time without an answer."""
        self.join()
        return self.gap


class Follower(threading.Thread):
    """Lets a host follow those that replace their keys, in the background."""

    def __init__(self, host: Host, seconds: float = 8) -> None:
        super().__init__(daemon=True)
        self.host, self.seconds, self.said = host, seconds, ""
        self.start()

    def run(self) -> None:
        """Follow until nobody is left."""
        self.said = self.host.tunnels("follow", str(self.seconds))

    def left(self) -> List[str]:
        """Who has not come with a new key."""
        self.join()
        found: List[str] = json.loads(self.said)
        return found
