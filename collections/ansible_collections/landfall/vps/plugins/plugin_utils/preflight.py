"""What on a VPS keeps this stack from running there, found before anything changes. Pure: values in, sentences out.

*Faults* end the run, *notes* are told. Each says what was found, with its figures, and what to do.
"""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from ansible_collections.landfall.vps.plugins.module_utils import registry
from ansible_collections.landfall.vps.plugins.module_utils.plan import stored_as
from ansible_collections.landfall.vps.plugins.plugin_utils.neighbours import (
    firewall_notes,
    network_faults,
    port_faults,
    range_faults,
    visitor_notes,
)
from ansible_collections.landfall.vps.plugins.plugin_utils.wanted import Wanted

State = Mapping[str, Any]
CROWDED = 4  # limits bound a fault; together they are about three times of what the profiles' VPS have
PROFILES = {"small": 1, "standard": 2, "full": 4}  # GB of the VPS that each profile is for, docs/profiles.md
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "armv6l": "arm", "i686": "386"}


NETWORK_SETTINGS = ("registry-mirrors", "insecure-registries", "proxies")


def refused_images(
    unknown: Mapping[str, str], variables: Mapping[str, str], state: State, settings: Mapping[str, Any]
) -> Dict[str, str]:
    """Image to fault, of those that a registry will not give: ``unknown`` is what the engine said of each.

    A limit may be over when it is pulled. Where the engine is about to get other settings of its network, only what a
    registry itself said counts.
    """
    there = state["engine"]["setup"].get("daemon") or {}
    wanted = settings.get("engine_options") or {}
    pending = any(name in wanted and wanted[name] != there.get(name) for name in NETWORK_SETTINGS)
    final = (registry.DENIED, registry.ABSENT, *(() if pending else (registry.UNREACHABLE,)))
    form = "{0}: {1} cannot be pulled: {2}. The registry said: {3}"
    return {
        image: form.format(variables.get(image, "images"), image, registry.advice(image, said), said)
        for image, said in sorted(unknown.items())
        if registry.cause(said) in final
    }


# -- engine ---------------------------------------------------------------------------------------------------------


def _setting(name: str, state: State, settings: Mapping[str, Any]) -> Any:
    """A setting of the engine as it will be: the inventory's options, else what is there, else the role's own."""
    there = state["engine"]["setup"].get("daemon") or {}
    for values in (settings.get("engine_options") or {}, there, settings.get("engine_defaults") or {}):
        if name in values:
            return values[name]
    return None


def engine_faults(state: State, settings: Mapping[str, Any]) -> List[str]:
    """Kinds of engines that containers of this stack cannot run in."""
    engine, faults = state["engine"], []
    setup = engine["setup"]
    security = setup.get("security") or []
    daemon = setup.get("daemon") or {}
    root = str(setup.get("data_root") or "")
    if root.startswith("/var/snap/") or (setup.get("snap") and not engine["installed"]):
        faults.append(
            "engine: Docker is installed as a snap, which cannot read {0} and is updated on its own; move its data, "
            "'snap remove docker', and let the role docker install the distribution's".format(state["root"])
        )
    if setup.get("podman"):
        faults.append(
            "engine: Podman answers at /run/docker.sock; remove podman-docker, Landfall needs a Docker Engine there"
        )
    if "rootless" in security or (setup.get("rootless") and not engine["running"]):
        faults.append(
            "engine: a rootless engine runs here ({0}), which cannot see the host, keep owners of secrets or publish "
            "ports below 1024; start the system's own (systemctl enable --now docker), or install it beside that "
            "one".format(", ".join(setup.get("rootless") or []) or "at /run/docker.sock")
        )
    if "userns" in security or _setting("userns-remap", state, settings):
        named = "docker_daemon_options" if "userns-remap" in (settings.get("engine_options") or {}) else ""
        faults.append(
            "engine: userns-remap is set{0}, with which containers may not share the host's network or process list "
            "and cannot read secrets of their own user; take it out of {1}".format(
                " by the inventory" if named else "", named or "/etc/docker/daemon.json and restart the engine"
            )
        )
    if setup.get("swarm", "inactive") not in ("inactive", "") and _setting("live-restore", state, settings):
        faults.append(
            "engine: this VPS is part of a Swarm ({0}), where the engine does not start with live-restore; set "
            "docker_live_restore: false, or leave the Swarm: docker swarm leave".format(setup["swarm"])
        )
    if daemon.get("error"):
        faults.append("engine: /etc/docker/daemon.json is no JSON: {0}; put it right".format(daemon["error"]))
    if _setting("iptables", state, settings) is False:
        faults.append(
            "engine: iptables is false, so that containers reach nothing outside; take it out of "
            "/etc/docker/daemon.json or docker_daemon_options"
        )
    if setup and not setup.get("cpu_limits", True):
        faults.append(
            "engine: the kernel has no CPU limits (CFS quota), which every container of this stack has; use a VPS with "
            "a kernel of its own"
        )
    context = (setup.get("client") or {}).get("context")
    if context not in (None, "", "default"):
        faults.append(
            "engine: docker commands of root go to the context '{0}' (currentContext in its config.json), not to this "
            "VPS' own engine: docker context use default".format(context)
        )
    return faults


