"""One backup: what components declare is dumped, stored, restored and compared; old snapshots go, the rest is checked.

Only a snapshot that was restored counts.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any, Callable, Dict, List, Optional, Tuple

from . import postgres, redis, volumes
from .stack import Stack
from .tools import SAID, Fault, Stop, say, size, write_whole

FORMAT = 1
STEPS = ("dump", "store", "restore", "retention", "check")
FIGURES = {
    "last_run_timestamp_seconds": "When the last backup ended, well or not.",
    "last_snapshot_timestamp_seconds": "When the newest backup was taken.",
    "last_restored_timestamp_seconds": "When the newest backup was taken that was restored and found equal.",
    "duration_seconds": "How long the last backup took, with its proof.",
    "repository_bytes": "What the repository takes.",
    "enabled_timestamp_seconds": "Since when backups are set up.",
}


def path(what: str) -> str:
    """The folder of a source in a snapshot."""
    return "/backup/" + what


class Backup:
    """One run over a stack."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.state = _state(stack)
        self.faults: List[Tuple[str, str]] = []
        self.steps: Dict[str, float] = {}
        self.sizes: Dict[str, float] = {}
        self.mounts: List[Tuple[str, str]] = []
        self.excluded: List[str] = []
        self.manifest: Dict[str, Any] = {}

    def run(self) -> int:
        """Do all steps; the exit status. What fails is told, reported and does not count."""
        began = time.time()
        self.state.setdefault("enabled_timestamp_seconds", round(began))
        snapshot = ""
        try:
            with self.stack.staged() as stage:
                told = self._step("store", self.stack.repository.unlock)
                say(told or "repository: reachable")
                self._step("dump", lambda: self.dump(stage))
                snapshot = self._step("store", lambda: self.store(stage))
                self._step("restore", lambda: self.prove(snapshot, stage))
                snapshot = self._step("retention", lambda: self.stack.repository.forget(self.stack.settings["keep"]))
                self._step("check", self.check)
        except Fault as fault:
            self.faults.append(("", str(fault)))
        except _Failed:
            pass
        except Stop:
            self.faults.append(("store", "somebody stopped it"))
        return self.report(began, snapshot)

    def _step(self, name: str, work: Callable[[], Any]) -> Any:
        began = time.monotonic()
        try:
            return work()
        except (Fault, OSError, ValueError, KeyError) as fault:
            full = isinstance(fault, OSError) and fault.errno == 28
            told = "backup_scratch: its disk is full" if full else str(fault) or repr(fault)
            self.faults.append((name, told))
            raise _Failed from fault
        finally:
            self.steps[name] = round(self.steps.get(name, 0.0) + time.monotonic() - began, 3)

    # -- steps ------------------------------------------------------------------------------------------------------

    def dump(self, stage: str) -> None:
        """Have each source make a copy of its own, and note what it holds. One that fails keeps none of the others."""
        noted: Dict[str, Any] = {}
        sources = self.stack.sources()
        if not sources:
            raise Fault("there is nothing to back up: no component declares anything, or backup_without names it all")
        for item in sources:
            what, began = str(item["what"]), time.monotonic()
            try:
                noted[what] = {**self._dump_one(item, stage), "kind": item["kind"]}
            except (Fault, OSError, ValueError, KeyError) as fault:
                self.faults.append(("dump", "{0}: {1}".format(what, fault)))
                continue
            for name, amount in _sizes(what, noted[what]).items():
                self.sizes[name] = amount
            amount = sum(_sizes(what, noted[what]).values())
            say("{0}: {1}, {2:.1f} s".format(what, size(amount), time.monotonic() - began))
        self.manifest = {"format": FORMAT, "at": round(time.time(), 3), "stack": self.stack.name, "sources": noted}
        if not noted:
            raise Fault("nothing could be dumped")
        place = os.path.join(stage, "backup")
        write_whole(os.path.join(place, "manifest.json"), json.dumps(self.manifest), 0o600)
        self.mounts.insert(0, (place, "/backup"))

    def _dump_one(self, item: Dict[str, Any], stage: str) -> Dict[str, Any]:
        what = str(item["what"])
        place = os.path.join(stage, "backup", what)
        if item["kind"] == "postgresql":
            return postgres.dump(item, place)
        if item["kind"] == "rdb":
            return redis.dump(item, place)
        cache = os.path.join(self.stack.state, "hashes-{0}.json".format(item["volume"]))
        noted = volumes.note(item, os.path.join(place, "sqlite"), cache)
        if os.path.exists(os.path.join(noted["place"], "PG_VERSION")):
            say("{0}: holds the files of a running database; a copy of them may not start".format(what))
        os.makedirs(os.path.join(place, "files"), mode=0o700, exist_ok=True)
        self.mounts.append((noted["place"], path(what) + "/files"))
        self.excluded += volumes.excluded(noted, path(what) + "/files", item.get("exclude") or [])
        noted["patterns"] = item.get("exclude") or []
        return noted

    def store(self, stage: str) -> str:
        """Make the snapshot."""
        snapshot, summary = self.stack.repository.take(self.mounts, self.excluded)
        self.state["last_snapshot_timestamp_seconds"] = round(self.manifest["at"])
        added = summary.get("data_added_packed") or summary.get("data_added") or 0
        added = summary.get("data_added_packed") or summary.get("data_added") or 0
        say("stored: {0} new, {1} in all".format(size(added), size(summary.get("total_bytes_processed") or 0)))
        return snapshot

    def prove(self, snapshot: str, stage: str) -> None:
        """Restore all of a snapshot, from the repository alone, and compare it with what was noted."""
        manifest = json.loads(self.stack.repository.read(snapshot, "/backup/manifest.json"))
        wrong = []
        for what, noted in manifest["sources"].items():
            try:
                say("{0}: restored, {1}".format(what, self._prove_one(what, noted, snapshot, stage)))
            except Fault as fault:
                wrong.append("{0}: {1}".format(what, fault))
        if wrong:
            raise Fault("; ".join(wrong))
        if self.faults:  # something is not in it: it does not count, and drives no other out
            raise _Failed
        self.stack.repository.mark(snapshot)
        self.state["last_restored_timestamp_seconds"] = round(self.manifest["at"])

    def _prove_one(self, what: str, noted: Dict[str, Any], snapshot: str, stage: str) -> str:
        repository, proof = self.stack.repository, self.stack.proof
        if noted["kind"] == "postgresql":
            rows = postgres.prove(noted, repository, snapshot, path(what), proof, stage)
            return "{0} rows in {1} databases, equal".format(sum(rows.values()), len(rows))
        if noted["kind"] == "rdb":
            return "{0} keys".format(redis.prove(noted, repository, snapshot, path(what), proof, stage))
        folders = (path(what) + "/files", path(what) + "/sqlite")
        found = volumes.prove(noted, repository, snapshot, folders)
        more = ", {0} written meanwhile".format(found["changed"]) if found["changed"] else ""
        return "{0} files equal{1}".format(found["files"], more)

    def check(self) -> None:
        """Check the repository, and read the next part of it whole."""
        parts = int(self.stack.settings["parts"])
        part = int(self.state.get("part", 0)) % parts + 1
        self.stack.repository.check(part, parts)
        self.state["part"] = part
        self.state["repository_bytes"] = self.stack.repository.bytes()
        say("repository: sound, part {0} of {1} read, {2}".format(part, parts, size(self.state["repository_bytes"])))

    # -- telling ----------------------------------------------------------------------------------------------------

    def report(self, began: float, snapshot: str) -> int:
        """Tell how it went: the log, the metrics, the state for the next run. Returns the exit status."""
        now = time.time()
        failed = {name for name, _told in self.faults}
        if "" in failed:
            failed |= {"store"}
        self.state.update(last_run_timestamp_seconds=round(now), duration_seconds=round(now - began, 1))
        self.state["failed"] = {step: int(step in failed) for step in STEPS}
        self.state["steps"] = {step: self.steps[step] for step in STEPS if step in self.steps}
        self.state["sizes"] = self.sizes or self.state.get("sizes") or {}
        self.state["snapshot"], self.state["faults"] = snapshot, [told for _name, told in self.faults]
        if not self.faults:
            self.state["last_success_timestamp_seconds"] = round(now)
        for name, told in self.faults:
            say("FAILED{0}: {1}".format(" ({0})".format(name) if name else "", told))
        good = "is proven, snapshot " + snapshot[:8]
        say("the backup {0}, after {1:.1f} s".format("failed" if self.faults else good, now - began))
        self.state["said"] = list(SAID)
        keep(self.stack, self.state)
        return 1 if self.faults else 0


