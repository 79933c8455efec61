"""Reads a Compose project and writes the inventory of Landfall for it; scripts/from_compose.py is the command."""

from __future__ import annotations

import sys
from pathlib import Path

# The collection's own rules, as Ansible's loader would find them
_COLLECTIONS = str(Path(__file__).resolve().parents[2] / "collections")
if _COLLECTIONS not in sys.path:
    sys.path.insert(0, _COLLECTIONS)
