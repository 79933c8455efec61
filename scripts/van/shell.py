"""Scripts of a shell, as far as their commands can be told apart: quotes, compounds and substitutions stay whole."""

from __future__ import annotations

import re
from dataclasses import dataclass

OPENS = {"if": "fi", "while": "done", "until": "done", "for": "done", "case": "esac", "{": "}"}
"""Words that begin a compound where a command may begin, each with the word that ends it."""
LEADS = ("then", "do", "else", "elif", "!", "time")
"""Words behind which a command may begin."""
WORD = re.compile(r"[^\s;&|()<>'\"`$\\]+")


@dataclass
class Command:
    """One command of a script, as it is written, and what stands behind it."""

    text: str
    behind: str
    """``&&``, ``||``, ``&``, ``;`` (also for the end of a line), or nothing at the end."""


class _Reader:
    """Reads a script once, from its beginning to its end."""

    def __init__(self, script: str) -> None:
        self.text = re.sub(r"\\\n", " ", script)
        self.found: list[Command] = []
        self.ends: list[str] = []
        """Words that end the compounds that are open."""
        self.start = self.at = 0
        self.begins = True
        """Whether a command may begin here."""

    def commands(self) -> list[Command]:
        """All commands; a compound, a pipe or a group counts as one."""
        while self.at < len(self.text):
            self._step()
        self._close("", 0)
        return self.found

    def _step(self) -> None:
        text, at = self.text, self.at
        sign, pair = text[at], text[at : at + 2]
        if sign in "'\"`\\" or pair == "$(":
            self.at, self.begins = _behind(text, at), False
        elif sign == "#" and (at == 0 or text[at - 1] in " \t\n;"):
            self.text = text[:at] + text[at:].partition("\n")[1] + text[at:].partition("\n")[2]
        elif sign in "()":
            if sign == "(":
                self.ends.append(")")
            elif self.ends and self.ends[-1] == ")":
                self.ends.pop()
            self.at, self.begins = at + 1, sign == "("
        elif pair in ("&&", "||"):
            self._separator(pair)
        elif pair in ("|&", "&>", ">&", "<&"):
            self.at, self.begins = at + 2, pair == "|&"
        elif sign in ";\n&":
            self._separator("&" if sign == "&" else ";", 1)
        elif sign == "|":
            self.at, self.begins = at + 1, True
        else:
            word = WORD.match(text, at)
            if word:
                self.begins = self._word(word[0])
            self.at = word.end() if word else at + 1

    def _separator(self, sign: str, width: int = 2) -> None:
        if self.ends:
            self.at, self.begins = self.at + width, True
        else:
            self._close(sign, width)

    def _close(self, behind: str, width: int) -> None:
        told = self.text[self.start : self.at].strip()
        if told:
            self.found.append(Command(told, behind))
        self.at += width
        self.start, self.begins = self.at, True

    def _word(self, word: str) -> bool:
        """Open or close a compound; whether a command may begin behind this word."""
        if self.begins and self.ends and word == self.ends[-1]:
            self.ends.pop()
            return False
        if self.begins and word in OPENS:
            self.ends.append(OPENS[word])
            return word not in ("for", "case")
        return self.begins and word in LEADS


def commands(script: str) -> list[Command]:
    """The commands of a script in their order; a compound, a pipe or a group counts as one."""
    return _Reader(script).commands()


def _behind(text: str, at: int) -> int:
    """The place behind what is quoted or substituted at ``at``."""
    sign = text[at]
    if sign == "\\":
        return at + 2
    if sign == "'":
        end = text.find("'", at + 1)
        return len(text) if end < 0 else end + 1
    close, depth = {"$": ")", '"': '"', "`": "`"}[sign], 1
    at += 2 if sign == "$" else 1
    while at < len(text):
        if text[at] == close:
            depth -= 1
            if depth == 0:
                return at + 1
        if text[at] == "\\" or text.startswith("$(", at) or (close == ")" and text[at] in "'\"`"):
            at = _behind(text, at)
            continue
        depth += close == ")" and text[at] == "("
        at += 1
    return len(text)
