#!/usr/bin/env python3
"""Execute every query of every dashboard against a running Prometheus (and Loki) and name those without a sample.

A panel without data is either a fault or expected; what is expected stands in dashboards/empties.yml with its reason.
Exit status: 0 all have samples or may be empty; 1 some have none, or were refused; 2 the server does not answer.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from dashboards.queries import GLOBALS, Query, every  # noqa: E402 - a script finds the package beside its folder

EMPTIES = ROOT / "dashboards" / "empties.yml"
STEP = 15  # s between points of a range, the scrape interval
OUTCOMES = ("data", "may be empty", "empty", "refused", "not executed")


@dataclass(frozen=True)
class Span:
    """How a panel looks: seconds back, and seconds until it gives up."""

    window: float = 900
    timeout: float = 30


class Refused(Exception):
    """The server answered that the query is wrong."""


def ask(base: str, path: str, parameters: dict[str, str], timeout: float) -> Any:
    """Return `data` of the answer to a GET. Raises Refused for a query that is wrong, OSError without an answer."""
    url = f"{base.rstrip('/')}{path}?{urllib.parse.urlencode(parameters)}"
    if not url.startswith(("http://", "https://")):
        raise OSError(f"not an http address: {base}")
    try:
        with urllib.request.urlopen(url, timeout=timeout) as answer:  # noqa: S310 - the scheme was just checked
            return json.load(answer)["data"]
    except urllib.error.HTTPError as error:
        if error.code in (400, 422):
            raise Refused(error.read().decode(errors="replace")[:300]) from error
        raise


def samples(data: dict[str, Any]) -> int:
    """Return how many values `data` has that a panel would draw: log lines, or numbers other than NaN."""
    if data["resultType"] == "streams":
        return sum(len(stream["values"]) for stream in data["result"])
    if data["resultType"] == "scalar":
        return 0 if math.isnan(float(data["result"][1])) else 1
    points = [point for series in data["result"] for point in series.get("values", [series.get("value")])]
    return sum(1 for point in points if point and not math.isnan(float(point[1])))


def execute(query: Query, bases: dict[str, str], window: float, now: float, timeout: float) -> int:
    """Return the number of samples of `query`, asked the way its panel asks."""
    base = bases[query.language]
    if query.language == "logql":
        span = {"start": str(int((now - window) * 1e9)), "end": str(int(now * 1e9)), "limit": "10", "step": str(STEP)}
        return samples(ask(base, "/loki/api/v1/query_range", {"query": query.filled, **span}, timeout))
    # Queries for one point in time, too, are asked over the window: a table of what a minute's traffic was has nothing
    # to show a minute after the load, and that says nothing of the query.
    span = {"start": str(now - window), "end": str(now), "step": str(STEP)}
    return samples(ask(base, "/api/v1/query_range", {"query": query.filled, **span}, timeout))


def entries(images: str, without: set[str], profile: str) -> list[dict[str, Any]]:
    """Return the entries of the list that hold here.

    An entry may be limited to `images` (offline or registry), to a role that is not deployed (`without`), or to
    a `profile`.
    """
    return [
        entry
        for entry in yaml.safe_load(EMPTIES.read_text(encoding="utf-8"))
        if entry.get("images", images) == images
        and entry.get("profile", profile) == profile
        and ("without" not in entry or entry["without"] in without)
    ]


def names(query: Query) -> tuple[str, ...]:
    """Return what an entry may call `query`: itself, its panel, that panel of every dashboard, its dashboard."""
    return (query.key, f"{query.dashboard} / {query.panel}", f"* / {query.panel}", query.dashboard)


def prove(chosen: list[Query], bases: dict[str, str], here: list[dict[str, Any]], span: Span) -> list[dict[str, Any]]:
    """Execute the queries and return `{key, query, language, outcome, …}` of each; OSError without an answer.

    Outcomes: data, empty, may be empty (`why`), refused (`why`), not executed (no server for its language).
    """
    now = time.time()
    results = []
    for query in chosen:
        result: dict[str, Any] = {"key": query.key, "query": query.filled, "language": query.language}
        reason = next((entry["reason"] for entry in here if set(names(query)) & set(entry["queries"])), None)
        if query.language not in bases:
            result["outcome"] = "not executed"
        else:
            try:
                result["samples"] = execute(query, bases, span.window, now, span.timeout)
                result["outcome"] = "data" if result["samples"] else "may be empty" if reason else "empty"
            except Refused as error:
                result.update(outcome="refused", why=str(error))
        if result["outcome"] == "may be empty":
            result["why"] = reason
        results.append(result)
    return results


def needless(chosen: list[Query], results: list[dict[str, Any]], here: list[dict[str, Any]]) -> list[str]:
    """Return the names in the list whose queries all have data, but for entries that say `sometimes`."""
    outcomes: dict[str, set[str]] = {}
    for query, result in zip(chosen, results):
        for name in names(query):
            outcomes.setdefault(name, set()).add(result["outcome"])
    listed = [name for entry in here if not entry.get("sometimes") for name in entry["queries"]]
    return [name for name in listed if outcomes.get(name) == {"data"}]


def choose(rate_interval: str, span: Span, dashboards: list[str] | None, without: list[str]) -> list[Query]:
    """Return the queries to execute, with what Grafana would fill in."""
    overrides = {"__rate_interval": rate_interval, "__auto": rate_interval, "__range": f"{int(span.window)}s"}
    found = [query for query in every(overrides) if query.role not in without]
    return [query for query in found if not dashboards or query.dashboard in dashboards]


def main(arguments: list[str] | None = None) -> int:
    """Execute all queries and print a line for each without samples, then the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prometheus", default="http://127.0.0.1:9090", help="address (default: %(default)s)")
    parser.add_argument("--loki", help="address; without it LogQL is counted as not executed")
    parser.add_argument("--dashboard", action="append", help="only this dashboard; may be repeated")
    parser.add_argument("--images", choices=["registry", "offline"], default="registry", help="what the stack runs")
    parser.add_argument("--without", action="append", default=[], help="a role that is not deployed; may be repeated")
    parser.add_argument("--profile", default="full", help="profile of the stack (default: %(default)s)")
    parser.add_argument(
        "--window", type=float, default=900, help="seconds that a panel looks back (default: %(default)s)"
    )
    parser.add_argument("--rate-interval", default=GLOBALS["__rate_interval"], help="(default: %(default)s)")
    parser.add_argument("--timeout", type=float, default=30, help="seconds for one query (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print the result of each query as JSON")
    options = parser.parse_args(arguments)

    span = Span(options.window, options.timeout)
    chosen = choose(options.rate_interval, span, options.dashboard, options.without)
    if not chosen:
        print(f"no such dashboard: {', '.join(options.dashboard)}", file=sys.stderr)
        return 2
    bases = {"promql": options.prometheus, **({"logql": options.loki} if options.loki else {})}
    here = entries(options.images, set(options.without), options.profile)
    try:
        results = prove(chosen, bases, here, span)
    except (OSError, KeyError, ValueError) as error:
        print(f"no answer from {' or '.join(bases.values())}: {error}", file=sys.stderr)
        return 2
    return report(results, needless(chosen, results, here), as_json=options.json)


def counts(results: list[dict[str, Any]]) -> dict[str, int]:
    """Return how many queries had each outcome."""
    return {outcome: sum(1 for result in results if result["outcome"] == outcome) for outcome in OUTCOMES}


def report(results: list[dict[str, Any]], needless: list[str], *, as_json: bool) -> int:
    """Print the results and return the exit status."""
    count = counts(results)
    if as_json:
        print(json.dumps({"count": count, "needless": needless, "results": results}, indent=2))
    else:
        for result in results:
            if result["outcome"] != "data":
                print(f"{result['outcome']}: {result['key']}\n    {result.get('why', result['query'])}")
        for name in needless:
            print(f"has data although {EMPTIES.name} says it never has here: {name}")
        executed = len(results) - count["not executed"]
        print(f"{executed} queries executed: " + ", ".join(f"{number} {outcome}" for outcome, number in count.items()))
    return 1 if count["empty"] or count["refused"] or not count["data"] else 0


if __name__ == "__main__":
    sys.exit(main())
