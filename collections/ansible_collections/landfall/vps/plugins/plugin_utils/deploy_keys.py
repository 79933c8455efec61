"""SSH keys that may do nothing but deploy: judged, and turned into what sshd and the program on the VPS read."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any, Dict, List, Mapping, Sequence

from ansible_collections.landfall.vps.plugins.module_utils.deployer import DEPLOY, PLAN, RELEASES, ROLLBACK

VERBS = (PLAN, DEPLOY, ROLLBACK, RELEASES)
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
KINDS = re.compile(
    r"ssh-ed25519|ecdsa-sha2-nistp(256|384|521)|ssh-rsa|sk-(ssh-ed25519|ecdsa-sha2-nistp256)@openssh\.com"
)
LINE = 'restrict,command="exec sudo -n {program} {name} \\"$SSH_ORIGINAL_COMMAND\\"" {kind} {blob} {name}'


class KeyFault(ValueError):
    """A key cannot be used; the message names the variable and says what would be right, and no key."""


def _parts(text: Any, where: str) -> List[str]:
    """``[kind, base64]`` of a line of a .pub file. Raises KeyFault, which does not repeat what may be a secret."""
    form = "{0}.key: {1}; write the one line of the .pub file, such as 'ssh-ed25519 AAAA… ci'"
    if not isinstance(text, str) or "PRIVATE KEY" in text:
        raise KeyFault(form.format(where, "is no public key"))
    words = text.split()
    if len(text.strip().splitlines()) != 1 or len(words) < 2 or not KINDS.fullmatch(words[0]):
        raise KeyFault(form.format(where, "is no public key, or has options before it"))
    try:
        blob = base64.b64decode(words[1], validate=True)
    except (ValueError, binascii.Error):
        raise KeyFault(form.format(where, "is damaged")) from None
    kind = words[0].encode()
    if blob[: 4 + len(kind)] != len(kind).to_bytes(4, "big") + kind or len(blob) <= 4 + len(kind):
        raise KeyFault(form.format(where, "is damaged: it is not of the kind that it says"))
    return words[:2]


def judged(keys: Any, variable: str) -> List[Dict[str, Any]]:
    """The keys with all that may be left out. Raises KeyFault."""
    if not isinstance(keys, list):
        raise KeyFault("{0}: is no list; write [{{name: github, key: 'ssh-ed25519 AAAA… ci'}}]".format(variable))
    found: List[Dict[str, Any]] = []
    for index, item in enumerate(keys):
        where = "{0}[{1}]".format(variable, index)
        if not isinstance(item, Mapping) or set(item) - {"name", "key", "may"}:
            raise KeyFault("{0}: is not made of name, key and may".format(where))
        name, may = item.get("name"), item.get("may") or [PLAN, DEPLOY, RELEASES]
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise KeyFault("{0}.name: '{1}' is no name; write up to 32 of a-z, 0-9 and -".format(where, name))
        if not isinstance(may, list) or [verb for verb in may if verb not in VERBS]:
            raise KeyFault("{0}.may: {1} is no list of {2}".format(where, may, ", ".join(VERBS)))
        kind, blob = _parts(item.get("key"), where)
        for other in found:
            if other["name"] == name or other["blob"] == blob:
                what = "name" if other["name"] == name else "key"
                raise KeyFault("{0}.{1}: {2} has the same; sshd would take the first alone".format(
                    where, what, other["where"]))  # fmt: skip
        found.append({"name": name, "may": [str(verb) for verb in may], "kind": kind, "blob": blob, "where": where})
    return found


def lines(keys: Sequence[Mapping[str, Any]], program: str) -> str:
    """The file authorized_keys."""
    return "".join(LINE.format(program=program, **key) + "\n" for key in keys)
