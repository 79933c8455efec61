"""Records are read, migrated or refused by name; none is taken for something that it is not."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.landfall.vps.plugins.module_utils import host, records, trip
from hypothesis import example, given
from hypothesis import strategies as st

from tests.engine.world import World, install, request

WHOLE = {
    "format": 1,
    "name": "web",
    "group": "web",
    "files": {"web/compose.yaml": "0:644:0"},
    "containers": {"web": {"service": "web", "image": "x:1"}},
    "meta": {},
    "proven": True,
}


def put(root: Path, text: str) -> None:
    (root / ".state").mkdir(exist_ok=True)
    (root / ".state" / "web.json").write_text(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "cannot be read"),
        (json.dumps(WHOLE)[:40], "cannot be read"),
        ("[]", "is no record"),
        ("null", "is no record"),
        (json.dumps({**WHOLE, "format": 99}), "was written by a newer Landfall (format 99, this one reads up to 2)"),
        (json.dumps({**WHOLE, "format": "1"}), "no format number"),
        (json.dumps({**WHOLE, "format": 0}), "no format number"),
        (json.dumps({**WHOLE, "files": []}), "'files' is missing or of a wrong type"),
        (json.dumps({**WHOLE, "files": {"web/compose.yaml": None}}), "'files.web/compose.yaml' is missing"),
        (json.dumps({**WHOLE, "containers": {"web": "x:1"}}), "'containers.web' is missing"),
        (json.dumps({k: v for k, v in WHOLE.items() if k != "meta"}), "'meta' is missing"),
        (json.dumps({**WHOLE, "proven": "yes"}), "'proven' is missing"),
    ],
)
def test_what_is_no_record_of_ours_is_refused_by_its_file(tmp_path: Path, text: str, words: str) -> None:
    put(tmp_path, text)
    with pytest.raises(records.BadRecord) as refused:
        records.load(str(tmp_path), "web")
    assert words in str(refused.value) and str(tmp_path / ".state" / "web.json") in str(refused.value)
    good, bad = records.load_all(str(tmp_path))
    assert (good, list(bad)) == ({}, ["web"])
    assert list(host.gather(str(tmp_path), [])["bad_records"]) == ["web"]


def test_one_of_the_version_before_is_read(tmp_path: Path) -> None:
    put(tmp_path, json.dumps({k: v for k, v in WHOLE.items() if k != "format"}))
    record = records.load(str(tmp_path), "web")
    assert record is not None and record["name"] == "web"


def test_an_older_format_is_migrated_step_by_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def second(value: dict[str, Any]) -> dict[str, Any]:
        return {**value, "second": True}

    def third(value: dict[str, Any]) -> dict[str, Any]:
        return {**value, "third": value["second"]}

    monkeypatch.setattr(records, "RECORD_FORMAT", 4)
    monkeypatch.setattr(records, "MIGRATIONS", {**records.MIGRATIONS, 2: second, 3: third})
    put(tmp_path, json.dumps(WHOLE))
    record = records.load(str(tmp_path), "web")
    assert record is not None and record["third"] is True


def test_a_trip_changes_nothing_beside_a_record_that_it_cannot_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path)
    install(world, monkeypatch)
    put(tmp_path, "{")
    before = sorted(tmp_path.rglob("*"))
    files = {"web/compose.yaml": b'{"name": "web", "services": {"web": {"image": "x:1"}}}'}
    result = trip.component(request(tmp_path, "web", files), False, False)
    assert "web.json cannot be read" in result["msg"] and "nothing was changed" in result["msg"]
    told = {"lock.guard", "last-run", "audit.jsonl", "deploys", "figures.json", "deploys.prom"}
    assert [p for p in sorted(tmp_path.rglob("*")) if p.name not in told] == before


def test_a_full_disk_leaves_the_record_of_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, json.dumps(WHOLE))

    def full(_number: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        records.write(str(tmp_path), "web", {**WHOLE, "proven": False})
    assert records.load(str(tmp_path), "web") == WHOLE
    assert sorted(p.name for p in (tmp_path / ".state").iterdir()) == ["web.json"]


@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
@example(text="日本 🚀 é")
@example(text="a\u2028b\u0085c\ufeffd\x7fe")
def test_what_compose_is_handed_means_what_was_written(text: str) -> None:
    """An emoji in the environment stopped a worker that started first: JSON writes it as a pair, YAML has none."""
    value = {"services": {"web-next": {"environment": {"T": text}}}}
    written = records.as_compose(value)
    assert yaml.safe_load(written) == json.loads(written) == value
    written.encode("utf-8")
