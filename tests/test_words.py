"""The glossary is kept: docs, messages and the texts of roles use its terms and none of the words it replaces."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml

from tests import rolekit

ROOT = rolekit.ROOT
GLOSSARY = ROOT / "docs/glossary.md"
PLUGINS = ROOT / "collections/ansible_collections/landfall/vps/plugins"
ROW = re.compile(r"^\| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)
# Code keeps its names, and networks their round trips
CODE = re.compile(
    r"^```.*?^```$|``[^`]+``|`[^`\n]+`|\]\([^)]*\)|https?://\S+|C\([^)]*\)|^module: \w+$|round[ -]trips?",
    re.MULTILINE | re.DOTALL,
)
PAGES = [
    *ROOT.glob("*.md"),
    *(ROOT / "docs").rglob("*.md"),
    *(ROOT / "roles").glob("*/README.md"),
    *(ROOT / "collections").rglob("*.md"),
    *(ROOT / "changelogs/fragments").glob("*.yml"),
]
# What has been released keeps the words of its time
RELEASED = {"CHANGELOG.md"}


@cache
def _glossary() -> tuple[dict[str, str], dict[str, str]]:
    """Terms with their meaning; words that are not to be used with what is used instead."""
    terms, _, instead = GLOSSARY.read_text("utf-8").partition("\n## Instead of\n")
    found = [dict(ROW.findall(part)) for part in (terms, instead)]
    for table in found:
        table.pop("---", None)
    found[0].pop("term")
    found[1].pop("not")
    return found[0], found[1]


def refused(text: str) -> list[str]:
    """Return the words of a text that the glossary replaces, with what it has instead."""
    plain = CODE.sub(" ", text)
    return [
        f"{word!r}: say {better!r}"
        for words, better in _glossary()[1].items()
        for word in words.split(", ")
        if re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", " ".join(plain.split()), re.IGNORECASE)
    ]


def _said(path: Path) -> Iterator[str]:
    """The texts of a plugin that somebody may read on a screen: all but names, examples and docstrings."""
    tree = ast.parse(path.read_text("utf-8"))
    # Docstrings, of attributes too, are expressions
    own = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    own |= {
        id(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and [getattr(one, "id", "") for one in node.targets] == ["EXAMPLES"]
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in own:
            # A name, a path or a key is no sentence
            yield node.value if " " in node.value else ""


def _texts(value: object) -> Iterator[str]:
    """Descriptions of an argument spec."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in ("description", "short_description"):
                yield inner if isinstance(inner, str) else " ".join(inner)
            else:
                yield from _texts(inner)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_uses_the_words_of_the_glossary(page: Path) -> None:
    text = page.read_text("utf-8")
    if page == GLOSSARY:
        text = text.partition("\n## Instead of\n")[0]
    assert page.name in RELEASED or refused(text) == []


@pytest.mark.parametrize("plugin", sorted(PLUGINS.rglob("*.py")), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_message_uses_the_words_of_the_glossary(plugin: Path) -> None:
    assert [fault for text in _said(plugin) for fault in refused(text)] == []


@pytest.mark.parametrize("role", rolekit.role_names())
def test_a_role_describes_its_variables_in_the_words_of_the_glossary(role: str) -> None:
    spec = yaml.safe_load((rolekit.ROLES / role / "meta/argument_specs.yml").read_text("utf-8"))
    assert [fault for text in _texts(spec) for fault in refused(text)] == []


def test_names_of_tasks_use_the_words_of_the_glossary() -> None:
    found = []
    for path in [ROOT / "site.yml", *(ROOT / "playbooks").rglob("*.yml"), *(ROOT / "roles").glob("*/*/*.yml")]:
        for line in path.read_text("utf-8").splitlines():
            name = re.match(r"\s*- name: (.*)", line)
            found += [f"{path.relative_to(ROOT)}: {fault}" for fault in refused(name[1] if name else "")]
    assert found == []


def test_words_are_found_and_code_is_not() -> None:
    assert refused("It makes one TRIP to\nthe VPS.") == ["'trip': say 'run on the VPS'"]
    assert refused("see `trip.py`, [it](../trip) or a round-trip") == []
    assert refused("```\nsettle\n```\n") == []
    assert len(refused("the moving\nvan settles")) == 3


def test_terms_are_defined_once_and_not_by_what_they_replace() -> None:
    terms, instead = _glossary()
    assert len(terms) >= 20 and len(instead) >= 8
    assert [fault for meaning in terms.values() for fault in refused(meaning)] == []
    assert GLOSSARY.read_text("utf-8").count("\n| ") == len(terms) + len(instead) + 2
