"""Engines that cannot run the stack, and what a VPS has no room for: each with cause and remedy."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.landfall.vps.plugins.plugin_utils import neighbours, preflight
from ansible_collections.landfall.vps.plugins.plugin_utils.wanted import Port, Wanted

from tests.engine.lived_in import OWN, SETTINGS, WEB, listener, state

# -- engine -----------------------------------------------------------------------------------------------------------


def engine(settings: dict[str, Any] | None = None, **parts: Any) -> str:
    return "\n".join(preflight.engine_faults(state(**parts), {**SETTINGS, **(settings or {})}))


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"engine__setup": {"data_root": "/var/snap/docker/common/var-lib-docker"}}, ["snap", "snap remove docker"]),
        ({"engine__setup": {"snap": True}, "engine__installed": False}, ["snap"]),
        ({"engine__setup": {"podman": True}}, ["Podman", "podman-docker"]),
        ({"engine__setup": {"security": ["rootless"]}}, ["rootless"]),
        (
            {"engine__setup": {"rootless": ["/run/user/1000/docker.sock"]}, "engine__running": False},
            ["user/1000", "--now"],
        ),
        ({"engine__setup": {"security": ["userns"]}}, ["userns-remap", "/etc/docker/daemon.json"]),
        ({"engine__setup": {"daemon": {"userns-remap": "default"}}, "engine__running": False}, ["userns-remap"]),
        ({"engine__setup": {"daemon": {"error": "line 3"}}}, ["daemon.json is no JSON: line 3"]),
        ({"engine__setup": {"daemon": {"iptables": False}}}, ["iptables is false"]),
        ({"engine__setup": {"cpu_limits": False}}, ["CPU limits"]),
        ({"engine__setup": {"client": {"context": "remote"}}}, ["context 'remote'", "docker context use default"]),
    ],
)
def test_engines_that_cannot_run_the_stack_are_refused_by_name(parts: dict[str, Any], words: list[str]) -> None:
    found = engine(**parts)
    assert all(word in found for word in words), found
    assert found.count("\n") == 0, "one fault for one cause"


def test_what_the_inventory_would_make_of_the_engine_is_refused_too() -> None:
    found = engine({"engine_options": {"userns-remap": "default"}})
    assert "by the inventory" in found and "docker_daemon_options" in found
    assert "iptables" in engine({"engine_options": {"iptables": False}})


def test_a_swarm_is_used_unless_the_engine_would_not_start_in_it() -> None:
    swarm = {"swarm": "active", "daemon": {}}
    assert "docker_live_restore: false" in engine({"engine_defaults": {"live-restore": True}}, engine__setup=swarm)
    assert engine({"engine_defaults": {"live-restore": False}}, engine__setup=swarm) == ""
    kept = {"swarm": "active", "daemon": {"live-restore": False}}
    assert engine({"engine_defaults": {"live-restore": True}}, engine__setup=kept) == ""
    asked = {"engine_options": {"live-restore": True}}
    assert "live-restore" in engine(asked, engine__setup=kept)
    notes = preflight.engine_notes(state(engine__setup=kept), SETTINGS)
    assert len(notes) == 1 and "Swarm" in notes[0]


def test_an_engine_that_is_only_peculiar_is_used() -> None:
    setup = {
        "data_root": "/mnt/docker",
        "log_driver": "journald",
        "rootless": ["/run/user/1000/docker.sock"],
        "security": ["apparmor", "seccomp", "cgroupns"],
        "client": {"context": "default", "proxies": {}},
        "swarm": "inactive",
    }
    assert engine(engine__setup=setup) == ""
    assert preflight.engine_notes(state(engine__setup=setup), SETTINGS) == []


def test_proxies_are_told() -> None:
    client = {"proxies": {"httpProxy": "http://p:1", "noProxy": "x"}, "context": ""}
    setup = {"proxies": {"HttpProxy": "http://p:3128", "HttpsProxy": "http://p:3128"}, "client": client}
    notes = preflight.engine_notes(state(engine__setup=setup), SETTINGS)
    assert len(notes) == 2
    assert notes[0].endswith("through the proxy http://p:3128")
    assert "httpProxy http://p:1" in notes[1] and "noProxy" in notes[1]


# -- what it can hold -----------------------------------------------------------------------------------------------


def disk(path: str, free: float, *holds: str, read_only: bool = False) -> dict[str, Any]:
    return {"path": path, "holds": list(holds), "free": int(free), "read_only": read_only}


IMAGES = Wanted(images={"redis:8": "redis_image", "grafana/loki:3": "loki_image"})


def disks(wanted: Wanted, *found: dict[str, Any], **parts: Any) -> str:
    return "\n".join(preflight.disk_faults(state(host__disks=list(found), **parts), wanted, 400_000_000, 10**9))


def test_disk_space_is_asked_where_images_go() -> None:
    images, files = disk("/mnt/docker", 1.5e9, "data", "images"), disk("/opt/landfall", 2e8, "files")
    found = disks(IMAGES, images, files)
    assert "/mnt/docker has 1.5 GB free; 2 missing images and the reserve need 1.8 GB" in found
    assert "/opt/landfall" not in found, "files of components need no room for images"
    assert disks(IMAGES, images, files, images={"redis:8": {}, "grafana/loki:3": {}}) == ""
    assert "1 missing image and" in disks(IMAGES, disk("/x", 1e9, "images"), images={"redis:8": {}})


def test_a_read_only_file_system_is_refused_whatever_is_missing() -> None:
    assert "/opt/landfall is mounted read-only" in disks(Wanted(), disk("/opt/landfall", 1e12, "files", read_only=True))


def test_an_image_that_is_built_is_there_under_any_tag() -> None:
    built = Wanted(images={"landfall/shop": "app_services[0].build"}, built=("landfall/shop",))
    assert preflight.missing_images(state(images={"landfall/shop:0123": {}}), built) == []
    assert preflight.missing_images(state(images={"landfall/shopping:0123": {}}), built) == ["landfall/shop"]


def test_an_image_named_by_its_digest_is_there_under_that() -> None:
    digest = "@sha256:" + "a" * 64
    wanted = Wanted(images={"redis:8" + digest: "redis_image"})
    there = state(images={"redis" + digest: {"architecture": "arm64"}})
    assert preflight.missing_images(there, wanted) == []
    assert "is built for arm64" in preflight.architecture_faults(there, wanted, {})[0]
    assert preflight.missing_images(state(images={"redis:8": {}}), wanted) == ["redis:8" + digest]


def test_more_cpus_than_there_are_are_refused() -> None:
    wanted = Wanted(cpus={"app_cpus": 4.0, "redis_cpus": 2.0})
    (found,) = preflight.cpu_faults(state(), wanted)
    assert found.startswith("app_cpus: 4 CPUs are more than this VPS has (2)")


GB = 10**9


@pytest.mark.parametrize(
    ("have", "together", "profile", "words"),
    [
        (1.0, 6.0, "standard", ["1.0 GB", "6.0 GB", "landfall_profile: small (now standard, for 2 GB and more)"]),
        (2.0, 10.2, "full", ["landfall_profile: standard (now full, for 4 GB"]),
        (1.0, 10.2, "full", ["landfall_profile: small"]),
        (0.5, 2.8, "small", ["larger VPS"]),
        (4.1, 20.0, "full", ["lower their limits"]),
        (2.05, 6.0, "standard", []),
        (1.0, 2.8, "small", []),
        (4.0, 10.2, "full", []),
    ],
)
def test_a_small_vps_is_told_which_profile_fits(have: float, together: float, profile: str, words: list[str]) -> None:
    wanted = Wanted(memory={f"part_{n}": int(together * GB / 20) for n in range(20)})
    found = "\n".join(preflight.memory_notes(state(host__memory_bytes=int(have * GB)), wanted, profile))
    assert all(word in found for word in words), found
    assert bool(found) is bool(words)


def test_a_limit_above_the_memory_bounds_nothing() -> None:
    (found,) = preflight.memory_notes(state(), Wanted(memory={"app_memory": 3 * GB}), "standard")
    assert found.startswith("app_memory: 3.0 GB are more than the memory of this VPS (2.0 GB)")


@pytest.mark.parametrize(
    ("machine", "present", "told", "refused"),
    [
        ("aarch64", "amd64", None, True),
        ("aarch64", "arm64", None, False),
        ("x86_64", None, ["arm64"], True),
        ("x86_64", None, ["amd64", "arm64"], False),
        ("x86_64", None, None, False),
        ("armv7l", None, ["arm", "arm64"], False),
        ("riscv64", "riscv64", None, False),
    ],
)
def test_images_for_other_machines_are_refused(
    machine: str, present: str | None, told: list[str] | None, refused: bool
) -> None:
    wanted = Wanted(images={"x:1": "x_image"})
    found = state(engine__setup={"architecture": machine}, images={"x:1": {"architecture": present}} if present else {})
    faults = preflight.architecture_faults(found, wanted, {"x:1": told} if told else {})
    assert bool(faults) is refused
    assert not refused or faults[0].startswith("x_image: x:1 is built for ")


def test_kernel_settings_that_a_component_wants_are_told() -> None:
    wanted = Wanted(sysctls={"redis_host_sysctls": {"vm.overcommit_memory": "1", "vm.unheard_of": "1"}})
    assert preflight.sysctl_notes(state(), wanted) == []
    (found,) = preflight.sysctl_notes(state(host__sysctls={"vm.overcommit_memory": "0"}), wanted)
    assert "vm.overcommit_memory is 0, wanted is 1" in found and "/etc/sysctl.d/90-redis.conf" in found


def test_all_faults_come_at_once() -> None:
    found = state(
        network__listeners=[listener(80)],
        network__routes=[{"range": "172.30.0.0/16", "interface": "eth1"}],
        engine__setup={"security": ["userns"], "cpus": 2},
        host__disks=[disk("/", 0, "data", "images", "files")],
    )
    wanted = Wanted(ports=WEB.ports, images=IMAGES.images, cpus={"app_cpus": 8.0})
    faults, _notes = preflight.look(found, wanted, SETTINGS, 1, 1)
    assert [fault.split(":")[0] for fault in faults] == [
        "engine", "caddy_publish[0]", "landfall_subnet", "disk", "app_cpus"]  # fmt: skip


def test_visitors_by_ipv6_who_share_an_address_are_told() -> None:
    six = state(network__ipv6=["2a01:4f8::1 on eth0"])
    (note,) = neighbours.visitor_notes(six, WEB)
    assert "2a01:4f8::1 on eth0" in note and "port 80, 443 (caddy_publish)" in note and "0.0.0.0:80:80" in note
    assert note in preflight.look(six, WEB, SETTINGS, 400_000_000, 10**9)[1]
    four = Wanted(ports=(Port("caddy_publish[0]", "0.0.0.0", 80, "tcp"),))  # noqa: S104
    assert neighbours.visitor_notes(six, four) == neighbours.visitor_notes(six, OWN) == []
    assert neighbours.visitor_notes(state(network__ipv6=[]), WEB) == neighbours.visitor_notes(state(), WEB) == []
