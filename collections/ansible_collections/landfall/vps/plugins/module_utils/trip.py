"""What one trip to the VPS does: the entry points of the programs that change something."""

from __future__ import annotations

import contextlib
import os
import time
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Set

from ansible_collections.landfall.vps.plugins.module_utils import (
    ahead,
    audit,
    going_back,
    handover,
    release_list,
    releases,
)
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
    not leave (``handover``) stays as it is. With requests that are ``ahead``, whose tasks come later in the play, what
    comes after one that fails is not begun, and has no result.
    """
    outcomes: Dict[str, Dict[str, Any]] = {}
    provided: Dict[str, str] = {}
    beginning = "" if check_mode else _begin(requests)
    if beginning:
        name = requests[0]["desired"]["name"]
        msg = "{0}: {1}; nothing was changed".format(name, beginning)
        return {"components": {name: {**_result(), "failed": True, "msg": msg}}}
    kept: Dict[str, Set[str]] = {}
    began = False
    if not check_mode and any(request.get("ahead") for request in requests):
        outcomes = _in_turn(requests, with_diff)
    for request in requests if not outcomes else []:
        desired, root = request["desired"], str(request["root"])
        name, group = desired["name"], planning.group_of(desired["name"], {"meta": desired["meta"]})
        before = handover.predecessor(read_records(root), name, group, desired["containers"])
        if name in kept:
            form = "it stays as it is, since {0} still run{1} as part of it"
            note = form.format(", ".join(sorted(kept[name])), "s" if len(kept[name]) == 1 else "")
            outcomes[name] = {**_result(), "notes": [note]}
            continue
        again = bool(request.get("resumed")) or began
        outcomes[name] = _one({**request, "resumed": again}, check_mode, with_diff, provided)
        # One whose disk failed it before it had the lock tells nothing of who has been here meanwhile
        began = began or Lock(root, request["run"], request["who"]).was_last()
        if outcomes[name].get("failed") and before:
            kept.setdefault(before, set()).add(name)
        if outcomes[name].get("busy"):
            break
    answer: Dict[str, Any] = {"components": outcomes}
    if requests and not check_mode:
        metas = {request["desired"]["name"]: request["desired"]["meta"] for request in requests}
        busy = any(result.get("busy") for result in outcomes.values())
        answer["release"] = None if busy else _note(str(requests[0]["root"]), requests[0]["run"], outcomes, metas)
        _log(requests[0], "deploy", outcomes, metas, answer["release"] or requests[0].get("release"))
        if any(result.get("failed") for result in outcomes.values()):
            _give_back(Converger(requests[0]))
    return answer


def _in_turn(requests: Sequence[Mapping[str, Any]], with_diff: bool) -> Dict[str, Dict[str, Any]]:
    """Bring new components to what ``requests`` say, up to the first that fails; their checkers run side by side."""
    os.umask(UMASK)
    outcomes: Dict[str, Dict[str, Any]] = {}
    workers = [Converger(request) for request in requests]
    first = workers[0]
    try:
        with first.lock.held("checking what is new", bool(requests[0].get("resumed"))):
            _refuse_bad_records(first.root)
            first.notes += recover(first.root, first.docker, first.network)
            with ahead.checked(workers):
                for request, worker in zip(requests, workers):
                    worker.lock, name = first.lock, worker.desired.name
                    outcomes[name] = _one({**request, "together": True}, False, with_diff, worker=worker)
                    if outcomes[name].get("failed"):
                        break
    except (Refused, Locked, *Troubles) as error:
        name = first.desired.name
        outcomes.setdefault(name, _result()).update(_not_begun(first, error))
    return outcomes


def _not_begun(worker: Converger, error: Exception) -> Dict[str, Any]:
    """What is told of a component that was refused; others of this run may have been changed before it."""
    form = "{0}: {1}; of {0} nothing was changed"
    told = {
        "failed": True,
        "changed": False,
        "action": planning.NONE,
        "msg": form.format(worker.desired.name, in_words(error)),
    }
    return {**told, "busy": True} if isinstance(error, Locked) else told


def _begin(requests: Sequence[Mapping[str, Any]]) -> str:
    """Conclude what a dead run had begun of a release, and begin this run's own; returns why that is impossible."""
    wanted = [request for request in requests if request.get("release")]
    if not wanted:
        return ""
    os.umask(UMASK)
    first = wanted[0]
    worker = Converger(first)
    try:
        conclude_dead(worker.lock, worker.docker, first, bool(first.get("resumed")))
        with worker.lock.held("noting which release begins", True):
            releases.begin(first["root"], first["release"], first["run"], first["who"])
    except (Locked, Refused, *Troubles) as error:
        return in_words(error)
    return ""


