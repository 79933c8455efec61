"""``-e name=5`` is text to Ansible: a number that comes as text makes the same files as the number."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests import rolekit
from tests.test_every_value import SPECS, USED


def made(role: str, folder: Path, **variables: Any) -> Any:
    found = rolekit.components(role, folder, **{**USED, **variables})
    meta = [json.dumps(dict(one.desired.meta), sort_keys=True, default=str) for one in found]
    return meta, [dict(one.contents) for one in found]


@pytest.mark.parametrize("role", rolekit.component_names())
def test_a_number_may_be_text(role: str, tmp_path: Path) -> None:
    known = rolekit.inventory(tmp_path, **USED)
    every = {name: option for options in SPECS.values() for name, option in options.items()}  # rules know each other's
    names = [name for name, option in every.items() if option.get("type") in ("int", "float") and name in known]
    values = {name: rolekit.template(known[name], {**known, "role_path": str(rolekit.ROLES / role)}) for name in names}
    numbers = {name: value for name, value in values.items() if isinstance(value, (int, float))}
    assert made(role, tmp_path, **{name: str(value) for name, value in numbers.items()}) == made(
        role, tmp_path, **numbers
    )
