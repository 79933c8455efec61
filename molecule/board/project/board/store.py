"""The notices, in PostgreSQL."""

from __future__ import annotations

import os
from functools import cache
from typing import Any

import sqlalchemy as sa


@cache
def engine() -> sa.Engine:
    """The connections of this process."""
    return sa.create_engine(os.environ["DATABASE_URL"], pool_size=2, pool_pre_ping=True)


def ask(statement: str, **values: Any) -> list[tuple[Any, ...]]:
    """Run a statement and return its rows, if it has some."""
    with engine().begin() as connection:
        result = connection.execute(sa.text(statement), values)
        return [tuple(row) for row in result] if result.returns_rows else []
