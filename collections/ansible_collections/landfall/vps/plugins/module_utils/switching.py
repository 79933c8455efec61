"""How a new version takes the place of the one that runs without anybody noticing.

A component with the order ``start-first`` gets a *standby* for the time of the change: a second container of the new
version, in a Compose project of its own. Once it is proven it is sent requests, the one that ran is sent none, and when
that one has answered all it is replaced by Compose as ever. Then the standby goes. So all names stay as they are, and
in between one of the two always serves. Without a standby, containers that do the same are replaced in turn.

Where a run dies, marks (``rotation``) and containers say how far it came, and each step finds what it would do done.
"""

from __future__ import annotations

import contextlib
import copy
import os
import threading
import time
from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, Tuple

from ansible_collections.landfall.vps.plugins.module_utils import journal as journals
from ansible_collections.landfall.vps.plugins.module_utils import plan as planning
from ansible_collections.landfall.vps.plugins.module_utils import progress, records, room, watching
from ansible_collections.landfall.vps.plugins.module_utils.compose import CommandFailed, Project
from ansible_collections.landfall.vps.plugins.module_utils.docker_api import Docker, DockerError
from ansible_collections.landfall.vps.plugins.module_utils.journal import Journal
from ansible_collections.landfall.vps.plugins.module_utils.probe import Unproven, prove
from ansible_collections.landfall.vps.plugins.module_utils.rotation import Rotation, pause
from ansible_collections.landfall.vps.plugins.module_utils.store import Store

START_FIRST = "start-first"
SUFFIX = "-next"
PROJECT_SUFFIX = "__next"
"""No other project of a stack has two underscores."""
STANDBY_LABEL = "org.landfall.standby"
DRAIN = 30.0  # seconds
LOOK = 1.0  # seconds
SOON = 3.0
"""Seconds within which one that is left ends by itself, if it has nothing to finish."""
CUT_OFF = 5
"""Seconds that a container may take to end once what it has in flight is not waited for any more."""
FILE = "standby-{0}.yaml"
"""The compose file of a standby, below the state folder."""


# -- what a record says --------------------------------------------------------------------------------------------


def described(option: Mapping[str, Any], document: Mapping[str, Any], containers: Mapping[str, Any]) -> Dict[str, Any]:
    """The part ``update`` of a record: how the component is updated, with the standby of its container if it has one.

    ``option`` is what its task says, ``document`` its compose file, ``containers`` map each name to what has
    ``service``. Empty where Compose replaces what differs.
    """
    update = {key: value for key, value in option.items() if value is not None}
    if update.get("order") != START_FIRST:
        return {"why": update["why"]} if update.get("why") else {}
    if len(containers) == 1:
        ((container, one),) = containers.items()
        update["standby"] = {
            "container": container + SUFFIX,
            "service": one.service + SUFFIX,
            "compose": standby_file(document, one.service, container),
        }
    return update


def standby_file(document: Mapping[str, Any], service: str, container: str) -> Dict[str, Any]:
    """The compose file of a standby: the same service by other names, with no port of the VPS."""
    options = copy.deepcopy(dict(document["services"][service]))
    options.pop("ports", None)
    options["container_name"] = container + SUFFIX
    if options.get("hostname"):
        options["hostname"] = service + SUFFIX
    labels = options.get("labels") or {}
    if isinstance(labels, list):
        labels = dict(str(label).partition("=")[::2] for label in labels)
    options["labels"] = {**labels, STANDBY_LABEL: "true"}
    if isinstance(options.get("networks"), dict):
        options["networks"] = {
            name: {key: value for key, value in (network or {}).items() if key != "aliases"} or None
            for name, network in options["networks"].items()
        }
    kept = {key: value for key, value in document.items() if key not in ("name", "services")}
    return {"name": str(document["name"]) + PROJECT_SUFFIX, "services": {service + SUFFIX: options}, **kept}


def standby_of(record: Optional[Mapping[str, Any]]) -> Optional[Mapping[str, Any]]:
    """``{container, service, compose}`` of a component's standby, None for one that is updated otherwise."""
    found: Optional[Mapping[str, Any]] = (((record or {}).get("meta") or {}).get("update") or {}).get("standby")
    return found


