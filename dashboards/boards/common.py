"""Words and queries that several dashboards share."""

from __future__ import annotations

from dashboards.alerts import default, pattern, percent
from dashboards.board import Variable
from dashboards.kit import falling, rising

# Matchers of the variables that most dashboards have
SEL = 'job=~"$job", instance=~"$instance"'
CADVISOR = "30s"  # how often cAdvisor is scraped where it is scraped least, in the profile small
RATE = "[$__rate_interval]"
# Orange where the alert warns, red where it is critical
ERRORS = rising(default("app_alert_error_ratio"), default("app_alert_error_ratio_critical"))
ERRORS_TEXT = (
    f"The alert warns at {percent(default('app_alert_error_ratio'))}"
    f" and is critical at {percent(default('app_alert_error_ratio_critical'))}."
)
SLOW = rising(default("app_alert_latency_seconds"), default("app_alert_latency_critical_seconds"))
SLOW_TEXT = (
    f"The alert warns at {default('app_alert_latency_seconds'):g} s"
    f" and is critical at {default('app_alert_latency_critical_seconds'):g} s."
)
DB_SLOW = rising(default("app_alert_db_latency_seconds"))
DB_SLOW_TEXT = f"The alert warns at {default('app_alert_db_latency_seconds'):g} s."
LOW_HITS = falling(None, default("app_alert_cache_hit_ratio"))
BACKLOG = rising(default("celery_exporter_alert_backlog"), default("celery_exporter_alert_backlog_critical"))
BACKLOG_TEXT = (
    f"The alert warns at {default('celery_exporter_alert_backlog'):g} in one queue"
    f" and is critical at {default('celery_exporter_alert_backlog_critical'):g}."
)
BUSY_CPU = rising(default("node_exporter_alert_cpu_ratio"), default("node_exporter_alert_cpu_ratio_critical"))
BUSY_MEMORY = rising(default("node_exporter_alert_memory_ratio"), default("node_exporter_alert_memory_ratio_critical"))
FULL_DISK = rising(default("node_exporter_alert_disk_ratio"), default("node_exporter_alert_disk_ratio_critical"))
# File systems that can fill up: those that the alerts look at
DISKS = f'fstype!~"{pattern("node_exporter_alert_filesystems_ignored")}"'
UP_DOWN = {"1": ("up", "green"), "0": ("down", "red")}
OK_FAILED = {"1": ("ok", "green"), "0": ("failed", "red")}


def job(metric: str) -> Variable:
    """Return the variable `job`: the scrape jobs that serve `metric`."""
    return Variable("job", "Job", metric)


def instance(metric: str) -> Variable:
    """Return the variable `instance`: the targets of the chosen jobs that serve `metric`."""
    return Variable("instance", "Instance", f'{metric}{{job=~"$job"}}')


def services(metric: str) -> Variable:
    """Return the hidden variable `services`: the containers that serve `metric`, for links to their logs."""
    return Variable("services", "Services", metric, of="service", hidden=True)


def _select(metric: str, matchers: tuple[str, ...]) -> str:
    return f"{metric}{{{', '.join(matchers)}}}" if matchers else metric


def rate(metric: str, *matchers: str, by: str = "") -> str:
    """Return the sum per second of a counter, kept apart by the labels `by`."""
    grouping = f" by ({by}) " if by else ""
    return f"sum{grouping}(rate({_select(metric, matchers)}{RATE}))"


def share(part: str, whole: str) -> str:
    """Return `part` ÷ `whole`, where a part without any series counts as 0; nothing while the whole is 0."""
    return f"(({part}) or 0 * ({whole})) / (({whole}) > 0)"


def quantile(of: float, metric: str, *matchers: str, by: str = "") -> str:
    """Return a quantile in seconds of a histogram, kept apart by the labels `by`; nothing while nothing happens."""
    labels = f"le, {by}" if by else "le"
    buckets = f"sum by ({labels}) (rate({_select(metric + '_bucket', matchers)}{RATE}))"
    return f"(histogram_quantile({of}, {buckets}) >= 0)"  # without observations it is NaN, which is not


def mean(metric: str, *matchers: str, by: str = "") -> str:
    """Return the mean in seconds of a histogram, kept apart by the labels `by`; nothing while nothing happens."""
    return f"{rate(metric + '_sum', *matchers, by=by)} / ({rate(metric + '_count', *matchers, by=by)} > 0)"
