#!/usr/bin/env python3
"""Runs a scheduled command once, in a new container of its service or on the VPS, and tells how it went.

    run.py run|note|stop <unit>

It is started by systemd and lies beside its units on the VPS, each described by <unit>.json: standard library only,
nothing of Ansible or of the engine. What runs on the VPS itself (``argv``) speaks to systemd's journal. The
container of the last run stays until the next one, for `docker logs` and for whoever collects logs. How it
went is written for node-exporter, whole or not at all, and kept for the next run to count on.
"""

from __future__ import annotations

import calendar
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
from typing import Any, Dict, List, Mapping, Optional, Sequence

HERE = os.path.dirname(os.path.abspath(__file__))
COMPONENT = os.path.dirname(HERE)
ROOT = os.path.dirname(COMPONENT)
STATE = os.path.join(ROOT, ".state")
COMPOSE_PATIENCE = 600.0  # seconds for which a deploy of the component may be at work
NOT_STARTED, TIMED_OUT, STOPPED, BUSY = 125, 124, 143, 75
FIGURES = {
    "last_start_timestamp_seconds": "When the last run began.",
    "last_end_timestamp_seconds": "When the last run ended.",
    "last_success_timestamp_seconds": "When a run last ended well.",
    "last_duration_seconds": "How long the last run took.",
    "last_exit_status": "Exit status of the last run; 124 took too long, 125 did not start, 143 was stopped.",
    "running": "Whether a run is going on.",
    "next_run_timestamp_seconds": "When the next run is due.",
    "late_after_seconds": "How much later than due a run may begin.",
    "timeout_seconds": "How long a run may take.",
}


class Stop(Exception):
    """systemd asks for the end."""


def command(argv: Sequence[str], timeout: Optional[float] = None) -> subprocess.CompletedProcess[str]:
    """What a command said; its exit status is for the caller to judge. Raises TimeoutExpired."""
    return subprocess.run(
        list(argv), stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=timeout,
        check=False,
    )  # fmt: skip


def due(schedule: Sequence[str]) -> Optional[float]:
    """When systemd will start the next run, in seconds since 1970; None if never."""
    found = []
    for text in schedule:
        said = command(["systemd-analyze", "calendar", text], 30).stdout
        moment = re.search(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)(?:\.\d+)? UTC", said)
        if moment:
            parsed = time.strptime(moment.group(1) + " UTC", "%Y-%m-%d %H:%M:%S %Z")
            found.append(float(calendar.timegm(parsed)))
    return min(found) if found else None


