"""Bringing back: everything is restored beside what is in use and compared, then takes its place in a moment.

What was there before stays, for the way back, until it is dropped.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from typing import Any, Dict, List, Mapping, Optional

from . import postgres, redis, volumes
from .stack import Stack, chosen
from .taking import path
from .tools import Fault, mountpoint, read_json, say, stamp, using, write_whole

AGAIN = "ansible-playbook -i inventory/<env> playbooks/restore.yml"


def listed(stack: Stack, host: Optional[str] = None) -> None:
    """Tell the snapshots that there are, and what earlier restores keep."""
    known = stack.repository.snapshots(host)
    say("snapshots of {0}:".format(host or stack.host))
    for one in known[-30:]:
        proven = "proven" if "proven" in (one.get("tags") or []) else "NOT proven"
        say("  {0}  {1}  {2}".format(str(one["id"])[:8], str(one["time"])[:19].replace("T", " "), proven))
    if not known:
        say("  none")
    for when, kept in sorted(all_kept(stack).items()):
        say("kept from before the restore {0}: {1}".format(when, ", ".join(one["told"] for one in kept["items"])))


def all_kept(stack: Stack) -> Dict[str, Dict[str, Any]]:
    """What earlier restores keep, by their stamps."""
    folder = stack.state
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    found = (re.fullmatch(r"kept-(\d{8}t\d{6})\.json", name) for name in names)
    return {one.group(1): read_json(os.path.join(folder, one.group(0))) for one in found if one}


class Restore:
    """One restore, or the way back from one; ``when`` is its stamp."""

    def __init__(self, stack: Stack, when: str = "") -> None:
        self.stack = stack
        self.when = when or stamp(time.time())
        self.path = os.path.join(stack.state, "kept-{0}.json".format(self.when))
        self.items: List[Dict[str, Any]] = []

    def confirmed(self, confirm: str, doing: str) -> None:
        """Raise Fault unless ``confirm`` names this VPS."""
        if confirm != self.stack.host:
            raise Fault("confirm: {0}. To do it, say -e confirm={1}".format(doing, self.stack.host))

    def run(self, what: str, wanted: str, host: Optional[str], confirm: str) -> None:
        """Bring back ``what`` from the snapshot ``wanted`` of ``host``.

        Raises Fault; then nothing was replaced, or all that was is as before.
        """
        repository = self.stack.repository
        chosen_ = repository.choose(wanted, host)
        snapshot = str(chosen_["id"])
        manifest = json.loads(repository.read(snapshot, "/backup/manifest.json"))
        sources = {str(item["what"]): item for item in self.stack.sources()}
        pairs = chosen(list(sources.values()), manifest, what)
        told = ", ".join("/".join(pair).rstrip("/") for pair in pairs)
        age = (time.time() - float(manifest["at"])) / 3600
        say("snapshot {0} of {1}, {2:.1f} hours old: {3}".format(snapshot[:8], str(chosen_["time"])[:19], age, told))
        self.confirmed(confirm, "{0} would take the place of what is there now".format(told))
        try:
            for name, base in pairs:
                self._prepare(sources[name], manifest["sources"][name], name, base, snapshot)
        except BaseException:
            self._discard()
            raise
        self._write(snapshot)
        try:
            self._swap("restoring", "before")
        except BaseException as error:
            say("it failed, so that what was there before is brought back")
            self._swap("before", "restoring")
            self._discard()
            raise Fault("the restore was undone: {0}".format(error)) from error
        say("restored: {0}".format(told))
        say("what was there before is kept. Back to it: {0} -e undo={1} -e confirm={2}".format(
            AGAIN, self.when, self.stack.host))  # fmt: skip
        say("Once all of it serves, free its space: {0} -e drop={1} -e confirm={2}".format(
            AGAIN, self.when, self.stack.host))  # fmt: skip

    def _prepare(self, item: Mapping[str, Any], noted: Mapping[str, Any], name: str, base: str, snapshot: str) -> None:
        began, folder, repository = time.monotonic(), path(name), self.stack.repository
        one: Dict[str, Any] = {"told": "/".join((name, base)).rstrip("/"), "kind": item["kind"], "item": dict(item)}
        if item["kind"] == "postgresql":
            one.update(name=base, **{how: postgres.beside(base, how, self.when) for how in ("restoring", "before")})
            self.items.append(one)
            rows = postgres.prepare(item, noted, base, repository, snapshot, folder, self.when)
            found = "{0} rows, equal".format(rows)
        else:
            place = mountpoint(str(item["volume"]))
            one.update(name=place, **{how: volumes.aside(place, how, self.when) for how in ("restoring", "before")})
            self.items.append(one)
            if item["kind"] == "rdb":
                keys = redis.prepare(one["restoring"], noted, repository, snapshot, folder, self.stack.proof)
                volumes.like(place, one["restoring"])
                found = "{0} keys".format(keys)
            else:
                folders = [folder + "/files", *([folder + "/sqlite"] if noted["sqlite"] else [])]
                volumes.prepare(place, one["restoring"], repository, snapshot, folders)
                found = "{0} files".format(len(noted["files"]) + len(noted["sqlite"]))
        say("{0}: {1}, {2:.1f} s".format(one["told"], found, time.monotonic() - began))

    def _write(self, snapshot: str) -> None:
        """Note what is about to be replaced, for the way back after whatever happens."""
        users = sorted({name for one in self._volumes() for name in using(str(one["item"]["volume"]))})
        kept = {"snapshot": snapshot, "at": round(time.time()), "items": self.items, "users": users}
        write_whole(self.path, json.dumps(kept, indent=1), 0o600)

    def _volumes(self) -> List[Dict[str, Any]]:
        return [one for one in self.items if one["kind"] != "postgresql"]

    def _swap(self, incoming: str, outgoing: str) -> None:
        began = time.monotonic()
        places = [(one["name"], one[incoming], one[outgoing]) for one in self._volumes()]
        if places:
            users = volumes.swap(places, [str(one["item"]["volume"]) for one in self._volumes()])
            if users:
                say("{0}: stopped for {1:.1f} s".format(", ".join(users), time.monotonic() - began))
        for one in self.items:
            if one["kind"] == "postgresql":
                postgres.swap(one["item"], one["name"], one[incoming], one[outgoing])

    def _discard(self) -> None:
        """Remove what was restored beside what is in use."""
        for one in self.items:
            for how in ("restoring", "before"):
                if one["kind"] == "postgresql":
                    postgres.drop(one["item"], one[how])
                elif one[how].startswith(one["name"] + "_"):
                    shutil.rmtree(one[how], ignore_errors=True)
        if os.path.lexists(self.path):
            os.unlink(self.path)

    def _read(self) -> None:
        kept = all_kept(self.stack)
        if self.when not in kept:
            told = ", ".join(sorted(kept)) or "nothing"
            raise Fault("undo: no restore {0} keeps anything; kept is: {1}".format(self.when, told))
        self.items = list(kept[self.when]["items"])

    def undo(self, confirm: str) -> None:
        """Let what was there before the restore take its place again; what was restored is kept in turn."""
        self._read()
        told = ", ".join(one["told"] for one in self.items)
        self.confirmed(confirm, "what was there before the restore {0} would come back: {1}".format(self.when, told))
        there = [one for one in self.items if one["kind"] == "postgresql" or os.path.isdir(one["before"])]
        if not there:
            raise Fault("undo: nothing is kept of before the restore {0}; it was undone already".format(self.when))
        self._swap("before", "restoring")
        say("back to before: {0}".format(told))

    def drop(self, confirm: str) -> None:
        """Remove what a restore keeps."""
        self._read()
        told = ", ".join(one["told"] for one in self.items)
        self.confirmed(confirm, "what the restore {0} keeps would be gone: {1}".format(self.when, told))
        self._discard()
        say("dropped: {0}".format(told))
