"""Writes a text into another language so that its parser reads back exactly that text.

Templates never quote by hand: each language has its function here, registered as a filter of the same name.
"""

from __future__ import annotations

import re
import shlex
from typing import Any, Iterable, List, Mapping, Sequence, Union
from urllib.parse import quote

NO_PROXY = "export http_proxy= https_proxy= all_proxy= HTTP_PROXY= HTTPS_PROXY= ALL_PROXY=; "
_OPERATORS = frozenset(";&|<>()`")
_BARE = re.compile(r"[A-Za-z0-9/._~:?=&%+@*-]+\Z", re.ASCII)
PLACEHOLDER = re.compile(r"\{[a-z][A-Za-z0-9_./-]*\}", re.ASCII)
_UNQUOTED = re.compile(r"'[^']*'|\"(?:\\.|[^\"\\])*\"|\\.", re.DOTALL)
_REGEX_SPECIAL = re.compile(r"[\\.+*?()|\[\]{}^$]")


class QuotingError(ValueError):
    """The value is no text, or cannot be written in that language."""


def as_text(value: Any) -> str:
    """The text of a scalar: booleans as true and false. Raises QuotingError for nothing, lists, maps and the like."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, int, float)):
        return str(value)
    raise QuotingError("{0} is no text".format("nothing" if value is None else type(value).__name__))


def _escape(text: str, short: Mapping[str, str], byte: str) -> str:
    """``text`` with all that is not printable escaped; ``byte`` is the form for code points below 256."""
    out = []
    for char in text:
        code = ord(char)
        if char in short:
            out.append(short[char])
        elif char.isprintable():
            out.append(char)
        elif 0xD800 <= code <= 0xDFFF:
            raise QuotingError("it has half of a character (\\u{0:04x}), which no file can hold".format(code))
        else:
            out.append((byte if code < 0x100 else "\\u{0:04x}" if code < 0x10000 else "\\U{0:08x}").format(code))
    return "".join(out)


def yaml_text(value: Any, expands: bool = False) -> str:
    """A scalar as text, a list or map in flow style with all scalars as text, for a YAML file of any version.

    ``expands``: whoever reads the file takes ``$`` for a variable (Compose, Grafana's provisioning, the external labels
    of Prometheus), and ``$$`` for the sign itself. Map keys are never expanded. Raises QuotingError.
    """
    if isinstance(value, Mapping):
        items = ("{0}: {1}".format(yaml_text(key), yaml_text(item, expands)) for key, item in value.items())
        return "{" + ", ".join(items) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(yaml_text(item, expands) for item in value) + "]"
    text = as_text(value)
    if expands:
        text = text.replace("$", "$$")
    return '"{0}"'.format(_escape(text, {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t"}, "\\x{0:02x}"))


def go_text(value: Any) -> str:
    """A string of Alloy's language, which follows Go's, or a list of them. Raises QuotingError."""
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(go_text(item) for item in value) + "]"
    return '"{0}"'.format(_escape(as_text(value), {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t"}, "\\u{0:04x}"))


def lua_text(value: Any) -> str:
    """A string of Lua, byte for byte: what is not plain is written by its number. Raises QuotingError."""
    try:
        data = as_text(value).encode()
    except UnicodeEncodeError as error:
        raise QuotingError("it has half of a character, which no file can hold") from error
    plain = (chr(byte) if 32 <= byte < 127 and chr(byte) not in '"\\' else "\\{0:03d}".format(byte) for byte in data)
    return '"{0}"'.format("".join(plain))


def caddyfile_text(value: Any, placeholders: bool = False) -> str:
    """A word of a Caddyfile, in quotes where it needs them. Raises QuotingError for what would be expanded or cut.

    ``placeholders`` such as ``{file./run/secrets/token}`` are for whom they are written to, and stay.
    """
    text = as_text(value)
    left = PLACEHOLDER.sub("", text) if placeholders else text
    if not text.isprintable() or any(sign in left for sign in '{}"\\`'):
        raise QuotingError("a Caddyfile cannot hold it: it has braces, quotes, a backslash or control characters")
    return text if text and _BARE.match(left or text[1:-1]) else '"{0}"'.format(text)


def shell_text(value: Any) -> str:
    """One word of a POSIX shell. Raises QuotingError."""
    return shlex.quote(as_text(value))


def url_text(value: Any) -> str:
    """A text as a part of a URL (user, password, name of a database): everything special is percent-encoded."""
    return quote(as_text(value), safe="")


def regex_text(value: Any) -> str:
    """A regular expression (RE2) that matches this text and nothing else. Raises QuotingError."""
    return _REGEX_SPECIAL.sub(r"\\\g<0>", as_text(value))


def matcher_text(label: str, values: Sequence[Any]) -> str:
    """An Alertmanager matcher for a label that has one of these values exactly. Raises QuotingError."""
    pattern = "|".join(regex_text(value) for value in values)
    escaped = pattern.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return '{0}=~"{1}"'.format(label, escaped)


def words(value: Union[str, Iterable[Any], None]) -> List[str]:
    """The words of a command: a list as it is, a string split as Compose does it, without any shell.

    Raises QuotingError for an open quote, and for the signs of a shell outside quotes, at which Compose would stop.
    """
    if value is None:
        return []
    if not isinstance(value, str):
        return [as_text(item) for item in value]
    try:
        found = shlex.split(value)
    except ValueError as error:
        raise QuotingError("it has an open quote ({0})".format(str(error).lower())) from error
    if _OPERATORS & set(_UNQUOTED.sub("", value)):
        raise QuotingError("no shell runs it, so ; & | < > ( ) ` mean nothing; write [sh, -c, '…'] for a shell")
    return found


def http_health(path: str, port: Any, address: str = "127.0.0.1", host: str = "", seconds: int = 4) -> str:
    """A shell command that exits 0 when ``path`` answers 2xx, by the first of wget, curl and python3 that is there.

    ``host`` is the Host header to send, for applications that answer to their names alone; ``seconds`` is how long an
    answer may take. No proxy is ever asked:
    busybox' wget knows no exceptions from its proxy, so the variables are emptied first.
    """
    url = shell_text("http://{0}:{1}{2}".format(address, as_text(port), as_text(path)))
    header = " --header {0}".format(shell_text("Host: " + host)) if host else ""
    python = "import sys, urllib.request as r; q = r.Request(sys.argv[1]); "
    python += '[q.add_header("Host", h) for h in sys.argv[2:]]; r.urlopen(q, timeout={0})'.format(seconds)
    return NO_PROXY + " || ".join(
        [
            "wget -q -T {2}{0} -O /dev/null {1} 2>/dev/null".format(header, url, seconds),
            "curl -fsS -m {2}{0} -o /dev/null {1} 2>/dev/null".format(header, url, seconds),
            "python3 -c {0} {1}{2}".format(shell_text(python), url, " " + shell_text(host) if host else ""),
        ]
    )
