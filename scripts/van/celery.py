"""Celery's commands, wherever a service hides them: a list, a shell, a script of the build context."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Optional

from scripts.van import shapes
from scripts.van.interpolate import ComposeError, substitute

SHELLS = ("sh", "bash", "ash", "dash")
KINDS = ("worker", "beat", "flower")
ROOM = 10  # seconds between the end of the longest task and that of its worker
# Programs that start another one, and are not needed where the image has it on its PATH
WRAPPERS = {
    "exec",
    "poetry",
    "pipenv",
    "uv",
    "pdm",
    "hatch",
    "run",
    "python",
    "python3",
    "-m",
    "--no-sync",
    "--frozen",
    "tini",
    "dumb-init",
    "--",
    "-g",
}
# Options by their short and long names; those in FLAGS take no value
SHORT = {
    "-A": "--app",
    "-b": "--broker",
    "-l": "--loglevel",
    "-n": "--hostname",
    "-Q": "--queues",
    "-X": "--exclude-queues",
    "-c": "--concurrency",
    "-P": "--pool",
    "-E": "--task-events",
    "-O": "--optimization",
    "-B": "--beat",
    "-f": "--logfile",
    "-I": "--include",
    "-D": "--detach",
    "-C": "--no-color",
    "-q": "--quiet",
}
FLAGS = {
    "--task-events",
    "--beat",
    "--detach",
    "--no-color",
    "--quiet",
    "--without-heartbeat",
    "--without-gossip",
    "--without-mingle",
    "--purge",
    "--discard",
    "--disable-prefetch",
    "--events",
    "--skip-checks",
}
KEPT = {
    "--pool",
    "--task-events",
    "--optimization",
    "--without-heartbeat",
    "--without-gossip",
    "--without-mingle",
    "--time-limit",
    "--soft-time-limit",
    "--max-tasks-per-child",
    "--max-memory-per-child",
    "--autoscale",
    "--prefetch-multiplier",
    "--exclude-queues",
    "--heartbeat-interval",
    "--disable-prefetch",
    "--statedb",
}
SILENT = {
    "--app",
    "--queues",
    "--concurrency",
    "--loglevel",
    "--hostname",
    "--beat",
    "--pidfile",
    "--no-color",
    "--quiet",
    "--scheduler",
    "--schedule",
    "--skip-checks",
}


@dataclass
class Command:
    """What a Celery command says."""

    kind: str
    options: dict[str, str]
    before: list[str] = field(default_factory=list)
    """Commands of a shell that run first."""
    wrapper: list[str] = field(default_factory=list)
    """What starts Celery and is none of WRAPPERS."""

    @property
    def app(self) -> str:
        """What -A is given."""
        return self.options.get("--app", "")

    @property
    def queues(self) -> list[str]:
        """The queues of -Q, without empty ones."""
        return [queue.strip() for queue in self.options.get("--queues", "").split(",") if queue.strip()]

    @property
    def arguments(self) -> list[str]:
        """What the worker's role does not say by a variable of its own."""
        return [key if key in FLAGS else f"{key}={value}" for key, value in self.options.items() if key in KEPT]

    @property
    def lost(self) -> list[str]:
        """Options that are not taken along."""
        taken = SILENT | KEPT if self.kind == "worker" else SILENT
        return [key if key in FLAGS else f"{key}={value}" for key, value in self.options.items() if key not in taken]


def recognise(argv: Sequence[str]) -> Optional[Command]:
    """The Celery command in the words of a service, None where there is none."""
    before: list[str] = []
    words = list(argv)
    script = shell_script(words)
    if script is not None:
        parts = pieces(script)
        there = [number for number, part in enumerate(parts) if _celery_at(_split(part)) >= 0]
        if not there:
            return None
        before, words = parts[: there[-1]], _split(parts[there[-1]])
    at = _celery_at(words)
    if at < 0:
        return None
    start = [word for word in words[:at] if word.rpartition("/")[2] not in WRAPPERS and "=" not in word]
    kind, options = _options(words[at + 1 :])
    return Command(kind, options, before, start) if kind in KINDS else None


