"""The files of one component on the VPS: marks, staging, the swap, its record. Knows nothing of containers."""

from __future__ import annotations

import errno
import os
from typing import Any, Dict, Mapping, Optional

from ansible_collections.landfall.vps.plugins.module_utils import records
from ansible_collections.landfall.vps.plugins.module_utils.host import marks_of, own_files
from ansible_collections.landfall.vps.plugins.module_utils.plan import select
from ansible_collections.landfall.vps.plugins.module_utils.shapes import owns

STAYS = (errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY, errno.ENOTDIR)
"""Why a folder is not removed and need not be: somebody has something in it, on it, or in its place."""


class Store:
    """Files of component ``name`` below ``root``. Methods raise OSError when the disk refuses."""

    def __init__(self, root: str, name: str) -> None:
        self.root = root
        self.name = name
        self.state = os.path.join(root, records.STATE_DIR)
        self.folder = os.path.join(root, name)

    def prepare(self) -> None:
        """Make the folders that the engine itself needs."""
        make_folder(self.root, 0o755)
        make_folder(self.state, 0o700)

    def record(self) -> Optional[Dict[str, Any]]:
        """What was last applied, or None. Raises BadRecord."""
        return records.load(self.root, self.name)

    def mark(self, path: str) -> str:
        """Fingerprint of a live file, empty when there is none."""
        return marks_of(self.root, [path]).get(path, "")

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

    def swap(self, staged: str, marks: Mapping[str, str], changes: Mapping[str, str]) -> None:
        """Move staged files into place by rename and delete those that are to go.

        Every file is complete on this file system before the first rename, so the window is one of system calls; the
        journal says what lay at each path before.
        """
        for path, kind in changes.items():
            live = os.path.join(self.root, path)
            if kind == "remove":
                if os.path.lexists(live):
                    os.unlink(live)
                self.prune(os.path.dirname(path))
                continue
            make_folders(self.root, path, int(marks[path].split(":")[2]))
            os.replace(os.path.join(staged, path), live)

    def write_record(self, value: Mapping[str, Any]) -> None:
        """Write the record, whole or not at all."""
        records.write(self.root, self.name, value)

    def remove_record(self) -> None:
        """Forget the component. Its files are removed by their paths, never by this."""
        path = records.path_of(self.root, self.name)
        if os.path.lexists(path):
            os.unlink(path)

    def prune(self, folder: str) -> None:
        """Remove ``folder`` and those above it while they are empty and this component's own."""
        while folder and (folder == self.name or owns(self.name, folder + "/")):
            if not self.prune_empty(folder):
                return
            folder = os.path.dirname(folder)

    def prune_empty(self, folder: str) -> bool:
        """Remove ``folder`` if it is empty, whoever's it is; say whether it is gone. Raises OSError, see STAYS."""
        try:
            os.rmdir(os.path.join(self.root, folder))
        except FileNotFoundError:
            return True
        except OSError as error:
            if error.errno not in STAYS:
                raise
            return False
        return True


def make_folder(place: str, mode: int) -> None:
    """Make a folder, and those above it, with exactly this mode: what root's umask is on a VPS is not ours to trust."""
    if not os.path.isdir(place):
        parent = os.path.dirname(place)
        if parent and not os.path.isdir(parent):
            make_folder(parent, 0o755)
        os.mkdir(place)
    os.chmod(place, mode)


def make_folders(root: str, path: str, uid: int) -> None:
    """Make the folders above ``path``: world-readable, but those of secrets for their owner alone."""
    place = root
    inside_secrets = False
    for part in os.path.dirname(path).split("/"):
        place = os.path.join(place, part)
        inside_secrets = inside_secrets or part == "secrets"
        if not os.path.isdir(place):
            os.mkdir(place)
        if inside_secrets:
            os.chown(place, uid, uid)
        os.chmod(place, 0o700 if inside_secrets else 0o755)
