"""Asks registries, through the engine and so through its proxies, for which machines images are built."""

from __future__ import annotations

import base64
import json
import os
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Dict, List, Tuple

from ansible_collections.landfall.vps.plugins.module_utils.docker_api import SOCKET, Docker, DockerError

HUB = "https://index.docker.io/v1/"
SECONDS = 10.0


def registry_of(image: str) -> str:
    """The registry's name in a client's config.json."""
    first, slash, _rest = image.partition("/")
    return first if slash and ("." in first or ":" in first or first == "localhost") else HUB


def sign_in(config: str, image: str) -> Dict[str, str]:
    """The header by which the engine signs in at a registry as root's client does; empty without a password."""
    try:
        entry = json.loads(config)["auths"][registry_of(image)]
        user, _colon, password = base64.b64decode(entry["auth"]).decode().partition(":")
    except (ValueError, KeyError, TypeError):
        return {}
    value = {"username": user, "password": password, "serveraddress": registry_of(image)}
    return {"X-Registry-Auth": base64.urlsafe_b64encode(json.dumps(value).encode()).decode()}


def _one(docker: Docker, config: str, image: str) -> Tuple[List[str], str]:
    """(architectures, why they are not known)."""
    path = "/distribution/{0}/json".format(urllib.parse.quote(image, safe=":/@"))
    try:
        status, data = docker.call("GET", path, more_headers=sign_in(config, image))
        answer = json.loads(data)
        if status >= 400:
            return [], str(answer.get("message") or status)
        found = {str(one.get("architecture") or "") for one in answer.get("Platforms") or []}
    except (DockerError, ValueError, AttributeError) as error:
        return [], str(error)
    # Attestations are listed beside the images as of an unknown machine
    return sorted(found - {"", "unknown"}), ""


def architectures(images: List[str], path: str = SOCKET) -> Dict[str, Dict[str, Any]]:
    """``{known: {image: [architecture]}, unknown: {image: why}}``, in Go's words (``amd64``). Changes nothing."""
    home = os.environ.get("DOCKER_CONFIG") or os.path.join(os.path.expanduser("~"), ".docker")
    try:
        with open(os.path.join(home, "config.json"), encoding="utf-8") as handle:
            config = handle.read()
    except (OSError, ValueError):
        config = ""
    docker = Docker(path, SECONDS)
    with ThreadPoolExecutor(max_workers=8) as pool:
        found = list(zip(images, pool.map(lambda image: _one(docker, config, image), images)))
    return {
        "known": {image: known for image, (known, _why) in found if known},
        "unknown": {image: why for image, (known, why) in found if not known},
    }
