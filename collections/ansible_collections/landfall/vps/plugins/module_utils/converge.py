"""Carries out a plan on the VPS: images, stage, check, lock, swap, apply, prove, undo, record."""

from __future__ import annotations

import base64
import os
import shutil
import tempfile
import time
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional

from ansible_collections.landfall.vps.plugins.module_utils import (
    compose,
    handover,
    images,
    ownership,
    progress,
    pruning,
    release_list,
    rollout,
    switching,
    timer_units,
    timers,
)
from ansible_collections.landfall.vps.plugins.module_utils import journal as journals
from ansible_collections.landfall.vps.plugins.module_utils import plan as planning
from ansible_collections.landfall.vps.plugins.module_utils.applying import (
    carry_out,
    commit,
    make_drop_in_folders,
    project_of,
    prove_record,
    record_of,
    reload_component,
    tell_receivers,
)
from ansible_collections.landfall.vps.plugins.module_utils.dashboards import placed_faults
from ansible_collections.landfall.vps.plugins.module_utils.docker_api import Docker
from ansible_collections.landfall.vps.plugins.module_utils.host import records as read_records
from ansible_collections.landfall.vps.plugins.module_utils.host import survey
from ansible_collections.landfall.vps.plugins.module_utils.journal import Journal
from ansible_collections.landfall.vps.plugins.module_utils.lock import Lock
from ansible_collections.landfall.vps.plugins.module_utils.recovery import Troubles, finish_removal, in_words, undo
from ansible_collections.landfall.vps.plugins.module_utils.report import last_lines
from ansible_collections.landfall.vps.plugins.module_utils.settling import Settling, start_ahead
from ansible_collections.landfall.vps.plugins.module_utils.shapes import owns
from ansible_collections.landfall.vps.plugins.module_utils.store import Store

DOING = {
    "images": "providing its images",
    "stage": "placing the new files beside the old ones",
    "check": "checking the new files",
    "needs": "starting what it needs",
    "swap": "putting the new files in place",
    "apply": "changing its containers",
    "prove": "proving that it serves",
    "commit": "letting it alone serve",
    "undo": "going back to what was there",
}
"""What is done in each phase."""
CHECKS_AT_ONCE = 4
"""Each checker is a container of its own and most of its time is Docker's, so some run side by side."""