class Unit:
    """One unit: ``spec`` is what it is, ``state`` how its runs went."""

    def __init__(self, name: str, spec: Mapping[str, Any]) -> None:
        self.spec = spec
        self.name = name
        self.path = os.path.join(STATE, "timers", name + ".json")
        self.state: Dict[str, Any] = {}
        try:
            with open(self.path, encoding="utf-8") as handle:
                kept = json.load(handle)
            self.state = kept if isinstance(kept, dict) else {}
        except (OSError, ValueError):
            pass

    @property
    def container(self) -> str:
        """The name of its container."""
        return str(self.spec["container"])

    # -- telling --------------------------------------------------------------------------------------------------

    def keep(self, **changes: Any) -> None:
        """Note ``changes`` and report them. What cannot be written is said and keeps no run from its work."""
        self.state.update(changes)
        self.state.update({key: self.spec[key] for key in ("timeout_seconds", "late_after_seconds")})
        self.state.update(container=self.container, job=self.spec["labels"]["scheduled_job"])
        self.state["reports"] = [os.path.join(ROOT, path) for path in self.spec["reports"]]
        try:
            os.makedirs(os.path.dirname(self.path), mode=0o700, exist_ok=True)
            write(self.path, json.dumps(self.state, sort_keys=True, indent=1), 0o600)
            for path in self.state["reports"]:
                if os.path.isdir(os.path.dirname(path)):
                    write(path, self.exposition(), 0o644)
        except OSError as error:
            print("cannot report: {0}".format(error), file=sys.stderr)

    def exposition(self) -> str:
        """The state as metrics, in Prometheus' text format."""
        labels = ",".join("{0}={1}".format(*pair) for pair in sorted(quoted(self.spec["labels"]).items()))
        lines = []
        for figure, meaning in FIGURES.items():
            if self.state.get(figure) is not None:
                name = "landfall_scheduled_" + figure
                lines += ["# HELP {0} {1}".format(name, meaning), "# TYPE {0} gauge".format(name)]
                lines.append("{0}{{{1}}} {2}".format(name, labels, self.state[figure]))
        name = "landfall_scheduled_runs_total"
        lines += ["# HELP {0} Runs that ended, by how they ended.".format(name), "# TYPE {0} counter".format(name)]
        runs = self.state.get("runs") or {}
        for result in ("success", "failure", "timeout"):
            lines.append('{0}{{{1},result="{2}"}} {3}'.format(name, labels, result, int(runs.get(result, 0))))
        return "\n".join(lines) + "\n"

    # -- running --------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Make and start the container. Raises RuntimeError with what Compose said."""
        self.remove_last()
        path = os.path.join(STATE, "compose-{0}.lock".format(os.path.basename(COMPONENT)))
        with open(path, "a", encoding="utf-8") as lock:
            wait_for(lock.fileno(), COMPOSE_PATIENCE)
            done = command(
                ["docker", "compose", "--ansi", "never", "--progress", "quiet", "--project-name", self.spec["project"],
                 "--project-directory", COMPONENT, "-f", os.path.join(COMPONENT, "compose.yaml"),
                 "-f", os.path.join(HERE, self.name + ".yaml"),
                 "run", "--detach", "--no-deps", "-T", "--interactive=false", "--name", self.container,
                 self.spec["service"]],
                300,
            )  # fmt: skip
        if done.returncode:
            raise RuntimeError((done.stderr.strip() or done.stdout.strip())[-2000:])

    def remove_last(self) -> None:
        """Remove the container of the last run. Raises RuntimeError where somebody else's has the name."""
        form = '{{index .Config.Labels "com.docker.compose.project"}} {{index .Config.Labels "org.landfall.job"}}'
        said = command(["docker", "container", "inspect", "--format", form, self.container], 60)
        if said.returncode == 0:
            if said.stdout.split() != [self.spec["project"], self.spec["labels"]["scheduled_job"]]:
                raise RuntimeError("the container {0} is there and is none of this job".format(self.container))
            command(["docker", "rm", "--force", self.container], 120)

    def end(self) -> None:
        """Stop the container, within its grace period, if it runs."""
        command(["docker", "stop", self.container], float(self.spec["grace_seconds"]) + 60)

    def wait(self) -> int:
        """The exit status of the command, TIMED_OUT when its time was over, STOPPED when systemd wants an end."""
        deadline = time.monotonic() + float(self.spec["timeout_seconds"])
        try:
            while True:
                done = command(["docker", "wait", self.container], max(0.0, deadline - time.monotonic()))
                if done.stdout.strip().isdigit():
                    return int(done.stdout.strip())
                if "No such container" in done.stderr:
                    raise RuntimeError("somebody removed the container while it ran")
                time.sleep(min(1.0, max(0.0, deadline - time.monotonic())))  # the engine is restarted, the run goes on
        except subprocess.TimeoutExpired:
            self.end()
            return TIMED_OUT
        except Stop:
            self.end()
            return STOPPED

    def run(self) -> int:
        """One run, from its beginning to its report; the exit status is the command's own."""
        began, clock = time.time(), time.monotonic()
        self.keep(running=1, last_start_timestamp_seconds=round(began, 3))
        try:
            self.start()
            status = self.wait()
        except Stop:
            self.end()
            status = STOPPED
        except (RuntimeError, OSError, subprocess.TimeoutExpired) as error:
            print("{0}: it did not run to its end: {1}".format(self.name, error), file=sys.stderr)
            status = NOT_STARTED
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # what is left to do takes a moment
        took = round(time.monotonic() - clock, 3)
        result = "success" if status == 0 else "timeout" if status == TIMED_OUT else "failure"
        runs = dict(self.state.get("runs") or {})
        runs[result] = int(runs.get(result, 0)) + 1
        ended = round(time.time(), 3)
        self.keep(
            running=0, last_end_timestamp_seconds=ended, last_duration_seconds=took, last_exit_status=status, runs=runs,
            next_run_timestamp_seconds=due(self.spec["schedule"]),
            **({"last_success_timestamp_seconds": ended} if status == 0 else {}),
        )  # fmt: skip
        self.tell(status, took)
        return status

    def tell(self, status: int, took: float) -> None:
        """What systemd's journal keeps: how it ended, and of a failed run its last lines."""
        words = {0: "ended well", TIMED_OUT: "was stopped, as it took too long", STOPPED: "was stopped"}
        print("{0}: {1} after {2:.1f} s".format(self.name, words.get(status, "failed with {0}".format(status)), took))
        said = self.said() if status not in (0, NOT_STARTED) else ""
        if said:
            print("its last lines:\n{0}".format(said))

    def said(self) -> str:
        """The last lines of a run."""
        done = command(["docker", "logs", "--tail", "20", self.container], 60)
        return (done.stdout + done.stderr).strip()[-4000:]


