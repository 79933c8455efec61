"""Docker build contexts: which files belong to one, its digest, its tar. Used on the controller."""

from __future__ import annotations

import fnmatch
import gzip
import hashlib
import io
import os
import tarfile
from typing import Dict, List, Tuple

ALWAYS_LEFT_OUT = (".git",)
# Docker sends them whatever .dockerignore says: the builder needs them itself
ALWAYS_SENT = ("Dockerfile", ".dockerignore")
_KNOWN: Dict[str, Tuple[str, str]] = {}  # path to (mark, digest): templates ask again and again


class ContextError(Exception):
    """The folder is no build context."""


def _ignore_patterns(path: str) -> List[Tuple[bool, str]]:
    place = os.path.join(path, ".dockerignore")
    if not os.path.exists(place):
        return []
    result = []
    with open(place, encoding="utf-8") as handle:
        for line in handle:
            pattern = line.strip()
            if not pattern or pattern.startswith("#"):
                continue
            keep = pattern.startswith("!")
            result.append((keep, pattern.lstrip("!").strip("/")))
    return result


def _matches(pattern: str, relative: str) -> bool:
    parts = relative.split("/")
    for length in range(1, len(parts) + 1):
        head = "/".join(parts[:length])
        if fnmatch.fnmatchcase(head, pattern):
            return True
        if pattern.startswith("**/") and (
            fnmatch.fnmatchcase(parts[length - 1], pattern[3:]) or fnmatch.fnmatchcase(head, pattern)
        ):
            return True
    return False


def _ignored(patterns: List[Tuple[bool, str]], relative: str) -> bool:
    ignored = False
    if relative in ALWAYS_SENT:
        return False
    for keep, pattern in patterns:
        if _matches(pattern, relative):
            ignored = not keep
    return ignored


def _may_hold_kept(patterns: List[Tuple[bool, str]], folder: str) -> bool:
    """Whether a pattern that keeps could match something below an ignored folder, which is else not walked."""
    depth = folder.count("/") + 1
    for keep, pattern in patterns:
        head = "/".join(pattern.split("/")[:depth])
        if keep and ("**" in pattern or (pattern.count("/") >= depth and fnmatch.fnmatchcase(folder, head))):
            return True
    return False


def files(path: str) -> List[str]:
    """Relative paths of a context's files, sorted, without what .dockerignore names.

    The rules are Docker's (https://docs.docker.com/build/concepts/context/#dockerignore-files): last match wins, ``!``
    keeps, ``**/`` matches at any depth. Raises ContextError if ``path`` is no folder or holds no Dockerfile.
    """
    if not os.path.isdir(path):
        raise ContextError("build context {0} is not a folder".format(path))
    patterns = _ignore_patterns(path)
    result = []
    for folder, folders, names in os.walk(path):
        below = os.path.relpath(folder, path)
        prefix = "" if below == "." else below + "/"
        folders[:] = sorted(
            n
            for n in folders
            if n not in ALWAYS_LEFT_OUT and (not _ignored(patterns, prefix + n) or _may_hold_kept(patterns, prefix + n))
        )
        result += [prefix + n for n in names if not _ignored(patterns, prefix + n)]
    if not result:
        raise ContextError("build context {0} is empty".format(path))
    return sorted(result)


def digest(path: str) -> str:
    """sha256 (hex) over names, executable bits and contents of a context's files. Raises ContextError, OSError.

    Each task is a process of its own and would read all contents again. So the last digest of each context is kept, in
    the user's cache, until the name, size, mode, inode or one of the times of a file differs. The time of the last
    status change is among them: no tool can set that one back.
    """
    names = files(path)
    mark = _mark(path, names)
    if path not in _KNOWN:
        _KNOWN[path] = _remembered(path)
    if _KNOWN[path][0] == mark:
        return _KNOWN[path][1]
    total = hashlib.sha256()
    for relative in names:
        place = os.path.join(path, relative)
        executable = os.access(place, os.X_OK)
        with open(place, "rb") as handle:
            content = hashlib.sha256(handle.read()).hexdigest()
        total.update("{0}\0{1:d}\0{2}\n".format(relative, executable, content).encode())
    _KNOWN[path] = (mark, total.hexdigest())
    if _mark(path, names) == mark:  # nothing was written meanwhile
        _remember(path, *_KNOWN[path])
    return _KNOWN[path][1]


def _mark(path: str, names: List[str]) -> str:
    total = hashlib.sha256(os.path.realpath(path).encode())
    for relative in names:
        found = os.stat(os.path.join(path, relative))
        facts = (relative, found.st_size, found.st_mode, found.st_ino, found.st_mtime_ns, found.st_ctime_ns)
        total.update(repr(facts).encode())
    return total.hexdigest()


def _memo(path: str) -> str:
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "landfall", "context-" + hashlib.sha256(os.path.realpath(path).encode()).hexdigest()[:16])


def _remembered(path: str) -> Tuple[str, str]:
    try:
        with open(_memo(path), encoding="utf-8") as handle:
            mark, known = handle.read().split()
    except (OSError, ValueError):
        return ("", "")
    return (mark, known)


def _remember(path: str, mark: str, known: str) -> None:
    place = _memo(path)
    temporary = "{0}.{1}".format(place, os.getpid())
    try:
        os.makedirs(os.path.dirname(place), mode=0o700, exist_ok=True)
        with open(temporary, "w", encoding="utf-8") as handle:
            handle.write("{0} {1}\n".format(mark, known))
        os.replace(temporary, place)
    except OSError:  # without a cache it all takes longer, and works
        return


def pack(path: str) -> bytes:
    """A gzipped tar of the context, the same bytes for the same content. Raises ContextError, OSError."""
    buffer = io.BytesIO()
    zipped = gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0, compresslevel=1)
    with zipped, tarfile.open(fileobj=zipped, mode="w") as tar:
        for relative in files(path):
            place = os.path.join(path, relative)
            info = tarfile.TarInfo(relative)
            info.mode = 0o755 if os.access(place, os.X_OK) else 0o644
            info.size = os.path.getsize(place)
            with open(place, "rb") as handle:
                tar.addfile(info, handle)
    return buffer.getvalue()
