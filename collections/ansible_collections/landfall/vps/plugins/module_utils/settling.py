"""Starts and proves what a run placed, and goes back to what served before."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Semaphore
from typing import Any, Dict, Iterable, List, Mapping, Optional, Set

from ansible_collections.landfall.vps.plugins.module_utils import compose, ownership
from ansible_collections.landfall.vps.plugins.module_utils import plan as planning
from ansible_collections.landfall.vps.plugins.module_utils.docker_api import Docker, DockerError
from ansible_collections.landfall.vps.plugins.module_utils.host import records as read_records
from ansible_collections.landfall.vps.plugins.module_utils.probe import Unproven, address, fetch, prove
from ansible_collections.landfall.vps.plugins.module_utils.store import Store

LOG_LINES = 50
RELOAD_PATIENCE = 30.0  # seconds
STARTS_AT_ONCE = 4
"""How many components are started side by side: each start is a process of Compose of some 40 MB."""


def start_ahead(root: str, docker: Docker) -> None:
    """Start, without waiting, what this run placed so far and whose needs are healthy: it then starts during the rest.

    A head start and no more. Whoever settles starts and proves all of it as if this had not been tried.
    """
    records, running = read_records(root), docker.containers()

    def healthy(name: str) -> bool:
        names = (records.get(name) or {}).get("containers") or {}
        return all((running.get(container) or {}).get("health") == "healthy" for container in names)

    for name, record in sorted(records.items()):
        start = record.get("start") or {}
        waiting = start.get("up") and not start.get("force") and not start.get("ahead")
        if waiting and all(healthy(needed) for needed in record["meta"].get("needs") or [] if needed in records):
            store = Store(root, name)
            compose.Project(store.folder, 60, ownership.of_record(name, record)[1]).start_ahead()
            store.write_record({**record, "start": {**start, "ahead": True}})


def applied(containers: Mapping[str, Mapping[str, Any]], docker: Docker) -> Dict[str, Any]:
    """The part of a record that says what the engine made of a component's containers and images."""
    found, images = docker.containers(), docker.images()
    return {
        "containers": {
            name: {"service": c["service"], "image": c["image"], "config_hash": found.get(name, {}).get("config_hash")}
            for name, c in containers.items()
        },
        "images": {c["image"]: images.get(planning.stored_as(c["image"]), {}).get("id") for c in containers.values()},
    }


def log_tail(docker: Docker, containers: Iterable[str]) -> str:
    """The last lines that each container wrote, under a heading each."""
    parts = []
    for name in sorted(containers):
        text = docker.logs(name, LOG_LINES).rstrip()
        if text:
            parts.append("--- last {0} log lines of {1}\n{2}".format(LOG_LINES, name, text))
    return "\n".join(parts)


def _ask_to_reload(docker: Docker, spec: Mapping[str, Any], container: str, network: str) -> str:
    """Ask once; return what it said when it refused, otherwise an empty string. Raises Unproven when nobody answers."""
    if spec.get("exec"):
        code, text = docker.execute(container, [str(part) for part in spec["exec"]])
        if code:
            raise Unproven("reload of {0} failed: exit code {1}: {2}".format(container, code, text.strip()[-1000:]))
        return ""
    host = address(docker, spec.get("host") or container, network)
    status, text = fetch("http://{0}:{1}{2}".format(host, spec["port"], spec["path"]), method="POST", timeout=30)
    return "{0} {1}".format(status, text.strip()[:1000]) if status >= 300 else ""


def reload_component(docker: Docker, meta: Mapping[str, Any], network: str, containers: List[str]) -> None:
    """Make a running program take in its files. Raises Unproven when it refuses, or answers nobody for 30 s."""
    spec = dict(meta.get("reload") or {})
    container = spec.get("service") or containers[0]
    if spec.get("signal"):
        docker.kill(container, spec["signal"])
        return
    deadline = time.monotonic() + RELOAD_PATIENCE
    while True:
        try:
            refused = _ask_to_reload(docker, spec, container, network)
            break
        except Unproven:
            # It may have been started a moment ago and not listen yet
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
    if refused:
        raise Unproven("reload of {0} was refused: {1}".format(container, refused))


