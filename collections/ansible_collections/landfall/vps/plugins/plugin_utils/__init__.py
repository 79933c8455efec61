"""What the controller's plugins share.

Ansible compiles a collection's Python anew in every run. Once this package is imported, Python's own loader takes the
modules below, and keeps them compiled in ``__pycache__`` as it does everywhere else.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import SOURCE_SUFFIXES, FileFinder, ModuleSpec, SourceFileLoader
from types import ModuleType
from typing import Optional

_PLUGINS = __name__.rpartition(".")[0]
_OURS = tuple("{0}.{1}.".format(_PLUGINS, name) for name in ("module_utils", "plugin_utils"))


class _Compiled:
    """A finder for :data:`sys.meta_path`; plugins themselves stay with Ansible, which finds them by type and name."""

    @staticmethod
    def find_spec(
        fullname: str, path: Optional[Sequence[str]] = None, _target: Optional[ModuleType] = None
    ) -> Optional[ModuleSpec]:
        """Where a module of ours is and how it is loaded; None of any other."""
        if not fullname.startswith(_OURS):
            return None
        for folder in path or ():
            spec = FileFinder(folder, (SourceFileLoader, SOURCE_SUFFIXES)).find_spec(fullname)
            if spec is not None and spec.loader is not None:
                return spec
        return None


if not any(getattr(finder, "__module__", "") == __name__ for finder in sys.meta_path):
    sys.meta_path.insert(0, _Compiled)
