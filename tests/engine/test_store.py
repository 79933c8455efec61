"""Files on the VPS: staged with mode and owner, swapped, taken back."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.landfall.vps.plugins.module_utils.journal import SWAP, BadJournal, Journal
from ansible_collections.landfall.vps.plugins.module_utils.plan import differences, fingerprint
from ansible_collections.landfall.vps.plugins.module_utils.store import Store

UID = os.getuid()
OLD = {
    "web/compose.yaml": b"old",
    "web/config/a": b"a1",
    "web/config/gone": b"g",
    "prometheus/rules.d/web--r.yml": b"r1",
}
NEW = {
    "web/compose.yaml": b"new",
    "web/config/a": b"a1",
    "web/config/sub/b": b"b",
    "prometheus/rules.d/web--r.yml": b"r2",
}


def marks(contents: dict[str, bytes]) -> dict[str, str]:
    return {path: fingerprint(content, 0o644, UID) for path, content in contents.items()}


def put(store: Store, contents: dict[str, bytes], name: str) -> None:
    staged = Path(store.state) / name
    staged.mkdir(parents=True)
    store.stage(str(staged), contents, marks(contents))
    store.swap(str(staged), marks(contents), differences(store.marks(), marks(contents)))
    store.write_record(record(contents))


def record(contents: dict[str, bytes]) -> dict[str, Any]:
    return {"files": marks(contents), "name": "web", "group": "web", "containers": {}, "meta": {}, "proven": True}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(str(tmp_path), "web")
    store.prepare()
    put(store, OLD, "s1")
    return store


def live(store: Store) -> dict[str, bytes]:
    return {path: (Path(store.root) / path).read_bytes() for path in store.marks()}


def test_swap_leaves_exactly_the_new_set(store: Store) -> None:
    put(store, NEW, "s2")
    assert live(store) == NEW
    assert not (Path(store.root) / "web/config/gone").exists()


def change(store: Store, contents: dict[str, bytes], name: str) -> Journal:
    """Begin a journal, then put ``contents`` in place."""
    journal = Journal(store)
    journal.begin(SWAP, differences(store.marks(), marks(contents)), {})
    put(store, contents, name)
    return journal


def test_replaying_the_journal_brings_back_files_record_and_folders(store: Store) -> None:
    before = store.record()
    journal = change(store, {**NEW, "loki/rules.d/web--new.yml": b"n", "prometheus/rules.d/web--new.yml": b"n"}, "s2")
    for _twice in range(2):
        journal.replay()
        assert live(store) == OLD
        assert store.record() == before
        # What the change added in folders of others is gone, and so are the folders that it made
        assert not (Path(store.root) / "prometheus/rules.d/web--new.yml").exists()
        assert not (Path(store.root) / "web/config/sub").exists() and not (Path(store.root) / "loki").exists()
    journal.close()
    assert not list((Path(store.state) / "journal").iterdir())


def test_going_back_needs_no_space_on_the_disk(store: Store) -> None:
    journal = change(store, NEW, "s2")
    kept = [p for p in (Path(store.state) / "journal/web/files").rglob("*") if p.is_file()]
    assert {p.read_bytes() for p in kept} == {b"old", b"g", b"r1"}
    inodes = {p.stat().st_ino for p in kept}
    journal.replay()
    assert {(Path(store.root) / path).stat().st_ino for path in OLD if path != "web/config/a"} == inodes


def test_what_an_unproven_version_brought_counts_as_absent_before(store: Store) -> None:
    store.write_record({**record(OLD), "proven": False})
    journal = change(store, NEW, "s2")
    journal.replay()
    assert live(store) == {} and store.record() is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 9, "paths": {}, "phase": "swap"}', '{"paths": 1}'])
def test_a_journal_that_is_none_is_refused_by_its_path(store: Store, text: str) -> None:
    journal = change(store, NEW, "s2")
    (Path(store.state) / "journal/web/journal.json").write_text(text)
    with pytest.raises(BadJournal, match=r"journal/web/journal\.json"):
        journal.read()


@pytest.mark.parametrize("mask", [0o027, 0o077])
def test_modes_are_set_whatever_the_umask_is(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        store = Store(str(tmp_path / "opt" / "root"), "web")
        store.prepare()
        put(store, {**OLD, "web/secrets/deep/token": b"t"}, "s1")
    finally:
        os.umask(before)
    root = tmp_path / "opt" / "root"
    modes = {str(p.relative_to(root)): oct(p.stat().st_mode & 0o777) for p in [root, *root.rglob("*")] if p.is_dir()}
    assert {path: mode for path, mode in modes.items() if not path.startswith(".state/")} == {
        ".": "0o755",
        ".state": "0o700",
        "web": "0o755",
        "web/config": "0o755",
        "web/secrets": "0o700",
        "web/secrets/deep": "0o700",
        "prometheus": "0o755",
        "prometheus/rules.d": "0o755",
    }


def test_folders_that_an_earlier_version_made_too_narrow_are_opened(store: Store) -> None:
    folders = [Path(store.root) / folder for folder in ("web", "web/config", "prometheus/rules.d")]
    for folder in folders:
        folder.chmod(0o750)
    put(store, {path: content + b"2" for path, content in OLD.items()}, "s2")
    assert {oct(folder.stat().st_mode & 0o777) for folder in folders} == {"0o755"}


def test_secrets_are_for_their_owner_alone(tmp_path: Path) -> None:
    store = Store(str(tmp_path), "web")
    store.prepare()
    contents = {"web/secrets/sub/token": b"t"}
    wanted = {path: fingerprint(text, 0o400, UID) for path, text in contents.items()}
    (tmp_path / ".state/s").mkdir()
    store.stage(str(tmp_path / ".state/s"), contents, wanted)
    store.swap(str(tmp_path / ".state/s"), wanted, differences({}, wanted))
    token = tmp_path / "web/secrets/sub/token"
    assert [oct(path.stat().st_mode & 0o777) for path in (token, token.parent, token.parent.parent)] == [
        "0o400",
        "0o700",
        "0o700",
    ]
    assert store.marks() == wanted
