"""Registries: root's passwords for them, what they say of images, and what is wrong when they do not give one.

All questions go through the engine and so through its proxies. Only ``sign_in_to`` changes anything.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import re
import secrets
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Dict, List, Mapping, Sequence, Tuple

from ansible_collections.landfall.vps.plugins.module_utils.docker_api import SOCKET, Docker, DockerError

HUB = "https://index.docker.io/v1/"
HUB_NAMES = ("docker.io", "index.docker.io", "registry-1.docker.io", "index.docker.io/v1")
SECONDS = 10.0
KEPT = os.path.join("docker", "registries.json")
"""Below the root: the registries whose passwords the engine's client has from an inventory, with a digest of each."""
LIMIT, DENIED, ABSENT, UNREACHABLE = "limit", "denied", "absent", "unreachable"
SIGNS = (
    (LIMIT, r"toomanyrequests|too many requests|\b429\b|rate limit"),
    (DENIED, r"unauthorized|authentication required|denied|incorrect username or password|\b40[13]\b|no basic auth"),
    (ABSENT, r"manifest unknown|manifest for .* not found|name unknown|repository .* not found|not found: |\b404\b"),
    (
        UNREACHABLE,
        r"no such host|connection refused|no route to host|network is unreachable|i/o timeout|TLS handshake|x509|"
        r"server gave HTTP response|Client\.Timeout|connection reset|unexpected EOF|\b50[0234]\b|context deadline",
    ),
)
ADVICE = {
    LIMIT: "it limits how often one may pull; name a user and a password for {0} in docker_registries, or a mirror in "
    "docker_registry_mirrors, or wait",
    DENIED: "it wants a user who may read it, or the name is wrong; name user and password for {0} in "
    "docker_registries, and look at the image's name",
    ABSENT: "{0} has no such image; look at its name and tag",
    UNREACHABLE: "{0} cannot be reached from the VPS; look at its name, at the engine's proxy and, for one without "
    "TLS, at insecure-registries in docker_daemon_options",
}


def registry_of(image: str) -> str:
    """The registry's name in a client's config.json."""
    first, slash, _rest = image.partition("/")
    named = slash and ("." in first or ":" in first or first == "localhost")
    return canonical(first) if named else HUB


def canonical(address: str) -> str:
    """The key of a registry in a client's config.json, from an address as people write it."""
    bare = re.sub("^https?://", "", address.strip()).rstrip("/")
    return HUB if bare in HUB_NAMES else bare


def shown(address: str) -> str:
    """A registry's name for people."""
    return "docker.io" if address == HUB else address


def cause(text: str) -> str:
    """Which of LIMIT, DENIED, ABSENT and UNREACHABLE a message means; empty for another."""
    return next((kind for kind, pattern in SIGNS if re.search(pattern, text, re.IGNORECASE)), "")


def advice(image: str, text: str) -> str:
    """What is to be done about what the engine says of an image that it did not get; empty when nobody knows."""
    return ADVICE.get(cause(text), "").format(shown(registry_of(image)))


# -- passwords ----------------------------------------------------------------------------------------------------


def _config_path() -> str:
    home = os.environ.get("DOCKER_CONFIG") or os.path.join(os.path.expanduser("~"), ".docker")
    return os.path.realpath(os.path.join(home, "config.json"))


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as handle:
            return handle.read()
    except (OSError, ValueError):
        return ""


