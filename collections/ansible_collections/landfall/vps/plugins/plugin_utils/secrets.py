"""Generated secrets on the controller: one file for each host and name, made once, read by all later runs.

They may lie inside an inventory's folder, and Ansible parses every file below a folder that it is given as inventory:
a password would become the name of a host. Folders called host_vars and group_vars are left out by Ansible's own code
(``IGNORED_ALWAYS`` in its inventory manager), whatever the configuration says, so they lie in such folders.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets as random
import string
import tempfile
import time
from typing import Callable, Iterable, List, Optional, Sequence, Tuple

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
HOSTS, SHARED = "host_vars", os.path.join("group_vars", "all")
BEFORE = ".before"  # what the value of before is called while a rotation is under way
HALF_WRITTEN_SECONDS = 1.0
Tell = Callable[[str], None]

heard: Optional[List[str]] = None
"""What was made or moved, collected for whoever tells it in one piece; None: each is told at once."""
rehearsing = False
"""Whether the task at work must not write, which a play can say without ``--check``."""


class _Every(Tuple[str, ...]):
    """Names that are all there are."""

    def __contains__(self, name: object) -> bool:
        return True


EVERY: Sequence[str] = _Every()
"""Of secrets that are shared: each."""


class SecretError(Exception):
    """A secret cannot be had; the message names the file or variable and what would be right."""


def place_of(host: str) -> str:
    """``host`` as the name of one folder, whatever an inventory calls its hosts."""
    safe = re.sub(r"[^A-Za-z0-9_.:@-]", lambda found: "%{0:02X}".format(ord(found.group())), host)
    return safe.replace(".", "%2E") if not safe.strip(".") else safe


def characters(spec: Iterable[str]) -> str:
    """What a secret is made of; as for ansible.builtin.password, ``spec`` names sets of Python's string, or is text."""
    found = "".join(str(getattr(string, part, part)) for part in spec)
    return "".join(sorted(set(found) - set("\"'")))


def generate(length: int, alphabet: str) -> str:
    """A new secret from the kernel's random numbers."""
    return "".join(random.choice(alphabet) for _ in range(length))


def rehearsed(length: int, alphabet: str, *seed: str) -> str:
    """A secret that all tasks of one rehearsal agree about, and that nobody keeps; ``seed`` holds the run's uuid."""
    text, block = "", 0
    while len(text) < length:
        digest = hashlib.sha256("\0".join([*seed, str(block)]).encode()).digest()
        text += "".join(alphabet[int.from_bytes(digest[i : i + 4], "big") % len(alphabet)] for i in range(0, 32, 4))
        block += 1
    return text[:length]


def parse(content: str) -> str:
    """The secret in a file; ansible.builtin.password may have written a salt behind it."""
    return content.rpartition(" salt=")[0] if " salt=" in content else content


def read(path: str) -> Optional[str]:
    """The secret that a file holds, or None if there is no such file. Raises SecretError if it holds none."""
    deadline = time.monotonic() + HALF_WRITTEN_SECONDS
    while True:
        try:
            with open(path, encoding="utf-8") as handle:
                found = parse(handle.read().rstrip())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise SecretError("{0} cannot be read as a secret: {1}".format(path, error)) from error
        if found:
            return found
        if time.monotonic() > deadline:
            raise SecretError("{0} is empty; restore it, or remove it to have a new secret made".format(path))
        time.sleep(0.05)  # another run may just be writing it, where a file cannot appear at once


def _folder(path: str) -> None:
    """Make a folder and those above it that are missing, for this user alone."""
    if os.path.isdir(path):
        return
    above = os.path.dirname(path)
    if above and above != path:
        _folder(above)
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o700)


def _ignored_by_git(folder: str) -> None:
    path = os.path.join(folder, ".gitignore")
    if not os.path.lexists(path):
        with contextlib.suppress(OSError), open(path, "x", encoding="utf-8") as handle:
            handle.write("# Made by Landfall: nothing in here is ever committed\n*\n")


def _write_once(path: str, secret: str) -> bool:
    """Make a file that holds ``secret``, whole or not at all; False: somebody else was faster."""
    _folder(os.path.dirname(path))
    handle, temporary = tempfile.mkstemp(prefix=".new-", dir=os.path.dirname(path))  # mode 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(secret + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        except OSError:  # a file system without hard links: exclusive all the same, if not whole at once
            try:
                with os.fdopen(
                    os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8"
                ) as stream:
                    stream.write(secret + "\n")
            except FileExistsError:
                return False
        return True
    finally:
        os.unlink(temporary)


def _replace(path: str, secret: str) -> None:
    """Let a file hold ``secret``, whole."""
    handle, temporary = tempfile.mkstemp(prefix=".new-", dir=os.path.dirname(path))  # mode 0600
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(secret + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, path)


