"""Docker build contexts: what belongs to one, its digest, its tar. Used on the controller."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import stat
import tarfile
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Protocol, Sequence, Tuple

from ansible_collections.landfall.vps.plugins.module_utils.dockerignore import BadPattern, Matcher, read

# The one thing that differs from Docker: a commit is no new image. `!.git` in .dockerignore sends it.
LEFT_OUT = ".git"
IGNORE_FILE = ".dockerignore"
OUTSIDE = ".landfall.dockerfile"
"""Name in the tar of a Dockerfile that lies outside the context."""
FILE, LINK, FOLDER = "file", "link", "folder"
TAG_LENGTH = 12
_BLOCK = 1 << 20
_KNOWN: Dict[Tuple[str, str], Tuple[str, str]] = {}  # context to (mark, digest): templates ask again and again


class ContextError(Exception):
    """The folder is no build context."""


class Sink(Protocol):
    """What a tar can be written to."""

    def write(self, data: bytes, /) -> int:
        """Take some bytes."""

    def flush(self) -> None:
        """Nothing more comes for now."""


@dataclass(frozen=True)
class Entry:
    """One thing that is sent: ``name`` in the tar, ``kind`` file, link or (empty) folder, ``place`` on the disk."""

    name: str
    kind: str
    place: str


def _patterns(path: str, dockerfile: str) -> List[str]:
    """Those of ``<Dockerfile>.dockerignore``, else of ``.dockerignore``."""
    for place in (os.path.join(path, dockerfile) + IGNORE_FILE, os.path.join(path, IGNORE_FILE)):
        if os.path.isfile(place):
            with open(place, encoding="utf-8", errors="surrogateescape") as handle:
                return read(handle.read())
    return []


def _matcher(path: str, dockerfile: str) -> Matcher:
    try:
        return Matcher(_patterns(path, dockerfile))
    except BadPattern as error:
        raise ContextError(
            "build context {0}: its .dockerignore cannot be read: {1}".format(path, _shown(str(error)))
        ) from error


def _shown(text: str) -> str:
    """A name for people: what no terminal shows, or is no UTF-8, by its number."""
    plain = os.fsencode(text).decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in plain)


def _below(path: str, prefix: str, matcher: Matcher, above: Sequence[bool], found: List[Entry]) -> bool:
    """Add what is sent of one folder; returns whether anything is. Links are kept as links, wherever they lead."""
    some = False
    for item in sorted(os.scandir(os.path.join(path, prefix)), key=lambda item: item.name):
        name = prefix + item.name
        if item.name == LEFT_OUT and not matcher.names(LEFT_OUT):
            continue
        ignored, matches = matcher.judge(name, above)
        if item.is_dir(follow_symlinks=False):
            if ignored and not matcher.keeps_below(name):
                continue
            if not _below(path, name + "/", matcher, matches, found):
                if ignored:
                    continue
                found.append(Entry(name, FOLDER, item.path))
        elif ignored or not (item.is_symlink() or item.is_file(follow_symlinks=False)):
            continue  # a socket or a device is nothing to build from
        else:
            found.append(Entry(name, LINK if item.is_symlink() else FILE, item.path))
        some = True
    return some


def entries(path: str, dockerfile: str = "Dockerfile") -> List[Entry]:
    """What is sent of the context ``path``, sorted by name: files, links as links, and folders that are empty.

    The rules are Docker's (https://docs.docker.com/build/concepts/context/#dockerignore-files) and those of
    ``<Dockerfile>.dockerignore`` come before those of ``.dockerignore``. Both that file and the Dockerfile are sent
    whatever the rules say. Raises ContextError if ``path`` is no folder, is empty or has no such Dockerfile.
    """
    if not os.path.isdir(path):
        raise ContextError("build context {0} is not a folder".format(path))
    found: List[Entry] = []
    _below(path, "", _matcher(path, dockerfile), (), found)
    inside = _inside(path, dockerfile)
    place = os.path.join(path, dockerfile)
    if not os.path.isfile(place):
        raise ContextError("build context {0} has no {1}; name another by dockerfile".format(path, dockerfile))
    # One that is a link to what is not sent would lead nowhere on the VPS, and its text would be no part of the digest
    real = os.path.realpath(place)
    if inside and os.path.islink(place) and _inside(os.path.realpath(path), real) not in {one.name for one in found}:
        found = [entry for entry in found if entry.name != inside]
    names = {entry.name for entry in found}
    needed = {inside or OUTSIDE: real, IGNORE_FILE: os.path.realpath(os.path.join(path, IGNORE_FILE))}
    found += [
        Entry(name, FILE, source) for name, source in needed.items() if name not in names and os.path.isfile(source)
    ]
    return sorted(found, key=lambda entry: entry.name)


def _inside(path: str, dockerfile: str) -> str:
    """The Dockerfile's path in the context, empty when it lies outside."""
    relative = os.path.relpath(os.path.normpath(os.path.join(path, dockerfile)), os.path.normpath(path))
    return "" if relative.split(os.sep)[0] == os.pardir else relative


def sent_dockerfile(path: str, dockerfile: str) -> str:
    """The Dockerfile's name in the tar that ``pack`` writes."""
    return _inside(path, dockerfile) or OUTSIDE


def files(path: str, dockerfile: str = "Dockerfile") -> List[str]:
    """Relative paths of a context's files and links, sorted. Raises ContextError as ``entries``."""
    return [entry.name for entry in entries(path, dockerfile) if entry.kind != FOLDER]


def size(found: Sequence[Entry]) -> int:
    """Bytes in the files of a context."""
    return sum(os.lstat(entry.place).st_size for entry in found if entry.kind == FILE)


