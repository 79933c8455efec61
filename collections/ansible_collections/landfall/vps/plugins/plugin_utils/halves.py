"""Work on many things by two processes, where there are two processors for one host: Python alone uses one of them."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
from typing import Any, Callable, List, Mapping, Sequence, TypeVar

from ansible_collections.landfall.vps.plugins.plugin_utils import seam

Item = TypeVar("Item")
Made = TypeVar("Made")
WORTH_IT = 6
"""Things: a second process takes as long to begin and to hear as two or three of them."""


class _Heard(BaseException):
    """Something would be printed in a process whose output nobody takes in."""


def _refused(*_args: Any, **_options: Any) -> None:
    raise _Heard


def useful(task_vars: Mapping[str, Any]) -> bool:
    """Whether a second process helps: with several hosts there is one for each already."""
    return len(task_vars.get("ansible_play_hosts_all") or []) == 1 and len(os.sched_getaffinity(0)) > 1


def done(work: Callable[[Item], Made], items: Sequence[Item], split: bool) -> List[Made]:
    """What ``work`` makes of each item, in their order; if ``split``, every other one is done by a second process.

    What that one cannot do, or would have to say something about, is done here: nothing is lost but time. Raises what
    ``work`` raises.
    """
    if not split or len(items) < WORTH_IT:
        return [work(item) for item in items]
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        _be_the_other(work, items[1::2], write)
    os.close(write)
    with os.fdopen(read, "rb") as answer:
        try:
            found: List[Any] = [None] * len(items)
            found[::2] = [work(item) for item in items[::2]]
            told = answer.read()
        except BaseException:
            os.kill(child, signal.SIGKILL)
            raise
        finally:
            os.waitpid(child, 0)
    try:
        found[1::2] = pickle.loads(told)  # noqa: S301 - from our own child
    except Exception:  # noqa: BLE001 - whatever kept it from answering, or from being understood
        found[1::2] = [work(item) for item in items[1::2]]
    return found


def _be_the_other(work: Callable[[Item], Made], items: Sequence[Item], write: int) -> None:
    """The second process: it answers and ends, and never comes back to what its parent was doing."""
    with contextlib.suppress(BaseException):
        seam.print_by(_refused)
        told = pickle.dumps([work(item) for item in items])
        with os.fdopen(write, "wb") as answer:
            answer.write(told)
    os._exit(0)
