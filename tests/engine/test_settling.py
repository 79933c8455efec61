"""Starting and proving what a run placed: order, a need that fails, the head start. Compose and engine are faked."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.landfall.vps.plugins.module_utils import applying, compose, settling
from ansible_collections.landfall.vps.plugins.module_utils.docker_api import Docker, DockerError
from ansible_collections.landfall.vps.plugins.module_utils.probe import Unproven

NETWORK = {"name": "landfall", "subnet": "172.30.0.0/24"}


class Engine:
    """As much of the Docker client as settling asks for."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.healthy: set[str] = set()

    def networks(self) -> dict[str, Any]:
        return dict.fromkeys(self.made)

    def create_network(self, name: str, *_more: Any) -> None:
        self.made.append(name)

    def volumes(self) -> dict[str, Any]:
        return {}

    def containers(self) -> dict[str, dict[str, Any]]:
        running = {"health": "healthy", "state": "running", "config_hash": "h"}
        return {name: {**running, "project": name} for name in self.healthy}

    def images(self) -> dict[str, dict[str, Any]]:
        return {"x:1": {"id": "sha256:1"}}

    def inspect(self, name: str) -> dict[str, Any]:
        return {"State": {"Status": "exited", "ExitCode": 3}, "RestartCount": 0}

    def logs(self, name: str, _lines: int) -> str:
        return f"last words of {name}\n"


def place(root: Path, name: str, *needs: str, **start: Any) -> None:
    """Leave what the trip of a created component leaves."""
    (root / name).mkdir()
    (root / name / "compose.yaml").write_text("services: {}\n")
    (root / ".state").mkdir(exist_ok=True)
    record = {
        "name": name,
        "proven": False,
        "files": {},
        "meta": {"needs": list(needs)},
        "containers": {name: {"service": name, "image": "x:1"}},
        "start": {"up": True, "force": False, **start},
    }
    (root / ".state" / f"{name}.json").write_text(json.dumps(record))


def record(root: Path, name: str) -> dict[str, Any]:
    return dict(json.loads((root / ".state" / f"{name}.json").read_text()))


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, engine: Engine) -> list[str]:
    """What Compose was asked to do, in order; a component is healthy a moment after its start."""
    story: list[str] = []

    def up(project: compose.Project, force: list[str]) -> None:
        name = Path(project.folder).name
        story.append(f"up {name}{' by force' if force else ''}")
        if name == "broken":
            raise compose.CommandFailed("no such image")

    def prove(_docker: Any, containers: list[str], *_more: Any, **_named: Any) -> dict[str, Any]:
        time.sleep(0.05)
        if containers == ["mute"]:
            raise Unproven("not ready after 60 s")
        story.append(f"proven {containers[0]}")
        engine.healthy.update(containers)
        return {"seconds": 0.05}

    monkeypatch.setattr(compose.Project, "up", up)
    monkeypatch.setattr(
        compose.Project, "down", lambda project, purge: story.append(f"down {Path(project.folder).name}")
    )
    monkeypatch.setattr(
        compose.Project, "start_ahead", lambda project, _limit: story.append(f"ahead {Path(project.folder).name}")
    )
    monkeypatch.setattr(applying, "prove", prove)
    return story


def test_each_starts_after_what_it_needs_and_is_recorded_as_proven(
    tmp_path: Path, engine: Engine, told: list[str]
) -> None:
    place(tmp_path, "celery", "app")
    place(tmp_path, "app", "redis")
    place(tmp_path, "redis", force=True)
    place(tmp_path, "loki")
    outcome = settling.Settling(str(tmp_path), NETWORK, engine).run()  # type: ignore[arg-type]
    assert set(outcome) == {"celery", "app", "redis", "loki"} and all("seconds" in one for one in outcome.values())
    assert told.index("proven redis") < told.index("up app") < told.index("proven app") < told.index("up celery")
    assert "up redis by force" in told and engine.made == ["landfall"]
    final = record(tmp_path, "celery")
    assert (final["proven"], final["containers"]["celery"]["config_hash"], "start" in final) == (True, "h", False)


def test_only_what_is_asked_for_and_its_needs_are_settled(tmp_path: Path, engine: Engine, told: list[str]) -> None:
    place(tmp_path, "app", "redis")
    place(tmp_path, "redis")
    place(tmp_path, "loki")
    assert set(settling.Settling(str(tmp_path), NETWORK, engine).run({"app"})) == {"app", "redis"}  # type: ignore[arg-type]
    assert not record(tmp_path, "loki")["proven"]


def test_the_name_of_a_group_means_all_its_members_and_started_waits_for_no_proof(
    tmp_path: Path, engine: Engine, told: list[str]
) -> None:
    for name in ("app", "app-web"):
        place(tmp_path, name)
        (tmp_path / ".state" / f"{name}.json").write_text(
            json.dumps({**record(tmp_path, name), "group": "app", "format": 2})
        )
    web = record(tmp_path, "app-web")
    web["meta"]["needs"] = [{"name": "app", "condition": "started"}]
    (tmp_path / ".state" / "app-web.json").write_text(json.dumps(web))
    place(tmp_path, "celery", "app")
    settling.Settling(str(tmp_path), NETWORK, engine).run()  # type: ignore[arg-type]
    assert told.index("up app") < told.index("up app-web") < told.index("proven app")
    assert max(told.index("proven app"), told.index("proven app-web")) < told.index("up celery")


