"""Makes the collection importable as Ansible sees it, and counts the runs that each test interrupts."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import interruptions

sys.path.insert(0, str(Path(__file__).parents[2] / "collections"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Let the report of a test carry how many runs it interrupted."""
    before = interruptions.noted()
    yield
    if interruptions.noted() > before:
        item.user_properties.append((interruptions.NAME, interruptions.noted() - before))
