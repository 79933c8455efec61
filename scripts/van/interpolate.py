"""Variables as Compose fills them in: ``${NAME:-default}`` and its siblings, and files of NAME=value."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Optional

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
OPERATOR = re.compile(r":?[-?+]")
LINE = re.compile(r"(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_.-]*)[ \t]*(?:([=:])[ \t]*)?")
ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "$": "$"}

Missing = Callable[[str], None]


class ComposeError(Exception):
    """A Compose project that cannot be read; the message names the file and what is wrong."""


def substitute(text: str, values: Mapping[str, str], missing: Optional[Missing] = None, loose: bool = False) -> str:
    """``text`` with its variables replaced and ``$$`` as ``$``.

    :param missing: called with the name of a variable that is not set and has no default; it is empty then
    :param loose: whether a ``$`` before anything else is itself, as in files of variables
    :raises ComposeError: for ``${NAME:?why}`` without a value, and for what Compose does not take
    """
    done: list[str] = []
    at = 0
    while True:
        dollar = text.find("$", at)
        if dollar < 0:
            return "".join([*done, text[at:]])
        done.append(text[at:dollar])
        at = dollar + 1
        plain = NAME.match(text, at)
        if text.startswith("$", at):
            done.append("$")
            at += 1
        elif plain:
            done.append(_value(plain.group(), values, missing))
            at = plain.end()
        elif text.startswith("{", at):
            end = _end(text, at)
            done.append(_braced(text[at + 1 : end], values, missing))
            at = end + 1
        elif loose:
            done.append("$")
        else:
            raise ComposeError(f"'{text}': a $ that is meant as such is written $$")


def _end(text: str, start: int) -> int:
    """Where the brace that opens at ``start`` is closed."""
    depth = 0
    for at in range(start, len(text)):
        if text[at] == "{" and (at == start or text[at - 1] == "$"):
            depth += 1
        elif text[at] == "}":
            depth -= 1
            if not depth:
                return at
    raise ComposeError(f"'{text}': a brace is not closed")


def _value(name: str, values: Mapping[str, str], missing: Optional[Missing]) -> str:
    if name not in values and missing:
        missing(name)
    return values.get(name, "")


def _braced(inner: str, values: Mapping[str, str], missing: Optional[Missing]) -> str:
    name = NAME.match(inner)
    if not name:
        raise ComposeError(f"'${{{inner}}}' begins with no name of a variable")
    rest = inner[name.end() :]
    if not rest:
        return _value(name.group(), values, missing)
    operator = OPERATOR.match(rest)
    if not operator:
        raise ComposeError(f"'${{{inner}}}': after the name comes -, ?, + or one of them behind a colon")
    word, found = rest[operator.end() :], values.get(name.group())
    there = found is not None and (found != "" or not operator.group().startswith(":"))
    kind = operator.group()[-1]
    if kind == "+":
        return substitute(word, values, missing) if there else ""
    if there:
        return str(found)
    if kind == "?":
        why = substitute(word, values, missing)
        raise ComposeError(f"the variable {name.group()} has no value{': ' + why if why else ''}; set it in .env")
    return substitute(word, values, missing)


def read_file(path: Path, outside: Mapping[str, str], missing: Optional[Missing] = None) -> dict[str, str]:
    """The variables of a ``.env`` file.

    :param outside: what is set beside the file; it wins where the file's values name variables
    :raises ComposeError: if the file is not there or a line is no NAME=value
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ComposeError(f"{path}: {error.strerror}; a file of variables that the project needs") from error
    found: dict[str, str] = {}
    at = 0
    while at < len(text):
        line = text[at:].split("\n", 1)[0]
        if not line.strip() or line.lstrip().startswith("#"):
            at += len(line) + 1
            continue
        at += len(line) - len(line.lstrip())
        name = LINE.match(text, at)
        number = text.count("\n", 0, at) + 1
        if not name or (not name.group(2) and line.strip() != name.group().strip()):
            raise ComposeError(f"{path}, line {number}: this is no NAME=value")
        at = name.end()
        if not name.group(2):  # handed on from outside
            if name.group(1) in outside:
                found[name.group(1)] = outside[name.group(1)]
            continue
        raw, quote, at = _raw(text, at, f"{path}, line {number}")
        found[name.group(1)] = raw if quote == "'" else substitute(raw, {**found, **outside}, missing, loose=True)
    return found


def _raw(text: str, at: int, told: str) -> tuple[str, str, int]:
    """``(value, its quote, where the next line begins)``; a ``$`` that is escaped comes as ``$$``."""
    quote = text[at : at + 1] if text[at : at + 1] in ("'", '"') else ""
    if not quote:
        line = text[at:].split("\n", 1)[0]
        return re.sub(r"(?:^|[ \t])#.*", "", line).strip(), "", at + len(line) + 1
    end = at + 1
    while end < len(text) and text[end] != quote:
        end += 2 if text[end] == "\\" and quote == '"' else 1
    if end >= len(text):
        raise ComposeError(f"{told}: the quote {quote} is not closed")
    value = text[at + 1 : end]
    if quote == '"':
        value = re.sub(
            r"\\(.)", lambda found: {"$": "$$"}.get(found[1], ESCAPES.get(found[1], found[0])), value, flags=re.DOTALL
        )
    rest = text[end + 1 :].split("\n", 1)[0]
    return value, quote, end + 1 + len(rest) + 1
