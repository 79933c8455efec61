"""What takes long says how far it is, while it goes on, to whoever started it."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Iterator

import pytest
from ansible_collections.landfall.vps.plugins.module_utils import compose, probe, progress
from ansible_collections.landfall.vps.plugins.plugin_utils import remote, seam


@pytest.fixture
def said(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "said"
    progress.begin(str(place))
    progress._last.clear()
    yield place
    progress.end(str(place))
    assert not place.exists()


def test_nobody_listens_and_nothing_is_written(tmp_path: Path) -> None:
    progress.say("redis", "starting")
    progress.begin(str(tmp_path / "no" / "such" / "folder"))
    progress.say("redis", "starting")
    progress.end(str(tmp_path / "no" / "such" / "folder"))
    assert not list(tmp_path.iterdir())


def test_what_is_said_is_for_its_user_alone_in_one_line_and_once(said: Path) -> None:
    for text in ("starting", "starting", "waiting\nfor  " + "x" * 500, "starting"):
        progress.say("redis", text)
    first, second, third = said.read_text().splitlines()
    assert (first, third) == ("redis\tstarting",) * 2
    assert second.startswith("redis\twaiting for xxx") and len(second) < 200
    assert said.stat().st_mode & 0o777 == 0o600


def test_a_name_that_is_taken_is_not_written_to(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("somebody's")
    (tmp_path / "link").symlink_to(other)
    progress.begin(str(tmp_path / "link"))
    progress.say("redis", "starting")
    assert other.read_text() == "somebody's"


def test_the_last_word_of_each_is_news_once() -> None:
    seen: dict[str, str] = {}
    assert progress.latest("a\tone\nb\tone\na\ttwo\n", seen) == [("b", "one"), ("a", "two")]
    assert progress.latest("a\tone\nb\tone\na\ttwo\n", seen) == []
    assert progress.latest("a\tone\nb\tone\na\ttwo\nb\tthree\nhalf a li", seen) == [("b", "three")]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("#7 [2/5] RUN pip install .", "step 2 of 5: RUN pip install ."),
        ("#9 [build 10/12] COPY . /src", "step 10 of 12: COPY . /src"),
        ("Step 3/4 : USER 10001", "step 3 of 4: USER 10001"),
        ("#7 0.321 Collecting fastapi", ""),
        ("1.27: Pulling from library/nginx", ""),
        ("0123456789ab: Pulling fs layer", "0 of 1 layers are there"),
    ],
)
def test_programs_are_understood(line: str, told: str) -> None:
    assert progress.told(line, {}) == told


def test_layers_are_counted() -> None:
    layers: dict[str, bool] = {}
    for line in ("aaaaaaaaaaaa: Already exists", "bbbbbbbbbbbb: Pulling fs layer", "bbbbbbbbbbbb: Download complete"):
        progress.told(line, layers)
    assert progress.told("cccccccccccc: Pulling fs layer", layers) == "1 of 3 layers are there"
    assert progress.told("bbbbbbbbbbbb: Pull complete", layers) == "2 of 3 layers are there"


def test_a_build_says_its_steps_and_what_it_failed_with(said: Path) -> None:
    script = "echo '#5 [1/2] FROM x' >&2; echo '#6 [2/2] RUN false' >&2; echo 'ERROR: no such thing'; exit 3"
    with pytest.raises(compose.CommandFailed, match="ERROR: no such thing"):
        compose.run(["sh", "-c", script], 20, image="shop:1")
    assert said.read_text().splitlines() == ["shop:1\tstep 1 of 2: FROM x", "shop:1\tstep 2 of 2: RUN false"]


def test_a_build_that_takes_too_long_is_ended(said: Path) -> None:
    since = time.monotonic()
    with pytest.raises(compose.CommandFailed, match="did not end within 1 s"):
        compose.run(["sleep", "30"], 1, image="shop:1")
    assert time.monotonic() - since < 15


def test_waiting_says_what_is_waited_for(said: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([False, False, True])
    monkeypatch.setattr(probe, "_containers_serve", lambda *_a: next(answers))
    clock = iter(range(0, 100, 4))
    docker: Any = SimpleNamespace()
    probe.prove(docker, ["app"], [], "n", 60, clock=lambda: float(next(clock)), sleep=lambda _s: None)
    assert said.read_text() == "app\twaiting until it serves: containers are still starting\n"


# -- the controller's side ----------------------------------------------------------------------------------------


class Way:
    """An action whose connection runs commands here."""

    _connection: Any = SimpleNamespace(
        has_pipelining=True,
        become=None,
        get_option=lambda _name: True,
        set_become_plugin=lambda _plugin: None,
        _shell=SimpleNamespace(tmpdir="/of/the/task"),
    )
    fails = False

    def _low_level_execute_command(self, command: str, in_data: bytes = b"", **_more: Any) -> dict[str, Any]:
        if self.fails and command.startswith("cat"):
            raise RuntimeError("a second connection is refused")
        done = subprocess.run(["sh", "-c", command], input=in_data, capture_output=True, check=False)
        return {"rc": done.returncode, "stdout": done.stdout.decode(), "stderr": done.stderr.decode()}


def test_a_second_way_has_no_folder_in_common_with_the_task_that_removes_its_own() -> None:
    way = Way()
    other = seam.beside(way)
    assert other is not None and other._connection._shell.tmpdir is None
    assert way._connection._shell.tmpdir == "/of/the/task"


@pytest.fixture
def slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A part of a program that says two things, half a second each."""
    (tmp_path / "part.py").write_text(
        "import time\nfrom ansible_collections.landfall.vps.plugins.module_utils import progress\n"
        "def work(fails):\n    for what in ('one', 'two'):\n"
        "        progress.say('shop', what)\n        time.sleep(0.5)\n"
        "    assert not fails, 'it failed'\n    return {'done': True}\n"
    )
    monkeypatch.setattr(remote, "FIRST_LOOK", 0.2)
    monkeypatch.setattr(remote, "NEXT_LOOK", 0.2)
    monkeypatch.setattr(progress, "PLACE", str(tmp_path / "run-{0}"))
    package = progress.__name__.rpartition(".")[0]
    return SimpleNamespace(__name__=package + ".part", __file__=str(tmp_path / "part.py"))


