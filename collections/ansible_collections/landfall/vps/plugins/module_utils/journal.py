"""The journal of one component's change: by it a change is undone, or finished when the run that made it died.

Before a path is touched, the journal names it with its mark of before, or "absent", and keeps what lay there as a hard
link, and some space in reserve. Going back needs no more than that on a full disk, and leaves exactly the tree of
before: replaying the journal twice does the same as once. The folder appears and disappears by a rename, so that it is
there whole or not at all.

Phases: ``swap`` files are being replaced, no container was touched; ``standby`` all files are the new ones and a
container of the new version comes up beside the one that runs, which is as it was; ``apply`` containers are being
changed; ``placed`` a component that did not serve before waits for its start; ``remove`` its containers are gone, its
files are going; ``undo`` it did not serve and goes back; ``back`` as well, from where its containers were not touched.
"""

from __future__ import annotations

import os
import shutil
from typing import Any, Dict, Iterable, List, Mapping, Optional

from ansible_collections.landfall.vps.plugins.module_utils import records, shapes
from ansible_collections.landfall.vps.plugins.module_utils.store import Store, make_folders

JOURNAL_FORMAT = 1
ABSENT = "absent"
SWAP, APPLY, PLACED, REMOVE, UNDO = "swap", "apply", "placed", "remove", "undo"
STANDBY, BACK = "standby", "back"
FOLDER = "journal"
RESERVE = 64 * 1024  # bytes; a journal and a record are written while going back, each far smaller than half of it


PHASES = (SWAP, STANDBY, APPLY, PLACED, REMOVE, UNDO, BACK)


class BadJournal(Exception):
    """A journal that cannot be read; the message names it."""


class NewerJournal(BadJournal):
    """One of a later Landfall, which alone knows what it means."""


def home(root: str) -> str:
    """The folder of all journals."""
    return os.path.join(root, records.STATE_DIR, FOLDER)


def open_journals(root: str) -> List[str]:
    """The components whose change was begun and not concluded."""
    folder = home(root)
    return sorted(n for n in os.listdir(folder) if "." not in n) if os.path.isdir(folder) else []


