"""Work on many things by two processes, where there are two processors for one host: Python alone uses one of them."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
from typing import Any, Callable, Dict, List, Mapping, Sequence, TypeVar

from ansible_collections.landfall.vps.plugins.plugin_utils import seam

Item = TypeVar("Item")
Made = TypeVar("Made")
WORTH_IT = 6
"""Things: a second process takes as long to begin and to hear as two or three of them."""
MANY = 256
"""Things: the number of each is one byte."""


class _Heard(BaseException):
    """Something would be printed in a process whose output nobody takes in."""


def _refused(*_args: Any, **_options: Any) -> None:
    raise _Heard


def useful(task_vars: Mapping[str, Any]) -> bool:
    """Whether a second process helps: with several hosts there is one for each already."""
    return len(task_vars.get("ansible_play_hosts_all") or []) == 1 and len(os.sched_getaffinity(0)) > 1


def done(work: Callable[[Item], Made], items: Sequence[Item], split: bool) -> List[Made]:
    """What ``work`` makes of each item, in their order; if ``split``, a second process does those it comes to first.

    What that one cannot do, or would have to say something about, is done here: nothing is lost but time. Raises what
    ``work`` raises.
    """
    if not split or not WORTH_IT <= len(items) <= MANY:
        return [work(item) for item in items]
    waiting, numbers = os.pipe()
    read, write = os.pipe()
    # The last ones first: who takes in files of all others comes late, and takes longest
    os.write(numbers, bytes(reversed(range(len(items)))))
    os.close(numbers)
    child = os.fork()
    if child == 0:
        _be_the_other(work, items, waiting, write)
    os.close(write)
    with os.fdopen(waiting, "rb", buffering=0), os.fdopen(read, "rb") as answer:
        try:
            found = _share(work, items, waiting)
            told = answer.read()
        except BaseException:
            os.kill(child, signal.SIGKILL)
            raise
        finally:
            os.waitpid(child, 0)
    with contextlib.suppress(Exception):  # whatever kept it from answering, or from being understood
        found.update(pickle.loads(told))  # noqa: S301 - from our own child
    return [found[number] if number in found else work(item) for number, item in enumerate(items)]


def _share(work: Callable[[Item], Made], items: Sequence[Item], waiting: int) -> Dict[int, Made]:
    """What ``work`` makes of each item whose number is read here before the other process reads it."""
    return {taken[0]: work(items[taken[0]]) for taken in iter(lambda: os.read(waiting, 1), b"")}


def _be_the_other(work: Callable[[Item], Made], items: Sequence[Item], waiting: int, write: int) -> None:
    """The second process: it answers and ends, and never comes back to what its parent was doing."""
    with contextlib.suppress(BaseException):
        seam.print_by(_refused)
        told = pickle.dumps(_share(work, items, waiting))
        with os.fdopen(write, "wb") as answer:
            answer.write(told)
    os._exit(0)
