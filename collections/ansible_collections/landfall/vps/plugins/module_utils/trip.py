"""What one trip to the VPS does: the entry points of the programs that change something."""

from __future__ import annotations

import os
from typing import Any, Dict, List, Mapping, Optional, Sequence, Set

from ansible_collections.landfall.vps.plugins.module_utils import handover
from ansible_collections.landfall.vps.plugins.module_utils import plan as planning
from ansible_collections.landfall.vps.plugins.module_utils.compose import Refused
from ansible_collections.landfall.vps.plugins.module_utils.converge import Converger, Failed
from ansible_collections.landfall.vps.plugins.module_utils.docker_api import Docker
from ansible_collections.landfall.vps.plugins.module_utils.host import records as read_records
from ansible_collections.landfall.vps.plugins.module_utils.lock import Lock, Locked
from ansible_collections.landfall.vps.plugins.module_utils.records import BadRecord, load_all
from ansible_collections.landfall.vps.plugins.module_utils.recovery import Troubles, in_words, recover
from ansible_collections.landfall.vps.plugins.module_utils.settling import Settling

UMASK = 0o022
"""Modes are set wherever they matter; this is for what programs like Compose make on their own."""


def components(requests: Sequence[Mapping[str, Any]], check_mode: bool, with_diff: bool) -> Dict[str, Any]:
    """Bring components to what ``requests`` say, one after another, each whatever becomes of the others.

    Returns ``{components}``, name to an Ansible result. An image is provided once. A component that another one could
    not leave (``handover``) stays as it is.
    """
    outcomes: Dict[str, Dict[str, Any]] = {}
    provided: Dict[str, str] = {}
    kept: Dict[str, Set[str]] = {}
    for request in requests:
        desired, root = request["desired"], str(request["root"])
        name, group = desired["name"], planning.group_of(desired["name"], {"meta": desired["meta"]})
        before = handover.predecessor(read_records(root), name, group, desired["containers"])
        if name in kept:
            form = "it stays as it is, since {0} still run{1} as part of it"
            note = form.format(", ".join(sorted(kept[name])), "s" if len(kept[name]) == 1 else "")
            outcomes[name] = {**_result(), "notes": [note]}
            continue
        again = bool(request.get("resumed")) or bool(outcomes)
        outcomes[name] = _one({**request, "resumed": again}, check_mode, with_diff, provided)
        if outcomes[name].get("failed") and before:
            kept.setdefault(before, set()).add(name)
        if outcomes[name].get("busy"):
            break
    if requests and not check_mode and any(result.get("failed") for result in outcomes.values()):
        _give_back(Converger(requests[0]))
    return {"components": outcomes}


def component(request: Mapping[str, Any], check_mode: bool, with_diff: bool) -> Dict[str, Any]:
    """Bring one component to what ``request`` says, or under check mode rehearse that; returns an Ansible result."""
    result: Dict[str, Any] = components([request], check_mode, with_diff)["components"][request["desired"]["name"]]
    return result


def _result() -> Dict[str, Any]:
    return {"changed": False, "action": planning.NONE, "reasons": [], "notes": [], "seconds": {}}


def _one(
    request: Mapping[str, Any], check_mode: bool, with_diff: bool, provided: Optional[Dict[str, str]] = None
) -> Dict[str, Any]:
    os.umask(UMASK)
    worker = Converger(request, provided=provided)
    result = {**_result(), "notes": worker.notes, "seconds": worker.seconds}
    try:
        if check_mode:
            plan = _planned(worker, result, with_diff)
            if plan.changed:
                worker.rehearse(plan)
            return result
        with worker.lock.held("{0}: planning".format(worker.desired.name), bool(request.get("resumed"))):
            _refuse_bad_records(worker.root)
            worker.notes += recover(worker.root, worker.docker, worker.network)
            # Planned only now: what lay there before this run was alone may be what another one has just replaced
            plan = _planned(worker, result, with_diff)
            if plan.changed:
                worker.converge(plan)
    except Failed as error:
        result.update(action=planning.ROLLED_BACK, undone=error.undone, logs=error.logs)
        result.update(failed=True, msg="{0}: {1}".format(worker.desired.name, error.reason))
    except (Refused, Locked, *Troubles) as error:
        result.update(changed=False, action=planning.NONE)
        result.update(failed=True, msg="{0}: {1}; nothing was changed".format(worker.desired.name, in_words(error)))
        if isinstance(error, Locked):
            result["busy"] = True
    return result


def _refuse_bad_records(root: str) -> None:
    """What one component owns cannot be told while another's record is unreadable. Raises BadRecord."""
    bad = load_all(root)[1]
    if bad:
        raise BadRecord("; ".join(bad.values()))


def _planned(worker: Converger, result: Dict[str, Any], with_diff: bool) -> planning.Plan:
    plan = planning.plan(worker.desired, worker.actual())
    result.update(changed=plan.changed, action=plan.action, reasons=list(plan.reasons))
    if with_diff:
        result["diff"] = worker.diff(plan)
    return plan


def _give_back(worker: Converger) -> None:
    """A run that failed keeps nobody out, unless what it placed still waits for its start."""
    if all(record["proven"] for record in read_records(worker.root).values()):
        worker.lock.release()


def recover_all(root: str, network: Mapping[str, Any], run: str, who: str) -> Dict[str, Any]:
    """Conclude what runs that died left, if nobody else works here; returns ``{notes}`` or ``{busy}``."""
    os.umask(UMASK)
    lock = Lock(root, run, who)
    notes: List[str] = []
    try:
        with lock.held("concluding what an earlier run left"):
            notes = recover(root, Docker(), network)
        lock.release()
    except Locked as error:
        return {"notes": [], "busy": str(error)}
    except Troubles as error:
        notes.append(in_words(error))
    return {"notes": notes, "busy": ""}


def settle_all(root: str, network: Mapping[str, Any], run: str, who: str) -> Dict[str, Any]:
    """Start and prove what the run placed and free its lock; returns an Ansible result."""
    os.umask(UMASK)
    lock = Lock(root, run, who)
    try:
        lock.acquire("starting and proving what was placed")
        components = Settling(root, network, run=run).run()
    except (Locked, *Troubles) as error:
        return {"changed": False, "failed": True, "msg": in_words(error), "components": {}}
    finally:
        lock.release()
    failed = {name: result for name, result in components.items() if "failed" in result}
    if not failed:
        return {"changed": False, "components": components}
    return {
        "changed": False,
        "failed": True,
        "msg": "; ".join("{0} ({1})".format(result["failed"], result["undone"]) for result in failed.values()),
        "components": components,
        "logs": "\n".join(result["logs"] for result in failed.values()),
    }
