"""Keeps what Jinja compiled from run to run: compiling takes longer than all else in a run without changes."""

from __future__ import annotations

import hashlib
import os
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

import jinja2
from ansible.release import __version__
from jinja2 import FileSystemBytecodeCache

_KEPT: List[str] = []
_CACHES: Dict[str, Optional[FileSystemBytecodeCache]] = {}


def keep_texts_below(folder: str) -> None:
    """Let texts of files below ``folder``, the roles' own, be kept compiled from run to run; no inventory's are."""
    _KEPT[:] = [os.path.join(folder, "")]


def code(
    environment: Any,
    source: Any,
    place: Any,
    key: Any,
    work: Callable[..., Any],
    args: Sequence[Any],
    more: Mapping[str, Any],
) -> Any:
    """A text compiled, or as an earlier run kept it if its ``place`` (file, line, column) is a role's own.

    What others write may be secret. ``work`` compiles, ``key`` is all that its result depends on, the text first.
    """
    kept = cache((key[1:],)) if place and place[0].startswith(tuple(_KEPT) or ("\0",)) else None
    if kept is None:
        return work(source, *args, **more)
    bucket = kept.get_bucket(environment, key[0], None, str(source))
    if bucket.code is None:
        bucket.code = work(source, *args, **more)
        kept.set_bucket(bucket)
    return bucket.code


def cache(settings: Any) -> Optional[FileSystemBytecodeCache]:
    """Where Jinja keeps what it compiled with these settings: a folder that only this user may enter, or None."""
    told = hashlib.sha256(repr((__version__, jinja2.__version__, settings)).encode()).hexdigest()[:12]
    if told not in _CACHES:
        try:
            _CACHES[told] = FileSystemBytecodeCache(pattern="__landfall_{0}_%s.cache".format(told))
        except (RuntimeError, OSError):  # no such folder can be made, or somebody else owns it
            _CACHES[told] = None
    return _CACHES[told]