def engine_notes(state: State, settings: Mapping[str, Any]) -> List[str]:
    """What is peculiar about the engine and is used as it is."""
    setup, notes = state["engine"]["setup"], []
    daemon, client = setup.get("daemon") or {}, setup.get("client") or {}
    proxies = setup.get("proxies") or {}
    if proxies:
        notes.append("engine: it pulls images through the proxy {0}".format(", ".join(sorted(set(proxies.values())))))
    if client.get("proxies"):
        notes.append(
            "engine: every container gets the proxy of root's .docker/config.json as environment ({0}); name the "
            "containers in noProxy there, or programs ask the proxy for each other".format(
                ", ".join(
                    "{0} {1}".format(key, url) for key, url in sorted(client["proxies"].items()) if key != "noProxy"
                )
            )
        )
    bound = _setting("ip", state, settings)
    if bound and bound not in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        notes.append(
            "engine: ports published without an address are bound to {0} alone (ip in its settings)".format(bound)
        )
    if "selinux" in (setup.get("security") or []) or daemon.get("selinux-enabled"):
        notes.append("engine: SELinux is on for containers; files below {0} are not labelled".format(state["root"]))
    if setup and not setup.get("memory_limits", True):
        notes.append(
            "engine: the kernel has no memory limits, and one container can take all; boot with cgroup_enable=memory"
        )
    if setup.get("swarm", "inactive") not in ("inactive", ""):
        notes.append("engine: this VPS is part of a Swarm ({0}); the stack runs beside it".format(setup["swarm"]))
    return notes


# -- what it can hold -------------------------------------------------------------------------------------------------


def _gigabytes(amount: float) -> str:
    return "{0:.1f} GB".format(amount / 1e9)


def missing_images(state: State, wanted: Wanted) -> List[str]:
    """Images that are not on the VPS. One that is built there has a tag of its context, which any tag stands for."""
    there = {*state["images"], *(tag.rpartition(":")[0] for tag in state["images"])}
    return [
        image
        for image in wanted.images
        if stored_as(image) not in (there if image in wanted.built else state["images"])
    ]


