"""The three profiles: each renders as a whole, keeps what belongs together, and gives way to the inventory."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.landfall.vps.plugins.plugin_utils import specs

from dashboards.queries import panels
from tests import rolekit

PROFILES = ["small", "standard", "full"]
ABSENT = {"small": {"alloy", "blackbox_exporter", "loki"}, "standard": set(), "full": set()}
# How queries for what each of them serves are told
SERVED = {
    "alloy": r"\b(alloy|loki_write)_",
    "blackbox_exporter": r"\b(probe|blackbox_exporter)_",
    "loki": r"\bloki_|[$]__auto|\{source=",
}
UNITS = {"m": 1024**2, "g": 1024**3}


@pytest.fixture(scope="module", params=PROFILES)
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    """The profile's name and all its components as rendered."""
    secrets = tmp_path_factory.mktemp("secrets")
    names = rolekit.component_names()
    return request.param, {n: rolekit.component(n, secrets, landfall_profile=request.param) for n in names}


def _bytes(size: str) -> int:
    return int(size[:-1]) * UNITS[size[-1]]


def _limits(stack: dict[str, Any]) -> dict[str, int]:
    return {
        name: _bytes(service["mem_limit"])
        for rendered in stack.values()
        if rendered.desired.present
        for name, service in rolekit.services(rendered)
    }


def test_what_is_deployed(stack: tuple[str, dict[str, Any]]) -> None:
    profile, components = stack
    assert {name for name, rendered in components.items() if not rendered.desired.present} == (
        ABSENT[profile] | set(rolekit.OPTIONAL)
    )


def test_reservations_lie_below_limits(stack: tuple[str, dict[str, Any]]) -> None:
    [(_name, service)] = rolekit.services(stack[1]["prometheus"])
    assert _bytes(service["mem_reservation"]) < _bytes(service["mem_limit"])


def test_nothing_points_to_what_is_absent(stack: tuple[str, dict[str, Any]]) -> None:
    profile, components = stack
    containers = {role.replace("_", "-") for role in ABSENT[profile]}
    present = [rendered for rendered in components.values() if rendered.desired.present]
    asked = [json.dumps(target) for rendered in present for target in rolekit.targets(rendered)]
    assert [target for target in asked for name in containers if f"{name}:" in target] == []
    sources = yaml.safe_load(
        rolekit.text(components["grafana"], "grafana/config/provisioning/datasources/landfall.yaml")
    )["datasources"]
    assert ("loki" in {source["uid"] for source in sources}) == (profile != "small")


