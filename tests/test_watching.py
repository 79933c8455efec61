"""What is watched follows what is deployed: no alert for what nobody has, none missing for what somebody has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from dashboards import queries
from tests import metric_catalog, rolekit, rulekit

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
        # What a worker consumes that names none
        ({"celery_workers": [{"name": "worker"}, {"name": "mails", "queues": ["mail"]}]}, ["celery", "mail"]),
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


@pytest.mark.parametrize(
    ("url", "database"),
    [
        (None, 0),
        ("redis://:{{ redis_password | landfall.vps.url_text }}@redis:6379/3", 3),
        ("redis://redis:6379/12?ssl_cert_reqs=none", 12),
        ("redis://redis:6379", 0),
        ("amqp://shop:x@broker:5672/shop", 0),
    ],
)
def test_queues_are_counted_in_the_broker_s_database(url: str | None, database: int, tmp_path: Path) -> None:
    more = {"celery_exporter_broker_url": url} if url else {}
    rendered = rolekit.component("redis_exporter", tmp_path, celery_workers=OWN_WORKERS, **more)
    service = dict(rolekit.services(rendered))["redis-exporter"]
    assert f"db{database}=mail," in service["environment"]["REDIS_EXPORTER_CHECK_SINGLE_KEYS"]
    script = rolekit.text(rendered, "redis_exporter/config/unacked.lua")
    before, _found, after = script.partition(
        "local first = redis.call('ZRANGE', prefix .. 'unacked_index', 0, 0, 'WITHSCORES')\n"
    )
    assert after and "{%" not in script
    assert (f"redis.call('SELECT', {database})\n" in before) is (database > 0)


def test_a_worker_among_the_services_has_its_queues_watched_too(tmp_path: Path) -> None:
    worker = {"name": "jobs", "image": "shop:1", "health": ["true"], "queues": ["orders"]}
    assert _missed_queues(tmp_path, app_services=[worker], celery_enabled=False) == ["orders"]
    assert _missed_queues(tmp_path, app_services=[worker], celery_enabled=False, app_enabled=False) == []


# ---------------------------------------------------------------- kinds of metrics
OWN = {"image": "shop:1", "port": 8000, "health": "/"}
AUTO = {"name": "web", **OWN, "metrics": {"port": 8000}}
KINDS: dict[str, dict[str, Any]] = {
    kind: {"name": "web", **OWN, "metrics": {"port": 8000, "kind": kind}} for kind in ("instrumentator", "otel", "none")
}
SILENT: dict[str, Any] = {"name": "web", **OWN}
ELSEWHERE: dict[str, Any] = {"app_enabled": False, "celery_enabled": False}
PROMETHEUS = "prometheus/rules.d/prometheus--"
HTTP = {"http-slo", "http-high-error-rate", "http-slow-responses"}
FEATURES = {"app-high-error-rate", "app-slow-tasks", "app-resource-exhaustion"}
TASKS = {"celery-high-error-rate", "celery-slow-tasks", "celery-beat"}
ALWAYS = {"prometheus", "targets", "watchdog", "presence"}


def _extra(**more: Any) -> dict[str, Any]:
    target = {"job": "shop", "targets": ["shop.example.org:443"], "scheme": "https", **more}
    return {**ELSEWHERE, "prometheus_extra_targets": [target]}


def _own(*services: dict[str, Any]) -> dict[str, Any]:
    return {"app_services": list(services), "celery_enabled": False}


STACKS: dict[str, tuple[dict[str, Any], set[str], set[str]]] = {
    # what the inventory says, rules of applications, dashboards of applications
    "reference": (
        {},
        HTTP | FEATURES | TASKS,
        {"api-performance", "application", "per-tenant", "slo", "celery-workers"},
    ),
    "no celery": ({"celery_enabled": False}, HTTP | FEATURES, {"api-performance", "application", "per-tenant", "slo"}),
    "no beat": (
        {"celery_beat_enabled": False},
        HTTP | FEATURES | TASKS - {"celery-beat"},
        {"api-performance", "application", "per-tenant", "slo", "celery-workers"},
    ),
    "instrumentator": (_own(KINDS["instrumentator"]), HTTP, {"api-instrumentator", "slo"}),
    "otel": (_own(KINDS["otel"]), HTTP, {"api-otel", "slo"}),
    "kind not named": (_own(AUTO), HTTP, set()),
    "none": (_own(KINDS["none"]), set(), set()),
    "no metrics": (_own(SILENT), set(), set()),
    "nothing": (ELSEWHERE, set(), set()),
    "elsewhere, reference": (
        _extra(metrics="landfall"),
        HTTP | FEATURES | TASKS,
        {"api-performance", "application", "per-tenant", "slo", "celery-workers"},
    ),
    "elsewhere, job app": (_extra(job="app"), HTTP | FEATURES, {"api-performance", "application", "per-tenant", "slo"}),
    "elsewhere, instrumentator": (_extra(metrics="instrumentator"), HTTP, {"api-instrumentator", "slo"}),
    "elsewhere, not named": (_extra(), HTTP, set()),
    "elsewhere, an exporter": (_extra(job="node-exporter"), set(), set()),
    "own workers": (
        {"app_services": [SILENT], "celery_service": "web", "celery_app": "shop.celery", "celery_workers": OWN_WORKERS},
        set(),
        set(),
    ),
}


@pytest.mark.parametrize("name", STACKS)
def test_rules_and_dashboards_follow_what_applications_tell(name: str, tmp_path: Path) -> None:
    more, rules, boards = STACKS[name]
    shipped = rolekit.component("prometheus", tmp_path, **more).contents
    found = {path.removeprefix(PROMETHEUS).removesuffix(".yml") for path in shipped if path.startswith(PROMETHEUS)}
    assert found == rules | ALWAYS
    shown = rolekit.component("grafana", tmp_path, **more).contents
    prefix = "grafana/dashboards.d/grafana--"
    assert {path.removeprefix(prefix).removesuffix(".json") for path in shown if path.startswith(prefix)} == boards


@pytest.mark.parametrize(
    "name", ["instrumentator", "otel", "none", "no metrics", "own workers", "elsewhere, not named"]
)
def test_no_panel_asks_what_only_the_reference_application_tells(name: str, tmp_path: Path) -> None:
    """A panel that nothing here can fill is not shipped, and no alert is that could never fire."""
    shared = ("process_", "python_", "http_request")  # others serve some of that name, too
    foreign = {metric for metric in metric_catalog.catalog(own=True) if not metric.startswith(shared)}
    assert {"tasks_total", "db_pool_connections", "enhancement_requests_total"} <= foreign
    wrong = []
    for role in rolekit.component_names():
        rendered = rolekit.component(role, tmp_path, **STACKS[name][0])
        for path in rendered.contents:
            if path.startswith("grafana/dashboards.d/"):
                board = json.loads(rolekit.text(rendered, path))
                for query in queries.of_board(board, f"roles/x/files/dashboards/{path.split('--')[1]}"):
                    if query.panel.startswith("mark ") or "loki" in path or "logs" in path:
                        continue
                    wrong += [(path, query.panel, one) for one, _ in rulekit.selectors(query.filled) if one in foreign]
    assert wrong == []


def _promtool(folder: Path, more: dict[str, Any], test: dict[str, Any]) -> str:
    """Run a unit test on the rules that an inventory gets; return what promtool says of its failure, if it fails."""
    rendered = rolekit.component("prometheus", folder, landfall_runbook_url=rulekit.RUNBOOK_URL, **more)
    names = []
    for path in rendered.contents:
        if path.startswith(PROMETHEUS):
            names.append(path.rsplit("/", 1)[1])
            (folder / names[-1]).write_text(rolekit.text(rendered, path), "utf-8")
    check = rulekit.run_promtool("check", "rules", *(folder / name for name in names))
    assert check.returncode == 0, check.stdout + check.stderr
    order = ["http-slo-short", "http-latency", "http-errors"]
    document = {"rule_files": names, "evaluation_interval": "1m", "group_eval_order": order, "tests": [test]}
    (folder / "test.yml").write_text(yaml.safe_dump(document), "utf-8")
    result = rulekit.run_promtool("test", "rules", folder / "test.yml")
    return "" if result.returncode == 0 else result.stdout + result.stderr


TARGET = 'job="web",service="web",component="app",metrics_kind="{}",instance="web:8000"'
TELLS = {
    "instrumentator": ("http_requests_total{{{0},handler=\"/\",method=\"GET\",status=\"{1}xx\"}}",
                       "http_request_duration_highr_seconds"),
    "otel": ("http_server_request_duration_seconds_count{{{0},http_route=\"/\",http_response_status_code=\"{1}00\"}}",
             "http_server_request_duration_seconds"),
}  # fmt: skip


def _slow_and_failing(kind: str, labels: str) -> list[dict[str, str]]:
    """Series of 20 minutes of a service: half of its answers are 500, all of them take more than 5 s."""
    count, seconds = TELLS[kind]
    series = [
        {"series": count.format(labels, 2), "values": "0+30x20"},
        {"series": count.format(labels, 5), "values": "0+30x20"},
        {"series": f"{seconds}_count{{{labels}}}", "values": "0+60x20"},
        *(
            {"series": f'{seconds}_bucket{{{labels},le="{bound}"}}', "values": f"0+{rise}x20"}
            for bound, rise in (("2.0", 0), ("2.5", 0), ("5.0", 0), ("7.5", 60), ("10.0", 60), ("+Inf", 60))
        ),
    ]
    if kind == "instrumentator":
        # What it serves besides, with which no alert above 1 s could ever fire
        series += [{"series": f'http_request_duration_seconds_bucket{{{labels},handler="/",le="{le}"}}',
                    "values": f"0+{rise}x20"} for le, rise in (("0.5", 0), ("1.0", 0), ("+Inf", 60))]  # fmt: skip
    return series


def _firing(service: str, alerts: dict[str, int]) -> list[dict[str, Any]]:
    """What promtool is to see after 15 minutes: how many alerts of each name fire for a service, and no others."""
    expr = f'sum by (alertname, service) (ALERTS{{alertstate="firing",service="{service}"}}) > 0'
    samples = [
        {"labels": f'{{alertname="{name}",service="{service}"}}', "value": value} for name, value in alerts.items()
    ]
    return [{"expr": expr, "eval_time": "15m", "exp_samples": samples}]


REQUESTS = {
    "CriticalAPIErrorRate": 1, "CriticalAPILatency": 1, "HighAPIErrorRate": 1, "SlowAPILatency": 1,
    "AvailabilityBudgetBurnFast": 2, "LatencyBudgetBurnFast": 2,
}  # fmt: skip


@pytest.mark.parametrize("others", [False, True], ids=["alone", "beside the reference application"])
@pytest.mark.parametrize(("kind", "family"), [("instrumentator", "instrumentator"), ("otel", "otel"),
                                              ("auto", "instrumentator")])  # fmt: skip
def test_slow_and_failing_requests_raise_alerts_whatever_the_kind(
    kind: str, family: str, others: bool, tmp_path: Path
) -> None:
    """The instrumentator's labelled buckets end at 1 s, so that its others are asked."""
    series = _slow_and_failing(family, TARGET.format(kind))
    service = AUTO if kind == "auto" else KINDS[kind]
    reference = {"name": "app", "image": "{{ app_image }}", "port": 8000, "health": "/", "metrics": {"port": 8000}}
    test = {"interval": "1m", "input_series": series, "promql_expr_test": _firing("web", REQUESTS)}
    failure = _promtool(tmp_path, _own(service, *([reference] if others else [])), test)
    assert failure == ""


