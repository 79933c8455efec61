"""What an SSH key may ask of a VPS that may do nothing else: plan, deploy or go back to a release, and look.

sshd runs it for the key, whatever its holder wanted to run, and hands on what that was. What is asked is taken apart
here and nowhere else: a verb that the key may use, a name, images by digest, a few options; it never reaches a shell.
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
import uuid
from typing import Any, Dict, List, Mapping, NoReturn, Optional, Sequence

from ansible_collections.landfall.vps.plugins.module_utils import history, progress, pushing, trip
from ansible_collections.landfall.vps.plugins.module_utils.compose import Refused
from ansible_collections.landfall.vps.plugins.module_utils.docker_api import Docker
from ansible_collections.landfall.vps.plugins.module_utils.host import read_json
from ansible_collections.landfall.vps.plugins.module_utils.lock import Lock, Locked
from ansible_collections.landfall.vps.plugins.module_utils.recovery import Troubles, in_words

PLAN, DEPLOY, ROLLBACK, RELEASES = "plan", "deploy", "rollback", "releases"
FAILED, WRONG, BUSY = 1, 2, 75
"""Exit statuses: it does not serve or was refused; it was asked in a wrong way; another run has the VPS."""
LONGEST_WAIT = 3600
RUNS = 10
SETTINGS = "settings.json"
"""Beside the program: ``{root, network, wait, keys}``, the latter key to the verbs that it may use."""


class Wrong(Exception):
    """It was asked in a wrong way; the message says how it is right."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise Wrong("{0}\n{1}".format(message, self.format_usage().strip()))


def parser() -> argparse.ArgumentParser:
    """What may be asked."""
    found = _Parser(prog="", add_help=False, allow_abbrev=False)
    verbs = found.add_subparsers(dest="verb", required=True, parser_class=_Parser, prog="")
    for verb in (PLAN, DEPLOY):
        one = verbs.add_parser(verb, add_help=False, allow_abbrev=False)
        one.add_argument("release")
        one.add_argument("images", nargs="+", metavar="repository@sha256:digest")
        one.add_argument("--commit", default="")
    back = verbs.add_parser(ROLLBACK, add_help=False, allow_abbrev=False)
    back.add_argument("release", nargs="?", default="")
    back.add_argument("--confirm", default="")
    for one in (verbs.choices[DEPLOY], back):
        one.add_argument("--wait", type=int, default=None, metavar="SECONDS")
    verbs.add_parser(RELEASES, add_help=False, allow_abbrev=False)
    return found


def understood(command: str, may: Sequence[str]) -> argparse.Namespace:
    """What ``command`` asks for, if a key that ``may`` do these things may ask for that. Raises Wrong."""
    usage = "ssh … {0}".format("|".join(may) or "(nothing)")
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise Wrong("'{0}' cannot be read: {1}; {2}".format(command, error, usage)) from None
    if not words:
        raise Wrong("this key opens no shell; {0}".format(usage))
    if words[0] not in may:
        raise Wrong("this key may not '{0}'; {1}".format(words[0], usage))
    asked = parser().parse_args(words)
    if getattr(asked, "commit", "") and not all(one in "0123456789abcdef" for one in asked.commit):
        raise Wrong("--commit: '{0}' is no commit; write its hexadecimal name".format(asked.commit))
    if getattr(asked, "wait", None) is not None and not 0 <= asked.wait <= LONGEST_WAIT:
        raise Wrong("--wait: {0} is no number of seconds from 0 to {1}".format(asked.wait, LONGEST_WAIT))
    if asked.verb == ROLLBACK and asked.release and not pushing.NAME.fullmatch(asked.release):
        raise Wrong("release: '{0}' is no name of a release".format(asked.release))
    return asked


def say(text: str) -> None:
    """Print a line at once; nobody who listens any more, as where a job was cancelled, has no say in what is done."""
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def perform(settings: Mapping[str, Any], key: str, asked: argparse.Namespace) -> int:
    """Do what was asked. Raises Refused, Locked, BadRecord, OSError."""
    if asked.verb == RELEASES:
        return _list(str(settings["root"]))
    common = {
        "root": settings["root"],
        "network": settings["network"],
        "run": str(uuid.uuid4()),
        "who": "{0} (deploy key)".format(key),
        "holder": None,
    }
    if asked.verb == PLAN:
        return _deploy(common, asked, True)
    lock = Lock(str(common["root"]), common["run"], common["who"])
    wait = settings.get("wait", 0) if asked.wait is None else asked.wait
    what = "{0} {1}".format(asked.verb, asked.release or "to the release before")
    lock.acquire_within(float(wait), what, say)
    lock.keep()
    try:
        # What lies there afterwards is one release and not parts of two
        for note in trip.conclude_dead(lock, Docker(), common, True):
            say(note)
        return _deploy(common, asked, False) if asked.verb == DEPLOY else _go_back(common, asked)
    finally:
        lock.release()


