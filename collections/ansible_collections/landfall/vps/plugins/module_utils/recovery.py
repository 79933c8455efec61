"""Goes back to what served before, and concludes what a run that died had begun."""

from __future__ import annotations

import errno
import os
from typing import Any, Dict, List, Mapping, Tuple

from ansible_collections.landfall.vps.plugins.module_utils import (
    applying,
    compose,
    handover,
    ownership,
    shapes,
    switching,
    timers,
)
from ansible_collections.landfall.vps.plugins.module_utils import journal as journals
from ansible_collections.landfall.vps.plugins.module_utils.docker_api import Docker, DockerError
from ansible_collections.landfall.vps.plugins.module_utils.journal import BadJournal, Journal, NewerJournal
from ansible_collections.landfall.vps.plugins.module_utils.probe import Unproven
from ansible_collections.landfall.vps.plugins.module_utils.records import STATE_DIR, BadRecord
from ansible_collections.landfall.vps.plugins.module_utils.report import last_lines
from ansible_collections.landfall.vps.plugins.module_utils.store import Store

Troubles = (compose.CommandFailed, Unproven, DockerError, OSError, BadJournal, BadRecord, ValueError, KeyError)
"""What may go wrong on a VPS and is told of the component that it happened to."""


def in_words(error: BaseException) -> str:
    """What happened, with what to do about it where only the operator of the VPS can."""
    hints = {
        errno.ENOSPC: "the disk is full: free some of it and run again",
        errno.EDQUOT: "its quota is used up: raise it or free some of it and run again",
        errno.EROFS: "the kernel has made the disk read-only, as after a fault: see dmesg, mend it and run again",
    }
    hint = hints.get(error.errno or 0) if isinstance(error, OSError) else None
    return "{0}; {1}".format(error, hint) if hint else str(error)


def undo(store: Store, docker: Docker, network: Mapping[str, Any], run: str = "") -> str:
    """Replay a component's journal and prove that what served before serves again; returns a sentence about it.

    Volumes that ``run`` itself made for the change are removed. Raises nothing of Troubles: whatever happens while
    going back is part of the sentence.
    """
    journal = Journal(store)
    try:
        entry = journal.read()
        if entry is None:
            return "nothing of it had been changed"
        return _undo(store, docker, network, journal, entry, run)
    except Troubles as error:
        return "going back failed, the next run tries again: {0}".format(in_words(error))


def _undo(
    store: Store, docker: Docker, network: Mapping[str, Any], journal: Journal, entry: Mapping[str, Any], run: str
) -> str:
    work, before = entry["intent"].get("work") or {}, entry["record"]
    journal.release_reserve()
    beside = entry["phase"] in (journals.STANDBY, journals.BACK)
    touched = entry["phase"] != journals.SWAP and not beside
    if touched or beside:
        journal.enter(journals.UNDO if touched else journals.BACK)
    if beside and before is not None:
        # The one that runs is as it was and serves again before anything else is done
        switching.conclude(store, docker, before, entry["intent"].get("record"))
    takes = work.get("takes")
    if before is None:
        new = {**(entry["intent"].get("record") or store.record() or {}), "start": work}
        timers.converge(store.root, store.name, {})
        if takes:  # what has its names may be the version before
            new["containers"] = {}
        said = ownership.undo_first_start(docker, store.root, store.name, new, run)
        journal.replay()
    else:
        journal.replay()
        said = "the previous files were restored"
    try:
        if takes and touched:
            said = _give_back(store.root, docker, network, takes)
        if before is not None and touched:
            known = {"*", *(c["service"] for c in before["containers"].values())}
            back = {**work, "back": True, "receivers": [], "force": [s for s in applying.force_of(work) if s in known]}
            back["reload"] = bool(before["meta"].get("reload")) and bool(work.get("up") or work.get("reload"))
            applying.carry_out(store, docker, network, before, back)
            took = applying.prove_record(docker, network["name"], before)
            switching.conclude(store, docker, before, entry["intent"].get("record"))
            said = "the previous version was restored and serves again (proven in {0} s)".format(took["seconds"])
            if work.get("run") == run and not work.get("keep_volumes"):
                said = "; ".join([said, *ownership.remove_volumes(docker, work.get("new_volumes") or [])])
        elif before is not None and beside:
            said = "the previous version was not touched and serves; its files were restored"
        applying.tell_receivers(store.root, docker, network["name"], store.name, work.get("receivers") or [])
    except Troubles as error:
        said = "{0}, but {1}".format(said, in_words(error))
        said += _why(docker, before["containers"]) if before is not None and touched else ""
    journal.close()
    return said + (kept(entry["intent"].get("record") or {}) if touched or beside else "")


def _why(docker: Docker, containers: Mapping[str, Any]) -> str:
    """What the containers of a version that does not serve any more wrote last."""
    try:
        return "\n" + last_lines(docker, containers)
    except Troubles as error:
        return "; its log cannot be read: {0}".format(in_words(error))


def kept(record: Mapping[str, Any]) -> str:
    """What going back does not take back: whatever the release command did, such as migrations."""
    ran = [" ".join(str(word) for word in item["argv"]) for item in (record.get("meta") or {}).get("release") or []]
    return "\nwhat '{0}' did is not taken back".format("', '".join(ran)) if ran else ""