class _Failed(Exception):
    """A step failed and was noted."""


def _sizes(what: str, noted: Dict[str, Any]) -> Dict[str, float]:
    if noted.get("kind", "") == "postgresql" or "databases" in noted:
        return {"{0}/{1}".format(what, name): float(one["bytes"]) for name, one in noted["databases"].items()}
    return {what: float(noted["bytes"])}


def last(stack: Stack) -> int:
    """Tell how the last backup went, as it told it itself; its exit status."""
    state = _state(stack)
    for line in state.get("said") or ["there was no backup yet"]:
        say(str(line))
    faults = state.get("faults")
    if faults:
        sys.stderr.write("; ".join(map(str, faults)) + "\n")
    return 1 if faults or faults is None else 0


def _state(stack: Stack) -> Dict[str, Any]:
    try:
        with open(os.path.join(stack.state, "last.json"), encoding="utf-8") as handle:
            found = json.load(handle)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def keep(stack: Stack, state: Dict[str, Any]) -> None:
    """Write the state of backups and their metrics. What cannot be written is said."""
    try:
        os.makedirs(stack.state, mode=0o700, exist_ok=True)
        write_whole(os.path.join(stack.state, "last.json"), json.dumps(state, indent=1, sort_keys=True), 0o600)
        for folder, metric in stack.reports():
            if os.path.isdir(folder):
                write_whole(os.path.join(folder, stack.name + "-backup.prom"), exposition(state, metric), 0o644)
    except OSError as error:
        say("cannot report: {0}".format(error))