class Failed(Exception):
    """The component could not be brought to its desired state; ``undone`` says what was restored, if anything was."""

    def __init__(self, reason: str, undone: str = "", logs: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.undone = undone
        self.logs = logs


class Converger:
    """One component on one VPS. ``request`` is what the controller sent, see the action plugin ``component``."""

    def __init__(
        self, request: Mapping[str, Any], docker: Optional[Docker] = None, provided: Optional[Dict[str, str]] = None
    ) -> None:
        self.request = request
        self.root: str = request["root"]
        self.desired = desired_from(request["desired"])
        self.meta = dict(self.desired.meta)
        self.store = Store(self.root, self.desired.name)
        self.docker = docker or Docker()
        self.lock = Lock(self.root, request["run"], request["who"], request.get("dead", ""), request.get("holder"))
        self.network: Mapping[str, Any] = request["network"]
        self.seconds: Dict[str, float] = {}
        self.notes: List[str] = []
        self.staged = ""
        self.early: Optional[Future[List[str]]] = None
        """Its own checks, where they began before its turn; what they read is staged."""
        self.provided = {} if provided is None else provided
        """Why an image could not be had, of those that another component of this trip has asked for, or nothing."""

    # -- reading ------------------------------------------------------------------------------------------------

    def actual(self) -> planning.Actual:
        """The component as it is now; on a VPS without an engine there are just the files."""
        record = self.store.record()
        containers: Dict[str, Mapping[str, Any]] = {}
        images: Dict[str, str] = {}
        if os.path.exists(self.docker.path):
            containers = ownership.inspect(survey(self.root, self.docker), self.request["claim"], record)
            images = {tag: image["id"] for tag, image in self.docker.images().items()}
        running = timer_units.states(self.root, {self.desired.name: record} if record else {})
        takes = self._takes() if record is None and self.desired.present else None
        part_of = takes["component"] if takes else ""
        return planning.Actual(self.store.marks(), containers, images, record, running, part_of)

    def _takes(self) -> Optional[Dict[str, Any]]:
        """What is taken over from the component that had these containers before, see ``handover``."""
        name = self.desired.name
        group = planning.group_of(name, {"meta": self.meta})
        return handover.taken(read_records(self.root), name, group, self.desired.containers)

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
        progress.say(self.desired.name, DOING.get(phase, phase))
        try:
            return work()
        finally:
            self.seconds[phase] = round(self.seconds.get(phase, 0.0) + time.monotonic() - started, 2)

    def _images(self, plan: planning.Plan) -> None:
        for image in plan.missing_images:
            self._image(image)

    def _image(self, image: str) -> None:
        builds = self.request.get("builds") or []
        for twin in [build["twin"] for build in builds if build["image"] == image and build.get("twin")]:
            if twin not in self.docker.images():  # its own component comes later in this trip
                self._image(twin)
        if image in self.provided:
            raise compose.CommandFailed(self.provided[image])  # the parts of a context can be read once
        try:
            how = images.provide_image(
                image,
                builds,
                self.request.get("archives") or {},
                self.meta.get("image_timeout", 1800),
                (self.request.get("digests") or {}).get(image, ""),
            )
        except compose.CommandFailed as error:
            self.provided[image] = str(error)
            raise
        self.notes.append("image {0} {1}".format(image, how))

    def _stage(self) -> None:
        contents = {path: base64.b64decode(text) for path, text in self.request["contents"].items()}
        self.store.stage(self.staged, contents, self.desired.files)

    def _check(self, plan: planning.Plan) -> None:
        faults = placed_faults(self.root, self.staged, self.desired.files, plan.files, self.request.get("boards") or [])
        if faults:
            raise compose.Refused("; ".join(faults))
        timers.check(self.root, self.desired.name, self.staged, self.meta)
        images, known = self.docker.images(), read_records(self.root)
        own = plan.up or any(owns(self.desired.name, path) for path in plan.files)
        # What a start reads anyway is checked with all the rest that it reads
        apart = {path: kind for path, kind in plan.files.items() if not (plan.up and self._receives(path))}
        with ThreadPoolExecutor(max_workers=CHECKS_AT_ONCE) as pool:
            jobs = compose.drop_in_checks(self.desired.name, self.staged, apart, known, images)
            if plan.up:
                services = {name: c.service for name, c in self.desired.containers.items()}
                main = planning.main_container(self.desired.name, services, str(self.meta.get("main", "")))
                image = self.desired.containers[main].image
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
            if own and self.early is None:
                jobs += self._own_checks(images, self.docker.volumes())
            self.notes += [note for note in pool.map(lambda job: job(), jobs) if note]
        if own and self.early is not None:
            self.notes += self.early.result()

    def _own_checks(self, images: Mapping[str, Any], volumes: Iterable[str]) -> List[compose.Check]:
        checks, uid = self.meta.get("check") or [], int(self.meta["uid"])
        return compose.component_checks(self.desired.name, self.staged, self.root, checks, uid, images, volumes)

    def check_early(self, pool: Executor) -> None:
        """Begin the checks of a component that is new and whose files nobody else brings; the caller holds the lock.

        Raises OSError or DockerError, with nothing begun.
        """
        plan = planning.plan(self.desired, self.actual())
        apart = self.store.record() is None and plan.action == planning.CREATED and not plan.missing_images
        if not apart or self.meta.get("drop_ins"):
            return
        self.store.prepare()
        images, volumes = self.docker.images(), list(self.docker.volumes())
        self.staged = tempfile.mkdtemp(prefix="staged-", dir=self.store.state)
        self._timed("stage", self._stage)

        def check() -> List[str]:
            return [note for note in (job() for job in self._own_checks(images, volumes)) if note]

        self.early = pool.submit(check)

    def leave_early(self) -> None:
        """Remove what was staged for a turn that did not come."""
        if self.early is not None and not self.early.cancel():
            wait([self.early])
        self.early = None
        self._unstage()

    def _unstage(self) -> None:
        if self.staged:
            shutil.rmtree(self.staged, ignore_errors=True)
            self.staged = ""

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
            self._unstage()

    def converge(self, plan: planning.Plan) -> None:
        """Do what ``plan`` says; the caller holds the lock. Raises Refused, Failed, CommandFailed or OSError."""
        self.store.prepare()
        if not self.desired.present:
            self._remove(plan)
            return
        # What earlier trips placed may have what it needs by now, and checkers take their time
        start_ahead(self.root, self.docker)
        try:
            if plan.missing_images:
                self.lock.doing("{0}: {1}".format(self.desired.name, DOING["images"]))
            self._timed("images", lambda: self._images(plan))
            self.lock.doing("{0}: checking the new files".format(self.desired.name))
            if self.early is None:
                self._unstage()
                self.staged = tempfile.mkdtemp(prefix="staged-", dir=self.store.state)
                self._timed("stage", self._stage)
            self._timed("check", lambda: self._check(plan))
            self.lock.doing("{0}: {1}".format(self.desired.name, plan.action))
            self._swap_apply_prove(plan)
        finally:
            self._unstage()

    def _remove(self, plan: planning.Plan) -> None:
        """Take the containers down, then the files away. Where the engine refuses, all files stay."""
        journal = Journal(self.store)
        try:
            work = {"receivers": list(plan.receivers), "purge": bool(self.request.get("purge"))}
            # Without a record, after a run that was killed, the stack's own names say what there is to remove
            meta = {key: self.request["claim"][key] for key in ("stack", "project")}
            entry = journal.begin(journals.REMOVE, plan.files, {"work": work, "claimed": {"meta": meta}})
            notes, refused = self._timed(
                "apply", lambda: finish_removal(self.store, self.docker, self.network, journal, entry)
            )
            self.notes += notes
        except Troubles as error:
            raise Failed(in_words(error), "what is left of it is removed by the next run") from error
        if refused:
            raise Failed(
                "it was removed, but {0}".format(refused), "its removal stands and is told again by the next run"
            )

    def _swap_apply_prove(self, plan: planning.Plan) -> None:
        record = self.store.record()
        takes = self._takes() if record is None else None
        placing = not takes and (record is None or not record["proven"])
        if not placing:
            self._timed("needs", self._needs)
        journal = Journal(self.store)
        work = {
            "up": plan.up,
            "force": list(plan.force),
            "reload": plan.reload,
            "receivers": list(plan.receivers),
            "run": self.request["run"],
            "new_volumes": ownership.missing_volumes(self.docker, self.meta.get("volumes") or []),
            "keep_volumes": bool(self.request.get("keep_volumes")),
            **({"takes": takes} if takes else {}),
            # Going back to a release: its release commands ran when it was new
            **({"back": True} if self.request.get("back") else {}),
        }
        new = record_of(self.desired, self.docker, self.request["who"], proven=not placing)
        begun = False
        try:
            journal.begin(journals.SWAP, plan.files, {"work": work, "record": new})
            begun = True
            self._timed("swap", lambda: self.store.swap(self.staged, self.desired.files, plan.files))
            if placing:
                journal.enter(journals.PLACED)
                self._timed("apply", lambda: self._place(new, work))
                return
            beside = plan.up and not takes and switching.standby_of(new) is not None
            journal.enter(journals.STANDBY if beside else journals.APPLY)
            self.notes += self._timed("apply", lambda: carry_out(self.store, self.docker, self.network, new, work))
            proof = self._timed("prove", lambda: prove_record(self.docker, self.network["name"], new))
            self.notes += proof["told"]
            self.notes += self._timed("commit", lambda: commit(self.store, self.docker, new, work))
        except Troubles as error:
            if not begun:
                raise Failed(in_words(error), "nothing of {0} was changed".format(self.desired.name)) from error
            logs = self._logs()
            raise Failed(
                in_words(error),
                self._timed("undo", lambda: undo(self.store, self.docker, self.network, self.request["run"])),
                logs,
            ) from error
        try:
            journal.close()
        except OSError as error:
            self.notes.append("it serves, but its journal could not be closed: {0}".format(in_words(error)))
        own = [container.image for container in self.desired.containers.values()]
        kept = release_list.load_all(self.root)
        count = int((self.request.get("release") or {}).get("keep") or release_list.KEEP)
        held = release_list.images_of(kept)
        self.notes += pruning.prune(self.docker, own, read_records(self.root), held, count)

    def _logs(self) -> str:
        try:
            return last_lines(self.docker, switching.with_standby(self.docker, self.desired.containers, self.meta))
        except Troubles as error:
            return "its log cannot be read: {0}".format(error)

    def _needs(self) -> None:
        known = read_records(self.root)
        here = {**known, self.desired.name: {"meta": self.meta}}
        unproven = {n for n in planning.needed(self.desired.name, here) if not known[n]["proven"]}
        if not unproven:
            return
        settling = Settling(self.root, self.network, self.docker, self.request["run"])
        for name, outcome in settling.run(unproven).items():
            if "failed" in outcome:
                reason = "{0}, which it needs, does not serve: {1}".format(name, outcome["failed"])
                raise Failed(reason, "nothing of {0} was changed".format(self.desired.name), outcome["logs"])

    def _place(self, record: Mapping[str, Any], work: Mapping[str, Any]) -> None:
        """No earlier version serves, so that nobody waits: whoever settles starts it together with all others."""
        make_drop_in_folders(self.root, self.desired.name, self.meta)
        self.store.write_record({**record, "start": dict(work)})
        ownership.provide_network(self.docker, self.network)  # in which even a helper of its volumes runs
        ownership.provide_volumes(self.docker, self.desired.name, self.meta)
        # Before anything that mounts them is started, be it of another component
        rollout.own_volumes(self.docker, project_of(self.store, record), self.meta)
        if work["reload"] and not work["up"]:
            reload_component(self.docker, self.meta, self.network["name"], sorted(self.desired.containers))
        tell_receivers(self.root, self.docker, self.network["name"], self.desired.name, work["receivers"])
        self.store.write_record({**record, "start": {**work, "receivers": []}})
        start_ahead(self.root, self.docker)


def _veil(content: bytes, word: str) -> bytes:
    return "({0} secret, not shown)\n".format(word).encode() if content else b""


def desired_from(value: Mapping[str, Any]) -> planning.Desired:
    """Rebuild the Desired that the controller sent as plain values."""
    containers = {
        name: planning.Container(c["service"], c["image"], tuple(c.get("mounts") or ()))
        for name, c in value["containers"].items()
    }
    return planning.Desired(
        value["name"], value["present"], value["files"], containers, tuple(value["reload_files"]), value["meta"]
    )
