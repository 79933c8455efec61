"""Owners of volumes, the release command, replicas in turn: what comes before a component is brought up as a whole."""

from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any, Dict, List, Mapping, Tuple

import pytest
from ansible_collections.landfall.vps.plugins.module_utils import rollout, trip
from ansible_collections.landfall.vps.plugins.module_utils.compose import CommandFailed, Project
from ansible_collections.landfall.vps.plugins.module_utils.docker_api import DockerError
from ansible_collections.landfall.vps.plugins.module_utils.plan import Container

from tests.engine.test_transaction import compose_file
from tests.engine.world import World, install, request


class Engine:
    """Answers for one volume, one image and one container."""

    def __init__(self, place: Path, user: str = "", passwd: str = "") -> None:
        self.place, self.user, self.passwd = place, user, passwd
        self.states: Dict[str, str] = {}

    def call(self, _method: str, path: str) -> Tuple[int, bytes]:
        if path.startswith("/volumes/"):
            return 200, json.dumps({"Mountpoint": str(self.place)}).encode()
        if not self.passwd:
            return 404, b""
        target, content = io.BytesIO(), self.passwd.encode()
        with tarfile.open(fileobj=target, mode="w") as tar:
            info = tarfile.TarInfo("passwd")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        return 200, target.getvalue()

    def json(self, _method: str, _path: str) -> Any:
        return {"Config": {"User": self.user}}

    def containers(self) -> Dict[str, Any]:
        return {name: {"state": state, "project": "web"} for name, state in self.states.items()}


class Compose:
    """Notes what is asked of it; ``filled`` is what making a container leaves in the volume."""

    name = "web"

    def __init__(self) -> None:
        self.asked: List[str] = []
        self.fails = ""

    def _note(self, text: str) -> None:
        self.asked.append(text)
        if self.fails and self.fails in text:
            raise CommandFailed("it said no")

    def create(self, services: List[str]) -> None:
        self._note("create " + " ".join(services))

    def run_once(self, service: str, argv: List[str]) -> None:
        self._note(f"run {service} {' '.join(argv)}")

    def up_one(self, service: str, force: bool, patience: float) -> None:
        self._note(f"up {service} {force} {patience:.0f}")


@pytest.fixture
def owned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dict[str, Any]:
    """Owners by path, as the functions see and change them; everything is root's."""
    known: Dict[str, Any] = {}

    def look(path: Any) -> Any:
        found = list(real(path))
        found[4] = known.get(str(path), (0, 0))[0]
        return os.stat_result(found)

    real = os.lstat

    def change(path: Any, uid: int, gid: int) -> None:
        known[str(path)] = (uid, gid)

    for name in ("stat", "lstat"):
        monkeypatch.setattr(os, name, look)
    for name in ("chown", "lchown"):
        monkeypatch.setattr(os, name, change)
    return known


def meta(user: str = "") -> Dict[str, Any]:
    owner = {"volume": "data", "container": "web", "service": "web", "image": "web:1", "user": user}
    return {"uid": 10001, "volume_owners": [owner]}


def own(place: Path, its: Mapping[str, Any], **engine: str) -> List[str]:
    compose = Compose()
    rollout.own_volumes(Engine(place, **engine), compose, its)  # type: ignore[arg-type]
    return compose.asked


@pytest.mark.parametrize(
    ("user", "engine", "owner"),
    [
        ("33:34", {}, (33, 34)),
        ("33", {}, (33, 33)),
        ("", {"user": "1000"}, (1000, 1000)),
        ("", {"user": "web", "passwd": "root:x:0:0::/:\nweb:x:70:71::/:\n"}, (70, 71)),
        ("web:5", {"passwd": "web:x:70:71::/:\n"}, (70, 5)),
    ],
)
def test_a_fresh_volume_is_given_to_whoever_uses_it(
    user: str, engine: Dict[str, str], owner: Any, tmp_path: Path, owned: Dict[str, Any]
) -> None:
    assert own(tmp_path, meta(user), **engine) == ["create web"], "the image may fill it first"
    assert owned[str(tmp_path)] == owner
    assert own(tmp_path, meta(user), **engine) == [], "once"


@pytest.mark.parametrize("user", ["", "0", "root", "0:0"])
def test_root_s_volume_stays_with_a_service_of_root(user: str, tmp_path: Path, owned: Dict[str, Any]) -> None:
    assert own(tmp_path, meta(user)) == [] and owned == {}


def test_what_the_image_says_counts(tmp_path: Path, owned: Dict[str, Any]) -> None:
    owned[str(tmp_path)] = (999, 999)
    assert own(tmp_path, meta("33:33")) == [] and owned == {str(tmp_path): (999, 999)}


