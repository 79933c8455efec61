"""The repository: restic in a container of the component's own service, and what its complaints mean."""

from __future__ import annotations

import json
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from .tools import MARK, Fault, attempt, last_lines

PROVEN = "proven"
"""Tag of a snapshot that was restored and found equal."""
LONG = 24 * 3600.0  # seconds; the unit's own timeout ends a run before
HINTS = (
    # (words of restic or of what it uses, what it means; the first that fits)
    (("wrong password or no key found",),
     "backup_password: does not open the repository, which was made with another one; restore "
     "secrets/host_vars/<host>/backup_password as it was, or name a new repository"),
    (("repository does not exist", "Is there a repository at the following location", "unable to open config file"),
     "backup_repository: there is no repository; is its disk mounted and its path right? If it is to be a new one, "
     "deploy the role: site.yml --tags backup"),
    (("no space left on device", "disk quota exceeded", "QuotaExceeded", "StorageFull", "not enough space"),
     "backup_repository: the target is full; give it room, or keep less (backup_keep_daily and the like) and run "
     "playbooks/backup.yml"),
    (("Host key verification failed", "REMOTE HOST IDENTIFICATION HAS CHANGED"),
     "backup_ssh_known_hosts: the server shows another key; compare it, then write the line of ssh-keyscan"),
    (("Permission denied (publickey", "Load key"),
     "backup_ssh_key: the server does not accept it; put its public half into authorized_keys there"),
    (("InvalidAccessKeyId", "SignatureDoesNotMatch", "Access Denied", "AccessDenied", "InvalidToken"),
     "backup_s3_access_key: the store refuses the keys or their rights on the bucket"),
    (("connection refused", "Connection refused", "no such host", "i/o timeout", "No route to host",
      "Could not resolve", "Connection timed out",
      "connection reset", "network is unreachable", "did not answer", "Connection closed"),
     "backup_repository: the target cannot be reached; is its server up, and its name and port right?"),
    (("repository is already locked",),
     "the repository is locked by another run; if there is none, an interrupted one left it: 'restic unlock'"),
    (("ciphertext verification failed", "Pack ID does not match", "pack ID does not match", "contains errors",
      "repository contains damaged", "hash does not match", "wrong hash", "Fatal: repository contains errors"),
     "the repository is damaged: what it holds cannot be trusted; see docs/runbooks/BackupVerificationFailed.md"),
)  # fmt: skip


def explained(text: str) -> str:
    """What a complaint means, with the variable and the remedy; the complaint alone where nobody knows."""
    low = text.lower()
    hint = next((hint for words, hint in HINTS if any(word.lower() in low for word in words)), "")
    return "{0} (restic: {1})".format(hint, text) if hint else "restic: {0}".format(text)


