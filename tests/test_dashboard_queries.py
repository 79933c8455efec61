"""Queries of the dashboards: listed whole, LogQL that parses, and a live proof that fails when it should."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from dashboards.__main__ import ROOT
from dashboards.queries import every, files, of_board, panels
from scripts import prove_dashboards
from tests import programs


def _boards() -> dict[str, dict[str, Any]]:
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in files()}


# ---- LogQL, by the grammar of Grafana itself


@pytest.fixture(scope="session")
def logql(request: pytest.FixtureRequest) -> Callable[[list[str]], list[Any]]:
    """Return a function that parses LogQL expressions with @grafana/lezer-logql, installed once into a cache."""
    source = ROOT / "tests" / "logql"
    cache_folder = ROOT / ".cache" / "logql"
    cache_folder.mkdir(parents=True, exist_ok=True)
    lock = (source / "package-lock.json").read_bytes()
    installed = cache_folder / ".installed"
    with programs.locked(cache_folder / "lock"):
        if not installed.is_file() or installed.read_bytes() != lock:
            for name in ("package.json", "package-lock.json"):
                shutil.copy(source / name, cache_folder / name)
            command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
            subprocess.run(command, cwd=cache_folder, check=True, timeout=300, capture_output=True)
            installed.write_bytes(lock)
        # Node looks for modules beside the script
        shutil.copy(source / "parse.mjs", cache_folder / "parse.mjs")

    def parse(expressions: list[str]) -> list[Any]:
        command = ["node", str(cache_folder / "parse.mjs")]
        done = subprocess.run(
            command, input=json.dumps(expressions), text=True, capture_output=True, timeout=60, check=True
        )
        answer: list[Any] = json.loads(done.stdout)
        return answer

    return parse


def test_every_logql_query_parses(logql: Callable[[list[str]], list[Any]]) -> None:
    queries = [query for query in every() if query.language == "logql"]
    assert len(queries) >= 10
    answers = logql([query.filled for query in queries])
    assert [(query.key, error) for query, error in zip(queries, answers, strict=True) if error] == []


def test_logql_that_is_wrong_does_not_parse(logql: Callable[[list[str]], list[Any]]) -> None:
    wrong = ['sum(rate({container="app"}[1m])', 'rate({container="app"})', "{container=app}", '{container="app"} |~ x']
    assert all(logql(wrong))


# ---- the list of queries, and the script that executes them


def test_every_query_is_listed_with_all_variables_filled() -> None:
    queries = every()
    assert len({query.key for query in queries}) == len(queries)
    assert [query.key for query in queries if "$" in query.filled] == []
    targets = sum(len(panel["targets"]) for board in _boards().values() for panel in panels(board))
    assert sum(1 for query in queries if not query.panel.startswith("mark ")) == targets


def test_unknown_variable_is_refused() -> None:
    board = _boards()["application"]
    next(panels(board))["targets"][0]["expr"] = 'up{job=~"$nobody"}'
    with pytest.raises(KeyError, match="nobody"):
        list(of_board(board, "roles/app/files/dashboards/application.json"))


def test_empties_name_queries_that_exist_and_say_why() -> None:
    entries = yaml.safe_load(prove_dashboards.EMPTIES.read_text(encoding="utf-8"))
    queries = every()
    known = {query.key for query in queries} | {f"{query.dashboard} / {query.panel}" for query in queries}
    known |= {query.dashboard for query in queries} | {f"* / {query.panel}" for query in queries}
    for entry in entries:
        assert set(entry) <= {"queries", "reason", "images", "without", "profile", "sometimes"}
        assert len(entry["reason"]) > 20, entry
        assert [name for name in entry["queries"] if name not in known] == []


class _Server:
    """Stands for Prometheus: answers each query as told, data unless a word of the query is listed."""

    def __init__(self, empty: tuple[str, ...] = (), refused: tuple[str, ...] = (), nan: tuple[str, ...] = ()) -> None:
        self.empty, self.refused, self.nan = empty, refused, nan

    def __call__(self, base: str, path: str, parameters: dict[str, str], timeout: float) -> Any:
        query = parameters["query"]
        if any(word in query for word in self.refused):
            raise prove_dashboards.Refused("bad query")
        if any(word in query for word in self.empty):
            return {"resultType": "matrix", "result": []}
        value = "NaN" if any(word in query for word in self.nan) else "1"
        return {"resultType": "matrix", "result": [{"metric": {}, "values": [[0, value], [15, value]]}]}


@pytest.mark.parametrize(
    ("server", "status"),
    [
        (_Server(), 0),
        (_Server(empty=("tasks_created_total",)), 1),
        (_Server(nan=("tasks_created_total",)), 1),
        (_Server(refused=("tasks_created_total",)), 1),
        (_Server(empty=("",)), 1),
    ],
    ids=["all have data", "one is empty", "one is NaN only", "one is refused", "none has data"],
)
def test_proof_fails_when_it_should(server: _Server, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prove_dashboards, "ask", server)
    assert prove_dashboards.main(["--loki", "http://127.0.0.1:3100"]) == status


def test_proof_allows_what_may_be_empty_only_where_it_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = {"queries": ["application / Tasks by status"], "reason": "nobody has made a task yet", "images": "offline"}
    empties = tmp_path / "empties.yml"
    empties.write_text(yaml.safe_dump([entry]), encoding="utf-8")
    monkeypatch.setattr(prove_dashboards, "EMPTIES", empties)
    monkeypatch.setattr(prove_dashboards, "ask", _Server(empty=("tasks_by_status",)))
    assert prove_dashboards.main(["--dashboard", "application", "--images", "registry"]) == 1
    assert prove_dashboards.main(["--dashboard", "application", "--images", "offline"]) == 0
    assert "nobody has made a task yet" in capsys.readouterr().out
    assert prove_dashboards.main(["--dashboard", "nowhere"]) == 2


def test_proof_reports_an_entry_that_is_no_longer_needed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = {"queries": ["application / Tasks by status"], "reason": "nobody has made a task yet"}
    comes = {"queries": ["overview / Firing"], "reason": "no alert fires", "sometimes": True}
    empties = tmp_path / "empties.yml"
    empties.write_text(yaml.safe_dump([gone, comes]), encoding="utf-8")
    monkeypatch.setattr(prove_dashboards, "EMPTIES", empties)
    monkeypatch.setattr(prove_dashboards, "ask", _Server())
    assert prove_dashboards.main([]) == 0
    printed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("has data although")]
    assert [line.rsplit(": ", 1)[1] for line in printed] == ["application / Tasks by status"]


def test_proof_without_an_answer_is_not_a_success() -> None:
    assert prove_dashboards.main(["--prometheus", "http://127.0.0.1:9", "--timeout", "2"]) == 2
    assert prove_dashboards.main(["--prometheus", "file:///etc/passwd"]) == 2
