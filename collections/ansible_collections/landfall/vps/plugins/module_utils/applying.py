"""What a change does to containers: start, reload, tell those who receive files, prove."""

from __future__ import annotations

import threading
import time
from typing import Any, Callable, Dict, Iterable, List, Mapping, Sequence, Tuple, TypeVar

from ansible_collections.landfall.vps.plugins.module_utils import (
    compose,
    handover,
    ownership,
    rollout,
    switching,
    timers,
    turns,
)
from ansible_collections.landfall.vps.plugins.module_utils import plan as planning
from ansible_collections.landfall.vps.plugins.module_utils.docker_api import Docker, DockerError
from ansible_collections.landfall.vps.plugins.module_utils.host import records as read_records
from ansible_collections.landfall.vps.plugins.module_utils.probe import (
    RESTART_PATIENCE,
    Unproven,
    address,
    fetch,
    metric_value,
    prove,
    tail,
)
from ansible_collections.landfall.vps.plugins.module_utils.store import Store, make_folders

Answer = TypeVar("Answer")
RELOAD_PATIENCE = 30.0  # seconds
SAME_REFUSAL = 10.0  # seconds
_ONE_AT_A_TIME = threading.Lock()
"""So that nobody takes what came of another's signal for that of his own."""


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


def record_of(desired: planning.Desired, docker: Docker, who: str, proven: bool) -> Dict[str, Any]:
    """What later runs, ``verify`` and an operator need to know of what was applied."""
    containers = {name: {"service": c.service, "image": c.image} for name, c in desired.containers.items()}
    return {
        "name": desired.name,
        "group": planning.group_of(desired.name, {"meta": desired.meta}),
        "digest": desired.digest,
        "files": dict(desired.files),
        **applied(containers, docker),
        "reload_files": list(desired.reload_files),
        "meta": dict(desired.meta),
        "proven": proven,
        "at": time.time(),
        "by": who,
    }


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


def _came(docker: Docker, seen: Mapping[str, Any], container: str, network: str) -> Tuple[float, bool]:
    """When a program took in its files the last time (its own clock), and whether its last try succeeded."""
    url = "http://{0}:{1}{2}".format(address(docker, container, network), seen["port"], seen["path"])
    text = fetch(url)[1]
    at, well = metric_value(text, seen["at"]), metric_value(text, seen["well"])
    if at is None or well is None:
        raise Unproven("{0} tells neither {1} nor {2}".format(url, seen["at"], seen["well"]))
    return at, well == 1


def _once_it_listens(ask: Callable[[], Answer]) -> Answer:
    """What a program says that may have been started a moment ago. Raises Unproven when it says nothing in time."""
    deadline = time.monotonic() + RELOAD_PATIENCE
    while True:
        try:
            return ask()
        except Unproven:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def _signalled(docker: Docker, spec: Mapping[str, Any], container: str, network: str) -> None:
    """Send the signal; where its metrics tell what came of it, wait for that. Raises Unproven with what it said."""
    seen, before = spec.get("success"), (0.0, True)
    if seen:  # the signal would end it before it listens
        before = _once_it_listens(lambda: _came(docker, seen, container, network))
    docker.kill(container, spec["signal"])
    sent = time.monotonic()
    while seen:
        at, well = _came(docker, seen, container, network)
        if at > before[0]:
            return
        waited = time.monotonic() - sent
        # One that refused before says the same when it refuses again
        if (not well and (before[1] or waited > SAME_REFUSAL)) or waited > RELOAD_PATIENCE:
            lines = [line for line in docker.logs(container, 20).splitlines() if "error" in line.lower()]
            raise Unproven("reload of {0} was refused: {1}".format(container, tail("\n".join(lines[-4:]), 1500)))
        time.sleep(0.1)


def reload_component(docker: Docker, meta: Mapping[str, Any], network: str, containers: List[str]) -> None:
    """Make a running program take in its files. Raises Unproven when it refuses, or answers nobody for 30 s."""
    spec = dict(meta.get("reload") or {})
    container = spec.get("service") or containers[0]
    if spec.get("signal"):
        with _ONE_AT_A_TIME:
            _signalled(docker, spec, container, network)
        return
    refused = _once_it_listens(lambda: _ask_to_reload(docker, spec, container, network))
    if refused:
        raise Unproven("reload of {0} was refused: {1}".format(container, refused))


