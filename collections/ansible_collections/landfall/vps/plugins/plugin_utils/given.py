"""Files that an inventory gives: options ``files``, ``folders`` and ``ships`` of ``landfall.vps.component``."""

from __future__ import annotations

import glob
import os
from typing import Any, Dict, Iterator, List, Mapping, Sequence, Tuple

from ansible_collections.landfall.vps.plugins.module_utils import dashboards

BOARDS = "dashboards"


class GivenError(ValueError):
    """A file or folder cannot be a part of the component's configuration."""


def files(options: Mapping[str, Any]) -> Iterator[Tuple[str, bytes]]:
    """(path in the folder, content) of texts by name, of files and folders. Raises GivenError, OSError."""
    for relative, text in (options.get("files") or {}).items():
        if not isinstance(text, str):
            raise GivenError("the file {0} is no text; write it in quotes".format(relative))
        yield _place(relative), text.encode()
    for relative, folder in (options.get("folders") or {}).items():
        if os.path.isfile(folder):
            with open(folder, "rb") as handle:
                yield _place(relative), handle.read()
            continue
        if not os.path.isdir(folder):
            raise GivenError("there is no file or folder {0} on this machine".format(folder))
        for source in below(folder):
            with open(source, "rb") as handle:
                yield "{0}/{1}".format(_place(relative), os.path.relpath(source, folder)), handle.read()


def shipped(
    options: Mapping[str, Any], roles_folder: str, destinations: Mapping[str, Sequence[str]]
) -> Iterator[Tuple[str, str, bytes]]:
    """(folder below the root, file name, content) of the files that go to who takes in their kind.

    Dashboards are looked at beside those of all roles in ``roles_folder``. Raises GivenError, OSError.
    """
    for item in options.get("ships") or []:
        told = "{0}: ".format(item["variable"]) if item.get("variable") else ""
        contents: Dict[str, bytes] = {}
        for path in item.get("files") or []:
            if not os.path.isfile(path):
                raise GivenError("{0}there is no file {1} on this machine".format(told, path))
            with open(path, "rb") as handle:
                contents[path] = handle.read()
        names = [os.path.basename(path) for path in contents]
        for path in contents:
            if names.count(os.path.basename(path)) > 1:
                raise GivenError("{0}{1}: another file has this name; rename one".format(told, path))
            if item["kind"] == BOARDS and not path.endswith(".json"):
                raise GivenError("{0}{1} must end in .json, or nobody would load it".format(told, path))
        if item["kind"] == BOARDS and contents:
            found = dashboards.faults(contents, _boards_of_roles(roles_folder))
            if found:
                raise GivenError(told + "; ".join(found))
        for folder in destinations.get(item["kind"]) or []:
            for path, content in contents.items():
                yield folder, os.path.basename(path), content


def _boards_of_roles(roles_folder: str) -> Dict[str, bytes]:
    found = {}
    for path in glob.glob(os.path.join(roles_folder, "*", "files", BOARDS, "*.json")):
        with open(path, "rb") as handle:
            found["roles/" + os.path.relpath(path, roles_folder)] = handle.read()
    return found


def below(folder: str) -> List[str]:
    """All files below a folder of the controller, by name; links stand for what they point to.

    What Python keeps beside a program that somebody imported there is none of them.
    """
    found = []
    for place, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        found += [os.path.join(place, name) for name in sorted(names) if os.path.isfile(os.path.join(place, name))]
    return found


def _place(relative: str) -> str:
    """``relative`` if it is a plain path below config/. Raises GivenError."""
    if not relative.startswith("config/") or any(part in ("", ".", "..") for part in relative.split("/")):
        raise GivenError("'{0}' is no path below config/".format(relative))
    return relative
