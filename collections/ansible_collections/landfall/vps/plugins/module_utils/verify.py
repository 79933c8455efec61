"""Does what runs match what the inventory and the roles say? Asks what runs; starts and changes nothing.

A *fault* is ``{where, what, do}``. All checks run, then all faults are told at once.
"""

from __future__ import annotations

import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

from ansible_collections.landfall.vps.plugins.module_utils import exposure, release_list, releases, sockets
from ansible_collections.landfall.vps.plugins.module_utils import plan as planning
from ansible_collections.landfall.vps.plugins.module_utils.docker_api import Docker, DockerError
from ansible_collections.landfall.vps.plugins.module_utils.host import records as read_records
from ansible_collections.landfall.vps.plugins.module_utils.metrics_api import target_name
from ansible_collections.landfall.vps.plugins.module_utils.probe import Hopeless, Unproven, prove
from ansible_collections.landfall.vps.plugins.module_utils.signals import backup, check
from ansible_collections.landfall.vps.plugins.module_utils.stores import Fault, Store, fault, served, targets_of

SOURCE_LABEL = "org.landfall.source"
REASONS = 5


def _role(records: Mapping[str, Mapping[str, Any]], name: str) -> str:
    return str(((records.get(name) or {}).get("meta") or {}).get("role") or name)


def expectation(
    records: Mapping[str, Mapping[str, Any]], wanted: Mapping[str, Any]
) -> Tuple[List[str], List[Fault], List[str]]:
    """Which components should be here, what differs from the inventory, and which components nobody compared.

    ``wanted["roles"]`` are those of the play that deploy components, in start order; ``enabled`` are those of them that
    the inventory enables; ``declared`` says what a run of their tasks would do (component to ``{present, action,
    reasons}``) and is empty when none of them ran. What roles beside those deployed is expected to stay as it is.
    """
    declared, roles = wanted["declared"], wanted["roles"]
    faults: List[Fault] = []
    if declared:
        expected = [name for name, found in declared.items() if found["present"]]
    else:
        expected = []
        for role in wanted["enabled"]:
            expected += [name for name in sorted(records) if _role(records, name) == role] or [role]
    alone = []
    for name in sorted(set(records) - set(expected)):
        role = _role(records, name)
        if role not in roles:
            alone.append(name)
            continue
        named = name in declared or not declared
        what = "is deployed but not enabled in the inventory" if named else "is deployed, but the inventory has it not"
        do = "run site.yml --tags {0}; it removes what is not wanted, and keeps its volumes".format(role)
        faults.append(fault(name, what, do))
    for name, found in declared.items():
        if name in records and found["present"] and found["action"] != "none":
            reasons = list(found["reasons"])
            more = ", and {0} more".format(len(reasons) - REASONS) if len(reasons) > REASONS else ""
            form = "differs from the inventory: it would be {0} because {1}{2}"
            what = form.format(found["action"], "; ".join(reasons[:REASONS]), more)
            faults.append(fault(name, what, "run site.yml --tags {0}".format(_role(records, name))))
    return expected + alone, faults, alone if declared else []


