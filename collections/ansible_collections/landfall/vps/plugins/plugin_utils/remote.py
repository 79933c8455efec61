"""Reads a VPS by a plain Python program sent over the connection.

An Ansible module brings its own runtime, whose import takes ten times as long as the reading. What only reads needs
nothing of it: the program is the source of two files of module_utils, python3 takes it from its standard input, and one
marked line of its output is the answer. What changes a VPS stays a module.
"""

from __future__ import annotations

import json
import os
import re
from typing import Any, Dict, List, Mapping, Tuple

from ansible import constants
from ansible.plugins.action import ActionBase
from ansible_collections.landfall.vps.plugins.module_utils import docker_api, host

PACKAGE = "ansible_collections.landfall.vps.plugins.module_utils."
MARK = "landfall-state:"
PROGRAM = """
import json, sys, types
for name, source in {sources!r}:
    module = sys.modules[name] = types.ModuleType(name)
    exec(compile(source, name, "exec"), module.__dict__)
root, files = {arguments!r}
print({mark!r} + json.dumps(sys.modules[{host!r}].gather(root, files)))
"""


class ReadError(Exception):
    """The VPS cannot be read; the message is what it said."""


def program(root: str, files: List[str]) -> str:
    """The Python source that gathers the state of a VPS; see ``host.gather`` for its answer."""
    sources: List[Tuple[str, str]] = []
    for part in (docker_api, host):
        with open(os.path.splitext(str(part.__file__))[0] + ".py", encoding="utf-8") as handle:
            sources.append((PACKAGE + part.__name__.rpartition(".")[2], handle.read()))
    return PROGRAM.format(
        sources=sources, arguments=(str(root), [str(path) for path in files]), mark=MARK, host=PACKAGE + "host"
    )


def interpreter(task_vars: Mapping[str, Any], action: ActionBase) -> str:
    """The Python to run: the inventory's, the configuration's, or the distribution's own; none is discovered."""
    named = task_vars.get("ansible_python_interpreter")
    if named is not None:
        return str(action._templar.template(named))
    configured = str(constants.config.get_config_value("INTERPRETER_PYTHON", variables=dict(task_vars)))
    return configured if configured.startswith("/") else "/usr/bin/python3"


def read_state(action: ActionBase, python: str, root: str, files: List[str]) -> Dict[str, Any]:
    """The state of the VPS (see ``host.gather``). Raises ReadError; AnsibleError where the connection or sudo fails."""
    # -I and -S: neither the user's environment nor site packages have a say, and none of them are searched
    said = action._low_level_execute_command("{0} -IS -".format(python), in_data=program(root, files).encode())
    found = re.search("^{0}(.*)$".format(re.escape(MARK)), said["stdout"], re.MULTILINE)
    if said["rc"] != 0 or not found:
        text = " ".join((said["stdout"] + " " + said["stderr"]).split())[-2000:]
        raise ReadError("{0} ended with {1}: {2}".format(python, said["rc"], text))
    state: Dict[str, Any] = json.loads(found.group(1))
    return state
