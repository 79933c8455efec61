"""`make test`: all stages one after another, each with its time, a table at the end."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from .paths import ROOT

SCENARIOS = ("default", "update", "services", "engine", "stacks")


def stages(scenarios: list[str]) -> dict[str, list[str]]:
    """Return name -> command of each stage, in the order in which a mistake is found soonest."""
    plan = {name: ["make", "--no-print-directory", name] for name in ("lint", "unit", "app-test", "images")}
    for scenario in scenarios:
        plan[f"molecule {scenario}"] = ["make", "--no-print-directory", "molecule", f"SCENARIO={scenario}"]
    return plan


def run_all(scenarios: list[str]) -> int:
    """Run every stage also after one failed; return 0 if all passed, else 1."""
    rows: list[tuple[str, float, int]] = []
    for name, argv in stages(scenarios).items():
        sys.stdout.write(f"\n==== {name}\n")
        sys.stdout.flush()
        start = time.monotonic()
        status = subprocess.run(argv, cwd=ROOT, stdin=subprocess.DEVNULL, env=os.environ, check=False).returncode
        rows.append((name, time.monotonic() - start, status))
    sys.stdout.write("\n==== stages\n")
    for name, seconds, status in rows:
        sys.stdout.write(f"  {name:20} {seconds:7.1f} s  {'passed' if status == 0 else f'FAILED ({status})'}\n")
    failed = sum(1 for row in rows if row[2] != 0)
    total = sum(row[1] for row in rows)
    sys.stdout.write(f"  {'all':20} {total:7.1f} s  {len(rows) - failed} stages passed, {failed} failed\n")
    return 1 if failed else 0
