"""What is wrong with an inventory or a VPS, found before anything changes. Pure functions: values in, faults out."""

from __future__ import annotations

import difflib
import re
from typing import Any, Dict, Iterable, Iterator, List, Mapping, Optional, Tuple

from ansible_collections.landfall.vps.plugins.plugin_utils.render import image_fault

OLDEST_ENGINE = 25
# How like a real variable is a slip of the pen: of the part behind the role's name, and of a name that no role's begins
ALIKE, MUCH_ALIKE = 0.82, 0.9
SUPPORTED = {"debian": (12, 0), "ubuntu": (22, 4)}
# Variables by whose names one sees that they bound something: to the programs behind most of them 0 means no limit
BOUNDS = re.compile(r"_(memory|cpus|maxmemory|limit|retention_size|max_(?!age$)[a-z_]+)$")
NO_BOUND = "is no bound"
AMOUNT = re.compile(r"^\s*([+-]?\d+(?:\.\d+)?)\s*[A-Za-z]*\s*$")
PUBLISH = re.compile(r"^(?:(?:\d{1,3}(?:\.\d{1,3}){3}|\[[0-9a-fA-F:]+\]):)?(\d{1,5}):(\d{1,5})(?:/(?:tcp|udp))?$")


def role_of(variable: str, roles: Iterable[str]) -> Optional[str]:
    """The role that a variable belongs to by its prefix: the longest that fits, or None."""
    fitting = [role for role in roles if variable.startswith(role + "_")]
    return max(fitting, key=len) if fitting else None


def _swapped(one: str, other: str) -> bool:
    """Whether two neighbouring letters changed places, which in a short word is little alike and yet a slip."""
    differ = [at for at, (mine, yours) in enumerate(zip(one, other)) if mine != yours]
    return len(one) == len(other) and len(differ) == 2 and one[differ[0]] + one[differ[1]] == (
        other[differ[1]] + other[differ[0]]) and differ[1] == differ[0] + 1  # fmt: skip


def _closest(name: str, candidates: Iterable[str], skip: int) -> Tuple[float, str]:
    """The candidate most like ``name``, from 0 to 1 and by name; both are compared without their first characters."""
    matcher = difflib.SequenceMatcher(None, "", name[skip:])
    best = (0.0, "")
    for candidate in candidates:
        matcher.set_seq1(candidate[skip:])
        if matcher.real_quick_ratio() > best[0] and matcher.quick_ratio() > best[0]:
            likeness = 1.0 if _swapped(candidate[skip:], name[skip:]) else matcher.ratio()
            best = max(best, (likeness, candidate))
    return best


def unknown_variables(names: Iterable[str], specs: Mapping[str, Mapping[str, Any]], strict: bool = False) -> List[str]:
    """Faults for variables that are a slip of the pen away from a documented one, which would be read by nobody.

    Everybody may have variables of their own, also such as app_version. With ``strict`` none may begin like a role's.
    """
    known = {option for options in specs.values() for option in options}
    faults = []
    for name in sorted(name for name in set(names) - known if not name.startswith("ansible_")):
        role = role_of(name, specs)
        if role is not None:
            # Without the role's name, which all of them share
            likeness, close = _closest(name, specs[role], len(role) + 1)
        else:
            likely = (option for option in known if option[0] == name[0] and abs(len(option) - len(name)) <= 2)
            likeness, close = _closest(name, likely, 0)
        if likeness >= (ALIKE if role is not None else MUCH_ALIKE):
            what = "role {0} has no such variable".format(role) if role else "no role has such a variable"
            faults.append("{0}: {1}; did you mean {2}?".format(name, what, close))
        elif strict and role is not None:
            hint = "see roles/{0}/README.md for those that exist, or name yours otherwise".format(role)
            faults.append(
                "{0}: role {1} has no such variable; {2} (landfall_strict_variables)".format(name, role, hint)
            )
    return faults