def _note(
    root: str, run: str, outcomes: Mapping[str, Mapping[str, Any]], metas: Mapping[str, Any]
) -> Optional[Dict[str, Any]]:
    """What the run's release has become, see ``releases.note``; a fault there fails no deploy."""
    try:
        return releases.note(root, Docker(), run, outcomes, metas)
    except Troubles as error:
        note = "what serves could not be kept as a release: {0}".format(in_words(error))
        return {"name": "", "outcome": release_list.OPEN, "why": "", "after": "", "commit": "", "seconds": 0.0,
                "notes": [note]}  # fmt: skip


def _log(
    common: Mapping[str, Any],
    what: str,
    outcomes: Mapping[str, Mapping[str, Any]],
    metas: Mapping[str, Any],
    release: Optional[Mapping[str, Any]] = None,
) -> None:
    """Note in the log of this VPS what became of a trip; a disk that refuses it has no say in the trip."""
    by: Dict[str, Any] = {key: common.get(key) for key in ("run", "who", "seconds")}
    by.update({"release": release["name"], "commit": release.get("commit")} if release else {})
    with contextlib.suppress(*Troubles):
        audit.told(str(common["root"]), by, what, outcomes, metas)


def conclude_dead(lock: Lock, docker: Docker, common: Mapping[str, Any], resumed: bool) -> List[str]:
    """Conclude what runs that died left, their release with it; returns a sentence for each. Raises Locked."""
    root = common["root"]
    with lock.held("concluding what an earlier run left", resumed):
        notes = recover(root, docker, common["network"])
        releases.sweep(root)
        found = release_list.under_way(root)
        # A way back of this very run is one whose trip was cut off and made again by Ansible
        if found is None or (found["run"] == common["run"] and not found.get("back")):
            return notes
        if not found.get("back"):
            told = releases.conclude(root, docker, found)
            form = "release {0}, which a run that died had begun, is {1}"
            return [*notes, form.format(told["name"], told["outcome"])]
        done = going_back.travel(root, found, _common(common), False, _one, docker)
    form = "going back to release {0}, which a run that died had begun, was finished{1}"
    more = ", but {0}; {1}".format(done["failed"], done["undone"]) if done["failed"] else ""
    return [*notes, form.format(found["back"], more)]


def _common(request: Mapping[str, Any]) -> Dict[str, Any]:
    return {key: request.get(key) for key in ("root", "network", "run", "who", "holder")}


def component(request: Mapping[str, Any], check_mode: bool, with_diff: bool) -> Dict[str, Any]:
    """Bring one component to what ``request`` says, or under check mode rehearse that; returns an Ansible result."""
    result: Dict[str, Any] = components([request], check_mode, with_diff)["components"][request["desired"]["name"]]
    return result


def _result() -> Dict[str, Any]:
    return {"changed": False, "action": planning.NONE, "reasons": [], "notes": [], "seconds": {}}


def go_back(request: Mapping[str, Any], check_mode: bool, with_diff: bool) -> Dict[str, Any]:
    """Go back to a release; returns an Ansible result with ``release``, ``before`` and ``components``.

    ``request``: ``{root, network, run, who, holder, dead, name, confirm}``; without a name to that which served before.
    """
    os.umask(UMASK)
    root, docker, common = request["root"], Docker(), _common(request)
    lock = Lock(root, request["run"], request["who"], request.get("dead", ""), request.get("holder"))
    result: Dict[str, Any] = {
        "changed": False,
        "components": {},
        "notes": [],
        "release": "",
        "before": "",
        "commit": "",
    }
    began = time.monotonic()
    try:
        if not check_mode:
            result["notes"] += conclude_dead(lock, docker, common, False)
        release = going_back.judged(root, docker, str(request["name"]), str(request["confirm"]))
        before = releases.serving(root)
        result.update(release=release["name"], before=before["name"] if before else "", commit=release.get("commit"))
        if before is not None and before["name"] == release["name"]:
            if not check_mode:  # whoever says so has given up what failed since
                audit.measure(root, {group: [{}] for group in release["groups"]})
            return result
        if check_mode:
            outcomes = going_back.rehearse(root, release, common, with_diff, _one)
            failed = [str(outcome["msg"]) for outcome in outcomes.values() if outcome.get("failed")]
            done: Dict[str, Any] = {"outcomes": outcomes, "failed": "; ".join(failed), "undone": ""}
        else:
            with lock.held("going back to release {0}".format(release["name"]), True):
                going = going_back.begin(root, release, common)
                done = going_back.travel(root, going, common, with_diff, _one, docker)
        result.update(components=done["outcomes"], undone=done["undone"])
        result["changed"] = any(outcome.get("changed") for outcome in done["outcomes"].values())
        if done["failed"]:
            result.update(failed=True, msg="going back to release {0}: {1}".format(release["name"], done["failed"]))
    except (Refused, Locked, *Troubles) as error:
        result.update(failed=True, msg="{0}; nothing was changed".format(in_words(error)))
        if isinstance(error, Locked):
            result["lock"] = lock.holder()
    finally:
        lock.release()
    result["seconds"] = round(time.monotonic() - began, 2)
    if not check_mode and (result["changed"] or result.get("failed")):
        whole: Dict[str, Any] = {key: result.get(key) for key in ("failed", "msg", "seconds")}
        became: Dict[str, Any] = result["components"] or {"release {0}".format(result["release"]): whole}
        metas = {name: record["meta"] for name, record in read_records(root).items()}
        _log(
            {**common, "seconds": result["seconds"]},
            "rollback",
            became,
            metas,
            {"name": result["release"]} if result["release"] else None,
        )
    return result