@pytest.mark.parametrize("name", ["broken", "mute"])
def test_one_that_does_not_serve_is_removed_with_what_needs_it_and_the_others_stay(
    tmp_path: Path, engine: Engine, told: list[str], name: str
) -> None:
    place(tmp_path, name)
    place(tmp_path, "app", name)
    place(tmp_path, "loki")
    outcome = settling.Settling(str(tmp_path), NETWORK, engine).run()  # type: ignore[arg-type]
    assert "seconds" in outcome["loki"]
    assert f"last words of {name}" in outcome[name]["logs"]
    assert f"{name}, which it needs, does not serve" in outcome["app"]["failed"]
    assert "up app" not in told and f"down {name}" in told
    assert not (tmp_path / ".state" / f"{name}.json").exists() and (tmp_path / ".state" / "loki.json").exists()


def test_the_head_start_is_for_what_waits_for_nothing_and_is_given_once(
    tmp_path: Path, engine: Engine, told: list[str]
) -> None:
    place(tmp_path, "redis")
    place(tmp_path, "app", "redis")
    place(tmp_path, "forced", force=True)
    settling.start_ahead(str(tmp_path), engine)  # type: ignore[arg-type]
    assert told == ["ahead redis"]
    engine.healthy.add("redis")
    settling.start_ahead(str(tmp_path), engine)  # type: ignore[arg-type]
    assert told == ["ahead redis", "ahead app"]


@pytest.mark.parametrize(("runs", "asked"), [(True, []), (False, ["up redis"])])
def test_what_runs_thanks_to_its_head_start_is_not_started_again(
    tmp_path: Path, engine: Engine, told: list[str], runs: bool, asked: list[str]
) -> None:
    place(tmp_path, "redis", ahead=True)
    engine.healthy.update(["redis"] if runs else [])
    settling.Settling(str(tmp_path), NETWORK, engine).run()  # type: ignore[arg-type]
    assert told == [*asked, "proven redis"]


def test_compose_that_started_ahead_keeps_others_out_until_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".state").mkdir()
    (tmp_path / "redis").mkdir()
    project = compose.Project(str(tmp_path / "redis"), 60)
    monkeypatch.setattr(project, "_up", [sys.executable, "-c", "import time; time.sleep(1)"])
    project.start_ahead(30)
    monkeypatch.setattr(project, "_up", ["true"])
    started = time.monotonic()
    project.up(force=[])
    assert 0.5 < time.monotonic() - started < 10


def test_a_compose_that_never_ends_is_told_of_and_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".state").mkdir()
    (tmp_path / "redis").mkdir()
    project = compose.Project(str(tmp_path / "redis"), 0.3)
    monkeypatch.setattr(project, "_up", ["sleep", "60"])
    project.start_ahead(3)
    with pytest.raises(compose.CommandFailed, match="at work on redis for more than 0 s"):
        project.up(force=[])
    patient = compose.Project(str(tmp_path / "redis"), 30)
    monkeypatch.setattr(patient, "_up", ["true"])
    patient.up(force=[])  # the head start was ended after its three seconds


