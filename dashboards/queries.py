"""Every query of every shipped dashboard, read from the JSON that is shipped: `python -m dashboards.queries --json`.

Only the standard library is needed, so that a machine with nothing but Python can list and execute them.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PATTERN = "roles/*/files/dashboards/*.json"
# What Grafana fills in. A rate interval of 4 scrapes is what Grafana itself uses for a panel of an hour.
GLOBALS = {"__rate_interval": "1m", "__interval": "15s", "__range": "15m", "__auto": "1m"}
_VARIABLE = re.compile(r"\$(?:\{(\w+)(?::\w+)?\}|(\w+))")


@dataclass(frozen=True)
class Query:
    """One query: where it is, as written (`expr`) and with every variable filled in (`filled`)."""

    dashboard: str
    panel: str
    ref: str
    language: str  # promql or logql
    expr: str
    filled: str
    file: str
    role: str

    @property
    def key(self) -> str:
        """Name of the query in lists made by people: `dashboard / panel / A`."""
        return f"{self.dashboard} / {self.panel} / {self.ref}"


def files() -> list[Path]:
    """Return the shipped dashboards."""
    return sorted(ROOT.glob(PATTERN))


def panels(board: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the panels of `board` that are not rows, those inside collapsed rows too."""
    for panel in board["panels"]:
        if panel["type"] == "row":
            yield from panel.get("panels", [])
        else:
            yield panel


def values(board: dict[str, Any]) -> dict[str, str]:
    """Return what each variable of `board` stands for when a person has chosen nothing."""
    found = dict(GLOBALS)
    for variable in board["templating"]["list"]:
        current = variable.get("current", {}).get("value", "")
        everything = variable.get("includeAll") and current in ("$__all", ["$__all"])
        found[variable["name"]] = variable.get("allValue", ".+") if everything else str(current)
    return found


def fill(expr: str, chosen: dict[str, str], overrides: dict[str, str] | None = None) -> str:
    """Return `expr` with each `$name` and `${name}` replaced. Raises KeyError for a variable that does not exist."""
    known = {**chosen, **(overrides or {})}
    return _VARIABLE.sub(lambda match: known[match.group(1) or match.group(2)], expr)


def of_board(board: dict[str, Any], file: str, overrides: dict[str, str] | None = None) -> Iterator[Query]:
    """Yield the queries of the panels, then those of the annotations, of one dashboard."""
    name = board["uid"].removeprefix("landfall-")
    role = file.split("/")[1]
    chosen = values(board)
    for panel in panels(board):
        language = "logql" if panel["datasource"]["type"] == "loki" else "promql"
        for target in panel.get("targets", []):
            expr = target["expr"]
            # Like Grafana: a query that says how often its metrics come looks back four times as long
            own = {"__rate_interval": f"{4 * int(target['interval'][:-1])}s"} if "interval" in target else {}
            filled = fill(expr, chosen, {**(overrides or {}), **own})
            yield Query(name, panel["title"], target["refId"], language, expr, filled, file, role)
    for mark in board["annotations"]["list"]:
        expr = mark["expr"]
        yield Query(name, f"mark {mark['name']}", "A", "promql", expr, fill(expr, chosen, overrides), file, role)


def every(overrides: dict[str, str] | None = None) -> list[Query]:
    """Return every query of every shipped dashboard; `overrides` replaces values of variables."""
    found: list[Query] = []
    for path in files():
        board = json.loads(path.read_text(encoding="utf-8"))
        found.extend(of_board(board, path.relative_to(ROOT).as_posix(), overrides))
    return found


def main(arguments: list[str] | None = None) -> int:
    """Print every query, as JSON or one line each."""
    parser = argparse.ArgumentParser(prog="python -m dashboards.queries", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON with all fields")
    parser.add_argument("--language", choices=["promql", "logql"], help="only queries of this language")
    options = parser.parse_args(arguments)
    found = [query for query in every() if options.language in (None, query.language)]
    if options.json:
        json.dump([{**asdict(query), "key": query.key} for query in found], sys.stdout, indent=2)
        print()
    else:
        for query in found:
            print(f"{query.key}: {query.filled}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
