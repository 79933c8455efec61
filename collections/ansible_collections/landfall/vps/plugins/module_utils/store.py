"""The files of one component on the VPS: stage, swap, go back, record. Knows nothing of containers."""

from __future__ import annotations

import json
import os
import shutil
from typing import Any, Dict, Mapping, Optional

from ansible_collections.landfall.vps.plugins.module_utils.host import STATE_DIR, files_below, own_files, read_json
from ansible_collections.landfall.vps.plugins.module_utils.plan import owns, select


class Store:
    """Files of component ``name`` below ``root``. Methods raise OSError when the disk refuses."""

    def __init__(self, root: str, name: str) -> None:
        self.root = root
        self.name = name
        self.state = os.path.join(root, STATE_DIR)
        self.folder = os.path.join(root, name)
        self._previous = os.path.join(self.state, "previous", name)
        self._pending = self._previous + ".pending"
        self._record = os.path.join(self.state, name + ".json")

    def prepare(self) -> None:
        """Make the folders that the engine itself needs."""
        os.makedirs(self.root, mode=0o755, exist_ok=True)
        os.makedirs(self.state, mode=0o700, exist_ok=True)

    def record(self) -> Optional[Dict[str, Any]]:
        """What was last applied, or None."""
        return read_json(self._record)

    def marks(self) -> Dict[str, str]:
        """Fingerprints of this component's files: its own folder and the drop-ins that its record names."""
        record = self.record()
        return select(self.name, own_files(self.root, self.name, record), record)

    def read(self, path: str) -> bytes:
        """Content of a live file, empty when absent."""
        try:
            with open(os.path.join(self.root, path), "rb") as handle:
                return handle.read()
        except OSError:
            return b""

    def stage(self, target: str, contents: Mapping[str, bytes], marks: Mapping[str, str]) -> None:
        """Write files below ``target`` with the mode and owner that their fingerprints name."""
        for path, content in contents.items():
            _digest, mode, uid = marks[path].split(":")
            place = os.path.join(target, path)
            make_folders(target, path, int(uid))
            with open(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as handle:
                handle.write(content)
                handle.flush()
                os.fsync(handle.fileno())
            os.chown(place, int(uid), int(uid))
            os.chmod(place, int(mode, 8))

    def keep_previous(self) -> None:
        """Copy the live set aside, unless an unfinished run already kept the last set that was proven."""
        if os.path.exists(self._pending):
            return
        shutil.rmtree(self._previous, ignore_errors=True)
        os.makedirs(self._previous, mode=0o700)
        for path in self.marks():
            copy_file(self.root, self._previous, path)
        if os.path.exists(self._record):
            shutil.copy2(self._record, os.path.join(self._previous, "record.json"))
        with open(self._pending, "w", encoding="utf-8") as handle:
            handle.flush()
            os.fsync(handle.fileno())

    def previous_record(self) -> Optional[Dict[str, Any]]:
        """The record that belongs to the kept set, or None when nothing was deployed before."""
        return read_json(os.path.join(self._previous, "record.json"))

    def swap(self, staged: str, marks: Mapping[str, str], changes: Mapping[str, str]) -> None:
        """Move staged files into place by rename and delete those that are to go.

        Every file is complete on this file system before the first rename, so the window is one of system calls;
        a run that dies within it leaves the old record, by which the next run finds what is not applied yet.
        """
        for path, kind in changes.items():
            live = os.path.join(self.root, path)
            if kind == "remove":
                os.unlink(live)
                self._prune(os.path.dirname(path))
                continue
            make_folders(self.root, path, int(marks[path].split(":")[2]))
            os.replace(os.path.join(staged, path), live)

    def restore(self) -> None:
        """Put the kept set back, files and record."""
        kept = files_below(self._previous) if os.path.isdir(self._previous) else {}
        kept.pop("record.json", None)
        for path in self.marks():
            if path not in kept:
                os.unlink(os.path.join(self.root, path))
                self._prune(os.path.dirname(path))
        for path in kept:
            copy_file(self._previous, self.root, path)
        source = os.path.join(self._previous, "record.json")
        if os.path.exists(source):
            shutil.copy2(source, self._record)
        elif os.path.exists(self._record):
            os.unlink(self._record)
        self.finish()

    def write_record(self, value: Mapping[str, Any]) -> None:
        """Write the record, whole or not at all."""
        temporary = self._record + ".new"
        with open(temporary, "w", encoding="utf-8") as handle:
            json.dump(value, handle, sort_keys=True, indent=1)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(temporary, self._record)

    def finish(self) -> None:
        """The swap is concluded, one way or the other."""
        if os.path.exists(self._pending):
            os.unlink(self._pending)

    def forget(self) -> None:
        """Remove the component's folder, record and kept set. Drop-in folders that others filled stay."""
        for path in self.marks():
            os.unlink(os.path.join(self.root, path))
            self._prune(os.path.dirname(path))
        self._prune(self.name)
        self.finish()
        shutil.rmtree(self._previous, ignore_errors=True)
        if os.path.exists(self._record):
            os.unlink(self._record)

    def _prune(self, folder: str) -> None:
        while folder and (folder == self.name or owns(self.name, folder + "/")):
            try:
                os.rmdir(os.path.join(self.root, folder))
            except OSError:
                return
            folder = os.path.dirname(folder)


def make_folders(root: str, path: str, uid: int) -> None:
    """Make the folders above ``path``: world-readable, but those of secrets for their owner alone."""
    place = root
    inside_secrets = False
    for part in os.path.dirname(path).split("/"):
        place = os.path.join(place, part)
        inside_secrets = inside_secrets or part == "secrets"
        if not os.path.isdir(place):
            os.mkdir(place, 0o755)
        if inside_secrets:
            os.chown(place, uid, uid)
            os.chmod(place, 0o700)


def copy_file(source_root: str, target_root: str, path: str) -> None:
    """Copy one file with owner and mode; replaces the target in one step."""
    source, target = os.path.join(source_root, path), os.path.join(target_root, path)
    found = os.lstat(source)
    make_folders(target_root, path, found.st_uid)
    temporary = target + ".copying"
    shutil.copy2(source, temporary)
    os.chown(temporary, found.st_uid, found.st_gid)
    os.replace(temporary, target)
