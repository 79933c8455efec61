"""`make test` and `make check`: stages side by side, since most of a scenario's time is waiting.

Each stage writes into a file of its own, which is printed whole when it ends, so that nothing is interleaved. Lines in
between say what runs, since when, and what it said last.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree  # of files that pytest wrote here

from .paths import CACHE, ROOT, TestbedError

HOME = CACHE / "stages"
# The longest first: whoever waits for it then waits least. What is not named here comes after, by name.
LONGEST = ("default", "update", "release", "services")
SMOKE = "smoke"  # what `make check` deploys; the others deploy more
BESIDE = 4  # stages at once, where there are as many cores
GIGABYTES = 5  # memory of a stage: a VPS with the whole stack, and the tests that ask it
TELL_EVERY = 60.0  # seconds
SLOWEST = 10
MAKE = ("make", "--no-print-directory")
# What is read later, and by machines, has no colours and lines of a fixed length
PLAIN = {"NO_COLOR": "1", "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0", "PY_COLORS": "0", "COLUMNS": "200",
         "PYTHONUNBUFFERED": "1"}  # fmt: skip
ESCAPE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


@dataclass(frozen=True)
class Stage:
    """One part of the tests: what it runs, and what must have passed before."""

    name: str
    argv: tuple[str, ...]
    after: tuple[str, ...] = ()


@dataclass
class Result:
    """How a stage ended."""

    stage: Stage
    begun: float  # seconds since the start of all
    seconds: float
    status: int | None  # None: not run, since what it needs failed

    @property
    def verdict(self) -> str:
        """In words."""
        if self.status is None:
            return f"not run: needs {', '.join(self.stage.after)}"
        return "passed" if self.status == 0 else f"FAILED ({self.status})"


def scenarios() -> list[str]:
    """Return the scenarios of `make test`, in the order in which they are best begun."""
    found = {path.parent.name for path in (ROOT / "molecule").glob("*/molecule.yml")} - {SMOKE}
    return [name for name in LONGEST if name in found] + sorted(found.difference(LONGEST))


def molecule(scenario: str) -> Stage:
    """Return the stage of one scenario."""
    return Stage(f"molecule {scenario}", (*MAKE, "molecule", f"SCENARIO={scenario}"), after=("images",))


def plan(wanted: list[str]) -> list[Stage]:
    """Return all stages of `make test`, in the order in which they may begin.

    :param wanted: names of the scenarios
    """
    first, *others = map(molecule, wanted) if wanted else (None,)
    return [
        Stage("environments", (*MAKE, "environments")),
        Stage("images", (*MAKE, "images")),
        *([first] if first else []),
        Stage("lint", (*MAKE, "lint"), after=("environments",)),
        Stage("unit", (*MAKE, "unit"), after=("environments",)),
        Stage("app-test", (*MAKE, "app-test"), after=("environments",)),
        Stage("cores", (*MAKE, "cores"), after=("images",)),
        Stage("installed", (*MAKE, "installed"), after=("images",)),
        Stage("upgrade", (*MAKE, "upgrade"), after=("images",)),
        *others,
    ]


def check() -> list[Stage]:
    """Return the stages of `make check`: what daily work needs to know within minutes."""
    return [stage for stage in plan([SMOKE]) if stage.name not in {"app-test", "cores", "installed", "upgrade"}]


def beside(environment: Mapping[str, str] = os.environ) -> int:
    """Return how many stages run at once: what the variable JOBS says, otherwise what cores and memory allow.

    :raises TestbedError: JOBS is no number above 0
    """
    wanted = environment.get("JOBS", "")
    if wanted:
        if not wanted.isdecimal() or int(wanted) < 1:
            raise TestbedError(f"JOBS: must be a number of 1 or more, not {wanted!r}")
        return int(wanted)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return max(1, min(BESIDE, os.cpu_count() or 1, int(memory / GIGABYTES)))


class Runner:
    """Runs stages, as many at once as allowed, each as soon as what it needs has passed."""

    def __init__(self, stages: list[Stage], jobs: int, home: Path = HOME) -> None:
        self.waiting, self.jobs, self.home = list(stages), jobs, home
        self.names = {stage.name for stage in stages}
        self.start = time.monotonic()
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.since: dict[str, float] = {}
        self.results: dict[str, Result] = {}
        self.turn = threading.Condition()

    def log(self, name: str) -> Path:
        """Return the file with all that a stage printed."""
        return self.home / f"{name.replace(' ', '-')}.log"

    def said(self, name: str) -> str:
        """Return all that a stage has printed so far."""
        return ESCAPE.sub("", self.log(name).read_text(errors="replace"))

    def say(self, text: str) -> None:
        """Print a line with the seconds since the start."""
        sys.stdout.write(f"{time.monotonic() - self.start:7.1f} s  {text}\n")
        sys.stdout.flush()

    def next(self) -> Stage | None:
        """Take the next stage that may begin; those that never can get their result."""
        for stage in list(self.waiting):
            needed = [self.results.get(name) for name in stage.after if name in self.names]
            if any(result is not None and result.status != 0 for result in needed):
                self.waiting.remove(stage)
                self.results[stage.name] = Result(stage, time.monotonic() - self.start, 0.0, None)
                self.say(f"{stage.name}: {self.results[stage.name].verdict}")
            elif all(needed):
                self.waiting.remove(stage)
                return stage
        return None

    def begin(self, stage: Stage) -> None:
        """Start a stage in a process group of its own."""
        options = f"{os.environ.get('PYTEST_ADDOPTS', '')} --junitxml={self.log(stage.name)}.xml"
        environment = {**os.environ, **PLAIN, "PYTEST_ADDOPTS": options.strip()}
        Path(f"{self.log(stage.name)}.xml").unlink(missing_ok=True)
        with self.log(stage.name).open("wb") as log:
            process = subprocess.Popen(stage.argv, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                       env=environment, start_new_session=True)  # fmt: skip
        self.running[stage.name], self.since[stage.name] = process, time.monotonic()
        threading.Thread(target=self.end, args=(stage, process), daemon=True).start()
        self.say(f"{stage.name}: begun")

    def end(self, stage: Stage, process: subprocess.Popen[bytes]) -> None:
        """Wait for a stage and print all it said."""
        status = process.wait()
        with self.turn:
            now = time.monotonic()
            result = Result(stage, self.since[stage.name] - self.start, now - self.since[stage.name], status)
            del self.running[stage.name]
            self.results[stage.name] = result
            said = self.said(stage.name).rstrip("\n")
            end = f"==== {stage.name}: {result.verdict}, {result.seconds:.1f} s"
            sys.stdout.write(f"\n==== {stage.name}\n{said}\n{end}\n\n")
            sys.stdout.flush()
            self.turn.notify()

    def tell(self) -> None:
        """Print what runs, since when, and the last line that each said."""
        for name, since in self.since.items():
            if name in self.running:
                lines = [line.strip() for line in self.said(name).splitlines() if re.search(r"\w", line)]
                last = lines[-1] if lines else "nothing yet"
                self.say(f"{name}: runs for {time.monotonic() - since:.0f} s: {last[-110:]}")

    def run(self) -> list[Result]:
        """Run all stages, also after one failed; return how they ended, in the order of their beginning."""
        self.home.mkdir(parents=True, exist_ok=True)
        try:
            with self.turn:
                while self.waiting or self.running:
                    while len(self.running) < self.jobs and (stage := self.next()):
                        self.begin(stage)
                    if self.running and not self.turn.wait(TELL_EVERY):
                        self.tell()
        except KeyboardInterrupt:
            self.stop()
            raise
        return sorted(self.results.values(), key=lambda result: result.begun)

    def stop(self) -> None:
        """End what runs; what it said is printed."""
        for process in list(self.running.values()):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        # Not joined: who ends this may do so while a thread is only being started
        with self.turn:
            self.turn.wait_for(lambda: not self.running, 30)


def slowest(files: list[Path]) -> list[tuple[float, str]]:
    """Return the slowest tests of all stages: seconds and name.

    :param files: what pytest's --junitxml wrote; those that are not there count nothing
    """
    found = []
    for path in files:
        if path.is_file():
            stage = path.name.removesuffix(".log.xml")
            for case in ElementTree.parse(path).iter("testcase"):  # noqa: S314
                name = f"{case.get('classname', '').replace('.', '/')}::{case.get('name')}"
                found.append((float(case.get("time") or 0), f"{stage}: {name}"))
    return sorted(found, reverse=True)[:SLOWEST]


def report(results: list[Result], jobs: int, seconds: float, tests: list[tuple[float, str]]) -> str:
    """Return the table of stages and the slowest tests."""
    lines = ["==== stages, " + (f"{jobs} at a time" if jobs > 1 else "one after another")]
    for result in results:
        begun = f"from {result.begun:6.0f} s"
        lines.append(f"  {result.stage.name:20} {begun} {result.seconds:7.1f} s  {result.verdict}")
    failed = sum(result.status != 0 for result in results)
    lines.append(f"  {'all':20} {'':14} {seconds:7.1f} s  {len(results) - failed} stages passed, {failed} failed")
    if tests:
        lines += ["==== slowest tests", *(f"  {took:7.1f} s  {name}" for took, name in tests)]
    return "\n".join(lines) + "\n"


def run_all(stages: list[Stage]) -> int:
    """Run stages and print how they ended; return 0 if all passed, else 1."""
    jobs = beside()
    # A stage has a process group of its own, which nobody ends who ends this one
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    runner = Runner(stages, jobs)
    results = runner.run()
    tests = slowest([Path(f"{runner.log(stage.name)}.xml") for stage in stages])
    sys.stdout.write(report(results, jobs, time.monotonic() - runner.start, tests))
    return 1 if any(result.status != 0 for result in results) else 0
