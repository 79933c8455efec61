"""What is made of what visitors saw and the application wrote down, and the page that is written of it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from tests import rolekit

sys.path.insert(0, str(rolekit.ROOT / "molecule"))
from testbed import loaded, release_bench, release_report

SEEN: dict[str, Any] = {
    "requests": 5, "by_protocol": {"HTTP/1.1": 3, "HTTP/2": 2}, "failures": [{"why": "502"}], "streams_cut": 1,
    "orders": ["a", "b", "c"], "took": [[10.0, 0.1], [20.0, 0.3], [21.0, 9.0]],
    "tasks": [["t1", "plain"], ["t2", "chord"], ["t3", "retry"]],
}  # fmt: skip
LINES = {
    "orders": ["a 10 v1", "b 10 v1", "b 10 v2"],
    "begun": ["t1 v1", "t1 v1", "t2.0 v1", "t2.1 v1", "t2.2 v1", "t2.end v1", "t3 v1"],
    "done": ["t1 v1 worker", "t2.0 v1 worker-next", "t2.1 v1 worker", "t2.2 v1 worker", "t2.2 v1 worker"],
    "ticks": ["None v1", "50.0 v1", "100.0 v1", "102.0 v1", "102.5 v1", "110.0 v1"],
}


def ledger(name: str) -> loaded.Lines:
    return [line.split() for line in LINES[name]]


def test_orders_are_counted_where_they_were_kept() -> None:
    found = loaded.requests(SEEN, [(19.0, 30.0)], ledger)
    assert (found["failed"], found["lost"], found["twice"], found["longest"]) == (1, 1, 1, 9.0)
    assert (found["p99 at rest"], found["p99 during"]) == (0.1, 0.3), "what was asked to take long does not count"


def test_tasks_are_counted_by_id_each_part_of_a_chord_too() -> None:
    found = loaded.worked(SEEN, ledger, 90.0)
    assert (found["tasks"], found["lost"], found["run again"], found["done twice"]) == (6, 2, 1, 1)
    assert (found["ticks"], found["doubled ticks"], found["longest pause of ticks"]) == (4, 1, 7.5)
    assert found["by"] == {"worker": 4, "worker-next": 1}
    assert loaded.waiting(SEEN, ledger) == {"t2.end", "t3"}


def test_phases_of_a_deploy_are_read_from_what_it_says() -> None:
    said = "app: recreated\n  web-next started first: ready 3.2 s, switched 6.0 s, taken up 1.0 s\n  other 4 s"
    assert release_bench.phases(said) == {"ready": 3.2, "switched": 6.0, "taken up": 1.0}
    assert release_bench.phases("nothing") == {}


def test_the_page_says_what_was_measured_and_keeps_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# Page\n\n{release_report.BEGIN}\nold\n{release_report.END}\n\nkept\n")
    monkeypatch.setattr(release_report, "PAGE", page)
    deploys = {"deploys": 2, "seconds": [1.0, 3.0], "phases": [{"ready": 1.0}], **loaded.requests(SEEN, [], ledger)}
    tasks = {"redeploys": 2, "seconds": [5.0], "failed": 0, "load": 1.0, **loaded.worked(SEEN, ledger, 0)}
    bad = {"leaks": {"requests": 9, "failed": 1, "answers": 2, "exposed": 3, "seconds": 4.0, "undone": False}}
    tried = [{"until it answers": 8.0, "seconds": 20.0, "failed": 0, "load": 1.0}]
    release_report.write({"deploys": deploys, "by hand": deploys, "broker": tasks, "bad": bad, "rollbacks": tried})
    text = page.read_text()
    assert "old" not in text.replace("old release", "").replace("old version", "") and text.endswith("kept\n")
    assert "| 2, by Landfall | 2 s (1 to 3) | 5 | 2 | **1** | 3 | 1 | 1 |" in text and "docker compose up -d" in text
    assert "| leaks | **touched** | 9 | 1 | 2 | 3 | 4 |" in text and "| Redis | 2 | 5 s (5 to 5) | 6 | **2** |" in text
    assert "| 1 | 8.0 s | 20.0 s | 0 | 1 |" in text and all(len(line) <= 400 for line in text.splitlines())


def test_each_bad_release_says_how_it_is_known() -> None:
    assert len({bad.name for bad in (*loaded.BAD, *loaded.MORE)}) == 11
    assert all(bad.said and bad.values and bad.tags in ("app", "celery") for bad in loaded.BAD)