def _deploy(common: Mapping[str, Any], asked: argparse.Namespace, rehearsing: bool) -> int:
    requests, lines = pushing.wanted(str(common["root"]), asked.release, asked.images, asked.commit, common)
    if not requests:
        say("nothing differs: these images serve already")
        return 0
    say("release {0} {1}:".format(asked.release, "would change" if rehearsing else "changes"))
    for line in lines:
        say("  " + line)
    answer = trip.components(requests, rehearsing, False)
    failed = _tell(answer["components"], rehearsing)
    release = answer.get("release") or {}
    if rehearsing:
        say("would be refused" if failed else "nothing was changed; this was the plan")
    elif release.get("name"):
        became = "serves" if release["outcome"] == "complete" else "is " + str(release["outcome"])
        after = ", after {0}".format(release["after"]) if release.get("after") else ""
        why = ": " + str(release["why"]) if release.get("why") else ""
        say("release {0} {1}{2}{3}".format(release["name"], became, after, why))
        for note in release.get("notes") or []:
            say("  " + note)
        failed = failed or release["outcome"] != "complete"
    if any(one.get("busy") for one in answer["components"].values()):
        return BUSY
    return FAILED if failed else 0


def _go_back(common: Mapping[str, Any], asked: argparse.Namespace) -> int:
    answer = trip.go_back({**common, "name": asked.release, "confirm": asked.confirm}, False, False)
    _tell(answer["components"], False)
    if answer.get("failed"):
        say("FAILED: {0}".format(answer["msg"]))
        if answer.get("undone"):
            say("undone: {0}".format(answer["undone"]))
        return FAILED
    form = "release {0} serves, after {1} s" if answer["components"] else "release {0} serves already"
    say(form.format(answer["release"], answer["seconds"]))
    return 0


def _tell(components: Mapping[str, Mapping[str, Any]], rehearsing: bool) -> bool:
    """Say what became of each component; returns whether one of them failed."""
    for name, one in components.items():
        took = one.get("seconds") or {}
        total = sum(took.values()) if isinstance(took, Mapping) else float(took)
        would = "would be " if rehearsing else ""
        say("{0}: {1}{2}{3}".format(name, would, one.get("action"), "" if rehearsing else " ({0:.1f} s)".format(total)))
        for line in [*(one.get("reasons") or [])[:5], *(one.get("notes") or [])]:
            say("  " + line)
        if one.get("failed"):
            say("FAILED: {0}".format(one["msg"]))
            for part in ("undone", "logs"):
                if one.get(part):
                    say("{0}: {1}".format(part, one[part]))
    return any(one.get("failed") for one in components.values())


def _list(root: str) -> int:
    told = history.listing(root, RUNS)
    for row in told["releases"]:
        say("  ".join(str(row[key]) for key in ("name", "state", "when", "commit", "by", "why") if row.get(key)))
    if not told["releases"]:
        say("no release yet")
    if told["under_way"]:
        say("under way: {0}".format(told["under_way"]))
    return 0


def main(home: str, arguments: Optional[List[str]] = None) -> int:
    """``deployer.py <key> <what was asked>``, as root on the VPS, its settings beside it. Returns the exit status."""
    words = sys.argv[1:] if arguments is None else arguments
    os.umask(trip.UMASK)
    os.chdir("/")
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        if len(words) != 2:
            raise Wrong("deployer.py <key> <what is asked>")
        key, command = words
        settings: Dict[str, Any] = read_json(os.path.join(home, SETTINGS)) or {}
        if key not in settings.get("keys", {}):
            raise Wrong("the key {0} is none of those that may deploy here".format(key))
        asked = understood(command, settings["keys"][key])
        progress.aloud(say)
        return perform(settings, key, asked)
    except Wrong as error:
        sys.stderr.write("{0}; nothing was changed\n".format(error))
        return WRONG
    except Locked as error:
        sys.stderr.write("{0}; nothing was changed\n".format(error))
        return BUSY
    except (Refused, *Troubles) as error:
        sys.stderr.write("{0}; nothing was changed\n".format(in_words(error)))
        return FAILED
