"""What roles declare for others, and whether a component is there. The engine knows kinds of things, no role by name.

What a role says stands in ``meta/landfall.yml``, which is read before the role is deployed::

    takes:                # kind of file: the folder, below that of its component on the VPS, to which it goes
      rules: rules.d
    stands: [data]        # the places of a stack on several hosts at which it is deployed; on every host without it
    offers: [5432]        # ports of its component that containers on other hosts of the stack use
"""

from __future__ import annotations

import functools
import os
from typing import Any, Callable, Dict, Iterable, List, Mapping, Tuple

from ansible.module_utils.parsing.convert_bool import boolean
from ansible_collections.landfall.vps.plugins.module_utils.plan import group_of
from ansible_collections.landfall.vps.plugins.plugin_utils import placement, quick_yaml, seam
from ansible_collections.landfall.vps.plugins.plugin_utils.wanted import selected

DECLARATION = os.path.join("meta", "landfall.yml")
COMPOSE = os.path.join("templates", "compose.yaml.j2")
Destinations = Dict[str, List[str]]
"""Kind of file to the folders, relative to the root on the VPS, that files of this kind go to."""


class DeclarationError(Exception):
    """A ``meta/landfall.yml`` says what nobody understands; the message starts with its path."""


def deploys(role: str) -> bool:
    """Whether the role in this folder deploys containers."""
    return os.path.exists(os.path.join(role, COMPOSE))


def _declaration(role: str) -> Dict[str, Any]:
    """What the role in this folder declares, as it stands there. Raises DeclarationError, OSError or YAMLError."""
    path = os.path.join(role, DECLARATION)
    try:
        found = os.stat(path)
    except OSError:
        return {}
    return _read(path, (found.st_mtime_ns, found.st_size, found.st_ino))


@functools.cache
def _read(path: str, _mark: Tuple[int, int, int]) -> Dict[str, Any]:
    """A declaration, read once for all components of a run; ``_mark`` tells another file of the same name."""
    with open(path, encoding="utf-8") as handle:
        document = quick_yaml.load(handle.read())
    if not isinstance(document, dict) or not document or set(document) - {"takes", "stands", "offers"}:
        raise DeclarationError(
            "{0}: must hold 'takes', a map from kind of file to folder, 'stands' or 'offers'".format(path)
        )
    return document


def takes(role: str) -> Dict[str, str]:
    """Which kinds of files the role in this folder takes in, and into which folder. Raises as ``takers`` does."""
    path, found = os.path.join(role, DECLARATION), _declaration(role).get("takes", {})
    if not isinstance(found, dict):
        raise DeclarationError("{0}: 'takes' must be a map from kind of file to folder".format(path))
    for kind, folder in found.items():
        if kind in ("config", "secrets"):
            raise DeclarationError("{0}: takes.{1}: such files stay with their own component".format(path, kind))
        if not isinstance(folder, str) or not folder or "/" in folder or folder.startswith("."):
            raise DeclarationError("{0}: takes.{1} is {2!r}; name one folder".format(path, kind, folder))
    return {str(kind): str(folder) for kind, folder in found.items()}


def stands(role: str) -> Tuple[str, ...]:
    """The places at which the role in this folder stands; none means every host. Raises as ``takers`` does."""
    found = _declaration(role).get("stands", [])
    if not isinstance(found, list) or [place for place in found if place not in placement.PLACES]:
        form = "{0}: stands is {1!r}; list some of {2}"
        raise DeclarationError(form.format(os.path.join(role, DECLARATION), found, ", ".join(placement.PLACES)))
    return tuple(found)


def offers(role: str) -> Tuple[int, ...]:
    """The ports that the role in this folder offers to other hosts of its stack. Raises as ``takers`` does."""
    found = _declaration(role).get("offers", [])
    if not isinstance(found, list) or [port for port in found if not isinstance(port, int) or not 0 < port < 65536]:
        raise DeclarationError("{0}: offers is {1!r}; list ports".format(os.path.join(role, DECLARATION), found))
    return tuple(found)


def elsewhere(name: str, variables: Mapping[str, Any]) -> bool:
    """Whether role ``name`` stands on other hosts of this stack and not here. Raises as ``takers`` does."""
    fleet = placement.read(variables)
    if fleet is None or not variables.get("role_path"):
        return False
    folder = os.path.join(os.path.dirname(str(variables["role_path"])), name)
    return not fleet.holds(fleet.me, stands(folder))


