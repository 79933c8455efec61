"""Which sockets listen on this host, for whom, and whose they are."""

from __future__ import annotations

import ipaddress
import os
import re
from typing import Any, Dict, Iterator, List, Sequence, Set, Tuple

PROC = "/proc"
LISTENING, UNCONNECTED, ESTABLISHED = "0A", "07", "01"
CONTAINER = re.compile(r"[0-9a-f]{64}")


def _address(raw: str) -> str:
    """The address that /proc writes as hexadecimal words in the machine's byte order."""
    packed = b"".join(bytes.fromhex(raw[place : place + 8])[::-1] for place in range(0, len(raw), 8))
    address = ipaddress.ip_address(packed)
    return str(getattr(address, "ipv4_mapped", None) or address)


def _bound(text: str, state: str) -> Iterator[Tuple[str, int, str]]:
    """(address, port, inode) of the sockets in ``state`` in the text of /proc/net/{tcp,udp}{,6} (man 5 proc)."""
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) < 4 or fields[3] != state:
            continue
        raw, _colon, port = fields[1].partition(":")
        try:
            yield _address(raw), int(port, 16), fields[9] if len(fields) > 9 else "0"
        except ValueError:
            continue


def listening(text: str) -> List[Tuple[str, int]]:
    """(address, port) of listening sockets in the text of /proc/net/tcp or tcp6."""
    return [(address, port) for address, port, _inode in _bound(text, LISTENING)]


def peers(text: str, all_texts: Sequence[str]) -> List[str]:
    """The other end of each connection in ``text`` that was made to a port which listens in ``all_texts``."""
    ports = {port for one in all_texts for _address_, port in listening(one)}
    found = []
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 3 and fields[3] == ESTABLISHED and int(fields[1].rpartition(":")[2], 16) in ports:
            found.append(_address(fields[2].partition(":")[0]))
    return found


def read_text(path: str) -> str:
    """The text of a file, empty where there is none that can be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as handle:
            return handle.read()
    except OSError:
        return ""


def listening_here() -> List[Tuple[str, int]]:
    """(address, port) of every listening TCP socket of this host."""
    return listening(read_text("/proc/net/tcp")) + listening(read_text("/proc/net/tcp6"))


def holders(inodes: Set[str], proc: str = PROC) -> Dict[str, Tuple[int, str, str]]:
    """Socket inode to (pid, program, container id or ""): the process with the lowest pid that has it open.

    Needs root for other users' processes. Stops as soon as all are known.
    """
    found: Dict[str, Tuple[int, str, str]] = {}
    try:
        pids = sorted(int(name) for name in os.listdir(proc) if name.isdigit())
    except OSError:
        return found
    for pid in pids:
        if inodes <= set(found):
            break
        folder = os.path.join(proc, str(pid))
        try:
            links = [os.readlink(os.path.join(folder, "fd", name)) for name in os.listdir(os.path.join(folder, "fd"))]
        except OSError:  # it ended, or one of its files was closed, meanwhile
            links = _links_one_by_one(os.path.join(folder, "fd"))
        mine = {link[8:-1] for link in links if link.startswith("socket:[")} & inodes - set(found)
        if mine:
            ids = CONTAINER.findall(read_text(os.path.join(folder, "cgroup")))
            holder = (pid, read_text(os.path.join(folder, "comm")).strip() or "?", ids[-1] if ids else "")
            found.update(dict.fromkeys(mine, holder))
    return found


def _links_one_by_one(folder: str) -> List[str]:
    result: List[str] = []
    try:
        names = os.listdir(folder)
    except OSError:
        return result
    for name in names:
        try:
            result.append(os.readlink(os.path.join(folder, name)))
        except OSError:
            continue
    return result


def listeners(proc: str = PROC) -> List[Dict[str, Any]]:
    """All listening TCP and unconnected UDP sockets: ``{protocol, address, port, pid, program, container}``.

    ``pid`` is 0 where the kernel itself listens or nobody could be found, ``container`` the id of a container that
    shares the host's network.
    """
    bound = []
    for protocol, state in (("tcp", LISTENING), ("udp", UNCONNECTED)):
        for suffix in ("", "6"):
            text = read_text(os.path.join(proc, "net", protocol + suffix))
            bound += [(protocol, *entry) for entry in _bound(text, state)]
    known = holders({inode for _protocol, _address_, _port, inode in bound if inode != "0"}, proc)
    result = {}
    for protocol, address, port, inode in bound:
        pid, program, container = known.get(inode, (0, "", ""))
        result[(protocol, address, port, pid)] = {
            "protocol": protocol,
            "address": address,
            "port": port,
            "pid": pid,
            "program": program,
            "container": container,
        }
    return list(result.values())
