"""A key that no item may have is told by its item, with what was meant: people come from Compose."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, cast

import pytest
from ansible_collections.landfall.vps.plugins.plugin_utils import formats, keys

from tests import rolekit
from tests.test_text import faults, service

INSTEAD = [
    (role, variable, instead)
    for role in rolekit.role_names()
    for variable, instead in formats.load(str(rolekit.ROLES), role)["instead"].items()
]


def documented(role: str, variable: str) -> dict[str, Any]:
    return cast("dict[str, Any]", rolekit.options(role)[variable]["options"])


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("ports: ['8080:80']", "write publish"),
        ("healthcheck: {test: [a]}", "write health"),
        ("restart: always", "leave it out"),
        ("depend_on: [a]", "did you mean 'depends_on'?"),
        ("mem_limit: 1g", "limits: {memory"),
        ("privileged: true", "where app_allow permits it"),
        ("oom_score_adj: 5", "under the key compose"),
        ("limits: {memroy: 1g}", "did you mean 'memory'?"),
    ],
)
def test_a_key_of_compose_is_told_with_what_is_written_here(line: str, hint: str, tmp_path: Path) -> None:
    found = faults(tmp_path, service(line), roles=("app",))
    assert len(found) == 1 and "app_services[0]" in found[0] and hint in found[0], found
    assert line.split(":", maxsplit=1)[0] in found[0] or "memroy" in found[0]


def test_the_item_is_named_also_where_another_is_right(tmp_path: Path) -> None:
    two = service() + "  - name: front\n    image: example/front:1\n    health: [\"true\"]\n    ports: ['80:80']\n"
    found = faults(tmp_path, two, roles=("app",))
    assert [fault for fault in found if fault.startswith("app_services[1] (front) has no key 'ports'")], found


@pytest.mark.parametrize(("role", "variable", "instead"), INSTEAD)
def test_hints_are_for_keys_that_do_not_exist_and_name_ones_that_do(
    role: str, variable: str, instead: dict[str, str]
) -> None:
    known = documented(role, variable)
    assert not set(instead) & set(known)
    for key, hint in instead.items():
        wanted = re.match(r"write ([a-z_]+)", hint)
        if key != keys.OTHERS and wanted:
            assert wanted.group(1) in known, (key, hint)


def test_other_faults_of_a_variable_are_told_beside_its_unknown_keys(tmp_path: Path) -> None:
    found = faults(tmp_path, service("ports: ['80:80']", "replicas: many"), roles=("app",))
    assert any("'ports'" in fault for fault in found) and any("replicas" in fault for fault in found), found
    assert not any("Supported parameters include" in fault for fault in found), found
