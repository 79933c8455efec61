"""The unit tests of the alert rules notice wrong limits.

The numbers that an alert compares with are made four times as strict, then a quarter as strict: a case of that alert
must fail. All numbers of a rule are moved together, and one rule of each name at a time, so that a few runs of all unit
tests are enough.
"""

from __future__ import annotations

import os
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from tests import rulekit

FACTOR = 4  # wider than a bucket of a histogram, within which no limit can be told from another
HUGE = 10**15
# Alerts of which no case can tell, or does not yet: (name, kind) and why
UNJUDGED = {
    ("CeleryWorkersMissing", "strict"): "a count below 1 is 0",
    ("PrometheusNoAlertmanager", "strict"): "a count below 1 is 0",
}
FAILED = re.compile(r"alertname: (\w+), time")
QUOTED = re.compile(r'"(?:\\.|[^"\\])*"')
COMPARED = re.compile(r"(?P<operator>[<>]=?|[!=]=) *(?P<number>-?[0-9]+(?:[.][0-9]+)?)(?![\w.\[(])")


def limits(expr: str) -> list[re.Match[str]]:
    """Return the comparisons with a number, but for guards such as ``(x > 0)`` against a division by 0."""
    masked = QUOTED.sub(lambda found: '"' + "_" * (len(found.group()) - 2) + '"', expr)
    return [found for found in COMPARED.finditer(masked) if not masked[found.end() :].startswith(")")]


def moved(found: re.Match[str], kind: str) -> str:
    """Return a comparison that holds in far fewer cases, or in far more."""
    operator, number = found["operator"], float(found["number"])
    if operator in ("==", "!="):
        return f"== {number + 1:g}" if kind == "strict" else f"> -{HUGE}"
    up = operator.startswith(">") == (kind == "strict")
    if number == 0:
        return f"{operator} {HUGE if up else -HUGE}"
    return f"{operator} {number * FACTOR if up else number / FACTOR:g}"


def rewritten(expr: str, kind: str) -> str:
    """Return an expression with all its limits moved."""
    for found in reversed(limits(expr)):
        expr = expr[: found.start()] + moved(found, kind) + expr[found.end() :]
    return expr


def rounds() -> list[dict[str, tuple[str, int]]]:
    """Return which rules to change together: name of the alert to its file and place. Only rules that have limits."""
    tested = {name for path in rulekit.unit_tests() for name in yaml.safe_load(path.read_text("utf-8"))["rule_files"]}
    places: dict[str, list[tuple[str, int]]] = {}
    for file in sorted(tested):
        for at, rule in enumerate(one for one in rulekit.rules() if one.file == file):
            if rule.is_alert and limits(rule.expr):
                places.setdefault(rule.name, []).append((file, at))
    turns = range(max(len(each) for each in places.values()))
    return [{name: each[turn] for name, each in places.items() if turn < len(each)} for turn in turns]


def mutate(text: str, chosen: set[int], kind: str) -> str:
    """Return a rule file with the limits of the chosen rules moved."""
    document = yaml.safe_load(text)
    bodies = [body for group in document["groups"] for body in group["rules"] or []]
    for at in chosen:
        bodies[at]["expr"] = rewritten(bodies[at]["expr"], kind)
    return str(yaml.safe_dump(document))


@pytest.fixture(scope="module")
def laid_out(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], list[Path]]:
    return rulekit.lay_out(tmp_path_factory.mktemp("rules.d"))


def unnoticed(laid_out: tuple[list[Path], list[Path]], folder: Path, chosen: dict[str, tuple[str, int]],
              kind: str) -> set[str]:  # fmt: skip
    """Return the alerts whose changed limits fail no case of theirs."""
    rule_files, tests = laid_out
    for path in rule_files:
        mine = {at for file, at in chosen.values() if file == path.name}
        (folder / path.name).write_text(mutate(path.read_text("utf-8"), mine, kind), "utf-8")
    files = {file for file, _ in chosen.values()}
    run = [path for path in tests if files & set(yaml.safe_load(path.read_text("utf-8"))["rule_files"])]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(lambda path: rulekit.run_promtool("test", "rules", shutil.copy(path, folder)), run))
    return chosen.keys() - {name for result in results for name in FAILED.findall(result.stdout + result.stderr)}


@pytest.mark.parametrize("kind", ["strict", "loose"])
def test_the_unit_tests_notice_limits_that_are(
    kind: str, laid_out: tuple[list[Path], list[Path]], tmp_path: Path
) -> None:
    missed = set()
    for turn, chosen in enumerate(rounds()):
        folder = tmp_path / str(turn)
        folder.mkdir()
        missed |= unnoticed(laid_out, folder, chosen, kind)
    assert missed == {name for name, unjudged in UNJUDGED if unjudged == kind}


@pytest.mark.parametrize(
    ("expr", "strict", "loose"),
    [
        ('rate(x{a="> 3"}[5m]) > 2', 'rate(x{a="> 3"}[5m]) > 8', 'rate(x{a="> 3"}[5m]) > 0.5'),
        ("x / (y > 0) < 0.5 and z >= 20", "x / (y > 0) < 0.125 and z >= 80", "x / (y > 0) < 2 and z >= 5"),
        ("up == 0", "up == 1", f"up > -{HUGE}"),
        ("increase(x[5m]) > 0", f"increase(x[5m]) > {HUGE}", f"increase(x[5m]) > {-HUGE}"),
        ("x > 14.4 * (1 - 0.999)", "x > 57.6 * (1 - 0.999)", "x > 3.6 * (1 - 0.999)"),
    ],
)
def test_what_is_moved(expr: str, strict: str, loose: str) -> None:
    assert (rewritten(expr, "strict"), rewritten(expr, "loose")) == (strict, loose)
