"""Programs that tests run, each with all its files: leftovers of a machine (its PATH, its /usr/share) never count.

Those that need nothing but themselves come from Debian's packages, unpacked whole below ``.cache/programs``. Those that
read files of their package at fixed places run in the very image that the test bed builds.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from tests import rolekit

PROGRAMS = rolekit.ROOT / ".cache" / "programs"
SUITE = "forky"
# What no program reads while it runs
DOCUMENTS = ("usr/share/doc/", "usr/share/man/", "usr/share/lintian/", "usr/share/bash-completion/")

sys.path.append(str(rolekit.ROOT / "molecule"))
from testbed import catalog, debian, images, paths
from testbed.paths import TestbedError

Unusable = TestbedError
locked = paths.locked


def fixed_places(program: Path, root: Path) -> list[str]:
    """Return the files and folders of an unpacked package that a program names by their places on a machine.

    :param program: the program
    :param root: where its package was unpacked
    """
    content = program.read_bytes()
    files = [path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()]
    read = [name for name in files if name.startswith("usr/share/") and not name.startswith(DOCUMENTS)]
    places = {f"/{name}" for name in read} | {f"/{name.rpartition('/')[0]}" for name in read}
    return sorted(place for place in places if place.encode() in content)


@cache
def from_debian(name: str, package: str, place: str = "usr/bin", unread: str = "") -> str:
    """Return the path of a program in its unpacked package, fetched once.

    :param place: its folder in the package
    :param unread: the place of files that it would read, but not for what it is here for
    :raises TestbedError: if Debian's archive cannot be reached, or the program needs files at fixed places
    """
    home = PROGRAMS / package
    program = home / place / name
    with paths.locked(PROGRAMS / f"{package}.lock"):
        if not program.is_file():
            (deb,) = debian.download(SUITE, (package,))
            with tempfile.TemporaryDirectory(dir=PROGRAMS) as folder:
                subprocess.run(["dpkg-deb", "-x", str(deb), f"{folder}/root"], check=True)
                Path(f"{folder}/root").rename(home)
    fixed = [path for path in fixed_places(program, home) if not unread or not path.startswith(unread)]
    if fixed:
        raise TestbedError(f"{name} reads {', '.join(fixed)}: run it in its image, programs.in_image()")
    return str(program)


@cache
def _tag(image: str) -> str:
    reference = catalog.load()[image].reference
    try:
        images.build_all((image,))
    except FileNotFoundError as error:
        raise TestbedError(
            f"the tests of {image} run it in a container, and there is no engine: `make engine`"
        ) from error
    return images.tag_of(reference)


def in_image(image: str, program: str, *folders: Path) -> list[str]:
    """Return the command that runs a program of one of the test bed's images; its arguments follow.

    It has this machine's network and the caller's user, ends when the command is told to (SIGTERM, not SIGKILL, which
    would end the client alone), and leaves nothing.

    :param image: name in molecule/images/catalog.yml; it is built if need be
    :param program: its path in the image
    :param folders: what it can see of this machine, at the same paths
    """
    shown = [part for folder in folders for part in ("--volume", f"{folder}:{folder}")]
    return ["docker", "run", "--rm", "--network", "host", "--user", f"{os.getuid()}:{os.getgid()}", *shown,
            "--entrypoint", program, _tag(image)]  # fmt: skip
