"""What runs once: migrations before a server, and services of their own that only migrate."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from typing import Any

from scripts.van import celery
from scripts.van.notes import Notes

MIGRATES = re.compile(r"\bmigrate\b|alembic|db upgrade|prestart|migrations?\b|collectstatic")
WAITS = re.compile(r"wait[-_]?for|\bnc -z|sleep \d|dockerize")


def release_of(item: dict[str, Any], notes: Notes, where: str) -> None:
    """Migrations that a shell runs before the server become the item's release."""
    command = item.get("command") or []
    script = celery.shell_script(command)
    parts = celery.pieces(script) if script is not None and "||" not in script else []
    if len(parts) < 2 or not any(MIGRATES.search(part) for part in parts[:-1]):  # noqa: PLR2004 - one and the server
        return
    first = [part for part in parts[:-1] if not WAITS.search(part)]
    item["release"] = ["sh", "-c", " && ".join(first)]
    last = parts[-1].removeprefix("exec ").replace(" --reload", "")
    if last != parts[-1].removeprefix("exec "):
        notes.add("changed", where, item["name"], "--reload is for development and was taken out of the command")
    item["command"] = ["sh", "-c", f"exec {last}"] if re.search(r"[$|<>*?`(]", last) else shlex.split(last)
    notes.add("changed", where, item["name"], f"{'; '.join(first)}: runs once for each new version, as release")


def is_migration(words: Iterable[str], name: str) -> bool:
    """Whether what runs once brings a database to a new version."""
    return bool(MIGRATES.search(" ".join(words)) or re.search(r"migrat|prestart", name))
