"""Whose is what has one of our names? Worlds are written by hand; engine and Compose are faked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.landfall.vps.plugins.module_utils import compose, converge, docker_api, ownership, trip

ROOT = "/opt/landfall"


def container(project: str = "", folder: str = "", stack: str = "", **more: Any) -> dict[str, Any]:
    return {"project": project or None, "working_dir": folder, "stack": stack, "config_hash": "h", **more}


def volume(project: str = "", key: str = "", stack: str = "", component: str = "") -> dict[str, str]:
    return {"project": project, "key": key, "stack": stack, "component": component}


def network(bridge: str = "", stack: str = "", project: str = "", **more: str) -> dict[str, str]:
    return {"subnet": "", "gateway": "", "mtu": "", "bridge": bridge, "stack": stack, "project": project, **more}


def world(**more: Any) -> dict[str, Any]:
    """A VPS on which Landfall has been, with nothing on it but what ``more`` names."""
    empty: dict[str, Any] = {"containers": {}, "volumes": {}, "networks": {}, "records": {}}
    return {"root": ROOT, "been_here": True, "deployed_before": [], "homes": [], **empty, **more}


THEIRS = container("redis", "/srv/shop")
OURS = container("redis", "/opt/landfall/redis", "landfall")
OLD = container("redis", "/opt/landfall/redis")  # as versions without labels made it
BY_HAND = container()
STAGING = container("staging-redis", "/opt/staging-landfall/redis", "staging-landfall")


@pytest.mark.parametrize(
    ("found", "more", "owner"),
    [
        (OURS, {}, ""),
        (OLD, {}, ""),
        (OLD, {"been_here": False}, "the Compose project 'redis' in /opt/landfall/redis"),
        (THEIRS, {}, "the Compose project 'redis' in /srv/shop"),
        # The root was moved and with it the record, which knows what Compose made of the container
        (THEIRS, {"records": {"redis": {"containers": {"redis": {"config_hash": "h"}}}}}, ""),
        (THEIRS, {"records": {"redis": {"containers": {"redis": {"config_hash": "other"}}}}}, "the Compose project"),
        (BY_HAND, {}, "somebody who made it by hand"),
        (STAGING, {}, "the Landfall stack 'staging-landfall' in /opt/staging-landfall"),
        # Two inventories without a prefix, each with a root of its own
        (
            container("redis", "/srv/lf/redis", "landfall"),
            {"homes": ["/srv/lf"]},
            "the Landfall stack 'landfall' in /s",
        ),
        (container("redis", "/srv/lf/redis", "landfall"), {"homes": []}, ""),
    ],
)
def test_a_container_is_ours_by_its_label_or_by_the_traces_of_an_earlier_version(
    found: dict[str, Any], more: dict[str, Any], owner: str
) -> None:
    told = ownership.container_owner(world(containers={"redis": found}, **more), "landfall", "redis")
    assert told.startswith(owner) and bool(told) == bool(owner), told


KEPT = volume("redis", "redis-data")


@pytest.mark.parametrize(
    ("found", "more", "owner"),
    [
        (volume(stack="landfall"), {}, ""),
        (volume(stack="staging-landfall"), {}, "the Landfall stack 'staging-landfall'"),
        (volume(), {}, "somebody who made it by hand"),
        (KEPT, {}, "the Compose project 'redis'"),
        (KEPT, {"records": {"redis": {}}}, ""),
        (KEPT, {"deployed_before": ["redis"]}, ""),  # removed without purge by an earlier version
        (KEPT, {"deployed_before": ["grafana"]}, "the Compose project 'redis'"),
        (volume("redis", "data"), {"records": {"redis": {}}}, "the Compose project 'redis'"),
        (volume("shop", "redis-data"), {"records": {"redis": {}}}, "the Compose project 'shop'"),
        (
            KEPT,
            {"records": {"redis": {}}, "containers": {"r": {**THEIRS, "volumes": ["redis-data"]}}},
            "the Compose project 'redis' in /srv/shop",
        ),
    ],
)
def test_a_volume_is_ours_by_its_label_or_by_what_an_earlier_version_let_compose_write(
    found: dict[str, str], more: dict[str, Any], owner: str
) -> None:
    told = ownership.volume_owner(world(volumes={"redis-data": found}, **more), "landfall", "redis-data")
    assert told.startswith(owner) and bool(told) == bool(owner), told


@pytest.mark.parametrize(
    ("found", "owner"),
    [
        (network(stack="landfall"), ""),
        (network(bridge="landfall"), ""),  # an earlier version's, which wrote no labels
        (network(), "somebody who made it by hand"),
        (network(project="shop"), "the Compose project 'shop'"),
        (network(bridge="landfall", stack="staging-landfall"), "the Landfall stack 'staging-landfall'"),
    ],
)
def test_a_network_is_ours_by_its_label_or_by_its_device(found: dict[str, str], owner: str) -> None:
    told = ownership.network_owner(world(networks={"landfall": found}), "landfall", "landfall")
    assert told.startswith(owner) and bool(told) == bool(owner), told


def redis(**more: Any) -> list[str]:
    return ownership.clashes(world(**more), "landfall", "redis", ["redis"], ["redis-data"], "landfall")


def test_what_somebody_else_has_is_told_once_with_whose_it_is_and_what_to_do() -> None:
    told = redis(
        containers={"redis": THEIRS, "redis-worker": THEIRS},
        volumes={"redis-data": volume()},
        networks={"landfall": network()},
    )
    assert [fault.split(" is there already")[0] for fault in told] == [
        "the Compose project redis (containers redis, redis-worker)",
        "the volume redis-data",
        "the network landfall",
    ]
    assert all("landfall_prefix" in fault for fault in told)
    assert "in /srv/shop" in told[0] and "landfall_external_volumes" in told[1]
    assert "landfall_external_network" in told[2]


def test_a_foreign_container_in_a_project_of_our_name_is_a_clash_although_its_name_is_another() -> None:
    assert "the Compose project redis (container shop-1)" in redis(containers={"shop-1": THEIRS})[0]


def test_a_container_made_by_hand_is_a_clash() -> None:
    assert redis(containers={"redis": BY_HAND})[0].startswith("the container redis is there already and belongs to som")


def test_what_is_ours_or_has_other_names_is_no_clash() -> None:
    assert redis(containers={"redis": OURS, "other": container("shop", "/srv/shop")}, volumes={"x": volume()}) == []
    assert redis(containers={"redis": OLD}, networks={"landfall": network(bridge="landfall")}) == []


def test_what_our_own_containers_use_already_is_no_clash() -> None:
    """An earlier version took what it found; refusing that now would stop stacks that run."""
    running = {**OLD, "volumes": ["redis-data"], "networks": ["landfall"]}
    assert (
        redis(containers={"redis": running}, volumes={"redis-data": volume()}, networks={"landfall": network()}) == []
    )


@pytest.mark.parametrize("present", [True, False])
def test_foreign_containers_are_never_planned_as_ours(present: bool) -> None:
    claim = {"stack": "landfall", "project": "redis", "containers": ["redis"], "volumes": [], "network": "landfall"}
    there = world(containers={"redis": THEIRS})
    if not present:
        assert ownership.inspect(there, {**claim, "present": False}, None) == {}
        return
    with pytest.raises(ownership.Foreign, match="Compose project 'redis' in /srv/shop"):
        ownership.inspect(there, {**claim, "present": True}, None)


def test_an_empty_vps_and_one_that_is_all_ours_are_known_without_rendering() -> None:
    built_in = {name: network() for name in ownership.BUILT_IN}
    assert ownership.all_own(world(networks=built_in), "landfall")
    assert ownership.all_own(world(containers={"redis": OLD}, volumes={"a" * 64: volume()}), "landfall")
    assert not ownership.all_own(world(containers={"redis": THEIRS}), "landfall")
    assert not ownership.all_own(world(volumes={"data": volume()}), "landfall")


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"subnet": "172.30.0.0/24", "gateway": "172.30.0.1", "mtu": "1450"}, ""),
        ({"subnet": "10.0.0.0/24", "gateway": "172.30.0.1", "mtu": "1450"}, "landfall_subnet is 172.30.0.0/24"),
        (
            {"subnet": "172.30.0.0/24", "gateway": "172.30.0.1", "mtu": ""},
            "landfall_mtu is 1450, that of the network is u",
        ),
    ],
)
def test_a_network_that_differs_is_told_with_what_to_do(found: dict[str, str], said: str) -> None:
    wanted = {"name": "landfall", "subnet": "172.30.0.0/24", "gateway": "172.30.0.1", "mtu": 1450}
    notes = ownership.network_notes(world(networks={"landfall": network(**found)}), wanted)
    assert bool(notes) == bool(said)
    assert not said or (said in notes[0] and "docker network rm landfall" in notes[0])


# -- made and removed ---------------------------------------------------------------------------------------------


class Engine:
    """As much of the Docker client as making and removing asks for."""

    def __init__(self, there: dict[str, Any]) -> None:
        self.there = there
        self.told: list[Any] = []
        self.busy: set[str] = set()

    def containers(self) -> Any:
        return self.there["containers"]

    def volumes(self) -> Any:
        return self.there["volumes"]

    def networks(self) -> Any:
        return self.there["networks"]

    def create_volume(self, name: str, labels: dict[str, str]) -> None:
        self.told.append(("make", name, labels))

    def create_network(self, *options: Any) -> None:
        self.told.append(options)

    def remove_volume(self, name: str) -> str:
        self.told.append(("delete", name))
        return "volume is in use" if name in self.busy else ""

    def remove_container(self, name: str) -> None:
        self.told.append(("remove", name))


@pytest.fixture
def downs(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The projects that Compose was asked to take down."""
    asked: list[Any] = []

    def down(project: compose.Project, purge: bool) -> None:
        asked.append((project._base[project._base.index("--project-name") + 1], purge))

    monkeypatch.setattr(compose.Project, "down", down)
    monkeypatch.setattr(compose.Project, "config", lambda _self: {"volumes": {"redis-data": {"name": "redis-data"}}})
    return asked


