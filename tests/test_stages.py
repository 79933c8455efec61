"""`make test` runs its stages side by side: order, printing, failures, the table, the slowest tests."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests import rolekit

sys.path.insert(0, str(rolekit.ROOT / "molecule"))

from testbed import stages
from testbed.paths import TestbedError
from testbed.stages import Stage

MAKEFILE = (rolekit.ROOT / "Makefile").read_text("utf-8")


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", f"import os, sys, time\n{code}")


def spell(word: str) -> tuple[str, ...]:
    """A program that prints a word letter by letter, so that two of them would mix."""
    return python(f"for letter in {word!r}:\n    print(letter, end='', flush=True)\n    time.sleep(0.05)\nprint()")


def test_every_scenario_is_a_stage_and_every_target_exists() -> None:
    plan = stages.plan(stages.scenarios())
    folders = {path.parent.name for path in (rolekit.ROOT / "molecule").glob("*/molecule.yml")}
    assert {stage.name.removeprefix("molecule ") for stage in plan if " " in stage.name} == folders - {"smoke"}
    assert {"lint", "unit", "app-test", "images"} <= {stage.name for stage in plan}
    for stage in (*plan, *stages.check()):
        assert re.search(rf"^{stage.argv[2]}:", MAKEFILE, re.MULTILINE), stage
    assert {stage.name for stage in stages.check()} == {"environments", "images", "molecule smoke", "lint", "unit"}


def test_two_run_at_once_and_their_output_is_not_mixed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("abcdefghij", "0123456789")
    runner = stages.Runner([Stage(word, spell(word)) for word in words], 2, tmp_path)
    results = runner.run()
    assert [result.status for result in results] == [0, 0]
    assert max(result.begun for result in results) < min(result.seconds for result in results), "at once"
    printed = capsys.readouterr().out
    for word in words:
        assert f"==== {word}\n{word}\n==== {word}: passed" in printed


def test_one_at_a_time_if_so_told(tmp_path: Path) -> None:
    first, second = stages.Runner([Stage(word, spell(word)) for word in ("abc", "123")], 1, tmp_path).run()
    assert second.begun >= first.begun + first.seconds


def test_a_failure_is_printed_whole_and_stops_nothing_but_what_needs_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = [
        Stage("images", python("print('no mirror')\nprint('\\x1b[31mred\\x1b[0m', file=sys.stderr)\nsys.exit(3)")),
        Stage("molecule", python(""), after=("images",)),
        Stage("lint", python("")),
        Stage("free", python(""), after=("not in this plan",)),
    ]
    results = {result.stage.name: result.status for result in stages.Runner(plan, 2, tmp_path).run()}
    assert results == {"images": 3, "molecule": None, "lint": 0, "free": 0}
    printed = capsys.readouterr().out
    assert re.search(r"==== images\n(no mirror\nred|red\nno mirror)\n==== images: FAILED \(3\)", printed), printed
    assert "molecule: not run: needs images" in printed


def test_what_runs_long_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages, "TELL_EVERY", 0.2)
    stages.Runner([Stage("slow", python("print('half-way', flush=True)\ntime.sleep(1)"))], 2, tmp_path).run()
    assert re.search(r" s  slow: runs for \d+ s: half-way\n", capsys.readouterr().out)


def test_the_table_says_what_failed_and_what_was_slow(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    test = tmp_path / "test_slow.py"
    test.write_text("import time\ndef test_sleep(): time.sleep(0.3)\ndef test_quick(): pass\n")
    pytest_run = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(test))
    runner = stages.Runner([Stage("unit", pytest_run), Stage("lint", python("sys.exit(1)"))], 2, tmp_path / "logs")
    results = runner.run()
    slowest = stages.slowest([Path(f"{runner.log(name)}.xml") for name in ("unit", "lint")])
    assert len(slowest) == 2 and slowest[0][0] >= 0.3 and slowest[0][1].endswith("test_slow::test_sleep")
    text = stages.report(results, 2, 1.5, slowest)
    assert re.search(r"^  unit +from +0 s +\d+\.\d s  passed$", text, re.MULTILINE), text
    assert re.search(r"^  lint .*FAILED \(1\)$", text, re.MULTILINE)
    assert re.search(r"^  all +1\.5 s  1 stages passed, 1 failed$", text, re.MULTILINE)
    assert re.search(r"^ +0\.\d s  unit: .*test_sleep$", text, re.MULTILINE)


def test_the_exit_status_is_that_of_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(stages.Runner, "__init__", _init_in(tmp_path))
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert stages.run_all([Stage("good", python(""))]) == 0
        assert stages.run_all([Stage("good", python("")), Stage("bad", python("sys.exit(1)"))]) == 1
    finally:
        signal.signal(signal.SIGTERM, before)


def _init_in(folder: Path) -> object:
    original = stages.Runner.__init__

    def init(self: stages.Runner, plan: list[Stage], jobs: int) -> None:
        original(self, plan, jobs, folder)

    return init


@pytest.mark.parametrize(("jobs", "expected"), [("1", 1), ("3", 3)])
def test_how_many_at_once_is_a_variable(jobs: str, expected: int) -> None:
    assert stages.beside({"JOBS": jobs}) == expected
    assert 1 <= stages.beside({}) <= stages.BESIDE


@pytest.mark.parametrize("jobs", ["0", "-1", "two"])
def test_a_number_that_is_none_is_refused(jobs: str) -> None:
    with pytest.raises(TestbedError, match=f"JOBS: must be a number of 1 or more, not '{jobs}'"):
        stages.beside({"JOBS": jobs})


def test_who_is_ended_ends_its_stages_and_prints_what_they_said(tmp_path: Path) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(rolekit.ROOT / 'molecule')!r})\n"
        "from pathlib import Path\nfrom testbed import stages\nfrom testbed.stages import Stage\n"
        f"stages.HOME = Path({str(tmp_path)!r})\n"
        f"stages.Runner.__init__.__defaults__ = (stages.HOME,)\n"
        "stages.run_all([Stage('endless', (sys.executable, '-c', 'import os, time; "
        'print("pid", os.getpid(), flush=True); time.sleep(600)\'))])'
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        log = tmp_path / "endless.log"
        deadline = time.monotonic() + 30
        while not (log.is_file() and log.read_text().strip()) and time.monotonic() < deadline:
            time.sleep(0.05)
        pid = int(log.read_text().split()[1])
        process.terminate()
        printed = process.communicate(timeout=30)[0]
    assert process.returncode != 0
    assert f"==== endless\npid {pid}\n==== endless: FAILED" in printed
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_who_is_ended_while_a_thread_starts_prints_what_stages_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start
    runner = stages.Runner([Stage("endless", python("print('here', flush=True)\ntime.sleep(600)"))], 1, tmp_path)

    def interrupted(thread: threading.Thread) -> None:
        deadline = time.monotonic() + 30
        while not runner.said("endless").strip() and time.monotonic() < deadline:
            time.sleep(0.05)
        start(threading.Timer(0.3, start, [thread]))
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        runner.run()
    assert "==== endless\nhere\n==== endless: FAILED" in capsys.readouterr().out
