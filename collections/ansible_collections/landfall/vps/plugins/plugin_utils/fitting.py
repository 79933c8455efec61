"""Fits a dashboard to the stack that it is shipped to; the file itself can be imported by hand as it is."""

from __future__ import annotations

import glob
import json
import os
import re
from typing import Any, Callable, Dict, Iterator, List, Mapping, Tuple

# What a dashboard knows by names that the VPS gives: deploys, as starts of a Compose project's containers, and logs
_PROJECTS = re.compile(r'(container_label_com_docker_compose_project=~\\")([^"\\]+)(\\")')
_LOGS = re.compile(r"(/d/landfall-logs\?var-container=)(?=[a-z0-9])")
_BOARD = re.compile(r"/d/landfall-([a-z0-9-]+)\?")


def _panels(board: Mapping[str, Any]) -> Iterator[Dict[str, Any]]:
    for panel in board.get("panels") or []:
        yield panel
        yield from panel.get("panels") or []  # those of a collapsed row


def linked(texts: List[str], role_path: str) -> Dict[str, str]:
    """The dashboards that ``texts`` link to, each with the role beside ``role_path`` that ships it."""
    found = {}
    for name in sorted({name for text in texts for name in _BOARD.findall(text)}):
        pattern = os.path.join(os.path.dirname(role_path), "*", "files", "dashboards", name + ".json")
        for path in glob.glob(pattern):
            found[name] = os.path.relpath(path, os.path.dirname(role_path)).split(os.sep, maxsplit=1)[0]
    return found


def prefixed(text: str, prefix: str) -> str:
    """``text`` with the names that containers and projects have on the VPS, which begin with ``prefix``."""
    if not prefix:
        return text
    text = _PROJECTS.sub(lambda found: "{1}{0}({2}){3}".format(prefix, *found.groups()), text)
    return _LOGS.sub(lambda found: found.group(1) + prefix, text)


def _without_rows(board: Dict[str, Any], titles: List[str]) -> bool:
    """Take rows and their panels out of a board, and move what is below up. Whether there were any."""
    kept: List[Dict[str, Any]] = []
    up, gap = 0, 0
    leaving = False
    for panel in board.get("panels") or []:
        place = panel["gridPos"]
        if panel.get("type") == "row":
            if leaving:
                up += place["y"] - gap
            leaving = panel.get("title") in titles
            gap = place["y"]
        if not leaving:
            place["y"] -= up
            kept.append(panel)
    changed = len(kept) < len(board.get("panels") or [])
    board["panels"] = kept
    return changed


def fit(text: str, settings: Mapping[str, Any]) -> str:
    """``text`` with the hidden ``variables`` of ``settings`` set, and without links to dashboards that are ``absent``.

    Names on the VPS begin with the stack's ``prefix``.
    ``rows`` are titles of rows that are left out with their panels.

    A text that fits already is returned as it is, and so is one that is no dashboard, which is refused elsewhere.
    """
    text = prefixed(text, settings.get("prefix") or "")
    try:
        board = json.loads(text)
    except ValueError:
        return text
    if not isinstance(board, dict):
        return text
    changed = False
    for variable in (board.get("templating") or {}).get("list") or []:
        value = settings["variables"].get(variable["name"])
        if value is not None and variable.get("hide") == 2 and variable.get("query") != value:
            variable["query"] = value
            variable["current"] = {"selected": True, "text": value, "value": value}
            changed = True
    if settings.get("rows"):
        changed |= _without_rows(board, settings["rows"])
    for panel in _panels(board):
        links = panel.get("links") or []
        kept = [link for link in links if not set(_BOARD.findall(link.get("url") or "")) & set(settings["absent"])]
        if len(kept) < len(links):
            panel["links"] = kept
            changed = True
    return json.dumps(board, indent=2, sort_keys=True, ensure_ascii=False) + "\n" if changed else text


def fit_all(
    contents: Dict[str, Tuple[bytes, int, int]],
    boards: Tuple[str, ...],
    source: str,
    role_path: str,
    render_text: Callable[[str, Mapping[str, Any], Mapping[str, str]], str],
    without: List[str],
    delimiters: Mapping[str, str],
) -> None:
    """Fit the dashboards among ``contents`` to what the template ``source`` says of this stack, and leave rows out."""
    paths = [path for path in contents if os.path.dirname(path) in boards]
    if not paths or not os.path.exists(source):
        return
    texts = {path: contents[path][0].decode(errors="surrogateescape") for path in paths}
    known = linked(list(texts.values()), role_path)
    settings = json.loads(render_text(source, {"landfall_linked_dashboards": known}, delimiters))
    for path, text in texts.items():
        name = "dashboards/{0}#".format(path.split("--", 1)[1])
        rows = [item[len(name) :] for item in without if item.startswith(name)]
        fitted = fit(text, {**settings, "rows": rows}).encode(errors="surrogateescape")
        contents[path] = (fitted, *contents[path][1:])
