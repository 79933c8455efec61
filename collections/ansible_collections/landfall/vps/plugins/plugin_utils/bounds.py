"""How much of the disk a stack may come to use: the one sum of all that bounds it. Values in, rows out.

A role says in ``meta/disk.yml`` what it keeps, each with what bounds it::

    metrics: {size: prometheus_retention_size, times: 1.25}     # a variable or an amount; a factor
    journal: {size: host_journal_max_size, if: host_journal}    # only where that variable is true
    logs: {grows: by time alone (loki_retention)}               # nothing bounds its size; says what does something

What no role can know is added here: images with those of kept releases, logs of containers, the system's journal.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence

from ansible.errors import AnsibleError
from ansible.module_utils.parsing.convert_bool import boolean
from ansible_collections.landfall.vps.plugins.module_utils import releases
from ansible_collections.landfall.vps.plugins.module_utils.plan import stored_as
from ansible_collections.landfall.vps.plugins.module_utils.units import size
from ansible_collections.landfall.vps.plugins.module_utils.verify import table
from ansible_collections.landfall.vps.plugins.plugin_utils import quick_yaml
from ansible_collections.landfall.vps.plugins.plugin_utils.planned import Planned

DECLARATION = os.path.join("meta", "disk.yml")
JOURNAL = "journal"
JOURNAL_DEFAULT = 4 << 30
"""What journald takes at most where nobody says otherwise (SystemMaxUse in journald.conf(5)), bytes."""
KEYS = frozenset({"size", "times", "if", "grows"})
COLUMNS = ("what", "at most", "by")


class BoundError(AnsibleError):  # type: ignore[misc]  # ansible ships no types for it
    """A ``meta/disk.yml`` says what nobody understands; the message starts with its path."""


@dataclass(frozen=True)
class Bound:
    """One thing that lies on the disk: ``limit`` in bytes, None where nothing bounds it; ``by`` says what does."""

    what: str
    limit: Optional[int]
    by: str


def declared(roles_folder: str, values: Mapping[str, Mapping[str, Any]]) -> List[Bound]:
    """What the roles that are enabled keep; ``values`` are their variables. Raises BoundError, OSError or YAMLError."""
    found = []
    for role in sorted(values):
        path = os.path.join(roles_folder, role, DECLARATION)
        if not os.path.exists(path):
            continue
        with open(path, encoding="utf-8") as handle:
            document = quick_yaml.load(handle.read())
        if not isinstance(document, dict):
            raise BoundError("{0}: must map what is kept to its bound".format(path))
        for what, item in document.items():
            bound = _declared("{0}: {1}".format(path, what), "{0} of {1}".format(what, role), item, values[role])
            found += [bound] if bound else []
    return found


def _declared(place: str, what: str, item: Any, values: Mapping[str, Any]) -> Optional[Bound]:
    if not isinstance(item, dict) or set(item) - KEYS or ("size" in item) == ("grows" in item):
        raise BoundError("{0}: needs either size or grows; times and if may stand beside it".format(place))
    if "if" in item and not boolean(values.get(item["if"], False), strict=False):
        return None
    if "grows" in item:
        return Bound(what, None, str(item["grows"]))
    asked = str(item["size"])
    value, times = str(values.get(asked, asked)), float(item.get("times", 1))
    try:
        limit = int(size(value) * times)
    except ValueError as error:
        raise BoundError("{0}: {1}".format(place, error)) from None
    by = asked if value == asked else "{0} {1}".format(asked, value)
    return Bound(what, limit, by if times == 1 else "{0}, {1:g} times".format(by, times))


def images(planned: Iterable[Planned], there: Mapping[str, Mapping[str, Any]], guess: int) -> List[Bound]:
    """Images in use, and those that releases keep if each had others; ``guess`` is the size of one that is missing."""
    now: Dict[str, int] = {}
    kept: Dict[str, int] = {}
    for one in planned:
        built = {str(build["image"]) for build in one.options.get("build") or []}
        for container in one.rendered.desired.containers.values():
            amount = int((there.get(stored_as(container.image)) or {}).get("size") or guess)
            now[container.image] = amount
            settings = one.options.get("releases")
            if settings:
                # One more than is kept while a version takes the place of another; what was pulled and never served
                # stays until as many more have failed
                failed = 0 if container.image in built else releases.FAILED_KEPT
                kept[container.image] = max(kept.get(container.image, 0), amount * (int(settings["keep"]) + failed))
    found = [Bound("images in use", sum(now.values()), "{0} images".format(len(now)))] if now else []
    if kept:
        by = "as large as now, if each of them had an image of its own"
        found.append(Bound("images of releases that are kept", sum(kept.values()), by))
    others = len(set(now) - set(kept))
    if others:
        by = "one with each new version of {0} image{1}: docker image prune --all".format(others, "s" * (others > 1))
        found.append(Bound("images of earlier versions of components", None, by))
    return found


def logs(planned: Iterable[Planned]) -> List[Bound]:
    """Logs that the engine keeps of each container, by what the compose files say."""
    total, count, endless = 0, 0, []
    for one in planned:
        text = one.rendered.contents.get("{0}/compose.yaml".format(one.name))
        services = (quick_yaml.load(text.decode()) or {}).get("services") if text else None
        for name, service in (services or {}).items():
            options = (service.get("logging") or {}).get("options") or {}
            if "max-size" not in options:
                endless.append(str(name))
                continue
            total += size(str(options["max-size"])) * int(options.get("max-file", 1))
            count += 1
    found = [Bound("logs of containers", total, "max-size and max-file of {0}".format(count))] if count else []
    return found + [Bound("logs of " + name, None, "its compose file has no max-size") for name in endless]


def all_of(
    role_path: str,
    values: Mapping[str, Mapping[str, Any]],
    planned: Sequence[Planned],
    state: Mapping[str, Any],
    image_size: Any = None,
) -> List[Bound]:
    """All that the stack keeps on the disk of its VPS; the roles lie beside ``role_path``, ``image_size`` is a text.

    Raises as ``declared`` does.
    """
    guess = size(str(image_size or "0"))
    here = [one for one in planned if one.rendered.desired.present]
    own = declared(os.path.dirname(role_path), values)
    if not any(bound.what.split(" of ")[0] == JOURNAL for bound in own):
        own.append(Bound("journal of the system", JOURNAL_DEFAULT, "journald's own bound"))
    return [*images(here, state["images"], guess), *logs(here), *own]


def total(bounds: Iterable[Bound]) -> int:
    """Bytes of all that has a bound."""
    return sum(bound.limit or 0 for bound in bounds)


def _disk(state: Mapping[str, Any]) -> int:
    """Size in bytes of the file system of images and volumes; 0 where nobody knows."""
    found = [disk for disk in state["host"]["disks"] if {"images", "data"} & set(disk["holds"])]
    return max([int(disk.get("size") or 0) for disk in found], default=0)


def told(bounds: Sequence[Bound], state: Mapping[str, Any]) -> List[str]:
    """The sum and its parts as lines, the largest first, then what grows."""
    endless = [bound for bound in bounds if bound.limit is None]
    rows = sorted((bound for bound in bounds if bound.limit is not None), key=lambda bound: -(bound.limit or 0))
    lines = table(
        [
            {"what": bound.what, "at most": "grows" if bound.limit is None else _amount(bound.limit), "by": bound.by}
            for bound in [*rows, *endless]
        ],
        COLUMNS,
    )
    have = " of {0}".format(_amount(_disk(state))) if _disk(state) else ""
    return [
        "disk: what has a bound comes to {0}{1} at most".format(_amount(total(bounds)), have),
        *("  " + line for line in lines),
    ]


def note(bounds: Sequence[Bound], state: Mapping[str, Any]) -> List[str]:
    """That the disk is too small for what may come to lie on it, with the largest parts."""
    have, most = _disk(state), total(bounds)
    if not have or most <= have:
        return []
    largest = sorted((bound for bound in bounds if bound.limit), key=lambda bound: -(bound.limit or 0))[:3]
    parts = ", ".join("{0} {1} ({2})".format(bound.what, _amount(bound.limit or 0), bound.by) for bound in largest)
    form = "disk: this VPS has {0}, and what the stack keeps may come to {1}: {2}; lower those, or take a larger disk"
    return [form.format(_amount(have), _amount(most), parts)]


def _amount(count: int) -> str:
    return "{0:.1f} GB".format(count / 1e9)
