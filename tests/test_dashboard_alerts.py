"""Panels say and show the numbers at which alerts fire, so they take them from the roles' defaults, not from memory."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from functools import cache
from typing import Any

import pytest

from dashboards.__main__ import ROOT
from dashboards.alerts import default, percent
from dashboards.queries import files, panels

# Writes every dashboard as it would be if each alert fired at three times its number
CHANGED = """
import json
from dashboards import alerts
defaults = alerts._defaults()
for name, value in defaults.items():
    if "_alert_" in name and isinstance(value, (int, float)):
        defaults[name] = 3 * value
from dashboards.boards import BOARDS
print(json.dumps({board.name: json.loads(board.json()) for board in BOARDS}))
"""
# Numbers of an alert that say how much must have happened, not where it fires
ASIDE = re.compile(r"_alert_(min_|slo_|filesystems_|disk_forecast_|error_spike_)|_for$|_severity$|_alert_growing$")
OWN = {
    "slo / Availability burn rate": "the factors of a burn rate are part of its method",
    "slo / Latency burn rate": "the factors of a burn rate are part of its method",
    "proxy / Next certificate ends in": "the proxy's own authority gives certificates for half a day",
}


@cache
def _now() -> dict[str, Any]:
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in files()}


@cache
def _changed() -> dict[str, Any]:
    run = subprocess.run(
        [sys.executable, "-c", CHANGED], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    found: dict[str, Any] = json.loads(run.stdout)
    return found


@cache
def _alerts() -> set[str]:
    """The alerts that fire at a number which an inventory may set."""
    found = set()
    for path in ROOT.glob("roles/*/templates/rules/*.j2"):
        for rule in path.read_text(encoding="utf-8").split("- alert: ")[1:]:
            names = re.findall(r"\b\w+_alert_\w+", rule.split("annotations:")[0])
            if [name for name in names if not ASIDE.search(name)]:
                found.add(rule.split()[0])
    return found


def _steps(panel: dict[str, Any]) -> list[float]:
    steps = panel["fieldConfig"]["defaults"].get("thresholds", {}).get("steps", [])
    return [step["value"] for step in steps if step["value"] is not None]


def _pairs() -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    return [
        (f"{name} / {panel['title']}", panel, other)
        for name, board in _now().items()
        for panel, other in zip(panels(board), panels(_changed()[name]), strict=True)
    ]


def test_thresholds_of_a_panel_follow_the_alert_that_it_links_to() -> None:
    alerts = _alerts()
    assert {"HighAPIErrorRate", "RedisMemoryHigh", "CeleryBeatStalled", "EnhancementSlow"} <= alerts
    fixed, looked_at = [], 0
    for name, panel, other in _pairs():
        linked = set(re.findall(r"\{runbooks\}/(\w+)\.md", json.dumps(panel.get("links", []))))
        if not linked & alerts or set(_steps(panel)) <= {0, 1} or name in OWN:
            continue
        looked_at += 1
        if _steps(panel) == _steps(other):
            fixed.append(name)
    assert looked_at > 30
    assert fixed == []


def test_texts_do_not_repeat_the_number_of_an_alert() -> None:
    said = {
        name: (sentence, other["description"])
        for name, panel, other in _pairs()
        for sentence in re.findall(r"[^.]*\b[Aa]lerts?\b[^.]*\d[^.]*", panel["description"])
        if name not in OWN
    }
    assert len(said) > 12
    assert {name: sentence for name, (sentence, other) in said.items() if sentence in other} == {}


@pytest.mark.parametrize(
    ("panel", "levels"),
    [
        ("database-redis / Pool used", [default("app_alert_db_pool_ratio"), 1]),
        ("celery-workers / Last beat tick", [default("celery_alert_beat_seconds")]),
        ("application / AI request duration p95", [default("app_alert_ai_latency_seconds")]),
        ("per-tenant / p95", [default("app_alert_enhancement_seconds")]),
        (
            "celery-workers / Waiting",
            [default("celery_exporter_alert_backlog"), default("celery_exporter_alert_backlog_critical")],
        ),
        ("loki / Streams", [0.75 * default("loki_max_streams"), default("loki_max_streams")]),
    ],
)
def test_levels_are_those_of_the_roles(panel: str, levels: list[float]) -> None:
    [found] = [_steps(one) for name, one, _ in _pairs() if name == panel]
    assert found == levels


def test_numbers_are_read_as_numbers() -> None:
    assert percent(0.05) == "5 %"
    with pytest.raises(TypeError, match="prometheus_image is no number"):
        default("prometheus_image")
    with pytest.raises(KeyError):
        default("no_such_variable")
