"""Two checkouts on one machine do not meet: names, ports, volumes, kept connections. The engine is a fake."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests import rolekit

sys.path.insert(0, str(rolekit.ROOT / "molecule"))

from testbed import golden, images, ports, vps
from testbed.paths import CHECKOUT, ROOT, TestbedError

# A `docker` that knows the containers and volumes of a JSON file: name -> {labels, bindings}
DOCKER = """#!{python}
import json, sys
state = json.load(open("{state}"))
argv = sys.argv[1:]
kind = "containers" if argv[0] in ("ps", "container") else "volumes"
if argv[0] == "ps" or argv[1] == "ls":
    wanted = [part.removeprefix("label=") for part in argv if part.startswith("label=")]
    named = [part.removeprefix("name=^") for part in argv if part.startswith("name=")]
    for name, one in state[kind].items():
        has = {{*one["labels"], *(f"{{key}}={{value}}" for key, value in one["labels"].items())}}
        if has.issuperset(wanted) and all(name.startswith(start) for start in named):
            print(name)
elif argv[1] == "inspect":
    names = [part for part in argv[4:]]
    for name in names:
        if name not in state[kind]:
            print("Error: No such " + name, file=sys.stderr)
        elif "PortBindings" in argv[3]:
            print(json.dumps({{"asked": state[kind][name]["bindings"], "given": {{}}}}))
        else:
            print(json.dumps(state[kind][name]["labels"]))
    sys.exit(any(name not in state[kind] for name in names))
else:
    sys.exit("not expected: " + " ".join(argv))
"""
MINE = {vps.LABEL: "x", vps.LABEL_CHECKOUT: str(ROOT)}
OTHERS = {vps.LABEL: "x", vps.LABEL_CHECKOUT: "/somewhere/else"}


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a fake engine on PATH and return the file of its state, and let the test bed forget this checkout's VPSs."""
    state = tmp_path / "state.json"
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/docker").write_text(DOCKER.format(python=sys.executable, state=state))
    (tmp_path / "bin/docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setattr(vps, "HOME", tmp_path / "vps")
    monkeypatch.setattr(vps, "KEY", tmp_path / "vps/id_ed25519")
    monkeypatch.setattr(vps, "SSH_CONFIG", tmp_path / "vps/ssh_config")
    holds(state)
    return state


Labels = dict[str, dict[str, str]]


def holds(state: Path, containers: Labels | None = None, volumes: Labels | None = None,
          ports: dict[str, int] | None = None) -> None:  # fmt: skip
    """Say what the engine has: name -> labels, and the port of the loopback address that a container publishes."""
    bound = {name: {"22/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(port)}]} for name, port in (ports or {}).items()}
    every = {name: {"labels": labels, "bindings": bound.get(name)} for name, labels in (containers or {}).items()}
    state.write_text(json.dumps({"containers": every, "volumes": {
        name: {"labels": labels} for name, labels in (volumes or {}).items()}}))  # fmt: skip


# ---------------------------------------------------------------- names
def test_a_name_that_the_project_chose_is_another_in_each_checkout(engine: Path) -> None:
    assert vps.container_of("molecule-engine") == f"molecule-engine-{CHECKOUT}"
    assert vps.container_of("bench-1") == f"bench-1-{CHECKOUT}"
    assert vps.container_of("landfall-vps") == "landfall-vps", "what somebody chose is used as it is"
    code = "from testbed import vps; print(vps.container_of('molecule-engine'))"
    other = engine.parent / "other/molecule"
    shutil.copytree(ROOT / "molecule/testbed", other / "testbed")
    told = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(other)}, check=True,
                          capture_output=True, text=True).stdout.strip()  # fmt: skip
    assert told.startswith("molecule-engine-") and told != vps.container_of("molecule-engine")


def test_a_container_name_that_was_given_is_remembered(engine: Path) -> None:
    (vps.HOME / "landfall-vps").mkdir(parents=True)
    (vps.HOME / "landfall-vps/container").write_text("landfall-vps-2")
    assert vps.container_of("landfall-vps") == "landfall-vps-2"


@pytest.mark.parametrize("what", ["container", "volume"])
def test_a_name_of_another_checkout_is_refused_with_a_way_out(engine: Path, what: str) -> None:
    if what == "container":
        holds(engine, {"landfall-vps": OTHERS})
    else:
        holds(engine, volumes={"landfall-vps-docker": OTHERS})
    with pytest.raises(TestbedError) as caught:
        vps.up("landfall-vps", "vps", None)
    assert "/somewhere/else" in str(caught.value) and f"make demo VPS=landfall-vps-{CHECKOUT}" in str(caught.value)


def test_a_name_of_somebody_else_is_refused(engine: Path) -> None:
    holds(engine, {"landfall-vps": {}})
    with pytest.raises(TestbedError, match="nobody that the test bed knows"):
        vps.up("landfall-vps", "vps", None)


def test_what_an_older_version_of_this_checkout_made_is_its_own(engine: Path) -> None:
    holds(engine, {"landfall-vps": {vps.LABEL: "landfall-vps"}})
    assert vps.foreign("landfall-vps", known=True) == ""
    assert vps.foreign("landfall-vps", known=False) != ""


def test_only_this_checkouts_servers_and_volumes_are_removed(engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    holds(engine, {"landfall-vps": OTHERS, f"molecule-engine-{CHECKOUT}": MINE, "molecule-engine": OTHERS},
          {"landfall-golden-a-1": MINE, "landfall-golden-a-2": OTHERS})  # fmt: skip
    gone: list[str] = []

    def discard(container: str) -> bool:
        gone.append(container)
        return True

    monkeypatch.setattr(vps, "discard", discard)
    assert not vps.remove("landfall-vps")
    assert vps.remove("molecule-engine")
    assert gone == [f"molecule-engine-{CHECKOUT}"]
    assert golden.mine() == ["landfall-golden-a-1"]
    assert golden.named("landfall-golden-a-") == ["landfall-golden-a-1", "landfall-golden-a-2"]


def test_images_have_names_of_their_content_on_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "TAGS", tmp_path / "tags.json")
    images.remember({"redis:8": images.own_tag("redis", "1"), "caddy:2": images.own_tag("caddy", "1")})
    images.remember({"redis:8": images.own_tag("redis", "2")})
    assert images.tag_of("redis:8") == "landfall-testbed/redis:2"
    assert images.tag_of("caddy:2") == "landfall-testbed/caddy:1"
    with pytest.raises(TestbedError, match="make images"):
        images.tag_of("grafana:13")


# ---------------------------------------------------------------- ports
def test_a_port_is_neither_taken_nor_promised_to_a_container_of_anybody(engine: Path) -> None:
    first = ports.free_port()
    holds(engine, {"stopped-elsewhere": OTHERS}, ports={"stopped-elsewhere": first})
    second = ports.free_port()
    assert second > first
    with socket.socket() as user:
        user.bind(("127.0.0.1", second))
        user.listen()
        assert ports.free_port() > second
    assert ports.promised() == {first}
    assert ports.promised(but="stopped-elsewhere") == set()


class Engine:
    """Containers of two checkouts: created ones are promised their port, one at a time can be started on it."""

    def __init__(self) -> None:
        self.created: dict[str, int] = {}
        self.running: dict[str, int] = {}
        self.both = threading.Barrier(2)
        self.lock = threading.Lock()

    def promised(self, but: str = "") -> set[int]:
        with self.lock:
            return {port for name, port in self.created.items() if name != but}

    def claim(self, checkout: str) -> int:
        attempts: list[int] = []

        def create(port: int) -> str:
            with self.lock:
                name = f"{checkout}{port}"
                self.created[name] = port
            attempts.append(port)
            if len(attempts) == 1:
                self.both.wait(5)  # the first attempts of both are made before either looks again
            return name

        def start(name: str) -> None:
            with self.lock:
                if self.created[name] in self.running.values():
                    raise TestbedError("driver failed: port is already allocated")
                self.running[name] = self.created[name]

        return ports.claim(create, start, self.created.pop)


def test_two_checkouts_that_choose_at_once_get_two_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(20):
        both = Engine()
        monkeypatch.setattr(ports, "promised", both.promised)
        with ThreadPoolExecutor(2) as pool:
            found = list(pool.map(both.claim, "ab"))
        assert len(set(found)) == len(both.running) == len(both.created) == 2, "each runs, each on a port of its own"


def test_a_port_that_somebody_else_took_meanwhile_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "promised", lambda but="": set())
    tried: list[int] = []
    dropped: list[str] = []

    def start(name: str) -> None:
        if len(tried) == 1:
            raise TestbedError("listen tcp4 127.0.0.1:2200: bind: address already in use")

    port = ports.claim(lambda port: tried.append(port) or str(port), start, dropped.append)  # type: ignore[func-returns-value]
    assert tried[-1] == port and dropped == [str(tried[0])]