def limit_of(record: Mapping[str, Any]) -> float:
    """Seconds that requests in flight are waited for."""
    return float(((record["meta"].get("update") or {}).get("drain")) or DRAIN)


# -- what is done -----------------------------------------------------------------------------------------------------


class Switch:
    """The update of one component that has a standby. ``project`` is the standby's, ``told`` is for an operator."""

    back = False
    """Whether it goes back to what served before."""

    def __init__(self, store: Store, docker: Docker, network: str, record: Mapping[str, Any]) -> None:
        self.store = store
        self.docker = docker
        self.network = network
        self.record = record
        self.told: List[str] = []
        self._took: List[str] = []
        self.left = 0
        """Connections with the old version that did not end in time."""
        ((self.container, found),) = record["containers"].items()
        self.service = str(found["service"])
        standby = standby_of(record) or {}
        self.standby, self.standby_service = str(standby["container"]), str(standby["service"])
        self.rotation = rotation_of(store, docker)
        self.rotated = self.rotation.leads_to((self.service, self.standby_service))
        file = os.path.join(store.state, FILE.format(store.name))
        timeout = float(record["meta"].get("apply_timeout", 300))
        self.project = Project(store.folder, timeout, str(standby["compose"]["name"]), file)

    @classmethod
    def of(
        cls, store: Store, docker: Docker, network: str, record: Mapping[str, Any], project: Project, back: bool
    ) -> Tuple[Optional[Switch], List[str]]:
        """The update of a component of which a version runs in ``project``; None where Compose simply replaces it.

        And what an operator should know of that.
        """
        update = record["meta"].get("update") or {}
        if standby_of(record) is None:
            name = min(found["service"] for found in record["containers"].values())
            return None, ["{0} was replaced in place: {1}".format(name, update["why"])] if update.get("why") else []
        switch, there = cls(store, docker, network, record), docker.containers()
        switch.back = back
        found = there.get(switch.container) or {}
        runs = found.get("state") == "running" and found.get("project") == project.name
        if runs and not switch.rotated and update.get("proxied"):
            form = "{0} was replaced in place: no proxy here leads to {1} as well yet"
            return None, [form.format(switch.service, switch.standby_service)]
        if not switch._alone(there):
            if not runs or (back and not update.get("proxied") and switch._ends_soon()):
                return None, []
            short = room.missing(docker, switch.container)
            if short:
                return None, ["{0} was replaced in place: {1}".format(switch.service, short)]
        records.write_whole(switch.project.file, (standby_of(record) or {})["compose"], records.as_compose)
        return switch, []

    def helper(self, meta: Mapping[str, Any]) -> Dict[str, Any]:
        """``meta`` with the standby in place of the container where volumes are looked at."""
        owners = [
            {**item, "container": self.standby, "service": self.standby_service}
            for item in meta.get("volume_owners") or []
        ]
        return {**meta, "volume_owners": owners}

    def _alone(self, there: Mapping[str, Any]) -> bool:
        """Whether an earlier run came so far that the standby alone is sent requests."""
        runs = (there.get(self.standby) or {}).get("state") == "running"
        out, is_in = self.rotation.is_out(self.service), self.rotation.is_in(self.standby_service)
        return self.rotated and runs and out and is_in

    def _ends_soon(self) -> bool:
        """Let the one that runs end, as its work is not wanted any more; whether it does so at once.

        One that has something to finish does, while a standby takes what comes.
        """
        touched(self.store)
        self._say("stopping {0}".format(self.service))
        described = self.docker.inspect(self.container) or {}
        grace = int((described.get("Config") or {}).get("StopTimeout") or CUT_OFF)

        def stop() -> None:
            with contextlib.suppress(DockerError, OSError):  # Compose stops it again, and is heard
                self.docker.stop(self.container, grace)

        stopping = threading.Thread(target=stop, daemon=True)
        stopping.start()
        stopping.join(SOON)
        return not stopping.is_alive()

    def run(self, work: Callable[[], None]) -> List[str]:
        """Update; ``work`` lets Compose replace the container. Raises what it raises, Unproven, CommandFailed.

        The standby stays until ``conclude``. Returns what an operator should know.
        """
        if self._alone(self.docker.containers()) and self._serves(self.standby):
            # Nobody knows whether the run before saw that the other one has answered all
            self._timed("taken up", self._take_up)
        else:
            self._from_the_start()
            try:
                self._timed("ready", self._start)
            except (Unproven, CommandFailed, OSError) as error:
                if _phase(self.store) != journals.UNDO:
                    raise
                # Going back has to succeed whatever it costs
                self.told.append("no standby of the version before: {0}".format(error))
                work()
                return self.told
            if self.rotated:
                # What is gone back to was watched when it was new
                before = None if self.back else self._figures()
                self._timed("switched", self._switch)
                if before:
                    self._timed("watched", lambda: self._watch(before))
                self._timed("drained", self._drain)
                self._refuse_ailing()
        touched(self.store)
        self._timed("replaced", lambda: self._replace(work))
        self.told.append("{0} started first: {1}".format(self.standby_service, ", ".join(self._took)))
        return self.told

    def _timed(self, what: str, work: Callable[[], None]) -> None:
        started = time.monotonic()
        work()
        self._took.append("{0} {1:.1f} s".format(what, time.monotonic() - started))

    def _say(self, what: str) -> None:
        progress.say(self.store.name, what)

    def _from_the_start(self) -> None:
        """Let the one that runs serve alone, whatever an earlier run left."""
        if self.rotated and self.rotation.put_back(self.service):
            self.rotation.settle(self.service)
        if self.rotated and self.rotation.drop(self.standby_service):
            self.rotation.settle(self.standby_service)
            self.rotation.drain(self.standby_service, self.standby, limit_of(self.record))

    def _start(self) -> None:
        self._say("starting the new version as {0}".format(self.standby_service))
        self.project.up([])
        meta = self.record["meta"]
        probes = [self._instead(item) for item in meta.get("prove") or []]
        prove(self.docker, [self.standby], probes, self.network, float(meta.get("prove_timeout", 60)))

    def _instead(self, item: Mapping[str, Any]) -> Dict[str, Any]:
        """A probe that asks the standby in place of the container."""
        names = {self.container: self.standby, self.service: self.standby}
        return {**item, **{key: names.get(item[key], item[key]) for key in ("service", "host") if item.get(key)}}

    def _switch(self) -> None:
        self._say("letting {0} serve in place of {1}".format(self.standby_service, self.service))
        if self.rotation.add(self.standby_service):
            self.rotation.settle(self.standby_service)
        self.rotation.take_out(self.service)
        self.rotation.settle(self.service)

    def _figures(self) -> watching.Figures:
        return watching.figures(self.docker, self.network, self.rotation.proxies, self.service)

    def _watch(self, before: watching.Figures) -> None:
        """Look at what visitors get from now on, for as long as the record asks. Raises Unproven with the figures.

        The version before still runs, and is sent requests again at once.
        """
        update = self.record["meta"]["update"]
        begun = self._figures() if update.get("watch") else before
        end = time.monotonic() + float(update.get("watch") or 0)
        while time.monotonic() < end:
            since = self._figures().since(begun)
            self._say("watching {0}: {1:.0f} requests".format(self.standby_service, since.requests))
            why = watching.ailing(self.docker, self.standby) or watching.condemned(before, since, update)
            if why:
                took = update["watch"] - (end - time.monotonic())
                raise Unproven("{0} s after requests were sent to it: {1}".format(round(took, 1), why))
            pause(LOOK)

    def _refuse_ailing(self) -> None:
        """Nothing is touched while the one that is to serve meanwhile does not. Raises Unproven."""
        why = watching.ailing(self.docker, self.standby)
        if why:
            raise Unproven("after it was let in: {0}".format(why))

    def _take_up(self) -> None:
        self.rotation.settle(self.service)
        self._drain()

    def _drain(self) -> None:
        """Wait until the one that is out of rotation has answered all."""
        self.left = self.rotation.drain(self.service, self.container, limit_of(self.record))

    def _replace(self, work: Callable[[], None]) -> None:
        if self.left and self.rotation.leave(self.standby_service):
            self.rotation.settle(self.standby_service)
        self._say("replacing {0}".format(self.service))
        self.told += cut_off(self.docker, self.service, self.container, self.left, self.record)
        work()
        meta = self.record["meta"]
        prove(
            self.docker, [self.container], meta.get("prove") or [], self.network, float(meta.get("prove_timeout", 60))
        )

    def _serves(self, container: str) -> bool:
        try:
            prove(self.docker, [container], [], self.network, 0)
        except Unproven:
            return False
        return True


