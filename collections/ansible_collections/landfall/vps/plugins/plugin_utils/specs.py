"""Reads the argument specs of all roles and validates a host's variables against them."""

from __future__ import annotations

import os
import re
from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.parsing.convert_bool import BOOLEANS, boolean
from ansible_collections.landfall.vps.plugins.plugin_utils import checks, formats, keys, quick_yaml, text
from ansible_collections.landfall.vps.plugins.plugin_utils.origin import Sources

BOOLEANS_STRINGS = frozenset(word for word in BOOLEANS if isinstance(word, str))
STRICT = "landfall_strict_variables"
FILLED = "filled"  # our own mark in a spec: the role has a value for this secret
EMPTY = ('""', "''", "~", "null")
OF_FILTER = re.compile(r"The filter plugin '[^']+' failed: ((\w+)\b.*)", re.DOTALL)
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


def _told(where: str, error: str, names: Mapping[str, str]) -> str:
    """What a template raised, by its variable; what a filter says of another variable as it says it."""
    found = OF_FILTER.search(error)
    return found.group(1) if found and found.group(2) in names else "{0}: {1}".format(where, error)


def inventory_faults(
    roles: Iterable[str],
    specs: Mapping[str, Mapping[str, Any]],
    defined: Iterable[str],
    resolve: Callable[[str], Any],
    collected: Optional[Dict[str, Dict[str, Any]]] = None,
    said: Optional[Mapping[str, Mapping[str, Any]]] = None,
    sources: Optional[Sources] = None,
) -> List[str]:
    """All that is wrong with a host's variables for these roles, one sentence each.

    ``defined`` are the names of all variables, ``resolve`` returns the value of one and may raise what the template
    engine raises for it; that is a fault, too. ``collected`` is filled with the values of the enabled roles, by role.
    ``said`` is what formats.yml says, by role; ``sources`` the files that the values came from.
    """
    names = {name: name for name in defined}  # a name may know where it was written
    sources = sources or Sources(lambda _path: "")
    strict = boolean(resolve(STRICT), strict=False) if STRICT in names else False
    faults = checks.unknown_variables(names, specs, strict)
    claims: Dict[str, List[str]] = {}
    enabled: Dict[str, Any] = {}
    raised: Dict[str, List[str]] = {}
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
        # What is missing at the top was just told
        given = {name: {**option, "required": False} for name, option in specs[role].items()}
        checked = ArgumentSpecValidator(given).validate(values)
        faults += keys.faults(role, specs[role], values, own, checked.error_messages)
        enabled.update(values)
        faults += formats.order_faults(own.get("at_most", {}), values)
        for name, value in values.items():
            faults += text.faults(names[name], specs[role][name], value, own, sources)
            faults += checks.value_faults(name, value)
            if isinstance(value, list) and name.endswith(("_services", "_workers")):
                claims.pop("role {0}".format(role), None)  # whose containers are its items
                claims[name] = [str(item["name"]) for item in value if isinstance(item, Mapping) and "name" in item]
    faults += [_told(", ".join(where), error, names) for error, where in raised.items()]
    return faults + checks.container_name_clashes(claims) + checks.publish_clashes(enabled)