def deployed(tmp_path: Path, **meta: Any) -> dict[str, Any]:
    """Leave what a deployed redis leaves, and return its record."""
    (tmp_path / ".state").mkdir(exist_ok=True)
    (tmp_path / "redis").mkdir()
    (tmp_path / "redis" / "compose.yaml").write_text("services: {}\n")
    containers = {"redis": {"service": "redis", "image": "redis:8"}}
    record = {"name": "redis", "files": {}, "containers": containers, "meta": meta, "proven": True}
    (tmp_path / ".state" / "redis.json").write_text(json.dumps(record))
    return record


def test_compose_takes_down_what_is_ours_alone(tmp_path: Path, downs: list[Any]) -> None:
    record = deployed(tmp_path)
    engine = Engine(world(containers={"redis": container("redis", str(tmp_path / "redis"))}))
    assert ownership.take_down(engine, str(tmp_path), "redis", record) == []  # type: ignore[arg-type]
    assert downs == [("redis", False)] and engine.told == []


def test_foreign_containers_in_a_project_of_our_name_survive_its_removal(tmp_path: Path, downs: list[Any]) -> None:
    record = deployed(tmp_path)
    ours = container("redis", str(tmp_path / "redis"), "landfall")
    engine = Engine(world(containers={"redis": ours, "shop-1": THEIRS}))
    ownership.take_down(engine, str(tmp_path), "redis", record)  # type: ignore[arg-type]
    assert downs == [] and engine.told == [("remove", "redis")]


