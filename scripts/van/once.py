"""What runs once: migrations before a server, and services of their own that only migrate."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from scripts.van import celery, files, shell
from scripts.van.notes import Notes

MIGRATES = re.compile(r"\bmigrate\b|\balembic\b|\bdb upgrade\b|\bprestart\b|\bmigrations?\b|\baerich\b|\byoyo\b")
WAITS = re.compile(r"wait[-_]?for|\bnc -\w*z|^sleep \d|dockerize|pg_isready|^/?wait\b")
SETS = re.compile(r"(?:set|cd|export|source|umask|ulimit|\.)\s|[A-Za-z_]\w*=\S*$")
"""What commands behind it depend on, in whatever process they run."""
FILES = re.compile(r"collectstatic|compilemessages|compress\b|(?:mkdir|chown|chmod|cp|mv|ln|touch|rm|echo|printf|ls)\s")
"""What changes the container's own files, which each container has to do for itself."""
LONGEST = 80  # characters of a script that are told
SPECIAL = re.compile(r"[$|<>*?`(;&]")


class _Whole(Exception):
    """A script whose commands depend on each other; the message says how."""


def release_of(item: dict[str, Any], service: Mapping[str, Any], notes: Notes, line: Any) -> None:
    """Migrations that a shell runs before the server become the item's release, or are told.

    :param line: gives ``file:line`` of a key of the service
    """
    image = files.Dockerfile(service.get("build"))
    key, words = _where(item, image)
    where, name = line(key) or line(), item["name"]
    script = celery.shell_script(words)
    if script is not None and MIGRATES.search(script):
        try:
            first, rest = _split(script)
        except _Whole as error:
            told = f"{_brief(script)}: {error}; write what migrates as release, and take it out of the {key}"
            notes.add("hand", where, name, told)
            return
        if not first:
            return
        item["release"] = ["sh", "-c", " && ".join(first)]
        item[key] = rest
        if key == "entrypoint":
            item.pop("command", None)
        notes.add("changed", where, name, f"{'; '.join(first)}: runs once for each new version, as release")
        return
    for word in [*image.entrypoint, *words]:
        path = image.script_file(word)
        found = _line_of(path.read_text(encoding="utf-8", errors="replace")) if path else None
        if path and found:
            told = (
                f"{path.name}, line {found[0]}, runs '{found[1]}' at each start of each container; take it out of that "
                "script and write it as release, which runs once for each new version"
            )
            notes.add("hand", where, name, told)
            return


def _where(item: Mapping[str, Any], image: files.Dockerfile) -> tuple[str, list[str]]:
    """The key of an item that says what is started, and its words; those of the image where it says nothing."""
    entrypoint, command = list(item.get("entrypoint") or []), list(item.get("command") or [])
    if entrypoint:
        return ("command", command) if celery.shell_script(command) else ("entrypoint", [*entrypoint, *command])
    if command or celery.shell_script(image.words("CMD")):
        return "command", command or image.words("CMD")
    return ("entrypoint", image.words("ENTRYPOINT")) if image.entrypoint else ("command", image.words("CMD"))


def _split(script: str) -> tuple[list[str], list[str]]:
    """(what migrates, what is started) of a script. Raises _Whole."""
    units = _units(shell.commands(script))
    *before, server = units
    if MIGRATES.search(server):
        if before or re.search(r"\|\||;|&&", server):
            raise _Whole("what migrates and what serves are one command")
        return [], []  # it only migrates
    if not any(MIGRATES.search(unit) for unit in before):
        return [], []
    first, kept = [], []
    for unit in before:
        if SETS.match(unit):
            first.append(unit)
            kept.append(unit)
        elif MIGRATES.search(unit):
            first.append(unit)
        elif FILES.match(unit) or FILES.search(unit):
            kept.append(unit)
        elif not WAITS.search(unit):
            first.append(unit)
    return first, _started(kept, server)


def _units(found: list[shell.Command]) -> list[str]:
    """What can be told apart: commands, and lists that end in a way out (``||``). Raises _Whole."""
    units: list[str] = []
    group: list[shell.Command] = []
    for number, command in enumerate(found):
        last = number == len(found) - 1
        if command.behind == "&" and not last:
            raise _Whole("a command in the background and others")
        group.append(command)
        if command.behind in (";", "&", "") or last:
            ways = {one.behind for one in group[:-1]}
            if "||" in ways:
                if "&&" in ways and last:
                    raise _Whole("what serves is part of a list with '||'")
                units.append(" ".join(f"{one.text} {one.behind}" for one in group[:-1]) + f" {group[-1].text}")
            else:
                units += [one.text for one in group]
            group = []
    return units


def _started(kept: list[str], server: str) -> list[str]:
    """The words that start the server, by a shell only where one is needed."""
    server = re.sub(r"\s--reload\b", "", server.removeprefix("exec "))
    if not kept and not SPECIAL.search(server) and "\n" not in server:
        return shlex.split(server)
    compound = re.search(r"\|\||^(?:if|while|until|for|case)\s|^[({]|\|", server)
    return ["sh", "-c", " && ".join([*kept, server if compound else f"exec {server}"])]


def _line_of(script: str) -> Any:
    """(number, text) of the first line of a script that migrates, None without one."""
    for number, text in enumerate(script.splitlines(), 1):
        if MIGRATES.search(text) and not text.strip().startswith(("#", "echo")):
            return number, text.strip()
    return None


def _brief(script: str) -> str:
    text = " ".join(script.split())
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


def is_migration(words: Iterable[str], name: str) -> bool:
    """Whether what runs once brings a database to a new version."""
    return bool(MIGRATES.search(" ".join(words)) or re.search(r"migrat|prestart", name))
