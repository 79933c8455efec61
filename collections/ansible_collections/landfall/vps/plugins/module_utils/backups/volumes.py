"""Named volumes: which files they hold, SQLite files by SQLite's own backup, and the swap of a whole volume.

What an application wrote is nobody's to trust: its SQLite files are opened by a process that has the rights of their
owner, sees two folders of the VPS and no network.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
import tarfile
from typing import IO, Any, Dict, Iterator, List, Mapping, Sequence, Tuple

from .repository import Repository, explained
from .tools import Fault, attempt, last_lines, mountpoint, read_json, run, there, using, write_whole, writing

MAGIC = b"SQLite format 3\0"
BESIDE = ("-wal", "-shm", "-journal")
SQLITE_PATIENCE = 600.0  # seconds
BLOCK = 1 << 20
JAIL = """set -eu
mount -t tmpfs -o mode=755,size=1m none /mnt
mkdir /mnt/from /mnt/to
mount --bind "$1" /mnt/from
mount --bind "$2" /mnt/to
exec setpriv --reuid="$3" --regid="$4" --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all \
    "$5" -IBc "$6" "/mnt/from/$7" /mnt/to/copy
"""
COPY = """
import sqlite3, sys
path = sys.argv[1].replace("%", "%25").replace("?", "%3f").replace("#", "%23")
source = sqlite3.connect("file:" + path + "?mode=rw", uri=True, timeout=60)
target = sqlite3.connect(sys.argv[2])
source.backup(target, pages=1024, sleep=0.005)
told = target.execute("PRAGMA integrity_check").fetchone()[0]
source.close()
target.close()
sys.exit(0 if told == "ok" else "the copy is not sound: " + told)
"""


def walk(root: str) -> Iterator[Tuple[str, os.stat_result]]:
    """(path relative to ``root``, its lstat) of all files and links below; what vanishes meanwhile is left out."""
    for folder, folders, names in os.walk(root):
        folders.sort()
        for name in sorted([*names, *(one for one in folders if os.path.islink(os.path.join(folder, one)))]):
            path = os.path.join(folder, name)
            try:
                yield os.path.relpath(path, root), os.lstat(path)
            except OSError:
                continue


def read(path: str) -> IO[bytes]:
    """A file as it is there, never what a link leads to. Raises OSError."""
    return open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb")


def digest(stream: IO[bytes]) -> str:
    """sha256 (hex) of what is left of a stream."""
    total = hashlib.sha256()
    for block in iter(lambda: stream.read(BLOCK), b""):
        total.update(block)
    return total.hexdigest()


def sqlite_files(root: str) -> List[str]:
    """Relative paths of the SQLite databases below ``root``, by their first bytes."""
    found = []
    for relative, its in walk(root):
        if stat.S_ISREG(its.st_mode) and its.st_size >= 512 and not relative.endswith(BESIDE):
            try:
                with read(os.path.join(root, relative)) as handle:
                    if handle.read(len(MAGIC)) == MAGIC:
                        found.append(relative)
            except OSError:
                continue
    return found


def copy_sqlite(root: str, relative: str, target: str) -> None:
    """Copy a database that others write to, whole, with its owner and mode, to ``target``. Raises Fault."""
    its = os.lstat(os.path.join(root, relative))
    folder = target + ".work"
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder, mode=0o700)
    os.chown(folder, its.st_uid, its.st_gid)
    argv = ["unshare", "--mount", "--net", "--propagation", "private", "sh", "-c", JAIL, "sh", root, folder,
            str(its.st_uid), str(its.st_gid), sys.executable or "/usr/bin/python3", COPY, relative]  # fmt: skip
    try:
        status, out, err = attempt(argv, None, SQLITE_PATIENCE)
        if status:
            raise Fault("{0}: SQLite cannot copy it: {1}".format(relative, last_lines(err or out)))
        copy = os.path.join(folder, "copy")
        if not stat.S_ISREG(os.lstat(copy).st_mode):
            raise Fault("{0}: SQLite made no file of it".format(relative))
        os.chmod(copy, stat.S_IMODE(its.st_mode))
        os.replace(copy, target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


# -- taking -------------------------------------------------------------------------------------------------------


def note(item: Mapping[str, Any], stage: str, cache: str) -> Dict[str, Any]:
    """Note what a volume holds and copy its databases into ``stage``: ``{volume, place, files, sqlite, bytes}``.

    ``files`` maps each path to ``[size, mtime in ns, sha256]``, a link to ``["link", target]``; ``sqlite`` maps those
    of databases to the sha256 of the copy. Hashes of files that are as they were are taken from the file ``cache``.
    Raises Fault.
    """
    place = mountpoint(item["volume"])
    os.makedirs(stage, mode=0o700, exist_ok=True)
    databases: Dict[str, str] = {}
    for relative in sqlite_files(place):
        target = os.path.join(stage, relative)
        os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
        copy_sqlite(place, relative, target)
        with read(target) as handle:
            databases[relative] = digest(handle)
    left_out = {relative + ending for relative in databases for ending in ("", *BESIDE)}
    known, fresh = read_json(cache), {}
    files: Dict[str, List[Any]] = {}
    total = 0
    for relative, its in walk(place):
        if relative in left_out:
            continue
        try:
            if stat.S_ISLNK(its.st_mode):
                files[relative] = ["link", os.readlink(os.path.join(place, relative))]
            elif stat.S_ISREG(its.st_mode):
                mark = [its.st_size, its.st_mtime_ns, its.st_ctime_ns, its.st_ino]
                old = known.get(relative)
                if isinstance(old, list) and old[:4] == mark:
                    sha = str(old[4])
                else:
                    with read(os.path.join(place, relative)) as handle:
                        sha = digest(handle)
                fresh[relative] = [*mark, sha]
                files[relative] = [its.st_size, its.st_mtime_ns, sha]
                total += its.st_size
        except OSError:  # it vanished
            continue
    write_whole(cache, json.dumps(fresh), 0o600)
    total += sum(os.path.getsize(os.path.join(stage, relative)) for relative in databases)
    return {"volume": item["volume"], "place": place, "files": files, "sqlite": databases, "bytes": total}


def excluded(noted: Mapping[str, Any], folder: str, patterns: Sequence[str]) -> List[str]:
    """What restic leaves out of a volume that it sees as ``folder``: databases, of which there are copies."""
    found = [os.path.join(folder, relative + end) for relative in noted["sqlite"] for end in ("", *BESIDE)]
    # restic reads these as patterns
    found = ["".join("\\" + sign if sign in "*?[\\" else sign for sign in path) for path in found]
    return found + [os.path.join(folder, pattern) for pattern in patterns]


# -- proving ------------------------------------------------------------------------------------------------------


def prove(noted: Mapping[str, Any], repository: Repository, snapshot: str, folders: Tuple[str, str]) -> Dict[str, int]:
    """Read a volume back from a snapshot, whole, and compare every file: ``{files, changed}``.

    ``folders`` are those of files and of databases in the snapshot. What was written between noting and reading is
    told by its time, and counts as ``changed``. Raises Fault with what differs.
    """
    left = dict(noted["files"])
    same = changed = 0
    for relative, member, sha in _members(repository, snapshot, folders[0]):
        known = left.pop(relative, None)
        if known is None:
            changed += 1
        elif member.issym():
            same, changed = (same + 1, changed) if known == ["link", member.linkname] else (same, changed + 1)
        elif known[0] != member.size or abs(known[1] / 1e9 - member.mtime) > 1.01:
            changed += 1
        elif known[2] != sha:
            raise Fault("{0}: {1} was restored with other content".format(noted["volume"], relative))
        else:
            same += 1
    for relative, known in left.items():
        if not noted.get("patterns") and _unchanged(os.path.join(noted["place"], relative), known):
            raise Fault("{0}: {1} is not in the snapshot".format(noted["volume"], relative))
    if noted["sqlite"]:
        found = {relative: sha for relative, _member, sha in _members(repository, snapshot, folders[1])}
        for relative, sha in noted["sqlite"].items():
            if found.get(relative) != sha:
                raise Fault("{0}: the database {1} was restored with other content".format(noted["volume"], relative))
    return {"files": same + len(noted["sqlite"]), "changed": changed}


def _unchanged(path: str, known: Sequence[Any]) -> bool:
    try:
        its = os.lstat(path)
    except OSError:
        return False
    return not stat.S_ISLNK(its.st_mode) and [its.st_size, its.st_mtime_ns] == list(known[:2])


def _members(repository: Repository, snapshot: str, folder: str) -> Iterator[Tuple[str, tarfile.TarInfo, str]]:
    """(path, entry, sha256) of the files and links of a folder of a snapshot, which never touch the disk."""
    with writing(repository.dump(snapshot, folder, archive=True)) as (process, said):
        try:
            with tarfile.open(fileobj=process.stdout, mode="r|") as tar:
                for member in tar:
                    path = os.path.normpath(member.name.lstrip("/"))
                    if member.isreg():
                        yield path, member, digest(there(tar.extractfile(member)))
                    elif member.issym():
                        yield path, member, ""
        except (tarfile.TarError, EOFError) as error:
            process.wait()
            told = explained(last_lines(said.all()) or str(error))
            raise Fault("{0}: reading it failed: {1}".format(folder, told)) from error
        there(process.stdout).read()
        if process.wait():
            raise Fault("{0}: reading it failed: {1}".format(folder, explained(last_lines(said.all()))))


# -- bringing back --------------------------------------------------------------------------------------------------


def aside(place: str, how: str, when: str) -> str:
    """The folder beside a volume's files that a restore at ``when`` keeps (``before``) or makes (``restoring``)."""
    return "{0}_{1}_{2}".format(place.rstrip("/"), how, when)


