"""Every example of docs/own-application.md is an inventory that is accepted."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Dict, List

import pytest
import yaml

from tests import inventories, rolekit

PAGE = (rolekit.ROOT / "docs" / "own-application.md").read_text(encoding="utf-8")
EXAMPLES: List[Dict[str, Any]] = [yaml.safe_load(text) for text in re.findall(r"(?ms)^```yaml\n(.*?)^```$", PAGE)]


@pytest.mark.parametrize("example", EXAMPLES, ids=[example["app_services"][0]["name"] for example in EXAMPLES])
def test_an_example_is_accepted(example: Dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "Dockerfile").write_text("FROM scratch\n")
    (tmp_path / "web.env").write_text("A=1\n")
    vault = dict.fromkeys(re.findall(r"vault_\w+", PAGE), "s3cret")
    unknown = set(example) - {name for role in ("app", "celery", "caddy", "postgres") for name in rolekit.options(role)}
    assert unknown == set()
    items = rolekit.options("app")["app_services"]["options"]
    for item in example["app_services"]:
        assert set(item) <= set(items), item
    assert inventories.faults(inventories.written(tmp_path, {**vault, **example})) == []
    rendered = rolekit.component("app", tmp_path, **example, **vault)
    names = {name for name, _service in rolekit.services(rendered)}
    assert all(any(name.startswith(item["name"]) for name in names) for item in example["app_services"])
    if "celery_workers" in example:
        workers = dict(rolekit.services(rolekit.component("celery", tmp_path, **example, **vault)))
        assert {item["name"] for item in example["celery_workers"]} <= set(workers)


def test_the_page_has_an_example_of_each_option() -> None:
    """An option without an example stands in the table of what Compose says."""
    used = {key for example in EXAMPLES for item in example["app_services"] for key in item}
    left = {key for key in rolekit.options("app")["app_services"]["options"] if key not in used}
    assert {key for key in left if f"`{key}`" not in PAGE} <= {
        "entrypoint", "health_interval", "health_retries", "health_timeout", "job", "limits", "publish", "queues",
        "read_only", "uid", "working_dir",
    }  # fmt: skip
