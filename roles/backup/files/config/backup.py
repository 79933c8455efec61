"""Backups of this stack, by hand: `python3 -IB backup.py --help`, as root. The timer landfall-job-backup does `now`."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = str(Path(__file__).resolve().parent)
sys.path.insert(0, HERE)

if __name__ == "__main__":
    from landfall_backups.cli import main

    sys.exit(main(HERE))
