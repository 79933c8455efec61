"""Where things lie, and the few helpers that every part uses."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ROOT / "molecule" / "images"
CACHE = ROOT / ".cache"
# Tells this checkout from others that share the engine: part of every name that all of them would choose alike
CHECKOUT = hashlib.sha256(str(ROOT).encode()).hexdigest()[:6]


class TestbedError(Exception):
    """Something that the user has to put right; the message says what."""

    __test__ = False


def run(*argv: str, env: dict[str, str] | None = None, stdin: bytes | None = None) -> str:
    """Run a program and return what it printed.

    :param argv: the program and its arguments
    :param env: its whole environment; the caller's by default
    :param stdin: what it reads
    :raises TestbedError: if it fails, with the end of its output
    """
    done = subprocess.run(argv, env=env, input=stdin, capture_output=True, check=False)
    if done.returncode != 0:
        tail = (done.stdout + done.stderr).decode(errors="replace").strip().splitlines()[-25:]
        raise TestbedError(f"{' '.join(argv)[:300]}\nexit status {done.returncode}\n" + "\n".join(tail))
    return done.stdout.decode(errors="replace").strip()


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let one process of this checkout at a time do something.

    :param path: the lock's file, made if need be
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


class Progress:
    """Prints one line per finished step with the seconds since the start."""

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self.start = time.monotonic()

    def say(self, text: str) -> None:
        """Print a line at once, so that it is seen while the next step runs."""
        sys.stdout.write(f"{self.topic}: {time.monotonic() - self.start:6.1f} s  {text}\n")
        sys.stdout.flush()
