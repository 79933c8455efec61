"""Links and marks of dashboards: they hold for services of any name, and lead to what is there."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from dashboards.queries import files, panels
from tests import rolekit

BOARDS: dict[str, dict[str, Any]] = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in files()}
OWN: dict[str, Any] = {
    "app_services": [
        {"name": "web-gateway", "image": "registry.example.com/gateway:1", "health": ["true"]},
        {"name": "order-api", "image": "registry.example.com/orders:1", "health": ["true"], "replicas": 2},
    ],
    "celery_workers": [{"name": "invoices", "queues": ["invoices"]}],
    "celery_service": "order-api",
    "celery_app": "shop.celery",
}


def _links(board: dict[str, Any]) -> list[str]:
    return [link["url"] for panel in panels(board) for link in panel.get("links", [])]


@pytest.fixture(scope="module")
def containers(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The containers of an inventory with services and workers of its own."""
    secrets = tmp_path_factory.mktemp("secrets")
    rendered = [rolekit.component(name, secrets, **OWN) for name in rolekit.component_names()]
    return {name for one in rendered for name in one.desired.containers}


def test_links_name_only_containers_that_every_inventory_has(containers: set[str]) -> None:
    assert {"web-gateway", "order-api-1", "order-api-2", "invoices"} <= containers
    optional = {name.replace("_", "-") for name in rolekit.component_names()} - {"app", "celery"}
    named = {
        name
        for board in BOARDS.values()
        for url in _links(board)
        for name in re.findall(r"var-container=([^&$]+)", url)
    }
    assert len(named) > 5
    assert named - containers - optional == set()


def test_links_set_variables_that_exist() -> None:
    variables = {name: {entry["name"] for entry in board["templating"]["list"]} for name, board in BOARDS.items()}
    for name, board in BOARDS.items():
        for url in _links(board):
            used = set(re.findall(r"\$\{(\w+)", url)) - {"__url_time_range"}
            assert used <= variables[name], (name, url)
            target = re.match(r"/d/landfall-([a-z-]+)\?", url)
            assert not target or set(re.findall(r"var-(\w+)=", url)) <= variables[target.group(1)], (name, url)


def test_links_to_logs_take_the_services_that_are_there() -> None:
    """A variable with allValue would say `.+` in a link: the lines of everything."""
    with_links = {name for name, board in BOARDS.items() if any("${services:pipe}" in url for url in _links(board))}
    assert {"api-performance", "application", "celery-workers", "overview", "per-tenant"} <= with_links
    for name in with_links:
        [services] = [entry for entry in BOARDS[name]["templating"]["list"] if entry["name"] == "services"]
        assert services["hide"] == 2 and services["includeAll"] and "allValue" not in services
        assert services["definition"].endswith(", service)")


@pytest.mark.parametrize("name", sorted(BOARDS))
def test_marks_choose_components_not_names_of_services(name: str) -> None:
    known = {component.replace("_", "-") for component in rolekit.component_names()}
    for mark in BOARDS[name]["annotations"]["list"]:
        if mark["name"] == "Alerts firing":
            continue
        [(label, pattern)] = re.findall(r'\{(\w+)=~"([^"]*)"\}', mark["expr"])
        if pattern.startswith("$"):
            assert label in ("name", "service")
            continue
        assert label in ("container_label_com_docker_compose_project", "component")
        assert any(re.fullmatch(pattern.replace("_", "-"), component) for component in known), (name, pattern)


@pytest.mark.parametrize(
    ("role", "boards"), [("app", {"api-performance", "application", "slo"}), ("celery", {"celery-workers"})]
)
def test_marks_find_the_services_of_an_inventory(role: str, boards: set[str], tmp_path: Path) -> None:
    rendered = rolekit.component(role, tmp_path, **OWN)
    project = rolekit.compose(rendered)["name"]
    for name in boards:
        patterns = [re.findall(r'=~"([^"]*)"', mark["expr"]) for mark in BOARDS[name]["annotations"]["list"][:2]]
        assert re.fullmatch(patterns[0][0], project) and re.fullmatch(patterns[1][0], role)
    assert "com.docker.compose.project" in rolekit.defaults("cadvisor")["cadvisor_container_labels"]