def _walk(value: Any, path: str) -> Iterator[Tuple[str, str, Any]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield "{0}.{1}".format(path, key), str(key), item
            yield from _walk(item, "{0}.{1}".format(path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _walk(item, "{0}[{1}]".format(path, index))


def _port_fault(path: str, value: Any) -> Optional[str]:
    if value is None or value == "":
        return None
    try:
        port = int(value)
    except (TypeError, ValueError):
        port = 0
    return (
        None if 1 <= port <= 65535 else "{0}: '{1}' is no port; it must be a number from 1 to 65535".format(path, value)
    )


def _publish_fault(path: str, value: Any) -> Optional[str]:
    found = PUBLISH.match(str(value))
    if found and all(1 <= int(part) <= 65535 for part in found.groups()):
        return None
    return "{0}: '{1}' is no published port; write address:port:port such as 127.0.0.1:9090:9090".format(path, value)


def _bound_fault(path: str, value: Any) -> Optional[str]:
    found = AMOUNT.match(str(value))
    if found is None or isinstance(value, bool) or float(found.group(1)) > 0:
        return None  # text that is no amount is for whoever reads it to refuse
    return "{0}: {1} {2}; give an amount above 0, or leave it out for that of the role".format(path, value, NO_BOUND)


def _duplicates(path: str, value: Any) -> List[str]:
    if not isinstance(value, list):
        return []
    names = [str(item["name"]) for item in value if isinstance(item, Mapping) and "name" in item]
    twice = sorted({name for name in names if names.count(name) > 1})
    return [
        "{0}: the name '{1}' is used {2} times; names must be unique".format(path, name, names.count(name))
        for name in twice
    ]


def value_faults(name: str, value: Any) -> List[str]:
    """Faults of one variable that its type does not show: no exact tag, no bound, impossible port, duplicate name."""
    faults: List[Optional[str]] = list(_duplicates(name, value))
    if BOUNDS.search(name) and "_alert_" not in name:
        faults.append(_bound_fault(name, value))
    for path, key, item in [(name, name, value), *_walk(value, name)]:
        if (key == "image" or key.endswith("_image")) and item:
            fault = image_fault(str(item))
            if fault:
                faults.append(
                    "{0}: image '{1}' {2}; name an exact tag such as {3}:1.2.3".format(
                        path, item, fault, str(item).split(":", maxsplit=1)[0]
                    )
                )
        if key == "port" or key.endswith("_port"):
            faults.append(_port_fault(path, item))
        if (key == "publish" or key.endswith("_publish")) and isinstance(item, list):
            faults += [_publish_fault("{0}[{1}]".format(path, index), port) for index, port in enumerate(item)]
        if path != name:
            faults += _duplicates(path, item)
            if key in ("memory", "cpus") and ".environment." not in path:
                faults.append(_bound_fault(path, item))
    return [fault for fault in faults if fault]


def container_name_clashes(services: Mapping[str, List[str]]) -> List[str]:
    """Faults for container names that two variables claim; ``services`` maps a variable to the names it declares."""
    owner: Dict[str, str] = {}
    faults = []
    for variable, names in sorted(services.items()):
        for name in names:
            if name in owner and owner[name] != variable:
                faults.append(
                    "{0}: the name '{1}' is already that of {2}; container names must be unique".format(
                        variable, name, owner[name]
                    )
                )
            owner.setdefault(name, variable)
    return faults


def publish_clashes(values: Mapping[str, Any]) -> List[str]:
    """Faults for a port of the VPS that two variables publish; ``values`` maps variables of enabled roles to values.

    A role's own ``<role>_publish`` may be what one of its items publishes. Other variables
    that hold such an item publish nothing.
    """
    owner: Dict[str, str] = {}
    faults = []
    for name, value in sorted(values.items()):
        if not name.endswith(("_publish", "_services", "_workers")):
            continue
        for path, key, ports in [(name, name, value), *_walk(value, name)]:
            if not (key == "publish" or key.endswith("_publish")) or not isinstance(ports, list):
                continue
            faults += _published_twice(path, [str(port) for port in ports])
            for port in ports:
                found = PUBLISH.match(str(port))
                if found and path != name and owner.get(found.group(1)) == name.split("_", 1)[0] + "_publish":
                    owner[found.group(1)] = path
                if found and owner.setdefault(found.group(1), path) != path:
                    faults.append(
                        "{0}: port {1} of the VPS is already published by {2}; choose another".format(
                            path, found.group(1), owner[found.group(1)]
                        )
                    )
    return faults


def _published_twice(path: str, ports: List[str]) -> List[str]:
    """A port that one list publishes twice, to one address; ``0.0.0.0`` is what no address means, too."""
    seen: Dict[Tuple[str, str, str], str] = {}
    faults = []
    for text in ports:
        place, _slash, protocol = text.partition("/")
        found = PUBLISH.match(text)
        if found:
            address = place.rpartition(":")[0].rpartition(":")[0] or "0.0.0.0"  # noqa: S104 - compared, not bound
            first = seen.setdefault((address, found.group(1), protocol or "tcp"), text)
            if first != text or ports.count(text) > 1:
                form = "{0}: port {1} of the VPS is published twice, by {2} and by {3}; choose another"
                faults.append(form.format(path, found.group(1), first, text))
    return list(dict.fromkeys(faults))


def _version(text: str) -> Tuple[int, int]:
    parts = [int(part) for part in re.findall(r"\d+", text)[:2]]
    return (parts[0] if parts else 0, parts[1] if len(parts) > 1 else 0)


def host_faults(state: Mapping[str, Any]) -> List[str]:
    """Faults of the VPS itself, whatever is deployed: distribution, rights, age of the engine."""
    host, engine = state["host"], state["engine"]
    faults = []
    oldest = SUPPORTED.get(host["distribution"])
    if oldest is None or _version(host["version"]) < oldest:
        faults.append(
            "distribution: this is {0} {1}; supported are Debian 12 or newer and Ubuntu 22.04 or newer".format(
                host["distribution"], host["version"] or "(no version)"
            )
        )
    if host["euid"] != 0:
        faults.append(
            "rights: tasks run as uid {0}; set 'become: true' and let ansible_user use sudo".format(host["euid"])
        )
    if engine["running"] and _version(engine["version"])[0] < OLDEST_ENGINE:
        faults.append(
            "engine: Docker Engine {0} is older than {1}, which compose health checks need; upgrade it by hand, "
            "Landfall does not replace an engine that is in use".format(engine["version"], OLDEST_ENGINE)
        )
    if engine["running"] and not engine["compose"]:
        faults.append(
            "engine: a Docker Engine runs here without the Compose v2 plugin; install docker-compose (Debian 13), "
            "docker-compose-v2 (Ubuntu) or docker-compose-plugin (Docker's repository)"
        )
    return faults
