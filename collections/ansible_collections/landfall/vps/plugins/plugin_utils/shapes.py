"""Whether lists, maps and their items have the shape that a role's argument spec documents, told by item and key.

What a text says is judged elsewhere (text.py). All that Ansible's own check would find in lists and maps is found here,
where it is known in which item of which variable.
"""

from __future__ import annotations

import difflib
import re
from typing import Any, Iterable, Iterator, List, Mapping, NamedTuple, Tuple

from ansible_collections.landfall.vps.plugins.plugin_utils.quoting import QuotingError, as_text

COUNTS = re.compile(r"(?:^|_)(?:concurrency|replicas|grace|timeout|retries|keep|kept)$")
AT_LEAST_ONE = re.compile(r"(?:^|_)(?:concurrency|replicas|retries)$")
SHARE = re.compile(r"\b0 to 1\b")
"""What the description of a share says; it is held to it."""
PATH = re.compile(r"^([A-Za-z_]\w*(?:\[\d+\]|\.[^\s:.\[]+)*): ")


class Fault(NamedTuple):
    """What is wrong at a path; ``whole`` of what has another shape, so that nothing below it can be judged."""

    path: str
    text: str
    whole: bool = False


def kind(value: Any) -> str:
    """What a value is, in words."""
    if value is None:
        return "nothing"
    if isinstance(value, Mapping):
        return "a map"
    if isinstance(value, (list, tuple)):
        return "a list"
    if isinstance(value, str):
        return "one text"
    try:
        return as_text(value)
    except QuotingError:
        return "something else"


def faults(name: str, option: Mapping[str, Any], value: Any) -> Iterator[Fault]:
    """Every fault of a variable's shape. Nothing is as good as leaving a variable or a key out.

    :param option: its argument spec
    """
    wanted = option.get("type", "str")
    if value is None:
        return
    if wanted == "list":
        yield from _list(name, option, value)
    elif wanted == "dict":
        yield from _map(name, option, value)
    elif option.get("choices"):
        yield from _choice(name, option["choices"], value)
    elif wanted == "bool" and not isinstance(value, bool) and "." in name:
        yield _at(name, "is {0}; write true or false, without quotes".format(_shown(value)))
    elif wanted in ("int", "float"):
        told = list(_number(name, wanted, value))
        yield from told or _share(name, option, value)


def _share(path: str, option: Mapping[str, Any], value: Any) -> Iterator[Fault]:
    told = option.get("description") or ""
    if not SHARE.search(told if isinstance(told, str) else " ".join(told)) or isinstance(value, bool):
        return
    try:
        fits = 0 <= float(value) <= 1
    except (TypeError, ValueError):
        return  # told as a text
    if not fits:
        yield _at(path, "is {0}; write a share from 0 to 1, such as 0.05 for 5 %".format(value))


def _shown(value: Any) -> str:
    return "the text {0!r}".format(str(value)[:80]) if isinstance(value, str) else kind(value)


def _choice(path: str, choices: Iterable[Any], value: Any) -> Iterator[Fault]:
    if isinstance(value, bool) and "." not in path:
        return  # told as a text, with how it was written
    if value not in choices or isinstance(value, bool):
        yield _at(path, "is {0}; it must be one of {1}".format(_shown(value), ", ".join(map(str, choices))))


def _number(path: str, wanted: str, value: Any) -> Iterator[Fault]:
    try:
        number = float(value) if not isinstance(value, bool) else None
    except (TypeError, ValueError):
        return  # told as a text
    key = path.rpartition(".")[2]
    least = 1 if AT_LEAST_ONE.search(key) else 0
    if number is None:
        return
    if wanted == "int" and not number.is_integer():
        yield _at(path, "is {0}; write a whole number".format(value))
    elif "." in path and COUNTS.search(key) and number < least:
        yield _at(path, "is {0}; write {1} or more".format(value, least))


def _list(path: str, option: Mapping[str, Any], value: Any) -> Iterator[Fault]:
    of_maps = option.get("elements") == "dict"
    if not isinstance(value, (list, tuple)):
        if of_maps or not isinstance(value, str):
            yield _at(path, "is {0}; write a list{1}".format(kind(value), " of maps" if of_maps else ""), whole=True)
        return
    for index, item in enumerate(value):
        below = "{0}[{1}]".format(path, index)
        if of_maps:
            yield from _map(below, option, item)
        elif item is None:
            yield _at(below, "has no value; write one, or leave the item out")
        elif option.get("choices"):
            yield from _choice(below, option["choices"], item)
        elif option.get("elements") in ("int", "float"):
            yield from _number(below, str(option["elements"]), item)


def _map(path: str, option: Mapping[str, Any], value: Any) -> Iterator[Fault]:
    options: Mapping[str, Any] = option.get("options") or {}
    if not isinstance(value, Mapping):
        yield _at(path, "is {0}; write a map of names to values".format(kind(value)), whole=True)
        return
    unknown = [str(key) for key in value if key not in options]
    for key, inner in options.items():
        if value.get(key) is not None:
            yield from faults("{0}.{1}".format(path, key), inner, value[key])
        # A name has a format that is never empty, which tells more
        empty = value.get(key) is None or (isinstance(value[key], str) and key != "name" and not value[key].strip())
        if inner.get("required") and empty and not difflib.get_close_matches(key, unknown, n=1):
            wanted = inner["description"] if isinstance(inner["description"], str) else " ".join(inner["description"])
            form = "has no value; write it: {0}" if key in value else "is missing; write it: {0}"
            yield _at("{0}.{1}".format(path, key), form.format(wanted.rstrip(".")))


def _at(path: str, message: str, whole: bool = False) -> Fault:
    return Fault(path, "{0}: {1}".format(path, message), whole)


def texts(path: str, value: Any) -> Iterator[Tuple[str, str]]:
    """(path, text) of every text in a value."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from texts("{0}.{1}".format(path, key), item)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from texts("{0}[{1}]".format(path, index), item)
    elif isinstance(value, str):
        yield path, value


def path_of(fault: str) -> str:
    """The path that a fault begins with, empty where it begins with none."""
    found = PATH.match(fault)
    return found.group(1) if found else ""


def once(told: Iterable[Fault], more: Iterable[str]) -> List[str]:
    """Those of ``more`` that are about nothing that ``told`` is about already."""
    places = {(fault.path, fault.whole) for fault in told}

    def known(path: str) -> bool:
        return any(path == one or (whole and path.startswith((one + ".", one + "["))) for one, whole in places)

    return [fault for fault in more if not known(path_of(fault))]


def anew(told: Iterable[str], more: Iterable[str]) -> List[str]:
    """Those of ``more`` whose place has no fault in ``told``."""
    places = {path_of(fault) for fault in told} - {""}
    return [fault for fault in more if path_of(fault) not in places]