def undo(store: Store, docker: Docker, network: str, force: bool = False, run: str = "") -> str:
    """Restore the kept set of a component and prove that it serves again; returns a sentence about it.

    ``force`` recreates the containers even where their definition is the same as before, because the files that
    they read only at start were swapped. Of a first start, volumes that ``run`` itself made are removed.
    """
    record = store.previous_record()
    if record is None:
        told = ownership.undo_first_start(docker, store.root, store.name, store.record(), run)
        store.forget()
        return told
    store.restore()
    meta = record.get("meta") or {}
    containers = sorted(record.get("containers") or {})
    try:
        project = ownership.of_record(store.name, record)[1]
        compose.Project(store.folder, float(meta.get("apply_timeout", 300)), project).up(force)
        if meta.get("reload"):
            reload_component(docker, meta, network, containers)
        took = prove(docker, containers, meta.get("prove") or [], network, meta.get("prove_timeout", 60))
    except (compose.CommandFailed, Unproven, DockerError) as error:
        return "the previous files were restored, but the component does not serve: {0}".format(error)
    return "the previous version was restored and serves again (proven in {0} s)".format(took["seconds"])


class Settling:
    """Starts and proves what a run placed: side by side, but each after those that it needs."""

    def __init__(self, root: str, network: Mapping[str, Any], docker: Optional[Docker] = None, run: str = "") -> None:
        self.root = root
        self.by = run
        self.network = network
        self.docker = docker or Docker()
        self._starts = Semaphore(STARTS_AT_ONCE)

    def run(self, only: Optional[Set[str]] = None) -> Dict[str, Dict[str, Any]]:
        """Settle every component that is not proven, or ``only`` some of them and what those need.

        Returns ``{name: {seconds}}``, for one that does not serve ``{name: {failed, undone, logs}}``.
        """
        records = {name: record for name, record in read_records(self.root).items() if not record.get("proven")}
        order = planning.in_order({name: record["meta"].get("needs") or [] for name, record in records.items()}, only)
        if not order:
            return {}
        ownership.provide_network(self.docker, self.network)
        # A thread for each: those that wait for what they need must not keep it from starting
        with ThreadPoolExecutor(max_workers=len(order)) as pool:
            futures: Dict[str, Future[Dict[str, Any]]] = {}
            for name in order:
                needs = {n: futures[n] for n in records[name]["meta"].get("needs") or [] if n in futures}
                futures[name] = pool.submit(self._outcome, name, records[name], needs)
            return {name: future.result() for name, future in futures.items()}

    def _outcome(
        self, name: str, record: Dict[str, Any], needs: Mapping[str, Future[Dict[str, Any]]]
    ) -> Dict[str, Any]:
        store = Store(self.root, name)
        try:
            for needed, future in needs.items():
                if "failed" in future.result():
                    raise Unproven("{0}, which it needs, does not serve".format(needed))
            return {"seconds": self._settle(store, record)}
        except (compose.CommandFailed, Unproven, DockerError) as error:
            logs = log_tail(self.docker, record["containers"])
            undone = undo(store, self.docker, self.network["name"], run=self.by)
            return {"failed": "{0}: {1}".format(name, error), "undone": undone, "logs": logs}

    def _all_run(self, names: Iterable[str]) -> bool:
        running = self.docker.containers()
        return all((running.get(name) or {}).get("state") == "running" for name in names)

    def _settle(self, store: Store, record: Dict[str, Any]) -> float:
        meta, start = record["meta"], record.get("start") or {}
        if start.get("up"):
            ownership.provide_volumes(self.docker, store.name, meta)
            name = ownership.of_record(store.name, record)[1]
            project = compose.Project(store.folder, float(meta.get("apply_timeout", 300)), name)
            with self._starts:
                if not (start.get("ahead") and project.wait() and self._all_run(record["containers"])):
                    project.up(bool(start.get("force")))
        probes, patience = meta.get("prove") or [], meta.get("prove_timeout", 60)
        took = prove(self.docker, sorted(record["containers"]), probes, self.network["name"], patience)
        done = {**record, **applied(record["containers"], self.docker), "proven": True}
        done.pop("start", None)
        store.write_record(done)
        store.finish()
        return float(took["seconds"])
