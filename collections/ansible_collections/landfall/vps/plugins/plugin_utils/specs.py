"""Reads the argument specs of all roles and validates a host's variables against them."""

from __future__ import annotations

import os
import re
from typing import Any, Callable, Collection, Dict, Iterable, List, Mapping, Optional

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.parsing.convert_bool import BOOLEANS, boolean
from ansible_collections.landfall.vps.plugins.plugin_utils import checks, formats, keys, quick_yaml, shapes, text
from ansible_collections.landfall.vps.plugins.plugin_utils.origin import Sources

BOOLEANS_STRINGS = frozenset(word for word in BOOLEANS if isinstance(word, str))
STRICT = "landfall_strict_variables"
FILLED = "filled"  # our own mark in a spec: the role has a value for this secret
EMPTY = ('""', "''", "~", "null")
OF_FILTER = re.compile(r"The filter plugin '[^']+' failed: ((\w+)\b.*)", re.DOTALL)
UNDEFINED = re.compile(r"'(\w+)' is undefined")
WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
DEFAULTS = os.path.join("defaults", "main.yml")
SPEC = os.path.join("meta", "argument_specs.yml")


def role_specs(roles_folder: str) -> Dict[str, Dict[str, Any]]:
    """Options of every role below ``roles_folder`` that has an argument spec, by role. Raises OSError, YAMLError."""
    result = {}
    for role in sorted(os.listdir(roles_folder)):
        path = os.path.join(roles_folder, role, SPEC)
        if os.path.exists(path):
            with open(path, encoding="utf-8") as handle:
                document = quick_yaml.load(handle.read())
            result[role] = dict(document["argument_specs"]["main"].get("options") or {})
            secret = [n for n, option in result[role].items() if option.get("no_log") and option.get("type") == "str"]
            for name in _with_value(os.path.join(roles_folder, role, DEFAULTS), secret) if secret else []:
                result[role][name] = {**result[role][name], FILLED: True}
    return result


def _with_value(path: str, names: Iterable[str]) -> List[str]:
    """Those of ``names`` that a role's defaults set to something."""
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as handle:
        text = handle.read()
    found = [(name, re.search(r"^{0}:[ \t]*(\S.*)$".format(re.escape(name)), text, re.MULTILINE)) for name in names]
    return [name for name, match in found if match and match.group(1).strip() not in EMPTY]


def empty_secrets(spec: Mapping[str, Mapping[str, Any]], values: Mapping[str, Any]) -> List[str]:
    """Refuse a secret that is set to nothing where the role has one: it would protect nothing, or fail much later.

    A password of nobody (``<x>_user`` is empty, too) is meant.
    """
    faults = []
    for name, option in sorted(spec.items()):
        value = values.get(name, "-")
        if not option.get(FILLED) or (value is not None and (not isinstance(value, str) or value.strip())):
            continue
        user = re.sub("password$", "user", name)
        if user != name and user in values and not values[user]:
            continue
        faults.append("{0}: is empty; leave it out for the role's own, or set it from Ansible Vault".format(name))
    return faults


def text_for_boolean(name: str, value: Any, option: Mapping[str, Any]) -> List[str]:
    """Refuse the text that ``-e name=false`` makes: any condition would take it for true.

    Roles convert their ``<role>_enabled`` themselves, because that is what one sets on the command line.
    """
    if option.get("type") != "bool" or not isinstance(value, str):
        return []
    if name.endswith("_enabled") and value.lower() in BOOLEANS_STRINGS:
        return []
    form = "{0} is the text {1!r}, not a boolean; on the command line write -e '{{\"{0}\": {2}}}'"
    return [form.format(name, str(value), "true" if value.lower() in ("true", "yes", "on", "1") else "false")]


def required_faults(spec: Mapping[str, Mapping[str, Any]], values: Mapping[str, Any]) -> List[str]:
    """Refuse a required variable that is absent or set to nothing, with what its description says would be right."""
    faults = []
    for name, option in sorted(spec.items()):
        if not option.get("required") or str(values.get(name, "")).strip():
            continue
        wanted = option.get("description") or "see the README of its role"
        what = "is empty" if name in values else "missing required variable"
        text = " ".join([wanted] if isinstance(wanted, str) else wanted).rstrip(".")
        faults.append("{0}: {1}; set it: {2}".format(name, what, text))
    return faults


def _about(
    names: Mapping[str, Any],
    spec: Mapping[str, Mapping[str, Any]],
    values: Mapping[str, Any],
    own: Mapping[str, Any],
    sources: Sources,
) -> Dict[str, List[str]]:
    """The faults of each variable of a role, by its name; each place is told once."""
    found = {}
    for name, value in values.items():
        shape = list(shapes.faults(name, spec[name], value))
        faults = list(keys.unknown(name, spec[name], value, (own.get("instead") or {}).get(name, {})))
        faults += [fault.text for fault in shape]
        worth = checks.value_faults(name, value)
        bounds = [fault for fault in worth if checks.NO_BOUND in fault]  # which says more than that it is no size
        faults += shapes.anew(bounds, shapes.once(shape, text.faults(names[name], spec[name], value, own, sources)))
        found[name] = faults + shapes.anew(faults, worth)
    return found


