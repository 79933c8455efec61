"""What is asked from outside of the services: whether they answer, how fast, with which certificate."""

from __future__ import annotations

from dashboards.alerts import default
from dashboards.board import Board
from dashboards.boards.common import SEL, UP_DOWN, instance, job
from dashboards.kit import ANY_IS_BAD, Q, bars, falling, graph, rising, runbook, see_logs, stat, timeline

WARN, CRITICAL = default("blackbox_exporter_alert_tls_days"), default("blackbox_exporter_alert_tls_days_critical")

BOARD = Board(
    name="probes",
    title="Landfall / Probes",
    text="Whether each address answers as it should, how long that takes, and when its certificate ends.",
    role="blackbox_exporter",
    starts="blackbox-exporter",
    variables=[job("probe_success"), instance("probe_success")],
    rows=[
        (
            "",
            [
                stat(
                    "Failing",
                    "Addresses that do not answer as they should.",
                    "short",
                    Q(f"count(probe_success{{{SEL}}}) - sum(probe_success{{{SEL}}})"),
                    height=8,
                    steps=ANY_IS_BAD,
                    links=(runbook("ProbeFailed"), see_logs("blackbox-exporter")),
                ),
                timeline(
                    "Probes",
                    "Whether each address answers as it should.",
                    Q(f"min by (instance) (probe_success{{{SEL}}})", "{{instance}}"),
                    names=UP_DOWN,
                    width=20,
                    links=(runbook("ProbeFailed"), see_logs("blackbox-exporter")),
                ),
                graph(
                    "Probe time",
                    "How long each probe takes.",
                    "s",
                    Q(f"max by (instance) (probe_duration_seconds{{{SEL}}})", "{{instance}}"),
                    steps=rising(default("blackbox_exporter_alert_probe_seconds")),
                    links=(runbook("ProbeSlow"),),
                ),
                bars(
                    "Certificates",
                    "Time until the earliest certificate of each address ends. The alert warns"
                    f" {WARN:g} days before and is critical {CRITICAL:g} days before.",
                    "s",
                    Q(f"min by (instance) (probe_ssl_earliest_cert_expiry{{{SEL}}}) - time()", "{{instance}}"),
                    width=12,
                    steps=falling(86400 * CRITICAL, 86400 * WARN),
                    links=(runbook("TLSCertificateExpiring"),),
                ),
            ],
        ),
    ],
)
