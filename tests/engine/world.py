"""A VPS without an engine: Compose and containers in memory, files on the disk, and a run that can be killed anywhere.

A container remembers its definition and the files that it took in when it was started or reloaded. One whose definition
or files hold the word ``bad`` does not serve.
"""

from __future__ import annotations

import base64
import copy
import errno
import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

import pytest
from ansible_collections.landfall.vps.plugins.module_utils import (
    applying,
    compose,
    converge,
    deployer,
    lock,
    settling,
    trip,
)
from ansible_collections.landfall.vps.plugins.module_utils.plan import fingerprint
from ansible_collections.landfall.vps.plugins.module_utils.probe import Unproven

from tests import interruptions

BAD = b"bad"
NETWORK = {"name": "landfall", "subnet": ""}
CHANGES_FILES = ("replace", "rename", "unlink", "link", "symlink", "mkdir", "rmdir", "chmod", "chown", "fsync")
UID = os.getuid()


class Killed(BaseException):
    """The process is gone: nothing that it would still do takes place."""


class Disk:
    """A disk that refuses from an effect on: ``ENOSPC`` what needs space, ``EROFS`` whatever changes it.

    What a journal keeps in reserve is space again once it is removed: enough for ``RESERVE`` files.
    """

    RESERVE = 3
    NEEDS_SPACE = ("create", "link", "mkdir")

    def __init__(self, number: int, since: int) -> None:
        self.number = number
        self.since = since
        self.free = 0

    def refuse(self, what: str, path: str) -> None:
        """Raise what the kernel answers to ``what`` is done to ``path``, if it refuses that."""
        if self.number == errno.ENOSPC:
            if what not in self.NEEDS_SPACE:
                return
            if self.free:
                self.free -= 1
                return
        raise OSError(self.number, os.strerror(self.number), path)