def _give_back(root: str, docker: Docker, network: Mapping[str, Any], takes: Mapping[str, Any]) -> str:
    """Let the component that had the containers before have them again. Raises Troubles."""
    store, record = Store(root, takes["component"]), handover.take_back(root, takes)
    if record is None:
        return "{0}, which it was part of, is gone".format(store.name)
    meta, project = record["meta"], applying.project_of(store, record)
    patience = float(meta.get("prove_timeout", 60))
    names = [name for name in sorted(takes["containers"]) if name not in (meta.get("one_shots") or [])]
    there = docker.containers()
    for name in names:
        if (there.get(name) or {}).get("state") != "running":
            project.up_one(takes["containers"][name]["service"], False, patience)
    probes = [item for item in meta.get("prove") or [] if item.get("service") in names]
    part = {"containers": dict.fromkeys(names), "meta": {**meta, "prove": probes}}
    took = applying.prove_record(docker, network["name"], part)
    form = "the previous version, part of {0}, was restored and serves again (proven in {1} s)"
    return form.format(store.name, took["seconds"])


def recover(root: str, docker: Docker, network: Mapping[str, Any]) -> List[str]:
    """Conclude what runs that died left; returns a sentence for each component. The caller holds the lock.

    A change whose files are all in place is carried out and proven, and undone if it does not serve. One that was cut
    off while files were replaced is undone: no container has seen it. What was staged for a change is removed.
    """
    told = []
    for name in journals.open_journals(root):
        store = Store(root, name)
        journal = Journal(store)
        try:
            entry = journal.read()
            said = _conclude(store, docker, network, journal, entry) if entry else ""
        except NewerJournal as error:
            said = str(error)
        except BadJournal as error:
            journal.close()
            said = "{0}; it was removed, the component is planned again".format(error)
        except Troubles as error:
            said = "what an interrupted run had begun could not be recovered: {0}".format(in_words(error))
        told += ["{0}: {1}".format(name, said)] if said else []
    told += switching.sweep(root, docker, str(network.get("stack") or ownership.STACK))
    _sweep(os.path.join(root, STATE_DIR))
    return told


def _conclude(store: Store, docker: Docker, network: Mapping[str, Any], journal: Journal, entry: Dict[str, Any]) -> str:
    phase, intent = entry["phase"], entry["intent"]
    if phase == journals.PLACED:
        record = store.record()
        if record is not None and not record["proven"]:
            return ""  # whoever settles starts and proves it
        if record is not None:
            journal.close()  # it had been proven, only this was not said yet
            return ""
        phase = journals.SWAP
    if phase == journals.REMOVE:
        _notes, refused = finish_removal(store, docker, network, journal, entry)
        return "its removal, which an earlier run had begun, was finished" + (", but " + refused if refused else "")
    if phase in (journals.STANDBY, journals.APPLY):
        try:
            applying.carry_out(store, docker, network, intent["record"], intent["work"])
            applying.prove_record(docker, network["name"], intent["record"])
            applying.commit(store, docker, intent["record"], intent["work"])
            journal.close()
        except Troubles as error:
            return "what a run that died had begun does not serve ({0}); {1}".format(
                error, undo(store, docker, network)
            )
        return "what a run that died had begun was finished and proven"
    return "what a run that died had begun was undone; {0}".format(undo(store, docker, network))


def finish_removal(
    store: Store, docker: Docker, network: Mapping[str, Any], journal: Journal, entry: Mapping[str, Any]
) -> Tuple[List[str], str]:
    """Remove containers, the files that a journal names and the record.

    Returns what an operator should know, and why a receiver refused the change, which the next run tells it again. What
    others put in drop-in folders stays. Raises Troubles; what was begun is finished by the next run.
    """
    work = entry["intent"].get("work") or {}
    record = entry["record"] or entry["intent"].get("claimed") or {}
    timeout = float((record.get("meta") or {}).get("apply_timeout", 300))
    timers.converge(store.root, store.name, {})
    notes = ownership.take_down(docker, store.root, store.name, record, bool(work.get("purge")), timeout)
    store.swap("", {}, dict.fromkeys(entry["paths"], "remove"))
    store.prune(store.name)
    store.remove_record()
    try:
        applying.tell_receivers(store.root, docker, network["name"], store.name, work.get("receivers") or [])
    except Troubles as error:
        # Otherwise whoever took its files in would go on with them: nothing differs any more that a plan could see
        journal.removed(entry)
        return notes, in_words(error)
    journal.close()
    return notes, ""


def _sweep(state: str) -> None:
    """Remove what was staged, half written or kept by versions before, whatever it is; some of it holds secrets."""
    for name in os.listdir(state) if os.path.isdir(state) else []:
        if name.startswith(("staged-", "standby-")) or name.endswith((".new", ".pending")) or name == "previous":
            shapes.discard(os.path.join(state, name))
    home = os.path.join(state, journals.FOLDER)
    if not os.path.isdir(home):
        shapes.discard(home)
        return
    for name in os.listdir(home):
        if "." in name:  # half made, or done
            shapes.discard(os.path.join(home, name))
