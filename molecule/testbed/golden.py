"""Volumes that are /var/lib/docker of a server which already holds images: copied, where loading would take minutes."""

from __future__ import annotations

import hashlib
import json
import secrets
import subprocess

from . import images, vps
from .paths import CACHE, ROOT, Progress, TestbedError, locked, run

PREFIX = "landfall-golden-"
WHOLE = "/v/.landfall-whole"
TRIES = 3


def lay_down(references: list[str], target: str, progress: Progress) -> None:
    """Fill an empty volume with an engine's data that holds these images.

    :param references: what the roles call them
    :param target: name of the volume
    :param progress: where the time it took is said
    :raises TestbedError: if other checkouts took the golden volume away each time
    """
    for _ in range(TRIES):
        copy(golden(references, progress), target)
        if is_whole(target):
            progress.say(f"{len(references)} images laid into /var/lib/docker")
            return
    raise TestbedError(f"{target}: the volume it is copied from was removed meanwhile, {TRIES} times")


def golden(references: list[str], progress: Progress) -> str:
    """Return the golden volume with these images; make it if there is none.

    Checkouts share them by content. Each has a name of its own, so two checkouts never write into one, and each is
    removed by the checkout that made it, which may be while another copies: lay_down() sees that.
    """
    tags = {reference: images.tag_of(reference) for reference in sorted(references)}
    ids = {ref: run("docker", "image", "inspect", "--format", "{{.Id}}", tag) for ref, tag in tags.items()}
    content = PREFIX + hashlib.sha256(json.dumps(ids).encode()).hexdigest()[:12]
    with locked(CACHE / "vps" / "golden.lock"):
        for volume in sorted(named(content)):
            if is_whole(volume):
                return volume
        for old in mine():
            # One that a copy is being made from right now stays
            subprocess.run(["docker", "volume", "rm", old], capture_output=True, check=False)
        token = secrets.token_hex(3)
        seed, volume = f"landfall-seed-{token}", f"{content}-{token}"
        try:
            run("docker", "volume", "create", *vps.labels(volume), volume)
            fill(seed, tags)
            copy(f"{seed}-docker", volume)
            in_volume(volume, "touch", WHOLE)
        finally:
            vps.discard(seed)
    progress.say(f"golden volume with {len(ids)} images made")
    return volume


def named(prefix: str) -> list[str]:
    """Return the volumes whose names begin so."""
    return run("docker", "volume", "ls", "--quiet", "--filter", f"name=^{prefix}").split()


def mine() -> list[str]:
    """Return the golden volumes that this checkout made."""
    made = run("docker", "volume", "ls", "--quiet", "--filter", f"label={vps.LABEL_CHECKOUT}={ROOT}",
               "--filter", f"name=^{PREFIX}")  # fmt: skip
    return made.split()


def fill(seed: str, tags: dict[str, str]) -> None:
    """Start a server, load images into its engine, and stop the engine so that its files are at rest.

    :param seed: container
    :param tags: what the roles call an image -> what this machine does
    """
    vps.start(seed, seed, images.tag_of("landfall/vps-docker:testbed"))
    with subprocess.Popen(["docker", "save", *tags.values()], stdout=subprocess.PIPE) as save:
        load = subprocess.run(["docker", "exec", "--interactive", seed, "docker", "load", "--quiet"], stdin=save.stdout,
                              capture_output=True, check=False, text=True)  # fmt: skip
    if save.returncode or load.returncode:
        raise TestbedError(
            f"docker save ended with {save.returncode}, docker load with {load.returncode}: {load.stderr}"
        )
    renamed = "".join(f"docker tag {tag} {ref} && docker rmi {tag} >/dev/null || exit 1\n" for ref, tag in tags.items())
    run("docker", "exec", seed, "sh", "-c", renamed)
    run("docker", "exec", seed, "systemctl", "stop", "docker.socket", "docker.service", "containerd.service")
    run("docker", "exec", seed, "rm", "-f", "/var/lib/docker/engine-id")


def in_volume(volume: str, *argv: str) -> None:
    """Run a program that sees a volume as /v; it raises TestbedError where the program fails."""
    run("docker", "run", "--rm", "--network", "none", "--volume", f"{volume}:/v", "--entrypoint", argv[0],
        images.tag_of("landfall/vps:testbed"), *argv[1:])  # fmt: skip


def is_whole(volume: str) -> bool:
    """Say whether a golden volume, or a copy, was finished: an interrupted one looks like it otherwise."""
    try:
        in_volume(volume, "test", "-f", WHOLE)
    except TestbedError:
        return False
    return True


def copy(source: str, target: str) -> None:
    """Copy a volume with owners, modes and extended attributes."""
    run("docker", "run", "--rm", "--network", "none", "--volume", f"{source}:/a:ro", "--volume", f"{target}:/b",
        "--entrypoint", "cp", images.tag_of("landfall/vps:testbed"), "-a", "/a/.", "/b/")  # fmt: skip
