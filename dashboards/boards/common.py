"""Words and queries that several dashboards share."""

from __future__ import annotations

from dashboards.board import Variable

# Matchers of the variables that most dashboards have
SEL = 'job=~"$job", instance=~"$instance"'
CADVISOR = "30s"  # how often cAdvisor is scraped where it is scraped least, in the profile small
RATE = "[$__rate_interval]"
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
