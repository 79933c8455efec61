"""What listens on a VPS, and who reaches it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.landfall.vps.plugins.module_utils import exposure, sockets

TCP = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid
   0: 0100007F:2382 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0
   1: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0
   2: 01001EAC:238C 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0
   3: 00000000:1F90 0100007F:0050 01 00000000:00000000 00:00000000 00000000     0
"""
TCP6 = """  sl  local_address                         remote_address                        st
   0: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 0
   1: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 0A 0
   2: 0000000000000000FFFF00000100007F:1F90 00000000000000000000000000000000:0000 0A 0
   3: B80D0120000000000000000001000000:01BB 00000000000000000000000000000000:0000 0A 0
   4: 000080FE00000000FF005450B6AD1DFE:0222 00000000000000000000000000000000:0000 0A 0
"""


def test_listening_sockets_are_read_from_proc() -> None:
    assert sockets.listening(TCP) == [("127.0.0.1", 9090), ("0.0.0.0", 22), ("172.30.0.1", 9100)]  # noqa: S104 - read, not bound
    assert sockets.listening(TCP6) == [
        ("::", 80),
        ("::1", 80),
        ("127.0.0.1", 8080),
        ("2001:db8::1", 443),
        ("fe80::5054:ff:fe1d:adb6", 546),
    ]


@pytest.mark.parametrize(
    ("host", "private"),
    [
        *[(host, True) for host in ("127.0.0.1", "127.0.0.53%lo", "10.1.2.3", "172.16.0.1", "172.31.9.9")],
        *[(host, True) for host in ("192.168.1.1", "169.254.169.254", "100.64.0.1", "100.127.255.254")],
        *[(host, True) for host in ("::1", "[::1]", "fe80::1%eth0", "fd7a:115c:a1e0::1", "fc00::1", "::ffff:10.0.0.1")],
        *[(host, False) for host in ("0.0.0.0", "::", "172.32.0.1", "172.15.0.1", "100.128.0.1", "100.63.0.1")],  # noqa: S104
        *[(host, False) for host in ("8.8.8.8", "1.10.0.1", "2001:db8::1", "fec0::1", "::ffff:8.8.8.8", "", "eth0")],
        *[(host, False) for host in ("192.169.0.1", "11.0.0.1", "198.51.100.7", "10.evil.example")],
    ],
)
def test_which_addresses_are_reached_from_outside(host: str, private: bool) -> None:
    assert exposure.private(host) is private


def test_what_the_inventory_trusts_is_not_public() -> None:
    trusted = exposure.Trusted(["lo", "203.0.113.0/28", "198.51.100.7", "2001:db8:1::/48", "no-such-interface"])
    assert all(trusted.covers(host) for host in ("203.0.113.9", "198.51.100.7", "2001:db8:1::5", "10.0.0.1", "::1"))
    assert not any(trusted.covers(host) for host in ("203.0.113.16", "198.51.100.8", "2001:db8:2::1", "0.0.0.0", "::"))  # noqa: S104
    assert exposure.Trusted(["0.0.0.0/0"]).covers("0.0.0.0")  # noqa: S104 - asked for


def test_an_interface_stands_for_its_addresses() -> None:
    assert "127.0.0.1" in exposure.interface_addresses("lo")
    assert exposure.interface_addresses("no-such-interface") == []
    there = [path.name for path in Path("/sys/class/net").iterdir()]
    for name in [name for name in there if exposure.interface_addresses(name)]:
        address = exposure.interface_addresses(name)[0]
        assert exposure.Trusted([name]).covers(address)


def port_told(environment: dict[str, str], tmp_path: Path) -> str:
    """What a process says that is started, without that variable, by one whose environment is this."""
    child = f"import sys; sys.path[:0] = {sys.path!r}; from ansible_collections.landfall.vps.plugins.module_utils "
    child += "import exposure; print(exposure.ssh_port(22))"
    (tmp_path / "child.py").write_text(child)
    command = ["sh", "-c", f"env -u SSH_CONNECTION {sys.executable} {tmp_path}/child.py; true"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.strip()


def test_ssh_is_where_the_connection_came_in(tmp_path: Path) -> None:
    clean = {key: value for key, value in os.environ.items() if key != "SSH_CONNECTION"}
    assert port_told({**clean, "SSH_CONNECTION": "198.51.100.7 50000 192.0.2.1 2222"}, tmp_path) == "2222"
    assert port_told({**clean, "SSH_CONNECTION": "nonsense"}, tmp_path) == "22"


@pytest.mark.parametrize(("host", "text"), [("::", "[::]:80"), ("0.0.0.0", "0.0.0.0:80")])  # noqa: S104
def test_addresses_are_written_as_people_do(host: str, text: str) -> None:
    assert exposure.join(host, 80) == text
