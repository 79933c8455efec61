"""Files of configuration that an inventory gives: options ``files`` and ``folders`` of ``landfall.vps.component``."""

from __future__ import annotations

import os
from typing import Any, Iterator, List, Mapping, Tuple


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


def below(folder: str) -> List[str]:
    """All files below a folder of the controller, by name; links stand for what they point to."""
    found = []
    for place, folders, names in os.walk(folder, followlinks=True):
        folders.sort()
        found += [os.path.join(place, name) for name in sorted(names) if os.path.isfile(os.path.join(place, name))]
    return found


def _place(relative: str) -> str:
    """``relative`` if it is a plain path below config/. Raises GivenError."""
    if not relative.startswith("config/") or any(part in ("", ".", "..") for part in relative.split("/")):
        raise GivenError("'{0}' is no path below config/".format(relative))
    return relative
