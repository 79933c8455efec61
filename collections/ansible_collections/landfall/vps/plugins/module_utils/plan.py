"""What has to be done to bring one component from its actual to its desired state.

Pure functions over plain values: no I/O, no clock, no Ansible. The controller plans to learn whether a trip to the
VPS is needed at all; the module on the VPS plans again, on what it finds there, and acts on that.

A *fingerprint* is ``<sha256 of the content>:<mode in octal>:<uid>``. A *path* is relative to the root on the VPS.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, Dict, Iterable, List, Mapping, Optional, Set, Tuple

from ansible_collections.landfall.vps.plugins.module_utils.shapes import owns

NONE = "none"
CREATED = "created"
RECREATED = "recreated"
RELOADED = "reloaded"
STARTED = "started"
UPDATED = "updated"
REMOVED = "removed"
ROLLED_BACK = "rolled_back"
HEALTHY, STARTED, COMPLETED = "healthy", "started", "completed"
"""Under which condition a component may start after one that it needs: what serves is healthy, and ended if it ends."""
WELL = ("healthy", "starting", "done", "unasked")
"""What ``well`` says of containers that are as they should be, or are about to be."""


@dataclass(frozen=True)
class Container:
    """A container that the component's compose file declares; ``mounts`` are what it sees of the component's folder.

    A mount is a path below that folder such as ``config`` or ``secrets/api``.
    """

    service: str
    image: str
    mounts: Tuple[str, ...] = ()


@dataclass(frozen=True)
class Desired:
    """One component as the inventory and its role want it.

    ``files`` maps paths to fingerprints. ``reload_files`` are patterns below the component's folder that the running
    program can take in without a restart; empty when it cannot reload. ``meta`` is what later runs and ``verify``
    need to know (probes, targets, reload, drop-in folders): data, never secrets.
    """

    name: str
    present: bool = True
    files: Mapping[str, str] = field(default_factory=dict)
    containers: Mapping[str, Container] = field(default_factory=dict)
    reload_files: Tuple[str, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """sha256 over all that makes this component what it is."""
        value = {
            "files": dict(self.files),
            "containers": {name: [c.service, c.image] for name, c in self.containers.items()},
            "meta": self.meta,
        }
        return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()

    @property
    def identity(self) -> str:
        """The same of what a release keeps; empty for one that is absent."""
        services = {name: (c.service, c.image) for name, c in self.containers.items()}
        return identity(self.name, self.files, services) if self.present else ""


@dataclass(frozen=True)
class Actual:
    """One component as found on the VPS.

    ``files``: fingerprints of what lies in its folder, and of the drop-ins that its record names. ``containers``:
    name to ``{id, image_id, state, config_hash}``. ``images``: tag to image id, of all images on the VPS.
    ``record``: what an earlier run applied, or None. ``timers``: unit to its state in systemd. ``part_of``: the
    component that has its containers until now.
    """

    files: Mapping[str, str] = field(default_factory=dict)
    containers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    images: Mapping[str, str] = field(default_factory=dict)
    record: Optional[Mapping[str, Any]] = None
    timers: Mapping[str, str] = field(default_factory=dict)
    part_of: str = ""


@dataclass(frozen=True)
class Plan:
    """The least that suffices. ``files`` maps each path to 'create', 'change' or 'remove'."""

    action: str
    reasons: Tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    missing_images: Tuple[str, ...] = ()
    up: bool = False  # bring the compose project up (Compose itself recreates what differs)
    force: Tuple[str, ...] = ()  # services to recreate although their definition is the same
    reload: bool = False
    receivers: Tuple[str, ...] = ()  # drop-in folders (``store/rules.d``) whose owner must take in a change

    @property
    def changed(self) -> bool:
        """Whether anything at all has to be done on the VPS."""
        return self.action != NONE


def fingerprint(content: bytes, mode: int, uid: int) -> str:
    """The fingerprint of a file with this content, permission bits and owner."""
    return "{0}:{1:o}:{2}".format(hashlib.sha256(content).hexdigest(), mode, uid)


def identity(name: str, files: Mapping[str, str], services: Mapping[str, Tuple[str, str]]) -> str:
    """sha256 over what a release of a component consists of: its own files, and ``services``.

    The latter map containers to (service, image). What others receive of it, and what is only known of it, is no part.
    """
    own = {path: mark for path, mark in files.items() if owns(name, path)}
    value = {"files": own, "containers": {container: list(one) for container, one in services.items()}}
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def identity_of(record: Mapping[str, Any]) -> str:
    """``identity`` of a component by its record."""
    services = {name: (str(c.get("service")), str(c["image"])) for name, c in record["containers"].items()}
    return identity(str(record["name"]), record["files"], services)


def select(name: str, files: Mapping[str, str], record: Optional[Mapping[str, Any]]) -> Dict[str, str]:
    """Of all fingerprints on a VPS, those of component ``name``: its own folder and the drop-ins it shipped."""
    shipped = (record or {}).get("files") or {}
    return {path: mark for path, mark in files.items() if path in shipped or owns(name, path)}


def main_container(name: str, services: Mapping[str, str], main: str = "") -> str:
    """The container that component ``name`` is known by, of ``services`` (container to service, at least one).

    That of the service of the component's name, otherwise ``main``, which its record names, or the first one.
    """
    own = [container for container, service in services.items() if service == name.replace("_", "-")]
    return own[0] if own else main if main in services else next(iter(services))


def main_of(record: Mapping[str, Any]) -> str:
    """``main_container`` of a component by its record."""
    services = {name: str(found["service"]) for name, found in record["containers"].items()}
    return main_container(str(record.get("name", "")), services, str((record.get("meta") or {}).get("main", "")))


def group_of(name: str, record: Mapping[str, Any]) -> str:
    """The group of a component, which is the name of its role: what one role deploys belongs together."""
    return str(record.get("group") or (record.get("meta") or {}).get("role") or name)


def needed(name: str, records: Mapping[str, Mapping[str, Any]]) -> Dict[str, str]:
    """The recorded components that component ``name`` needs, each with the condition under which it may start.

    A group is needed by its name, which then means all its members; within a group a name is that of a component.
    """
    record = records.get(name) or {}
    found: Dict[str, str] = {}
    for item in (record.get("meta") or {}).get("needs") or []:
        wanted, condition = (item, HEALTHY) if isinstance(item, str) else (item["name"], item["condition"])
        own = group_of(name, record) == wanted
        members = [other for other in records if not own and group_of(other, records[other]) == wanted]
        for other in members or [wanted]:
            if other in records and other != name and found.get(other, STARTED) == STARTED:
                found[other] = condition
    return found


def in_order(needs: Mapping[str, Iterable[str]], only: Optional[Iterable[str]] = None) -> List[str]:
    """Components (each with the names of those it needs) so that none comes before what it needs.

    ``only`` names those that are asked for; what they need comes with them. Names that are no key are left out, and in
    a circle the first one asked for comes last.
    """
    order: List[str] = []
    seen: Set[str] = set()

    def visit(name: str) -> None:
        if name in needs and name not in seen:
            seen.add(name)
            for needed in sorted(needs[name]):
                visit(needed)
            order.append(name)

    for name in sorted(needs if only is None else only):
        visit(name)
    return order


def stored_as(image: str) -> str:
    """The name under which an engine keeps ``image``: of one that names tag and digest, the digest alone counts."""
    _name, at, digest = image.partition("@")
    return "{0}@{1}".format(repository(image), digest) if at else image


def repository(image: str) -> str:
    """The repository of an image, without tag and digest."""
    folder, slash, last = image.partition("@")[0].rpartition("/")
    return folder + slash + last.split(":")[0]


def differences(old: Mapping[str, str], new: Mapping[str, str]) -> Dict[str, str]:
    """Path to 'create', 'change' or 'remove' for everything that differs."""
    result = {path: "change" if path in old else "create" for path, mark in new.items() if old.get(path) != mark}
    result.update({path: "remove" for path in old if path not in new})
    return dict(sorted(result.items()))


def content_of(mark: str) -> str:
    """The part of a fingerprint that is of the content alone."""
    return mark.split(":", 1)[0]


def _same_content(path: str, old: Mapping[str, str], new: Mapping[str, str]) -> bool:
    return path in old and path in new and content_of(old[path]) == content_of(new[path])


def _reloadable(desired: Desired, path: str) -> bool:
    relative = path[len(desired.name) + 1 :]
    return any(fnmatch.fnmatchcase(relative, pattern) for pattern in desired.reload_files)


def _receivers(name: str, paths: Mapping[str, str]) -> Tuple[str, ...]:
    return tuple(sorted({path.rsplit("/", 1)[0] for path in paths if not owns(name, path)}))


def _readers(desired: Desired, paths: Iterable[str]) -> Tuple[str, ...]:
    """The services that see one of ``paths`` (relative to the root); all of them where nobody is known to."""
    found: Set[str] = set()
    for path in paths:
        relative = path[len(desired.name) + 1 :] + "/"
        readers = {
            c.service
            for c in desired.containers.values()
            if any(mount in (".", "") or relative.startswith(mount.rstrip("/") + "/") for mount in c.mounts)
        }
        found |= readers or {c.service for c in desired.containers.values()}
    return tuple(sorted(found))


def _drops_for_itself(desired: Desired, receivers: Iterable[str]) -> bool:
    """Whether a folder whose changes the component takes in by a reload got files of its own."""
    drop_ins = desired.meta.get("drop_ins") or {}
    own = [folder.split("/", 1)[1] for folder in receivers if folder.split("/", 1)[0] == desired.name]
    return any((drop_ins.get(name) or {}).get("reload") for name in own)


def well(container: str, found: Mapping[str, Any], meta: Mapping[str, Any]) -> str:
    """How a container is: healthy, starting, done, unasked, or what is wrong with it; ``meta`` is its record's."""
    if not found:
        return "missing"
    if found.get("state") != "running":
        return "done" if found.get("done") and container in (meta.get("one_shots") or []) else str(found.get("state"))
    health = str(found.get("health"))
    return "unasked" if health == "none" and container in (meta.get("unasked") or []) else health


