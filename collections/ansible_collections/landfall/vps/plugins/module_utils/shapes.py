"""What the engine keeps on a VPS, read without trust: a record, a journal, a lock may be cut off, foreign or damaged.

A form is a type, a tuple of types, ``[form]`` for a list, ``{"*": form}`` for a map of any names, or a map of keys to
forms, in which ``key?`` may be left out or be nothing. A map may have more keys: a later version may know them.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
from typing import Any, Iterable, Tuple

LARGEST = 32 << 20  # bytes; nothing that is kept comes near it
OWN_FOLDERS = ("config", "secrets", "units")
"""Folders of a component that are strictly kept; no container sees the last one, which is for systemd."""
NUMBER = (int, float)
_CONTAINER = {"service": str, "image": str, "config_hash?": str}
META = {
    **dict.fromkeys(("stack?", "project?", "role?", "main?"), str),
    **dict.fromkeys(("uid?", "prove_timeout?", "apply_timeout?", "image_timeout?"), NUMBER),
    **{key: [dict] for key in ("check?", "prove?", "targets?", "serves?", "saves?", "rolling?", "volume_owners?")},
    **{key: [str] for key in ("volumes?", "one_shots?", "unasked?")},
    "needs?": [(str, dict)],
    "drop_ins?": {"*": (dict, type(None))},
    "reload?": dict,
    "release?": [{"service": str, "argv": list}],
    "timers?": [{"name": str, "unit": str, "schedule": list}],
    "update?": {
        "order?": str,
        "drain?": NUMBER,
        "watch?": NUMBER,
        "standby?": {"container": str, "service": str, "compose": {"name": str, "services": dict}},
    },
}
"""The part ``meta`` of a record, as far as the engine on the VPS reads it."""
WORK = {
    **dict.fromkeys(("up?", "reload?", "keep_volumes?", "ahead?", "back?", "purge?"), bool),
    "force?": (list, bool),
    "receivers?": [str],
    "run?": str,
    "new_volumes?": [str],
    "takes?": {"component": str, "containers": {"*": _CONTAINER}},
}
"""What is to be done to containers, of a journal and of a record that waits for its start."""
RECORD = {
    "name": str,
    "group": str,
    "files": {"*": str},
    "containers": {"*": _CONTAINER},
    "meta": META,
    "proven": bool,
    "images?": dict,
    "digest?": str,
    "reload_files?": [str],
    "start?": WORK,
}
JOURNAL = {
    "phase": str,
    "paths": {"*": str},
    "folders": [str],
    "record": (dict, type(None)),
    "intent": {"work?": WORK, "record?": RECORD, "claimed?": {"meta": META}},
}
RELEASE = {
    **dict.fromkeys(("name", "base?", "commit?", "by?", "run?", "outcome", "why?", "after?", "back?"), str),
    "at": NUMBER,
    "groups": [str],
    "wants": {"*": str},
    "components": {"*": {"identity?": str, "images?": dict}},
    "served?": [NUMBER],
    "ran?": [str],
    "tried?": [str],
}


def read(path: str) -> Any:
    """The JSON value in an ordinary file. Raises FileNotFoundError, OSError, or ValueError for what is none."""
    # Neither a link nor a pipe that has the name is followed or waited for
    number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(number, encoding="utf-8") as handle:
        found = os.fstat(number)
        if not stat.S_ISREG(found.st_mode) or found.st_size > LARGEST:
            raise ValueError("it is no ordinary file, or larger than any that is kept here")
        try:
            return json.load(handle)
        except RecursionError as error:
            raise ValueError("it is nested deeper than anything that is kept here") from error


def misfit(value: Any, form: Any, place: str = "") -> str:
    """The first place (``meta.needs[0]``) at which ``value`` has not this form; empty if it has it."""
    if isinstance(form, list):
        if not isinstance(value, list):
            return place or "it"
        places = ((item, form[0], "{0}[{1}]".format(place, index)) for index, item in enumerate(value))
        return _first(places)
    kinds = dict if isinstance(form, dict) else form
    exact = kinds if isinstance(kinds, tuple) else (kinds,)
    fits = isinstance(value, exact) and (bool in exact or not isinstance(value, bool))
    if not fits or not isinstance(form, dict):
        return "" if fits else place or "it"
    dotted = place + "." if place else ""
    if "*" in form:
        return _first((item, form["*"], dotted + str(key)) for key, item in value.items())
    for key, inner in form.items():
        name, free = key.rstrip("?"), key.endswith("?")
        if free and value.get(name) is None:
            continue
        found = misfit(value[name], inner, dotted + name) if name in value else dotted + name
        if found:
            return found
    return ""


def _first(parts: Iterable[Tuple[Any, Any, str]]) -> str:
    return next((found for value, form, place in parts for found in [misfit(value, form, place)] if found), "")


def own_prefixes(name: str) -> Tuple[str, ...]:
    """The paths below which everything belongs to component ``name`` (a folder ends in a slash)."""
    return (name + "/compose.yaml", *("{0}/{1}/".format(name, part) for part in OWN_FOLDERS))


def owns(name: str, path: str) -> bool:
    """Whether ``path`` lies in component ``name``'s own, strictly kept part of its folder."""
    return any(path == p or (p.endswith("/") and path.startswith(p)) for p in own_prefixes(name))


def strange(name: str, paths: Iterable[str]) -> str:
    """The first path that no component ``name`` can have: not its own, nor in a drop-in folder; empty if none.

    What is removed by these paths must never be somebody else's.
    """
    for path in paths:
        parts = path.split("/")
        plain = len(parts) > 1 and all(part not in ("", ".", "..") for part in parts) and not path.startswith(".")
        if not plain or not (owns(name, path) or (len(parts) == 3 and parts[1] not in OWN_FOLDERS)):
            return path
    return ""


def discard(path: str) -> None:
    """Remove whatever has this name: a file, a link, a pipe or a folder with all below it. Raises OSError."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)
