"""The documentation site: what is shown is true, every page is there, and nothing of it is fetched from elsewhere."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible_collections.landfall.vps.plugins.plugin_utils import formats, specs

from scripts import role_pages, website
from tests import rolekit

SPECS = specs.role_specs(str(rolekit.ROLES))
SAID = {role: formats.load(str(rolekit.ROLES), role) for role in rolekit.role_names()}
# What an example takes from a vault or from files beside the inventory
EXAMPLES = "".join(path.read_text("utf-8") for path in rolekit.ROLES.glob("*/meta/examples.yml"))
GIVEN = {
    name: "https://x.example.org/y" if name.endswith("_url") else "s3cret"
    for name in re.findall(r"vault_\w+", EXAMPLES)
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole site, built as `make site` builds it."""
    return website.build(rolekit.ROOT, tmp_path_factory.mktemp("site"))


def test_every_page_is_on_the_site(site: Path) -> None:
    for path, place in website.places(rolekit.ROOT).items():
        name = place.removesuffix(".md")
        name = name.removesuffix("README").removesuffix("index")
        assert (site / name / "index.html").is_file(), path


def test_a_browser_fetches_nothing_from_elsewhere(site: Path) -> None:
    for page in [site / "index.html", site / "roles/redis/index.html", site / "runbooks/RedisDown/index.html"]:
        text = page.read_text("utf-8")
        loaded = re.findall(r'<(?:script|img|iframe)\b[^>]*\bsrc="([^"]+)"', text)
        loaded += re.findall(r'<link\b[^>]*\brel="(?:stylesheet|preload|icon)"[^>]*\bhref="([^"]+)"', text)
        loaded += re.findall(r'<link\b[^>]*\bhref="([^"]+)"[^>]*\brel="(?:stylesheet|preload|icon)"', text)
        assert loaded and [one for one in loaded if re.match(r"(https?:)?//", one)] == []


def test_the_site_is_searched_without_a_server(site: Path) -> None:
    assert "redis_maxmemory" in (site / "search/search_index.json").read_text("utf-8")


@pytest.mark.parametrize("role", rolekit.role_names())
def test_a_role_page_has_every_variable_with_type_default_and_example(role: str) -> None:
    text = role_pages.page(rolekit.ROLES / role / "README.md")
    for name, option in SPECS[role].items():
        part = text.partition(f"\n### {name}\n")[2].partition("\n### ")[0]
        assert f"Type: {option['type']}" in part and "Default: " in part, name
        assert f"```yaml\n{name}:" in part, (
            f"{name}: its default is empty; add an example to roles/{role}/meta/examples.yml"
        )


def _value(templar: Templar, values: dict[str, Any], name: str) -> Any:
    return templar.template(values[name])


@pytest.mark.parametrize("role", [role for role in rolekit.role_names() if role_pages.examples(rolekit.ROLES / role)])
def test_an_example_is_accepted(role: str, tmp_path: Path) -> None:
    path = rolekit.ROLES / role / "meta/examples.yml"
    shown: dict[str, Any] = DataLoader().load_from_file(str(path), trusted_as_template=True)
    (tmp_path / "db-ca.pem").write_text("-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n", "utf-8")
    assert set(shown) <= set(SPECS[role])
    for name, value in shown.items():
        values = {**rolekit.inventory(tmp_path), **GIVEN, "inventory_dir": str(tmp_path), name: value}
        templar = Templar(loader=DataLoader(), variables=values)
        read = partial(_value, templar, values)
        found = specs.inventory_faults([role], SPECS, list(values), read, said=SAID)
        assert [fault for fault in found if fault.startswith(name)] == []


PAGES = {"README.md": "index.md", "docs/README.md": "guides.md", "docs/operations/tls.md": "operations/tls.md",
         "docs/runbooks/README.md": "runbooks/README.md", "roles/caddy/README.md": "roles/caddy.md"}  # fmt: skip


@pytest.mark.parametrize(
    ("page", "link", "expected"),
    [
        ("docs/operations/tls.md", "../../roles/caddy/README.md#x", "../roles/caddy.md#x"),
        ("docs/operations/tls.md", "../runbooks/", "../runbooks/README.md"),
        ("docs/operations/tls.md", "#here", "#here"),
        ("docs/operations/tls.md", "https://x/y.md", "https://x/y.md"),
        ("docs/README.md", "../README.md", "index.md"),
        ("README.md", "docs/README.md", "guides.md"),
        ("README.md", "tests/test_docs.py", f"{website.REPOSITORY}/blob/main/tests/test_docs.py"),
        ("README.md", "molecule/engine", f"{website.REPOSITORY}/tree/main/molecule/engine"),
        ("roles/caddy/README.md", "../../docs/operations/tls.md", "../operations/tls.md"),
    ],
)
def test_links_lead_to_pages_or_to_the_repository(page: str, link: str, expected: str) -> None:
    assert website.moved(link, page, PAGES, rolekit.ROOT) == expected


def test_links_in_code_stay() -> None:
    assert website.rewritten("[a](b) `[a](b)`\n```\n[a](b)\n```\n", str.upper) == "[a](B) `[a](b)`\n```\n[a](b)\n```\n"


def test_a_guide_that_the_index_leaves_out_is_refused() -> None:
    pages = {**website.places(rolekit.ROOT), "docs/forgotten.md": "forgotten.md"}
    with pytest.raises(website.SiteError, match=r"does not list docs/forgotten\.md"):
        website.navigation(rolekit.ROOT, pages)


def test_a_dead_link_ends_the_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = role_pages.index
    monkeypatch.setattr(role_pages, "index", lambda roles: real(roles) + "\n[x](nowhere.md) [y](redis.md#nothing)\n")
    with pytest.raises(website.SiteError, match=r"(?s)nowhere\.md.*#nothing"):
        website.build(rolekit.ROOT, tmp_path)