def _plan_absent(desired: Desired, actual: Actual) -> Plan:
    files = dict.fromkeys(sorted(actual.files), "remove")
    if not files and not actual.containers and actual.record is None:
        return Plan(NONE)
    return Plan(REMOVED, ("state is absent",), files, receivers=_receivers(desired.name, files))


def _container_faults(desired: Desired, actual: Actual) -> Tuple[List[str], List[str]]:
    """Reasons for which Compose has to recreate, and reasons for which it has to start, a container."""
    recreate: List[str] = []
    start: List[str] = []
    recorded = (actual.record or {}).get("containers") or {}
    images = (actual.record or {}).get("images") or {}
    for name, wanted in sorted(desired.containers.items()):
        found = actual.containers.get(name)
        if found is None:
            recreate.append("container {0} is missing".format(name))
            continue
        known = recorded.get(name) or {}
        if known.get("config_hash") and found.get("config_hash") != known["config_hash"]:
            recreate.append("container {0} was changed by hand".format(name))
        tag_now = actual.images.get(stored_as(wanted.image))
        if tag_now and images.get(wanted.image) and images[wanted.image] != tag_now:
            recreate.append("image {0} was replaced under its tag".format(wanted.image))
        if found.get("state") != "running" and well(name, found, desired.meta) != "done":
            start.append("container {0} is {1}".format(name, found.get("state") or "not running"))
    for name in sorted(set(actual.containers) - set(desired.containers)):
        if actual.containers[name].get("oneoff"):  # that of a job or of a single command
            continue
        recreate.append("container {0} is not declared any more".format(name))
    return recreate, start


