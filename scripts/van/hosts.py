"""Names of servers in commands and scripts, for those that are called otherwise here."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from scripts.van import celery, files
from scripts.van.notes import Notes

BEFORE = (
    r"/dev/(?:tcp|udp)/",
    r"://(?:[^@/\s]*@)?",
    r"\bnc(?:\s+-\S+(?:\s+\d+)?)*\s+",
    r"(?:\s|^)(?:-h|--host(?:name)?)[ =]?",
)
"""What stands before the name of a server."""
ASKED = ("-h", "--host", "--hostname")
LIKE = r"(?!\s+(?:upgrade|migrate|stamp|init|current|seed|create|downgrade|setup|reset)\b)"
"""``flask db upgrade`` speaks of no server."""


class Hosts:
    """Writes the names here for those of the project.

    :param names: servers and services by their names there, with those here, where they differ
    """

    def __init__(self, notes: Notes, names: Mapping[str, str], line: Callable[..., str]) -> None:
        self.notes, self.names, self.line = notes, names, line

    def adapt(self, name: str, item: dict[str, Any], service: Mapping[str, Any]) -> None:
        """Change command, entrypoint and health of an item, and tell what stays as it is."""
        for key in ("entrypoint", "command", "health"):
            words = item.get(key)
            if isinstance(words, list):
                item[key] = self._words(words)
            elif isinstance(words, str) and key == "health" and not words.startswith("/"):
                item[key] = self._text(words)
            if key == "health" or item.get(key) == words:
                continue
            self.notes.add("changed", self.line(name, key), name, f"its {key} names servers as they are called here")
        for old, new in self.names.items():
            for key in ("entrypoint", "command"):
                script = celery.shell_script(item.get(key) or [])
                if script and re.search(rf"(?<![\w./$-]){re.escape(old)}(?![\w./=-]){LIKE}", script):
                    told = f"its {key} names {old}, which is called {new} here; write the new name if that is meant"
                    self.notes.add("hand", self.line(name, key), name, told)
        for file, number, old in self._scripts(service):
            told = (
                f"{file}, line {number}, names {old}, which is called {self.names[old]} here; write that name, or let "
                "the script take it from a variable"
            )
            self.notes.add("hand", self.line(name, "command") or self.line(name), name, told)

    def _words(self, words: list[str]) -> list[str]:
        return [
            self.names[word] if at and words[at - 1] in ASKED and word in self.names else self._text(word)
            for at, word in enumerate(words)
        ]

    def _text(self, text: str) -> str:
        for old, new in self.names.items():
            text = re.sub(pattern(old), rf"\g<asks>{new}", text)
        return text

    def _scripts(self, service: Mapping[str, Any]) -> Iterator[tuple[str, int, str]]:
        """``(file, line, name)`` in the scripts of the image that start this service."""
        image = files.Dockerfile(service.get("build"))
        own = [*(service.get("entrypoint") or image.entrypoint), *(service.get("command") or image.words("CMD"))]
        for path in dict.fromkeys(filter(None, map(image.script_file, own))):
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            for old in self.names:
                found = [number for number, line in enumerate(lines, 1) if re.search(pattern(old), line)]
                if found:
                    yield path.name, found[0], old


def pattern(name: str) -> str:
    """Where a text names a server: behind what asks one (group ``asks``), or before a port."""
    return rf"(?:(?P<asks>{'|'.join(BEFORE)})|(?<![\w./-])){re.escape(name)}(?(asks)(?![\w.-])|(?=:\d))"
