"""The command that runs once for each new version of a service, such as migrations, with nobody whom it could ask."""

from __future__ import annotations

import os
from typing import Any, List, Mapping, Optional

from ansible_collections.landfall.vps.plugins.plugin_utils import service_lines
from ansible_collections.landfall.vps.plugins.plugin_utils.service_lines import ServiceError

SHELLS = ("sh", "ash", "bash", "dash", "zsh", "python", "python3", "ipython", "psql", "node", "irb")
"""Programs that read what to do from whoever sits before them, where nothing says it."""
TERMINAL = ("-i", "-it", "-ti", "--interactive", "--tty")
ASKING = ("flush", "collectstatic", "createsuperuser", "makemigrations")
"""Commands of Django's manage.py that ask, unless they are told not to."""
SILENT = ("--noinput", "--no-input")


def command(item: Mapping[str, Any], told: str) -> Optional[List[str]]:
    """The words of ``release``, None without one. Raises ServiceError for one that would ask somebody."""
    if not item.get("release"):
        return None
    argv = service_lines.words(item["release"], told + ": release")
    why = _asks(argv)
    if why:
        raise ServiceError("{0}: release: {1}; it runs with nobody there to answer".format(told, why))
    return argv


def _asks(argv: List[str]) -> str:
    """Why a command asks for input, with the remedy; empty for one of which that is not known."""
    program = os.path.basename(argv[0])
    if program in SHELLS and len(argv) == 1:
        return "{0} alone waits for commands; say which, such as [{0}, -c, ...]".format(program)
    if program in SHELLS and argv[1] in TERMINAL:
        return "{0} {1} waits at a prompt; leave {1} out".format(program, argv[1])
    manage = [number for number, word in enumerate(argv) if os.path.basename(word) in ("manage.py", "django-admin")]
    verb = argv[manage[0] + 1 : manage[0] + 2] if manage else []
    if verb and verb[0] in ("shell", "dbshell"):
        return "{0} waits at a prompt; write what it is to do as a command".format(verb[0])
    if verb and verb[0] in ASKING and not set(argv) & set(SILENT):
        return "{0} asks before it does anything; add --noinput".format(verb[0])
    return ""
