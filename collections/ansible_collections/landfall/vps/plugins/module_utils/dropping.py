"""One file of an operator's in a drop-in folder: put there or taken away, taken in by the component, or undone.

It is nobody's file: no role renders it, so that no deploy takes it away. Doing it twice does the same as once, so that
a run that died on the way is made good by the same command.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from typing import Any, Dict, Mapping, Optional

from ansible_collections.landfall.vps.plugins.module_utils import applying, audit
from ansible_collections.landfall.vps.plugins.module_utils.compose import Refused
from ansible_collections.landfall.vps.plugins.module_utils.docker_api import Docker
from ansible_collections.landfall.vps.plugins.module_utils.host import records
from ansible_collections.landfall.vps.plugins.module_utils.lock import Lock, Locked
from ansible_collections.landfall.vps.plugins.module_utils.recovery import Troubles, in_words, recover

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*")


def drop(request: Mapping[str, Any], check_mode: bool) -> Dict[str, Any]:
    """Put a file into a drop-in folder, or for the content None take it away; returns an Ansible result.

    ``request``: ``{root, network, run, who, component, folder, name, content, what}``, the last one for the log.
    """
    root, name = request["root"], request["component"]
    result: Dict[str, Any] = {"changed": False}
    lock = Lock(root, request["run"], request["who"])
    began = time.monotonic()
    try:
        record = records(root).get(name)
        if record is None:
            raise Refused("there is no {0} on this VPS".format(name))
        if request["folder"] not in (record["meta"].get("drop_ins") or {}):
            raise Refused(
                "{0} takes in nothing by {1}; deploy it with this version first".format(name, request["folder"])
            )
        if not NAME.fullmatch(request["name"]):
            raise Refused("'{0}' is no name of a file".format(request["name"]))
        path = os.path.join(root, name, request["folder"], request["name"])
        content = None if request["content"] is None else str(request["content"]).encode()
        result["changed"] = _read(path) != content
        if check_mode:
            return result
        with lock.held("{0}: {1}".format(name, request["what"])):
            docker = Docker()
            recover(root, docker, request["network"])
            _change(path, content, docker, records(root)[name], request["network"]["name"])
    except (Refused, Locked) as error:
        return {**result, "changed": False, "failed": True, "msg": "{0}; nothing was changed".format(error)}
    except Troubles as error:
        result.update(changed=False, failed=True, msg="{0}; it was undone".format(in_words(error)))
    finally:
        lock.release()
    with contextlib.suppress(OSError):
        entry = {key: request[key] for key in ("run", "who", "what")}
        became = "failed" if result.get("failed") else "reloaded" if result["changed"] else "none"
        ended = audit.FAILED if result.get("failed") else audit.DONE
        why = {"why": result["msg"]} if result.get("failed") else {}
        took = round(time.monotonic() - began, 1)
        audit.append(root, {**entry, "components": {name: became}, "result": ended, "seconds": took, **why})
    return result


def _change(path: str, content: Optional[bytes], docker: Docker, record: Mapping[str, Any], network: str) -> None:
    """Write or remove, let the component take it in, prove that it serves. Raises Troubles, when all is as before."""
    before = _read(path)
    containers = sorted(record["containers"])
    try:
        _write(path, content)
        applying.reload_component(docker, record["meta"], network, containers)
        applying.prove_record(docker, network, record)
    except Troubles:
        _write(path, before)
        with contextlib.suppress(*Troubles):
            applying.reload_component(docker, record["meta"], network, containers)
        raise


def _read(path: str) -> Optional[bytes]:
    try:
        with open(path, "rb") as handle:
            return handle.read()
    except OSError:
        return None


def _write(path: str, content: Optional[bytes]) -> None:
    if content is None:
        if os.path.lexists(path):
            os.unlink(path)
        return
    temporary = path + ".new"
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as handle:
        handle.write(content)
        handle.flush()
        os.fsync(handle.fileno())
    os.chmod(temporary, 0o644)
    os.replace(temporary, path)
