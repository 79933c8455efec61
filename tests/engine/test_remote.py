"""The program that reads a VPS, run on this machine, and the digests that are remembered between two runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.landfall.vps.plugins.plugin_utils import remote


def test_the_program_needs_nothing_but_python(tmp_path: Path) -> None:
    (tmp_path / "redis").mkdir()
    (tmp_path / "redis" / "compose.yaml").write_text("x")
    text = remote.program(remote.READ, "gather", [str(tmp_path), [str(tmp_path / "redis/compose.yaml"), "/nowhere"]])
    done = subprocess.run(
        [sys.executable, "-IS", "-"], input=text, capture_output=True, text=True, check=True, cwd="/", timeout=60
    )
    marked = [line for line in done.stdout.splitlines() if line.startswith(remote.MARK)]
    state = json.loads(marked[0][len(remote.MARK) :])
    assert (len(marked), state["root"]) == (1, str(tmp_path))
    assert set(state["files"]) == {"redis/compose.yaml", str(tmp_path / "redis" / "compose.yaml")}
    assert state["host"]["euid"] == os.geteuid()


def test_all_parts_of_the_verifying_program_are_sent(tmp_path: Path) -> None:
    text = remote.program(remote.VERIFY, "table", [[{"a": 1}], ["a"]])
    done = subprocess.run(
        [sys.executable, "-IS", "-"], input=text, capture_output=True, text=True, check=True, cwd=tmp_path, timeout=60
    )
    assert done.stdout == remote.MARK + json.dumps(["a", "1"]) + "\n"


@pytest.mark.parametrize(
    ("named", "python"),
    [
        ("/opt/python/bin/python3", "/opt/python/bin/python3"),
        ("python3.12", "python3.12"),
        ("auto_silent", "/usr/bin/python3"),
        ("auto", "/usr/bin/python3"),
    ],
)
def test_no_interpreter_is_discovered(named: str, python: str) -> None:
    action = SimpleNamespace(_templar=SimpleNamespace(template=lambda value: value))
    assert remote.interpreter({"ansible_python_interpreter": named}, action) == python


def answering(said: dict[str, Any]) -> SimpleNamespace:
    """An action plugin whose connection takes programs by their standard input."""
    connection = SimpleNamespace(has_pipelining=True, become=None, get_option={"pipelining": True}.__getitem__)
    return SimpleNamespace(
        _connection=connection,
        _compute_environment_string=str,
        _low_level_execute_command=lambda *_a, **_k: said,
    )


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"rc": 1, "stdout": "", "stderr": "Traceback\n  File\nDockerError: no engine"}, "DockerError: no engine"),
        (
            {"rc": 127, "stdout": "", "stderr": "sh: python3: not found"},
            "ended with 127.*not found; install python3 there, or set ansible_python",
        ),
        ({"rc": 0, "stdout": "Welcome!\n", "stderr": ""}, "Welcome!"),
        ({"rc": 255, "stdout": "", "stderr": ""}, "nothing was said"),
        ({"rc": 1, "stdout": f"{remote.MARK}{{}}\n", "stderr": "killed"}, "ended with 1: killed"),
    ],
)
def test_a_program_that_does_not_end_well_says_why(said: dict[str, Any], words: str) -> None:
    action = answering(said)
    with pytest.raises(remote.TripError, match=words):
        remote.ask(action, "python3", "")


def test_what_the_login_says_is_no_part_of_the_answer() -> None:
    said = {"rc": 0, "stdout": f'Welcome!\n{remote.MARK}{{"a": 1}}\nBye.\n', "stderr": "warning"}
    action = answering(said)
    assert remote.ask(action, "python3", "") == {"a": 1}


@pytest.mark.parametrize("name", ["READ", "VERIFY", "LEASE", "CHANGE", "SINGLE", "DROP", "HISTORY", "DEPLOYER"])
def test_a_program_has_all_files_that_it_imports(name: str) -> None:
    parts = getattr(remote, name)
    text = remote.program(parts, "no_such_function", [])
    done = subprocess.run([sys.executable, "-I"], input=text, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr.strip().splitlines()[-1].endswith("has no attribute 'no_such_function'"), done.stderr