def size_fault(path: str, dockerfile: str, limit: int) -> str:
    """What is wrong with the size of a context (``limit`` in bytes), with what makes most of it; empty if nothing."""
    found = entries(path, dockerfile)
    total = size(found)
    if total <= limit:
        return ""
    parts: Dict[str, int] = {}
    for entry in found:
        if entry.kind == FILE:
            top = entry.name.split("/")[0]
            parts[top] = parts.get(top, 0) + os.lstat(entry.place).st_size
    heaviest = sorted(parts.items(), key=lambda item: -item[1])[:3]
    return (
        "build context {0} holds {1} in {2} files, most of it in {3}; name what the image does not need in {4}".format(
            path,
            _text(total),
            len(found),
            ", ".join("{0} ({1})".format(_shown(name), _text(amount)) for name, amount in heaviest),
            os.path.join(path, IGNORE_FILE),
        )
    )


def _text(amount: int) -> str:
    return "{0:.1f} GB".format(amount / 1e9) if amount >= 1e9 else "{0:.1f} MB".format(amount / 1e6)


def digest(path: str, dockerfile: str = "Dockerfile") -> str:
    """sha256 (hex) over names, executable bits, links and contents of a context. Raises ContextError, OSError.

    Each task is a process of its own and would read all contents again. So the last digest of each context is kept, in
    the user's cache, until the name, size, mode, inode or one of the times of a file differs. The time of the last
    status change is among them: no tool can set that one back.
    """
    found, key = entries(path, dockerfile), (path, dockerfile)
    mark = _mark(path, found)
    if key not in _KNOWN:
        _KNOWN[key] = _remembered(path, dockerfile)
    if _KNOWN[key][0] == mark:
        return _KNOWN[key][1]
    total = hashlib.sha256()
    for entry in found:
        total.update("{0}\0{1}\n".format(entry.name, _content(entry)).encode("utf-8", "surrogateescape"))
    _KNOWN[key] = (mark, total.hexdigest())
    if _mark(path, found) == mark:  # nothing was written meanwhile
        _remember(path, dockerfile, *_KNOWN[key])
    return _KNOWN[key][1]


def _content(entry: Entry) -> str:
    if entry.kind == FOLDER:
        return "/"
    if entry.kind == LINK:
        return "->" + os.readlink(entry.place)
    content = hashlib.sha256()
    with open(entry.place, "rb") as handle:
        for block in iter(lambda: handle.read(_BLOCK), b""):
            content.update(block)
    return "{0:d}\0{1}".format(_executable(entry.place), content.hexdigest())


def _executable(place: str) -> bool:
    return bool(os.stat(place).st_mode & stat.S_IXUSR)


def build_tag(build: Mapping[str, Any]) -> str:
    """The first hex digits of a digest over all that makes an image: context, dockerfile, args, target, platform.

    Raises ContextError, OSError.
    """
    dockerfile = build.get("dockerfile") or "Dockerfile"
    found = digest(str(build["context"]), dockerfile)
    more = {key: build[key] for key in ("args", "target", "platform") if build.get(key)}
    if dockerfile != "Dockerfile":
        more["dockerfile"] = sent_dockerfile(str(build["context"]), dockerfile)
    if more:
        found = hashlib.sha256((found + json.dumps(more, sort_keys=True, default=str)).encode()).hexdigest()
    return found[:TAG_LENGTH]


def _mark(path: str, found: Sequence[Entry]) -> str:
    total = hashlib.sha256(os.path.realpath(path).encode("utf-8", "surrogateescape"))
    for entry in found:
        its = os.lstat(entry.place)
        facts = (entry.name, its.st_size, its.st_mode, its.st_ino, its.st_mtime_ns, its.st_ctime_ns)
        total.update(repr(facts).encode("utf-8", "surrogateescape"))
    return total.hexdigest()


def _memo(path: str, dockerfile: str) -> str:
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    key = os.path.realpath(path) + ("" if dockerfile == "Dockerfile" else "\0" + dockerfile)
    name = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return os.path.join(base, "landfall", "context-" + name)


def _remembered(path: str, dockerfile: str) -> Tuple[str, str]:
    try:
        with open(_memo(path, dockerfile), encoding="utf-8") as handle:
            mark, known = handle.read().split()
    except (OSError, ValueError):
        return ("", "")
    return (mark, known)


def _remember(path: str, dockerfile: str, mark: str, known: str) -> None:
    place = _memo(path, dockerfile)
    temporary = "{0}.{1}".format(place, os.getpid())
    try:
        os.makedirs(os.path.dirname(place), mode=0o700, exist_ok=True)
        with open(temporary, "w", encoding="utf-8") as handle:
            handle.write("{0} {1}\n".format(mark, known))
        os.replace(temporary, place)
    except OSError:  # without a cache it all takes longer, and works
        return


def pack(path: str, dockerfile: str, target: Sink) -> None:
    """Write the context to ``target`` as a gzipped tar, the same bytes for the same content, a block at a time.

    Owners, times and all of the modes but the executable bit are left out, as they depend on who checked out what
    when. Raises ContextError, OSError.
    """
    zipped = gzip.GzipFile(filename="", fileobj=target, mode="wb", mtime=0, compresslevel=1)
    with zipped, tarfile.open(fileobj=zipped, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        for entry in entries(path, dockerfile):
            info = tarfile.TarInfo(entry.name)
            if entry.kind == FOLDER:
                info.type, info.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(info)
            elif entry.kind == LINK:
                info.type, info.linkname, info.mode = tarfile.SYMTYPE, os.readlink(entry.place), 0o777
                tar.addfile(info)
            else:
                info.mode = 0o755 if _executable(entry.place) else 0o644
                info.size = os.path.getsize(entry.place)
                with open(entry.place, "rb") as handle:
                    tar.addfile(info, handle)
