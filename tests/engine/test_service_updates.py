"""Which services start first, which cannot, and what is said of those that might."""

from __future__ import annotations

from typing import Any, Dict, Sequence

import pytest
from ansible_collections.landfall.vps.plugins.plugin_utils import service_updates, services, workers
from ansible_collections.landfall.vps.plugins.plugin_utils.service_lines import ServiceError

WEB: Dict[str, Any] = {"name": "web", "image": "x/web:1", "port": 8000, "health": "/health"}
SETTINGS: Dict[str, Any] = {
    "group": "app", "uid": 10001, "cpus": 1, "memory": "64m", "proxied": ["web", "web-1", "web-2"], "drain": 30,
}  # fmt: skip
FIRST = {"order": "start-first", "proxied": True, "drain": 30}


def update(item: Dict[str, Any], others: Sequence[Dict[str, Any]] = (), **settings: Any) -> Any:
    found = services.expand([{**WEB, **item}, *others], "app_services", {**SETTINGS, **settings})
    return found["components"][0].get("update")


def test_what_the_proxy_leads_to_starts_first() -> None:
    assert update({}) == FIRST
    assert update({}, proxied=[]) is None
    assert update({"update_order": "start-first"}, proxied=[]) == FIRST
    assert update({"update_order": "stop-first"}) is None
    assert update({"replicas": 2}) == FIRST and update({"replicas": 2}, proxied=[]) is None
    assert update({"volumes": ["static:/srv:ro", "/etc/ssl:/etc/ssl:ro"]}) == FIRST


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ({"publish": ["127.0.0.1:80:8000"]}, "it publishes a port of the VPS, which one container can have at a time"),
        ({"compose": {"ports": ["127.0.0.1:80:8000"]}}, "it publishes a port of the VPS"),
        ({"compose": {"network_mode": "host"}}, "it has no network of its own"),
        ({"health": {"none": "nobody listens"}}, "nobody can ask whether the new version is healthy"),
        ({"name": "w" * 59}, "its name leaves no room for that of a second container; give it one of at most 58"),
    ],
)
def test_where_there_cannot_be_two_the_default_says_why_and_a_wish_is_refused(item: Dict[str, Any], said: str) -> None:
    more: Dict[str, Any] = {
        "allow": ["host_network"],
        "allow_variable": "app_allow",
        "proxied": [item.get("name", "web")],
    }
    found = update(item, [], **more)
    assert found["order"] == "stop-first" and said in found["why"]
    with pytest.raises(ServiceError, match=f"app_services: .*: update_order is start-first, but {said}"):
        update({**item, "update_order": "start-first"}, [], **more)


def test_two_containers_share_a_volume_only_if_the_inventory_says_that_they_may() -> None:
    item = {"volumes": ["data:/data", "static:/srv:ro"]}
    found = update(item)
    assert found == {
        "order": "stop-first",
        "why": "two containers would write to its volume data; if they may, write update_order: start-first",
    }
    assert update({**item, "update_order": "start-first"}) == FIRST


def test_what_has_the_name_of_a_standby_is_refused() -> None:
    other = {**WEB, "name": "web-next"}
    with pytest.raises(ServiceError, match=r"web-next has the name of the container that stands in for web while"):
        update({}, [other])
    assert update({"update_order": "stop-first"}, [other]) is None


def test_an_order_that_there_is_not() -> None:
    with pytest.raises(ServiceError, match=r"update_order is first; it must be start-first or stop-first"):
        update({"update_order": "first"})


def test_a_proxy_knows_all_that_may_be_out_of_rotation() -> None:
    items = [
        WEB,
        {**WEB, "name": "api", "replicas": 2},
        {**WEB, "name": "wiki", "volumes": ["wiki:/data"]},
        {"name": "broken"},
    ]
    assert service_updates.rotated(items) == {"standbys": {"web": "web-next"}, "services": ["web", "api-1", "api-2"]}


def test_workers_start_first_and_beat_does_not() -> None:
    settings = {
        "program": "celery", "where": "celery_workers", "services_variable": "app_services", "code": "shop.tasks",
        "code_variable": "celery_app", "service": "web", "image": "y:1", "reference_image": "y:1",
        "reference_code": "landfall_app.worker", "services": [{**WEB, "volumes": ["data:/data"]}], "uid": 1,
        "concurrency": 1, "grace": 60, "task_time_limit": 1, "visibility_timeout": 3600, "shutdown": "warm",
        "log_level": "INFO", "beat_enabled": True, "beat_cpus": 1, "beat_memory": "64m",
        "metrics_variable": "PORT",
    }  # fmt: skip
    items = workers.as_services([{"name": "worker"}, {"name": "slow", "update_order": "stop-first"}], settings)
    made = services.expand(
        items, "celery_workers", {**SETTINGS, "group": "celery", "proxied": [], "needs": {"web": "app-web"}}
    )
    assert {one["name"]: one.get("update") for one in made["components"]} == {
        "celery-worker": {"order": "start-first", "proxied": False, "drain": 30},
        "celery-slow": None,
        "celery-beat": None,
    }


def test_a_drain_shorter_than_what_a_service_is_given_to_end_is_refused() -> None:
    item = {"stop_grace_period": "2m"}
    told = "stop_grace_period is 2m, but a deploy waits 30 s for requests in flight; app_drain_timeout must be 120"
    with pytest.raises(ServiceError, match=f"app_services: web: {told} or more"):
        update(item, drain=30, drain_variable="app_drain_timeout")
    assert update(item, drain=120)["drain"] == 120 and update({"stop_grace_period": "30s"}, drain=30) == FIRST
    assert update({**item, "update_order": "stop-first"}, drain=30) is None