def _one(
    request: Mapping[str, Any],
    check_mode: bool,
    with_diff: bool,
    provided: Optional[Dict[str, str]] = None,
    worker: Optional[Converger] = None,
) -> Dict[str, Any]:
    os.umask(UMASK)
    worker = worker or Converger(request, provided=provided)
    result = {**_result(), "notes": worker.notes, "seconds": worker.seconds}
    try:
        if check_mode:
            plan = _planned(worker, result, with_diff)
            if plan.changed:
                worker.rehearse(plan)
            return result
        with _alone(worker, request):
            # Planned only now: what lay there before this run was alone may be what another one has just replaced
            plan = _planned(worker, result, with_diff)
            if plan.changed:
                worker.converge(plan)
    except Failed as error:
        result.update(action=planning.ROLLED_BACK, undone=error.undone, logs=error.logs)
        result.update(failed=True, msg="{0}: {1}".format(worker.desired.name, error.reason))
    except (Refused, Locked, *Troubles) as error:
        result.update(_not_begun(worker, error))
    return result


@contextlib.contextmanager
def _alone(worker: Converger, request: Mapping[str, Any]) -> Iterator[None]:
    """Have the lock, and what runs that died left concluded; of a request that is ``together`` the caller has both."""
    if request.get("together"):
        yield
        return
    with worker.lock.held("{0}: planning".format(worker.desired.name), bool(request.get("resumed"))):
        _refuse_bad_records(worker.root)
        worker.notes += recover(worker.root, worker.docker, worker.network)
        yield


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
    common = {"root": root, "network": network, "run": run, "who": who}
    had = (lock.holder() or {}).get("run") == run  # by a task before, and keeps it
    try:
        notes = conclude_dead(lock, Docker(), common, False)
    except Locked as error:
        return {"notes": [], "busy": str(error)}
    except (Refused, *Troubles) as error:
        notes.append(in_words(error))
    finally:
        if not had:
            lock.release()
    return {"notes": notes, "busy": ""}


def settle_all(root: str, network: Mapping[str, Any], run: str, who: str) -> Dict[str, Any]:
    """Start and prove what the run placed and free its lock; returns an Ansible result."""
    os.umask(UMASK)
    lock = Lock(root, run, who)
    try:
        lock.acquire("starting and proving what was placed")
        metas = {name: record["meta"] for name, record in read_records(root).items() if not record["proven"]}
        components = Settling(root, network, run=run).run()
        release = _note(root, run, components, metas)
        started = {name: {"changed": True, **result} for name, result in components.items()}
        _log({"root": root, "run": run, "who": who}, "start", started, metas, release)
    except (Locked, *Troubles) as error:
        return {"changed": False, "failed": True, "msg": in_words(error), "components": {}}
    finally:
        lock.release()
    failed = {name: result for name, result in components.items() if "failed" in result}
    if not failed:
        return {"changed": False, "components": components, "release": release}
    return {
        "changed": False,
        "release": release,
        "failed": True,
        "msg": "; ".join("{0} ({1})".format(result["failed"], result["undone"]) for result in failed.values()),
        "components": components,
        "logs": "\n".join(result["logs"] for result in failed.values()),
    }
