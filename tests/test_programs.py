"""Programs that tests run come whole, and a machine's own leftovers never count."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests import programs, rolekit


def test_files_at_fixed_places_are_noticed(tmp_path: Path) -> None:
    for name in ("bin/tool", "share/tool/web/index.html", "share/doc/tool/copyright", "share/tool/templates/a.tmpl"):
        (tmp_path / "usr" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "usr" / name).write_text("")
    tool = tmp_path / "usr/bin/tool"
    tool.write_bytes(b"\0/usr/share/tool/web/index.html\0/usr/share/doc/tool/copyright\0/usr/share/tool/templates\0")
    folders = ["/usr/share/tool/templates", "/usr/share/tool/web"]
    assert programs.fixed_places(tool, tmp_path) == [*folders, "/usr/share/tool/web/index.html"]
    tool.write_bytes(b"\0nothing\0")
    assert programs.fixed_places(tool, tmp_path) == []


@pytest.mark.parametrize("package", ["prometheus-alertmanager", "prometheus"])
def test_a_program_that_reads_such_files_is_not_taken_out_of_its_package(package: str) -> None:
    with pytest.raises(programs.Unusable, match=r"/usr/share/prometheus.*in_image"):
        programs.from_debian(package, package)


def test_a_leftover_on_the_machine_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "promtool").write_text("#!/bin/sh\nexit 0\n")
    (tmp_path / "promtool").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    found = Path(programs.from_debian("promtool", "promtool"))
    assert found.is_relative_to(rolekit.ROOT / ".cache/programs")


def test_a_program_in_its_image_sees_the_folder_that_it_is_given(tmp_path: Path) -> None:
    (tmp_path / "alertmanager.yml").write_text("route: {receiver: a}\nreceivers: [{name: a}]\n")
    command = [*programs.in_image("alertmanager", "/bin/amtool", tmp_path), "check-config"]
    done = subprocess.run([*command, str(tmp_path / "alertmanager.yml")], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "1 receivers" in done.stdout, done.stdout + done.stderr
