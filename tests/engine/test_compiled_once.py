"""The controller's own Python is compiled once, not in every run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.rolekit import ROOT

IMPORT = """
import builtins, sys
from ansible.utils.collection_loader import _collection_finder as finder
finder._AnsibleCollectionFinder([sys.argv[1]])._install()
compiled, work = [], builtins.compile
builtins.compile = lambda source, filename, *args, **kwargs: (
    compiled.append(str(filename)), work(source, filename, *args, **kwargs))[1]
from ansible_collections.landfall.vps.plugins.action import state
ours = [name for name, module in sys.modules.items() if name.startswith(state.__name__.rpartition(".action")[0] + ".")]
for name in compiled:
    print(name)
print("modules:", len(ours))
"""


def compiled(kept: Path) -> list[str]:
    """What a new process compiles that imports the plugin of the first task: files of ours, then how many there are.

    :param kept: folder for what Python keeps compiled; build machines often tell it to keep nothing
    """
    argv = [sys.executable, "-c", IMPORT, str(ROOT / "collections")]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    told = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60,
                          env={**environment, "PYTHONPYCACHEPREFIX": str(kept)}).stdout.splitlines()  # fmt: skip
    assert told[-1].startswith("modules: ")
    return [line for line in told[:-1] if "landfall" in line] + told[-1:]


def test_a_second_run_compiles_the_plugin_alone_and_what_it_needs_before_the_shared_package(tmp_path: Path) -> None:
    compiled(tmp_path)
    again = compiled(tmp_path)
    files, modules = again[:-1], int(again[-1].removeprefix("modules: "))
    shared = [name for name in files if "/plugin_utils/" in name and not name.endswith("__init__.py")]
    assert modules > 40 and not shared, shared
    assert len(files) * 5 < modules, files