@pytest.mark.parametrize(
    ("extra", "family"),
    [
        ({"metrics": "instrumentator", "targets": ["shop.example.org"]}, "instrumentator"),
        ({"metrics": "otel", "labels": {"node": "shop-1", "team": "shop"}}, "otel"),
        ({"service": "checkout", "targets": ["192.0.2.7:8000", "192.0.2.8:8000"]}, "instrumentator"),
    ],
)
def test_an_application_elsewhere_raises_the_same_alerts(extra: dict[str, Any], family: str, tmp_path: Path) -> None:
    """With the labels that Prometheus is told to put on its series, and nothing else."""
    more = _extra(**extra)
    rendered = rolekit.component("prometheus", tmp_path, **more)
    jobs = yaml.safe_load(rolekit.text(rendered, "prometheus/config/prometheus.yml"))["scrape_configs"]
    (static,) = next(job for job in jobs if job["job_name"] == "shop")["static_configs"]
    labels = {**static["labels"], "job": "shop", "instance": static["targets"][0]}
    service = extra.get("service", "shop")
    assert (labels["service"], labels["component"]) == (service, "app")
    text = ",".join(f'{name}="{value}"' for name, value in labels.items())
    series = [*_slow_and_failing(family, text), {"series": f"up{{{text}}}", "values": "1x7 0x13"}]
    wanted = {**REQUESTS, "ApplicationDown": 1, "TargetDown": 1}
    test = {"interval": "1m", "input_series": series, "promql_expr_test": _firing(service, wanted)}
    assert _promtool(tmp_path, more, test) == ""