def touched(store: Store) -> None:
    """Containers that run are changed from now on."""
    if _phase(store) == journals.STANDBY:
        Journal(store).enter(journals.APPLY)


def _phase(store: Store) -> str:
    entry = Journal(store).read()
    return str(entry["phase"]) if entry else ""


def rotation_of(store: Store, docker: Docker) -> Rotation:
    """The proxies beside a component."""
    return Rotation(store.root, docker, records.load_all(store.root)[0])


def drained(rotation: Rotation, service: str, container: str, record: Mapping[str, Any]) -> List[str]:
    """Wait for the requests of a service that is out of rotation; those that take too long are cut off, and told."""
    return cut_off(rotation.docker, service, container, rotation.drain(service, container, limit_of(record)), record)


def cut_off(docker: Docker, service: str, container: str, left: int, record: Mapping[str, Any]) -> List[str]:
    """Stop a container that has ``left`` connections: it would wait for them as long as its grace period lasts."""
    if not left:
        return []
    docker.stop(container, CUT_OFF)
    form = "{0} connection{1} of {2} still in use after {3:.0f} s {4} cut off"
    words = ("" if left == 1 else "s", service, limit_of(record), "was" if left == 1 else "were")
    return [form.format(left, *words)]


def conclude(store: Store, docker: Docker, *known: Optional[Mapping[str, Any]]) -> List[str]:
    """A component serves as it should: all of its services are in rotation and what stood by for one goes.

    ``known`` are records that may name a standby. Twice does the same. Raises OSError, DockerError.
    """
    rotation = rotation_of(store, docker)
    told: List[str] = []
    for record in [record for record in known if record is not None]:
        back = [found["service"] for found in record["containers"].values() if rotation.put_back(found["service"])]
        for service in back:
            rotation.settle(service)
        standby = standby_of(record)
        if standby is None:
            continue
        if rotation.drop(standby["service"]):
            rotation.settle(standby["service"])
            told += drained(rotation, standby["service"], standby["container"], record)
        found = docker.containers().get(standby["container"]) or {}
        if found.get("project") == standby["compose"]["name"]:
            progress.say(store.name, "stopping {0}".format(standby["service"]))
            docker.remove_container(standby["container"])
        path = os.path.join(store.state, FILE.format(store.name))
        if os.path.lexists(path):
            os.unlink(path)
    return told


