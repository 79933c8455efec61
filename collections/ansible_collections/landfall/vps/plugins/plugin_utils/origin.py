"""What stands in an inventory's file where a value came from: YAML reads 017 as 15 and forgets how it was written."""

from __future__ import annotations

import re
from typing import Any, Callable, Dict, Optional, Tuple

import yaml
from ansible_collections.landfall.vps.plugins.plugin_utils.seam import Place, place_of

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Sources:
    """The files that values came from, read and parsed once each, and only when a value asks for it.

    ``read`` returns the text of a file, decrypted; ``trusted`` is a folder whose files write every number as it is
    printed, which is that of the roles: their own tests see to it, and a run need not read them.
    """

    def __init__(self, read: Callable[[str], str], trusted: str = "") -> None:
        self._read = read
        self._trusted = trusted
        self._files: Dict[str, Tuple[Dict[Tuple[int, int], Any], Dict[Tuple[int, int], Any], str]] = {}

    def written(self, value: Any, parent: Any = None, key: Any = None) -> Optional[str]:
        """How ``value`` was written if it stands in a file as it is, without quotes; None where nobody knows.

        ``parent`` and ``key`` are the map or list that holds it: booleans carry no origin of their own. For a variable
        ``key`` is its name and ``parent`` None.
        """
        place = place_of(value)
        if place is not None:
            return self._at(place, value)
        if isinstance(key, str) and place_of(key):
            path, line, column = place_of(key) or ("", 0, 0)
            if self._is_trusted(path):
                return None
            node = self._file(path)[0].get((line, column))
        elif isinstance(key, int) and place_of(parent):
            path, line, column = place_of(parent) or ("", 0, 0)
            if self._is_trusted(path):
                return None
            items = self._file(path)[1].get((line, column))
            node = (-1, items.value[key]) if items is not None and key < len(items.value) else None
        else:
            return None
        return None if node is None else _plain(node[1])

    def _is_trusted(self, path: str) -> bool:
        return bool(self._trusted) and path.startswith(self._trusted)

    def _at(self, place: Place, value: Any) -> Optional[str]:
        path, line, column = place
        if self._is_trusted(path):
            return _own(value)
        nodes, _lists, text = self._file(path)
        if column:
            found = nodes.get((line, -column))
            return None if found is None else _plain(found[1])
        lines = text.splitlines()  # an INI inventory names the line alone
        own = _own(value)
        if line <= len(lines) and re.search(r"(?<![\w.]){0}(?![\w.])".format(re.escape(own)), lines[line - 1]):
            return own
        return None

    def _file(self, path: str) -> Tuple[Dict[Tuple[int, int], Any], Dict[Tuple[int, int], Any], str]:
        """Of a file: values by the place of their key and, at the negative column, by their own; lists; the text."""
        if path not in self._files:
            nodes: Dict[Tuple[int, int], Any] = {}
            lists: Dict[Tuple[int, int], Any] = {}
            try:
                text = self._read(path).encode().decode()  # libyaml wants plain text, not Ansible's tagged kind
                for document in yaml.compose_all(text, Loader=_LOADER):
                    _index(document, nodes, lists)
            except Exception:  # noqa: BLE001 - a file that cannot be read again leaves its values computed ones
                nodes, lists, text = {}, {}, ""
            self._files[path] = nodes, lists, text
        return self._files[path]


def _index(node: Any, nodes: Dict[Tuple[int, int], Any], lists: Dict[Tuple[int, int], Any]) -> None:
    waiting = [node]
    seen = set()
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        line, column = one.start_mark.line + 1, one.start_mark.column + 1
        if isinstance(one, yaml.ScalarNode):
            nodes[line, -column] = (column, one)
        elif isinstance(one, yaml.SequenceNode):
            lists[line, column] = one
            waiting += one.value
        else:
            for key, value in one.value:
                nodes[key.start_mark.line + 1, key.start_mark.column + 1] = (column, value)
                waiting += [key, value]


def _plain(node: Any) -> Optional[str]:
    if not isinstance(node, yaml.ScalarNode) or node.style or "{{" in node.value or "{%" in node.value:
        return None
    return str(node.value)


def _own(value: Any) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)
