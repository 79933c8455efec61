"""Writes an inventory: hosts, variables, secrets for the vault, and what remains to be done."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from scripts.van.move import Inventory
from scripts.van.notes import KINDS

HOSTS = """---
all:
  hosts:
    vps:
      ansible_host: {host}
      ansible_user: {user}
      ansible_port: {port}
"""
HEAD = """---
# yamllint disable rule:line-length
# Written from {files}. Every variable is explained in roles/<role>/README.md and docs/own-application.md.
"""
VAULT = """---
# Secrets. Encrypt this file before it goes anywhere: ansible-vault encrypt {path}
"""
IGNORED = "# Secrets; vault.yml may be committed once it is encrypted\nsecrets/\nvault.yml\n"


BRIEF = ("build", "depends_on", "limits", "metrics", "health")
WIDTH = 100
# What this package itself writes as a template
TEMPLATE = re.compile(r"\{\{ (?:vault_\w+|redis_password|postgres_passwords\[)")
WORDS = ("true", "false", "yes", "no", "on", "off", "null", "y", "n")


class _Text(str):
    """Text that is written in quotes, whatever it looks like."""


class _Unsafe(str):
    """Text whose braces are no template."""


class _Short(list[Any]):
    """A list that fits into a line."""


class _Brief(dict[str, Any]):
    """A map that fits into a line."""


class _Dumper(yaml.SafeDumper):
    def increase_indent(self, flow: bool = False, indentless: bool = False) -> Any:
        """Lists are indented below their key."""
        return super().increase_indent(flow, False)


_Dumper.add_representer(
    _Text, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style='"')
)
_Dumper.add_representer(
    _Short, lambda dumper, one: dumper.represent_sequence("tag:yaml.org,2002:seq", one, flow_style=True)
)
_Dumper.add_representer(
    _Brief, lambda dumper, one: dumper.represent_mapping("tag:yaml.org,2002:map", one, flow_style=True)
)
_Dumper.add_representer(_Unsafe, lambda dumper, text: dumper.represent_scalar("!unsafe", str(text), style='"'))


def write(
    folder: Path, inventory: Inventory, source: Path, files: str, address: Mapping[str, Any], force: bool
) -> list[Path]:
    """Write all files and return their paths.

    :param source: folder of the project, named once in the variables
    :param address: ``host``, ``user`` and ``port`` of the VPS
    :raises FileExistsError: if something of it is there and may not be replaced
    """
    variables = {"compose_folder": str(source), **inventory.variables}
    # This order, so that what is looked for first stands first
    first = ["compose_folder", "app_services", "celery_service", "celery_app", "celery_workers"]
    ordered = {key: variables[key] for key in [*first, *sorted(set(variables) - set(first))] if key in variables}
    hidden = {key: _plain(value) for key, value in inventory.vault.items()}
    group = folder / "group_vars" / "all"
    texts = {
        folder / "hosts.yml": HOSTS.format(**address),
        group / "main.yml": HEAD.format(files=files) + _yaml(ordered, str(source)),
        group / "vault.yml": VAULT.format(path=group / "vault.yml") + _yaml(hidden, ""),
        folder / ".gitignore": IGNORED,
        folder / "MOVED.md": report(inventory, files),
    }
    there = [path for path in texts if path.exists()]
    if there and not force:
        raise FileExistsError(
            f"{there[0]} is there already; remove it, or name another folder, or replace all by --force"
        )
    group.mkdir(parents=True, exist_ok=True)
    for path, text in texts.items():
        mode = 0o600 if path.name == "vault.yml" else 0o644
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w", encoding="utf-8") as handle:
            os.fchmod(handle.fileno(), mode)
            handle.write(text)
    return list(texts)


def report(inventory: Inventory, files: str) -> str:
    """What was moved and what remains, as Markdown."""
    lines = [f"# Moved from {files}", ""]
    for kind, title in KINDS.items():
        found = inventory.notes.of(kind)
        lines += (
            [f"## {title}", "", *[f"- {_told(*note)}" for note in found], ""]
            if found
            else [f"## {title}", "", "Nothing.", ""]
        )
    return "\n".join(lines)


def _told(where: str, service: str, text: str) -> str:
    return "".join([f"{where}: " if where else "", f"{service}: " if service else "", text])


def _fits(value: Any) -> bool:
    plain = all(isinstance(one, (str, int, float)) for one in (value.values() if isinstance(value, dict) else value))
    return plain and len(str(value)) < WIDTH


def _yaml(value: Mapping[str, Any], source: str) -> str:
    return (
        yaml.dump(_quoted(value, source, ()), Dumper=_Dumper, sort_keys=False, width=4096, allow_unicode=True)
        if value
        else "{}\n"
    )


def _plain(value: str) -> Any:
    return _Unsafe(value) if re.search(r"\{[{%#]", value) else _Text(value)


def _quoted(value: Any, source: str, path: tuple[str, ...]) -> Any:
    if isinstance(value, (_Text, _Unsafe)):
        return value
    if isinstance(value, Mapping):
        inner = {key: _quoted(one, source, (*path, key)) for key, one in value.items()}
        return _Brief(inner) if path and path[-1] in BRIEF and _fits(inner) else inner
    if isinstance(value, list):
        items = [_quoted(one, source, path) for one in value]
        return _Short(items) if _fits(items) else items
    return _quoted_text(value, source, path) if isinstance(value, str) else value


def _quoted_text(value: str, source: str, path: tuple[str, ...]) -> str:
    if path[-1] == "context" and source and (value == source or value.startswith(source + "/")):
        return _Text("{{ compose_folder }}" + value[len(source) :])
    if re.search(r"\{[{%#]", value) and not TEMPLATE.search(value):
        return _Unsafe(value)
    plain = re.fullmatch(r"[A-Za-z/][A-Za-z0-9_./-]*", value) and value.lower() not in WORDS
    return value if plain else _Text(value)