class World:
    """What runs and what lies on one VPS below ``root``."""

    path = "/dev/null"  # where the engine's socket is; it only has to exist

    def __init__(self, root: Path) -> None:
        self.root = root
        self.state: Dict[str, Dict[str, Any]] = {}
        self.bridges: List[str] = []
        self.disks: List[str] = []
        self.tags = ["x:1", "x:2"]
        self.steps = 0
        self.kill_at: Optional[int] = None
        self.disk: Optional[Disk] = None
        self.before_step: Optional[Callable[[], None]] = None
        self.open: Dict[int, bool] = {}

    # -- steps --------------------------------------------------------------------------------------------------

    def step(self, what: str = "", path: Any = "") -> None:
        """One effect is about to take place; from the one at which the run is killed on, none does."""
        if self.kill_at is not None and self.steps >= self.kill_at:
            raise Killed
        self.steps += 1
        if what and self.disk is not None:
            if what == "unlink" and str(path).endswith("/reserve"):
                self.disk.free = Disk.RESERVE
            if self.steps > self.disk.since:
                self.disk.refuse(what, str(path))
        if self.before_step:
            hook, self.before_step = self.before_step, None
            try:
                hook()
            finally:
                self.before_step = hook

    def dies_at(self, step: Optional[int], work: Callable[[], Any]) -> Any:
        """What ``work`` returns, or None when it was killed before its effect number ``step``."""
        self.steps, self.kill_at = 0, step
        try:
            return work()
        except Killed:
            interruptions.note()
            return None
        finally:
            self.kill_at = None
            for number in list(self.open):
                os.close(number)  # as the kernel does, and with them go the locks

    # -- the engine ---------------------------------------------------------------------------------------------

    def containers(self) -> Dict[str, Dict[str, Any]]:
        return {
            name: {
                "id": name,
                "image": one["image"],
                "image_id": "sha256:" + one["image"],
                "state": "running",
                "health": "none",
                "config_hash": one["hash"],
                "project": one["project"],
                "stack": "landfall",
                "working_dir": str(self.root / one["component"]),
                "volumes": [],
                "networks": ["landfall"],
            }
            for name, one in list(self.state.items())
        }

    def images(self) -> Dict[str, Any]:
        return {tag: {"id": "sha256:" + tag, "labels": {}} for tag in self.tags}

    def json(self, _method: str, _path: str) -> List[Dict[str, Any]]:
        """What the engine lists as images."""
        return [{"Id": "sha256:" + tag, "RepoTags": [tag], "RepoDigests": [], "Created": 0} for tag in self.tags]

    def call(self, method: str, path: str) -> Tuple[int, bytes]:
        """Remove an image."""
        assert method == "DELETE", method
        self.step()
        self.tags.remove(path[len("/images/") :])
        return 200, b"[]"

    def networks(self) -> Dict[str, Any]:
        return {name: {"subnet": "", "gateway": "", "stack": "landfall"} for name in self.bridges}

    def volumes(self) -> Dict[str, Any]:
        return {name: {"stack": "landfall", "component": "web"} for name in self.disks}

    def create_volume(self, name: str, _labels: Any) -> None:
        self.step()
        self.disks.append(name)

    def remove_volume(self, name: str) -> str:
        self.step()
        self.disks.remove(name)
        return ""

    def remove_container(self, name: str) -> None:
        self.step()
        del self.state[name]

    def create_network(self, name: str, *_more: Any) -> None:
        self.step()
        self.bridges.append(name)

    def inspect(self, _name: str) -> Dict[str, Any]:
        return {"State": {"Status": "exited", "ExitCode": 3}, "RestartCount": 0}

    def logs(self, name: str, _lines: int = 50) -> str:
        return "last words of " + name

    # -- Compose ------------------------------------------------------------------------------------------------

    def run(self, argv: Sequence[str], *_more: Any, **_options: Any) -> str:
        """Carry out a command as the engine's programs give it."""
        words = list(argv)
        if words[:2] != ["docker", "compose"]:
            self.step()
            return ""
        folder = Path(words[words.index("--project-directory") + 1])
        document = json.loads(Path(words[words.index("-f") + 1]).read_text())
        rest = words[len(words) - words[::-1].index("-f") + 1 :]
        if rest[0] == "config":
            return json.dumps(document)
        if rest[0] == "down":
            for name in [n for n, one in list(self.state.items()) if one["project"] == document["name"]]:
                self.step()
                del self.state[name]
            return ""
        values = {"--pull"}
        named = [w for i, w in enumerate(rest[1:], 1) if not w.startswith("--") and rest[i - 1] not in values]
        self._up(folder.name, document, "--force-recreate" in rest, named)
        if "--remove-orphans" in rest:
            for name in [n for n, one in list(self.state.items()) if one["project"] == document["name"]]:
                if name not in document["services"]:
                    self.step()
                    del self.state[name]
        return ""

    def _up(self, component: str, document: Mapping[str, Any], force: bool, named: Sequence[str]) -> None:
        for name, options in document["services"].items():
            digest = hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest()
            there = self.state.get(name)
            if (named and name not in named) or (there and there["hash"] == digest and not force):
                continue
            if there and there["project"] != document["name"]:
                raise compose.CommandFailed(f"Conflict. The container name {name} is already in use")
            self.step()
            self.state[name] = {
                "image": options["image"],
                "hash": digest,
                "project": document["name"],
                "component": component,
                "loaded": self.seen(component),
            }

    def seen(self, component: str) -> Dict[str, str]:
        """All files of a component's folder, drop-ins of others included."""
        home = self.root / component
        return {
            str(p.relative_to(home)): base64.b64encode(p.read_bytes()).decode() for p in home.rglob("*") if p.is_file()
        }

    def reload(self, _docker: Any, _meta: Any, _network: Any, containers: Sequence[str]) -> None:
        """Let a program take in its files, which it refuses where one is bad."""
        self.step()
        for name in containers:
            files = self.seen(self.state[name]["component"])
            if any(BAD in base64.b64decode(text) for text in files.values()):
                raise Unproven(f"reload of {name} was refused")
            self.state[name]["loaded"] = files

    def prove(self, _docker: Any, containers: Sequence[str], *_more: Any, **_named: Any) -> Dict[str, Any]:
        """Every container is there and took in nothing that is bad."""
        for name in containers:
            if name not in self.state:
                raise Unproven(f"container {name} does not exist")
            if any(BAD in base64.b64decode(text) for text in self.state[name]["loaded"].values()):
                raise Unproven(f"container {name} is unhealthy")
        return {"seconds": 0.0, "told": []}

    # -- looking ------------------------------------------------------------------------------------------------

    def picture(self) -> Dict[str, Any]:
        """All that has to be the old or the new: files, containers and records."""
        state = self.root / ".state"
        files = {
            str(p.relative_to(self.root)): (base64.b64encode(p.read_bytes()).decode(), oct(p.stat().st_mode))
            for p in self.root.rglob("*")
            if p.is_file() and state not in p.parents
        }
        folders = sorted(
            str(p.relative_to(self.root)) for p in self.root.rglob("*") if p.is_dir() and state not in (p, *p.parents)
        )
        kept = {p.name: json.loads(p.read_text()) for p in sorted(state.glob("*.json"))}
        for record in kept.values():
            record.pop("at", None)
            record.pop("by", None)
        return {"files": files, "folders": folders, "containers": copy.deepcopy(self.state), "records": kept}

    def leftovers(self) -> List[str]:
        """Files below the state folder that nobody needs once no run is at work."""
        state = self.root / ".state"
        known = {"lock", "lock.guard", "last-run", "compose-version", "audit.jsonl"}
        return [
            str(p.relative_to(state))
            for p in state.rglob("*")
            if p.is_file()
            and p.name not in known
            and p.suffix not in (".json", ".lock")
            # Written anew, whole, after the next change
            and p.parent.name != "deploys"
        ] + [str(p.relative_to(state)) for p in (state / "journal").rglob("*.json")]

    def save(self, place: Path) -> Tuple[Path, Dict[str, Any], List[str]]:
        """Keep everything as it is now."""
        shutil.copytree(self.root, place)
        return place, copy.deepcopy(self.state), list(self.bridges)

    def load(self, saved: Tuple[Path, Dict[str, Any], List[str]]) -> None:
        """Go back to what was saved."""
        shutil.rmtree(self.root)
        shutil.copytree(saved[0], self.root)
        self.state, self.bridges = copy.deepcopy(saved[1]), list(saved[2])