def test_purge_deletes_what_the_stack_made_and_nothing_else(tmp_path: Path, downs: list[Any]) -> None:
    record = deployed(tmp_path, stack="landfall", project="redis", volumes=["redis-data", "app-data", "uploads"])
    app = {"name": "app", "files": {}, "containers": {}, "meta": {"volumes": ["app-data"]}, "proven": True}
    (tmp_path / ".state" / "app.json").write_text(json.dumps(app))
    labelled = volume(stack="landfall", component="redis")
    engine = Engine(world(volumes={
        "redis-data": labelled, "old-data": labelled, "app-data": volume(stack="landfall", component="app"),
        "uploads": volume(), "redis_data": volume("redis", "data"), "staging-data": volume(stack="staging-landfall"),
    }))  # fmt: skip
    engine.busy = {"old-data"}
    notes = ownership.take_down(engine, str(tmp_path), "redis", record, purge=True)  # type: ignore[arg-type]
    assert engine.told == [("delete", "old-data"), ("delete", "redis-data")]
    assert notes == ["volume old-data stays: volume is in use", "volume redis-data removed"]


def test_purge_of_an_earlier_version_s_component_deletes_what_its_own_file_names(
    tmp_path: Path, downs: list[Any]
) -> None:
    record = deployed(tmp_path)
    engine = Engine(world(volumes={"redis-data": KEPT, "redis_data": volume("redis", "data")}))
    ownership.take_down(engine, str(tmp_path), "redis", record, purge=True)  # type: ignore[arg-type]
    assert engine.told == [("delete", "redis-data")] and downs == [("redis", False)]


def start(**more: Any) -> dict[str, Any]:
    """The start of a record whose first start made a volume."""
    return {"run": "this", "new_volumes": ["redis-data"], "keep_volumes": False, **more}


@pytest.mark.parametrize(
    ("begun", "told", "deleted"),
    [
        (start(), "with the volume redis-data that it had made", True),
        (start(keep_volumes=True), "the volume redis-data that it had made kept (landfall_keep_new_volumes)", False),
        (start(run="an earlier one"), "its volumes kept", False),
        (start(new_volumes=[]), "its volumes kept", False),
        ({}, "its volumes kept", False),
    ],
)
def test_a_failed_first_start_takes_the_volumes_with_it_that_it_made(
    tmp_path: Path, downs: list[Any], begun: dict[str, Any], told: str, deleted: bool
) -> None:
    record = {**deployed(tmp_path), "start": begun}
    engine = Engine(world())
    said = ownership.undo_first_start(engine, str(tmp_path), "redis", record, "this")  # type: ignore[arg-type]
    assert told in said and engine.told == ([("delete", "redis-data")] if deleted else [])


