"""`make cores` tries what the collection says it supports, and all that depends on Ansible's version."""

from __future__ import annotations

import re
import sys

import yaml

from tests import rolekit

sys.path.insert(0, str(rolekit.ROOT / "molecule"))

from testbed import cores

COLLECTION = rolekit.ROOT / "collections/ansible_collections/landfall/vps"


def test_both_bounds_of_the_collection_are_those_of_the_matrix() -> None:
    bounds = yaml.safe_load((COLLECTION / "meta/runtime.yml").read_text())["requires_ansible"]
    found = re.fullmatch(r">=2\.(\d+)\.0,<2\.(\d+)\.0", bounds)
    assert found, bounds
    assert list(cores.CORES) == [f"2.{minor}" for minor in range(int(found.group(1)), int(found.group(2)))]
    assert all(version.startswith(core + ".") for core, version in cores.CORES.items())


def test_what_depends_on_ansible_is_tried() -> None:
    private = re.compile(
        r"plugin_utils import [\w, ]*\b(?:seam|session|secrets|remote)\b|ansible-playbook|plugins\.action"
    )
    for path in sorted((rolekit.ROOT / "tests" / "engine").glob("test_*.py")):
        assert not private.search(path.read_text()) or f"engine/{path.name}" in cores.TESTS, path.name
    assert all((rolekit.ROOT / "tests" / name).is_file() for name in cores.TESTS)
