"""Whether what an inventory writes arrives as it was written: everything that ends up as text, by the roles' specs.

Strings pass. Numbers and booleans pass where their text is what was written (8000, true), as YAML turns 017 into 15,
1.10 into 1.1, 12:30 into 750 and yes into true. Nothing, lists, maps and dates are refused. All by the variable's path.
"""

from __future__ import annotations

import re
from typing import Any, Collection, Dict, Iterator, List, Mapping, NamedTuple, Optional

from ansible_collections.landfall.vps.plugins.plugin_utils import formats
from ansible_collections.landfall.vps.plugins.plugin_utils.origin import Sources
from ansible_collections.landfall.vps.plugins.plugin_utils.quoting import as_text

TEXT, NUMBER, WORDS = "text", "number", "words"
PLAIN_NUMBER = re.compile(r"^-?[0-9]+(?:\.[0-9]+)?\Z", re.ASCII)


class Leaf(NamedTuple):
    """A scalar of a variable: where it is, what its spec wants, who holds it."""

    path: str
    spec: str  # the path without indexes: app_services.environment.*
    wants: str
    value: Any
    parent: Any
    key: Any
    secret: bool


class Problem(NamedTuple):
    """A list or map that is something else."""

    path: str
    message: str


class Shapes(NamedTuple):
    """Specs that are no map of names to texts: ``free`` ones have no shape, ``deep`` ones are maps of any depth."""

    free: Collection[str] = ()
    deep: Collection[str] = ()


def leaves(name: Any, option: Mapping[str, Any], value: Any, shapes: Optional[Shapes] = None) -> Iterator[Any]:
    """Every Leaf of a variable, and a Problem for what has not the shape of its spec."""
    yield from _leaves(str(name), str(name), option, value, None, name, bool(option.get("no_log")), shapes or Shapes())


def _leaves(
    path: str, spec: str, option: Mapping[str, Any], value: Any, parent: Any, key: Any, secret: bool, shapes: Shapes
) -> Iterator[Any]:
    kind = option.get("type", "str")
    if spec in shapes.free or kind == "bool":
        return
    secret = secret or bool(option.get("no_log")) or spec.endswith("secrets")
    if kind == "list" or (kind == "raw" and isinstance(value, list)):
        yield from _list(path, spec, option, value, secret, shapes)
    elif kind == "dict":
        yield from _dict(path, spec, option, value, secret, shapes)
    elif kind == "raw" and isinstance(value, Mapping):
        yield from _raw_map(path, spec, value, secret, shapes, bool(option.get("deep")))
    else:
        yield Leaf(path, spec, NUMBER if kind in ("int", "float") else TEXT, value, parent, key, secret)


def _list(path: str, spec: str, option: Mapping[str, Any], value: Any, secret: bool, shapes: Shapes) -> Iterator[Any]:
    if value is None:
        return  # as good as an empty one
    if isinstance(value, str):
        yield Leaf(path, spec, WORDS, value, None, None, secret)  # only a command may be written so
        return
    if not isinstance(value, (list, tuple)):
        yield Problem(path, "is {0}; write a list".format(_kind(value)))
        return
    if option.get("type") == "raw":
        spec += ".*"
    # Of a list in one of several forms, an item may be a map as well
    usual = "raw" if option.get("deep") else "str"
    item_option = {"type": option.get("elements", usual), "options": option.get("options"), "deep": option.get("deep")}
    if item_option["type"] == "dict" and not item_option["options"]:
        return  # no shape is documented: handed on as it is
    for index, item in enumerate(value):
        yield from _leaves("{0}[{1}]".format(path, index), spec, item_option, item, value, index, secret, shapes)


def _raw_map(path: str, spec: str, value: Mapping[Any, Any], secret: bool, shapes: Shapes, deep: bool) -> Iterator[Any]:
    """Of a map in one of several forms, which whoever expands it judges, every text that stands somewhere in it."""
    for key, item in value.items():
        below = "{0}.{1}".format(path, key)
        if not isinstance(key, str):
            yield Problem(path, "has the key {0}, which YAML does not read as text; write it in quotes".format(key))
        else:
            inner = {"type": "raw", "deep": deep}
            yield from _leaves(below, "{0}.{1}".format(spec, key), inner, item, value, key, secret, shapes)


def _dict(path: str, spec: str, option: Mapping[str, Any], value: Any, secret: bool, shapes: Shapes) -> Iterator[Any]:
    if value is None:
        return
    if not isinstance(value, Mapping):
        yield Problem(path, "is {0}; write a map of names to values".format(_kind(value)))
        return
    options = option.get("options")
    for key, item in value.items():
        below = "{0}.{1}".format(path, key)
        if not isinstance(key, str):
            yield Problem(path, "has the key {0}, which YAML does not read as text; write it in quotes".format(key))
        elif options is None and spec in shapes.deep:
            inner = {"type": "raw", "deep": True}
            yield from _leaves(below, spec + ".*", inner, item, value, key, secret, shapes)
        elif options is None:
            inside = spec + ".*"
            yield Leaf(path, spec + ".<key>", TEXT, str(key), None, None, False)
            yield Leaf(below, inside, TEXT, item, value, key, secret)
        elif key in options:
            nested = "{0}.{1}".format(spec, key)
            yield from _leaves(below, nested, options[key], item, value, key, secret, shapes)