def prepare(place: str, fresh: str, repository: Repository, snapshot: str, folders: Sequence[str]) -> None:
    """Make ``fresh`` of the folders of a snapshot, one over the other, with the owner and mode of ``place``.

    Raises Fault.
    """
    shutil.rmtree(fresh, ignore_errors=True)
    os.makedirs(fresh, mode=0o700)
    for folder in folders:
        with writing(repository.dump(snapshot, folder, archive=True)) as (process, said):
            argv = ["tar", "--extract", "--file=-", "--directory=" + fresh, "--preserve-permissions", "--same-owner",
                    "--numeric-owner", "--xattrs", "--delay-directory-restore"]  # fmt: skip
            done = subprocess.run(argv, stdin=process.stdout, capture_output=True, check=False)
            there(process.stdout).close()
            if process.wait():
                raise Fault("{0}: reading it failed: {1}".format(folder, explained(last_lines(said.all()))))
            if done.returncode:
                raise Fault("{0}: it cannot be written: {1}".format(folder, last_lines(done.stderr)))
    like(place, fresh)


def like(place: str, fresh: str) -> None:
    """Give the folder ``fresh`` the owner and mode of ``place``."""
    its = os.stat(place)
    os.chown(fresh, its.st_uid, its.st_gid)
    os.chmod(fresh, stat.S_IMODE(its.st_mode))


def swap(places: Sequence[Tuple[str, str, str]], volumes: Sequence[str]) -> List[str]:
    """Let folders take the place of volumes' files: ``places`` are (files, incoming, what the files become).

    Those who use the volumes are stopped before and started afterwards; their names are returned. Done already,
    it does nothing. Raises Fault or OSError, with all containers started.
    """
    users = sorted({name for volume in volumes for name in using(volume)})
    if users:
        run(["docker", "stop", *users], None, 600.0)
    try:
        for place, incoming, outgoing in places:
            if os.path.isdir(incoming):
                if os.path.isdir(place):
                    os.rename(place, outgoing)
                os.rename(incoming, place)
    finally:
        if users:
            run(["docker", "start", *users], None, 600.0)
    return users
