"""What is watched follows what is deployed: no alert for what nobody has, none missing for what somebody has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests import rolekit, rulekit

OWN_WORKERS = [{"name": "mailer", "queues": ["mail", "bulk"]}, {"name": "reports", "queues": ["reports", "bulk"]}]


def _alerts(role: str, secrets: Path, **more: Any) -> list[dict[str, Any]]:
    """Return the alerts that a role ships under an inventory, as Prometheus would load them."""
    rendered = rolekit.deployed(role, secrets, landfall_runbook_url=rulekit.RUNBOOK_URL, **more)
    files = {
        path.removeprefix(rulekit.DROP_IN): (role, rolekit.text(rendered, path))
        for path in rendered.contents
        if path.startswith(rulekit.DROP_IN)
    }
    return [rule.body for rule in rulekit.parse(files) if rule.is_alert]


def _missed_queues(secrets: Path, **more: Any) -> list[str]:
    found = _alerts("celery_exporter", secrets, **more)
    return [alert["labels"]["queue_name"] for alert in found if alert["alert"] == "CeleryWorkersMissing"]


@pytest.mark.parametrize(
    ("more", "queues"),
    [
        ({}, ["enhancement", "extraction", "search"]),
        ({"celery_enabled": False}, []),
        ({"celery_enabled": "false"}, []),
        ({"celery_workers": OWN_WORKERS}, ["mail", "bulk", "reports"]),
        ({"celery_workers": OWN_WORKERS, "celery_enabled": False}, []),
        ({"celery_exporter_queues": ["elsewhere"], "celery_enabled": False}, ["elsewhere"]),
    ],
)
def test_a_worker_is_missed_on_the_queues_of_deployed_workers_alone(
    more: dict[str, Any], queues: list[str], tmp_path: Path
) -> None:
    assert _missed_queues(tmp_path, **more) == queues
    exporter = dict(rolekit.services(rolekit.component("celery_exporter", tmp_path, **more)))["celery-exporter"]
    assert [word for word in exporter["command"] if word.startswith("--queues=")] == (
        [f"--queues={','.join(queues)}"] if queues else []
    )
    redis = dict(rolekit.services(rolekit.component("redis_exporter", tmp_path, **more)))["redis-exporter"]
    keys = [f"db0={key}" for key in [*queues, "unacked", "unacked_index"]]
    assert redis["environment"]["REDIS_EXPORTER_CHECK_SINGLE_KEYS"] == ",".join(keys)


def test_a_worker_among_the_services_has_its_queues_watched_too(tmp_path: Path) -> None:
    worker = {"name": "jobs", "image": "shop:1", "health": ["true"], "queues": ["orders"]}
    assert _missed_queues(tmp_path, app_services=[worker], celery_enabled=False) == ["orders"]
    assert _missed_queues(tmp_path, app_services=[worker], celery_enabled=False, app_enabled=False) == []
