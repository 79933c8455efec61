"""Who watches the watchmen: targets, Prometheus, Alertmanager, versions. Loki, Alloy and probes have their own."""

from __future__ import annotations

from dashboards.alerts import default
from dashboards.board import Board
from dashboards.boards.common import SEL, UP_DOWN, instance, job, quantile, rate
from dashboards.kit import ANY_IS_BAD, Q, graph, rising, runbook, see_logs, stat, table, timeline

OK = {"1": ("ok", "green"), "0": ("failed", "red")}
R = "[$__rate_interval]"

BOARD = Board(
    name="monitoring-stack",
    title="Landfall / Monitoring stack",
    text="Whether the monitoring itself works: targets, rules, notifications, storage.",
    role="prometheus",
    starts="prometheus|alertmanager|loki|alloy|grafana|blackbox-exporter",
    variables=[job("up"), instance("up")],
    rows=[
        (
            "At a glance",
            [
                stat(
                    "Targets down",
                    "Targets that Prometheus cannot scrape.",
                    "short",
                    Q(f"count(up{{{SEL}}}) - sum(up{{{SEL}}})"),
                    steps=ANY_IS_BAD,
                    links=(runbook("TargetDown"),),
                ),
                stat(
                    "Prometheus configuration",
                    "Whether the last reload of the configuration succeeded.",
                    "none",
                    Q("min(prometheus_config_last_reload_successful)"),
                    names=OK,
                    links=(runbook("PrometheusConfigReloadFailed"), see_logs("prometheus")),
                ),
                stat(
                    "Alertmanager configuration",
                    "Whether the last reload of the configuration succeeded.",
                    "none",
                    Q("min(alertmanager_config_last_reload_successful)"),
                    names=OK,
                    links=(runbook("AlertmanagerConfigReloadFailed"), see_logs("alertmanager")),
                ),
                stat(
                    "Rules failed",
                    "Evaluations of rules that failed in the time range shown.",
                    "short",
                    Q("sum(increase(prometheus_rule_evaluation_failures_total[$__range]))", instant=True),
                    steps=ANY_IS_BAD,
                    decimals=0,
                    links=(runbook("PrometheusRuleFailures"),),
                ),
                stat(
                    "Notifications failed",
                    "Notifications that Alertmanager could not deliver in the time range shown.",
                    "short",
                    Q("sum(increase(alertmanager_notifications_failed_total[$__range]))", instant=True),
                    steps=ANY_IS_BAD,
                    decimals=0,
                    links=(runbook("AlertmanagerNotificationsFailing"),),
                ),
                stat(
                    "Storage used",
                    "Share of the size that Prometheus may use before it drops its oldest data.",
                    "percentunit",
                    Q(
                        "sum(prometheus_tsdb_storage_blocks_bytes + prometheus_tsdb_wal_storage_size_bytes)"
                        " / sum(prometheus_tsdb_retention_limit_bytes > 0)"
                    ),
                    steps=rising(default("prometheus_alert_storage_ratio")),
                    decimals=1,
                    empty="no limit",
                    links=(runbook("PrometheusStorageNearLimit"),),
                ),
            ],
        ),
        (
            "Targets",
            [
                timeline(
                    "Targets",
                    "Whether Prometheus reaches each target.",
                    Q(f"min by (job) (up{{{SEL}}})", "{{job}}"),
                    names=UP_DOWN,
                    width=12,
                    height=10,
                ),
                graph(
                    "Scrape time",
                    "How long each scrape takes; celery-exporter needs about 2 s. The alert informs at"
                    f" {default('prometheus_alert_scrape_seconds'):g} s.",
                    "s",
                    Q(f"max by (job) (scrape_duration_seconds{{{SEL}}})", "{{job}}"),
                    width=6,
                    height=10,
                    links=(runbook("ScrapeSlow"),),
                ),
                graph(
                    "Samples by job",
                    "Samples that each scrape brings. A rise that does not end is a label without bound.",
                    "short",
                    Q(f"sum by (job) (scrape_samples_post_metric_relabeling{{{SEL}}})", "{{job}}"),
                    width=6,
                    height=10,
                    stack=True,
                ),
            ],
        ),
        (
            "Prometheus",
            [
                graph(
                    "Series",
                    "Series in memory, and samples written per second.",
                    "short",
                    Q("sum(prometheus_tsdb_head_series)", "series"),
                    Q(rate("prometheus_tsdb_head_samples_appended_total"), "samples per second"),
                    width=8,
                ),
                graph(
                    "Storage",
                    "Bytes of blocks and of the write-ahead log, and the limit of size.",
                    "bytes",
                    Q("sum(prometheus_tsdb_storage_blocks_bytes)", "blocks"),
                    Q("sum(prometheus_tsdb_wal_storage_size_bytes)", "write-ahead log"),
                    Q("sum(prometheus_tsdb_retention_limit_bytes) > 0", "limit"),
                    width=8,
                ),
                graph(
                    "Rule groups",
                    "How long the slowest rule groups take, against their interval.",
                    "s",
                    Q("topk(5, max by (rule_group) (prometheus_rule_group_last_duration_seconds))", "{{rule_group}}"),
                    Q("min(prometheus_rule_group_interval_seconds)", "shortest interval"),
                    width=8,
                    links=(runbook("PrometheusRuleFailures"),),
                ),
                graph(
                    "Queries p95",
                    "The time that 95 of 100 requests to Prometheus stay below, by handler that has any.",
                    "s",
                    Q(
                        quantile(
                            0.95,
                            "prometheus_http_request_duration_seconds",
                            'handler=~"/api/v1/.*|/metrics"',
                            by="handler",
                        ),
                        "{{handler}}",
                    ),
                    width=8,
                ),
                graph(
                    "Refused samples",
                    "Samples per minute that were refused: too old, twice at one time, out of order, over a limit.",
                    "short",
                    Q(f"60 * {rate('prometheus_target_scrapes_sample_out_of_order_total')}", "out of order"),
                    Q(
                        f"60 * {rate('prometheus_target_scrapes_sample_duplicate_timestamp_total')}",
                        "twice at one time",
                    ),
                    Q(f"60 * {rate('prometheus_target_scrapes_sample_out_of_bounds_total')}", "out of bounds"),
                    Q(
                        f"60 * {rate('prometheus_target_scrapes_exceeded_sample_limit_total')}",
                        "scrapes over the limit",
                    ),
                    width=8,
                    steps=rising(1, 10),
                ),
                graph(
                    "Memory of each process",
                    "Resident memory, as each process reports it.",
                    "bytes",
                    Q(f"sum by (job) (process_resident_memory_bytes{{{SEL}}})", "{{job}}"),
                    width=8,
                ),
            ],
        ),
        (
            "Alertmanager",
            [
                graph(
                    "Alerts",
                    "Alerts that Alertmanager holds, by state.",
                    "short",
                    Q("sum by (state) (alertmanager_alerts)", "{{state}}"),
                    width=8,
                ),
                graph(
                    "Notifications",
                    "Notifications per minute, sent and failed, by kind of receiver that is used.",
                    "short",
                    Q(
                        f"60 * ({rate('alertmanager_notifications_total', by='integration')} > 0)",
                        "{{integration}} sent",
                    ),
                    Q(
                        f"60 * {rate('alertmanager_notifications_failed_total', by='integration')}",
                        "{{integration}} failed",
                    ),
                    width=8,
                    links=(runbook("AlertmanagerNotificationsFailing"),),
                ),
                graph(
                    "Way to Alertmanager",
                    "Alerts per minute that Prometheus sent, that failed and that it dropped.",
                    "short",
                    Q(f"60 * {rate('prometheus_notifications_sent_total')}", "sent"),
                    Q(f"60 * {rate('prometheus_notifications_errors_total')}", "failed"),
                    Q(f"60 * {rate('prometheus_notifications_dropped_total')}", "dropped"),
                    width=8,
                ),
            ],
        ),
        (
            "Programs",
            [
                stat(
                    "Grafana requests",
                    "Requests that Grafana answered per second.",
                    "reqps",
                    Q(rate("grafana_http_request_duration_seconds_count")),
                    width=6,
                    height=8,
                    decimals=2,
                    links=(see_logs("grafana"),),
                ),
                table(
                    "Versions",
                    "What runs: the version that each program reports.",
                    "none",
                    Q("max by (job, version) (prometheus_build_info)"),
                    Q("max by (job, version) (alertmanager_build_info)"),
                    Q("max by (job, version) (node_exporter_build_info)"),
                    Q("max by (job, version) (blackbox_exporter_build_info)"),
                    Q("max by (job, version) (redis_exporter_build_info)"),
                    Q("max by (job, version) (loki_build_info)"),
                    Q("max by (job, version) (alloy_build_info)"),
                    Q("max by (job, version) (grafana_build_info)"),
                    columns={"job": "Job", "version": "Version"},
                    width=18,
                ),
            ],
        ),
    ],
)