class Store:
    """The secrets in ``folder``; ``told`` hears what was made or moved, or would be under ``rehearse``.

    ``before`` is where an earlier version kept one set for all ``hosts``, who are asked for only when it is there.
    """

    def __init__(
        self,
        folder: str,
        before: str,
        rehearse: bool,
        run: str,
        told: Tell,
        hosts: Callable[[], Sequence[str]],
    ) -> None:
        self.folder = os.path.normpath(folder)
        self._before = os.path.normpath(before)
        self._rehearse = rehearse
        self._run = run
        self._tell = told
        self._hosts = hosts
        self.among: Optional[Sequence[str]] = None
        """Folders of the hosts that may share secrets; None: those of all."""

    def get(self, name: str, host: str, shared: bool, length: int, alphabet: str) -> str:
        """The secret ``name`` of ``host``, or of all hosts. Raises SecretError."""
        if not NAME.fullmatch(name):
            raise SecretError("'{0}' is no name of a secret; use letters, digits and _ . -".format(name))
        if length < 1 or len(alphabet) < 2:
            raise SecretError("{0}: a secret of {1} characters cannot be made".format(name, length))
        path = self._path(name, None if shared else host)
        try:
            return self._get(name, path, shared, length, alphabet)
        except OSError as error:
            raise SecretError("the secret {0} cannot be kept at {1}: {2}".format(name, path, error)) from error

    def path(self, name: str, host: str, shared: bool) -> str:
        """Where the secret ``name`` of ``host``, or of all hosts, is kept."""
        return self._path(name, None if shared else host)

    def before(self, name: str, host: str, shared: bool) -> str:
        """The value that a rotation replaces, which is accepted until it ends; empty when none is under way."""
        return read(self._path(name, None if shared else host) + BEFORE) or ""

    def begin(self, name: str, host: str, shared: bool, length: int, alphabet: str) -> bool:
        """Keep the value as the one before and make a new one. False: a rotation is under way already.

        A run that died on the way is made good by the next one. Raises SecretError.
        """
        path = self._path(name, None if shared else host)
        old = read(path)
        if old is None:
            raise SecretError("{0} is not generated: there is no {1}".format(name, path))
        under_way = read(path + BEFORE)
        if under_way not in (None, old):
            return False
        if not self._rehearse:
            with contextlib.suppress(FileExistsError):
                os.link(path, path + BEFORE)
            _replace(path, generate(length, alphabet))
        return True

    def end(self, name: str, host: str, shared: bool, back: bool = False) -> bool:
        """Forget the value before, or go ``back`` to it. False: no rotation is under way."""
        path = self._path(name, None if shared else host)
        if read(path + BEFORE) is None:
            return False
        if self._rehearse:
            return True
        try:
            if back:
                os.replace(path + BEFORE, path)
            else:
                os.unlink(path + BEFORE)
        except FileNotFoundError:  # another host of those that share it was faster
            return False
        return True

    def _path(self, name: str, host: Optional[str]) -> str:
        return os.path.join(self.folder, SHARED if host is None else os.path.join(HOSTS, place_of(host)), name)

    def _get(self, name: str, path: str, shared: bool, length: int, alphabet: str) -> str:
        own, old = read(path), os.path.join(self._before, name)
        before = read(old) if os.path.isfile(old) else None
        if before is not None:
            own = self._take_over(name, path, own, before, shared)
        elif own is None and shared:
            own = self._agreed(name)
            if own is not None and not self._rehearse:
                _write_once(path, own)
        if own is not None:
            if not self._rehearse:
                _ignored_by_git(self.folder)
            return own
        if self._rehearse:
            self._tell("{0} would be generated in {1}".format(name, os.path.dirname(path)))
            return rehearsed(length, alphabet, self._run, path)
        made = _write_once(path, generate(length, alphabet))
        _ignored_by_git(self.folder)
        if made:
            self._tell("{0} generated in {1}".format(name, os.path.dirname(path)))
        found = read(path)
        if found is None:
            raise SecretError("{0} vanished while it was made".format(path))
        return found

    def _take_over(self, name: str, path: str, own: Optional[str], before: str, shared: bool) -> str:
        """Move what an earlier version kept for all hosts at once to where it belongs now; no secret changes."""
        old = os.path.join(self._before, name)
        if own is not None and own != before:
            self._tell("{0} is not used: {1} holds another secret; remove what is old".format(old, path))
            return own
        if self._rehearse:
            self._tell("{0} would be moved to {1}".format(old, os.path.dirname(path)))
            return before
        targets = {path} if shared else {path, *(self._path(name, host) for host in self._hosts())}
        for target in sorted(targets):
            _write_once(target, before)
        kept = read(path)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(old)
            self._tell("{0} moved to {1}, where Ansible never takes it for inventory".format(old, _parents(targets)))
        return before if kept is None else kept

    def _agreed(self, name: str) -> Optional[str]:
        """The secret that all hosts which have one of this name have in common, if any: it becomes the shared one."""
        root = os.path.join(self.folder, HOSTS)
        places = sorted(os.listdir(root)) if os.path.isdir(root) else []
        places = [place for place in places if self.among is None or place in self.among]
        found = {read(os.path.join(root, place, name)) for place in places} - {None}
        return found.pop() if len(found) == 1 else None


def _parents(paths: Iterable[str]) -> str:
    found: List[str] = sorted({os.path.dirname(path) for path in paths})
    return ", ".join(found[:3]) + (" and {0} more".format(len(found) - 3) if len(found) > 3 else "")


def strays(folder: str) -> List[str]:
    """Files that lie in ``folder`` itself, where another configuration of Ansible would take them for inventory."""
    found = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    return [name for name in found if name[0] != "." and os.path.isfile(os.path.join(folder, name))]


def root_for(folder: str, taken: Iterable[str]) -> str:
    """``folder``, or a folder in it: host_vars right beside an inventory or a playbook means something to Ansible."""
    places = {os.path.realpath(place) for place in taken if place}
    return os.path.join(folder, "secrets") if os.path.realpath(folder) in places else folder


def grouped(told: Sequence[str]) -> List[str]:
    """Lines that say the same of several secrets, said once."""
    result: List[Tuple[List[str], str]] = []
    for line in told:
        subject, _blank, rest = line.partition(" ")
        entry = next((names for names, text in result if text == rest), None)
        if entry is None:
            result.append(([subject], rest))
        elif subject not in entry:
            entry.append(subject)
    return ["{0} {1}".format(", ".join(names), rest) for names, rest in result]