def _idle(desired: Desired, actual: Actual) -> List[str]:
    """Timers that are to run and do not."""
    found = {timer["unit"] + ".timer": "" for timer in desired.meta.get("timers") or []}
    found = {unit: actual.timers.get(unit, "not there") for unit in found}
    return ["timer {0} is {1}".format(unit, state) for unit, state in sorted(found.items()) if state != "active"]


def plan(desired: Desired, actual: Actual) -> Plan:
    """Return the least that brings ``actual`` to ``desired``.

    Two comparisons are joined: what lies on the disk (a hand-edited file is put right), and what was last applied
    and proven according to the record (a run that was killed after the swap is finished).
    """
    if not desired.present:
        return _plan_absent(desired, actual)

    on_disk = differences(actual.files, desired.files)
    missing = tuple(sorted({c.image for c in desired.containers.values() if stored_as(c.image) not in actual.images}))
    standing = [name for name, found in actual.containers.items() if not found.get("oneoff")]
    if actual.record is None and not standing:
        return Plan(
            CREATED, ("not deployed yet",), on_disk, missing, up=True, receivers=_receivers(desired.name, on_disk)
        )

    applied: Mapping[str, str] = (actual.record or {}).get("files") or {}
    since_applied = differences(applied, desired.files)
    touched = {
        path: kind
        for path, kind in {**since_applied, **on_disk}.items()
        if not (_same_content(path, applied, desired.files) and _same_content(path, actual.files, desired.files))
    }
    own = [path for path in touched if owns(desired.name, path)]
    reasons = ["{0}: {1}".format(touched[path], path) for path in sorted(touched)]

    recreate, start = _container_faults(desired, actual)
    if actual.record is None:
        before = "it was part of component {0}".format(actual.part_of) if actual.part_of else ""
        recreate.insert(0, before or "containers exist that no finished run left here")
    compose_changed = "{0}/compose.yaml".format(desired.name) in own
    apart = ("{0}/compose.yaml".format(desired.name), "{0}/units/".format(desired.name))
    config = [path for path in own if not path.startswith(apart)]
    heavy = [path for path in config if not _reloadable(desired, path)]
    services = _readers(desired, heavy)

    receivers = _receivers(desired.name, touched)
    record = actual.record or {}
    config += [folder for folder in receivers if _drops_for_itself(desired, [folder])]
    action, up, reload = NONE, False, False
    if compose_changed or heavy or recreate:
        action, up, reasons = RECREATED, True, reasons + recreate
    elif start:
        action, up, reload, reasons = STARTED, True, bool(config), reasons + start
    elif config:
        action, reload = RELOADED, True
    elif not record.get("proven", False):
        action, reasons = CREATED, ["started by an earlier run, never proven"]
    elif touched or on_disk:
        action = UPDATED
        reasons += ["owner or mode: {0}".format(path) for path in on_disk if path not in touched]
    elif record.get("digest") != desired.digest:
        action, reasons = UPDATED, ["what is known about it changed"]
    elif _idle(desired, actual):
        action, reasons = UPDATED, _idle(desired, actual)
    return Plan(action, tuple(reasons), on_disk, missing, up, services, reload, receivers)
