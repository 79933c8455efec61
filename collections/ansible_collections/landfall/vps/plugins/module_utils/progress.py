"""What a program on the VPS is doing, while it does it: lines of a file that the controller reads meanwhile.

Only a program that was told where says anything (``begin``); everywhere else saying something costs nothing.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading
from typing import IO, Any, Callable, Dict, List, Mapping, Sequence, Tuple

STEP = re.compile(
    r"^(?:#\d+ \[(?:[^\]]* )?(?P<at>\d+)/(?P<of>\d+)\]|Step (?P<old_at>\d+)/(?P<old_of>\d+) :) (?P<what>.*)"
)
FAILED = re.compile(r"^(#\d+) ERROR")
LAYER = re.compile(r"^(?P<layer>[0-9a-f]{6,}): (?P<state>Pulling fs layer|Already exists|Pull complete)")
PLACE = "/run/landfall-{0}"
"""Where a program says what it does, by a name that nobody else has."""
LONGEST = 160
"""Characters of a line; what is said is for people."""
_lock = threading.Lock()
_file: List[Any] = []
_last: Dict[str, str] = {}


class _Aloud:
    """Takes lines of that file and hands them on."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell

    def write(self, line: str) -> None:
        self._tell(line.strip().replace("\t", ": ", 1))

    def flush(self) -> None:
        """What is handed on waits for nothing."""


def aloud(tell: Callable[[str], None]) -> None:
    """Say from now on what is done to ``tell``, a line each."""
    _file.append(_Aloud(tell))


def begin(path: str) -> None:
    """Say from now on what is done, in a new file that only this user may read; where there can be none, in none."""
    try:
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError:
        return
    _file.append(os.fdopen(number, "w", encoding="utf-8"))


def end(path: str) -> None:
    """Say nothing any more, and remove the file."""
    while _file:
        _file.pop().close()
        os.unlink(path)


def say(who: str, what: str) -> None:
    """Say what component ``who`` is doing or waits for, if that is news."""
    line = " ".join(what.split())[:LONGEST]
    with _lock:
        if not _file or _last.get(who) == line:
            return
        _last[who] = line
        _file[0].write("{0}\t{1}\n".format(who, line))
        _file[0].flush()


def run(
    argv: Sequence[str], stdin: IO[bytes], timeout: float, env: Mapping[str, str], image: str
) -> subprocess.CompletedProcess[bytes]:
    """As ``run_quietly``, with both outputs as one; says how far a pull or build of ``image`` is."""
    started = subprocess.Popen(
        list(argv),
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=dict(env),
        start_new_session=True,
    )
    late = threading.Event()

    def end() -> None:
        late.set()
        _end(started)

    killer = threading.Timer(timeout, end)
    killer.start()
    said: List[bytes] = []
    layers: Dict[str, bool] = {}
    try:
        with started:
            for line in started.stdout or ():
                said.append(line)
                news = told(line.decode("utf-8", "replace"), layers)
                if news:
                    say(image, news)
    finally:
        killer.cancel()
    if late.is_set():
        raise subprocess.TimeoutExpired(list(argv), timeout)
    return subprocess.CompletedProcess(list(argv), started.returncode, b"".join(said), b"")


def run_quietly(
    argv: Sequence[str], stdin: IO[bytes], timeout: float, env: Mapping[str, str]
) -> subprocess.CompletedProcess[bytes]:
    """As ``subprocess.run``; what takes longer than ``timeout`` seconds is ended with all that it started.

    ``docker compose`` and ``docker build`` are programs that ``docker`` starts, and go on without it. Raises
    TimeoutExpired and OSError.
    """
    started = subprocess.Popen(
        list(argv),
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=dict(env),
        start_new_session=True,
    )
    with started:
        try:
            said, errors = started.communicate(timeout=timeout)
        except BaseException:
            _end(started)
            raise
    return subprocess.CompletedProcess(list(argv), started.returncode, said, errors)


def _end(started: subprocess.Popen[bytes]) -> None:
    """End a program that leads its session, and all that it started there."""
    if started.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)


def told(line: str, layers: Dict[str, bool]) -> str:
    """What a line of ``docker pull`` or ``docker build`` says of how far it is; empty if nothing.

    ``layers`` keeps which ones there are, and whether each is there already.
    """
    step = STEP.match(line)
    if step:
        at, of = step.group("at") or step.group("old_at"), step.group("of") or step.group("old_of")
        return "step {0} of {1}: {2}".format(at, of, step.group("what").strip())
    layer = LAYER.match(line)
    if not layer:
        return ""
    layers[layer.group("layer")] = layer.group("state") in ("Already exists", "Pull complete")
    return "{0} of {1} layers are there".format(sum(layers.values()), len(layers))


def failed_step(text: str) -> str:
    """The step of a Dockerfile at which a build ended, as ``3 of 5: RUN make``; empty if it came to none.

    BuildKit runs steps side by side and says which one failed; the older builder stops at it.
    """
    steps: Dict[str, str] = {}
    last = failed = ""
    for line in text.splitlines():
        error = FAILED.match(line)
        if error:
            failed = steps.get(error.group(1), failed)
        step = told(line, {}) if STEP.match(line) else ""
        if step:
            last = steps[line.partition(" ")[0]] = step[len("step ") :]
    return failed or ("" if any(number.startswith("#") for number in steps) else last)


def latest(text: str, seen: Dict[str, str]) -> List[Tuple[str, str]]:
    """The last line of each, ``(who, what)``, of a file of this kind, where it is not in ``seen``, which learns it."""
    now: Dict[str, str] = {}
    for line in text.splitlines():
        who, tab, what = line.partition("\t")
        if tab:
            now.pop(who, None)  # in the order in which they spoke last
            now[who] = what
    news: List[Tuple[str, str]] = [(who, what) for who, what in now.items() if seen.get(who) != what]
    seen.update(news)
    return news