def told(command: Command, script: str, values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Notes, ``(kind, text)``, on what is not taken along of a command, which was read in ``script``.

    :param values: the variables of the service
    """
    if script:
        yield "changed", f"its command was read in {script}; the rest of that script does not run"
    for option, variable in fill(command.options, values):
        yield "hand", f"{option}: {variable} has no value here, so it was not taken along"
    for option in command.lost:
        log = option.startswith("--logfile")
        yield "changed" if log else "hand", f"{option} was not taken along" + "; its logs go to Loki" * log
    if command.before:
        before = "; ".join(command.before)
        yield "hand", f"{before}: does not run before Celery here; use depends_on or release"
    if command.wrapper:
        yield "changed", f"started without {' '.join(command.wrapper)}"


def fill(options: dict[str, str], values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Replace variables of a shell in the values of options; one that has no value takes its option with it.

    :return: the options that went, each with the variable
    """
    gone: list[tuple[str, str]] = []
    known = {key: str(value) for key, value in values.items() if value is not None}
    for option, value in list(options.items()):
        missing: list[str] = []
        try:
            options[option] = substitute(value, known, missing.append, loose=True) if "$" in value else value
        except ComposeError:
            missing.append(value)
        if missing:
            gone.append((f"{option}={value}", missing[0]))
            del options[option]
    return gone


def shell_script(words: Sequence[str]) -> Optional[str]:
    """What ``sh -c`` is given, None for another command."""
    for at, word in enumerate(words[:3]):
        if word.rpartition("/")[2] in SHELLS and len(words) > at + 2 and re.fullmatch(r"-[a-z]*c", words[at + 1]):
            return words[at + 2]
    return None


def pieces(script: str) -> list[str]:
    """The commands of a script that come one after another."""
    parts = re.split(r"&&|;|\n", re.sub(r"\\\n", " ", script))
    return [part.strip() for part in parts if part.strip() and not part.strip().startswith(("#", "set ", "if ", "fi"))]


def _split(part: str) -> list[str]:
    try:
        return shlex.split(part)
    except ValueError:
        return []


def _celery_at(words: Sequence[str]) -> int:
    """Where the program stands with one of KINDS somewhere behind it, -1 for nowhere."""
    for at, word in enumerate(words):
        if word.rpartition("/")[2] in ("celery", "celery.__main__.main") and set(words[at + 1 :]) & set(KINDS):
            return at
    # watchfiles and the like are given the command as one word
    return -1


def unfold(words: Sequence[str]) -> list[str]:
    """The words with those taken apart that hold a whole Celery command, as watchfiles is given it."""
    found: list[str] = []
    for word in words:
        inner = _split(word)
        holds = len(inner) > 2 and set(inner) & set(KINDS)  # noqa: PLR2004 - celery, its option, its kind
        found += (["celery"] if holds and "celery" not in inner else []) + inner if holds else [word]
    return found


def _options(words: Sequence[str]) -> tuple[str, dict[str, str]]:
    kind, options, rest = "", {}, list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-"):
            kind = kind or word
            continue
        name, equals, value = word.partition("=")
        if not word.startswith("--"):
            # -S is a worker's state, and beat's scheduler
            own = (
                {"-S": "--scheduler", "-s": "--schedule"} if kind == "beat" else {"-S": "--statedb", "-s": "--schedule"}
            )
            name, value = {**SHORT, **own}.get(word[:2], word[:2]), word[2:].lstrip("=")
            equals = value
        if name in FLAGS:
            options["--task-events" if name == "--events" else name] = ""
        elif equals:
            options[name] = value
        elif rest and not rest[0].startswith("--"):
            options[name] = rest.pop(0)
        else:
            options[name] = ""
    return kind, options


def grace(service: Mapping[str, Any], arguments: Sequence[str]) -> int:
    """Seconds that a worker may take to finish, 0 where nothing says so: longer than its longest task may take."""
    told = shapes.seconds(service.get("stop_grace_period"))
    limits = [word.partition("=")[2] for word in arguments if word.startswith("--time-limit=")]
    longest = float(limits[-1]) if limits and limits[-1].replace(".", "", 1).isdigit() else 0
    return max(told, int(longest) + ROOM) if longest else told