def make_drop_in_folders(root: str, name: str, meta: Mapping[str, Any]) -> None:
    """Make the folders to which other components ship files."""
    for folder in meta.get("drop_ins") or {}:
        make_folders(root, "{0}/{1}/x".format(name, folder), 0)


def tell_receivers(root: str, docker: Docker, network: str, name: str, folders: Iterable[str]) -> None:
    """Let the components that own drop-in ``folders`` take in what component ``name`` changed there. Raises Unproven.

    Each is asked, also when one before it refused.
    """
    known = read_records(root)
    refused: List[str] = []
    for folder in folders:
        receiver, place = folder.split("/", 1)
        record = known.get(receiver)
        if record is None or receiver == name:
            continue
        meta = record["meta"]
        if not ((meta.get("drop_ins") or {}).get(place) or {}).get("reload"):
            continue
        containers = sorted(record["containers"])
        running, asked = docker.containers(), (meta.get("reload") or {}).get("service") or planning.main_of(record)
        if not record["proven"] and running.get(asked, {}).get("state") != "running":
            continue  # placed in this run and not started yet: it will read the files then
        try:
            reload_component(docker, meta, network, containers)
            prove(docker, containers, meta.get("prove") or [], network, meta.get("prove_timeout", 60))
        except (Unproven, DockerError) as error:
            refused.append(str(error))
    if refused:
        raise Unproven("; ".join(refused))


def carry_out(
    store: Store, docker: Docker, network: Mapping[str, Any], record: Mapping[str, Any], work: Mapping[str, Any]
) -> List[str]:
    """Do to containers what was planned: ``work`` is ``{up, force, reload, receivers}``, see ``plan.Plan``.

    ``takes`` says what is taken over from another component (``handover``). Returns what an operator should know.

    Raises CommandFailed, Unproven, DockerError or OSError.
    """
    meta = record["meta"]
    told: List[str] = []
    make_drop_in_folders(store.root, store.name, meta)
    if work.get("up"):
        ownership.provide_network(docker, network)
        ownership.provide_volumes(docker, store.name, meta)
        project = project_of(store, record)
        in_turn = turns.Turns(store, docker, network["name"], record)
        back = bool(work.get("back"))
        switch, why = switching.Switch.of(store, docker, network["name"], record, project, back)
        if switch is not None:
            # Compose makes no container of the project that runs to see what an image puts into a volume
            rollout.own_volumes(docker, switch.project, switch.helper(meta))
        rollout.prepare(docker, project, meta, {**work, "owned": switch is not None}, in_turn)

        def replace() -> None:
            handover.make_room(docker, record["containers"], project.name)
            project.up(force_of(work))

        if switch is None:
            switching.touched(store)
            replace()
        else:
            why = switch.run(replace)
        told += [*in_turn.told, *why]
    if work.get("reload"):
        reload_component(docker, meta, network["name"], sorted(record["containers"]))
    timers.converge(store.root, store.name, meta)
    tell_receivers(store.root, docker, network["name"], store.name, work.get("receivers") or [])
    return told


def prove_record(docker: Docker, network: str, record: Mapping[str, Any], new: bool = False) -> Dict[str, Any]:
    """Prove that a component serves as its record says; returns ``{seconds}``. Raises Unproven or DockerError.

    What is ``new`` may need something that starts with it, and is given the whole time even if it ends until then.
    """
    meta = record["meta"]
    patience = float(meta.get("prove_timeout", 60))
    grace = patience if new else RESTART_PATIENCE
    return prove(docker, sorted(record["containers"]), meta.get("prove") or [], network, patience, restarts=grace)


def commit(store: Store, docker: Docker, record: Mapping[str, Any], work: Mapping[str, Any]) -> List[str]:
    """What was proven is what is known of it from now on; returns what an operator should know."""
    told = switching.conclude(store, docker, record, store.record())
    store.write_record({**record, **applied(record["containers"], docker)})
    handover.conclude(store.root, work.get("takes"))
    return told


def project_of(store: Store, record: Mapping[str, Any]) -> compose.Project:
    """The compose project of a component, with the time that its record grants it."""
    timeout = float(record["meta"].get("apply_timeout", 300))
    return compose.Project(store.folder, timeout, ownership.of_record(store.name, record)[1])


def force_of(work: Mapping[str, Any]) -> Sequence[str]:
    """The services to recreate although their definition is the same; the version before wrote true for all."""
    force = work.get("force") or []
    return ["*"] if force is True else list(force)
