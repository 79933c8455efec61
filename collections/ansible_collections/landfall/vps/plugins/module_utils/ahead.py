"""Checks new components side by side, before the turn of each comes in which it is placed.

A checker is a container of its own, and to start and remove it takes longer than what it does. What the checks of a
component read is staged first, apart from all others, so that nothing of it is in place when one refuses it.
"""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from typing import Iterator, Sequence

from ansible_collections.landfall.vps.plugins.module_utils.converge import CHECKS_AT_ONCE, Converger
from ansible_collections.landfall.vps.plugins.module_utils.recovery import Troubles


@contextlib.contextmanager
def checked(workers: Sequence[Converger]) -> Iterator[None]:
    """Check what can be checked early; the caller holds the lock and lets each of ``workers`` converge in the block.

    Those whose turn does not come leave nothing behind.
    """
    with ThreadPoolExecutor(max_workers=CHECKS_AT_ONCE) as pool:
        try:
            for worker in workers:
                # What cannot be staged now is told by the component's own turn
                with contextlib.suppress(*Troubles):
                    worker.check_early(pool)
            yield
        finally:
            for worker in workers:
                worker.leave_early()