class Repository:
    """``home`` is the component's folder, ``service`` that of its compose file, ``host`` the VPS in snapshots."""

    def __init__(self, home: str, service: str, name: str, stack: str, host: str) -> None:
        self._home, self._service, self._name, self._stack = home, service, name, stack
        self.host = host

    def argv(self, words: Sequence[str], flags: Sequence[str] = ()) -> List[str]:
        """The command that runs restic in a new container of the service, with ``flags`` of `docker compose run`."""
        label = "{0}={1}".format(MARK, self._stack)
        return ["docker", "compose", "--ansi", "never", "--progress", "quiet", "--project-directory", self._home, "run",
                "--rm", "-T", "--no-deps", "--name", self._name, "--label", label, *flags, self._service,
                *words]  # fmt: skip

    def run(self, words: Sequence[str], flags: Sequence[str] = (), timeout: float = LONG) -> bytes:
        """What restic printed. Raises Fault with the variable that is to be changed."""
        status, out, err = attempt(self.argv(words, flags), None, timeout)
        if status:
            raise Fault("{0}: {1}".format(words[0], explained(last_lines(complaints(err, out)))))
        return out

    # -- taking -----------------------------------------------------------------------------------------------------

    def take(self, mounts: Sequence[Tuple[str, str]], excluded: Sequence[str]) -> Tuple[str, Dict[str, Any]]:
        """Make a snapshot of what is mounted below /backup: (its id, restic's summary). Raises Fault.

        ``mounts`` are (folder of the VPS, folder in the container). The right to read files whoever owns them is given
        to this one container.
        """
        flags = ["--cap-add", "DAC_READ_SEARCH"]
        for place, inside in mounts:
            flags += ["--volume", "{0}:{1}:ro".format(place, inside)]
        words = ["backup", "--json", "--quiet", "--host", self.host, "--tag", "landfall,stack=" + self._stack,
                 *(word for one in excluded for word in ("--exclude", one)), "/backup"]  # fmt: skip
        out = self.run(words, flags)
        for line in reversed(out.decode("utf-8", "replace").splitlines()):
            found = json.loads(line) if line.startswith("{") else {}
            if found.get("message_type") == "summary" and found.get("snapshot_id"):
                return str(found["snapshot_id"]), found
        raise Fault("backup: restic told no snapshot: {0}".format(last_lines(out)))

    # -- reading ----------------------------------------------------------------------------------------------------

    def snapshots(self, host: Optional[str] = None) -> List[Dict[str, Any]]:
        """All snapshots of this stack and ``host`` (this one by default), oldest first. Raises Fault."""
        words = ["snapshots", "--json", "--no-lock", "--host", host or self.host, "--tag", "stack=" + self._stack]
        found = json.loads(self.run(words, timeout=600.0) or b"[]") or []
        return sorted(found, key=lambda one: str(one["time"]))

    def choose(self, wanted: str, host: Optional[str] = None) -> Dict[str, Any]:
        """The snapshot ``wanted``: latest (the newest proven one) or the beginning of an id. Raises Fault."""
        known = self.snapshots(host)
        if wanted in ("", "latest"):
            good = [one for one in known if PROVEN in (one.get("tags") or [])]
            if good:
                return good[-1]
            raise Fault(
                "snapshot: there is none of {0} that was proven by a restore{1}".format(
                    host or self.host, "; name one by its id: " + ids(known) if known else ", nor any other"
                )
            )
        fits = [one for one in known if str(one["id"]).startswith(wanted)]
        if len(fits) != 1:
            raise Fault(
                "snapshot: {0} {1} of {2}; there are: {3}".format(
                    wanted, "is no snapshot" if not fits else "begins several", host or self.host, ids(known)
                )
            )
        return fits[0]

    def dump(self, snapshot: str, path: str, archive: bool = False) -> List[str]:
        """The command that prints a file of a snapshot, or a folder (``archive``) as a tar of what is below it."""
        if archive:
            return self.argv(["dump", "--quiet", "--no-lock", "{0}:{1}".format(snapshot, path), "/"])
        return self.argv(["dump", "--quiet", "--no-lock", snapshot, path])

    def read(self, snapshot: str, path: str) -> bytes:
        """The content of a file of a snapshot. Raises Fault."""
        return self.run(["dump", "--quiet", "--no-lock", snapshot, path])

    # -- keeping ----------------------------------------------------------------------------------------------------

    def mark(self, snapshot: str) -> None:
        """Note in the repository that a snapshot was proven. Raises Fault."""
        self.run(["tag", "--quiet", "--add", PROVEN, snapshot])

    def forget(self, keep: Mapping[str, int]) -> str:
        """Drop proven snapshots by the rules ``keep``, others that are older: the newest one's id. Raises Fault."""
        known = self.snapshots()
        good = [one for one in known if PROVEN in (one.get("tags") or [])]
        if not good:
            return ""
        old = [str(one["id"]) for one in known if one not in good and str(one["time"]) < str(good[-1]["time"])]
        if old:
            self.run(["forget", "--quiet", *old])
        rules = [word for kind, count in keep.items() if count for word in ("--keep-" + kind, str(count))]
        tags = "landfall,{0},stack={1}".format(PROVEN, self._stack)
        self.run(["forget", "--quiet", "--host", self.host, "--tag", tags, "--group-by", "host", *rules, "--prune"])
        return str(good[-1]["id"])

    def check(self, part: int, parts: int) -> None:
        """Check the repository's structure, and read one of its ``parts`` whole. Raises Fault."""
        self.run(["check", "--quiet", "--read-data-subset={0}/{1}".format(part, parts)])

    def unlock(self) -> str:
        """Remove locks of dead runs; what was done, for people. Raises Fault.

        Whoever calls this is the only one of this host that uses the repository, so a lock of this host is of a run
        that died. restic itself sees that only after half an hour, since each run has process numbers of its own.
        """
        locks = self.run(["list", "locks", "--no-lock", "--quiet"], timeout=600.0).decode().split()
        if not locks:
            return ""
        holders = set()
        for lock in locks:
            status, out, _err = attempt(self.argv(["cat", "lock", lock, "--no-lock", "--quiet"]), None, 600.0)
            if status == 0:
                holders.add(str(json.loads(out).get("hostname")))
        mine = holders <= {self.host}
        self.run(["unlock", "--quiet", *(["--remove-all"] if mine else [])])
        return "removed the lock of a run that died" if mine else "left the lock of {0} alone".format(
            " and ".join(sorted(holders - {self.host}))
        )  # fmt: skip

    def bytes(self) -> int:
        """Bytes that the repository takes. Raises Fault."""
        return int(json.loads(self.run(["stats", "--json", "--no-lock", "--mode", "raw-data"]))["total_size"])


def ids(known: Sequence[Mapping[str, Any]]) -> str:
    """The newest snapshots for people."""
    told = ["{0} ({1})".format(str(one["id"])[:8], str(one["time"])[:16]) for one in known[-8:]]
    return ", ".join(reversed(told)) or "none"


def complaints(err: bytes, out: bytes) -> bytes:
    """What restic says is wrong: its messages in JSON, where there are any, as text."""
    found = []
    for line in (err + b"\n" + out).decode("utf-8", "replace").splitlines():
        try:
            told = json.loads(line) if line.startswith("{") else None
        except ValueError:
            told = None
        if isinstance(told, dict):
            if told.get("message_type") in ("error", "exit_error"):
                found.append(str(told.get("message") or (told.get("error") or {}).get("message")))
        elif line.strip():
            found.append(line)
    return "\n".join(found).encode()
