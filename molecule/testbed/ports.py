"""Ports of this machine for servers in containers, which no other container has or was promised."""

from __future__ import annotations

import json
import random
import socket
import subprocess
from collections.abc import Callable

from .paths import TestbedError, run

FIRST, LAST = 2200, 2599
TRIES = 20
SPREAD = 20  # who met another tries one of so many, so that both do not meet again
TAKEN = ("port is already allocated", "address already in use")


def promised(but: str = "") -> set[int]:
    """Return the ports that any container on this engine publishes, whoever made it, running or stopped.

    :param but: id of a container that does not count
    """
    ids = [one for one in run("docker", "ps", "--all", "--quiet", "--no-trunc").split() if one != but]
    # Where one was removed meanwhile, inspect fails and prints the others all the same
    form = '{"asked": {{json .HostConfig.PortBindings}}, "given": {{json .NetworkSettings.Ports}}}'
    shown = subprocess.run(["docker", "container", "inspect", "--format", form, *ids],
                           capture_output=True, check=False, text=True).stdout if ids else ""  # fmt: skip
    found = set()
    for line in shown.splitlines():
        if line.strip():
            for bindings in json.loads(line).values():
                found |= {int(one["HostPort"]) for each in (bindings or {}).values() for one in each or [] if
                          one["HostPort"].isdecimal()}  # fmt: skip
    return found


def is_open(port: int) -> bool:
    """Say whether somebody has a port of the loopback address."""
    with socket.socket() as probe:
        # Without the option a connection in TIME_WAIT would look like a user
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def free_port(skip: int = 0) -> int:
    """Return a port on the loopback address that nobody uses and no container, also a stopped one, was promised.

    :param skip: how many free ones to leave out, if there are so many
    :raises TestbedError: if there is none
    """
    taken, found = promised(), []
    for port in range(FIRST, LAST + 1):
        if port not in taken and not is_open(port):
            found.append(port)
            if len(found) > skip:
                break
    if found:
        return found[-1]
    raise TestbedError(f"no free port from {FIRST} to {LAST}; `docker ps --all` names those who were promised one")


def claim(create: Callable[[int], str], start: Callable[[str], object], drop: Callable[[str], object]) -> int:
    """Create and start a container on a port that is its own, whoever does the same at the same time.

    The engine is the referee, since it is what all checkouts share (a lock file is not, where some run in containers):
    a created container has been promised its port, and whoever then sees the port promised to another as well gives
    way. Of two, the one that created later always sees the other.

    :param create: makes a container that publishes the port; returns its id
    :param start: starts it
    :param drop: removes it
    :returns: the port
    :raises TestbedError: if it cannot be created or started for another reason, or no port can be had
    """
    skip = 0
    for _ in range(TRIES):
        port = free_port(skip)
        skip = random.randrange(SPREAD)  # noqa: S311 - no secret
        container = create(port)
        if port in promised(but=container):
            drop(container)
            continue
        try:
            start(container)
        except TestbedError as error:
            drop(container)
            if not any(text in str(error) for text in TAKEN):
                raise
            continue
        return port
    raise TestbedError(f"no port from {FIRST} to {LAST} could be had in {TRIES} attempts")
