"""Bundles: a folder with all images that a stack needs, a manifest of their digests, and the manifest's signature.

``manifest.json`` names each image with its archive below ``images/``, size and sha256; ``manifest.json.sig`` is what
``ssh-keygen -Y sign`` made of it. Both are read on the controller; nothing of an archive is read before they are right.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tempfile
from typing import Any, Dict, Iterable, List, Mapping, Sequence

MANIFEST, SIGNATURE, IMAGES = "manifest.json", "manifest.json.sig", "images"
FORMAT = 1
NAMESPACE = "landfall-bundle"
SIGNER = "landfall"
SECONDS = 60
AGAIN = "make the bundle again (playbooks/bundle.yml), or copy it again"


class BundleError(Exception):
    """A bundle cannot be used; the message names the file and says what would be right."""


def ssh_keygen(arguments: Sequence[str], text: bytes = b"") -> str:
    """What ssh-keygen says. Raises BundleError with its last line, or where there is none of OpenSSH 8.1 or newer."""
    try:
        done = subprocess.run(
            ["ssh-keygen", "-Y", *arguments], input=text, capture_output=True, check=False, timeout=SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BundleError("ssh-keygen cannot be run here ({0}); install OpenSSH's client".format(error)) from error
    said = (done.stdout + done.stderr).decode("utf-8", "replace").strip()
    if done.returncode != 0:
        raise BundleError(said.splitlines()[-1] if said else "ssh-keygen ended with {0}".format(done.returncode))
    return said


def sha256(path: str) -> str:
    """The digest of a file. Raises OSError."""
    digest = hashlib.sha256()
    with open(path, "rb") as handle:
        for block in iter(lambda: handle.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def load(folder: str, signers: Any, variable: str = "landfall_bundle_signers") -> Dict[str, Any]:
    """The manifest of a bundle, once a key of ``signers`` has signed it. Raises BundleError."""
    manifest, signature = os.path.join(folder, MANIFEST), os.path.join(folder, SIGNATURE)
    if not isinstance(signers, (list, tuple)) or not signers or not all(isinstance(one, str) for one in signers):
        form = "{0}: names nobody; write the line of the .pub file of each key that may sign bundles"
        raise BundleError(form.format(variable))
    for path in (manifest, signature):
        if not os.path.isfile(path):
            form = "landfall_bundle: {0} is not there; {1}, or leave landfall_bundle empty to pull images"
            raise BundleError(form.format(path, AGAIN))
    with open(manifest, "rb") as handle:
        text = handle.read()
    _verify(text, manifest, signature, signers, variable)
    try:
        found = json.loads(text)
        images = found["images"]
        whole = found["format"] == FORMAT and all(set(one) >= {"archive", "size", "sha256"} for one in images.values())
    except (ValueError, KeyError, TypeError, AttributeError):
        whole = False
    if not whole:
        form = "landfall_bundle: {0} is of another version of Landfall; make the bundle with the one that deploys it"
        raise BundleError(form.format(manifest))
    return dict(found)


def _verify(text: bytes, manifest: str, signature: str, signers: Sequence[str], variable: str) -> None:
    """Raise BundleError unless ``signature`` is one of ``text`` by one of the ``signers``."""
    lines = []
    for index, line in enumerate(signers):
        words = line.split()
        if len(words) < 2 or len(line.strip().splitlines()) != 1 or "PRIVATE KEY" in line:
            form = "{0}[{1}]: is no public key; write the line of the .pub file, such as 'ssh-ed25519 AAAA… release'"
            raise BundleError(form.format(variable, index))
        lines.append('{0} namespaces="{1}" {2} {3}\n'.format(SIGNER, NAMESPACE, words[0], words[1]))
    with tempfile.TemporaryDirectory(prefix="landfall-bundle-") as place:
        allowed = os.path.join(place, "signers")
        with open(allowed, "w", encoding="utf-8") as handle:
            handle.writelines(lines)
        try:
            ssh_keygen(["verify", "-f", allowed, "-I", SIGNER, "-n", NAMESPACE, "-s", signature], text)
        except BundleError as error:
            form = (
                "landfall_bundle: {0} is not signed by a key of {1} ({2}): it was changed, or is somebody else's; {3}, "
                "or name the key that signed it if you trust it"
            )
            raise BundleError(form.format(manifest, variable, error, AGAIN)) from error


def faults(folder: str, manifest: Mapping[str, Any], needed: Iterable[str]) -> List[str]:
    """What is wrong with the archives of the images that are ``needed``, and with what lies beside them."""
    found = []
    place, signed = os.path.join(folder, IMAGES), {str(one["archive"]) for one in manifest["images"].values()}
    added = sorted(set(os.listdir(place) if os.path.isdir(place) else ()) - signed)
    if added:
        form = "landfall_bundle: {0} has files that were not signed ({1}); find out who put them there, remove them"
        found.append(form.format(place, ", ".join(added[:3])))
    for image in sorted(set(needed)):
        told = manifest["images"].get(image)
        if told is None:
            form = "landfall_bundle: {0} has no {1}; make the bundle again with this inventory (playbooks/bundle.yml)"
            found.append(form.format(folder, image))
            continue
        path = os.path.join(folder, IMAGES, str(told["archive"]))
        if os.path.basename(path) != told["archive"]:
            found.append("landfall_bundle: {0} names an archive elsewhere, {1}".format(folder, told["archive"]))
        elif not os.path.isfile(path):
            found.append("landfall_bundle: {0}, the archive of {1}, is not there; {2}".format(path, image, AGAIN))
        elif os.path.getsize(path) != told["size"]:
            form = "landfall_bundle: {0}, the archive of {1}, has {2} bytes, and had {3} when it was signed; {4}"
            found.append(form.format(path, image, os.path.getsize(path), told["size"], AGAIN))
        elif sha256(path) != told["sha256"]:
            form = "landfall_bundle: {0}, the archive of {1}, is not what was signed; {2}"
            found.append(form.format(path, image, AGAIN))
    return found


def architectures(manifest: Mapping[str, Any]) -> Dict[str, List[str]]:
    """For which machine each image is built."""
    found = {image: str(one.get("architecture") or "") for image, one in manifest["images"].items()}
    return {image: [one] for image, one in found.items() if one}


def digests(manifest: Mapping[str, Any]) -> Dict[str, str]:
    """Image to the sha256 of its archive."""
    return {image: str(one["sha256"]) for image, one in manifest["images"].items()}
