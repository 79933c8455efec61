"""Runs the engine on a VPS: a plain Python program, sent over the connection.

An Ansible module brings a runtime of its own, whose packing here and import there take half a second in each trip. The
engine needs nothing of it: the program is the source of some files of module_utils, python3 takes it from its standard
input, where nobody else sees it, and one marked line of its output is the answer.
"""

from __future__ import annotations

import json
import os
import re
import threading
import time
import uuid
from types import ModuleType
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

from ansible.plugins.action import ActionBase
from ansible_collections.landfall.vps.plugins.module_utils import (
    ahead,
    ailing,
    applying,
    audit,
    compose,
    converge,
    dashboards,
    deployer,
    docker_api,
    dropping,
    exposure,
    going_back,
    handover,
    history,
    hook,
    host,
    images,
    inside,
    journal,
    lease,
    lock,
    metrics_api,
    ownership,
    plan,
    probe,
    progress,
    pruning,
    pushing,
    records,
    recovery,
    registry,
    release_list,
    releases,
    report,
    rollout,
    room,
    rotation,
    settling,
    shapes,
    shown,
    signals,
    single,
    sockets,
    store,
    stores,
    surroundings,
    switching,
    timer_units,
    timers,
    trip,
    turns,
    units,
    verify,
    watching,
)
from ansible_collections.landfall.vps.plugins.plugin_utils import seam

MARK = "landfall-answer:"
FIRST_LOOK, NEXT_LOOK = 2.0, 3.0
"""Seconds: what takes no longer than the first needs no word."""
READ = (docker_api, shapes, records, release_list, sockets, surroundings, timer_units, registry, host)
VERIFY = (
    progress,
    *READ,
    inside,
    report,
    plan,
    ailing,
    probe,
    units,
    metrics_api,
    stores,
    signals,
    exposure,
    store,
    pruning,
    releases,
    verify,
)
LEASE = (
    progress,
    *READ,
    lock,
    lease,
)
CHANGE = (
    progress,
    *READ,
    inside,
    report,
    ailing,
    probe,
    plan,
    lock,
    store,
    journal,
    shown,
    compose,
    images,
    ownership,
    pruning,
    releases,
    audit,
    timers,
    handover,
    rotation,
    room,
    watching,
    switching,
    turns,
    rollout,
    applying,
    recovery,
    settling,
    dashboards,
    converge,
    going_back,
    ahead,
    trip,
)
HISTORY = (
    docker_api,
    shapes,
    records,
    release_list,
    sockets,
    surroundings,
    timer_units,
    registry,
    host,
    plan,
    store,
    pruning,
    releases,
    audit,
    history,
)
DEPLOYER = (*CHANGE, history, pushing, deployer)
SINGLE = (*CHANGE[:-5], single)
DROP = (*CHANGE[:-5], dropping)
"""The files of a program, each after those that it imports; the last one holds the function that is called."""
LOADED = """
import json, sys, types
package = sys.modules[{package!r}] = types.ModuleType({package!r})
package.__path__ = []
for name, source in {sources!r}:
    module = sys.modules[{package!r} + "." + name] = types.ModuleType({package!r} + "." + name)
    setattr(package, name, module)
    exec(compile(source, name, "exec"), module.__dict__)
"""
STANDING = "#!/usr/bin/python3 -I" + LOADED + "sys.exit(module.main(__file__.rpartition('/')[0]))\n"
PROGRAM = (
    LOADED
    + """{follow!r} and package.progress.begin({follow!r})
try:
    print({mark!r} + json.dumps(module.{function}(*json.loads({arguments!r}))))
finally:
    {follow!r} and package.progress.end({follow!r})
"""
)


class TripError(Exception):
    """The program did not come to its end; the message is what it said last."""


def program(parts: Sequence[ModuleType], function: str, arguments: Sequence[Any], follow: str = "") -> str:
    """Python source that calls ``function`` of the last of ``parts``; ``arguments`` and its answer travel as JSON.

    ``follow`` is the file in which it says meanwhile what it is doing, if ``progress`` is among the parts.
    """
    return PROGRAM.format(
        package=_package(parts),
        sources=_sources(parts),
        mark=MARK,
        function=function,
        arguments=json.dumps(arguments),
        follow=follow,
    )


