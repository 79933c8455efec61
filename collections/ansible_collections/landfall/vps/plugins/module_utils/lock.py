"""One run at a time on a VPS.

A run is many short programs. While one of them works it holds an flock, which the kernel frees when the process dies.
Between two of them the run has a lease in the lock file, which the controller renews while it lives (see the
controller's ``keeper.py``) and gives back as soon as the run has ended. A lease counts seconds since the VPS was
booted, so that a clock that is set neither ends nor lengthens it, and one from before a reboot has ended.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from typing import Any, Callable, Dict, Iterator, Mapping, Optional

from ansible_collections.landfall.vps.plugins.module_utils.host import read_json
from ansible_collections.landfall.vps.plugins.module_utils.records import STATE_DIR
from ansible_collections.landfall.vps.plugins.module_utils.shapes import discard

LEASE_SECONDS = 60
PATIENCE = 3.0
"""Seconds for which a run that is not alone waits: one that has just ended, or renews its lease, is gone by then."""
AGAIN = 0.5
"""Seconds between two tries of a run that waits for its turn."""
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Locked(Exception):
    """Another run holds the VPS; the message says who, since when, doing what and when the lease ends."""


def _now() -> float:
    return time.clock_gettime(_CLOCK)


def _boot() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as handle:
            return handle.read().strip()
    except OSError:
        return ""


def _left(holder: Dict[str, Any]) -> float:
    """Seconds for which a lease still holds, 0 or less when it has ended."""
    try:
        old = "boot" not in holder  # written by the version before, which asked the wall clock
        left = float(holder.get("until", 0)) - (time.time() if old else _now())
    except (TypeError, ValueError, OverflowError):
        return 0.0
    # No run writes a longer one: that is damage, or a clock that was set back, and would keep everybody out for ever
    return left if (old or holder["boot"] == _boot()) and 0 < left <= LEASE_SECONDS + 1 else 0.0


def _describe(holder: Optional[Dict[str, Any]], working: bool) -> str:
    holder = holder or {}
    try:
        since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(float(holder.get("since", time.time()))))
    except (TypeError, ValueError, OverflowError, OSError):
        since = "an unknown time"
    text = "another run is in progress on this VPS: {0}, since {1}, doing '{2}'.".format(
        holder.get("who", "unknown"), since, holder.get("doing", "unknown")
    )
    if working:
        return text + " It is working right now; run again when it has ended."
    left = max(1, int(_left(holder)))
    return text + " If that run is dead and could not say so, its lock frees itself in {0} s.".format(left)


class Lock:
    """The lock of one VPS, as seen by the run ``run`` (a unique text) of ``who`` (a name for people).

    ``dead`` is a run that the controller knows to have ended, ``holder`` what it will need to know that of this one.
    """

    def __init__(
        self, root: str, run: str, who: str, dead: str = "", holder: Optional[Mapping[str, Any]] = None
    ) -> None:
        self._state = os.path.join(root, STATE_DIR)
        self._path = os.path.join(self._state, "lock")
        self._ended = os.path.join(self._state, "lock.ended")
        self._last = os.path.join(self._state, "last-run")
        self._run = run
        self._who = who
        self._free_for = (run, dead or run)
        self._holder = dict(holder or {})
        self._guard: Optional[int] = None

    def acquire(self, doing: str, resumed: bool = False) -> None:
        """Take the lock for this program. Raises Locked when another run has it.

        ``resumed`` says that an earlier program of this run had it: then nobody else may have worked here since, since
        this run planned for a VPS that it had to itself.
        """
        os.makedirs(self._state, mode=0o700, exist_ok=True)
        os.chmod(self._state, 0o700)
        self._guard = self._flock(PATIENCE)
        try:
            holder = self._wait_for_lease(PATIENCE)
            if resumed and read_text(self._last) not in ("", self._run):
                raise Locked("another run has worked on this VPS since this one began; start this one again")
            if read_text(self._ended) == self._run:
                raise Locked("the run that this program belongs to has ended; run again")
            discard(self._ended)  # of a run that will not come any more
            mine = holder is not None and holder.get("run") == self._run
            before = holder if holder and mine else {}
            # By which another run of the same controller can tell that this one is gone, and its keeper with it
            told = {"holder": self._holder or before.get("holder")}
            self._write({"since": before.get("since") or time.time(), "doing": doing, **told})
            _put(self._last, self._run)
        except BaseException:
            self._close()
            raise

    def acquire_within(self, seconds: float, doing: str, tell: Callable[[str], None] = lambda _line: None) -> None:
        """As ``acquire``; while another run has the VPS it is tried again for so many seconds. Raises Locked.

        ``tell`` is given a line each time that somebody else, or something else, is waited for. Who of several comes
        next is nobody's promise.
        """
        deadline, said = time.monotonic() + seconds, ""
        while True:
            try:
                return self.acquire(doing)
            except Locked as error:
                if time.monotonic() >= deadline:
                    waited = "; waited {0:.0f} s for it".format(seconds) if seconds else ""
                    raise Locked("{0}{1}".format(error, waited)) from None
                who = "{0}, '{1}'".format(*((self.holder() or {}).get(key, "unknown") for key in ("who", "doing")))
            if who != said:
                tell("waiting up to {0:.0f} s for {1}".format(max(0.0, deadline - time.monotonic()), who))
                said = who
            time.sleep(AGAIN)

    def _flock(self, patience: float) -> int:
        if os.path.isdir(self._path + ".guard"):  # which nobody can have locked
            discard(self._path + ".guard")
        guard = os.open(self._path + ".guard", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return guard
            except OSError:
                if time.monotonic() > deadline:
                    os.close(guard)
                    raise Locked(_describe(read_json(self._path), True)) from None
            time.sleep(0.05)

    def _wait_for_lease(self, patience: float) -> Optional[Dict[str, Any]]:
        """What the lock file says once no other run has a lease. The flock is lent meanwhile, so that it can end."""
        deadline = time.monotonic() + patience
        while True:
            holder = read_json(self._path)
            # "working" and yet the flock was free: that process died in the middle, nothing is left to wait for
            if not holder or holder.get("run") in self._free_for or holder.get("working") or _left(holder) <= 0:
                return holder
            if time.monotonic() > deadline:
                raise Locked(_describe(holder, False))
            self._close()
            time.sleep(0.1)
            self._guard = self._flock(max(0.1, deadline - time.monotonic()))

    @contextlib.contextmanager
    def held(self, doing: str, resumed: bool = False) -> Iterator[None]:
        """Have the lock within the block and the lease after it. Raises Locked."""
        self.acquire(doing, resumed)
        try:
            yield
        finally:
            self.keep()

    def holder(self) -> Optional[Dict[str, Any]]:
        """What the lock file says of who has the VPS."""
        return read_json(self._path)

    def was_last(self) -> bool:
        """Whether no other run has had the VPS since this one had it."""
        return read_text(self._last) == self._run

    def doing(self, text: str) -> None:
        """Tell others what is being done now."""
        if self._guard is not None:
            with contextlib.suppress(OSError):  # a full disk has no say in who holds the VPS
                self._write({**(read_json(self._path) or {}), "doing": text})

    def keep(self) -> None:
        """End this program's work, keep the lease for the run's next one; a run that has ended keeps none."""
        if self._guard is None:
            return
        if read_text(self._ended) != self._run:
            holder = read_json(self._path) or {}
            try:
                said = "between components, last {0}".format(holder.get("doing"))
                self._write({**holder, "doing": said}, working=False)
            except OSError:  # it stays "working" without its flock: free for everybody, as after a process that died
                pass
            finally:
                self._close()
        # Asked once the flock is free: whoever brings that word from now on can give the lease back itself
        if read_text(self._ended) == self._run:
            self.release()

    def renew(self) -> bool:
        """Lengthen the lease; return whether this run still has the lock."""
        try:
            guard = self._flock(0.0)
        except (Locked, OSError):
            holder = read_json(self._path)  # a program is at work: the lease is not what keeps others out
            return bool(holder and holder.get("run") == self._run)
        self._guard = guard
        holder = read_json(self._path)
        mine = bool(holder and holder.get("run") == self._run)
        if holder and mine:
            self._write(holder, working=False)
        self._close()
        return mine

    def end(self) -> None:
        """The run has ended: give its lease back now, or let the program that still works, or is on its way, do so."""
        holder = read_json(self._path) or {}
        if holder.get("run") != self._run and _left(holder) > 0:
            return  # somebody else has the VPS, and keeps it from whatever is on its way
        os.makedirs(self._state, mode=0o700, exist_ok=True)
        with contextlib.suppress(OSError):
            _put(self._ended, self._run)
        if holder.get("run") != self._run:
            return
        try:
            self._guard = self._flock(0.0)
        except (Locked, OSError):
            return
        self.release()

    def release(self) -> None:
        """Give the VPS free, if this run has it. Where the disk refuses, the lease ends by itself."""
        if self._guard is None:
            if (read_json(self._path) or {}).get("run") != self._run:
                return
            try:
                self._guard = self._flock(1.0)
            except (Locked, OSError):
                return  # a program is at work, and gives back itself what this run has
        holder = read_json(self._path)
        with contextlib.suppress(OSError):
            if holder and holder.get("run") == self._run:
                os.unlink(self._path)
            if read_text(self._ended) == self._run:
                os.unlink(self._ended)
        self._close()

    def _close(self) -> None:
        if self._guard is not None:
            os.close(self._guard)
            self._guard = None

    def _write(self, value: Dict[str, Any], working: bool = True) -> None:
        more = {
            "run": self._run,
            "who": self._who,
            "working": working,
            "boot": _boot(),
            "until": _now() + LEASE_SECONDS,
        }
        temporary = "{0}.{1}".format(self._path, os.getpid())
        try:
            with open(
                os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8"
            ) as handle:
                json.dump({**value, **more}, handle, sort_keys=True)
            if os.path.isdir(self._path):
                discard(self._path)
            os.replace(temporary, self._path)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise


def _put(path: str, text: str) -> None:
    if os.path.isdir(path):
        discard(path)
    with open(path, "w", encoding="utf-8") as handle:
        handle.write(text)


def read_text(path: str) -> str:
    """The text of a small file, empty when there is none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as handle:
            return handle.read().strip()
    except OSError:
        return ""
