"""Keys of maps that no argument spec knows: which item of which variable has one, and what was probably meant."""

from __future__ import annotations

import difflib
from typing import Any, Iterator, Mapping

OTHERS = "*"
"""In a role's ``instead``: the way out for a key that neither resembles a known one nor is named there."""


def _hint(key: str, known: Mapping[str, Any], instead: Mapping[str, Any]) -> str:
    if key in instead:
        return str(instead[key])
    close = difflib.get_close_matches(key, sorted(known), n=1, cutoff=0.6)
    if close:
        return "did you mean '{0}'?".format(close[0])
    if OTHERS in instead:
        return str(instead[OTHERS])
    return "it may have {0}".format(", ".join(sorted(known)))


def _named(path: str, item: Mapping[Any, Any]) -> str:
    name = item.get("name")
    return "{0} ({1})".format(path, name) if isinstance(name, str) and name else path


def unknown(path: str, option: Mapping[str, Any], value: Any, instead: Mapping[str, Any]) -> Iterator[str]:
    """A fault for each key in ``value`` that ``option``, an argument spec, does not document.

    ``instead`` maps keys that people know from elsewhere to a sentence that says what is written here.
    """
    options = option.get("options")
    if not options:
        return
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key in options:
                yield from unknown("{0}.{1}".format(path, key), options[key], item, {})
            else:
                yield "{0} has no key '{1}'; {2}".format(_named(path, value), key, _hint(str(key), options, instead))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            if isinstance(item, Mapping):
                yield from unknown("{0}[{1}]".format(path, index), option, item, instead)
