"""YAML as Compose reads it (1.2), with the line of every key."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from scripts.van.interpolate import ComposeError

INT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
OCTAL = re.compile(r"0o?[0-7]+")
HEX = re.compile(r"0x[0-9a-fA-F]+")
FLOAT = re.compile(r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+)(?:[eE][-+]?[0-9]+)?")
BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
MERGE = "<<"


class Reset:
    """``!reset``: what an override takes away."""


class Override(dict[str, Any]):
    """``!override``: what replaces, and is not merged; the value is under the key ``value``."""


def load(path: Path) -> yaml.Node:
    """The tree of a file. Raises ComposeError."""
    try:
        node = yaml.compose(path.read_text(encoding="utf-8-sig"), Loader=yaml.SafeLoader)
    except OSError as error:
        raise ComposeError(f"{path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ComposeError(f"{path}: {error}") from error
    if not isinstance(node, yaml.MappingNode):
        raise ComposeError(f"{path}: this is no Compose file, which is a map with services")
    return node


def value(node: yaml.Node) -> Any:
    """The plain data of a node: text, numbers, booleans, None, lists, maps with text as keys."""
    if node.tag == "!reset":
        return Reset()
    if isinstance(node, yaml.MappingNode):
        plain: Any = {key: value(child) for key, _line, child in entries(node)}
    elif isinstance(node, yaml.SequenceNode):
        plain = [value(child) for child in node.value]
    else:
        plain = _scalar(node)
    return Override(value=plain) if node.tag == "!override" else plain


def entries(node: yaml.Node) -> Iterator[tuple[str, int, yaml.Node]]:
    """``(key, line from 1 on, node)`` of a map, with what ``<<`` brings in."""
    if not isinstance(node, yaml.MappingNode):
        return
    own = {str(key.value) for key, _child in node.value}
    for key, child in node.value:
        if key.value != MERGE or key.style:
            yield str(key.value), key.start_mark.line + 1, child
            continue
        seen: set[str] = set()
        for source in child.value if isinstance(child, yaml.SequenceNode) else [child]:
            for name, line, inner in entries(source):
                if name not in own and name not in seen:
                    seen.add(name)
                    yield name, line, inner


def child_of(node: yaml.Node, key: str) -> Any:
    """The node under a key, None where it is not there."""
    return next((child for name, _line, child in entries(node) if name == key), None)


def _scalar(node: yaml.Node) -> Any:
    text = str(node.value)
    explicit = node.tag == "tag:yaml.org,2002:str" and (text in BOOLEANS or INT.fullmatch(text))
    if getattr(node, "style", None) or explicit:
        return text
    if text in ("", "~", "null", "Null", "NULL"):
        return None
    if text in BOOLEANS:
        return BOOLEANS[text]
    for pattern, base in ((INT, 10), (OCTAL, 8), (HEX, 16)):
        if pattern.fullmatch(text):
            return int(text.replace("o", ""), base)
    return float(text) if FLOAT.fullmatch(text) else text


def text_of(plain: Any) -> str:
    """A scalar as Compose hands it to a container: 1.10 is 1.1, true is true."""
    if isinstance(plain, bool):
        return str(plain).lower()
    if isinstance(plain, float) and plain == int(plain):
        return str(int(plain))
    return str(plain)
