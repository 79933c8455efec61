"""What is read of a VPS that others live on, too: its own files only, and whatever happens to them meanwhile."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.landfall.vps.plugins.module_utils import host
from ansible_collections.landfall.vps.plugins.module_utils.lock import Lock


def put(root: Path, path: str, text: str = "x") -> str:
    place = root / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text, encoding="utf-8")
    return path


REST: dict[str, Any] = {"containers": {}, "meta": {}, "proven": True}


def record(root: Path, name: str, files: Any) -> None:
    put(root, f".state/{name}.json", json.dumps({"name": name, "files": files, **REST}))


def gathered(root: Path, *extra: str) -> dict[str, str]:
    files: dict[str, str] = host.gather(str(root), list(extra))["files"]
    return files


def test_a_lock_alone_is_no_trace_of_landfall(tmp_path: Path) -> None:
    """It is taken for the engine and the VPS itself as well, before the first component: what is there is not ours."""
    with Lock(str(tmp_path), "run", "anna@laptop").held("Docker Engine"):
        assert not host.traces(str(tmp_path), {})["been_here"]
    Lock(str(tmp_path), "run", "anna@laptop").end()
    assert (tmp_path / ".state").is_dir() and not host.traces(str(tmp_path), {})["been_here"]
    (tmp_path / ".state/redis.json").write_text("{}")
    assert host.traces(str(tmp_path), {})["been_here"]


def test_only_own_files_are_read(tmp_path: Path) -> None:
    own = [
        put(tmp_path, path)
        for path in (
            "redis/compose.yaml",
            "redis/config/redis.conf",
            "redis/config/a/b/added-by-hand",
            "redis/secrets/password",
            "prometheus/rules.d/redis--redis.yml",
            "app/config/of-a-component-without-record",
        )
    ]
    named = put(tmp_path, "loki/extra/named-by-the-record")
    record(tmp_path, "loki", {named: "mark"})
    for path in ("redis/data/dump.rdb", "app/uploads/1/2.pdf", "backup.tar", "redis/notes.txt", "x/rules.d/deep/er"):
        put(tmp_path, path)
    assert sorted(gathered(tmp_path)) == sorted([*own, named, "x/rules.d/deep"])


def test_data_below_the_root_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "redis/config/redis.conf")
    put(tmp_path, "redis/data/dump.rdb")
    opened: list[str] = []
    really = os.open

    def spy(path: Any, *rest: Any, **more: Any) -> int:
        opened.append(str(path))
        return really(path, *rest, **more)

    monkeypatch.setattr(os, "open", spy)
    gathered(tmp_path)
    mine = [path for path in opened if str(tmp_path) in path and "/.state/" not in path]
    assert mine == [str(tmp_path / "redis/config/redis.conf")]


def test_what_vanishes_while_it_is_read_is_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "node_exporter/textfile.d/backup.prom")
    put(tmp_path, "node_exporter/textfile.d/backup.prom.1234")
    put(tmp_path, "redis/config/one")
    put(tmp_path, "redis/config/two")
    record(tmp_path, "redis", {"redis/config/one/below-a-file": "mark", "redis/gone": "mark"})
    calls: dict[str, Any] = {"lstat": os.lstat, "open": os.open}

    def vanish(call: str) -> Any:
        def before(path: Any, *rest: Any, **more: Any) -> Any:
            if str(path).endswith((".1234", "/one")):
                Path(path).unlink(missing_ok=True)
            return calls[call](path, *rest, **more)

        return before

    for call in calls:
        with monkeypatch.context() as patch:
            patch.setattr(os, call, vanish(call))
            assert sorted(gathered(tmp_path)) == ["node_exporter/textfile.d/backup.prom", "redis/config/two"]
        put(tmp_path, "node_exporter/textfile.d/backup.prom.1234")
        put(tmp_path, "redis/config/one")


def test_what_is_no_ordinary_file_has_a_mark_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "app" / "config"
    put(tmp_path, "app/config/plain", "text")
    put(tmp_path, "app/config/large", "a" * 33)
    os.mkfifo(folder / "pipe")
    (folder / "loop").symlink_to("loop")
    (folder / "to-the-root").symlink_to("/")
    (folder / "compose-like").mkdir()
    record(tmp_path, "app", {"app/config/compose-like": "mark"})
    monkeypatch.chdir(folder)  # the path of a socket may have 107 characters
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        monkeypatch.setattr(host, "LARGEST", 32)
        found = {path.rsplit("/", 1)[1]: mark.split(":")[0] for path, mark in gathered(tmp_path).items()}
    assert found == {
        "plain": hashlib.sha256(b"text").hexdigest(),
        "large": "too-large",
        "pipe": "not-a-file",
        "socket": "not-a-file",
        "loop": "not-a-file",
        "to-the-root": "not-a-file",
        "compose-like": "not-a-file",
    }


def test_what_cannot_be_read_ends_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "app/config/broken")

    def fail(*_arguments: Any, **_more: Any) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "open", fail)
    assert [mark.split(":")[0] for mark in gathered(tmp_path).values()] == ["unreadable"]


def test_a_pipe_that_takes_a_files_name_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "app/config/one")
    really = os.open

    def swapped(path: Any, *rest: Any, **more: Any) -> int:
        if str(path).endswith("/one"):
            Path(path).unlink()
            os.mkfifo(path)
        return really(path, *rest, **more)

    monkeypatch.setattr(os, "open", swapped)
    assert list(gathered(tmp_path)) == ["app/config/one"]


@pytest.mark.parametrize("files", [None, [], "text", 5, {"app/config/one": None}])
def test_a_record_of_wrong_types_ends_no_run(tmp_path: Path, files: Any) -> None:
    put(tmp_path, "app/config/one")
    record(tmp_path, "app", files)
    assert list(gathered(tmp_path)) == ["app/config/one"]


def test_a_root_that_is_not_there_or_a_file_holds_nothing(tmp_path: Path) -> None:
    named = tmp_path / put(tmp_path, "daemon.json")
    assert gathered(tmp_path / "none") == {}
    assert gathered(named) == {}
    assert list(gathered(tmp_path / "none", str(named), str(tmp_path / "absent"))) == [str(named)]


def test_a_root_that_is_no_absolute_path_can_be_looked_at(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is refused by the check of the inventory, which waits for this one."""
    monkeypatch.chdir(tmp_path)
    asked, exists = list[str](), os.path.exists

    def counted(path: str) -> bool:
        asked.append(path)
        assert len(asked) < 100, "it goes round in circles"
        return exists(path)

    monkeypatch.setattr(os.path, "exists", counted)
    assert [disk["holds"] for disk in host.disks({"relative/root": "files"})] == [["files"]]


