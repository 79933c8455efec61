"""Every panel has data, every metric of a rule is served, every query of the documentation works, on the live stack."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from testbed import documented, probe, served
from testbed.paths import ROOT

from scripts import prove_dashboards

IMAGES = (ROOT / ".cache/vps/molecule-default/images").read_text(encoding="utf-8").strip()
SPAN = prove_dashboards.Span(window=900, timeout=30)
PATIENCE = 150.0  # s until the load has been through everything, is scraped, and recorded by rules
WITHOUT = ["postgres_exporter"]  # roles that this scenario's inventory leaves out
# Metrics of rules that this stack does not serve
UNSERVED = {
    **served.NEVER,
    **dict.fromkeys(
        (
            f"landfall_scheduled_{name}"
            for name in (
                "last_exit_status",
                "last_start_timestamp_seconds",
                "late_after_seconds",
                "next_run_timestamp_seconds",
                "running",
                "timeout_seconds",
            )
        ),
        "as long as no service has jobs: scenario services has some",
    ),
}


def say(capsys: pytest.CaptureFixture[str], *lines: str) -> None:
    """Print figures although the test passes."""
    with capsys.disabled():
        sys.stdout.write("".join(f"\n    {line}" for line in lines))


def ask(base: str, path: str, **parameters: str) -> Any:
    """Return `data` of an answer of Prometheus' or Loki's API."""
    return prove_dashboards.ask(base, path, parameters, SPAN.timeout)


def test_every_query_of_every_dashboard_has_data(
    servers: dict[str, str], load: subprocess.Popen[str], capsys: pytest.CaptureFixture[str]
) -> None:
    here = prove_dashboards.entries(IMAGES, without=set(WITHOUT), profile="standard")
    chosen = prove_dashboards.choose("1m", SPAN, dashboards=None, without=WITHOUT)
    results: list[dict[str, Any]] = []

    def proven() -> bool:
        results[:] = prove_dashboards.prove(chosen, servers, here, SPAN)
        return not [result for result in results if result["outcome"] in ("empty", "refused", "not executed")]

    probe.eventually(proven, PATIENCE)
    count = prove_dashboards.counts(results)
    boards = len({query.dashboard for query in chosen})
    panels = len({(query.dashboard, query.panel) for query in chosen if not query.panel.startswith("mark ")})
    say(capsys, f"{boards} dashboards, {panels} panels, {len(results)} queries executed ({IMAGES} images): {count}")
    say(capsys, *(f"may be empty: {one['key']}: {one['why']}" for one in results if one["outcome"] == "may be empty"))
    assert {one["key"]: one for one in results if one["outcome"] not in ("data", "may be empty")} == {}
    assert count["data"] > 0
    needless = prove_dashboards.needless(chosen, results, here)
    assert needless == [], "dashboards/empties.yml says that these never have data here"


def test_every_metric_and_label_of_a_rule_is_served(
    servers: dict[str, str], load: subprocess.Popen[str], capsys: pytest.CaptureFixture[str]
) -> None:
    found = served.by_rules(lambda path, **more: ask(servers["promql"], f"/api/v1/{path}", **more))
    reasons = {**UNSERVED, **served.LATER}
    say(capsys, f"{len(found.rules)} rules name {len(found.named)} metrics, {len(found.live)} of them served live")
    say(capsys, *(f"not recorded yet: {metric}" for metric in sorted(found.awaited)))
    say(capsys, *(f"not served: {metric}: {reasons.get(metric)}" for metric in sorted(found.unserved)))
    assert found.wrong == []
    assert found.unserved - served.LATER.keys() == UNSERVED.keys()


def test_every_rule_evaluates(servers: dict[str, str]) -> None:
    rules = [rule for group in ask(servers["promql"], "/api/v1/rules")["groups"] for rule in group["rules"]]
    assert {rule["name"]: rule["lastError"] for rule in rules if rule.get("lastError")} == {}
    assert {rule["name"]: rule["health"] for rule in rules if rule["health"] != "ok"} == {}


def test_every_query_of_the_documentation_works(
    servers: dict[str, str], load: subprocess.Popen[str], capsys: pytest.CaptureFixture[str]
) -> None:
    queries = documented.every()
    paths = {"promql": "/api/v1/query", "logql": "/loki/api/v1/query_range"}
    empty: list[str] = []
    refused: dict[str, str] = {}

    def executed() -> bool:
        empty.clear()
        for query in queries:
            try:
                data = ask(servers[query.language], paths[query.language], query=query.text)
            except prove_dashboards.Refused as error:
                refused[query.where] = f"{query.text}: {error}"
                continue
            if query.promised and not prove_dashboards.samples(data):
                empty.append(f"{query.where}: {query.text}")
        return not empty

    probe.eventually(executed, PATIENCE)
    promised = sum(query.promised for query in queries)
    pages = len({query.file for query in queries})
    say(capsys, f"{len(queries)} queries on {pages} pages executed, {promised} of them promise a result")
    open_ended = [query for query in queries if query.file == documented.GUIDE and not query.promised]
    say(capsys, *(f"may be empty by its own text: {query.where}: {query.text}" for query in open_ended))
    assert refused == {}
    assert empty == []
    assert promised > 0


def test_the_load_did_what_it_was_to_do(load: subprocess.Popen[str], capsys: pytest.CaptureFixture[str]) -> None:
    text, _ = load.communicate(timeout=180)
    report = json.loads(text)
    say(capsys, f"load: {report['kinds']}, jobs {report['jobs']}, unexpected {report['unexpected_total']}")
    assert load.returncode == 0, report["unexpected"]
    assert {"drill", "missing", "malformed", "slow", "burst"} <= report["kinds"].keys()
