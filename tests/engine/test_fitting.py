"""A dashboard is shipped as this stack needs it: the operator's runbooks, and no link to what is not deployed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.landfall.vps.plugins.plugin_utils import fitting

from tests import rolekit

OWN = "https://wiki.example.com/runbooks"


def board(**more: Any) -> str:
    hidden = {
        "name": "runbooks",
        "hide": 2,
        "query": "https://a",
        "current": {"text": "https://a", "value": "https://a"},
    }
    links = [{"url": "/d/landfall-logs?x=1"}, {"url": "/d/landfall-slo?x=1"}, {"url": "${runbooks}/A.md"}]
    row = {"type": "row", "panels": [{"links": list(links)}]}
    return json.dumps({"templating": {"list": [hidden]}, "panels": [{"links": links}, row, {}], **more})


def test_the_hidden_variable_takes_the_value_everywhere() -> None:
    [variable] = json.loads(fitting.fit(board(), {"variables": {"runbooks": OWN}, "absent": []}))["templating"]["list"]
    assert variable["query"] == variable["current"]["value"] == variable["current"]["text"] == OWN


def test_a_variable_that_people_choose_is_theirs() -> None:
    text = board().replace('"hide": 2', '"hide": 0')
    assert fitting.fit(text, {"variables": {"runbooks": OWN}, "absent": []}) == text


def test_links_to_absent_dashboards_are_left_out_of_rows_too() -> None:
    fitted = json.loads(fitting.fit(board(), {"variables": {}, "absent": ["logs", "nowhere"]}))
    kept = ["/d/landfall-slo?x=1", "${runbooks}/A.md"]
    assert [link["url"] for link in fitted["panels"][0]["links"]] == kept
    assert [link["url"] for link in fitted["panels"][1]["panels"][0]["links"]] == kept


@pytest.mark.parametrize("text", [board(), "{", "[]", "{}", '{"templating": null, "panels": null}'])
def test_what_fits_or_is_no_dashboard_is_left_as_it_is(text: str) -> None:
    assert fitting.fit(text, {"variables": {"runbooks": "https://a"}, "absent": []}) == text


def test_linked_dashboards_are_looked_for_beside_the_role(tmp_path: Path) -> None:
    for role, name in (("loki", "logs"), ("app", "slo"), ("my_role", "mine")):
        (tmp_path / role / "files" / "dashboards").mkdir(parents=True)
        (tmp_path / role / "files" / "dashboards" / f"{name}.json").touch()
    assert fitting.linked([board(), ""], str(tmp_path / "my_role")) == {"logs": "loki", "slo": "app"}


def _shipped(role: str, secrets: Path, **more: Any) -> dict[str, dict[str, Any]]:
    rendered = rolekit.component(role, secrets, **more)
    paths = [path for path in rendered.contents if path.startswith("grafana/dashboards.d/")]
    return {path: json.loads(rolekit.text(rendered, path)) for path in paths}


def test_runbooks_of_an_inventory_reach_every_panel(tmp_path: Path) -> None:
    found = {}
    for role in rolekit.component_names():
        found.update(_shipped(role, tmp_path, landfall_runbook_url=OWN))
    assert len(found) >= 11
    for path, one in found.items():
        values = {entry["name"]: entry["query"] for entry in one["templating"]["list"] if "query" in entry}
        assert values["runbooks"] == OWN, path


def test_without_differences_the_committed_file_is_shipped(tmp_path: Path) -> None:
    rendered = rolekit.component("grafana", tmp_path, caddy_app_host="app.example.org")
    for name in ("api-performance", "application", "per-tenant", "slo", "celery-workers"):
        source = rolekit.ROLES / "grafana" / "files" / "dashboards" / f"{name}.json"
        assert rendered.contents[f"grafana/dashboards.d/grafana--{name}.json"] == source.read_bytes()


def test_links_go_with_the_role_that_ships_their_dashboard(tmp_path: Path) -> None:
    with_celery = json.dumps(_shipped("prometheus", tmp_path))
    without = json.dumps(_shipped("prometheus", tmp_path, celery_exporter_enabled="false"))
    assert "/d/landfall-celery?" in with_celery
    assert "/d/landfall-celery?" not in without
    assert "/d/landfall-host?" in without


def test_names_that_the_vps_gives_begin_with_the_prefix() -> None:
    projects = 'container_start_time_seconds{container_label_com_docker_compose_project=~"app|app-.+"}'
    text = json.dumps({"annotations": {"list": [{"expr": projects}]}, "links": [
        {"url": "/d/landfall-logs?var-container=loki&${time}"}, {"url": "/d/landfall-logs?${container:queryparam}"},
        {"url": "/d/landfall-logs?var-only=${services:pipe}"}]})  # fmt: skip
    settings: dict[str, Any] = {"variables": {}, "absent": []}
    assert fitting.fit(text, {**settings, "prefix": ""}) == text
    fitted = json.loads(fitting.fit(text, {**settings, "prefix": "staging-"}))
    assert 'project=~"staging-(app|app-.+)"}' in fitted["annotations"]["list"][0]["expr"]
    assert [link["url"].split("?")[1] for link in fitted["links"]] == [
        "var-container=staging-loki&${time}", "${container:queryparam}", "var-only=${services:pipe}"]  # fmt: skip


def test_every_mark_of_a_deploy_and_every_link_to_logs_is_fitted() -> None:
    for path in sorted(rolekit.ROLES.glob("*/files/dashboards/*.json")):
        before = path.read_text()
        wanted = before.count("compose_project=~") + before.count("logs?var-container=")
        assert fitting.prefixed(before, "staging-").count("staging-") == wanted, path.name


def test_links_go_with_a_dashboard_that_is_left_out(tmp_path: Path) -> None:
    board = "grafana/dashboards.d/redis-exporter--database-redis.json"
    assert "/d/landfall-celery-workers?" in json.dumps(_shipped("redis_exporter", tmp_path)[board])
    without = json.dumps(_shipped("redis_exporter", tmp_path, celery_enabled=False)[board])
    assert "/d/landfall-celery-workers?" not in without


def _rows(*rows: tuple[str, int]) -> str:
    """Return a board of rows with one panel of this height each."""
    panels: list[dict[str, Any]] = []
    top = 0
    for title, height in rows:
        panels.append({"type": "row", "title": title, "gridPos": {"y": top, "h": 1}})
        panels.append({"title": f"in {title}", "gridPos": {"y": top + 1, "h": height}})
        top += 1 + height
    return json.dumps({"panels": panels})


@pytest.mark.parametrize("out", [["a"], ["b"], ["c"], ["a", "b"], ["a", "c"], ["b", "c"], []])
def test_what_is_below_a_row_that_is_left_out_moves_up(out: list[str]) -> None:
    rows = (("a", 4), ("b", 8), ("c", 3))
    fitted = json.loads(fitting.fit(_rows(*rows), {"variables": {}, "absent": [], "rows": out}))
    assert fitted == json.loads(_rows(*(row for row in rows if row[0] not in out)))