@pytest.mark.parametrize(
    ("text", "mode", "version"),
    [
        ("#!/bin/sh\necho v2.39.1\n", 0o755, "2.39.1"),
        ("#!/bin/sh\necho v2.39.1\n", 0o644, ""),
        ("\x7fELF of another machine", 0o755, ""),
        ("#!/nowhere/sh\n", 0o755, ""),
        ("#!/bin/sh\nprintf '\\377\\376'\n", 0o755, ""),
        ("#!/bin/sh\nsleep 30\n", 0o755, ""),
    ],
)
def test_a_compose_plugin_that_cannot_be_asked_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, mode: int, version: str
) -> None:
    plugin = tmp_path / put(tmp_path, "docker-compose", text)
    plugin.chmod(mode)
    really = subprocess.run
    monkeypatch.setattr(host, "COMPOSE_PLUGINS", (str(tmp_path),))
    monkeypatch.setattr(subprocess, "run", lambda *argv, **more: really(*argv, **{**more, "timeout": 1}))
    assert host.compose_version(str(tmp_path / "root")) == version
    monkeypatch.setattr(os.path, "exists", lambda _path: True)
    plugin.unlink()
    assert host.compose_version(str(tmp_path / "root")) == ""


def test_a_distribution_is_read_however_it_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for text in ("ID=debian\nVERSION_ID=12\n", "ID='debian'\nVERSION_ID=\"12\"\n"):
        monkeypatch.setattr(host, "OS_RELEASE", str(tmp_path / put(tmp_path, "os-release", text)))
        assert {**host._os_release(), "VERSION_ID": "12"} == {"ID": "debian", "VERSION_ID": "12"}
    (tmp_path / "os-release").write_bytes(b"NAME=Caf\xe9\nID=debian\n")
    assert host._os_release()["ID"] == "debian"