def _package(parts: Sequence[ModuleType]) -> str:
    return parts[0].__name__.rpartition(".")[0]


def _sources(parts: Sequence[ModuleType]) -> List[Tuple[str, str]]:
    found = []
    for part in parts:
        with open(os.path.splitext(str(part.__file__))[0] + ".py", encoding="utf-8") as handle:
            found.append((part.__name__.rpartition(".")[2], handle.read()))
    return found


def interpreter(task_vars: Mapping[str, Any], action: ActionBase) -> str:
    """The Python to run: the inventory's, the configuration's, or the distribution's own; none is discovered."""
    named = task_vars.get("ansible_python_interpreter")
    if named is None:
        named = seam.configured_python(task_vars)
    python = str(seam.template(action, named))
    return "/usr/bin/python3" if python.startswith("auto") else python


def ask(action: ActionBase, python: str, text: str) -> Dict[str, Any]:
    """What ``program`` answers on the VPS. Raises TripError; AnsibleError where the connection or sudo fails."""
    said = seam.run(action, python, text)
    found = re.search("^{0}(.*)$".format(re.escape(MARK)), said.stdout, re.MULTILINE)
    if said.rc != 0 or not found:
        # Of a traceback the last line is what went wrong
        told = (said.stderr.strip() or said.stdout.strip() or "nothing was said").splitlines()[-1]
        hint = "; install python3 there, or set ansible_python_interpreter" if said.rc in (126, 127) else ""
        raise TripError("{0} ended with {1}: {2}{3}".format(python, said.rc, told[-2000:], hint))
    answer: Dict[str, Any] = json.loads(found.group(1))
    return answer


def follow(
    action: ActionBase,
    python: str,
    parts: Sequence[ModuleType],
    function: str,
    arguments: Sequence[Any],
    tell: Optional[Callable[[str], None]] = None,
) -> Dict[str, Any]:
    """As ``ask``; ``tell`` is given a line for whatever takes the program longer than some seconds."""
    way = seam.beside(action) if tell else None
    if tell is None or way is None:
        return ask(action, python, program(parts, function, arguments))
    place = progress.PLACE.format(uuid.uuid4().hex)
    over = threading.Event()
    listener = threading.Thread(target=_listen, args=(way, place, tell, over), daemon=True)
    listener.start()
    try:
        return ask(action, python, program(parts, function, arguments, place))
    finally:
        over.set()
        listener.join(timeout=FIRST_LOOK)


def _listen(way: ActionBase, place: str, tell: Callable[[str], None], over: threading.Event) -> None:
    """Look from time to time at what the program says, until it is over or nobody answers."""
    seen: Dict[str, str] = {}
    since, pause = time.monotonic(), FIRST_LOOK
    while not over.wait(pause):
        pause = NEXT_LOOK
        try:
            said = seam.read_file(way, place)
        except Exception:  # noqa: BLE001 - whatever fails here, the program goes on and says in the end what it did
            return
        if not over.is_set():
            for who, what in progress.latest(said, seen):
                tell("{0}: {1} ({2:.0f} s)".format(who, what, time.monotonic() - since))


def read_state(
    action: ActionBase, python: str, root: str, files: Sequence[str], texts: Sequence[str] = ()
) -> Dict[str, Any]:
    """The state of the VPS, see ``host.gather``. Raises what ``ask`` raises."""
    return ask(action, python, program(READ, "gather", [str(root), [*map(str, files)], [*map(str, texts)]]))


def read_architectures(
    action: ActionBase, python: str, images: List[str], logins: List[Dict[str, Any]]
) -> Dict[str, Any]:
    """For which machines registries have images, see ``registry.architectures``. Raises what ``ask`` raises."""
    return ask(action, python, program((docker_api, registry), "architectures", [images, logins]))


def run_sign_in(action: ActionBase, python: str, root: str, logins: List[Dict[str, Any]]) -> Dict[str, Any]:
    """What became of signing in, see ``registry.sign_in_to``. Raises what ``ask`` raises."""
    return ask(action, python, program((docker_api, registry), "sign_in_to", [root, logins]))