def test_another_fault_of_a_start_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "promised", lambda but="": set())

    def start(name: str) -> None:
        raise TestbedError("no space left on device")

    dropped: list[str] = []
    with pytest.raises(TestbedError, match="no space left"):
        ports.claim(str, start, dropped.append)
    assert len(dropped) == 1


# ---------------------------------------------------------------- kept connections
def control_path(inventory: Path, host: str, **environment: str) -> str:
    """Return the socket of the kept SSH connection as Ansible understands the inventory."""
    command = [str(Path(sys.executable).with_name("ansible")), "-i", str(inventory), host, "-c", "local", "-m", "debug",
               "-a", "msg=<{{ ansible_control_path }}>"]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False,
                          env={**os.environ, **environment, "ANSIBLE_NOCOLOR": "1"})  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.partition("<")[2].partition(">")[0]


def test_kept_connections_are_apart(tmp_path: Path) -> None:
    """Ansible names their sockets by host, port and user, which are the same in every checkout."""
    paths = []
    for name in ("one", "two"):
        demo, shared = tmp_path / name / "inventory/demo", tmp_path / name / "molecule/shared"
        shutil.copytree(ROOT / "inventory/demo", demo, ignore=shutil.ignore_patterns("secrets"))
        shutil.copytree(ROOT / "molecule/shared", shared)
        (shared / "hosts.yml").write_text("all: {hosts: {molecule-engine: }}\n")
        paths.append(control_path(demo, "vps"))
        paths.append(control_path(shared, "molecule-engine", MOLECULE_PROJECT_DIRECTORY=str(tmp_path / name)))
    assert all(path.startswith("%(directory)s/") and path.endswith("-%%r@%%n") for path in paths), paths
    assert len(set(paths)) == 4