def test_one_whose_containers_cannot_be_taken_down_keeps_the_others_ends(
    tmp_path: Path, engine: Engine, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(_project: compose.Project, _purge: bool = False, **_more: Any) -> None:
        raise compose.CommandFailed("'docker compose down' did not end within 300 s")

    monkeypatch.setattr(compose.Project, "down", down)
    place(tmp_path, "mute")
    place(tmp_path, "loki")
    outcome = settling.Settling(str(tmp_path), NETWORK, engine).run()  # type: ignore[arg-type]
    assert "seconds" in outcome["loki"]
    assert "did not end within 300 s" in outcome["mute"]["undone"] and "not ready" in outcome["mute"]["failed"]
    assert "last words of mute" in outcome["mute"]["logs"]
    assert (tmp_path / ".state" / "journal" / "mute").exists(), "the next run tries again"


def test_threads_wait_for_the_lock_as_processes_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".state").mkdir()
    (tmp_path / "redis").mkdir()
    inside: list[int] = []
    most: list[int] = []

    def slow(*_a: Any, **_k: Any) -> str:
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.05)
        inside.pop()
        return ""

    monkeypatch.setattr(compose, "run", slow)
    threads = [threading.Thread(target=compose.Project(str(tmp_path / "redis"), 60).up, args=([],)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1 and len(most) == 4
    assert (tmp_path / ".state" / "compose-redis.lock").stat().st_mode & 0o777 == 0o600


class Reloading:
    """An engine in which a program's own reload command answers with these exit codes, the last one for ever."""

    def __init__(self, *codes: int) -> None:
        self.codes = list(codes)
        self.asked: list[Any] = []

    def execute(self, name: str, argv: list[str]) -> Any:
        """Run nothing; say what it would have said."""
        self.asked.append((name, argv))
        return (self.codes.pop(0) if len(self.codes) > 1 else self.codes[0]), "adapting config: line 3: what is this"


RELOAD = {"reload": {"exec": ["caddy", "reload"], "service": "caddy"}}


def test_a_program_is_reloaded_by_its_own_command_once_it_listens() -> None:
    engine = Reloading(1, 1, 0)
    applying.reload_component(engine, RELOAD, "landfall", ["caddy"])  # type: ignore[arg-type]  # a stand-in
    assert engine.asked == [("caddy", ["caddy", "reload"])] * 3


def test_a_command_that_refuses_fails_the_reload_with_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(applying, "RELOAD_PATIENCE", 0.3)
    with pytest.raises(Unproven, match="reload of caddy failed: exit code 1: adapting config: line 3"):
        applying.reload_component(Reloading(1), RELOAD, "landfall", ["caddy"])  # type: ignore[arg-type]  # a stand-in


class Signalled:
    """A program that tells by metrics what came of its signal: each signal ends as the next of ``outcomes`` says."""

    def __init__(self, *outcomes: bool, at: float = 100.0, well: bool = True) -> None:
        self.outcomes, self.at, self.well, self.pending, self.asked = list(outcomes), at, well, 0, 0

    def kill(self, _name: str, signal: str) -> None:
        """Begin, and be done after two more looks."""
        assert signal == "SIGHUP"
        self.pending = 2

    def fetch(self, _url: str) -> tuple[int, str]:
        """Answer with metrics."""
        self.asked += 1
        self.pending -= 1
        if self.pending == 0:
            self.well = self.outcomes.pop(0)
            self.at += 5 if self.well else 0
        return 200, f"last_at {self.at}\nlast_well {int(self.well)}\n"

    def logs(self, _name: str, _lines: int) -> str:
        """The end of its log."""
        return 'level=INFO msg=Loading\nlevel=ERROR msg="loading groups failed" err="x.yml: bad"\nlevel=INFO msg=on'


class Running(Docker):
    """An engine with one container, whose first process is ``pid``; it is only looked at."""

    def __init__(self, pid: int) -> None:
        super().__init__()
        self.pid = pid

    def inspect(self, name: str) -> dict[str, Any] | None:
        """Tell of the container."""
        return {"State": {"Pid": self.pid}} if name == "prometheus" else None

    def call(self, *_arguments: Any, **_more: Any) -> tuple[int, bytes]:
        """Refuse whatever would tell the engine that somebody has ended the container."""
        raise AssertionError("the engine is asked")


def test_a_signal_goes_past_the_engine_which_would_not_start_the_container_after_a_reboot() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        Running(process.pid).kill("prometheus", "SIGHUP")
        assert process.wait(10) == -signal.SIGHUP
    for docker, name in ((Running(0), "prometheus"), (Running(1), "redis")):
        with pytest.raises(DockerError, match="does not run"):
            docker.kill(name, "SIGHUP")


@pytest.fixture
def signals(monkeypatch: pytest.MonkeyPatch) -> Callable[[Signalled], None]:
    seen = {"port": 9090, "path": "/metrics", "at": "last_at", "well": "last_well"}
    monkeypatch.setattr(applying, "address", lambda *_arguments: "192.0.2.1")

    def reload(program: Signalled) -> None:
        monkeypatch.setattr(applying, "fetch", program.fetch)
        meta = {"reload": {"signal": "SIGHUP", "success": seen}}
        applying.reload_component(program, meta, "landfall", ["prometheus"])  # type: ignore[arg-type]  # a stand-in

    return reload


def test_a_signal_counts_once_its_program_has_taken_it_in(signals: Callable[[Signalled], None]) -> None:
    program = Signalled(True)
    signals(program)
    assert (program.at, program.asked) == (105.0, 3)
    signals(Signalled(True, well=False))


def test_a_signal_that_is_refused_fails_with_what_the_program_said(
    signals: Callable[[Signalled], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Unproven, match=r'reload of prometheus was refused: level=ERROR .*err="x.yml: bad"$'):
        signals(Signalled(False))
    monkeypatch.setattr(applying, "SAME_REFUSAL", 0.3)
    with pytest.raises(Unproven, match="was refused"):  # as it did before
        signals(Signalled(False, well=False))


def test_a_program_that_does_not_listen_yet_gets_no_signal(
    signals: Callable[[Signalled], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    program = Signalled(True)
    monkeypatch.setattr(applying, "RELOAD_PATIENCE", 0.3)
    monkeypatch.setattr(program, "fetch", lambda _url: (200, "nothing yet"))
    with pytest.raises(Unproven, match="tells neither last_at nor last_well"):
        signals(program)
    assert program.pending == 0
