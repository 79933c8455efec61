"""Carries out a plan on the VPS: images, stage, check, lock, swap, apply, prove, undo, record."""

from __future__ import annotations

import base64
import os
import shutil
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Callable, Dict, List, Mapping, Optional

from ansible_collections.landfall.vps.plugins.module_utils import compose, ownership
from ansible_collections.landfall.vps.plugins.module_utils import plan as planning
from ansible_collections.landfall.vps.plugins.module_utils.dashboards import placed_faults
from ansible_collections.landfall.vps.plugins.module_utils.docker_api import Docker, DockerError
from ansible_collections.landfall.vps.plugins.module_utils.host import records as read_records
from ansible_collections.landfall.vps.plugins.module_utils.host import survey
from ansible_collections.landfall.vps.plugins.module_utils.lock import Lock
from ansible_collections.landfall.vps.plugins.module_utils.ownership import provide_network
from ansible_collections.landfall.vps.plugins.module_utils.probe import Unproven, prove
from ansible_collections.landfall.vps.plugins.module_utils.settling import (
    Settling,
    applied,
    log_tail,
    reload_component,
    start_ahead,
    undo,
)
from ansible_collections.landfall.vps.plugins.module_utils.store import Store, make_folders


class Failed(Exception):
    """The component could not be brought to its desired state; ``undone`` says what was restored, if anything was."""

    def __init__(self, reason: str, undone: str = "", logs: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.undone = undone
        self.logs = logs


class Converger:
    """One component on one VPS. ``request`` is what the controller sent, see the action plugin ``component``."""

    def __init__(self, request: Mapping[str, Any], docker: Optional[Docker] = None) -> None:
        self.request = request
        self.root: str = request["root"]
        self.desired = desired_from(request["desired"])
        self.meta = dict(self.desired.meta)
        self.store = Store(self.root, self.desired.name)
        self.docker = docker or Docker()
        self.lock = Lock(self.root, request["run"], request["who"], request.get("dead", ""))
        self.network: str = request["network"]["name"]
        self.seconds: Dict[str, float] = {}
        self.notes: List[str] = []
        self.staged = ""
        self.new_volumes: List[str] = []

    # -- reading ------------------------------------------------------------------------------------------------

    def actual(self) -> planning.Actual:
        """The component as it is now; on a VPS without an engine there are just the files."""
        record = self.store.record()
        containers: Dict[str, Mapping[str, Any]] = {}
        images: Dict[str, str] = {}
        if os.path.exists(self.docker.path):
            containers = ownership.inspect(survey(self.root, self.docker), self.request["claim"], record)
            images = {tag: image["id"] for tag, image in self.docker.images().items()}
        return planning.Actual(self.store.marks(), containers, images, record)

    def diff(self, plan: planning.Plan) -> List[Dict[str, str]]:
        """Before and after of every file; of secrets only that they differ."""
        result = []
        for path, kind in plan.files.items():
            before = self.store.read(path) if kind != "create" else b""
            after = base64.b64decode(self.request["contents"][path]) if kind != "remove" else b""
            if "/secrets/" in path:
                before, after = _veil(before, "old"), _veil(after, "new")
            result.append(
                {
                    "before_header": path,
                    "after_header": path,
                    "before": before.decode("utf-8", "replace"),
                    "after": after.decode("utf-8", "replace"),
                }
            )
        return result

    # -- the phases ---------------------------------------------------------------------------------------------

    def _timed(self, phase: str, work: Callable[[], Any]) -> Any:
        started = time.monotonic()
        try:
            return work()
        finally:
            self.seconds[phase] = round(self.seconds.get(phase, 0.0) + time.monotonic() - started, 2)

    def _images(self, plan: planning.Plan) -> None:
        for image in plan.missing_images:
            how = compose.provide_image(
                image,
                self.request.get("builds") or [],
                self.request.get("archives") or {},
                self.meta.get("image_timeout", 1800),
            )
            self.notes.append("image {0} {1}".format(image, how))

    def _stage(self) -> None:
        contents = {path: base64.b64decode(text) for path, text in self.request["contents"].items()}
        self.store.stage(self.staged, contents, self.desired.files)

    def _check(self, plan: planning.Plan) -> None:
        faults = placed_faults(self.root, self.staged, self.desired.files, plan.files)
        if faults:
            raise compose.Refused("; ".join(faults))
        images, known = self.docker.images(), read_records(self.root)
        own = plan.up or any(planning.owns(self.desired.name, path) for path in plan.files)
        # What a start reads anyway is checked with all the rest that it reads
        apart = {path: kind for path, kind in plan.files.items() if not (plan.up and self._receives(path))}
        # Each checker is a container of its own and most of its time is Docker's, so they run side by side
        with ThreadPoolExecutor(max_workers=4) as pool:
            jobs = compose.drop_in_checks(self.desired.name, self.staged, apart, known, images)
            if plan.up:
                image = min(self.desired.containers.values(), key=lambda c: c.service).image
                jobs += compose.received_checks(
                    self.desired.name,
                    self.staged,
                    self.root,
                    self.meta.get("drop_ins") or {},
                    image,
                    self.desired.files,
                    known,
                    images,
                )
            if own:
                jobs += compose.component_checks(
                    self.desired.name,
                    self.staged,
                    self.root,
                    self.meta.get("check") or [],
                    int(self.meta["uid"]),
                    images,
                )
            self.notes += [note for note in pool.map(lambda job: job(), jobs) if note]

    def _receives(self, path: str) -> bool:
        folders = ["{0}/{1}".format(self.desired.name, folder) for folder in self.meta.get("drop_ins") or {}]
        return os.path.dirname(path) in folders

    def rehearse(self, plan: planning.Plan) -> None:
        """What a check-mode run does on the VPS: stage in a private folder and run the checkers. Raises Refused."""
        if not self.desired.present:
            return
        if not os.path.exists(self.docker.path):
            self.notes.append("checkers not run: there is no Docker Engine here yet")
            return
        self.staged = tempfile.mkdtemp(prefix="landfall-check-")
        try:
            self._timed("stage", self._stage)
            self._timed("check", lambda: self._check(plan))
        finally:
            shutil.rmtree(self.staged, ignore_errors=True)

    def converge(self, plan: planning.Plan) -> str:
        """Do what ``plan`` says and return the action. Raises Refused, Locked, Failed or CommandFailed."""
        self.store.prepare()
        doing = "{0}: {1}".format(self.desired.name, plan.action)
        if not self.desired.present:
            return self._locked(doing, self._remove, plan)
        # What earlier trips placed may have what it needs by now, and checkers take their time
        self._locked(doing, lambda _plan: start_ahead(self.root, self.docker), plan)
        try:
            self._timed("images", lambda: self._images(plan))
            self.staged = tempfile.mkdtemp(prefix="staged-", dir=self.store.state)
            self._timed("stage", self._stage)
            self._timed("check", lambda: self._check(plan))
            return self._locked(doing, self._swap_apply_prove, plan)
        except BaseException:
            self.lock.release()
            raise
        finally:
            shutil.rmtree(self.staged, ignore_errors=True)

    def _locked(self, doing: str, work: Callable[[planning.Plan], None], plan: planning.Plan) -> str:
        self.lock.acquire(doing)
        try:
            work(plan)
        except BaseException:
            self.lock.release()
            raise
        self.lock.keep("between components, last " + doing)
        return plan.action

    def _remove(self, plan: planning.Plan) -> None:
        # Without a record, after a run that was killed, the stack's own names say what there is to remove
        claimed = {"meta": {key: self.request["claim"][key] for key in ("stack", "project")}}
        record, purge = self.store.record() or claimed, bool(self.request.get("purge"))
        down = partial(ownership.take_down, self.docker, self.root, self.desired.name, record, purge)
        self.notes += self._timed("apply", lambda: down(self._apply_timeout()))
        self.store.forget()
        self._receivers(plan)

    def _apply_timeout(self) -> float:
        return float(self.meta.get("apply_timeout", 300))

    def _swap_apply_prove(self, plan: planning.Plan) -> None:
        self.store.keep_previous()
        created = self.store.previous_record() is None
        if not created:
            self._timed("needs", self._needs)
        try:
            if created:
                self._timed("swap", lambda: self.store.swap(self.staged, self.desired.files, plan.files))
                self._timed("apply", lambda: self._place(plan))
                return
            self._timed("swap", lambda: self.store.swap(self.staged, self.desired.files, plan.files))
            self._timed("apply", lambda: self._apply(plan))
            self._timed("prove", lambda: self._prove(self.desired, self.meta))
        except (compose.CommandFailed, Unproven, DockerError, OSError) as error:
            logs = log_tail(self.docker, self.desired.containers)
            raise Failed(str(error), self._timed("undo", lambda: self._undo(plan)), logs) from error
        self.store.write_record(record_of(self.desired, self.docker, self.request["who"], proven=True))
        self.store.finish()

    def _needs(self) -> None:
        known = read_records(self.root)
        unproven = {n for n in self.meta.get("needs") or [] if n in known and not known[n].get("proven")}
        if not unproven:
            return
        for name, outcome in (
            Settling(self.root, self.request["network"], self.docker, self.request["run"]).run(unproven).items()
        ):
            if "failed" in outcome:
                self.store.finish()
                reason = "{0}, which it needs, does not serve: {1}".format(name, outcome["failed"])
                raise Failed(reason, "nothing of {0} was changed".format(self.desired.name), outcome["logs"])

    def _make_drop_in_folders(self) -> None:
        for folder in self.meta.get("drop_ins") or {}:
            make_folders(self.root, "{0}/{1}/x".format(self.desired.name, folder), 0)

    def _place(self, plan: planning.Plan) -> None:
        """No earlier version serves, so that nobody waits: whoever settles starts it together with all others."""
        self._make_drop_in_folders()
        record = record_of(self.desired, self.docker, self.request["who"], proven=False)
        new = {
            "run": self.request["run"],
            "new_volumes": ownership.missing_volumes(self.docker, self.meta.get("volumes") or []),
            "keep_volumes": bool(self.request.get("keep_volumes")),
        }
        self.store.write_record({**record, "start": {"up": plan.up, "force": bool(plan.force), **new}})
        ownership.provide_volumes(self.docker, self.desired.name, self.meta)
        if plan.reload and not plan.up:
            reload_component(self.docker, self.meta, self.network, sorted(self.desired.containers))
        self._receivers(plan)
        provide_network(self.docker, self.request["network"])
        start_ahead(self.root, self.docker)

    def _apply(self, plan: planning.Plan) -> None:
        self._make_drop_in_folders()
        if plan.up:
            provide_network(self.docker, self.request["network"])
            self.new_volumes = ownership.provide_volumes(self.docker, self.desired.name, self.meta)
            project = ownership.of_record(self.desired.name, {"meta": self.meta})[1]
            compose.Project(self.store.folder, self._apply_timeout(), project).up(bool(plan.force))
        if plan.reload:
            reload_component(self.docker, self.meta, self.network, sorted(self.desired.containers))
        self._receivers(plan)

    def _receivers(self, plan: planning.Plan) -> None:
        known = read_records(self.root)
        for folder in plan.receivers:
            receiver, name = folder.split("/", 1)
            record = known.get(receiver)
            if record is None or receiver == self.desired.name:
                continue
            meta = record.get("meta") or {}
            if (meta.get("drop_ins", {}).get(name) or {}).get("reload"):
                containers = sorted(record["containers"])
                running = self.docker.containers()
                if not record.get("proven") and running.get(containers[0], {}).get("state") != "running":
                    continue  # placed in this run and not started yet: it will read the files then
                reload_component(self.docker, meta, self.network, containers)
                prove(self.docker, containers, meta.get("prove") or [], self.network, meta.get("prove_timeout", 60))

    def _prove(self, desired: planning.Desired, meta: Mapping[str, Any]) -> None:
        prove(
            self.docker,
            sorted(desired.containers),
            meta.get("prove") or [],
            self.network,
            meta.get("prove_timeout", 60),
        )

    def _undo(self, plan: planning.Plan) -> str:
        outcome = undo(self.store, self.docker, self.network, bool(plan.force), self.request["run"])
        if self.new_volumes and not self.request.get("keep_volumes"):
            outcome = "; ".join([outcome, *ownership.remove_volumes(self.docker, self.new_volumes)])
        try:
            self._receivers(plan)
        except (Unproven, DockerError) as error:
            return "{0}; but {1}".format(outcome, error)
        return outcome


def _veil(content: bytes, word: str) -> bytes:
    return "({0} secret, not shown)\n".format(word).encode() if content else b""


def desired_from(value: Mapping[str, Any]) -> planning.Desired:
    """Rebuild the Desired that the controller sent as plain values."""
    containers = {name: planning.Container(c["service"], c["image"]) for name, c in value["containers"].items()}
    return planning.Desired(
        value["name"], value["present"], value["files"], containers, tuple(value["reload_files"]), value["meta"]
    )


def record_of(desired: planning.Desired, docker: Docker, who: str, proven: bool) -> Dict[str, Any]:
    """What later runs, ``verify`` and an operator need to know of what was applied."""
    containers = {name: {"service": c.service, "image": c.image} for name, c in desired.containers.items()}
    return {
        "format": planning.RECORD_FORMAT,
        "name": desired.name,
        "digest": desired.digest,
        "files": dict(desired.files),
        **applied(containers, docker),
        "reload_files": list(desired.reload_files),
        "meta": dict(desired.meta),
        "proven": proven,
        "at": time.time(),
        "by": who,
    }
