"""Every example of docs/own-application.md, and of the pages it leads to, is an inventory that is accepted."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Dict, List

import pytest
import yaml

from tests import inventories, rolekit

DOCS = rolekit.ROOT / "docs"
PAGE = (DOCS / "own-application.md").read_text(encoding="utf-8")
FENCE = re.compile(r"(?ms)^```yaml\n(.*?)^```$")
EXAMPLES: List[Dict[str, Any]] = [yaml.safe_load(text) for text in FENCE.findall(PAGE)]
OTHERS = ("jobs", "postgres", "proxy", "registries", "prometheus-setup", "dashboards")
HASH = "$2b$05$abcdefghijklmnopqrstuu9xU3Bs1t7UJi2CdlkA6yWaGxAgRewK."
PEM = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n"
VAULT = {
    "vault_bob": HASH,
    "vault_certificate": PEM,
    "vault_key": PEM.replace("CERTIFICATE", "PRIVATE KEY"),
    "vault_slack_url": "https://hooks.slack.com/services/x",
}


GIVEN = {
    "rules/shop.yml": "groups: []\n",
    "scrapes/shop.yml": "scrape_configs: []\n",
    "dashboards/shop.json": '{"uid": "shop"}',
}


def vault_of(text: str) -> Dict[str, str]:
    """What a page's examples take from the vault."""
    return {**dict.fromkeys(re.findall(r"vault_\w+", text), "s3cret"), **VAULT}


def of_other_pages() -> List[Any]:
    """The examples of the pages that are inventories: a map whose keys are variables of roles."""
    found = []
    for name in OTHERS:
        page = (DOCS / "operations" / f"{name}.md").read_text(encoding="utf-8")
        examples = [yaml.safe_load(text) for text in FENCE.findall(page)]
        known = {option for role in rolekit.role_names() for option in rolekit.options(role)}
        for example in examples:
            if isinstance(example, dict) and set(example) & known:
                assert set(example) <= known, (name, set(example) - known)
                found.append(pytest.param(example, page, id=f"{name}-{next(iter(example))}"))
    return found


@pytest.mark.parametrize(("example", "page"), of_other_pages())
def test_an_example_of_another_page_is_accepted(example: Dict[str, Any], page: str, tmp_path: Path) -> None:
    (tmp_path / "frontend" / "dist").mkdir(parents=True)
    (tmp_path / "frontend" / "dist" / "index.html").write_text("<h1>Shop</h1>")
    for name, content in GIVEN.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    # What an example takes for granted
    there: Dict[str, Any] = {
        "app_services": [
            {"name": "web", "image": "shop/web:1", "port": 8000, "health": "/", "volumes": ["uploads:/a", "assets:/b"]},
            {"name": "api", "image": "shop/api:1", "port": 8000, "health": "/"},
        ],
        "celery_enabled": False,
        "postgres_enabled": True,
        "postgres_databases": [{"name": "shop"}],
    }
    assert inventories.faults(inventories.written(tmp_path, {**there, **vault_of(page), **example})) == []


@pytest.mark.parametrize("example", EXAMPLES, ids=[example["app_services"][0]["name"] for example in EXAMPLES])
def test_an_example_is_accepted(example: Dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "Dockerfile").write_text("FROM scratch\n")
    (tmp_path / "web.env").write_text("A=1\n")
    vault = vault_of(PAGE)
    for name, content in GIVEN.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    unknown = set(example) - {name for role in rolekit.role_names() for name in rolekit.options(role)}
    assert unknown == set()
    items = rolekit.options("app")["app_services"]["options"]
    for item in example["app_services"]:
        assert set(item) <= set(items), item
    assert inventories.faults(inventories.written(tmp_path, {**vault, **example})) == []
    for role in ("prometheus", "grafana", "alertmanager"):
        if any(name.startswith(role) for name in example):
            inventories.rendered(tmp_path, role)
    rendered = rolekit.component("app", tmp_path, **example, **vault)
    names = {name for name, _service in rolekit.services(rendered)}
    assert all(any(name.startswith(item["name"]) for name in names) for item in example["app_services"])
    if "caddy_sites" in example:
        rolekit.component("caddy", tmp_path, **example, **vault)
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