def roles_here(variables: Mapping[str, Any]) -> List[str]:
    """The roles of this play that stand on this host, in their order. Raises as ``takers`` does."""
    return [role for role in seam.roles_of_play(variables) if not elsewhere(role, variables)]


def takers(roles_folder: str) -> Dict[str, Dict[str, str]]:
    """Which roles below ``roles_folder`` take in which kind of file: ``{kind: {role: folder}}``.

    Raises DeclarationError, OSError or YAMLError.
    """
    result: Dict[str, Dict[str, str]] = {}
    for role in sorted(os.listdir(roles_folder)):
        for kind, folder in takes(os.path.join(roles_folder, role)).items():
            result.setdefault(kind, {})[role] = folder
    return result


def destinations(
    roles_folder: str, there: Callable[[str], bool], away: Callable[[str], bool] = lambda _role: False
) -> Destinations:
    """Where each kind of file goes: to all that take it in and are ``there``; while none is, to the first that would.

    So files may arrive before who reads them exists. Who stands on another host (``away``) gets none here: what is
    meant for it is rendered once more where it stands. Raises what ``takers`` raises.
    """
    result: Destinations = {}
    for kind, every in takers(roles_folder).items():
        folders = {role: folder for role, folder in every.items() if not away(role)}
        here = [role for role in folders if there(role)] if len(folders) > 1 else []
        result[kind] = ["{0}/{1}".format(role, folders[role]) for role in here or list(folders)[:1]]
    return result


def is_there(
    name: str, variables: Mapping[str, Any], resolve: Callable[[Any], Any], recorded: Mapping[str, Any]
) -> bool:
    """Whether a component is on the VPS once this play is over.

    A role of this play is where its ``<role>_enabled`` says so (text such as "false" is understood), if the play's tags
    select it or an earlier run deployed it. What the play does not name is where the records on the VPS, ``recorded``
    (component to record), have it. ``resolve`` replaces the templates of a value.
    """
    if elsewhere(name, variables):
        return False
    known = name in recorded or any(group_of(other, record) == name for other, record in recorded.items())
    roles = seam.roles_of_play(variables)
    if name not in roles:
        return known
    enabled = resolve(variables.get(name + "_enabled", True))
    if not boolean(enabled, strict=False):
        return False
    skipped = [str(tag) for tag in variables.get("ansible_skip_tags") or []]
    return known or selected(name, roles, seam.run_tags(variables), skipped)


def after(records: Mapping[str, Mapping[str, Any]], left: Mapping[str, Any]) -> Dict[str, Mapping[str, Any]]:
    """The ``records`` as they are once the play is over that expects ``left``: ``{roles, enabled}``.

    A later play, of other roles, knows so what was deployed and removed since the VPS was read.
    """
    enabled = left.get("enabled") or []
    gone = set(left.get("roles") or []) - set(enabled)
    kept = {name: record for name, record in records.items() if not gone or group_of(name, record) not in gone}
    return {**{name: {} for name in enabled}, **kept}


def in_stack(
    name: str, variables: Mapping[str, Any], resolve: Callable[[Any], Any], recorded: Mapping[str, Any]
) -> bool:
    """Whether a component is reached by its name: it is there, or stands on another host of the stack."""
    if not elsewhere(name, variables):
        return is_there(name, variables, resolve, recorded)
    wanted = boolean(resolve(variables.get(name + "_enabled", True)), strict=False)
    return name in seam.roles_of_play(variables) and wanted


def components(roles_folder: str, roles: Iterable[str]) -> List[str]:
    """Those of ``roles`` that deploy containers, in their order."""
    return [role for role in roles if deploys(os.path.join(roles_folder, role))]


def expected(
    variables: Mapping[str, Any], resolve: Callable[[Any], Any], recorded: Mapping[str, Any]
) -> Dict[str, List[str]]:
    """What is to be on the VPS once this play is over: ``{roles, enabled}``, of those that deploy containers."""
    folder = os.path.dirname(str(variables["role_path"]))
    roles = components(folder, seam.roles_of_play(variables))
    return {"roles": roles, "enabled": [role for role in roles if is_there(role, variables, resolve, recorded)]}