def _causes(
    about: Mapping[str, List[str]],
    raised: Mapping[str, List[str]],
    names: Mapping[str, str],
    written: Mapping[str, Any],
) -> List[str]:
    """All faults but those of variables that are only made of one that has a fault itself."""
    failed = {name for where in raised.values() for name in where}
    wrong = {name for name, found in about.items() if found} | failed
    follow = set(consequences(wrong, wrong, written))
    own = {name: _own(name, found, wrong, written) for name, found in about.items() if name not in follow}
    faults = [fault for found in own.values() for fault in found]
    for error, where in raised.items():
        causes = [name for name in where if name not in follow]
        if causes:
            faults.append(_told(", ".join(_place(name, error, written) for name in causes), error, names))
    return faults


def _own(name: str, found: Iterable[str], wrong: Collection[str], written: Mapping[str, Any]) -> List[str]:
    """The faults of a list or map but for those at places that are made of another variable that is ``wrong``."""
    if isinstance(written.get(name), str):
        return list(found)
    others = set(wrong) - {name}
    made = [p for p, leaf in shapes.texts(name, written.get(name)) if "{{" in leaf and others & set(WORD.findall(leaf))]

    def follows(path: str) -> bool:
        return any(path == one or path.startswith((one + ".", one + "[")) for one in made)

    return [fault for fault in found if not follows(shapes.path_of(fault))]


def _place(name: str, error: str, written: Mapping[str, Any]) -> str:
    """Where in a list or map stands what nobody has defined; the variable's name where it cannot be told."""
    missing = UNDEFINED.search(error)
    if not missing or isinstance(written.get(name), str):
        return name
    leaves = shapes.texts(name, written.get(name))
    return next((path for path, leaf in leaves if "{{" in leaf and missing.group(1) in WORD.findall(leaf)), name)


def _told(where: str, error: str, names: Mapping[str, str]) -> str:
    """What a template raised, by its variable; what a filter says of another variable as it says it."""
    found = OF_FILTER.search(error)
    return found.group(1) if found and found.group(2) in names else "{0}: {1}".format(where, error)


def consequences(names: Iterable[str], wrong: Collection[str], written: Mapping[str, Any]) -> List[str]:
    """Those of ``names`` whose value is made of a variable that is ``wrong``, directly or through others.

    ``written`` has the variables as they are written. What an inventory writes as a list or a map is its own.
    """
    known: Dict[str, bool] = {}

    def made_of(name: str) -> bool:
        if name not in known:
            known[name] = False
            text = written.get(name)
            used = set(WORD.findall(text)) & set(written) - {name} if isinstance(text, str) and "{{" in text else set()
            known[name] = any(one in wrong or made_of(one) for one in sorted(used))
        return known[name]

    return [name for name in names if made_of(name)]


def inventory_faults(
    roles: Iterable[str],
    specs: Mapping[str, Mapping[str, Any]],
    defined: Iterable[str],
    resolve: Callable[[str], Any],
    collected: Optional[Dict[str, Dict[str, Any]]] = None,
    said: Optional[Mapping[str, Mapping[str, Any]]] = None,
    sources: Optional[Sources] = None,
    written: Optional[Mapping[str, Any]] = None,
) -> List[str]:
    """All that is wrong with a host's variables for these roles, one sentence each.

    ``defined`` are the names of all variables, ``resolve`` returns the value of one and may raise what the template
    engine raises for it; that is a fault, too. ``collected`` is filled with the values of the enabled roles, by role.
    ``said`` is what formats.yml says, by role; ``sources`` the files that the values came from. ``written`` has
    the variables before their templates are replaced: what follows from a fault of another variable is then not told.
    """
    names = {name: name for name in defined}  # a name may know where it was written
    sources = sources or Sources(lambda _path: "")
    strict = boolean(resolve(STRICT), strict=False) if STRICT in names else False
    faults = checks.unknown_variables(names, specs, strict)
    claims: Dict[str, List[str]] = {}
    enabled: Dict[str, Any] = {}
    raised: Dict[str, List[str]] = {}
    about: Dict[str, List[str]] = {}
    for role in sorted(set(roles) & set(specs)):
        values = {}
        for name in specs[role]:
            if name not in names:
                continue
            try:
                values[name] = resolve(name)
            except Exception as error:  # noqa: BLE001 - whatever a template raises is a fault of that variable
                raised.setdefault(str(error), []).append(name)
        for name, value in values.items():
            faults += text_for_boolean(name, value, specs[role][name])
        if not boolean(values.get("{0}_enabled".format(role), True), strict=False):
            continue
        claims["role {0}".format(role)] = [role.replace("_", "-")]
        if collected is not None:
            collected[role] = values
        own = (said or {}).get(role, {})
        wanted = {name: {**specs[role][name], "required": True} for name in own.get("filled", [])}
        faults += required_faults({**specs[role], **wanted}, values)
        faults += empty_secrets({name: o for name, o in specs[role].items() if name not in wanted}, values)
        found = _about({name: names[name] for name in values}, specs[role], values, own, sources)
        about.update(found)
        if not any(found.values()):
            # What is missing at the top was just told
            given = {name: {**option, "required": False} for name, option in specs[role].items()}
            checked = ArgumentSpecValidator(given).validate(values)
            faults += ["role {0}: {1}".format(role, message) for message in checked.error_messages]
        enabled.update(values)
        faults += formats.order_faults(own.get("at_most", {}), values)
        for name, value in values.items():
            if isinstance(value, list) and name.endswith(("_services", "_workers")):
                claims.pop("role {0}".format(role), None)  # whose containers are its items
                claims[name] = [str(item["name"]) for item in value if isinstance(item, Mapping) and "name" in item]
    faults += _causes(about, raised, names, written or {})
    return faults + checks.container_name_clashes(claims) + checks.publish_clashes(enabled)
