"""Workers of other people's applications: what they have of their service, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict

import pytest

from tests import rolekit
from tests.test_services import WEB, refusal

SHOP: Dict[str, Any] = {
    **WEB,
    "environment": {"MODE": "live"},
    "secrets": {"KEY": "k"},
    "secret_environment": {"CELERY_BROKER_URL": "redis://redis"},
    "volumes": ["uploads:/srv/uploads"],
    "user": "1000:1000",
}
OWN: Dict[str, Any] = {"app_services": [SHOP], "celery_service": "web", "celery_app": "shop.celery"}


def workers(tmp_path: Path, **more: Any) -> Dict[str, Dict[str, Any]]:
    return dict(rolekit.services(rolekit.component("celery", tmp_path, **{**OWN, **more})))


def test_a_worker_has_all_that_its_service_has(tmp_path: Path) -> None:
    rendered = rolekit.component("celery", tmp_path, **OWN, celery_workers=[{"name": "worker"}])
    services = dict(rolekit.services(rendered))
    assert set(services) == {"worker", "celery-beat"}
    for name, service in services.items():
        assert service["image"] == "shop/web:1.0" and service["user"] == "1000:1000"
        assert service["environment"] == {"MODE": "live", "KEY_FILE": "/run/secrets/key"}
        assert service["env_file"] == [f"./secrets/{name}/.env"]
        assert "uploads:/srv/uploads" in service["volumes"]
    assert rolekit.targets(rendered) == [] and rendered.desired.meta["prove"] == [], "no metrics of ours are demanded"
    command = services["worker"]["command"]
    assert command[:2] == ["sh", "-c"] and command[3:7] == ["celery", "-A", "shop.celery", "worker"]
    assert command[command.index("-Q") + 1] == "celery" and command[-1] == "--include=landfall_heartbeat"
    assert "landfall_app" not in str(services) and "stat -c" in services["worker"]["healthcheck"]["test"][1]
    assert "./config:/run/landfall:ro" in services["worker"]["volumes"]


def test_a_worker_waits_for_the_service_whose_code_it_runs_and_for_no_other(tmp_path: Path) -> None:
    """A service that does not serve takes no worker with it that has nothing to do with it."""
    items = [SHOP, {**WEB, "name": "flower"}, {"name": "app-seed", "image": "a:1", "one_shot": True}]
    found = {
        "rest": {"name": "rest"},
        "seeded": {"name": "seeded", "depends_on": {"app-seed": "service_completed_successfully"}},
        "listed": {"name": "listed", "depends_on": ["flower", "web"]},
        "foreign": {"name": "foreign", "service": "flower"},
        "own": {"name": "own", "image": "shop/jobs:2"},
    }
    more = {**OWN, "app_services": items, "celery_workers": list(found.values())}
    needs = {
        name: one.desired.meta["needs"]
        for one in rolekit.components("celery", tmp_path, **more)
        for name in one.desired.containers
    }
    assert needs == {
        "rest": ["app-web"],
        "seeded": [{"name": "app-seed", "condition": "completed"}, "app-web"],
        "listed": [
            {"name": "app-flower", "condition": "started"},
            {"name": "app-web", "condition": "started"},
        ],
        "foreign": ["app-flower"],
        "own": ["app-web"],
        "celery-beat": ["app-web"],
    }
    reference = rolekit.components("celery", tmp_path)
    assert {tuple(one.desired.meta["needs"]) for one in reference} == {("app",)}


def test_beat_of_somebody_else_has_a_place_for_its_schedule(tmp_path: Path) -> None:
    beat = workers(tmp_path)["celery-beat"]
    assert "--schedule=/var/lib/celery-beat/schedule" in beat["command"]
    assert "celery-beat:/var/lib/celery-beat" in beat["volumes"]
    other = workers(tmp_path, celery_beat_scheduler="django_celery_beat.schedulers:DatabaseScheduler")["celery-beat"]
    assert not [word for word in other["command"] if word.startswith("--schedule=")]
    assert "--scheduler=django_celery_beat.schedulers:DatabaseScheduler" in other["command"]


def test_options_of_one_worker(tmp_path: Path) -> None:
    one_worker = {
        "name": "mails", "queues": ["mails"], "metrics_port": 2112, "publish": ["127.0.0.1:2112:2112"], "job": "post",
        "health": ["true"], "memory": "64m", "environment": {"MODE": "test"}, "grace": 30,
    }  # fmt: skip
    more = {**OWN, "celery_workers": [one_worker, {"name": "rest"}]}
    rendered = rolekit.component("celery", tmp_path, **more)
    service = dict(rolekit.services(rendered))["mails"]
    assert service["ports"] == ["127.0.0.1:2112:2112"] and service["healthcheck"]["test"] == ["CMD", "true"]
    assert service["environment"]["MODE"] == "test" and service["environment"]["PROMETHEUS_METRICS_PORT"] == "2112"
    assert (service["mem_limit"], service["stop_grace_period"]) == ("64m", "30s")
    [target] = rolekit.targets(rendered)
    assert (target["targets"], target["labels"]["job"]) == (["mails:2112"], "post")
    assert "env" not in str(service["command"]) and "sh" not in service["command"]


def test_a_worker_with_an_image_of_its_own(tmp_path: Path) -> None:
    more = {"app_services": [WEB], "celery_app": "jobs", "celery_beat_enabled": False,
            "celery_workers": [{"name": "w", "image": "shop/jobs:2"}]}  # fmt: skip
    rendered = rolekit.component("celery", tmp_path, **more)
    assert dict(rolekit.services(rendered))["w"]["image"] == "shop/jobs:2"
    assert rolekit.targets(rendered) == []


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"app_services": [WEB]}, ["reference application beside your own", "celery_service: web"]),
        ({"app_services": [WEB], "celery_service": "web"}, ["celery_app"]),
        ({**OWN, "celery_service": "webb"}, ["service webb", "did you mean web?"]),
        ({**OWN, "celery_grace": 4000}, ["celery_visibility_timeout"]),
        ({**OWN, "celery_arguments": "--time-limit=600"}, ["is ended after 360 s, while a task may take 600 s"]),
        ({**OWN, "celery_workers": [{"name": "a_b"}]}, ["celery_workers", "a-b"]),
    ],
)
def test_workers_that_are_refused(more: Dict[str, Any], told: Any, tmp_path: Path) -> None:
    text = refusal(tmp_path, "celery", **more)
    for word in told:
        assert word in text, text


@pytest.mark.parametrize("arguments", [["--pool=solo"], ["-P", "solo"], ["--without-heartbeat"]])
def test_a_worker_without_regular_heartbeats_only_has_to_have_been_ready(arguments: Any, tmp_path: Path) -> None:
    service = workers(tmp_path, celery_workers=[{"name": "w", "arguments": arguments}])["w"]
    assert service["healthcheck"]["test"] == ["CMD-SHELL", "test -e /dev/shm/landfall-worker"]