def scalar_fault(leaf: Leaf, sources: Sources) -> Optional[str]:
    """What keeps a scalar from being the text, or the number, that was written; None if nothing does."""
    value = leaf.value
    if isinstance(value, str):
        fault = _unwritable(leaf)
    elif value is None:
        empty = "write a number" if leaf.wants == NUMBER else "write '' for an empty one"
        fault = "has no value; {0}, or leave it out".format(empty)
    elif not isinstance(value, (bool, int, float)):
        wanted = "a number" if leaf.wants == NUMBER else "text"
        fault = "is {0}, where {1} is wanted; write one, in quotes".format(_kind(value), wanted)
    elif leaf.wants == NUMBER:
        fault = _number_fault(leaf, sources)
    else:
        fault = _written_fault(leaf, sources)
    return "{0}: {1}".format(leaf.path, fault) if fault else None


def _number_fault(leaf: Leaf, sources: Sources) -> str:
    canonical = as_text(leaf.value)
    if isinstance(leaf.value, bool) or canonical in ("inf", "-inf", "nan"):
        return "is {0}, not a number".format(canonical)
    written = sources.written(leaf.value, leaf.parent, leaf.key)
    if written is None or _same_number(written, leaf.value):
        return ""
    return "is written {0} and read as {1}; write it as a plain number".format(written, canonical)


def _written_fault(leaf: Leaf, sources: Sources) -> str:
    canonical = as_text(leaf.value)
    written = sources.written(leaf.value, leaf.parent, leaf.key)
    # A variable that several files set has the name of the first of them, so nobody knows how a boolean was written
    unsure = isinstance(leaf.value, float) or (isinstance(leaf.value, bool) and leaf.parent is None)
    of_secret = leaf.secret and isinstance(leaf.value, bool) and "_environment." not in leaf.spec
    if not of_secret and (written == canonical or (written is None and not unsure)):
        return ""
    if leaf.secret:
        return "is no text, and YAML may change how it is written; write it in quotes"
    if written is None:
        return "is read as {0}, which may have been written otherwise; write it in quotes".format(canonical)
    return "{0} is read as {1}; write it in quotes: '{0}'".format(written, canonical)


def _same_number(written: str, value: Any) -> bool:
    plain = written.lstrip("+").replace("_", "")
    if plain.lstrip("-").startswith("0") and plain.lstrip("-").isdigit() and len(plain.lstrip("-")) > 1:
        return False  # octal
    try:
        return float(plain) == float(value)
    except ValueError:
        return plain.lower().startswith(("0x", "-0x", "0b", "-0b"))


def _unwritable(leaf: Leaf) -> str:
    if leaf.wants == NUMBER:
        return "" if PLAIN_NUMBER.match(leaf.value) else "is the text {0!r}, not a plain number".format(leaf.value)
    if any("\ud800" <= char <= "\udfff" for char in leaf.value):
        return "has half of a character (a surrogate), which no file can hold"
    if "\0" in leaf.value and not leaf.secret:
        return "holds a NUL character, which no program can be given"
    return ""


def _kind(value: Any) -> str:
    if isinstance(value, Mapping):
        return "a map"
    if isinstance(value, (list, tuple)):
        return "a list"
    if isinstance(value, (set, frozenset)):
        return "a set"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return "one text"
    return {"int": "a number", "float": "a number", "date": "a date", "datetime": "a date"}.get(
        next((base.__name__ for base in type(value).__mro__ if not base.__name__.startswith("_")), ""),
        "no text ({0})".format(type(value).__name__.lstrip("_")),
    )


def faults(name: Any, option: Mapping[str, Any], value: Any, said: Mapping[str, Any], sources: Sources) -> List[str]:
    """All that is wrong with the texts and numbers of one variable; ``said`` is what its role's formats.yml says."""
    found: List[Optional[str]] = []
    files: Dict[str, str] = {}
    for leaf in leaves(name, option, value, Shapes(said.get("free", ()), said.get("deep", ()))):
        if isinstance(leaf, Problem):
            found.append("{0}: {1}".format(leaf.path, leaf.message))
            continue
        form = formats.format_of(leaf.spec, said)
        if leaf.wants == WORDS and form != "words":
            found.append("{0}: is one text; write a list".format(leaf.path))
            continue
        fault = scalar_fault(leaf, sources)
        if fault is None and leaf.wants != NUMBER and form not in (None, "text"):
            # The words of a command that is written as a list are any text
            plain = form == "words" and leaf.wants != WORDS
            fault = None if plain else formats.text_fault(leaf.path, as_text(leaf.value), str(form), leaf.secret)
        found.append(fault)
        if leaf.spec.endswith("secrets.<key>"):
            place = "{0}/{1}".format(leaf.path, leaf.value.lower())
            if place in files:
                found.append(
                    "{0}: has {1} and {2}, which would be one file".format(leaf.path, files[place], leaf.value)
                )
            files[place] = leaf.value
    return [fault for fault in found if fault]