@pytest.mark.parametrize("way", ["pipe", "module"])
def test_a_trip_tells_what_it_does_while_it_does_it(slow: Any, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    action: Any = Way()
    if way == "module":  # no pipelining, or su: the second way is a plain command there, too
        monkeypatch.setattr(seam, "pipes", lambda _action: False)

        def module(module_args: dict[str, str], **_more: Any) -> dict[str, Any]:
            said = action._low_level_execute_command(sys.executable + " -", module_args["source"].encode())
            return {"ended": said["rc"], "stdout": said["stdout"], "stderr": said["stderr"]}

        action._execute_module = module
    lines: list[tuple[float, str]] = []
    since = time.monotonic()
    parts = (progress, slow)
    answer = remote.follow(
        action, sys.executable, parts, "work", [False], lambda line: lines.append((time.monotonic() - since, line))
    )
    took = time.monotonic() - since
    assert answer == {"done": True}
    assert [line.split(" (")[0] for _at, line in lines] == ["shop: one", "shop: two"]
    assert lines[0][0] < took - 0.3, "it came while the program ran"
    assert not list(Path(slow.__file__).parent.glob("run-*"))


def test_a_trip_without_a_second_connection_says_nothing_and_works(slow: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    action: Any = Way()
    action.fails = True
    lines: list[str] = []
    assert remote.follow(action, sys.executable, (progress, slow), "work", [False], lines.append) == {"done": True}
    monkeypatch.setattr(seam, "beside", lambda _action: None)
    assert remote.follow(action, sys.executable, (progress, slow), "work", [False], lines.append) == {"done": True}
    assert lines == []


def test_a_program_that_fails_leaves_no_file(slow: Any) -> None:
    with pytest.raises(remote.TripError, match="it failed"):
        remote.follow(Way(), sys.executable, (progress, slow), "work", [True], lambda _line: None)
    assert not list(Path(slow.__file__).parent.glob("run-*"))


@pytest.mark.parametrize("image", ["", "shop:1"])
def test_what_takes_too_long_is_ended_with_all_that_it_started(tmp_path: Path, image: str) -> None:
    """``docker build`` and ``docker compose`` are programs that ``docker`` starts, and went on without it."""
    began, gone = time.monotonic(), tmp_path / "went on"
    script = f"(sleep 3; echo late > '{gone}') & echo begun; wait"
    with pytest.raises(compose.CommandFailed, match="did not end within 1 s"):
        compose.run(["sh", "-c", script], 1, image=image)
    assert time.monotonic() - began < 2.5, "it was not waited for"
    time.sleep(max(0.0, 4 - (time.monotonic() - began)))
    assert not gone.exists()
