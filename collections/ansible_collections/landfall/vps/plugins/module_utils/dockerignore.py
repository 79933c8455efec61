"""Which files of a build context Docker leaves out: the rules of github.com/moby/patternmatcher."""

from __future__ import annotations

import posixpath
import re
from typing import List, Optional, Sequence, Tuple

ESCAPED = frozenset(".+()|{}$")  # mean something to a regular expression and nothing in a pattern


class BadPattern(ValueError):
    """A line that Docker refuses."""


def read(text: str) -> List[str]:
    """The patterns of an ignore file: comments, blank lines and leading slashes gone, paths in their shortest form."""
    result = []
    for line in text[text.startswith("\ufeff") :].split("\n"):  # no other character ends a line
        pattern = line.strip()
        if line.startswith("#") or not pattern:
            continue
        keep = pattern.startswith("!")
        pattern = pattern[1:].strip() if keep else pattern
        if pattern:
            pattern = _clean(pattern)
            pattern = pattern[1:] if len(pattern) > 1 and pattern.startswith("/") else pattern
        result.append("!" + pattern if keep else pattern)
    return result


def _clean(path: str) -> str:
    cleaned = posixpath.normpath(path)
    return cleaned[1:] if cleaned.startswith("//") else cleaned  # POSIX keeps two leading slashes, Go does not


def _check(pattern: str) -> None:
    """Raise BadPattern for what Go's filepath.Match calls malformed: an open or empty bracket, an escape of nothing."""
    place = 0
    while place < len(pattern):
        if pattern[place] == "[":
            place = _after_bracket(pattern, place + 1)
        else:
            place += 2 if pattern[place] == "\\" else 1
    if place > len(pattern):
        raise BadPattern("'{0}' ends in a backslash".format(pattern))


def _after_bracket(pattern: str, place: int) -> int:
    place += pattern[place : place + 1] == "^"
    start = place
    while pattern[place : place + 1] != "]" or place == start:
        place = _after_member(pattern, place)
        if pattern[place] == "-":
            place = _after_member(pattern, place + 1)
    return place + 1


def _after_member(pattern: str, place: int) -> int:
    if pattern[place : place + 1] in ("", "-", "]"):
        raise BadPattern("'{0}' has a bracket that is empty, not closed or ends in a hyphen".format(pattern))
    place += 2 if pattern[place] == "\\" else 1
    if place >= len(pattern):
        raise BadPattern("'{0}' has a bracket that is not closed".format(pattern))
    return place


class Pattern:
    """One line: ``keep`` for one that begins with an exclamation mark."""

    def __init__(self, line: str) -> None:
        line = _clean(line.strip())
        self.keep = line.startswith("!")
        self.text = line[1:] if self.keep else line
        if not self.text:
            raise BadPattern("'!' keeps nothing; name what is to be kept")
        self.wild = any(char in self.text for char in "*?[\\")
        _check(self.text)
        self._kind, self._text = _translated(self.text)
        self._regex: Optional[re.Pattern[str]] = None

    def matches(self, path: str) -> bool:
        """Whether this very path is meant; those below it are for the caller to know. Raises BadPattern."""
        if self._kind == "exact":
            return path == self.text
        if self._kind == "prefix":
            return path.startswith(self.text[:-2])
        if self._kind == "suffix":
            suffix = self.text[2:]
            return path.endswith(suffix) or (suffix.startswith("/") and path == suffix[1:])
        if self._regex is None:
            try:
                self._regex = re.compile(self._text, re.ASCII)
            except re.error as error:
                raise BadPattern("'{0}': {1}".format(self.text, error)) from error
        return self._regex.fullmatch(path) is not None


def _translated(pattern: str) -> Tuple[str, str]:
    """The kind of match and the expression for ``regex``; step by step as moby's Pattern.compile."""
    kind, parts, place, step = "exact", [], 0, 0
    while place < len(pattern):
        char = pattern[place]
        place += 1
        if char == "*" and pattern[place : place + 1] == "*":
            place += 1
            if pattern[place : place + 1] == "/":
                place += 1  # **/ is taken as **
            if place == len(pattern):
                parts.append(".*")
                kind = "prefix" if kind == "exact" else "regex"
            else:
                parts.append("(.*/)?")
                kind = "regex"
            if step == 0:
                kind = "suffix"
        elif char in "*?":
            parts.append("[^/]*" if char == "*" else "[^/]")
            kind = "regex"
        elif char in ESCAPED:
            parts.append("\\" + char)
        elif char == "\\" and place < len(pattern):
            parts.append("\\" + pattern[place])
            place += 1
            kind = "regex"
        else:
            parts.append(char)
            kind = "regex" if char in "[]" else kind
        step += 1
    return kind, "".join(parts)


class Matcher:
    """All patterns of a context, in their order: the last that matches decides."""

    def __init__(self, lines: Sequence[str]) -> None:
        self.patterns = [Pattern(line) for line in lines if line.strip()]

    def names(self, name: str) -> bool:
        """Whether a line keeps ``name`` or something below it in so many words."""
        return any(pattern.keep and name in pattern.text.split("/") for pattern in self.patterns)

    def keeps_below(self, folder: str) -> bool:
        """Whether a line could keep something below an ignored folder, which is else not walked."""
        return any(
            pattern.keep and (pattern.wild or (pattern.text + "/").startswith(folder + "/"))
            for pattern in self.patterns
        )

    def judge(self, path: str, above: Sequence[bool] = ()) -> Tuple[bool, List[bool]]:
        """Whether ``path`` is left out, and which patterns match it; ``above`` is that of the folder it lies in.

        A pattern that matches a folder matches all that is below it.
        """
        ignored, found = False, []
        for number, pattern in enumerate(self.patterns):
            match = bool(above and above[number])
            if not match and pattern.keep == ignored:  # others would change nothing, and Docker does not ask them
                match = pattern.matches(path)
            found.append(match)
            if match:
                ignored = not pattern.keep
        return ignored, found