def _object(text: str) -> Dict[str, Any]:
    try:
        value = json.loads(text or "{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def auth_of(user: str, password: str) -> str:
    """What a client's config.json keeps of a user and a password."""
    return base64.b64encode("{0}:{1}".format(user, password).encode()).decode()


def _auths(config: Mapping[str, Any]) -> Dict[str, str]:
    entries = config.get("auths")
    found = entries.items() if isinstance(entries, dict) else []
    return {name: str(entry.get("auth") or "") for name, entry in found if isinstance(entry, dict)}


def _sealed(salt: str, auth: str) -> str:
    return hmac.new(salt.encode(), auth.encode(), hashlib.sha256).hexdigest()


def marks(root: str) -> Dict[str, Any]:
    """For whom root has passwords, told without them: ``{salt, auths: {registry: sealed}, ours: [registry]}``."""
    salt = secrets.token_hex(16)
    found = {name: _sealed(salt, auth) for name, auth in _auths(_object(_text(_config_path()))).items()}
    return {"salt": salt, "auths": found, "ours": sorted(_object(_text(os.path.join(root, KEPT))))}


def differs(wanted: Sequence[Mapping[str, Any]], found: Mapping[str, Any]) -> bool:
    """Whether root's passwords, as ``marks`` tells of them, are other than ``wanted`` says."""
    salt = str(found.get("salt") or "")
    sealed = {canonical(str(w["address"])): _sealed(salt, auth_of(str(w["user"]), str(w["password"]))) for w in wanted}
    auths = found.get("auths") or {}
    return any(auths.get(name) != seal for name, seal in sealed.items()) or set(found.get("ours") or []) != set(sealed)


def sign_in_to(root: str, wanted: Sequence[Mapping[str, Any]]) -> Dict[str, Any]:
    """Try each user and password at its registry, then keep all of them where root's client looks for them.

    What the owner keeps in that file stays, as do passwords that somebody changed since. Returns ``{changed}``, or
    ``{failed}`` with every registry that refused; then nothing was changed.
    """
    path, kept = _config_path(), os.path.join(root, KEPT)
    text = _text(path)
    config = _object(text)
    if text.strip() and not config and text.strip() != "{}":
        return {"changed": False, "failed": "{0} is no JSON; put it right or move it away".format(path)}
    entries = {canonical(str(one["address"])): one for one in wanted}
    faults = []
    for name, one in entries.items():
        helper = (config.get("credHelpers") or {}).get(name) or config.get("credsStore")
        fault = _refused(name, str(one["user"]), str(one["password"]))
        if helper:
            fault = "{0} leaves passwords to '{1}', so that one kept here is never used; sign in there".format(
                path, helper
            )
        if fault:
            faults.append("docker_registries: {0}: {1}".format(shown(name), fault))
    if faults:
        return {"changed": False, "failed": "; ".join(faults)}
    auths = {name: auth_of(str(one["user"]), str(one["password"])) for name, one in entries.items()}
    before = config.get("auths") if isinstance(config.get("auths"), dict) else {}
    gone = [
        name
        for name, seal in _object(_text(kept)).items()
        if name not in auths and _digest(_auths(config).get(name, "")) == seal
    ]
    after = {name: entry for name, entry in (before or {}).items() if name not in gone}
    after.update({name: {"auth": auth} for name, auth in auths.items() if _auths(config).get(name) != auth})
    if after != (before or {}):
        _write(path, json.dumps({**config, "auths": after}, indent="\t") + "\n")
    _write(kept, json.dumps({name: _digest(auth) for name, auth in auths.items()}, sort_keys=True, indent=1) + "\n")
    return {"changed": True}


def _digest(auth: str) -> str:
    return hashlib.sha256(auth.encode()).hexdigest()


def _refused(name: str, user: str, password: str) -> str:
    """Why the registry does not let this user in; empty when it does, or when there is no engine yet to ask by."""
    if not os.path.exists(SOCKET):
        return ""
    body = {"username": user, "password": password, "serveraddress": name}
    try:
        status, data = Docker(SOCKET, 3 * SECONDS).call("POST", "/auth", body)
    except DockerError as error:
        return str(error)
    if status < 400:
        return ""
    said = str(_object(data.decode("utf-8", "replace")).get("message") or status)
    if cause(said) == DENIED or status == 401:
        return "it refuses the user '{0}' with this password".format(user)
    return "{0}{1}".format(said, "; " + ADVICE[UNREACHABLE].format(shown(name)) if cause(said) == UNREACHABLE else "")


def _write(path: str, text: str) -> None:
    """Write a file that only root may read, whole or not at all, with the folder above it."""
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        os.makedirs(folder, mode=0o755 if path.endswith(KEPT) else 0o700)
    temporary = path + ".new"
    if os.path.lexists(temporary):
        os.unlink(temporary)
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())
    os.replace(temporary, path)


# -- what registries say of images --------------------------------------------------------------------------------


def sign_in(auths: Mapping[str, str], image: str) -> Dict[str, str]:
    """The header by which the engine signs in at an image's registry; empty without a password."""
    try:
        user, _colon, password = base64.b64decode(auths[registry_of(image)]).decode().partition(":")
    except (ValueError, KeyError):
        return {}
    value = {"username": user, "password": password, "serveraddress": registry_of(image)}
    return {"X-Registry-Auth": base64.urlsafe_b64encode(json.dumps(value).encode()).decode()}


def _one(docker: Docker, auths: Mapping[str, str], image: str) -> Tuple[List[str], str]:
    """(architectures, why they are not known)."""
    path = "/distribution/{0}/json".format(urllib.parse.quote(image, safe=":/@"))
    try:
        status, data = docker.call("GET", path, more_headers=sign_in(auths, image))
        answer = json.loads(data)
        if status >= 400:
            return [], str(answer.get("message") or status)
        found = {str(one.get("architecture") or "") for one in answer.get("Platforms") or []}
    except (DockerError, ValueError, AttributeError) as error:
        return [], str(error)
    # Attestations are listed beside the images as of an unknown machine
    return sorted(found - {"", "unknown"}), ""


def architectures(
    images: List[str], wanted: Sequence[Mapping[str, Any]] = (), path: str = SOCKET
) -> Dict[str, Dict[str, Any]]:
    """``{known: {image: [architecture]}, unknown: {image: why}}``, in Go's words (``amd64``). Changes nothing.

    ``wanted`` are the passwords that root is going to have besides those that it has.
    """
    auths = _auths(_object(_text(_config_path())))
    auths.update({canonical(str(w["address"])): auth_of(str(w["user"]), str(w["password"])) for w in wanted})
    docker = Docker(path, SECONDS)
    with ThreadPoolExecutor(max_workers=8) as pool:
        found = list(zip(images, pool.map(lambda image: _one(docker, auths, image), images)))
    return {
        "known": {image: known for image, (known, _why) in found if known},
        "unknown": {image: why for image, (known, why) in found if not known},
    }
