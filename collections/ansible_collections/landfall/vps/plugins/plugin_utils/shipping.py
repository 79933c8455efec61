"""Brings archives and build contexts of missing images to the VPS: each context once, in parts, with progress."""

from __future__ import annotations

import os
import tempfile
from typing import Any, Callable, Dict, Iterable, List, Mapping, Sequence, Tuple

from ansible_collections.landfall.vps.plugins.module_utils import context, units

ARCHIVE_SUFFIXES = (".tar", ".tar.gz", ".tar.zst")
PART = 64 << 20
"""Bytes of a tar that wait on the controller's disk before they are sent."""
BUILT_HERE = "landfall/"


class ShippingError(Exception):
    """An image cannot be brought to the VPS; the message says what would be right."""


class _Parts:
    """A file that is written to and sent in pieces: never more than one of them lies on the controller."""

    def __init__(self, name: str, folder: str, send: Callable[[str], str], said: Callable[[int], None]) -> None:
        self.paths: List[str] = []
        self._name, self._folder, self._send, self._said = name, folder, send, said
        self._sent = 0
        self._open()

    def _open(self) -> None:
        self._path = os.path.join(self._folder, "{0}.{1:03d}".format(self._name, len(self.paths)))
        self._file = open(self._path, "wb")  # noqa: SIM115 - closed when it is full

    def write(self, data: bytes) -> int:
        self._file.write(data)
        if self._file.tell() >= PART:
            self._ship()
            self._said(self._sent)
            self._open()
        return len(data)

    def flush(self) -> None:
        self._file.flush()

    def _ship(self) -> None:
        self._sent += self._file.tell()
        self._file.close()
        self.paths.append(self._send(self._path))
        os.unlink(self._path)

    def close(self) -> None:
        self._ship()


class Shipping:
    """``send`` copies a file of the controller to the VPS and returns its path there; ``say`` prints a line."""

    def __init__(self, send: Callable[[str], str], say: Callable[[str], None], archives: str, limit: str) -> None:
        self._send, self._say, self._archives, self._limit = send, say, archives, limit

    def images(
        self, missing: Iterable[str], builds: Sequence[Mapping[str, Any]], present: Iterable[str], offline: bool
    ) -> Tuple[List[Dict[str, Any]], Dict[str, str]]:
        """What the VPS needs to provide the ``missing`` images: ``(builds, archives)`` of the request.

        An image that is built from the same context, in the same way, as one that is ``present`` or was built a moment
        ago is tagged. Raises ShippingError, ContextError, OSError.
        """
        wanted = [(image, archive(self._archives, image), _build(builds, image)) for image in sorted(missing)]
        lost = [image for image, saved, build in wanted if not saved and build is None]
        if offline and lost:
            raise ShippingError(lost_archives(lost, self._archives))
        same = {_tag(image): image for image in present if image.startswith(BUILT_HERE)}
        sent: List[Dict[str, Any]] = []
        loaded: Dict[str, str] = {}
        for image, saved, build in wanted:
            if saved:
                loaded[image] = self._send(saved)
            elif build is None:
                self._say("pulling {0}".format(image))
            elif _tag(image) in same:
                sent.append({"image": image, "twin": same[_tag(image)]})
            else:
                same[_tag(image)] = image
                sent.append({**build, **self._context(image, build)})
        return sent, loaded

    def _context(self, image: str, build: Mapping[str, Any]) -> Dict[str, Any]:
        path, dockerfile = str(build["context"]), build.get("dockerfile") or "Dockerfile"
        fault = context.size_fault(path, dockerfile, units.size(self._limit))
        if fault:
            raise ShippingError("{0}, or raise landfall_context_limit ({1})".format(fault, self._limit))
        found = context.entries(path, dockerfile)
        total = context.size(found) / 1e6
        self._say("sending the build context of {0} ({1:.1f} MB in {2} files)".format(image, total, len(found)))
        with tempfile.TemporaryDirectory(prefix="landfall-context-") as folder:
            name = "context-{0}.tar.gz".format(_tag(image))
            parts = _Parts(name, folder, self._send, lambda sent: self._say(_progress(image, sent, total)))
            context.pack(path, dockerfile, parts)
            parts.close()
        self._say("building {0}".format(image))
        return {"tar": parts.paths, "dockerfile": context.sent_dockerfile(path, dockerfile)}


def _progress(image: str, sent: int, total: float) -> str:
    return "  {0}: {1:.0f} MB sent, compressed from {2:.0f} MB in all".format(image, sent / 1e6, total)


def _tag(image: str) -> str:
    return image.rsplit(":", 1)[-1]


def _build(builds: Sequence[Mapping[str, Any]], image: str) -> Mapping[str, Any] | None:
    return next((build for build in builds if build["image"] == image), None)


def archive_name(image: str) -> str:
    """The name of an image's archive without its suffix."""
    return image.replace("/", "_").replace(":", "_")


def lost_archives(images: Sequence[str], folder: str) -> str:
    """What is told of images that are to come from archives and have none."""
    return (
        "landfall_images is offline, and {0} is neither on the VPS nor an archive in {1}; put {2} there or set "
        "landfall_images to registry".format(
            " and ".join(images),
            folder or "landfall_image_archives",
            " and ".join(archive_name(image) + ".tar" for image in images),
        )
    )


def archive(folder: str, image: str) -> str:
    """The archive (docker save) of an image in a folder on the controller; empty when there is none."""
    base = os.path.join(folder, archive_name(image))
    return next((base + suffix for suffix in ARCHIVE_SUFFIXES if folder and os.path.exists(base + suffix)), "")
