"""What is wrong with dashboards. Of two with one uid one or none is loaded, which only the program's log tells."""

from __future__ import annotations

import json
import os
import re
from typing import Any, Dict, List, Mapping, Sequence

UID = re.compile(r"^[A-Za-z0-9_-]{1,40}$")


def _uid(content: bytes) -> Any:
    """The uid of a dashboard. Raises ValueError for what is no JSON object."""
    board = json.loads(content.decode("utf-8"))
    if not isinstance(board, dict):
        raise ValueError("it is no object")
    return board.get("uid")


def faults(new: Mapping[str, bytes], there: Mapping[str, bytes]) -> List[str]:
    """Faults of ``new`` dashboards, one sentence each, beside those that are ``there``; both map path to content."""
    result: List[str] = []
    owner: Dict[str, str] = {}
    for path, content in sorted(there.items()):
        try:
            owner.setdefault(str(_uid(content)), path)
        except ValueError:
            continue  # not shipped by the engine, so not judged either
    for path, content in sorted(new.items()):
        try:
            uid = _uid(content)
        except ValueError as error:
            result.append("{0}: it is no dashboard in JSON: {1}".format(path, error))
            continue
        if not isinstance(uid, str) or not UID.match(uid):
            said = "missing" if uid is None else json.dumps(uid)
            form = "{0}: its uid is {1}; it must be 1 to 40 letters, digits, hyphens or underscores that no other has"
            result.append(form.format(path, said))
        elif owner.setdefault(uid, path) != path:
            form = "{0}: its uid {1} is that of {2} already; give each dashboard a uid of its own"
            result.append(form.format(path, uid, owner[uid]))
    return result


def _read(path: str) -> bytes:
    with open(path, "rb") as handle:
        return handle.read()


def placed_faults(
    root: str, staged: str, wanted: Mapping[str, str], changes: Mapping[str, str], folders: Sequence[str]
) -> List[str]:
    """Faults of the dashboards that a component is about to place in these ``folders`` of this host.

    ``staged`` is the folder with all files of the component, ``wanted`` has their paths, ``changes`` says of each path
    that differs what is to be done (see plan.py).
    """
    result: List[str] = []
    for folder in folders:
        own = [path for path in wanted if path.startswith(folder + "/")]
        if not any(path in changes for path in own):
            continue
        live = os.path.join(root, folder)
        names = os.listdir(live) if os.path.isdir(live) else []
        paths = ["{0}/{1}".format(folder, name) for name in names if name.endswith(".json")]
        there = [path for path in paths if path not in wanted and path not in changes]
        result += faults(
            {path: _read(os.path.join(staged, path)) for path in own},
            {path: _read(os.path.join(root, path)) for path in there},
        )
    return result