def with_standby(docker: Docker, containers: Iterable[str], meta: Mapping[str, Any]) -> List[str]:
    """The containers of a component, after its standby if that is there: it is the one that fails first."""
    standby = standby_of({"meta": meta})
    there = [standby["container"]] if standby and standby["container"] in docker.containers() else []
    return [*there, *containers]


def sweep(root: str, docker: Docker, stack: str) -> List[str]:
    """Remove standbys of ``stack`` that nothing needs: whose component serves by itself, or is gone."""
    known, told = records.load_all(root)[0], []
    there = docker.containers() if os.path.exists(docker.path) else {}
    left = {
        name: found
        for name, found in there.items()
        if found.get("stack") == stack and str(found.get("project") or "").endswith(PROJECT_SUFFIX)
    }
    for name in sorted(left):
        owner = next((c for c, record in known.items() if (standby_of(record) or {}).get("container") == name), "")
        if owner and not _serves_alone(docker, Store(root, owner), known[owner], there):
            continue
        if owner:
            conclude(Store(root, owner), docker, known[owner])
        else:
            docker.remove_container(name)
        told.append("{0}: it stood by for an update that is over, and was removed".format(name))
    return told


def _serves_alone(docker: Docker, store: Store, record: Mapping[str, Any], there: Mapping[str, Any]) -> bool:
    rotation = rotation_of(store, docker)
    return all(
        planning.well(name, there.get(name) or {}, record["meta"]) in ("healthy", "unasked")
        and not rotation.is_out(found["service"])
        for name, found in record["containers"].items()
    )
