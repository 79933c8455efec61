"""What there is to back up, and where things lie: the settings of the component and the records of the stack."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from typing import Any, Dict, Iterator, List, Mapping, Sequence, Tuple

from .repository import Repository
from .tools import Fault, read_json

KEYS = ("root", "component", "stack", "host", "service", "keep", "parts", "without", "volumes", "scratch")


class Stack:
    """The stack that the settings beside this program belong to.

    ``settings`` (settings.json): ``root``, ``component`` (its name), ``stack`` (label of what is the stack's),
    ``prefix`` (of containers), ``host`` (the VPS in snapshots), ``service`` (of restic), ``keep`` (kind to count),
    ``parts`` (runs after which all of the repository was read), ``without`` (what is left out), ``volumes`` (more
    volumes), ``scratch`` (folder for what is on its way).
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        missing = [key for key in KEYS if key not in settings]
        if missing:
            raise Fault("settings.json lacks {0}; deploy the role: site.yml --tags backup".format(missing[0]))
        self.settings = settings
        self.root, self.name = str(settings["root"]), str(settings["stack"])
        self.prefix = str(settings.get("prefix") or "")
        self.home = os.path.join(self.root, str(settings["component"]))
        self.state = os.path.join(self.root, ".state", "backup")
        self.scratch = str(settings["scratch"]) or self.state
        self.host = str(settings["host"])
        container = self.prefix + "backup-restic"
        self.repository = Repository(self.home, str(settings["service"]), container, self.name, self.host)
        self.proof = (self.prefix + "backup-proof", self.name)
        """Name of the throw-away container, and the stack."""

    def records(self) -> Dict[str, Dict[str, Any]]:
        """What each component's record says of it."""
        folder = os.path.join(self.root, ".state")
        found = {}
        for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
            if name.endswith(".json"):
                meta = read_json(os.path.join(folder, name)).get("meta")
                found[name[: -len(".json")]] = meta if isinstance(meta, dict) else {}
        return found

    def sources(self) -> List[Dict[str, Any]]:
        """What is backed up: items of ``saves`` of all components, without what the inventory leaves out.

        Raises Fault for something to be left out that there is not.
        """
        found = [dict(item) for meta in self.records().values() for item in meta.get("saves") or []]
        for volume in self.settings["volumes"]:
            found.append({"kind": "volume", "volume": volume, "what": "volume/" + volume})
        names = [str(item["what"]) for item in found]
        unknown = sorted(set(self.settings["without"]) - set(names))
        if unknown:
            raise Fault(
                "backup_without: there is no {0} here; there are: {1}".format(unknown[0], ", ".join(names) or "none")
            )
        return [item for item in found if item["what"] not in self.settings["without"]]

    def reports(self) -> List[Tuple[str, str]]:
        """(folder, name of the metric with the last success) of who takes in reports of backups."""
        return [
            (os.path.join(self.root, name, str(item["folder"])), str(item["metric"]))
            for name, meta in self.records().items()
            for item in meta.get("serves") or []
            if item.get("api") == "backups"
        ]

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Be the only one that works on this stack's backups. Raises Fault where somebody else is."""
        os.makedirs(self.state, mode=0o700, exist_ok=True)
        with open(os.path.join(self.state, "lock"), "a", encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise Fault("a backup or a restore goes on; run again when it has ended") from None
            yield

    @contextlib.contextmanager
    def staged(self) -> Iterator[str]:
        """A folder that only root enters, empty, and gone afterwards; one of a run that died goes first."""
        place = os.path.join(self.scratch, "landfall-backup-" + self.name)
        shutil.rmtree(place, ignore_errors=True)
        os.makedirs(place, mode=0o700)
        try:
            yield place
        finally:
            shutil.rmtree(place, ignore_errors=True)


def chosen(items: Sequence[Mapping[str, Any]], manifest: Mapping[str, Any], what: str) -> List[Tuple[str, str]]:
    """(source, database or nothing) of what is to be brought back: ``all``, a source, or a database of one.

    ``items`` are the sources that there are. Raises Fault with what the snapshot has.
    """
    known: List[Tuple[str, str]] = []
    for name, noted in manifest["sources"].items():
        known += [(name, base) for base in noted["databases"]] if noted["kind"] == "postgresql" else [(name, "")]
    found = [pair for pair in known if what in ("all", pair[0], "/".join(pair))]
    if not found:
        told = sorted({name for pair in known for name in (pair[0], "/".join(pair).rstrip("/"))})
        raise Fault("what: the snapshot has no {0}; it has: all, {1}".format(what or "name", ", ".join(told)))
    there = {str(item["what"]) for item in items}
    gone = sorted({name for name, _base in found if name not in there})
    if gone:
        raise Fault(
            "what: {0} is in the snapshot and not on this VPS; deploy it first (site.yml), or name what is there: "
            "{1}".format(gone[0], ", ".join(sorted(there)))
        )
    return found
