"""docs/requirements.md maps every requirement to what proves it: no row is missing, and each proof exists.

Tests are looked up in the syntax trees of their files; nothing is run or imported here.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests import rolekit

PAGE = rolekit.ROOT / "docs" / "requirements.md"
APPLICATION = rolekit.ROOT / "docs" / "app-ledger.md"
# Rows of each section of the requirements, numbered from 1
SECTIONS = {"APP": 39, "CEL": 9, "PRM": 23, "ALR": 23, "AM": 6, "EXP": 7, "CAD": 4, "NOD": 4, "LOG": 3, "GRF": 13,
            "DKR": 16, "K8S": 12, "DOC": 9, "VER": 17}  # fmt: skip
ROWS = {f"{name}-{number:02}" for name, last in SECTIONS.items() for number in range(1, last + 1)}
ROWS |= {f"C-{number}" for number in range(1, 18)} | {f"D-{number}" for number in range(1, 13)}
ROW = re.compile(r"^\| ([A-Z0-9]+-\d+) \|([^|]*)\|([^|]*)\|$", re.MULTILINE)
TICKED = re.compile(r"`([^`]+)`")


@cache
def _tests(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))


def _missing(proof: str, root: Path = rolekit.ROOT) -> str:
    """Return why ``proof`` proves nothing, or an empty text."""
    if "::" in proof:
        name, function = proof.split("::")
        if not (root / name).is_file():
            return f"{name} does not exist"
        return "" if function.startswith("test_") and function in _tests(root / name) else f"no {function} in {name}"
    if proof.startswith("make "):
        makefile = (root / "Makefile").read_text(encoding="utf-8")
        return "" if re.search(rf"^{re.escape(proof[5:])}:", makefile, re.MULTILINE) else f"no target {proof}"
    if re.fullmatch(r"(playbooks|scripts)/\w+\.(yml|py)", proof):
        return "" if (root / proof).is_file() else f"{proof} does not exist"
    return f"{proof} is neither a test, a target, a playbook nor a script"


def faults(page: str, application: str, rows: set[str] = ROWS) -> list[str]:
    """Return what is wrong with the table, one text for each fault."""
    proven, _, open_points = page.partition("\n## Not covered\n")
    table = {row: TICKED.findall(proofs) for row, _what, proofs in ROW.findall(proven)}
    reasons = {row: (what.strip(), why.strip()) for row, what, why in ROW.findall(open_points)}
    elsewhere = {row for row, _what, proofs in ROW.findall(application) if TICKED.search(proofs)}
    found = [f"{row}: stands twice" for row in table if len(re.findall(rf"^\| {row} \|", proven, re.MULTILINE)) > 1]
    found += [f"{row}: is missing" for row in sorted(rows - set(table) - set(reasons) - elsewhere)]
    found += [f"{row}: is no requirement" for row in sorted((set(table) | set(reasons)) - rows)]
    found += [f"{row}: says nothing" for row, what, _proofs in ROW.findall(page) if not what.strip()]
    for row, proofs in table.items():
        found += [f"{row}: claimed without a proof"] if not proofs else []
        found += [f"{row}: {why}" for why in map(_missing, proofs) if why]
    found += [f"{row}: not covered, without a reason" for row, (what, why) in reasons.items()
              if not what or (not why and row not in table)]  # fmt: skip
    return found


def test_every_requirement_is_proven_or_said_to_be_open() -> None:
    texts = (PAGE.read_text(encoding="utf-8"), APPLICATION.read_text(encoding="utf-8"))
    assert faults(*texts) == []


GOOD = "| AM-01 | port | `tests/test_requirements.py::test_a_wrong_table_is_noticed` |\n"
ONLY = {"AM-01"}


@pytest.mark.parametrize(
    ("page", "fault"),
    [
        ("", "AM-01: is missing"),
        (GOOD + GOOD, "AM-01: stands twice"),
        (GOOD.replace("AM-01", "AM-99"), "AM-99: is no requirement"),
        (GOOD.replace("`", ""), "AM-01: claimed without a proof"),
        (GOOD.replace("_noticed", "_notised"), "AM-01: no test_a_wrong_table_is_notised in tests/test_requirements.py"),
        (GOOD.replace("test_a_wrong_table_is_noticed", "faults"), "AM-01: no faults in"),
        (GOOD.replace("tests/", "test/"), "AM-01: test/test_requirements.py does not exist"),
        (GOOD.replace("`tests/test_requirements.py::test_a_wrong_table_is_noticed`", "`make nothing`"), "no target"),
        (GOOD.replace("`tests/test_requirements.py::test_a_wrong_table_is_noticed`", "`by hand`"), "is neither"),
        (GOOD.replace("| port |", "| |"), "AM-01: says nothing"),
        ("\n## Not covered\n\n| AM-01 | all of it |  |\n", "AM-01: not covered, without a reason"),
    ],
)
def test_a_wrong_table_is_noticed(page: str, fault: str) -> None:
    assert any(fault in one for one in faults("x\n" + page, "", ONLY)), faults("x\n" + page, "", ONLY)


def test_a_right_table_has_no_faults() -> None:
    assert faults("x\n" + GOOD, "", ONLY) == []
    assert faults("x\n\n## Not covered\n\n| AM-01 | all of it | no time |\n", "", ONLY) == []