def disk_faults(state: State, wanted: Wanted, image_bytes: int, reserve_bytes: int) -> List[str]:
    """File systems with less space than missing images and the reserve need, or that cannot be written to."""
    missing = missing_images(state, wanted)
    faults = []
    for disk in state["host"]["disks"]:
        if disk["read_only"]:
            faults.append("disk: {0} is mounted read-only; mount it for writing".format(disk["path"]))
            continue
        if not missing:
            continue  # a full disk is no reason not to repair what runs; verify and alerts tell it
        images = len(missing) if "images" in disk["holds"] else 0
        # Files of components alone are a few megabytes
        need = images * image_bytes + (reserve_bytes if images or "data" in disk["holds"] else reserve_bytes // 10)
        if disk["free"] < need:
            faults.append(
                "disk: {0} has {1} free; {2}the reserve need {3}. Free some space there, or lower landfall_image_size "
                "({4}) or landfall_disk_reserve ({5})".format(
                    disk["path"],
                    _gigabytes(disk["free"]),
                    "{0} missing image{1} and ".format(images, "" if images == 1 else "s") if images else "",
                    _gigabytes(need),
                    _gigabytes(image_bytes),
                    _gigabytes(reserve_bytes),
                )
            )
    return faults


def cpu_faults(state: State, wanted: Wanted) -> List[str]:
    """CPU limits above what the VPS has: the engine refuses to start such a container."""
    cores = int(state["engine"]["setup"].get("cpus") or state["host"]["cpus"] or 0)
    return [
        "{0}: {1:g} CPUs are more than this VPS has ({2}), and the engine starts no such container; set {2} or "
        "less".format(variable, amount, cores)
        for variable, amount in sorted(wanted.cpus.items())
        if cores and amount > cores
    ]


def memory_notes(state: State, wanted: Wanted, profile: str) -> List[str]:
    """Limits of all containers that are out of proportion to the memory of the VPS, with the profile that would fit."""
    have, together = int(state["host"]["memory_bytes"]), sum(wanted.memory.values())
    if not have or not together:
        return []
    notes = []
    if together > CROWDED * have:
        # A VPS of 2 GB says that it has 1.9 to 2.05e9 bytes
        fitting = [name for name, need in PROFILES.items() if need * 0.9e9 <= have]
        smaller = fitting[-1] if fitting else min(PROFILES, key=PROFILES.__getitem__)
        remedy = (
            "set landfall_profile: {0} (now {1}, for {2} GB and more)".format(smaller, profile, PROFILES[profile])
            if PROFILES.get(profile, 0) > PROFILES[smaller]
            else "switch components off, lower their limits, or take a larger VPS"
        )
        notes.append(
            "memory: this VPS has {0}, the limits of all containers add up to {1}; {2}".format(
                _gigabytes(have), _gigabytes(together), remedy
            )
        )
    notes += [
        "{0}: {1} are more than the memory of this VPS ({2}), so that it bounds nothing".format(
            variable, _gigabytes(amount), _gigabytes(have)
        )
        for variable, amount in sorted(wanted.memory.items())
        if amount > have
    ]
    return notes


def architecture_faults(state: State, wanted: Wanted, remote: Mapping[str, Sequence[str]]) -> List[str]:
    """Images that are built for other machines; ``remote`` has the platforms that registries told of missing ones."""
    setup = state["engine"]["setup"]
    machine = str(setup.get("architecture") or state["host"]["architecture"])
    own = ARCHITECTURES.get(machine, machine)
    faults = []
    for image, variable in sorted(wanted.images.items()):
        present = (state["images"].get(stored_as(image)) or {}).get("architecture")
        others = [present] if present else list(remote.get(image) or [])
        if others and own not in {other.split("/")[0] for other in others}:
            faults.append(
                "{0}: {1} is built for {2}, this VPS is {3}; name an image that has {3}".format(
                    variable, image, ", ".join(sorted(set(others))), own
                )
            )
    return faults


def sysctl_notes(state: State, wanted: Wanted) -> List[str]:
    """Kernel settings of the VPS that differ from what a component wants."""
    found = state["host"]["sysctls"]
    return [
        "{0}: the kernel's {1} is {2}, wanted is {3}; set it: echo '{1} = {3}' >/etc/sysctl.d/90-{4}.conf && sysctl "
        "--system".format(variable, name, found[name], value, variable.split("_host_sysctls", 1)[0].replace("_", "-"))
        for variable, asked in sorted(wanted.sysctls.items())
        for name, value in sorted(asked.items())
        if name in found and found[name].split() != value.split()
    ]


def look(
    state: State,
    wanted: Wanted,
    settings: Mapping[str, Any],
    image_bytes: int = 0,
    reserve_bytes: int = 0,
    platforms: Optional[Mapping[str, Sequence[str]]] = None,
) -> Tuple[List[str], List[str]]:
    """(faults, notes) of a VPS for this inventory.

    ``settings``: ``{network, subnet, gateway, stack, profile, engine_options, engine_defaults}`` of the
    inventory.
    """
    networks, network_notes = network_faults(state, settings)
    faults = [
        *engine_faults(state, settings),
        *port_faults(state, wanted, settings),
        *networks,
        *range_faults(state, wanted, settings),
        *disk_faults(state, wanted, image_bytes, reserve_bytes),
        *cpu_faults(state, wanted),
        *architecture_faults(state, wanted, platforms or {}),
    ]
    notes = [
        *engine_notes(state, settings),
        *network_notes,
        *firewall_notes(state, wanted, settings),
        *visitor_notes(state, wanted),
        *memory_notes(state, wanted, str(settings.get("profile") or "")),
        *sysctl_notes(state, wanted),
    ]
    return faults, notes