def install(world: World, patch: pytest.MonkeyPatch) -> None:
    """Let the engine's programs work in ``world``."""
    patch.setattr(compose, "run", world.run)
    patch.setattr(compose.Project, "start_ahead", lambda *_a: None)
    patch.setattr(applying, "prove", world.prove)
    patch.setattr(applying, "reload_component", world.reload)
    patch.setattr(converge, "reload_component", world.reload)
    for module in (converge, deployer, settling, trip):
        patch.setattr(module, "Docker", lambda *_a: world)
    patch.setattr(lock, "PATIENCE", 0.0)
    for name in CHANGES_FILES:
        real = (lambda _number: None) if name == "fsync" else getattr(os, name)  # a test's disk is not switched off
        patch.setattr(os, name, _counted(world, name, real))
    real_open, real_close = os.open, os.close

    def opened(path: Any, flags: int, *more: Any, **options: Any) -> int:
        mine = str(path).startswith(str(world.root)) and bool(flags & (os.O_CREAT | os.O_TRUNC))
        if mine:
            world.step("create" if flags & os.O_TRUNC or not Path(path).exists() else "write", path)
        number = real_open(path, flags, *more, **options)
        if mine and str(path).endswith((".guard", ".lock")):
            world.open[number] = True
        return number

    def closed(number: int) -> None:
        world.open.pop(number, None)
        real_close(number)

    patch.setattr(os, "open", opened)
    patch.setattr(os, "close", closed)


def _counted(world: World, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
    def counted(*arguments: Any, **options: Any) -> Any:
        world.step(name, arguments[0])
        return real(*arguments, **options)

    return counted


def request(
    root: Path, name: str, files: Optional[Mapping[str, bytes]], run: str = "run-1", **more: Any
) -> Dict[str, Any]:
    """What the controller sends for component ``name``: ``files`` below the root, None to remove it.

    Its services are those of its compose file, which is JSON. ``drop_ins`` are folders in which it takes files.
    """
    contents = dict(files or {})
    text = contents.get(name + "/compose.yaml", b'{"services": {}}')
    services = json.loads(text)["services"]
    meta = {
        "uid": UID,
        "needs": [],
        "check": [],
        "reload": {"port": 1, "path": "/"} if more.get("reloads", True) else None,
        "prove": [],
        "prove_timeout": 1,
        "apply_timeout": 5,
        "targets": [],
        "drop_ins": more.get("drop_ins", {}),
        **({"timers": more["timers"]} if more.get("timers") else {}),
    }
    return {
        "root": str(root),
        "network": NETWORK,
        "claim": {
            "stack": "landfall",
            "project": name,
            "containers": sorted(services),
            "volumes": [],
            "network": "landfall",
            "present": files is not None,
        },
        "run": run,
        "who": "anna@laptop",
        "desired": {
            "name": name,
            "present": files is not None,
            "files": {path: fingerprint(content, mode_of(path), UID) for path, content in contents.items()},
            "containers": {n: {"service": n, "image": o["image"], "mounts": ["config"]} for n, o in services.items()},
            "reload_files": ["config/*"] if meta["reload"] else [],
            "meta": meta,
        },
        "contents": {path: base64.b64encode(content).decode() for path, content in contents.items()},
    }


def mode_of(path: str) -> int:
    """Permission bits of a rendered file."""
    return 0o400 if "/secrets/" in path else 0o644