def _dashboards(components: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The dashboards as shipped, by name."""
    return {
        path.split("--", 1)[1].removesuffix(".json"): json.loads(content)
        for rendered in components.values()
        for path, content in rendered.contents.items()
        if path.startswith("grafana/dashboards.d/")
    }


def test_no_link_of_a_dashboard_leads_to_one_that_is_absent(stack: tuple[str, dict[str, Any]]) -> None:
    profile, components = stack
    shipped = _dashboards(components)
    assert ("logs" in shipped) == (profile != "small")
    links = [
        (name, link["url"]) for name, board in shipped.items() for p in panels(board) for link in p.get("links", [])
    ]
    linked = {(name, board) for name, url in links for board in re.findall(r"/d/landfall-([a-z-]+)", url)}
    assert len(linked) > 10
    assert [(name, board) for name, board in linked if board not in shipped] == []


def test_no_panel_asks_only_for_what_is_absent(stack: tuple[str, dict[str, Any]]) -> None:
    profile, components = stack
    gone = re.compile("|".join(SERVED[role] for role in ABSENT[profile]) or "(?!)")
    empty = [
        f"{name} / {panel['title']}"
        for name, board in _dashboards(components).items()
        for panel in panels(board)
        if all(gone.search(target["expr"]) for target in panel["targets"])
    ]
    assert empty == []


def test_dashboards_look_back_four_scrapes_of_what_they_show(stack: tuple[str, dict[str, Any]]) -> None:
    """`$__rate_interval` is four times the interval of the data source, unless a query says that its own is longer."""
    _profile, components = stack
    present = [rendered for rendered in components.values() if rendered.desired.present]
    labels = [entry["labels"] for rendered in present for entry in rolekit.targets(rendered)]
    slow = {one["job"]: one["__scrape_interval__"] for one in labels if one.get("__scrape_interval__", "15s") != "15s"}
    assert set(slow) <= {"cadvisor"}
    seconds = int(slow.get("cadvisor", "15s")[:-1])
    rates = [
        (name, panel["title"], int(target.get("interval", "15s")[:-1]))
        for name, board in _dashboards(components).items()
        for panel in panels(board)
        for target in panel["targets"]
        if re.search(r"rate\(container_", target["expr"])
    ]
    assert len(rates) > 8
    assert [found for found in rates if found[2] < seconds] == []


def test_every_queue_has_a_worker_in_every_profile(stack: tuple[str, dict[str, Any]]) -> None:
    profile, components = stack
    workers = {n: s for n, s in rolekit.services(components["celery"]) if "worker" in s["command"]}
    queues = [queue for s in workers.values() for queue in s["command"][s["command"].index("-Q") + 1].split(",")]
    assert sorted(queues) == ["enhancement", "extraction", "search"]
    assert set(workers) == ({"celery-worker"} if profile == "small" else {f"celery-{queue}" for queue in queues})
    processes = {"small": "1", "standard": "2", "full": "4"}[profile]
    assert all(f"--concurrency={processes}" in s["command"] for s in workers.values())


def test_small_is_smaller_and_full_is_larger(tmp_path: Path) -> None:
    sums = []
    for profile in PROFILES:
        names = rolekit.component_names()
        parts = {name: rolekit.component(name, tmp_path, landfall_profile=profile) for name in names}
        sums.append(sum(_limits(parts).values()))
    assert sums[0] < 0.5 * sums[1] and sums[1] < sums[2], sums


def test_retention_and_intervals(stack: tuple[str, dict[str, Any]]) -> None:
    profile, components = stack
    [(_name, prometheus)] = rolekit.services(components["prometheus"])
    time, size = {"small": ("30d", "2GB"), "standard": ("30d", "5GB"), "full": ("90d", "20GB")}[profile]
    assert f"--storage.tsdb.retention.time={time}" in prometheus["command"]
    assert f"--storage.tsdb.retention.size={size}" in prometheus["command"]
    [(_name, cadvisor)] = rolekit.services(components["cadvisor"])
    metrics = next(word for word in cadvisor["command"] if word.startswith("--enable_metrics="))
    assert ("diskIO" in metrics, ",disk," in metrics + ",") == {
        "small": (False, False), "standard": (True, False), "full": (True, True),
    }[profile]  # fmt: skip
    interval = "30s" if profile == "small" else "15s"
    assert f"--housekeeping_interval={interval}" in cadvisor["command"]
    assert rolekit.targets(components["cadvisor"])[0]["labels"]["__scrape_interval__"] == interval


@pytest.mark.parametrize("profile", PROFILES)
def test_the_inventory_wins(profile: str, tmp_path: Path) -> None:
    own: dict[str, Any] = {
        "landfall_profile": profile,
        "loki_enabled": True,
        "blackbox_exporter_enabled": True,
        "prometheus_memory": "3g",
        "prometheus_retention_size": "7GB",
        "celery_concurrency": 3,
        "celery_workers": [{"name": "one", "queues": ["a"]}],
    }
    assert rolekit.component("loki", tmp_path, **own).desired.present
    assert rolekit.component("blackbox_exporter", tmp_path, **own).desired.present
    [(_name, prometheus)] = rolekit.services(rolekit.component("prometheus", tmp_path, **own))
    assert prometheus["mem_limit"] == "3g" and "--storage.tsdb.retention.size=7GB" in prometheus["command"]
    workers = dict(rolekit.services(rolekit.component("celery", tmp_path, **own)))
    assert set(workers) == {"one", "celery-beat"} and "--concurrency=3" in workers["one"]["command"]


def test_a_probe_that_the_inventory_names_brings_its_exporter(tmp_path: Path) -> None:
    own = {"landfall_profile": "small", "blackbox_exporter_targets": [{"name": "shop", "url": "https://shop.example/"}]}
    assert rolekit.component("blackbox_exporter", tmp_path, **own).desired.present


def test_an_unknown_profile_is_refused_with_the_choices() -> None:
    known = specs.role_specs(str(rolekit.ROLES))
    asked = {"landfall_profile": "tiny"}
    mine = {"landfall": {"landfall_profile": known["landfall"]["landfall_profile"]}}
    text = "\n".join(specs.inventory_faults(mine, known, asked, asked.__getitem__))
    assert "landfall_profile" in text and "tiny" in text and "small, standard, full" in text
