"""Redis: the file of a BGSAVE that was waited for, proven and brought back by a server of the same image."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from typing import Any, Dict, List, Mapping, Sequence, Tuple

from .repository import Repository, explained
from .tools import Fault, attempt, inspect, last_lines, run, there, throw_away, until, writing

SAVING = 1800.0  # seconds for which a save may go on
SOCKET = "/tmp/redis.sock"  # noqa: S108 - in a container of its own
ASK = ["redis-cli", "-s", SOCKET]
LOADED = re.compile(r"keys loaded: (\d+), keys expired: (\d+)")


def ask(item: Mapping[str, Any], *words: str) -> str:
    """What the running server answers. Raises Fault, also for an error of the server."""
    answer = run(["docker", "exec", item["container"], *item["ask"], *words]).decode("utf-8", "replace").strip()
    if re.match(r"(?:\(error\) )?(?:ERR|NOAUTH|NOPERM|WRONGPASS|MISCONF|LOADING|BUSY)\b", answer):
        raise Fault("{0}: {1}".format(item["container"], answer))
    return answer


def keys(info: str) -> int:
    """Keys of all databases, of the answer to INFO keyspace."""
    return sum(int(number) for number in re.findall(r"^db\d+:keys=(\d+)", info, re.MULTILINE))


def figure(info: str, name: str) -> str:
    """A line of an answer to INFO."""
    found = re.search(r"^{0}:(\S*)".format(name), info, re.MULTILINE)
    return found.group(1) if found else ""


def dump(item: Mapping[str, Any], stage: str) -> Dict[str, Any]:
    """Have the server save, and copy its file into the folder ``stage``: ``{image, user, keys: [least, most]}``.

    Other clients work meanwhile: the keys are counted on both sides of the moment at which the server forks, and each
    command that ran in between may have made or removed one. Raises Fault.
    """
    os.makedirs(stage, mode=0o700, exist_ok=True)
    _rest(item)
    last = ask(item, "LASTSAVE")
    time.sleep(max(0.0, int(last) + 1.1 - time.time()))  # it counts whole seconds
    before = ask(item, "INFO", "everything")
    ask(item, "BGSAVE")
    after = ask(item, "INFO", "everything")
    deadline = time.monotonic() + SAVING
    while ask(item, "LASTSAVE") == last:
        info = ask(item, "INFO", "persistence")
        if figure(info, "rdb_bgsave_in_progress") == "0" and figure(info, "rdb_last_bgsave_status") != "ok":
            raise Fault(
                "{0}: the save failed; free memory or disk, or set vm.overcommit_memory: 1 (docker logs {0})".format(
                    item["container"]
                )
            )
        if time.monotonic() > deadline:
            raise Fault("{0}: the save did not end in {1:.0f} s".format(item["container"], SAVING))
        time.sleep(0.2)
    with writing(["docker", "exec", item["container"], "cat", item["file"]]) as (process, said):
        with open(os.path.join(stage, "dump.rdb"), "wb") as handle:
            shutil.copyfileobj(there(process.stdout), handle)
        if process.wait():
            raise Fault("{0}: its file cannot be read: {1}".format(item["container"], last_lines(said.all())))
    commands = [int(figure(info, "total_commands_processed") or 0) for info in (before, after)]
    slack = max(0, commands[1] - commands[0] - 2)
    counted = [keys(before), keys(after)]
    described = inspect(item["container"])["Config"]
    return {
        "image": described["Image"],
        "user": described["User"],
        "keys": [max(0, min(counted) - slack), max(counted) + slack],
        "bytes": os.path.getsize(handle.name),
    }


def _rest(item: Mapping[str, Any]) -> None:
    """Wait until no save or rewrite goes on, in which a new one would be refused or late."""
    deadline = time.monotonic() + SAVING
    while True:
        info = ask(item, "INFO", "persistence")
        if {figure(info, "rdb_bgsave_in_progress"), figure(info, "aof_rewrite_in_progress")} <= {"0"}:
            return
        if time.monotonic() > deadline:
            raise Fault("{0}: another save did not end in {1:.0f} s".format(item["container"], SAVING))
        time.sleep(0.5)


def fetch(repository: Repository, snapshot: str, path: str, place: str) -> None:
    """Write a file of a snapshot to ``place``. Raises Fault."""
    with open(place, "wb") as handle:
        source = repository.dump(snapshot, path)
        done = subprocess.run(source, stdin=subprocess.DEVNULL, stdout=handle, stderr=subprocess.PIPE, check=False)
    if done.returncode:
        raise Fault("{0}: reading it failed: {1}".format(path, explained(last_lines(done.stderr))))


def _serving(folder: str, noted: Mapping[str, Any], more: Sequence[str]) -> Tuple[List[str], List[str]]:
    """(options, argv) of a container whose server has ``folder`` for its data and loads the file there."""
    options = ["--user=" + str(noted["user"]), "--volume={0}:/proof".format(folder), "--tmpfs=/tmp:mode=1777",
               "--entrypoint=redis-server"]  # fmt: skip
    argv = ["--port", "0", "--unixsocket", SOCKET, "--dir", "/proof", "--dbfilename", "dump.rdb", "--appendonly", "no",
            "--save", "", *more]  # fmt: skip
    return options, argv


def _loaded(name: str, noted: Mapping[str, Any]) -> int:
    """The keys that a server has loaded from its file. Raises Fault where they are not those that were noted."""
    until(name, [*ASK, "INFO", "persistence"], SAVING, {"loading:0": ""})
    found = LOADED.search(run(["docker", "logs", name]).decode("utf-8", "replace"))
    held = keys(run(["docker", "exec", name, *ASK, "INFO", "keyspace"]).decode())
    # Those whose time was over when they were loaded were in the file, too
    total = int(found.group(1)) + int(found.group(2)) if found else held
    least, most = noted["keys"]
    if not least <= total <= most:
        raise Fault("redis: {0} keys were restored, {1} to {2} were there".format(total, least, most))
    return held


def prove(
    noted: Mapping[str, Any], repository: Repository, snapshot: str, folder: str, names: Tuple[str, str], scratch: str
) -> int:
    """Load the file of a snapshot in a server of its own without network: the keys that it then has. Raises Fault."""
    name, stack = names
    place = os.path.join(scratch, "redis")
    try:
        load_into(place, noted, repository, snapshot, folder)
        options, argv = _serving(place, noted, [])
        with throw_away(name, stack, str(noted["image"]), options, argv):
            return _loaded(name, noted)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def load_into(place: str, noted: Mapping[str, Any], repository: Repository, snapshot: str, folder: str) -> None:
    """Make ``place`` a folder of the server's user that holds the file of a snapshot. Raises Fault."""
    shutil.rmtree(place, ignore_errors=True)
    os.makedirs(place, mode=0o755)
    uid, _colon, gid = str(noted["user"]).partition(":")
    file = os.path.join(place, "dump.rdb")
    fetch(repository, snapshot, folder + "/dump.rdb", file)
    for path in (place, file):
        os.chown(path, int(uid), int(gid or uid))


def prepare(
    place: str, noted: Mapping[str, Any], repository: Repository, snapshot: str, folder: str, names: Tuple[str, str]
) -> int:
    """Make ``place`` the data of a server with an append-only file, from a snapshot: its keys. Raises Fault.

    A server that keeps one ignores the file of a save, so one of the same image loads it and then writes both.
    """
    load_into(place, noted, repository, snapshot, folder)
    options, argv = _serving(place, noted, [])
    with throw_away(names[0], names[1], str(noted["image"]), options, argv) as name:
        held = _loaded(name, noted)
        run(["docker", "exec", name, *ASK, "CONFIG", "SET", "appendonly", "yes"])
        until(name, [*ASK, "INFO", "persistence"], SAVING, {
            "aof_enabled:1": "", "aof_rewrite_in_progress:0": "", "aof_rewrite_scheduled:0": "",
            "aof_last_bgrewrite_status:ok": "",
        })  # fmt: skip
        attempt(["docker", "exec", name, *ASK, "SHUTDOWN"])  # its client loses the connection
        run(["docker", "wait", name], None, SAVING)
    if not os.path.isdir(os.path.join(place, "appendonlydir")):
        raise Fault("redis: its append-only file was not written")
    return held
