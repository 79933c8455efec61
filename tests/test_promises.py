"""By when an alert has to be delivered: from rules, scraping and routes, as the servers tell them."""

from __future__ import annotations

import sys

import pytest

from tests import rolekit

sys.path.append(str(rolekit.ROOT / "molecule"))

from testbed import alerts


def configuration() -> alerts.Configuration:
    """What the servers would say, without servers."""
    found = object.__new__(alerts.Configuration)
    found.scrape, found.timeout = 15.0, 10.0
    rules = [
        {"name": "Down", "type": "alerting", "duration": 120, "query": "up == 0", "labels": {"severity": "warning"}},
        {"name": "Down", "type": "alerting", "duration": 60, "query": "up == 0", "labels": {"severity": "critical"}},
        {"name": "Gone", "type": "alerting", "duration": 60, "query": "time() - max(last_seen) > 60",
         "labels": {"severity": "critical", "name": "app"}},
    ]  # fmt: skip
    found.groups = [{"interval": 15, "rules": rules}]
    found.route = {
        "group_wait": "30s",
        "group_interval": "5m",
        "routes": [{"matchers": ['severity="critical"'], "group_wait": "0s", "group_interval": "1m"}],
    }
    return found


def test_a_warning_waits_for_its_group_and_a_critical_alert_does_not() -> None:
    warning = configuration().promise({"alertname": "Down", "severity": "warning"})
    critical = configuration().promise({"alertname": "Down", "severity": "critical"})
    assert (warning.wait, warning.firing) == (120, 15 + 10 + 15 + 120 + 15 + 30 + alerts.SENDING)
    assert (critical.wait, critical.firing) == (60, 15 + 10 + 15 + 60 + 15 + 0 + alerts.SENDING)
    assert (warning.resolved, critical.resolved) == (40 + 300 + alerts.SENDING, 40 + 60 + alerts.SENDING)


def test_an_alert_that_joins_a_group_comes_with_its_next_message() -> None:
    one = {"alertname": "Down", "severity": "critical"}
    assert configuration().promise(one, joins=True).firing == configuration().promise(one).firing + 60


def test_what_is_missing_is_missing_only_after_some_time() -> None:
    gone = configuration().promise({"alertname": "Gone", "severity": "critical", "name": "app"})
    assert gone.firing == 60 + 15 + 10 + 15 + 60 + 15 + alerts.SENDING


@pytest.mark.parametrize("labels", [{"alertname": "Unheard"}, {"alertname": "Gone", "severity": "info"}])
def test_an_alert_that_no_rule_gives_is_an_error(labels: dict[str, str]) -> None:
    with pytest.raises(AssertionError, match="no rule"):
        configuration().promise(labels)


@pytest.mark.parametrize(
    ("matcher", "expected"),
    [('severity="critical"', True), ('severity!="critical"', False), ('severity=~"crit.*|x"', True), ('team=""', True)],
)
def test_matchers(matcher: str, expected: bool) -> None:
    assert alerts._matches(matcher, {"severity": "critical"}) == expected
