"""Runs of Ansible against the VPS of this scenario, and a network namespace on it that is the world outside."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from testbed.paths import ROOT

VPS = "molecule-host"
HOME = ROOT / "molecule" / "host"
WORLD = """
set -e
ip netns list | grep -qw world && exit 0
ip netns add world
ip link add wan0 type veth peer name eth0 netns world
for key in all default; do echo 0 >/proc/sys/net/ipv6/conf/$key/disable_ipv6; done
ip netns exec world sh -c 'for key in all default eth0; do echo 0 >/proc/sys/net/ipv6/conf/$key/disable_ipv6; done'
echo 0 >/proc/sys/net/ipv6/conf/wan0/disable_ipv6
ip address add 192.0.2.1/24 dev wan0
ip -6 address add 2001:db8::1/64 dev wan0 nodad
ip link set wan0 up
ip netns exec world sh -ec 'ip address add 192.0.2.66/24 dev eth0; ip -6 address add 2001:db8::66/64 dev eth0 nodad
ip link set lo up; ip link set eth0 up'
"""
# Every TCP port at once: what answers, by SYN/ACK or by a refusal, is not hidden
SCAN = """
import errno, json, select, socket, sys, time
found = {"open": [], "closed": []}
def scan(family, address, ports):
    poll, waiting = select.epoll(), {}
    for port in ports:
        one = socket.socket(family, socket.SOCK_STREAM)
        one.setblocking(False)
        error = one.connect_ex((address, port))
        if error == errno.ECONNREFUSED:
            found["closed"].append(port)
            one.close()
            continue
        waiting[one.fileno()] = (one, port)
        poll.register(one.fileno(), select.EPOLLOUT | select.EPOLLERR | select.EPOLLHUP)
    end = time.monotonic() + 0.4
    while waiting and time.monotonic() < end:
        for number, event in poll.poll(0.1):
            one, port = waiting.pop(number)
            poll.unregister(number)
            error = one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            found["closed" if error else "open"].append(port)
            one.close()
    for one, _port in waiting.values():
        one.close()
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (9000, max(9000, resource.getrlimit(resource.RLIMIT_NOFILE)[1])))
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
for first in range(1, 65536, 8192):
    scan(family, sys.argv[1], range(first, min(first + 8192, 65536)))
print(json.dumps(found))
"""


class Vps:
    """The VPS, as root and from outside."""

    def run(self, command: str, text: str = "", *, check: bool = True) -> str:
        """Run a shell command as root and return what it printed."""
        argv = ["ssh", "-F", str(ROOT / ".cache/vps/ssh_config"), VPS, "sudo", "sh", "-c", f"'{command}'"]
        done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False, timeout=120)
        if check and done.returncode != 0:
            pytest.fail(f"{command}: {done.stdout}{done.stderr}")
        return done.stdout

    def scan(self, address: str) -> dict[str, list[int]]:
        """Return the TCP ports that answer the world at an address: open and closed."""
        found: dict[str, list[int]] = json.loads(self.run(f"ip netns exec world python3 - {address}", SCAN))
        return found

    def until(self, holds: Callable[[], bool], seconds: float) -> float:
        """Wait until something holds; return after how many seconds it did."""
        began = time.monotonic()
        while not holds():
            if time.monotonic() - began > seconds:
                pytest.fail(f"does not hold after {seconds} s")
            time.sleep(0.5)
        return time.monotonic() - began


@pytest.fixture(scope="session")
def vps() -> Iterator[Vps]:
    """Give the VPS with a world outside."""
    found = Vps()
    found.run("sh", WORLD)
    found.run("systemd-run --unit=by-ipv6 python3 -m http.server 8098 --bind ::", check=False)
    yield found
    found.run("systemctl stop by-ipv6; ip netns delete world")


@pytest.fixture(scope="session")
def play() -> Callable[..., subprocess.Popen[str]]:
    """Give what starts a run of Ansible with further variables."""

    def start(*more: str, **values: Any) -> subprocess.Popen[str]:
        inventories = [f"--inventory={ROOT}/molecule/shared/inventory.yml", f"--inventory={HOME}/hosts.yml"]
        argv = ["ansible-playbook", *inventories, str(HOME / "converge.yml"), "--extra-vars", json.dumps(values), *more]
        return subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                stdin=subprocess.DEVNULL, start_new_session=True)  # fmt: skip

    return start


@pytest.fixture
def only_once(tmp_path: Path) -> str:
    """Give options for ssh by which the first connection comes through and no further one: a way in that is lost."""
    came = tmp_path / "came"
    config = tmp_path / "ssh_config"
    config.write_text(
        f'Match exec "test -d {came} || ! mkdir {came}"\n  ProxyCommand sleep 3600\n'
        f"Match all\nInclude {ROOT}/.cache/vps/ssh_config\n"
    )
    return f'-F "{config}"'
