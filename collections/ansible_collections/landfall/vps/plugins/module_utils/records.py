"""The record of each component: what an earlier run applied and proved. Read strictly, migrated, written whole."""

from __future__ import annotations

import json
import os
import re
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

from ansible_collections.landfall.vps.plugins.module_utils import shapes

STATE_DIR = ".state"
RECORD_FORMAT = 2


def _with_group(record: Dict[str, Any]) -> Dict[str, Any]:
    """2026-11-27: components that one role deploys are a group. Of one with several services see ``handover``."""
    return {**record, "group": (record.get("meta") or {}).get("role") or record.get("name")}


MIGRATIONS: Dict[int, Callable[[Dict[str, Any]], Dict[str, Any]]] = {1: _with_group}
"""Format number to the function that makes a record of the next format of it."""


class BadRecord(Exception):
    """A record that cannot be used; the message names the file, what is wrong with it and the way out."""


def path_of(root: str, name: str) -> str:
    """Where the record of component ``name`` lies."""
    return os.path.join(root, STATE_DIR, name + ".json")


def _refuse(path: str, what: str) -> BadRecord:
    form = "{0} {1}; move it away: the next run then deploys the component again, its volumes stay"
    return BadRecord(form.format(path, what))


def _checked(path: str, value: Any, name: str) -> Dict[str, Any]:
    if not isinstance(value, dict):
        raise _refuse(path, "is no record")
    number = value.get("format", 1)
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise _refuse(path, "has no format number that this Landfall knows")
    if number > RECORD_FORMAT:
        form = "{0} was written by a newer Landfall (format {1}, this one reads up to {2}); deploy with that version"
        raise BadRecord(form.format(path, number, RECORD_FORMAT))
    while number < RECORD_FORMAT:
        value, number = MIGRATIONS[number](value), number + 1
    fault = fault_of(value, name)
    if fault:
        raise _refuse(path, fault)
    result: Dict[str, Any] = value
    return result


def fault_of(value: Any, name: str) -> str:
    """What keeps ``value`` from being a record of component ``name``, in today's format; empty if nothing does."""
    wrong = shapes.misfit(value, shapes.RECORD)
    if wrong:
        return "is damaged: '{0}' is missing or of a wrong type".format(wrong)
    if value["name"] != name:
        return "is that of component '{0}'".format(value["name"])
    strange = shapes.strange(name, value["files"])
    return "names the file {0!r}, which is none of the component's".format(strange) if strange else ""


def load(root: str, name: str) -> Optional[Dict[str, Any]]:
    """The record of a component, in today's format, or None when there is none. Raises BadRecord."""
    return load_from(path_of(root, name), name)


def load_from(path: str, name: str) -> Optional[Dict[str, Any]]:
    """The record of component ``name`` in the file at ``path``, see ``load``."""
    try:
        value = shapes.read(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise _refuse(path, "cannot be read: {0}".format(error)) from error
    return _checked(path, value, name)


def load_all(root: str) -> Tuple[Dict[str, Dict[str, Any]], Dict[str, str]]:
    """All records by component, and of those that cannot be used why."""
    folder = os.path.join(root, STATE_DIR)
    good: Dict[str, Dict[str, Any]] = {}
    bad: Dict[str, str] = {}
    for file in _names(folder):
        if not file.endswith(".json"):
            continue
        name = file[: -len(".json")]
        try:
            record = load(root, name)
        except BadRecord as error:
            bad[name] = str(error)
            continue
        if record is not None:
            good[name] = record
    return good, bad


def as_compose(value: Any) -> str:
    """JSON that Compose reads as what it is: YAML has no pairs of surrogates, and folds what it takes for line ends."""
    text = json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False)
    return re.sub("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]", lambda one: "\\u{0:04x}".format(ord(one.group())), text)


def write_whole(path: str, value: Mapping[str, Any], form: Optional[Callable[[Any], str]] = None) -> None:
    """Write JSON so that a reader finds the old text or the new one. Raises OSError when the disk refuses."""
    text = form(value) if form else json.dumps(value, sort_keys=True, indent=1)
    temporary = path + ".new"
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as handle:
            handle.write(text)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    except OSError:
        if os.path.lexists(temporary):
            os.unlink(temporary)
        raise


def write(root: str, name: str, value: Mapping[str, Any]) -> None:
    """Write the record of a component, whole or not at all. Raises OSError."""
    write_whole(path_of(root, name), {**value, "format": RECORD_FORMAT})


def leftovers(root: str) -> List[str]:
    """What a run that died left below the state folder and ``recover`` concludes or removes."""
    state = os.path.join(root, STATE_DIR)
    found = [n for n in _names(state) if n.startswith(("staged-", "standby-")) or n.endswith(".new") or n == "previous"]
    for name in _names(os.path.join(state, "journal")):
        try:
            entry = shapes.read(os.path.join(state, "journal", name, "journal.json"))
            placed = entry["phase"] == "placed"  # these are started by whoever settles
        except (OSError, ValueError, KeyError, TypeError):
            placed = False
        found += [] if placed and "." not in name else ["journal/" + name]
    found += ["releases/" + n for n in _names(os.path.join(state, "releases")) if n == "open.json" or n[0] == "."]
    return found


def _names(folder: str) -> List[str]:
    return sorted(os.listdir(folder)) if os.path.isdir(folder) else []
