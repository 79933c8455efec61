"""Reads what is on a VPS: host, engine, containers, images, files and records. Changes nothing."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import shutil
import stat
import subprocess
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence

from ansible_collections.landfall.vps.plugins.module_utils import (
    registry,
    release_list,
    shapes,
    sockets,
    surroundings,
    timer_units,
)
from ansible_collections.landfall.vps.plugins.module_utils.docker_api import SOCKET, Docker, DockerError
from ansible_collections.landfall.vps.plugins.module_utils.records import STATE_DIR, leftovers, load_all

DATA_ROOT = "/var/lib/docker"
OS_RELEASE = "/etc/os-release"
LARGEST = 64 << 20  # bytes; what a role renders travels in one request and is far smaller
LONGEST_TEXT = 1 << 16  # characters
COMPOSE_PLUGINS = (
    "/usr/local/lib/docker/cli-plugins",
    "/usr/local/libexec/docker/cli-plugins",
    "/usr/lib/docker/cli-plugins",
    "/usr/libexec/docker/cli-plugins",
)


def file_mark(path: str) -> str:
    """Fingerprint (see plan.py) of a file on this host. Raises OSError where there is none.

    What is no ordinary file, is larger than any file that a role renders, or cannot be read has a mark that differs
    from that of every file: a planner then puts it right.
    """
    found = os.lstat(path)
    owner = "{0:o}:{1}".format(stat.S_IMODE(found.st_mode), found.st_uid)
    if not stat.S_ISREG(found.st_mode):
        return "not-a-file:" + owner
    if found.st_size > LARGEST:
        return "too-large:" + owner
    digest = hashlib.sha256()
    try:
        # Neither a link nor a pipe that took the name meanwhile is followed or waited for
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as handle:
            for block in iter(lambda: handle.read(1 << 20), b""):
                digest.update(block)
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError:
        return "unreadable:" + owner
    return "{0}:{1}".format(digest.hexdigest(), owner)


def marks_of(root: str, paths: Iterable[str]) -> Dict[str, str]:
    """Fingerprints of those of ``paths`` (relative to ``root``, or absolute) that there are; not of what vanished."""
    result = {}
    for path in paths:
        try:
            result[path] = file_mark(os.path.join(root, path))
        except OSError:  # nothing there, or a file where a folder should be
            continue
    return result


def files_below(root: str, only: Optional[str] = None) -> Dict[str, str]:
    """Fingerprints of all files below ``root`` (or its folder ``only``), by path relative to ``root``."""
    found = []
    for folder, folders, names in os.walk(os.path.join(root, only) if only else root):
        folders[:] = sorted(name for name in folders if name != STATE_DIR or folder != root)
        # A link to a folder is not entered; it is a thing of its own
        names += [name for name in folders if os.path.islink(os.path.join(folder, name))]
        found += [os.path.relpath(os.path.join(folder, name), root) for name in names]
    return marks_of(root, found)


def own_files(root: str, name: str, record: Optional[Mapping[str, Any]] = None) -> Dict[str, str]:
    """Fingerprints of what belongs to component ``name``: its compose file, own folders, what its record names.

    What else lies in its folder is data of a container or of the operator and is never read.
    """
    shipped = (record or {}).get("files")
    paths = {name + "/compose.yaml", *(shipped if isinstance(shipped, dict) else ())}
    found = marks_of(root, sorted(path for path in paths if isinstance(path, str)))
    for part in ("config", "secrets", timer_units.FOLDER):
        found.update(files_below(root, os.path.join(name, part)))
    return found


def _all_files(root: str, records_: Mapping[str, Mapping[str, Any]]) -> Dict[str, str]:
    """Fingerprints of the files of all components, and of those in folders to which components ship (``*.d``)."""
    found: Dict[str, str] = {}
    for name in sorted({*records_, *_listdir(root)} - {STATE_DIR}):
        found.update(own_files(root, name, records_.get(name)))
        shipped_to = [folder for folder in _listdir(os.path.join(root, name)) if folder.endswith(".d")]
        for folder in sorted(shipped_to):
            below = os.path.join(name, folder)
            found.update(marks_of(root, (os.path.join(below, item) for item in _listdir(os.path.join(root, below)))))
    return found


def read_json(path: str) -> Optional[Dict[str, Any]]:
    """The object in a JSON file, or None when it is absent or unreadable as such."""
    try:
        value = shapes.read(path)
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def records(root: str) -> Dict[str, Dict[str, Any]]:
    """What earlier runs recorded, by component; without those that cannot be read, which ``gather`` names."""
    return load_all(root)[0]


def _os_release() -> Dict[str, str]:
    result = {}
    try:
        with open(OS_RELEASE, encoding="utf-8", errors="replace") as handle:
            for line in handle:
                key, _equals, value = line.strip().partition("=")
                result[key] = value.strip("\"'")
    except OSError:
        return {}
    return result


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _existing(path: str) -> str:
    path = os.path.abspath(path)  # what is refused as a root is looked at all the same, while it is judged
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return path


def disks(places: Mapping[str, str]) -> List[Dict[str, Any]]:
    """Size and free space (bytes) of each file system that one of ``places`` (path to what lies there) is to be on.

    ``{path, holds, free, size, read_only}``, one entry for each file system.
    """
    found: Dict[int, Dict[str, Any]] = {}
    for path, holds in places.items():
        existing = _existing(path)
        usage = os.statvfs(existing)
        entry = found.setdefault(
            os.stat(existing).st_dev,
            {
                "path": path,
                "holds": [],
                "free": usage.f_bavail * usage.f_frsize,
                "size": usage.f_blocks * usage.f_frsize,
                "read_only": bool(usage.f_flag & os.ST_RDONLY),
            },
        )
        entry["holds"].append(holds)
    return list(found.values())


def host_facts(root: str, setup: Mapping[str, Any]) -> Dict[str, Any]:
    """Distribution, architecture, effective uid, memory (bytes), disks, kernel settings; ``setup`` is the engine's."""
    release = _os_release()
    return {
        "distribution": release.get("ID", "unknown"),
        "version": release.get("VERSION_ID", ""),
        "codename": release.get("VERSION_CODENAME", ""),
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "euid": os.geteuid(),
        "memory_bytes": _memory_bytes(),
        "cpus": os.cpu_count() or 0,
        "disks": disks(
            {
                data_root(setup): "data",
                setup.get("image_root") or data_root(setup): "images",
                root: "files",
            }
        ),
        "sysctls": surroundings.sysctls(),
        "python3_apt": os.path.exists("/usr/lib/python3/dist-packages/apt_pkg.py")
        or bool([n for n in _listdir("/usr/lib/python3/dist-packages") if n.startswith("apt_pkg.")]),
    }


