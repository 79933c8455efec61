"""Whose is what has one of our names? Labels, the takeover of stacks that have none yet, and what the engine makes.

A *world* is what ``host.survey`` and ``host.gather`` say of a VPS: its containers, volumes, networks and records,
whether Landfall has been below this root (``been_here``) and with which components (``deployed_before``), and the
roots that it was deployed from (``homes``).

A *stack* is all that one inventory deploys to a VPS. Its name is ``landfall`` with the inventory's prefix in front, and
everything that it makes is labelled with that name. Something without the label is ours only if an earlier version of
Landfall made it, of which there has to be evidence; everything else that has one of our names belongs to somebody else
and is never touched.
"""

from __future__ import annotations

import json
import os
import re
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

from ansible_collections.landfall.vps.plugins.module_utils import compose
from ansible_collections.landfall.vps.plugins.module_utils.docker_api import (
    COMPONENT_LABEL,
    STACK_LABEL,
    Docker,
    bridge_name,
)
from ansible_collections.landfall.vps.plugins.module_utils.host import survey

STACK = "landfall"
DAEMON = "/etc/docker/daemon.json"
ANONYMOUS = re.compile(r"^[0-9a-f]{64}$")
BUILT_IN = ("bridge", "host", "none")
World = Mapping[str, Any]


class Foreign(compose.Refused):
    """Something on the VPS has one of our names and is somebody else's. Nothing was changed."""


def project_name(component: str, prefix: str = "", group: str = "") -> str:
    """The Compose project of a component.

    That of a group's member has an underscore, which no other has: ``app_web`` for ``app-web`` of ``app``.
    """
    if group and component.startswith(group + "-"):
        return "{0}{1}_{2}".format(prefix, group.replace("_", "-"), component[len(group) + 1 :])
    return prefix + component.replace("_", "-")


def of_record(component: str, record: Optional[Mapping[str, Any]]) -> Tuple[str, str]:
    """(stack, Compose project) that a component was deployed as; records of before there were prefixes say neither."""
    meta = (record or {}).get("meta") or {}
    return meta.get("stack") or STACK, meta.get("project") or project_name(component)


# -- whose ----------------------------------------------------------------------------------------------------------


def _compose_project(project: str, folder: str = "") -> str:
    return "the Compose project '{0}'{1}".format(project, " in {0}".format(folder) if folder else "")


def _other_stack(stack: str, home: str = "") -> str:
    return "the Landfall stack '{0}'{1}".format(stack, " in {0}".format(home) if home else "")


def container_owner(world: World, stack: str, name: str) -> str:
    """Who made the container ``name`` of ``world``; empty if this stack did."""
    found = world["containers"][name]
    folder, label = str(found.get("working_dir") or ""), found.get("stack")
    home = os.path.dirname(folder)
    here = home == os.path.normpath(world["root"])
    if label:
        elsewhere = folder and not here and home in (world.get("homes") or [])
        return "" if label == stack and not elsewhere else _other_stack(label, home if folder else "")
    if here and world.get("been_here"):
        return ""
    for record in (world.get("records") or {}).values():
        known = (record.get("containers") or {}).get(name) or {}
        if known.get("config_hash") and known["config_hash"] == found.get("config_hash"):
            return ""
    if found.get("project"):
        return _compose_project(found["project"], folder)
    return "somebody who made it by hand, without Compose"


def _own(world: World, stack: str) -> List[str]:
    return [name for name in world["containers"] if not container_owner(world, stack, name)]


def foreign_users(world: World, stack: str, volume: str) -> List[str]:
    """Containers that are not ours and mount ``volume``."""
    own = set(_own(world, stack))
    return sorted(n for n, c in world["containers"].items() if volume in (c.get("volumes") or []) and n not in own)


def volume_owner(world: World, stack: str, name: str) -> str:
    """Who made the volume ``name`` of ``world``; empty if this stack did.

    Volumes cannot be labelled later and outlive their component, so that those of earlier versions, which knew no
    prefix, go by what Compose wrote on them: the project of a component that Landfall deployed here at some time, and
    the name that our files gave.
    """
    found = world["volumes"][name]
    if found.get("stack"):
        return "" if found["stack"] == stack else _other_stack(found["stack"])
    label = found.get("project")
    users = foreign_users(world, stack, name)
    if users:
        return container_owner(world, stack, users[0])
    projects = {project_name(component) for component in [*(world.get("records") or {}), *world["deployed_before"]]}
    if label in projects and found.get("key") == name:
        return ""
    return _compose_project(label) if label else "somebody who made it by hand, without Compose"


def network_owner(world: World, stack: str, name: str) -> str:
    """Who made the network ``name`` of ``world``; empty if this stack did."""
    found = world["networks"][name]
    if found.get("stack"):
        return "" if found["stack"] == stack else _other_stack(found["stack"])
    if found.get("project"):
        return _compose_project(found["project"])
    # Earlier versions named the device after the network, which nobody does by accident
    return "" if found.get("bridge") in (name[:15], bridge_name(name)) else "somebody who made it by hand"