class Verifier:
    """Checks one VPS. ``wanted`` is what the inventory says about it, see the action plugin ``verify``."""

    def __init__(self, root: str, network: str, wanted: Mapping[str, Any], docker: Optional[Docker] = None) -> None:
        self.root = root
        self.network = network
        self.docker = docker or Docker()
        self.records = read_records(root)
        self.facts: Dict[str, Any] = {}
        self.rows: List[Dict[str, Any]] = []
        names, self.faults, alone = expectation(self.records, wanted)
        self.wanted = {**wanted, "components": names}
        self.here = [name for name in names if name in self.records]
        if alone:
            self.facts["not_compared"] = alone

    def run(self) -> None:
        """All checks."""
        self.components()
        self.exposure()
        self.disk()
        self.maintenance()
        self.release()
        for store in served(self.records, self.here, "metrics"):
            try:
                self.store(Store(self.docker, self.network, store, self.records, float(self.wanted["timeout"])))
            except (Unproven, DockerError) as error:
                self.faults.append(fault(store[0], str(error), "docker logs {0}".format(store[1])))
        if self.wanted["exercise"]:
            arrived = check(self.docker, self.network, self.wanted, self.records)
            self.facts.update(arrived.facts)
            self.faults += arrived.faults

    def store(self, store: Store) -> None:
        """All that is asked of one store of metrics."""
        try:
            store.targets()
            store.rules()
            store.settings()
            store.alerts()
            if self.wanted["exercise"]:
                store.reach()
                store.exercise(self.here)
        finally:
            self.facts.update(store.facts)
            self.faults += store.faults
        for row in self.rows:
            shipped = targets_of({row["component"]: self.records.get(row["component"]) or {"meta": {}}})
            own = {(labels["job"], target_name(where, labels)) for where, labels in shipped}
            row["targets"] = "{0}/{1} up".format(len(own & store.up), len(own)) if own else "-"

    # -- components ---------------------------------------------------------------------------------------------

    def components(self) -> None:
        """Each component is deployed, proven, healthy and ready."""
        running = self.docker.containers()
        images = self.docker.images()

        def one(name: str) -> Dict[str, Any]:
            record = self.records.get(name)
            if record is not None:
                return self._component(name, record, running, images)
            self.faults.append(fault(name, "is enabled but not deployed", "run site.yml --tags {0}".format(name)))
            return {"component": name, "health": "missing", "targets": "", "version": "", "seconds": 0}

        with ThreadPoolExecutor(max_workers=8) as pool:
            self.rows += pool.map(one, self.wanted["components"])

    def _component(
        self, name: str, record: Mapping[str, Any], running: Mapping[str, Any], images: Mapping[str, Any]
    ) -> Dict[str, Any]:
        started = time.monotonic()
        states = []
        for container in sorted(record["containers"]):
            found = running.get(container) or {}
            state = planning.well(container, found, record["meta"])
            states.append(state)
            if state not in planning.WELL:
                self.faults.append(fault(container, "is {0}".format(state), "docker logs {0}".format(container)))
        if not record.get("proven"):
            what = "was started by a run that never proved it"
            self.faults.append(fault(name, what, "run site.yml --tags {0}".format(_role(self.records, name))))
        try:
            probes = self._probes(record["meta"])
            prove(self.docker, sorted(record["containers"]), probes, self.network, float(self.wanted["timeout"]))
        except (Unproven, DockerError) as error:
            if not isinstance(error, Hopeless):
                states.append("not ready")
            self.faults.append(fault(name, str(error), "docker logs {0}".format(planning.main_of(record))))
        worst = [s for s in states if s not in planning.WELL]
        image = record["containers"][planning.main_of(record)]["image"]
        source = (images.get(image) or {}).get("labels", {}).get(SOURCE_LABEL, "")
        version = image.rsplit(":", 1)[1]
        return {
            "component": name,
            "health": worst[0] if worst else "healthy",
            "targets": "",
            "version": "{0} ({1})".format(version, source) if source else version,
            "seconds": round(time.monotonic() - started, 2),
        }

    def _probes(self, meta: Mapping[str, Any]) -> List[Mapping[str, Any]]:
        """The component's probes that change nothing, but for what a store of metrics asks itself.

        Some exporters take seconds to answer.
        """
        probes = [item for item in meta.get("prove") or [] if not item.get("deploy_only")]
        if self.wanted["exercise"] or not served(self.records, self.here, "metrics"):
            return probes
        scraped = {
            (labels["service"], target.rsplit(":", 1)[1], labels.get("__metrics_path__", "/metrics"))
            for target, labels in targets_of({"this": {"meta": meta}})
        }
        return [p for p in probes if "metric" in p or (p["service"], str(p.get("port")), p.get("path")) not in scraped]

    def disk(self) -> None:
        """Space left where images, volumes and logs lie."""
        place = str(self.docker.info().get("DockerRootDir") or self.root)
        usage = shutil.disk_usage(place if os.path.isdir(place) else self.root)
        self.facts["disk"] = "{0:.1f} of {1:.1f} GB free".format(usage.free / 1e9, usage.total / 1e9)
        reports = [
            (os.path.join(self.root, name, item["folder"]), item["metric"])
            for name, _container, item in served(self.records, self.here, "backups")
        ]
        self.facts["last_backup"] = backup(reports, time.time())

    def maintenance(self) -> None:
        """Whether visitors are held back, where something can do that."""
        for name, _container, item in served(self.records, self.here, "maintenance"):
            folder = os.path.join(self.root, name, item["folder"])
            since = [os.stat(os.path.join(folder, file)).st_mtime for file in _files(folder)]
            moment = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(min(since))) if since else ""
            self.facts["maintenance"] = "on since {0}".format(moment) if since else "off"

    def release(self) -> None:
        """Which release serves, since when; nothing where none was ever made."""
        known = [one for one in release_list.load_all(self.root) if one["outcome"] == release_list.COMPLETE]
        now = releases.serving(self.root)
        if now is not None:
            moment = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(release_list.last_served(now)))
            commit = ", commit {0}".format(now["commit"][:12]) if now.get("commit") else ""
            self.facts["release"] = "{0} since {1}{2}".format(now["name"], moment, commit)
        elif known:
            self.facts["release"] = "none: what serves is not as any release was; site.yml makes one"

    def exposure(self) -> None:
        """Nothing listens on a public address but SSH, where this connection came in, and what the inventory allows."""
        allowed = {int(port) for port in self.wanted["public_ports"]}
        allowed.add(exposure.ssh_port(int(self.wanted["ssh_port"])))
        trusted = exposure.Trusted(self.wanted["trusted"])
        seen: Dict[int, str] = {}
        for host, port in sockets.listening_here():
            if not trusted.covers(host):
                seen[port] = "a process listens on {0}".format(exposure.join(host, port))
        for item in self.docker.json("GET", "/containers/json"):
            for port in item.get("Ports") or []:
                if port.get("PublicPort") and not trusted.covers(port.get("IP", "")):
                    where = exposure.join(port.get("IP", ""), port["PublicPort"])
                    seen[port["PublicPort"]] = "container {0} publishes {1}".format(item["Names"][0].lstrip("/"), where)
        self.facts["public_ports"] = sorted(seen)
        for port in sorted(set(seen) - allowed):
            self.faults.append(
                fault(
                    "port {0}".format(port),
                    "{0}, reachable from outside".format(seen[port]),
                    "publish it on 127.0.0.1, or if it is meant add the port to verify_public_ports, or the interface "
                    "or network that it listens on to verify_trusted_networks",
                )
            )


def _files(folder: str) -> List[str]:
    return sorted(os.listdir(folder)) if os.path.isdir(folder) else []


def verify(root: str, network: str, wanted: Mapping[str, Any]) -> Dict[str, Any]:
    """Run all checks; return ``{rows, facts, faults}``. Raises DockerError when there is no engine to ask."""
    verifier = Verifier(root, network, wanted)
    verifier.run()
    return {"rows": verifier.rows, "facts": verifier.facts, "faults": verifier.faults}


def table(rows: Sequence[Mapping[str, Any]], columns: Iterable[str]) -> List[str]:
    """Rows as aligned lines under their headings."""
    names = list(columns)
    cells = [names] + [[str(row.get(name, "")) for name in names] for row in rows]
    widths = [max(len(line[index]) for line in cells) for index in range(len(names))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in cells]
