"""Starts and proves what a run placed."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event, Semaphore
from typing import Any, Dict, Iterable, Mapping, Optional, Set, Tuple

from ansible_collections.landfall.vps.plugins.module_utils import handover, ownership, progress, rollout, timers
from ansible_collections.landfall.vps.plugins.module_utils import plan as planning
from ansible_collections.landfall.vps.plugins.module_utils.applying import (
    applied,
    force_of,
    project_of,
    prove_record,
    tell_receivers,
)
from ansible_collections.landfall.vps.plugins.module_utils.docker_api import Docker
from ansible_collections.landfall.vps.plugins.module_utils.host import records as read_records
from ansible_collections.landfall.vps.plugins.module_utils.journal import PLACED, Journal
from ansible_collections.landfall.vps.plugins.module_utils.probe import Unproven
from ansible_collections.landfall.vps.plugins.module_utils.recovery import Troubles, in_words, undo
from ansible_collections.landfall.vps.plugins.module_utils.report import last_lines
from ansible_collections.landfall.vps.plugins.module_utils.store import Store

STARTS_AT_ONCE = 4
"""How many components are started side by side: each start is a process of Compose of some 40 MB."""
HEAD_START_LIMIT = 600.0  # seconds


def start_ahead(root: str, docker: Docker) -> None:
    """Start, without waiting, what this run placed so far and whose needs are healthy: it then starts during the rest.

    A head start and no more. Whoever settles starts and proves all of it as if this had not been tried.
    """
    records, running = read_records(root), docker.containers()

    def fulfilled(name: str, condition: str) -> bool:
        names, meta = records[name]["containers"], records[name]["meta"]
        wanted = {planning.STARTED: planning.WELL, planning.COMPLETED: ("done",)}.get(condition, ("healthy",))
        return all(planning.well(container, running.get(container) or {}, meta) in wanted for container in names)

    for name, record in sorted(records.items()):
        start = record.get("start") or {}
        waiting = start.get("up") and not start.get("force") and not start.get("ahead")
        waiting = waiting and not record["meta"].get("release")  # which comes before any start
        if waiting and all(fulfilled(*needed) for needed in planning.needed(name, records).items()):
            store = Store(root, name)
            project = project_of(store, record)
            rollout.own_volumes(docker, project, record["meta"])
            project.start_ahead(HEAD_START_LIMIT)
            store.write_record({**record, "start": {**start, "ahead": True}})


class Settling:
    """Starts and proves what a run placed: side by side, but each after those that it needs."""

    def __init__(self, root: str, network: Mapping[str, Any], docker: Optional[Docker] = None, run: str = "") -> None:
        self.root = root
        self.by = run
        self.network = network
        self.docker = docker or Docker()
        self._starts = Semaphore(STARTS_AT_ONCE)
        self._begun: Dict[str, Event] = {}

    def run(self, only: Optional[Set[str]] = None) -> Dict[str, Dict[str, Any]]:
        """Settle every component that is not proven, or ``only`` some of them and what those need.

        Returns ``{name: {seconds, told}}``, for one that does not serve ``{name: {failed, undone, logs}}``.
        """
        known = read_records(self.root)
        records = {name: record for name, record in known.items() if not record.get("proven")}
        needs = {name: planning.needed(name, known) for name in records}
        order = planning.in_order(needs, only)
        if not order:
            return {}
        ownership.provide_network(self.docker, self.network)
        # A thread for each: those that wait for what they need must not keep it from starting
        with ThreadPoolExecutor(max_workers=len(order)) as pool:
            futures: Dict[str, Future[Dict[str, Any]]] = {}
            self._begun = {name: Event() for name in order}
            for name in order:
                first = {n: (futures[n], condition) for n, condition in needs[name].items() if n in futures}
                futures[name] = pool.submit(self._outcome, name, records[name], first)
            return {name: future.result() for name, future in futures.items()}

    def _outcome(
        self, name: str, record: Dict[str, Any], needs: Mapping[str, Tuple[Future[Dict[str, Any]], str]]
    ) -> Dict[str, Any]:
        store = Store(self.root, name)
        try:
            for needed, (future, condition) in needs.items():
                if condition == planning.STARTED:
                    self._begun[needed].wait()
                    if not future.done():
                        continue
                if "failed" in future.result():
                    raise Unproven("{0}, which it needs, does not serve".format(needed))
            return self._settle(store, record)
        except Troubles as error:
            return {"failed": "{0}: {1}".format(name, in_words(error)), **self._give_up(store, record)}
        finally:
            self._begun[name].set()

    def _give_up(self, store: Store, record: Mapping[str, Any]) -> Dict[str, str]:
        try:
            logs = last_lines(self.docker, record["containers"])
        except Troubles as error:
            logs = "its log cannot be read: {0}".format(error)
        return {"undone": undo(store, self.docker, self.network, self.by), "logs": logs}

    def _all_run(self, names: Iterable[str], project: str) -> bool:
        running = self.docker.containers()
        found = [running.get(name) or {} for name in names]
        return all(one.get("state") == "running" and one.get("project") == project for one in found)

    def _settle(self, store: Store, record: Dict[str, Any]) -> Dict[str, Any]:
        meta, start = record["meta"], record.get("start") or {}
        if Journal(store).read() is None:  # placed by a version that kept none
            Journal(store).begin(PLACED, record["files"], {"work": start, "record": record})
        if start.get("up"):
            ownership.provide_volumes(self.docker, store.name, meta)
            project = project_of(store, record)
            progress.say(store.name, "waiting for its turn to start")
            with self._starts:
                progress.say(store.name, "starting its containers")
                if not (start.get("ahead") and project.wait() and self._all_run(record["containers"], project.name)):
                    rollout.prepare(self.docker, project, meta, start)
                    handover.make_room(self.docker, record["containers"], project.name)
                    project.up(force_of(start))
        self._begun[store.name].set()
        # Only what a run that died did not tell them
        tell_receivers(self.root, self.docker, self.network["name"], store.name, start.get("receivers") or [])
        progress.say(store.name, "proving that it serves")
        took = prove_record(self.docker, self.network["name"], record, new=True)
        timers.converge(self.root, store.name, meta)
        progress.say(store.name, "serves")
        done = {**record, **applied(record["containers"], self.docker), "proven": True}
        done.pop("start", None)
        store.write_record(done)
        Journal(store).close()
        return took
