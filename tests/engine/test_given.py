"""Files of the controller that are sent on: those that somebody wrote."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.landfall.vps.plugins.plugin_utils import given as sending


def test_what_python_keeps_beside_a_program_is_not_sent(tmp_path: Path) -> None:
    for name in ("b.py", "__pycache__/b.cpython-311.pyc", "more/a.py", "more/__pycache__/a.cpython-311.pyc"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x", "utf-8")
    assert sending.below(str(tmp_path)) == [str(tmp_path / "b.py"), str(tmp_path / "more/a.py")]