class Journal:
    """The journal of component ``store.name``. Methods raise OSError when the disk refuses."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._folder = os.path.join(home(store.root), store.name)
        self._file = os.path.join(self._folder, "journal.json")

    def read(self) -> Optional[Dict[str, Any]]:
        """What was begun, or None. Raises BadJournal."""
        if not os.path.lexists(self._folder):
            return None
        try:
            value = shapes.read(self._file)
        except (OSError, ValueError) as error:
            raise BadJournal("{0} cannot be read: {1}".format(self._file, error)) from error
        number = value.get("format") if isinstance(value, dict) else None
        if isinstance(number, int) and number > JOURNAL_FORMAT:
            form = "{0} was begun by a newer Landfall (format {1}, this one reads {2}); let that version finish it"
            raise NewerJournal(form.format(self._file, number, JOURNAL_FORMAT))
        fault = "is of no format that there was" if number != JOURNAL_FORMAT else self._fault(value)
        if fault:
            raise BadJournal("{0} {1}".format(self._file, fault))
        result: Dict[str, Any] = value
        return result

    def _fault(self, entry: Mapping[str, Any]) -> str:
        """What keeps a value from being this component's journal; by its paths files are removed."""
        wrong = shapes.misfit(entry, shapes.JOURNAL)
        if wrong:
            return "is damaged: '{0}' is missing or of a wrong type".format(wrong)
        phase, intent, paths = entry["phase"], entry["intent"], entry["paths"]
        if phase not in PHASES:
            return "is damaged: there is no phase '{0}'".format(phase)
        if phase in (STANDBY, APPLY) and not (intent.get("record") and intent.get("work")):
            return "is damaged: it does not say what was begun"
        told = [record for record in (entry["record"], intent.get("record")) if record is not None]
        faults = [fault for record in told for fault in [records.fault_of(record, self.store.name)] if fault]
        if faults:
            return "is damaged: a record in it " + faults[0]
        strange = shapes.strange(self.store.name, paths) or next(
            (folder for folder in entry["folders"] if not any(path.startswith(folder + "/") for path in paths)), ""
        )
        return "names {0!r}, which is none of the component's".format(strange) if strange else ""

    def begin(self, phase: str, paths: Iterable[str], intent: Mapping[str, Any]) -> Dict[str, Any]:
        """Note the state of ``paths`` and of the record before they are touched. ``intent`` is for whoever finishes.

        A journal that is open already (of a component that was placed and not started) keeps what it knows of before.
        """
        entry = self.read()
        if entry is None:
            entry = self._first(phase, paths, intent)
        else:
            entry["paths"].update(self._keep(path for path in paths if path not in entry["paths"]))
            entry.update(phase=phase, intent=dict(intent))
            self._write(self._file, entry)
        return entry

    def _first(self, phase: str, paths: Iterable[str], intent: Mapping[str, Any]) -> Dict[str, Any]:
        record = self.store.record()
        making = self._folder + ".making"
        shapes.discard(making)
        os.makedirs(os.path.join(making, "files"), mode=0o700)
        unproven = record is not None and not record["proven"]
        # What a version brought that never served was not there before it
        unserved = set(record["files"]) if record is not None and unproven else set()
        marks = {**self._keep(set(paths) - unserved, making), **dict.fromkeys(unserved, ABSENT)}
        entry = {
            "format": JOURNAL_FORMAT,
            "phase": phase,
            "paths": marks,
            "folders": self._missing_folders(marks),
            "record": None if unproven else record,
            "intent": dict(intent),
        }
        with open(os.path.join(making, "reserve"), "wb") as handle:
            handle.write(os.urandom(RESERVE))  # which no file system compresses away
            handle.flush()
            os.fsync(handle.fileno())
        self._write(os.path.join(making, "journal.json"), entry)
        os.rename(making, self._folder)
        return entry

    def _keep(self, paths: Iterable[str], folder: str = "") -> Dict[str, str]:
        """Keep what lies at ``paths`` by hard links; their marks."""
        target = os.path.join(folder or self._folder, "files")
        result = {}
        for path in paths:
            mark = self.store.mark(path)
            result[path] = mark or ABSENT
            if mark:
                place = os.path.join(target, path)
                os.makedirs(os.path.dirname(place), mode=0o700, exist_ok=True)
                if os.path.lexists(place):
                    os.unlink(place)
                os.link(os.path.join(self.store.root, path), place, follow_symlinks=False)
        return result

    def _missing_folders(self, paths: Iterable[str]) -> List[str]:
        result = set()
        for path in paths:
            folder = os.path.dirname(path)
            while folder and not os.path.isdir(os.path.join(self.store.root, folder)):
                result.add(folder)
                folder = os.path.dirname(folder)
        return sorted(result)

    def enter(self, phase: str) -> None:
        """Note that the change has come to ``phase``."""
        entry = self.read()
        if entry is not None and entry["phase"] != phase:
            self._write(self._file, {**entry, "phase": phase})

    def release_reserve(self) -> None:
        """Give the disk what is needed to go back."""
        reserve = os.path.join(self._folder, "reserve")
        if os.path.lexists(reserve):
            os.unlink(reserve)

    def replay(self) -> None:
        """Bring back exactly the files and the record of before. Raises BadJournal."""
        entry = self.read()
        if entry is None:
            return
        for path, mark in sorted(entry["paths"].items()):
            live = os.path.join(self.store.root, path)
            if mark == ABSENT:
                if os.path.lexists(live):
                    os.unlink(live)
                self.store.prune(os.path.dirname(path))
            elif self.store.mark(path) != mark:
                make_folders(self.store.root, path, _owner(mark))
                os.replace(os.path.join(self._folder, "files", path), live)
        for folder in reversed(entry["folders"]):
            self.store.prune_empty(folder)
        if entry["record"] is None:
            self.store.remove_record()
        else:
            records.write(self.store.root, self.store.name, entry["record"])

    def removed(self, entry: Mapping[str, Any]) -> None:
        """Note that a removal stands and is not over, since somebody else has not taken it in: nothing was before."""
        gone = dict.fromkeys(entry["paths"], ABSENT)
        self._write(self._file, {**entry, "paths": gone, "folders": [], "record": None})

    def close(self) -> None:
        """The change is concluded, one way or the other, or the journal tells nobody anything."""
        if os.path.lexists(self._folder):
            done = self._folder + ".done"
            shapes.discard(done)
            os.rename(self._folder, done)
            shutil.rmtree(done, ignore_errors=True)

    def _write(self, path: str, value: Mapping[str, Any]) -> None:
        records.write_whole(path, value)


def _owner(mark: str) -> int:
    uid = mark.rsplit(":", 1)[-1]
    return int(uid) if uid.isdigit() else 0
