"""Dashboards of an inventory: placed as they are beside those of the roles, and judged before anything changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests import inventories, rolekit

FOLDER = "grafana/dashboards.d/grafana--"


def board(folder: Path, name: str, **more: Any) -> str:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps({"uid": "shop", "title": "{{ Shop }}", "panels": [], **more}))
    return str(folder / name)


def test_a_dashboard_of_one_s_own_is_taken_as_it_is(tmp_path: Path) -> None:
    paths = [board(tmp_path, "shop.json"), board(tmp_path, "more.json", uid="more")]
    found = rolekit.component("grafana", tmp_path, grafana_dashboard_files=paths, landfall_prefix="two-").contents
    assert found[FOLDER + "shop.json"] == Path(paths[0]).read_bytes() and FOLDER + "more.json" in found
    assert FOLDER + "slo.json" in found, "those of the role are still there"
    values = {"grafana_dashboard_files": ["{{ inventory_dir }}/shop.json"]}
    assert inventories.faults(inventories.written(tmp_path, values)) == []


@pytest.mark.parametrize(
    ("files", "told"),
    [
        (
            {"shop.json": {"uid": "landfall-overview"}},
            "its uid landfall-overview is that of roles/prometheus/files/dashb",
        ),
        ({"shop.json": {}, "b/other.json": {}}, "its uid shop is that of"),
        ({"shop.json": {}, "b/shop.json": {"uid": "b"}}, "another file has this name; rename one"),
        ({"shop.json": {"uid": ""}}, 'its uid is ""; it must be'),
        ({"shop.json": {"uid": None}}, "its uid is missing; it must be"),
        ({"shop.json": {"uid": "a b"}}, 'its uid is "a b"; it must be'),
        ({"shop.yml": {}}, "must end in .json, or nobody would load it"),
        ({}, "there is no file"),
        ({"shop.json": None}, "it is no dashboard in JSON"),
    ],
)
def test_refused_by_the_variable_and_the_file(files: dict[str, Any], told: str, tmp_path: Path) -> None:
    paths = [board(tmp_path, name, **(more or {})) for name, more in files.items()] or [str(tmp_path / "none.json")]
    if None in files.values():
        Path(paths[0]).write_text('{"uid": ')
    with pytest.raises(Exception, match="grafana_dashboard_files: ") as no:
        rolekit.component("grafana", tmp_path, grafana_dashboard_files=paths)
    assert told in str(no.value) and str(tmp_path) in str(no.value)