@pytest.mark.parametrize(
    ("kind", "variable", "seconds", "words"),
    [
        (
            "instrumentator",
            "app_alert_latency_critical_seconds",
            60,
            "60 s is more than the buckets of http_request_dur",
        ),
        (
            "otel",
            "app_alert_latency_seconds",
            30,
            "30 s is more than the buckets of http_server_request_duration_seconds",
        ),
        ("otel", "app_alert_slo_latency_seconds", 10, "(kind otel) can tell, so that no alert could ever fire"),
    ],
)
def test_a_limit_that_the_buckets_of_a_kind_cannot_exceed_is_refused(
    kind: str, variable: str, seconds: float, words: str, tmp_path: Path
) -> None:
    with pytest.raises(Exception, match=f"^.*{variable}") as refused:
        rolekit.component("prometheus", tmp_path, **_own(KINDS[kind]), **{variable: seconds})
    assert words in str(refused.value)
    wider = {"prometheus_http_bounds": {kind: [1, 5, 120, 600]}}
    rolekit.component("prometheus", tmp_path, **_own(KINDS[kind]), **{variable: seconds}, **wider)


def test_the_bounds_of_buckets_are_those_that_were_captured() -> None:
    bounds = rolekit.defaults("prometheus")["prometheus_http_bounds"]
    files = {"landfall": "app-0.1.0", "instrumentator": "instrumentator-8.1.0", "otel": "otel-fastapi-0.66b2"}
    names = rolekit.tasks("prometheus")[0]["vars"]["prometheus_http_names"]
    for kind, file in files.items():
        text = (metric_catalog.EXPOSITIONS / f"{file}.txt").read_text("utf-8")
        lines = [line for line in text.splitlines() if line.startswith(names[kind]["seconds"] + "_bucket")]
        seen = {float(line.split('le="')[1].split('"')[0]) for line in lines} - {float("inf")}
        assert sorted(seen) == [float(bound) for bound in bounds[kind]], kind


@pytest.mark.parametrize(
    ("more", "kind"),
    [
        ({}, "landfall"),
        (_own(AUTO), "auto"),
        (_own(KINDS["instrumentator"]), "instrumentator"),
        (_own(KINDS["otel"]), "otel"),
        (_own(KINDS["none"]), "none"),
    ],
)
def test_the_target_of_a_service_says_its_kind(more: dict[str, Any], kind: str, tmp_path: Path) -> None:
    """The rules of several kinds find their own by this label."""
    (target,) = rolekit.targets(rolekit.component("app", tmp_path, **more))
    assert (target["labels"]["metrics_kind"], target["labels"]["component"]) == (kind, "app")