def all_own(world: World, stack: str) -> bool:
    """Whether nobody else has anything on this VPS, but for the networks that every engine has."""
    return (
        len(_own(world, stack)) == len(world["containers"])
        and not any(volume_owner(world, stack, name) for name in world["volumes"] if not ANONYMOUS.match(name))
        and not any(network_owner(world, stack, name) for name in world["networks"] if name not in BUILT_IN)
    )


def own_containers(world: World, stack: str, project: str, names: Iterable[str]) -> Dict[str, Mapping[str, Any]]:
    """This stack's containers that are called one of ``names`` or belong to ``project``."""
    wanted = set(names)
    return {
        name: found
        for name, found in world["containers"].items()
        if (name in wanted or found.get("project") == project) and not container_owner(world, stack, name)
    }


# -- refused ----------------------------------------------------------------------------------------------------------

REMEDY = "rename it, or set landfall_prefix so that this stack's names differ"


def _taken(what: str, owner: str, more: str = "") -> str:
    return "{0} is there already and belongs to {1}; {2}{3}".format(what, owner, REMEDY, more)


def clashes(
    world: World, stack: str, project: str, containers: Iterable[str], volumes: Iterable[str], network: str = ""
) -> List[str]:
    """What a component wants to make and somebody else has: one sentence each, with whose it is and what to do."""
    foreign = {name: container_owner(world, stack, name) for name in sorted(world["containers"])}
    foreign = {name: owner for name, owner in foreign.items() if owner}
    faults = []
    within = [name for name in foreign if world["containers"][name].get("project") == project]
    if within:
        # Compose would take them for containers of ours: recreate one of them, remove the others
        what = "the Compose project {0} (container{1} {2})".format(
            project, "" if len(within) == 1 else "s", ", ".join(within)
        )
        faults.append(_taken(what, foreign[within[0]]))
    for name in sorted(set(containers) & set(foreign) - set(within)):
        faults.append(_taken("the container {0}".format(name), foreign[name]))
    mounted = {volume for name in _own(world, stack) for volume in world["containers"][name].get("volumes") or []}
    for name in sorted(set(volumes) & set(world["volumes"])):
        owner = volume_owner(world, stack, name)
        if owner and name not in mounted:
            faults.append(
                _taken("the volume {0}".format(name), owner, ", or name it in landfall_external_volumes to use it")
            )
    joined = {joined for name in _own(world, stack) for joined in world["containers"][name].get("networks") or []}
    if network in world["networks"] and network not in joined:
        owner = network_owner(world, stack, network)
        if owner:
            more = ", or set landfall_external_network to true to use it"
            faults.append(_taken("the network {0}".format(network), owner, more))
    return faults


def network_notes(world: World, network: Mapping[str, Any]) -> List[str]:
    """How the network that is there differs from what is wanted: none can be changed while containers stand in it."""
    found = world["networks"].get(network["name"])
    if not found:
        return []
    notes = []
    for option, key in (("landfall_subnet", "subnet"), ("landfall_gateway", "gateway"), ("landfall_mtu", "mtu")):
        wanted = str(network.get(key) or "")
        if wanted and wanted != found.get(key):
            notes.append("{0} is {1}, that of the network is {2}".format(option, wanted, found.get(key) or "unset"))
    if notes:
        form = "network {0}: {1}. It stays as it is, since it cannot be changed in place: {2}"
        do = "stop this stack's containers, remove the network (docker network rm {0}) and deploy again"
        return [form.format(network["name"], ", ".join(notes), do.format(network["name"]))]
    return []


def inspect(
    world: World, claim: Mapping[str, Any], record: Optional[Mapping[str, Any]] = None
) -> Dict[str, Mapping[str, Any]]:
    """The containers of ``world`` that belong to the component that ``claim`` describes.

    ``claim``: ``{stack, project, containers, standbys, volumes, network, present}``; standbys are there for a while and
    not among what is returned. Raises Foreign when the component is to be
    present and somebody else has one of its names.
    """
    if claim["present"]:
        made = [*claim["containers"], *(claim.get("standbys") or [])]
        wanted = (claim["project"], made, claim["volumes"], claim["network"])
        faults = clashes(world, claim["stack"], *wanted)
        if faults:
            raise Foreign("; ".join(faults))
    names = set(claim["containers"]) | set((record or {}).get("containers") or {})
    return own_containers(world, claim["stack"], claim["project"], names)


# -- made and removed -------------------------------------------------------------------------------------------------


def daemon_mtu(path: str = DAEMON) -> int:
    """The MTU of the engine's own bridge if its settings name one, otherwise 0: networks do not inherit it."""
    try:
        with open(path, encoding="utf-8") as handle:
            settings = json.load(handle)
        return 0 if settings.get("default-network-opts") else int(settings.get("mtu") or 0)
    except (OSError, ValueError, TypeError, AttributeError):
        return 0


