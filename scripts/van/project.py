"""A Compose project read whole: its files, overrides, includes, ``extends``, profiles, variables; and every key's line.

Compose itself is not asked, as few controllers have it; tests hold what is read here against what it prints.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

import yaml

from scripts.van import nodes, shapes
from scripts.van.interpolate import ComposeError, read_file, substitute
from scripts.van.nodes import Override, Reset

FILES = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")
TOP = ("secrets", "configs", "volumes", "networks")
REPLACED = ("command", "entrypoint", "test")
KEYED = {"volumes": ("target",), "ports": ("host_ip", "published", "target", "protocol"), "secrets": ("source",),
         "configs": ("source",)}  # fmt: skip


@dataclass
class Project:
    """What all files say together; ``where`` has the line of ``(service, key, …)`` as ``file:line``."""

    folder: Path
    services: dict[str, dict[str, Any]] = field(default_factory=dict)
    top: dict[str, dict[str, Any]] = field(default_factory=lambda: {key: {} for key in TOP})
    where: dict[tuple[str, ...], str] = field(default_factory=dict)
    left: dict[str, list[str]] = field(default_factory=dict)
    """Services that no chosen profile has, with their profiles."""
    unset: set[str] = field(default_factory=set)
    """Variables without a value."""

    def secret(self, name: str) -> Optional[str]:
        """What a secret of the project says, None where its file or its variable is not there."""
        said = self.top["secrets"].get(name, {})
        path = Path(str(said.get("file", "")))
        if said.get("file") and path.is_file():
            return path.read_text(encoding="utf-8")
        value: Optional[str] = said.get("value")
        return value

    def line(self, *path: str) -> str:
        """The nearest line that is known of a path below services."""
        for end in range(len(path), 0, -1):
            if path[:end] in self.where:
                return self.where[path[:end]]
        return ""


def files_of(place: Path, values: Mapping[str, str]) -> list[Path]:
    """The files that Compose would read in a folder, or ``place`` itself. Raises ComposeError."""
    if place.is_file():
        return [place]
    named = values.get("COMPOSE_FILE")
    if named:
        return [place / one for one in named.split(values.get("COMPOSE_PATH_SEPARATOR") or ":")]
    for name in FILES:
        if (place / name).exists():
            stem = name.rpartition(".")[0]
            overrides = [place / f"{stem}.override.{end}" for end in ("yaml", "yml")]
            return [place / name, *[path for path in overrides if path.exists()][:1]]
    raise ComposeError(f"{place}: no {', '.join(FILES)} there")


def read(
    files: Sequence[Path], env_files: Sequence[Path] = (), profiles: Sequence[str] = (),
    outside: Optional[Mapping[str, str]] = None,
) -> Project:  # fmt: skip
    """The project of these files.

    :param env_files: in place of ``.env`` beside the first file
    :param profiles: besides those of COMPOSE_PROFILES; ``*`` for all
    :param outside: the environment that wins over files; that of this process by default
    :raises ComposeError: for what Compose would refuse as well
    """
    environment = dict(os.environ if outside is None else outside)
    folder = files[0].resolve().parent
    values = variables(folder, env_files, environment)
    result = Project(folder)
    for path in files:
        part = _one_file(path.resolve(), folder, values, result.unset)
        _join(result, part)
    chosen = {*profiles, *filter(None, values.get("COMPOSE_PROFILES", "").split(","))}
    for name, service in list(result.services.items()):
        own = set(service.get("profiles") or [])
        if own and not own & chosen and "*" not in chosen:
            result.left[name] = sorted(own)
            del result.services[name]
        service.pop("profiles", None)
        _settle(service)
    return result


def variables(folder: Path, env_files: Sequence[Path], outside: Mapping[str, str]) -> dict[str, str]:
    """What ``${NAME}`` may be in files of a folder. Raises ComposeError."""
    usual = [folder / ".env"] if (folder / ".env").is_file() else []
    values: dict[str, str] = {}
    for path in env_files or usual:
        values.update(read_file(path, {**values, **outside}))
    return {**values, **outside}


def _settle(service: dict[str, Any]) -> None:
    """Files of variables come before ``environment``; what was reset is gone."""
    for key, given in list(service.items()):
        if isinstance(given, Reset):
            del service[key]
        elif isinstance(given, Override):
            service[key] = given["value"]
    merged: dict[str, Any] = {}
    for one in service.pop("_env_files", []):
        merged.update(one)
    merged.update(service.get("environment") or {})
    if merged:
        service["environment"] = merged


def _one_file(path: Path, folder: Path, values: Mapping[str, str], unset: set[str]) -> Project:
    tree = nodes.load(path)
    part = Project(folder)
    for include in nodes.value(nodes.child_of(tree, "include") or yaml.SequenceNode("", [])):
        _include(part, path, include, values, unset)
    services = nodes.child_of(tree, "services")
    own = Project(folder)
    for name, line, node in nodes.entries(services) if services else []:
        own.where[name,] = f"{path.name}:{line}"
        own.where.update(_lines((name,), node, path.name))
        own.services[name] = _service(path, name, node, folder, values, unset, own)
    for key in TOP:
        node = nodes.child_of(tree, key)
        if node:
            plain = _filled(nodes.value(node), values, unset, path)
            own.top[key] = {name: one or {} for name, one in plain.items()}
            own.where.update({(key, name): f"{path.name}:{line}" for name, line, _one in nodes.entries(node)})
            for name, one in own.top[key].items():
                if key in ("secrets", "configs") and one.get("file"):
                    own.top[key][name] = {**one, "file": str(folder / Path(one["file"]).expanduser())}
                elif key == "secrets" and one.get("environment"):
                    own.top[key][name] = {**one, "value": values.get(one["environment"])}
    _join(part, own)
    return part


def _include(part: Project, path: Path, include: Any, values: Mapping[str, str], unset: set[str]) -> None:
    said = include if isinstance(include, Mapping) else {"path": include}
    paths = said["path"] if isinstance(said["path"], list) else [said["path"]]
    files = [(path.parent / _filled(one, values, unset, path)).resolve() for one in paths]
    folder = (path.parent / said["project_directory"]).resolve() if said.get("project_directory") else files[0].parent
    named = said.get("env_file") or []
    own = [path.parent / one for one in (named if isinstance(named, list) else [named])]
    inner = {**variables(folder, own, {}), **values}
    for one in files:
        _join(part, _one_file(one, folder, inner, unset))


def _lines(path: tuple[str, ...], node: yaml.Node, file: str) -> dict[tuple[str, ...], str]:
    """The lines of keys and items, two levels deep."""
    found: dict[tuple[str, ...], str] = {}
    for key, line, child in nodes.entries(node):
        found[(*path, key)] = f"{file}:{line}"
        for name, inner, _node in nodes.entries(child):
            found[(*path, key, name)] = f"{file}:{inner}"
        for item in child.value if isinstance(child, yaml.SequenceNode) else []:
            text = str(item.value) if isinstance(item, yaml.ScalarNode) else ""
            for name in {text, text.partition("=")[0], *text.split(":")[:2]} - {""}:
                found.setdefault((*path, key, name), f"{file}:{item.start_mark.line + 1}")
    return found


def _filled(plain: Any, values: Mapping[str, str], unset: set[str], path: Path) -> Any:
    try:
        if isinstance(plain, str):
            return substitute(plain, values, unset.add)
        if isinstance(plain, Override):
            return Override(value=_filled(plain["value"], values, unset, path))
        if isinstance(plain, dict):
            return {key: _filled(one, values, unset, path) for key, one in plain.items()}
        return [_filled(one, values, unset, path) for one in plain] if isinstance(plain, list) else plain
    except ComposeError as error:
        raise ComposeError(str(error) if path.name in str(error) else f"{path}: {error}") from error


def _service(
    path: Path, name: str, node: yaml.Node, folder: Path, values: Mapping[str, str], unset: set[str], own: Project,
    seen: tuple[tuple[Path, str], ...] = (),
) -> dict[str, Any]:  # fmt: skip
    if (path, name) in seen:
        raise ComposeError(f"{path}: services.{name} extends itself")
    plain = _filled(nodes.value(node), values, unset, path)
    if not isinstance(plain, dict):
        raise ComposeError(f"{path}: services.{name} is no map")
    try:
        service: dict[str, Any] = shapes.long(plain, folder, values, unset.add)
    except (ComposeError, AttributeError, TypeError, ValueError, KeyError) as error:
        raise ComposeError(f"{path}: services.{name}: {error}") from error
    base = service.pop("extends", None)
    if base is None:
        return service
    said = {"service": base} if isinstance(base, str) else base
    file = (path.parent / said["file"]).resolve() if said.get("file") else path
    services = nodes.child_of(nodes.load(file), "services")
    found = nodes.child_of(services, said["service"]) if services else None
    if found is None:
        raise ComposeError(f"{path}: services.{name} extends {said['service']}, which {file.name} does not have")
    place = file.parent if file != path else folder
    for key, line in _lines((name,), found, file.name).items():
        own.where.setdefault(key, line)
    inherited = _service(file, said["service"], found, place, values, unset, own, (*seen, (path, name)))
    return merge(inherited, service)


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Two long forms of a service, the second one over the first, as Compose merges them."""
    result = dict(base)
    for key, value in over.items():
        if isinstance(value, (Reset, Override)) or key not in base or key in REPLACED:
            result[key] = value
        elif isinstance(value, dict) and isinstance(base[key], dict):
            result[key] = merge(base[key], value)
        elif isinstance(value, list) and isinstance(base[key], list):
            result[key] = _merged_lists(key, base[key], value)
        else:
            result[key] = value
    return {key: value for key, value in result.items() if not isinstance(value, Reset)}


def _merged_lists(key: str, base: list[Any], over: list[Any]) -> list[Any]:
    if key not in KEYED:
        return [*base, *(one for one in over if one not in base)]
    found = {tuple(one.get(part) for part in KEYED[key]): one for one in [*base, *over]}
    return list(found.values())


def _join(result: Project, part: Project) -> None:
    for name, service in part.services.items():
        result.services[name] = merge(result.services.get(name, {}), service)
    for key in TOP:
        result.top[key].update(part.top[key])
    result.where.update(part.where)