def test_volumes_are_made_with_labels_and_those_that_are_there_are_left() -> None:
    engine = Engine(world(volumes={"a": volume()}))
    meta = {"stack": "staging-landfall", "volumes": ["a", "b"]}
    assert ownership.provide_volumes(engine, "redis", meta) == ["b"]  # type: ignore[arg-type]
    labels = {"org.landfall.stack": "staging-landfall", "org.landfall.component": "redis"}
    assert engine.told == [("make", "b", labels)]


@pytest.mark.parametrize(
    ("settings", "asked", "mtu"),
    [("{}", 0, 0), ('{"mtu": 1450}', 0, 1450), ('{"mtu": 1450}', 1400, 1400), ("{", 0, 0), ("[]", 0, 0),
     ('{"mtu": 1450, "default-network-opts": {"bridge": {}}}', 0, 0)],
)  # fmt: skip
def test_the_network_is_made_with_label_gateway_and_the_engine_s_mtu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: str, asked: int, mtu: int
) -> None:
    (tmp_path / "daemon.json").write_text(settings)
    known = ownership.daemon_mtu
    monkeypatch.setattr(ownership, "daemon_mtu", lambda: known(str(tmp_path / "daemon.json")))
    engine = Engine(world())
    wanted = {"name": "n", "subnet": "10.0.0.0/24", "gateway": "10.0.0.9", "mtu": asked, "stack": "s"}
    ownership.provide_network(engine, wanted)  # type: ignore[arg-type]
    assert engine.told == [("n", "10.0.0.0/24", "10.0.0.9", mtu, {"org.landfall.stack": "s"})]


def test_long_names_of_networks_have_devices_that_do_not_meet() -> None:
    one, two = (docker_api.bridge_name(f"customer-of-mine-{number}-landfall") for number in (1, 2))
    assert one != two and len(one) <= 15 and docker_api.bridge_name("landfall") == "landfall"


def test_the_engine_is_asked_for_the_mtu_as_docker_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []
    monkeypatch.setattr(docker_api.Docker, "json", lambda _self, *call: sent.append(call))
    docker_api.Docker().create_network("landfall", "10.0.0.0/24", "10.0.0.1", 1450, {"a": "b"})
    body = sent[0][2]
    assert body["Options"]["com.docker.network.driver.mtu"] == "1450" and body["Labels"] == {"a": "b"}
    assert body["IPAM"]["Config"] == [{"Subnet": "10.0.0.0/24", "Gateway": "10.0.0.1"}]


def test_the_project_is_named_to_compose_whatever_the_environment_says(tmp_path: Path) -> None:
    for folder, name, wanted in (("redis_exporter", "", "redis-exporter"), ("redis", "staging-redis", "staging-redis")):
        base = compose.Project(str(tmp_path / folder), 60, name)._base
        assert base[base.index("--project-name") + 1] == wanted


@pytest.mark.parametrize("check_mode", [True, False])
@pytest.mark.parametrize("present", [True, False])
def test_a_trip_to_a_component_of_somebody_else_s_name_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, downs: list[Any], check_mode: bool, present: bool
) -> None:
    """The controller planned before the other one came; the VPS looks again."""
    root = tmp_path / "landfall"
    root.mkdir()
    engine: Any = Engine(world(root=str(root), containers={"redis": THEIRS}))
    engine.path, engine.images = str(tmp_path), dict
    monkeypatch.setattr(converge, "Docker", lambda: engine)
    claim = {"stack": "landfall", "project": "redis", "containers": ["redis"], "volumes": [], "network": "landfall"}
    container = {"redis": {"service": "redis", "image": "x:1"}} if present else {}
    desired = {
        "name": "redis",
        "present": present,
        "files": {},
        "containers": container,
        "reload_files": [],
        "meta": {},
    }
    request = {
        "root": str(root), "network": {"name": "landfall"}, "claim": {**claim, "present": present}, "desired": desired,
        "run": "r", "who": "me", "contents": {},
    }  # fmt: skip
    answer = trip.component(request, check_mode, False)
    assert not answer["changed"] and downs == [] and engine.told == []
    assert bool(answer.get("failed")) == present
    assert not present or "belongs to the Compose project 'redis' in /srv/shop" in answer["msg"]
    assert not list(root.glob("redis*")) and not list(root.glob(".state/redis*"))
