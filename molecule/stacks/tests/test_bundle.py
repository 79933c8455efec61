"""A bundle: made of an inventory, and deployed from where no registry has the image; one that was spoilt is refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from testbed import images, probe
from testbed.paths import CHECKOUT, ROOT

PLAY = "molecule/stacks/converge.yml"
ALL = {path.name for path in (ROOT / "roles").iterdir()} - {"landfall", "verify"}
# No registry has it: there is no such machine
IMAGE = f"bundle.landfall.test/redis:{CHECKOUT}"
STACK: dict[str, Any] = {
    "landfall_prefix": "b-",
    "landfall_subnet": "172.30.2.0/24",
    "landfall_images": "registry",
    "redis_image": IMAGE,
}


def play(values: dict[str, Any], *argv: str, name: str = PLAY) -> tuple[str, dict[str, int], int]:
    text, figures, status = probe.playbook("-e", json.dumps({**STACK, **values}), *argv, name=name)
    return " ".join(text.split()), figures, status


def new_key(path: Path) -> str:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path.with_suffix(".pub").read_text().strip()


@pytest.fixture(scope="module", name="signed")
def fixture_signed(host: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """A bundle that this machine's engine made, and what an inventory says that deploys from it."""
    folder = tmp_path_factory.mktemp("bundle")
    signer = new_key(folder / "release")
    reference = probe.containers(host)["staging-redis"]["Config"]["Image"]
    known = json.loads(images.TAGS.read_text())
    if reference not in known:  # the test bed did not build it, so there is a registry that has it
        subprocess.run(["docker", "pull", "--quiet", reference], check=True)
    subprocess.run(["docker", "tag", known.get(reference, reference), IMAGE], check=True)
    off = {f"{role}_enabled": False for role in ALL - {"redis"}}
    argv = ("-e", f"into={folder / 'made'}", "-e", f"sign_with={folder / 'release'}")
    try:
        text, _figures, status = play(off, *argv, name="playbooks/bundle.yml")
    finally:
        subprocess.run(["docker", "rmi", IMAGE], check=True, capture_output=True)
    assert status == 0, text
    yield {"landfall_bundle": str(folder / "made"), "landfall_bundle_signers": [signer]}
    play({"redis_enabled": False, "landfall_purge_volumes": True}, "--tags", "redis")
    host.run("docker rmi %s", IMAGE)


def flip(path: Path) -> None:
    """Change a bit in the middle of a file."""
    with path.open("r+b") as handle:
        handle.seek(path.stat().st_size // 2)
        (byte,) = handle.read(1)
        handle.seek(-1, os.SEEK_CUR)
        handle.write(bytes([byte ^ 1]))


def archive(folder: Path) -> Path:
    (found,) = (folder / "images").glob("*.tar")
    return found


SPOILT: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a bit": (lambda folder: flip(archive(folder)), f"the archive of {IMAGE}, is not what was signed"),
    "added": (lambda folder: (folder / "images/more.tar").touch(), "has files that were not signed (more.tar)"),
    "manifest": (lambda folder: flip(folder / "manifest.json"), "is not signed by a key of landfall_bundle_signers"),
    "signature": (lambda folder: (folder / "manifest.json.sig").unlink(), "manifest.json.sig is not there"),
}


def refused(host: Any, values: dict[str, Any], words: str, *argv: str) -> None:
    text, figures, status = play(values, "--tags", "redis", *argv)
    assert status != 0 and figures["changed"] == 0, text
    assert words in text and "nothing was changed" in text, text
    assert "b-redis" not in probe.containers(host) and host.run("docker image inspect %s", IMAGE).rc != 0
    assert not host.file("/opt/b-landfall/redis").exists


@pytest.mark.parametrize("what", SPOILT)
def test_a_bundle_that_was_spoilt_is_refused(host: Any, signed: dict[str, Any], what: str, tmp_path: Path) -> None:
    spoil, words = SPOILT[what]
    copy = tmp_path / "copy"
    shutil.copytree(signed["landfall_bundle"], copy)
    spoil(copy)
    refused(host, {**signed, "landfall_bundle": str(copy)}, words)


def test_a_signer_that_nobody_named_is_refused(host: Any, signed: dict[str, Any], tmp_path: Path) -> None:
    values = {**signed, "landfall_bundle_signers": [new_key(tmp_path / "other")]}
    refused(host, values, "is not signed by a key of landfall_bundle_signers", "--check")


def test_what_was_bundled_is_deployed_without_a_registry(host: Any, signed: dict[str, Any]) -> None:
    text, figures, status = play(signed, "--tags", "redis")
    assert status == 0 and figures["changed"] > 0, text
    found = probe.containers(host)["b-redis"]
    assert found["Config"]["Image"] == IMAGE and found["State"]["Health"]["Status"] == "healthy"
    manifest = json.loads((Path(signed["landfall_bundle"]) / "manifest.json").read_text())
    assert probe.output(host, "docker", "image", "inspect", "--format", "{{.Id}}", IMAGE).strip() == found["Image"]
    assert set(manifest["images"]) == {IMAGE}
    # Its archives are not needed any more
    text, figures, status = play(signed, "--tags", "redis")
    assert status == 0 and figures["changed"] == 0, text