def test_data_of_the_role_s_former_user_goes_to_the_image_s_own(tmp_path: Path, owned: Dict[str, Any]) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to("/etc/passwd")
    (tmp_path / "other").write_text("x")
    owned.update({str(tmp_path): (10001, 10001), str(tmp_path / "file"): (10001, 10001),
                  str(tmp_path / "link"): (10001, 10001), str(tmp_path / "other"): (5, 5)})  # fmt: skip
    assert own(tmp_path, meta(), user="") == []
    assert {Path(path).name: uid for path, (uid, _gid) in owned.items()} == {
        tmp_path.name: 0, "file": 0, "link": 0, "other": 5}  # fmt: skip


def test_a_user_that_nobody_knows_is_told(tmp_path: Path, owned: Dict[str, Any]) -> None:
    with pytest.raises(DockerError, match=r"user web of container web.*uid:gid"):
        own(tmp_path, meta("web"))
    assert owned == {}


RELEASE = {
    "release": [{"service": "web-1", "argv": ["alembic", "upgrade", "head"]}],
    "rolling": [{"services": ["web-1", "web-2"], "containers": ["s-web-1", "s-web-2"]}],
    "prove_timeout": 90,
}


def prepared(work: Mapping[str, Any], states: Dict[str, str], fails: str = "") -> List[str]:
    engine, compose = Engine(Path("/nowhere")), Compose()
    engine.states, compose.fails = states, fails
    rollout.prepare(engine, compose, RELEASE, work)  # type: ignore[arg-type]
    return compose.asked


UP = {"s-web-1": "running", "s-web-2": "running"}


def test_the_release_command_comes_first_and_replicas_follow_in_turn() -> None:
    assert prepared({"force": ["web-2"]}, UP) == [
        "run web-1 alembic upgrade head",
        "up web-1 False 90",
        "up web-2 True 90",
    ]
    assert prepared({"force": True}, {}) == ["run web-1 alembic upgrade head"], "at the first start nobody waits"


def test_a_release_command_that_fails_ends_it_before_anything_is_replaced() -> None:
    with pytest.raises(CommandFailed, match=r"release command of web-1, 'alembic upgrade head', failed.*it said no"):
        prepared({}, UP, fails="run")


def test_a_replica_that_is_not_well_keeps_the_next_one_as_it_is() -> None:
    engine, compose = Engine(Path("/nowhere")), Compose()
    engine.states, compose.fails = UP, "up web-1"
    with pytest.raises(CommandFailed):
        rollout.prepare(engine, compose, RELEASE, {})  # type: ignore[arg-type]
    assert not [line for line in compose.asked if "web-2" in line]


def test_going_back_runs_no_release_command() -> None:
    assert prepared({"back": True}, UP) == ["up web-1 False 90", "up web-2 False 90"]


def test_owners_are_read_from_the_compose_file() -> None:
    document = {
        "services": {
            "web": {"user": "1:2", "volumes": ["./config:/c:ro", "up:/srv/up", "/host:/h"]},
            "nginx": {"volumes": ["up:/up:ro", "cache:/cache"]},
        },
        "volumes": {"up": {"name": "staging-up"}, "cache": None},
    }
    containers = {"s-web": Container("web", "w:1"), "s-nginx": Container("nginx", "n:1")}
    found = rollout.owners(document, containers)
    assert [(item["volume"], item["container"], item["user"]) for item in found] == [
        ("staging-up", "s-web", "1:2"), ("cache", "s-nginx", "")]  # fmt: skip


def test_on_a_bare_vps_the_network_is_there_before_a_helper_looks_at_volumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "root").mkdir()
    world = World(tmp_path / "root")
    install(world, monkeypatch)
    seen: List[List[str]] = []
    monkeypatch.setattr(rollout, "own_volumes", lambda *_arguments: seen.append(list(world.bridges)))
    files = {"web/compose.yaml": compose_file("web", {"web": 1}, "x:1")}
    trip.component(request(world.root, "web", files), False, False)
    assert seen and seen[0] == ["landfall"]


def test_a_command_of_compose_that_fails_is_named_by_its_verb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "docker").write_text("#!/bin/sh\necho cannot migrate >&2\nexit 3\n")
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    (tmp_path / ".state").mkdir()
    project = Project(str(tmp_path / "web"), 20)
    with pytest.raises(CommandFailed) as failed:
        project.run_once("web", ["alembic", "upgrade", "head"])
    assert str(failed.value) == "'docker compose run' failed with exit code 3: cannot migrate"
    with pytest.raises(CommandFailed, match=r"^'docker compose down' failed with exit code 3"):
        project.down(purge=False)