def run_verify(
    action: ActionBase, python: str, options: Mapping[str, Any], tell: Optional[Callable[[str], None]] = None
) -> Dict[str, Any]:
    """What was found, see ``verify.verify``. Raises what ``ask`` raises."""
    return follow(action, python, VERIFY, "verify", [options["root"], options["network"], dict(options)], tell)


def run_components(
    action: ActionBase,
    python: str,
    requests: Sequence[Mapping[str, Any]],
    check_mode: bool,
    with_diff: bool,
    tell: Optional[Callable[[str], None]] = None,
) -> Dict[str, Any]:
    """What became of each of some components, see ``trip.components``. Raises what ``ask`` raises."""
    return follow(action, python, CHANGE, "components", [[*map(dict, requests)], check_mode, with_diff], tell)


def run_go_back(
    action: ActionBase,
    python: str,
    request: Mapping[str, Any],
    check_mode: bool,
    with_diff: bool,
    tell: Optional[Callable[[str], None]] = None,
) -> Dict[str, Any]:
    """What became of going back to a release, see ``trip.go_back``. Raises what ``ask`` raises."""
    return follow(action, python, CHANGE, "go_back", [dict(request), check_mode, with_diff], tell)


def read_history(action: ActionBase, python: str, root: str, count: int) -> Dict[str, Any]:
    """The releases and the last runs, see ``history.listing``. Raises what ``ask`` raises."""
    return ask(action, python, program(HISTORY, "listing", [root, count]))


def run_recover(
    action: ActionBase, python: str, root: str, network: Mapping[str, Any], run: str, who: str
) -> Dict[str, Any]:
    """What was concluded of what earlier runs left, see ``trip.recover_all``. Raises what ``ask`` raises."""
    return ask(action, python, program(CHANGE, "recover_all", [root, dict(network), run, who]))


def run_single(action: ActionBase, python: str, verb: str, arguments: List[Any]) -> Dict[str, Any]:
    """What became of a command beside a service, see ``single``. Raises what ``ask`` raises."""
    return ask(action, python, program(SINGLE, verb, arguments))


def run_drop(action: ActionBase, python: str, request: Mapping[str, Any], check_mode: bool) -> Dict[str, Any]:
    """What became of a file in a drop-in folder, see ``dropping.drop``. Raises what ``ask`` raises."""
    return ask(action, python, program(DROP, "drop", [dict(request), check_mode]))


def run_hook(
    action: ActionBase, python: str, argv: List[str], environment: Mapping[str, str], timeout: float
) -> Dict[str, Any]:
    """How a command of the inventory's ended on the VPS, see ``hook.run``. Raises what ``ask`` raises."""
    return ask(action, python, program((hook,), "run", [argv, dict(environment), timeout]))


def run_queue(
    action: ActionBase,
    python: str,
    root: str,
    who: Sequence[Any],
    seconds: float,
    doing: str,
    tell: Optional[Callable[[str], None]] = None,
) -> Dict[str, Any]:
    """Whether the VPS became free in time, see ``lease.queue``; ``who`` is ``(run, who, dead, holder)``."""
    return follow(action, python, LEASE, "queue", [root, *who, seconds, doing], tell)


def standing_program() -> str:
    """The source of the program that stays on a VPS for keys that may do nothing but deploy, see ``deployer``."""
    return STANDING.format(package=_package(DEPLOYER), sources=_sources(DEPLOYER))


def run_lease(action: ActionBase, python: str, verb: str, root: str, run: str, who: str) -> Dict[str, Any]:
    """Renew or end the run's lease, see ``lease``. Raises what ``ask`` raises."""
    return ask(action, python, program(LEASE, verb, [root, run, who]))


def run_settle(
    action: ActionBase,
    python: str,
    root: str,
    network: Mapping[str, str],
    run: str,
    who: str,
    tell: Optional[Callable[[str], None]] = None,
) -> Dict[str, Any]:
    """The result of starting and proving what a run placed, see ``trip.settle_all``. Raises what ``ask`` raises."""
    return follow(action, python, CHANGE, "settle_all", [root, dict(network), run, who], tell)
