"""Running programs, throw-away containers, whole files: what the other parts of this package share."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import threading
import time
from typing import IO, Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

MARK = "org.landfall.backup"
"""Label of the containers that a backup starts; its value is the stack."""
PATIENCE = 120.0  # seconds for what is only asked


class Fault(Exception):
    """Something failed; the message says what and what would be right."""


class Stop(BaseException):
    """Somebody asks for the end."""


SAID: List[str] = []
"""What was told so far."""


def say(text: str) -> None:
    """A line for whoever started the program, at once."""
    SAID.append(text)
    print(text, flush=True)


def last_lines(text: bytes, count: int = 4) -> str:
    """The last lines of what a program said, as one."""
    lines = [line.strip() for line in text.decode("utf-8", "replace").splitlines() if line.strip()]
    return " / ".join(lines[-count:])[-1500:]


def run(argv: Sequence[str], given: Optional[bytes] = None, timeout: float = PATIENCE) -> bytes:
    """What a program printed. Raises Fault where it fails or takes longer than ``timeout`` seconds."""
    status, out, err = attempt(argv, given, timeout)
    if status:
        raise Fault("{0} failed ({1}): {2}".format(named(argv), status, last_lines(err or out)))
    return out


def attempt(argv: Sequence[str], given: Optional[bytes] = None, timeout: float = PATIENCE) -> Tuple[int, bytes, bytes]:
    """(exit status, output, errors) of a program. Raises Fault where it takes longer than ``timeout`` seconds."""
    feed: Dict[str, Any] = {"stdin": subprocess.DEVNULL} if given is None else {"input": given}
    try:
        done = subprocess.run(list(argv), capture_output=True, timeout=timeout, check=False, **feed)
    except subprocess.TimeoutExpired:
        raise Fault("{0} took longer than {1:.0f} s".format(named(argv), timeout)) from None
    except OSError as error:
        raise Fault("{0} cannot be run: {1}".format(named(argv), error)) from error
    return done.returncode, done.stdout, done.stderr


def named(argv: Sequence[str]) -> str:
    """A command as people know it: the first words, without what is long."""
    return " ".join(word for word in argv[:8] if len(word) < 60)


class Reader:
    """Keeps what a program says of errors while somebody else reads its output."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.text = b""
        self._thread = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self._thread.start()

    def _read(self, stream: IO[bytes]) -> None:
        for block in iter(lambda: stream.read(4096), b""):
            self.text = (self.text + block)[-(1 << 22) :]

    def all(self) -> bytes:
        """What was said, once the stream has ended."""
        self._thread.join(PATIENCE)
        return self.text


def there(stream: Optional[IO[bytes]]) -> IO[bytes]:
    """A stream that was asked for when its process was started."""
    if stream is None:
        raise Fault("a program was started without the stream that is read")
    return stream


@contextlib.contextmanager
def writing(argv: Sequence[str]) -> Iterator[Tuple[subprocess.Popen[bytes], Reader]]:
    """A program whose output is read while it runs, and what it says of errors. It is ended with the block."""
    process = subprocess.Popen(list(argv), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        yield process, Reader(there(process.stderr))
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        there(process.stdout).close()


def piped(source: Sequence[str], target: Sequence[str]) -> Tuple[int, bytes, int, bytes]:
    """Feed the output of one program to another: (status, errors) of the first, then of the second."""
    with writing(source) as (first, said):
        second = subprocess.Popen(list(target), stdin=first.stdout, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        there(first.stdout).close()  # so that the first is told when the second ends
        try:
            _nothing, errors = second.communicate()
        finally:
            if second.poll() is None:
                second.kill()
                second.wait()
        return first.wait(), said.all(), second.returncode, errors


# -- files --------------------------------------------------------------------------------------------------------


def write_whole(path: str, text: str, mode: int) -> None:
    """Write a file so that a reader finds the old text or the new one. Raises OSError."""
    temporary = path + ".new"
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w", encoding="utf-8") as handle:
        handle.write(text)
        os.fchmod(handle.fileno(), mode)
        handle.flush()
        os.fsync(handle.fileno())
    os.replace(temporary, path)


def read_json(path: str) -> Dict[str, Any]:
    """The object in a JSON file; nothing where it is absent or damaged."""
    try:
        with open(path, encoding="utf-8") as handle:
            value = json.load(handle)
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def stamp(moment: float) -> str:
    """A moment as it stands in names: 20261127t031500."""
    return time.strftime("%Y%m%dt%H%M%S", time.gmtime(moment))


def size(amount: float) -> str:
    """Bytes for people."""
    for unit in ("B", "kB", "MB"):
        if amount < 1000:
            return "{0:.0f} {1}".format(amount, unit)
        amount /= 1000
    return "{0:.1f} GB".format(amount)


# -- containers ---------------------------------------------------------------------------------------------------


def inspect(container: str) -> Dict[str, Any]:
    """What the engine says of a container. Raises Fault where there is none."""
    found: List[Dict[str, Any]] = json.loads(run(["docker", "container", "inspect", container]))
    return found[0]


def mountpoint(volume: str) -> str:
    """Where the files of a volume lie on the VPS. Raises Fault where there is no such volume."""
    status, out, _err = attempt(["docker", "volume", "inspect", "--format", "{{.Mountpoint}}", volume])
    place = out.decode().strip()
    if status or not os.path.isdir(place):
        raise Fault("there is no volume {0}; deploy the stack first (site.yml)".format(volume))
    return place


def using(volume: str) -> List[str]:
    """Names of the running containers that mount a volume."""
    argv = ["docker", "container", "ls", "--filter", "volume=" + volume, "--format", "{{.Names}}"]
    return run(argv).decode().split()


def sweep(stack: str) -> None:
    """Remove the containers that an earlier run left, which died."""
    argv = ["docker", "container", "ls", "--all", "--quiet", "--filter", "label={0}={1}".format(MARK, stack)]
    left = run(argv).decode().split()
    if left:
        run(["docker", "rm", "--force", "--volumes", *left])


@contextlib.contextmanager
def throw_away(name: str, stack: str, image: str, options: Sequence[str], argv: Sequence[str]) -> Iterator[str]:
    """A container without network or rights that is gone with the block. Raises Fault where it does not start."""
    hard = ["--network=none", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges:true", "--init",
            "--pids-limit=256", "--label={0}={1}".format(MARK, stack), "--pull=never"]  # fmt: skip
    try:
        run(["docker", "run", "--detach", "--name", name, *hard, *options, image, *argv])
        yield name
    finally:
        attempt(["docker", "rm", "--force", "--volumes", name])


def until(name: str, asked: Sequence[str], seconds: float, wanted: Mapping[str, str]) -> bytes:
    """What a command in a container answers once it succeeds and has the words ``wanted`` (text to what else to do).

    Raises Fault with the last lines of the container where it ends before or takes longer.
    """
    deadline = time.monotonic() + seconds
    while True:
        status, out, _err = attempt(["docker", "exec", name, *asked])
        if status == 0 and all(word.encode() in out for word in wanted):
            return out
        running = attempt(["docker", "container", "inspect", "--format", "{{.State.Running}}", name])[1]
        if time.monotonic() > deadline or running.strip() != b"true":
            out, err = attempt(["docker", "logs", "--tail", "20", name])[1:]
            raise Fault("{0} did not serve: {1}".format(name, last_lines(out + err)))
        time.sleep(0.2)
