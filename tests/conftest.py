"""Sets up Ansible's way of finding collections before any test imports from ours; later it could not be."""

from typing import Any

from hypothesis import settings

from tests import interruptions, rolekit

COLLECTIONS = rolekit.ROOT / "collections"

# A busy machine is no fault of what is tested
settings.register_profile("landfall", deadline=None)
settings.load_profile("landfall")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say at how many steps runs were interrupted, whichever worker did so."""
    for line in interruptions.told(terminalreporter.getreports("passed")):
        terminalreporter.write_line(line)
