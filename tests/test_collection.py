"""The collection as it is assembled for Galaxy: complete, calling itself by its full name, documented."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from ansible_collections.landfall.vps.plugins.plugin_utils import seam

from scripts import collection, filter_docs
from tests import rolekit


@pytest.fixture(scope="module")
def assembled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("assembled") / "vps"
    collection.assemble(target)
    return target


def test_roles_playbooks_and_the_application_are_in_it(assembled: Path) -> None:
    assert {path.name for path in (assembled / "roles").iterdir()} == {path.name for path in rolekit.ROLES.iterdir()}
    wanted = {"site.yml", *(path.name for path in (rolekit.ROOT / "playbooks").glob("*.yml"))}
    assert {path.name for path in (assembled / "playbooks").iterdir()} == wanted
    # The default context of its image is beside the roles
    assert (assembled / "app/Dockerfile").is_file()
    assert (assembled / "app/requirements.lock").is_file()
    assert not list((assembled / "app").rglob("tests"))
    assert not [path for path in assembled.rglob("*") if path.name in ("molecule", ".git", "wheelhouse")]
    assert not list((assembled / "inventory").rglob("secrets"))
    assert (assembled / "CHANGELOG.md").read_bytes() == (rolekit.ROOT / "CHANGELOG.md").read_bytes()


def test_its_playbooks_name_roles_in_full_and_nothing_outside(assembled: Path) -> None:
    for path in sorted((assembled / "playbooks").glob("*.yml")):
        text = path.read_text()
        names = re.findall(r"(?:import_role|include_role): *{ *name: *([\w.]+)", text)
        assert all(name.startswith("landfall.vps.") for name in names), path
        assert "../" not in text, path
        for name in names:
            assert (assembled / "roles" / name.rpartition(".")[2]).is_dir()


def test_every_filter_and_test_is_documented(assembled: Path) -> None:
    for path, _document in filter_docs.documents():
        told = yaml.safe_load((assembled / "plugins" / path).read_text())
        assert len(told["DOCUMENTATION"]["short_description"]) > 10, path
    assert len(list((assembled / "plugins/filter").glob("*.yml"))) > 20


def test_a_function_without_docstring_is_refused() -> None:
    with pytest.raises(ValueError, match=r"landfall\.vps\.x: its function has no docstring"):
        filter_docs._document("x", "filter", lambda value: value)


def test_roles_of_a_collection_are_known_by_their_own_names() -> None:
    names = ["landfall.vps.landfall", "landfall.vps.redis", "somebody.elses.redis", "redis"]
    found = seam.roles_of_play({"ansible_role_names": names})
    assert found == ["landfall", "redis", "somebody.elses.redis", "redis"]