def exposition(state: Dict[str, Any], metric: str) -> str:
    """The state as metrics in Prometheus' text format; ``metric`` names that of the last success."""
    lines: List[str] = []

    def add(name: str, meaning: str, values: Dict[str, Optional[float]]) -> None:
        known = {labels: value for labels, value in values.items() if value is not None}
        if known:
            lines.extend(["# HELP {0} {1}".format(name, meaning), "# TYPE {0} gauge".format(name)])
            lines.extend("{0}{1} {2}".format(name, labels, value) for labels, value in known.items())

    def labelled(label: str, values: Dict[str, Any]) -> Dict[str, Optional[float]]:
        return {"{{{0}={1}}}".format(label, json.dumps(key)): value for key, value in values.items()}

    add(metric, "When a backup was last taken, restored and kept.", {"": state.get("last_success_timestamp_seconds")})
    for figure, meaning in FIGURES.items():
        add("landfall_backup_" + figure, meaning, {"": state.get(figure)})
    failed = labelled("step", state.get("failed") or {})
    add("landfall_backup_failed", "Whether a step of the last backup failed.", failed)
    steps = labelled("step", state.get("steps") or {})
    add("landfall_backup_step_duration_seconds", "How long each step of the last backup took.", steps)
    add("landfall_backup_size_bytes", "What the last backup holds.", labelled("what", state.get("sizes") or {}))
    return "\n".join(lines) + "\n"
