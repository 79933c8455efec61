"""The command line: ``backup.py now | last | list | restore | undo | drop``. Run as root on the VPS."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from typing import Any, List, Optional

from .restoring import Restore, listed
from .stack import Stack
from .taking import Backup, last
from .tools import Fault, Stop, read_json, say, sweep


def parser() -> argparse.ArgumentParser:
    """What may be asked."""
    found = argparse.ArgumentParser(prog="backup.py", description=__doc__)
    verbs = found.add_subparsers(dest="verb", required=True)
    verbs.add_parser("now", help="make a backup and prove it")
    listing = verbs.add_parser("list", help="tell snapshots and what restores keep")
    verbs.add_parser("last", help="tell how the last backup went")
    restore = verbs.add_parser("restore", help="bring something back")
    restore.add_argument("what", help="all, a source such as redis or volume/app-data, or a database: postgres/shop")
    restore.add_argument("--snapshot", default="latest", help="beginning of an id; the newest proven one by default")
    for one in (listing, restore):
        one.add_argument("--from-host", default=None, help="whose snapshots; this VPS's by default")
    for verb in ("undo", "drop"):
        one = verbs.add_parser(verb, help="of a restore: back to before, or free the space of what it keeps")
        one.add_argument("when", help="its stamp")
    for name in ("restore", "undo", "drop"):
        verbs.choices[name].add_argument("--confirm", default="", help="the name of this VPS")
    return found


def perform(stack: Stack, asked: argparse.Namespace) -> int:
    """Do what the command line asks for. Raises Fault."""
    host = getattr(asked, "from_host", None) or None
    if asked.verb == "list":
        listed(stack, host)
        return 0
    if asked.verb == "last":
        return last(stack)
    with stack.alone():
        sweep(stack.name)  # a run that died leaves its container, whose name the next one needs
        if asked.verb == "now":
            return Backup(stack).run()
        if asked.verb == "restore":
            Restore(stack).run(asked.what, asked.snapshot, host, asked.confirm)
        elif asked.verb == "undo":
            Restore(stack, asked.when).undo(asked.confirm)
        else:
            Restore(stack, asked.when).drop(asked.confirm)
    return 0


def main(home: str, arguments: Optional[List[str]] = None) -> int:
    """Run one verb with the settings in the folder ``home``; what went wrong is told. Returns the exit status."""
    os.umask(0o077)
    os.chdir("/")

    def stop(_number: int, _frame: Any) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Stop

    signal.signal(signal.SIGTERM, stop)
    asked = parser().parse_args(arguments)
    try:
        return perform(Stack(read_json(os.path.join(home, "settings.json"))), asked)
    except Stop:
        say("FAILED: somebody stopped it")
        return 143
    except Fault as fault:
        sys.stderr.write("{0}\n".format(fault))
        return 1
