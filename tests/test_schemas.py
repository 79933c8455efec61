"""The configuration of Loki and Alloy, key by key against what their documentation says of the pinned version.

tests/schemas/ holds names and types as the documentation of that version lists them. A new version of an image fails
the tests here until somebody has compared the keys with its page.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import rolekit

SCHEMAS = rolekit.ROOT / "tests" / "schemas"
GO_DURATION = r"(\d+(\.\d+)?(ns|us|µs|ms|s|m|h))+"
# How a value of a documented type is written, for scalars
FORMS: dict[str, re.Pattern[str]] = {
    name: re.compile(form)
    for name, form in {
        "boolean": r"true|false",
        "bool": r"true|false",
        "int": r"-?\d+|\d+ ?(B|[KMGTPE]B)",
        "uint": r"\d+",
        "float": r"-?\d+(\.\d+)?",
        "duration": GO_DURATION,
        "daytime": r"\d{4}-\d{2}-\d{2}",
        "string": r".*",
        "secret": r".*",
    }.items()
}
Leaf = tuple[str, Any]


@cache
def schema(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((SCHEMAS / f"{name}.yml").read_text(encoding="utf-8")))


def fits(kind: str, value: Any) -> bool:
    """Say whether a value can be of a documented type; lists and maps are judged by what they hold."""
    if kind.startswith("list"):
        return isinstance(value, list) and all(fits(kind[5:-1], item) for item in value)
    if kind.startswith("map"):
        return isinstance(value, dict) and all(fits(kind[4:-1], item) for item in value.values())
    if kind not in FORMS:
        return type(value).__name__ == "Ref"  # LogsReceiver, RelabelRules: what another component exports
    text = str(value).lower() if isinstance(value, bool) else str(value)
    quoted = isinstance(value, str) == (kind in ("string", "secret", "duration", "daytime"))
    return FORMS[kind].fullmatch(text) is not None and (quoted or (kind == "int" and not text.isdigit()))


def leaves(value: Any, path: str = "") -> Iterator[Leaf]:
    """Every scalar of a document with its path; items of a list share one."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, f"{path}.{key}".lstrip("."))
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner, path)
    else:
        yield path, value


def loki_faults(document: Any) -> list[str]:
    known = schema("loki")["keys"]
    return [
        f"{path}: {value!r} is no {known.get(path, 'documented key')}"
        for path, value in leaves(document)
        if path not in known or not fits(known[path], value)
    ]


def alloy_faults(text: str) -> list[str]:
    sys.path.insert(0, str(rolekit.ROOT / "molecule/images/standins/alloy"))
    try:
        syntax = importlib.import_module("syntax")  # its parser; what it knows of components is not used here
    finally:
        sys.path.pop(0)
    known = schema("alloy")["blocks"]
    found = []
    for block in syntax.Parser(text, "config.alloy").file():
        for name, inner in [(block.name, block), *((f"{block.name}/{below.name}", below) for below in block.blocks)]:
            if name not in known:
                found.append(f"{name}: no documented block")
                continue
            needed = {key for key, kind in known[name].items() if kind.endswith("!")}
            found += [f"{name}: {key} is missing" for key in sorted(needed - inner.attributes.keys())]
            for key, value in inner.attributes.items():
                kind = known[name].get(key, "").rstrip("!")
                if not kind or not (fits(kind, value) or (kind.startswith("list") and type(value).__name__ == "Ref")):
                    found.append(f"{name}: {key} = {value!r} is no {kind or 'documented argument'}")
    return found


@pytest.mark.parametrize("name", ["loki", "alloy"])
def test_the_schema_is_that_of_the_pinned_version(name: str, tmp_path: Path) -> None:
    variables = rolekit.inventory(tmp_path)
    image = rolekit.template(variables[f"{name}_image"], variables)
    assert image.rsplit(":", 1)[1] == schema(name)["version"], f"compare tests/schemas/{name}.yml with its source"


@pytest.mark.parametrize("profile", ["standard", "full"])
def test_every_key_of_loki_is_documented_and_of_its_type(profile: str, tmp_path: Path) -> None:
    text = rolekit.text(rolekit.component("loki", tmp_path, landfall_profile=profile), "loki/config/loki.yaml")
    document = yaml.safe_load(text)
    assert loki_faults(document) == []
    assert {path for path, _ in leaves(document)} == schema("loki")["keys"].keys(), "keys that nothing uses any more"


@pytest.mark.parametrize("journal", [True, False])
def test_every_argument_of_alloy_is_documented_and_of_its_type(journal: bool, tmp_path: Path) -> None:
    rendered = rolekit.component("alloy", tmp_path, alloy_journal=journal, alloy_exclude_containers=["noisy-.*"])
    assert alloy_faults(rolekit.text(rendered, "alloy/config/config.alloy")) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("limits_config.retention_perod", "720h"),
        ("limits_config.retention_period", "30 days"),
        ("limits_config.retention_period", 720),
        ("querier.max_concurrent", "four"),
        ("auth_enabled", "no"),
        ("limits_config.max_line_size", "256 kilobytes"),
    ],
)
def test_what_loki_would_not_take_is_noticed(path: str, value: Any) -> None:
    document: Any = value
    for key in reversed(path.split(".")):
        document = {key: document}
    assert len(loki_faults(document)) == 1


@pytest.mark.parametrize(
    "text",
    [
        'loki.write "x" {\n  endpoint {\n    uri = "http://loki"\n  }\n}',
        'loki.write "x" {\n  endpoint {\n    url = "http://loki"\n    batch_wait = "often"\n  }\n}',
        'loki.source.journal "x" {\n  forward_to = [loki.write.x.receiver]\n  max_age = 12\n}',
        'loki.source.journal "x" {\n  max_age = "12h"\n}',
        'loki.source.syslog "x" {}',
        'loki.process "x" {\n  forward_to = []\n  stage.cri {}\n}',
    ],
)
def test_what_alloy_would_not_take_is_noticed(text: str) -> None:
    assert alloy_faults(text)