def _listdir(path: str) -> List[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []


def _plugin(name: str) -> Optional[str]:
    for folder in COMPOSE_PLUGINS:
        path = os.path.join(folder, name)
        if os.path.exists(path):
            return path
    return None


def compose_version(root: str) -> str:
    """Version of the Compose plugin, empty without one; remembered, since asking costs 60 ms."""
    plugin = _plugin("docker-compose")
    if plugin is None:
        return ""
    try:
        found = os.stat(plugin)
    except FileNotFoundError:  # it is just being replaced
        return ""
    key = "{0}:{1}:{2}".format(plugin, found.st_size, found.st_mtime_ns)
    memo = os.path.join(root, STATE_DIR, "compose-version")
    try:
        with open(memo, encoding="utf-8") as handle:
            known, _space, version = handle.read().strip().rpartition(" ")
        if known == key:
            return version
    except OSError:
        pass
    try:
        answer = subprocess.run([plugin, "version", "--short"], capture_output=True, text=True, check=False, timeout=30)
    except (OSError, ValueError, subprocess.TimeoutExpired):  # of another architecture, cut off, not to be executed
        return ""
    version = answer.stdout.strip().lstrip("v")
    if version and os.path.isdir(os.path.dirname(memo)):
        # Whoever may not write there, or finds the disk full, asks again the next time
        with contextlib.suppress(OSError), open(memo, "w", encoding="utf-8") as handle:
            handle.write("{0} {1}\n".format(key, version))
    return version


def data_root(setup: Mapping[str, Any]) -> str:
    """Where the engine keeps its data, or will keep it once it runs."""
    return str(setup.get("data_root") or (setup.get("daemon") or {}).get("data-root") or DATA_ROOT)


def _idle_architectures(docker: Docker, facts: Mapping[str, Any]) -> None:
    """Note the architecture of those images that no container runs: of the others it is plain that it fits."""
    used = {container["image_id"] for container in facts["containers"].values() if container["state"] == "running"}
    known: Dict[str, str] = {}
    for image in facts["images"].values():
        if image["id"] not in used:
            if image["id"] not in known:
                known[image["id"]] = docker.architecture(image["id"])
            image["architecture"] = known[image["id"]]


def engine_facts(root: str, docker: Docker) -> Dict[str, Any]:
    """The engine: installed, running, versions; with its containers, images and networks when it answers."""
    facts: Dict[str, Any] = {
        "installed": shutil.which("dockerd") is not None,
        "running": False,
        "version": "",
        "compose": "",
        "buildx": _plugin("docker-buildx") is not None,
        "error": "",
        "containers": {},
        "images": {},
        "networks": {},
        "volumes": {},
        "setup": {},
        "logins": registry.marks(root),
    }
    version: Dict[str, Any] = {}
    if not os.path.exists(docker.path):
        facts["setup"] = surroundings.engine_surroundings(docker, version)
        facts["data_root"] = data_root(facts["setup"])
        return facts
    facts["compose"] = compose_version(root)
    try:
        version = docker.version()
        facts["version"] = version.get("Version", "")
        facts["running"] = True
        if int(facts["version"].split(".")[0] or 0) >= 25:
            facts["containers"] = docker.containers()
            facts["images"] = docker.images()
            facts["networks"] = docker.networks()
            facts["volumes"] = docker.volumes()
            _idle_architectures(docker, facts)
    except (DockerError, ValueError) as error:
        facts["error"] = str(error)
    try:
        facts["setup"] = surroundings.engine_surroundings(docker, version if facts["running"] else {})
    except DockerError as error:
        facts["error"] = str(error)
    facts["data_root"] = data_root(facts["setup"])
    return facts


def traces(root: str, containers: Mapping[str, Mapping[str, Any]]) -> Dict[str, Any]:
    """Where Landfall has been: below ``root``, with which components, and in which other ``homes`` of containers."""
    homes = {os.path.dirname(str(c["working_dir"])) for c in containers.values() if c.get("working_dir")}
    state = os.path.join(root, STATE_DIR)
    there = _listdir(state)
    locks = [name for name in there if name.startswith("compose-") and name.endswith(".lock")]
    return {
        # A lock alone is taken before the first component as well
        "been_here": any(name != "last-run" and not name.startswith("lock") for name in there),
        "deployed_before": sorted(name[len("compose-") : -len(".lock")] for name in locks),
        "homes": sorted(home for home in homes if os.path.isdir(os.path.join(home, STATE_DIR))),
    }


def survey(root: str, docker: Docker) -> Dict[str, Any]:
    """What has a name on this VPS, for ``ownership``. Raises DockerError."""
    containers = docker.containers()
    return {
        "root": root,
        "containers": containers,
        "volumes": docker.volumes(),
        "networks": docker.networks(),
        "records": records(root),
        **traces(root, containers),
    }


def texts_of(paths: Sequence[str]) -> Dict[str, str]:
    """Path to text, of those small files that are there and can be read."""
    found = {}
    for path in paths:
        with contextlib.suppress(OSError, UnicodeDecodeError), open(path, encoding="utf-8") as handle:
            found[path] = handle.read(LONGEST_TEXT)
    return found


def gather(root: str, extra_files: List[str], texts: Sequence[str] = ()) -> Dict[str, Any]:
    """All of the above in one value.

    ``extra_files`` are absolute paths whose fingerprints are wanted as well, ``texts`` those whose text is.
    """
    engine = engine_facts(root, Docker(SOCKET))
    kept, bad = load_all(root)
    containers = engine.pop("containers")
    files = _all_files(root, kept)
    files.update(marks_of("/", extra_files))
    return {
        "format": 1,
        "root": root,
        "host": host_facts(root, engine["setup"]),
        "network": {**surroundings.network_facts(), "listeners": sockets.listeners()},
        "containers": containers,
        "images": engine.pop("images"),
        "networks": engine.pop("networks"),
        "volumes": engine.pop("volumes"),
        **traces(root, containers),
        "engine": engine,
        "files": files,
        "texts": texts_of(texts),
        "records": kept,
        "bad_records": bad,
        "timers": timer_units.states(root, kept),
        "leftovers": leftovers(root),
        "releases": release_list.brief(root),
        "lock": read_json(os.path.join(root, STATE_DIR, "lock")),
    }
