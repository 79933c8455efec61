"""Generated secrets: one for each host and name, made once, whole or not at all."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.landfall.vps.plugins.plugin_utils import secrets


def files(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}


def store(folder: Path, *, rehearse: bool = False, told: list[str] | None = None) -> secrets.Store:
    heard = [] if told is None else told
    return secrets.Store(str(folder), str(folder), rehearse, "run", heard.append, lambda: ["a", "b"])


def test_two_runs_at_once_make_one_secret(tmp_path: Path) -> None:
    told: list[str] = []

    def ask(_number: int) -> str:
        return store(tmp_path / "secrets", told=told).get("x", "a", False, 40, "ab")

    with ThreadPoolExecutor(max_workers=16) as pool:
        assert len(set(pool.map(ask, range(64)))) == 1
    assert len(told) == 1, told


@pytest.mark.parametrize("error", [PermissionError("links are not possible here"), OSError(95, "no links")])
def test_a_file_system_without_links_makes_one_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def refuse(*_args: Any) -> None:
        raise error

    monkeypatch.setattr(os, "link", refuse)
    with ThreadPoolExecutor(max_workers=8) as pool:
        found = set(pool.map(lambda _n: store(tmp_path).get("x", "a", False, 40, "ab"), range(16)))
    assert len(found) == 1 and files(tmp_path / "host_vars") == {"a/x": found.pop() + "\n"}


@pytest.mark.parametrize("host", ["../../etc", ".", "..", "a/b", "2001:db8::1", "ünï", "a b", "%2E", "root@host"])
def test_any_host_has_one_folder_below_the_store(tmp_path: Path, host: str) -> None:
    made = store(tmp_path).get("x", host, False, 40, "ab")
    assert [path.read_text() for path in tmp_path.glob("host_vars/*/x")] == [made + "\n"]
    assert store(tmp_path).get("x", host, False, 40, "ab") == made


def test_two_hosts_never_meet_in_one_folder() -> None:
    hosts = ["a/b", "a%2Fb", "a_b", "..", "%2E%2E", ".", "a", "A", "a.b", "ab"]
    assert len({secrets.place_of(host) for host in hosts}) == len(hosts)


@pytest.mark.parametrize(
    ("content", "words"), [("", "is empty; restore it"), ("\n \n", "is empty"), (b"\xff\xfe", "cannot be read")]
)
def test_a_file_that_holds_no_secret_is_named(tmp_path: Path, content: Any, words: str) -> None:
    path = tmp_path / "host_vars" / "a" / "x"
    path.parent.mkdir(parents=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(secrets.SecretError, match=words) as refused:
        store(tmp_path).get("x", "a", False, 40, "ab")
    assert str(path) in str(refused.value)


@pytest.mark.parametrize("name", ["../x", "", "a/b", ".hidden", "a b", "x\n"])
def test_a_name_that_is_no_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(secrets.SecretError, match="no name of a secret"):
        store(tmp_path).get(name, "a", False, 40, "ab")


def test_a_full_disk_leaves_no_half_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(secrets.SecretError, match=r"x cannot be kept at .*No space left"):
        store(tmp_path).get("x", "a", False, 40, "ab")
    assert files(tmp_path) == {}


def test_a_folder_that_cannot_be_written_is_read(tmp_path: Path) -> None:
    made = store(tmp_path).get("x", "a", False, 40, "ab")
    (tmp_path / ".gitignore").unlink()
    blocked = tmp_path / ".gitignore"
    blocked.mkdir()  # root may write anywhere: this is the nearest to a folder that refuses
    assert store(tmp_path).get("x", "a", False, 40, "ab") == made


def test_the_alphabet_is_that_of_the_password_lookup() -> None:
    assert secrets.characters(["digits", "%@:/?#$\"'"]) == "".join(sorted("0123456789%@:/?#$"))
    assert set(secrets.generate(4000, "abc")) == set("abc")
    assert len(secrets.rehearsed(100, "abcd", "run", "path")) == 100


def test_what_is_said_of_several_is_said_once() -> None:
    assert secrets.grouped(["a made in x", "b made in x", "a made in x", "c made in y"]) == [
        "a, b made in x",
        "c made in y",
    ]


def test_hosts_of_a_stack_agree_among_themselves_only(tmp_path: Path) -> None:
    before = store(tmp_path).get("x", "was-alone", False, 40, "ab")
    store(tmp_path).get("x", "stranger", False, 40, "ab")
    made = store(tmp_path)
    made.among = ["was-alone", "new"]
    assert "whatever" in secrets.EVERY
    assert made.get("x", "new", "x" in secrets.EVERY, 40, "ab") == before
