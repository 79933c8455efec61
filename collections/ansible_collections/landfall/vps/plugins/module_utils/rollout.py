"""What comes before a component as a whole is brought up: owners of volumes, the release command, replicas in turn."""

from __future__ import annotations

import contextlib
import io
import json
import os
import tarfile
import urllib.parse
from typing import Any, Callable, ContextManager, Dict, List, Mapping, Tuple

from ansible_collections.landfall.vps.plugins.module_utils import handover, switching
from ansible_collections.landfall.vps.plugins.module_utils.compose import CommandFailed, Project
from ansible_collections.landfall.vps.plugins.module_utils.docker_api import Docker, DockerError

ROOT = 0
Turn = Callable[[str, str], ContextManager[None]]
"""What one of several containers, by service and name, is replaced within: it serves nobody meanwhile."""


def prepare(
    docker: Docker,
    project: Project,
    meta: Mapping[str, Any],
    work: Mapping[str, Any],
    turn: Turn = lambda _service, _container: contextlib.nullcontext(),
) -> None:
    """Do what the record's ``volume_owners``, ``release`` and ``rolling`` ask for. Raises CommandFailed, DockerError.

    Going back to an earlier version, work says ``back``: its release command already ran when it was new.
    """
    takes = work.get("takes")
    if not takes and not work.get("owned"):  # volumes that are taken over have their owner
        own_volumes(docker, project, meta)
    if not work.get("back"):
        for item in meta.get("release") or []:
            _release(project, item)
    running = docker.containers() if meta.get("rolling") else {}
    for group in meta.get("rolling") or []:
        if all((running.get(name) or {}).get("state") == "running" for name in group["containers"]):
            force = [str(service) for service in work.get("force") or []] if work.get("force") is not True else ["*"]
            for service, container in zip(group["services"], group["containers"]):
                # One after another, each when the one before is well; where nothing differs, nothing happens
                with turn(service, container):
                    handover.make_room(docker, [container], project.name)
                    again = "*" in force or service in force
                    project.up_one(service, again, float(meta.get("prove_timeout", 60)))


def _release(project: Project, item: Mapping[str, Any]) -> None:
    argv = [str(word) for word in item["argv"]]
    try:
        project.run_once(str(item["service"]), argv)
    except CommandFailed as error:
        raise CommandFailed(
            "the release command of {0}, '{1}', failed, so that nothing of it was started: {2}".format(
                item["service"], " ".join(argv), error
            )
        ) from error


# -- volumes ------------------------------------------------------------------------------------------------------


def own_volumes(docker: Docker, project: Project, meta: Mapping[str, Any]) -> None:
    """Let each volume belong to the user of the service that mounts it, where it belongs to root as it was made.

    Docker fills a volume from the image, owners included, when a container with it is made; what the image says counts.
    A service that runs as the image's own user takes over what an earlier version of its role gave to the role's user.
    """
    for item in meta.get("volume_owners") or []:
        place = _mountpoint(docker, item["volume"])
        if not place or os.stat(place).st_uid not in (ROOT, int(meta.get("uid", ROOT))):
            continue
        user = item.get("user") or _image_user(docker, item["image"])
        if os.stat(place).st_uid == ROOT and user.split(":")[0] in ("", "0", "root"):
            continue
        if user.split(":")[0] == str(os.stat(place).st_uid):
            continue
        if not os.listdir(place):
            project.create([item["service"]])
        uid, gid = _numbers(docker, item["container"], user)
        found = os.stat(place).st_uid
        taken_back = not item.get("user") and found == int(meta.get("uid", ROOT))
        if found != uid and (found == ROOT or taken_back):
            _give(place, found, uid, gid)


def _mountpoint(docker: Docker, volume: str) -> str:
    status, data = docker.call("GET", "/volumes/{0}".format(urllib.parse.quote(volume)))
    if status >= 400:
        return ""
    place = str(json.loads(data).get("Mountpoint") or "")
    return place if os.path.isdir(place) else ""


def _image_user(docker: Docker, image: str) -> str:
    described = docker.json("GET", "/images/{0}/json".format(urllib.parse.quote(image, safe="/:@")))
    return str((described.get("Config") or {}).get("User") or "")


def _numbers(docker: Docker, container: str, user: str) -> Tuple[int, int]:
    """Numbers of user and group; names are looked up in the container. Raises DockerError for a name nobody has."""
    name, _colon, group = user.partition(":")
    if name in ("", "0", "root"):
        return ROOT, int(group) if group.isdigit() else ROOT
    if name.isdigit():
        return int(name), int(group) if group.isdigit() else int(name)
    for line in _file(docker, container, "/etc/passwd").splitlines():
        fields = line.split(":")
        if len(fields) > 3 and fields[0] == name:
            return int(fields[2]), int(group) if group.isdigit() else int(fields[3])
    raise DockerError(
        "user {0} of container {1} is not in its /etc/passwd; give user as uid:gid".format(user, container)
    )


def _file(docker: Docker, container: str, path: str) -> str:
    place = "/containers/{0}/archive?path={1}".format(urllib.parse.quote(container), urllib.parse.quote(path))
    status, data = docker.call("GET", place)
    if status >= 400:
        return ""
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for member in tar.getmembers():
            content = tar.extractfile(member) if member.isfile() else None
            if content is not None:
                return content.read().decode("utf-8", "replace")
    return ""


def _give(place: str, old: int, uid: int, gid: int) -> None:
    """Hand all that belongs to ``old`` over to ``uid``; links are not followed."""
    for folder, folders, names in os.walk(place):
        for name in [*folders, *names]:
            path = os.path.join(folder, name)
            if os.lstat(path).st_uid == old:
                os.lchown(path, uid, gid)
    os.chown(place, uid, gid)


def owners(document: Mapping[str, Any], containers: Mapping[str, Any], only: Any = True) -> List[Dict[str, Any]]:
    """``volume_owners`` of a record, from a compose file: for each named volume the first service that mounts it.

    ``only`` is True for all volumes, or names those that it is about.

    ``containers`` maps a container's name to what has ``service`` and ``image``.
    """
    names = {key: str((value or {}).get("name") or key) for key, value in (document.get("volumes") or {}).items()}
    found: Dict[str, Dict[str, Any]] = {}
    for container, one in containers.items():
        options = (document.get("services") or {})[one.service]
        for volume in options.get("volumes") or []:
            parts = str(volume).split(":")
            if parts[0] in names and parts[2:] != ["ro"] and (only is True or parts[0] in only):
                item = {"container": container, "service": one.service, "image": one.image}
                user = str(options.get("user") or "")
                found.setdefault(names[parts[0]], {**item, "volume": names[parts[0]], "user": user})
    return list(found.values())


def described(options: Mapping[str, Any], document: Mapping[str, Any], containers: Mapping[str, Any]) -> Dict[str, Any]:
    """What is to be known of how a component is brought up, for its record; only what there is."""
    names = {container.service: name for name, container in containers.items()}
    own = options.get("own_volumes")
    once = {names[key] for key, service in document["services"].items() if service.get("restart") in ("no", False)}
    found: Dict[str, Any] = {
        "one_shots": sorted(once),
        "unasked": sorted(
            names[key]
            for key, service in document["services"].items()
            if (service.get("healthcheck") or {}).get("disable") and names[key] not in once
        ),
        "release": options.get("release") or [],
        "rolling": [
            {"services": services, "containers": [names[service] for service in services]}
            for services in options.get("rolling") or []
        ],
        "volume_owners": owners(document, containers, own) if own else [],
        "update": switching.described(options.get("update") or {}, document, containers),
    }
    return {key: value for key, value in found.items() if value}