class HostUnit(Unit):
    """One unit whose command is a process of the VPS."""

    process: Optional[subprocess.Popen[bytes]] = None

    def start(self) -> None:
        """Start the process in a group of its own."""
        self.process = subprocess.Popen(self.spec["argv"], stdin=subprocess.DEVNULL, start_new_session=True)

    def end(self) -> None:
        """Ask the process for its end; after its grace period, end it and all that it started."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(float(self.spec["grace_seconds"]))
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def wait(self) -> int:
        """As of a container; of a process that a signal ended, 128 and the signal's number."""
        if self.process is None:
            return NOT_STARTED
        try:
            status = self.process.wait(float(self.spec["timeout_seconds"]))
            return status if status >= 0 else 128 - status
        except subprocess.TimeoutExpired:
            self.end()
            return TIMED_OUT
        except Stop:
            self.end()
            return STOPPED

    def said(self) -> str:
        """Nothing: what it says is in the journal already."""
        return ""


def load(name: str) -> Unit:
    """The unit of this name. Raises OSError or ValueError."""
    with open(os.path.join(HERE, name + ".json"), encoding="utf-8") as handle:
        spec = json.load(handle)
    return (HostUnit if "argv" in spec else Unit)(name, spec)


def quoted(labels: Mapping[str, str]) -> Dict[str, str]:
    """Values of labels as the text format wants them."""
    return {key: json.dumps(value, ensure_ascii=False) for key, value in labels.items()}


def write(path: str, text: str, mode: int) -> None:
    """Write a file so that a reader finds the old text or the new one."""
    temporary = path + ".new"
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w", encoding="utf-8") as handle:
        handle.write(text)
        os.fchmod(handle.fileno(), mode)
        handle.flush()
        os.fsync(handle.fileno())
    os.replace(temporary, path)


def wait_for(number: int, patience: float) -> None:
    """Have an open file's lock, which the engine holds while it changes the component. Raises RuntimeError."""
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError:
            if time.monotonic() > deadline:
                raise RuntimeError("a deploy of the component did not end in {0:.0f} s".format(patience)) from None
        time.sleep(0.2)


def main(arguments: List[str]) -> int:
    """Do what the command line asks for."""

    def stop(_number: int, _frame: Any) -> None:
        raise Stop

    verb, names = arguments[0], arguments[1:]
    units: Mapping[str, Unit] = {name: load(name) for name in names}
    if verb == "note":
        for unit in units.values():
            more = {} if unit.state.get("running") and _going_on(unit) else {"running": 0}
            unit.keep(next_run_timestamp_seconds=due(unit.spec["schedule"]), **more)
        return 0
    unit = units[names[0]]
    if verb == "stop":
        unit.end()
        return 0
    os.makedirs(os.path.dirname(unit.path), mode=0o700, exist_ok=True)
    with open(unit.path + ".lock", "a", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            print("{0}: another run goes on".format(unit.name), file=sys.stderr)
            return BUSY
        signal.signal(signal.SIGTERM, stop)
        return unit.run()


def _going_on(unit: Unit) -> bool:
    """Whether somebody has the lock of a run."""
    try:
        with open(unit.path + ".lock", "a", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
