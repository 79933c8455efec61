"""Makes a bundle on the controller: each image pulled or built there, saved, named in the manifest, which is signed."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess
import tempfile
import time
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence

from ansible_collections.landfall.vps.plugins.module_utils import compose, context, images
from ansible_collections.landfall.vps.plugins.plugin_utils import bundles
from ansible_collections.landfall.vps.plugins.plugin_utils.bundles import BundleError
from ansible_collections.landfall.vps.plugins.plugin_utils.shipping import archive, archive_name, lost_archives

SECONDS = 3600
NO_KEY = (
    "sign_with: names no SSH key to sign the bundle with; -e sign_with=~/.ssh/id_ed25519, whose .pub file goes into "
)
NO_KEY += "landfall_bundle_signers of the inventory"
Say = Callable[[str], None]


def blank(root: str, machine: str = "") -> Dict[str, Any]:
    """The state of a VPS on which there is nothing yet, as ``host.gather`` tells it."""
    engine = {"installed": True, "running": True, "compose": "", "buildx": True, "version": "", "data_root": "",
              "error": "", "setup": {}, "logins": {}}  # fmt: skip
    empty: Dict[str, Any] = {
        name: {} for name in ("network", "containers", "images", "networks", "volumes", "files", "records",
                              "bad_records", "timers", "texts")
    }  # fmt: skip
    lists: Dict[str, Any] = {name: [] for name in ("leftovers", "releases", "deployed_before", "homes")}
    more = {"format": 1, "root": root, "host": {"architecture": machine}, "engine": engine, "been_here": False}
    return {**empty, **lists, **more, "lock": None}


def needed(planned: Sequence[Any]) -> Dict[str, Optional[Mapping[str, Any]]]:
    """Image to how it is built, None for one that is pulled, of components that are ``planned``. Raises BundleError."""
    found: Dict[str, Optional[Mapping[str, Any]]] = {}
    for one in planned:
        builds = {str(build["image"]): build for build in one.options.get("build") or []}
        for container in one.rendered.desired.containers.values():
            if "@" in container.image:
                form = "{0}: {1} is named by its digest, which no archive keeps; name it by its tag to bundle it"
                raise BundleError(form.format(one.name, container.image))
            found[container.image] = builds.get(container.image)
    return dict(sorted(found.items()))


def lost(planned: Sequence[Any], state: Mapping[str, Any], args: Mapping[str, Any]) -> List[str]:
    """Why images that are missing on the VPS cannot be had without a registry: of a bundle, or of archives."""
    missing = {image for one in planned for image in one.plan.missing_images}
    if state.get("bundle"):
        return bundles.faults(os.path.expanduser(str(args["bundle"])), state["bundle"], missing)
    # Without an engine nobody knows yet what there is
    if args.get("images") != "offline" or not state["engine"]["running"]:
        return []
    built = {str(build["image"]) for one in planned for build in one.options.get("build") or []}
    folder = str(args.get("archives") or "")
    gone = sorted(image for image in missing - built if not archive(folder, image))
    return [lost_archives(gone, folder)] if gone else []


def make(
    folder: str, key: str, run: str, by: str, wanted: Mapping[str, Optional[Mapping[str, Any]]], say: Say
) -> Dict[str, Any]:
    """Bring the bundle in ``folder`` to hold the ``wanted`` images; returns its manifest. Raises BundleError, OSError.

    Hosts of one ``run`` share a bundle: each adds what it needs.
    """
    if not key or not os.path.isfile(os.path.expanduser(key)):
        raise BundleError(NO_KEY if not key else "sign_with: there is no file {0}; {1}".format(key, NO_KEY))
    os.makedirs(os.path.join(folder, bundles.IMAGES), exist_ok=True)
    with _alone(folder):
        before = _read(folder)
        same = before.get("run") == run
        manifest: Dict[str, Any] = {
            "format": bundles.FORMAT,
            "run": run,
            "by": by,
            "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "images": dict(before.get("images") or {}) if same else {},
        }
        # Whoever finds the old signature beside new archives would be right to refuse them
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(folder, bundles.SIGNATURE))
        for image, build in wanted.items():
            if image not in manifest["images"]:
                manifest["images"][image] = _save(folder, image, build, say)
        _sign(folder, manifest, os.path.expanduser(key))
        _sweep(folder, manifest, say)
    return manifest


def in_words(count: int, folder: str, rehearsing: bool) -> str:
    """What is told of a bundle that was made, or would be."""
    one = count == 1
    are = "would be" if rehearsing else "is" if one else "are"
    return "{0} image{1} {2} in {3}".format(count, "" if one else "s", are, folder)


@contextlib.contextmanager
def _alone(folder: str) -> Iterator[None]:
    with open(os.path.join(folder, ".lock"), "w", encoding="utf-8") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _read(folder: str) -> Dict[str, Any]:
    try:
        with open(os.path.join(folder, bundles.MANIFEST), encoding="utf-8") as handle:
            found = json.load(handle)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _inspect(image: str) -> Optional[Dict[str, Any]]:
    try:
        found = json.loads(compose.run(["docker", "image", "inspect", image], bundles.SECONDS))
    except compose.CommandFailed as error:
        if "cannot be run" in str(error) or "connect to the Docker daemon" in str(error):
            raise BundleError("{0}; a bundle is made where a Docker engine runs".format(error)) from error
        return None
    return dict(found[0])


def _save(folder: str, image: str, build: Optional[Mapping[str, Any]], say: Say) -> Dict[str, Any]:
    """Have an image here and save it; returns what the manifest says of it."""
    told = _inspect(image)
    try:
        if told is None:
            say("{0} {1}".format("building" if build else "pulling", image))
            _provide(image, build)
            told = _inspect(image)
    except (compose.CommandFailed, context.ContextError) as error:
        raise BundleError("{0}: {1}".format(image, error)) from error
    if told is None:
        raise BundleError("{0}: is not there although it was provided".format(image))
    name = archive_name(image) + ".tar"
    path = os.path.join(folder, bundles.IMAGES, name)
    say("saving {0}".format(image))
    with open(path + ".new", "wb") as handle:
        done = subprocess.run(
            ["docker", "save", image], stdout=handle, stderr=subprocess.PIPE, check=False, timeout=SECONDS,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    if done.returncode != 0:
        os.unlink(path + ".new")
        raise BundleError("{0}: docker save failed: {1}".format(image, done.stderr.decode("utf-8", "replace").strip()))
    os.replace(path + ".new", path)
    return {
        "archive": name,
        "size": os.path.getsize(path),
        "sha256": bundles.sha256(path),
        "id": str(told.get("Id") or ""),
        "digests": sorted(str(one) for one in told.get("RepoDigests") or []),
        "architecture": str(told.get("Architecture") or ""),
        "built": build is not None,
    }


def _provide(image: str, build: Optional[Mapping[str, Any]]) -> None:
    if build is None:
        images.pull(image, SECONDS)
        return
    path, dockerfile = str(build["context"]), build.get("dockerfile") or "Dockerfile"
    with tempfile.TemporaryDirectory(prefix="landfall-context-") as place:
        tar = os.path.join(place, "context.tar.gz")
        with open(tar, "wb") as handle:
            context.pack(path, dockerfile, handle)
        sent = {**build, "tar": [tar], "dockerfile": context.sent_dockerfile(path, dockerfile)}
        images.provide_image(image, [sent], {}, SECONDS)


def _sign(folder: str, manifest: Mapping[str, Any], key: str) -> None:
    path = os.path.join(folder, bundles.MANIFEST)
    with open(path + ".new", "w", encoding="utf-8") as handle:
        json.dump(manifest, handle, indent=1, sort_keys=True)
    os.replace(path + ".new", path)
    try:
        bundles.ssh_keygen(["sign", "-q", "-f", key, "-n", bundles.NAMESPACE, path])
    except BundleError as error:
        form = "sign_with: {0} cannot sign ({1}); use one without a passphrase, or its .pub file with an ssh-agent"
        raise BundleError(form.format(key, error)) from error


def _sweep(folder: str, manifest: Mapping[str, Any], say: Say) -> None:
    """Remove archives that an earlier bundle in this folder had."""
    kept = {str(one["archive"]) for one in manifest["images"].values()}
    gone: List[str] = []
    for name in sorted(os.listdir(os.path.join(folder, bundles.IMAGES))):
        if name not in kept and name.endswith((".tar", ".new")):
            os.unlink(os.path.join(folder, bundles.IMAGES, name))
            gone.append(name)
    if gone:
        say("removed of an earlier bundle: " + ", ".join(gone))