def provide_network(docker: Docker, network: Mapping[str, Any]) -> None:
    """Make the bridge ``{name, subnet, gateway, mtu, stack}`` unless it is there."""
    if network["name"] in docker.networks():
        return
    labels = {STACK_LABEL: network.get("stack") or STACK}
    mtu = int(network.get("mtu") or 0) or daemon_mtu()
    docker.create_network(network["name"], network.get("subnet", ""), network.get("gateway", ""), mtu, labels)


def missing_volumes(docker: Docker, names: Iterable[str]) -> List[str]:
    """Those of ``names`` that do not exist."""
    wanted = sorted(set(names))
    there = docker.volumes() if wanted else {}
    return [name for name in wanted if name not in there]


def provide_volumes(docker: Docker, component: str, meta: Mapping[str, Any]) -> List[str]:
    """Make the volumes that a component's record names unless they are there; returns those that were made."""
    made = missing_volumes(docker, meta.get("volumes") or [])
    for name in made:
        docker.create_volume(name, {STACK_LABEL: meta.get("stack") or STACK, COMPONENT_LABEL: component})
    return made


def remove_volumes(docker: Docker, names: Iterable[str]) -> List[str]:
    """Delete volumes; returns a sentence about each, since the engine keeps one that is in use."""
    notes = []
    for name in sorted(set(names)):
        kept = docker.remove_volume(name)
        notes.append("volume {0} {1}".format(name, "stays: {0}".format(kept) if kept else "removed"))
    return notes


def _declared(project: compose.Project) -> List[str]:
    """Volumes that a compose file of an earlier version lets Compose make."""
    try:
        volumes = project.config().get("volumes") or {}
    except compose.Refused:
        return []
    return [v.get("name") or key for key, v in volumes.items() if not (v or {}).get("external")]


def purgeable(world: World, component: str, record: Optional[Mapping[str, Any]], declared: Sequence[str]) -> List[str]:
    """Volumes that go with a component: made by this stack, named by it, and by no other component that is deployed.

    ``declared`` are those that an old compose file names. What is somebody else's is never among them.
    """
    stack = of_record(component, record)[0]
    others = {
        volume
        for other, known in (world.get("records") or {}).items()
        if other != component
        for volume in (known.get("meta") or {}).get("volumes") or []
    }
    wanted = {n for n, v in world["volumes"].items() if v.get("stack") == stack and v.get("component") == component}
    wanted |= {*((record or {}).get("meta") or {}).get("volumes", []), *declared}
    there = sorted((wanted - others) & set(world["volumes"]))
    return [name for name in there if not volume_owner(world, stack, name)]


def take_down(
    docker: Docker,
    root: str,
    component: str,
    record: Optional[Mapping[str, Any]],
    purge: bool = False,
    timeout: float = 300,
) -> List[str]:
    """Remove a component's containers, and with ``purge`` its volumes; returns what an operator should know.

    Where somebody else has containers in a project of the same name, Compose is not asked: it would remove those too.
    """
    stack, name = of_record(component, record)
    folder = os.path.join(root, component)
    project = compose.Project(folder, timeout, name)
    deployed = os.path.exists(os.path.join(folder, "compose.yaml"))
    world = survey(root, docker)
    own = own_containers(world, stack, name, (record or {}).get("containers") or {})
    volumes = purgeable(world, component, record, _declared(project) if deployed else []) if purge else []
    volumes += [v for c in own.values() if purge for v in c.get("volumes") or [] if ANONYMOUS.match(v)]
    mixed = [n for n, c in world["containers"].items() if c.get("project") == name and n not in own]
    if deployed and not mixed:
        project.down(purge=False)
        for container in [name for name, found in own.items() if found.get("oneoff")]:
            docker.remove_container(container)
    else:
        for container in own:
            docker.remove_container(container)
    return remove_volumes(docker, volumes)


def undo_first_start(docker: Docker, root: str, component: str, record: Optional[Mapping[str, Any]], run: str) -> str:
    """Remove what a first start that failed left; returns a sentence about it.

    Volumes that ``run`` itself made for it go too, as half-made data keeps the next start from succeeding;
    ``landfall_keep_new_volumes`` keeps them. What existed before stays, also what an earlier run that was killed made.
    """
    take_down(docker, root, component, record)
    start = (record or {}).get("start") or {}
    made: List[str] = start.get("new_volumes") or []
    told = "it was new: its containers and files were removed again"
    if not made or start.get("run") != run:
        return told + ", its volumes kept"
    if start.get("keep_volumes"):
        return "{0}, {1} that it had made kept (landfall_keep_new_volumes)".format(told, _listed(made))
    stuck = [note for note in remove_volumes(docker, made) if not note.endswith(" removed")]
    return (
        "{0}, but {1}".format(told, "; ".join(stuck))
        if stuck
        else "{0}, with {1} that it had made".format(told, _listed(made))
    )


def _listed(names: Sequence[str]) -> str:
    return "the volume{0} {1}".format("" if len(names) == 1 else "s", ", ".join(names))
