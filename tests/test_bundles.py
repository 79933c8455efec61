"""Bundles: all images of an inventory, signed; what was changed, cut off, left out or signed by others is refused."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.landfall.vps.plugins.module_utils import compose, host, images
from ansible_collections.landfall.vps.plugins.module_utils.plan import Container
from ansible_collections.landfall.vps.plugins.plugin_utils import bundles, bundling
from ansible_collections.landfall.vps.plugins.plugin_utils.shipping import archive_name

from tests import rolekit

REDIS, SHOP = "redis:8.8.3-alpine", "registry.example.com:5000/acme/shop:1.2"
DOCKER = """#!/bin/sh
echo "$*" >>"{folder}/calls"
case "$1 $2" in
  "image inspect") [ -e "{folder}/lacks" ] && ! grep -qF "$3" "{folder}/calls.pulled" 2>/dev/null && exit 1
    echo '[{{"Id": "sha256:1", "Architecture": "amd64", "RepoDigests": ["x@sha256:2"]}}]' ;;
  pull*) echo "$2" >>"{folder}/calls.pulled" ;;
  "build --tag") cat >"{folder}/context.tar.gz"; echo "$3" >>"{folder}/calls.pulled" ;;
  save*) [ -e "{folder}/full" ] && exit 1; echo "archive of $2" ;;
esac
"""


def key(folder: Path, name: str) -> Path:
    path = folder / name
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True, timeout=60)
    return path


class Desk:
    """A machine with an engine, a key that signs, and a bundle of two images that it made."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.bundle = folder / "bundle"
        (folder / "bin").mkdir()
        (folder / "bin/docker").write_text(DOCKER.format(folder=folder))
        (folder / "bin/docker").chmod(0o755)
        patch.setenv("PATH", f"{folder}/bin:{os.environ['PATH']}")
        self.key = key(folder, "release")
        self.signers = [self.key.with_suffix(".pub").read_text()]
        self.said: list[str] = []

    def make(self, *names: str, run: str = "r1", by: str = "anna@laptop") -> dict[str, Any]:
        wanted = dict.fromkeys(names or (REDIS, SHOP))
        return bundling.make(str(self.bundle), str(self.key), run, by, wanted, self.said.append)

    def calls(self) -> list[str]:
        return (self.folder / "calls").read_text().splitlines()

    def load(self) -> dict[str, Any]:
        return bundles.load(str(self.bundle), self.signers)

    def faults(self, *needed: str) -> list[str]:
        return bundles.faults(str(self.bundle), self.load(), needed or (REDIS, SHOP))


@pytest.fixture(name="desk")
def fixture_desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk(tmp_path, monkeypatch)


def test_what_was_bundled_is_whole(desk: Desk) -> None:
    desk.make()
    manifest = desk.load()
    assert set(manifest["images"]) == {REDIS, SHOP} and desk.faults() == []
    told = manifest["images"][SHOP]
    assert (desk.bundle / "images" / told["archive"]).read_text() == f"archive of {SHOP}\n"
    assert told["archive"] == "registry.example.com_5000_acme_shop_1.2.tar" and told["architecture"] == "amd64"
    assert bundles.architectures(manifest) == {REDIS: ["amd64"], SHOP: ["amd64"]}
    assert not [call for call in desk.calls() if call.startswith("pull")]


def test_what_is_not_there_is_pulled_or_built(desk: Desk) -> None:
    (desk.folder / "lacks").touch()
    context = desk.folder / "context"
    context.mkdir()
    (context / "Dockerfile").write_text("FROM scratch\n")
    build = {"image": SHOP, "context": str(context), "args": {"A": "1"}}
    bundling.make(str(desk.bundle), str(desk.key), "r1", "anna", {REDIS: None, SHOP: build}, desk.said.append)
    assert f"pull {REDIS}" in desk.calls()
    assert f"build --tag {SHOP} --file Dockerfile --force-rm --build-arg A=1 -" in desk.calls()
    assert subprocess.run(["tar", "-tzf", str(desk.folder / "context.tar.gz")], capture_output=True, check=True,
                          text=True).stdout == "Dockerfile\n"  # fmt: skip
    assert desk.load()["images"][SHOP]["built"] is True


def test_hosts_of_one_run_share_a_bundle_and_the_next_run_begins_another(desk: Desk) -> None:
    desk.make(REDIS)
    desk.make(REDIS, SHOP)
    assert set(desk.load()["images"]) == {REDIS, SHOP} and desk.calls().count(f"save {REDIS}") == 1
    desk.make(SHOP, run="r2")
    assert set(desk.load()["images"]) == {SHOP}
    assert [path.name for path in (desk.bundle / "images").iterdir()] == [archive_name(SHOP) + ".tar"]
    assert desk.said[-1].startswith("removed of an earlier bundle: redis_8.8.3-alpine.tar")


def test_one_image_is_told_as_one() -> None:
    told = {(count, dry): bundling.in_words(count, "/b", dry) for count in (1, 2) for dry in (False, True)}
    assert (told[1, False], told[2, False]) == ("1 image is in /b", "2 images are in /b")
    assert (told[1, True], told[2, True]) == ("1 image would be in /b", "2 images would be in /b")


def test_a_bundle_that_could_not_be_finished_is_none(desk: Desk) -> None:
    desk.make()
    (desk.folder / "full").touch()
    with pytest.raises(bundles.BundleError, match="docker save failed"):
        desk.make(run="r2")
    with pytest.raises(bundles.BundleError, match=r"manifest\.json\.sig is not there; make the bundle again"):
        desk.load()
    assert not list((desk.bundle / "images").glob("*.new"))


def change(path: Path, old: bytes, new: bytes) -> None:
    before = path.read_bytes()
    assert old in before
    path.write_bytes(before.replace(old, new))


def sign_again(desk: Desk, **more: Any) -> None:
    """As somebody would who has the key, and another idea of the manifest."""
    manifest = desk.bundle / bundles.MANIFEST
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), **more}))
    (desk.bundle / bundles.SIGNATURE).unlink()
    bundles.ssh_keygen(["sign", "-q", "-f", str(desk.key), "-n", bundles.NAMESPACE, str(manifest)])


def of_another_purpose(desk: Desk) -> None:
    (desk.bundle / bundles.SIGNATURE).unlink()
    bundles.ssh_keygen(["sign", "-q", "-f", str(desk.key), "-n", "git", str(desk.bundle / bundles.MANIFEST)])


ARCHIVE = f"images/{archive_name(REDIS)}.tar"
SPOILED: dict[str, tuple[Callable[[Desk], Any], str]] = {
    "tampered": (lambda d: change(d.bundle / ARCHIVE, b"archive", b"orchive"), "redis_8.8.3-alpine.tar, the archive of "
                 "redis:8.8.3-alpine, is not what was signed; make the bundle again"),
    "truncated": (lambda d: os.truncate(d.bundle / ARCHIVE, 5), "has 5 bytes, and had 30 when it was signed"),
    "incomplete": (lambda d: (d.bundle / ARCHIVE).unlink(), "the archive of redis:8.8.3-alpine, is not there"),
    "added": (lambda d: (d.bundle / "images/redis_8.8.4-alpine.tar").touch(),
              "images has files that were not signed (redis_8.8.4-alpine.tar); find out who put them there"),
    "other image": (lambda d: d.make(SHOP, run="r2"), "has no redis:8.8.3-alpine; make the bundle again with this inv"),
    "manifest": (lambda d: change(d.bundle / bundles.MANIFEST, b"amd64", b"arm64"), "is not signed by a key of "
                 "landfall_bundle_signers"),
    "foreign key": (lambda d: setattr(d, "signers", [key(d.folder, "other").with_suffix(".pub").read_text()]),
                    "is not signed by a key of landfall_bundle_signers"),
    "other purpose": (of_another_purpose, "is not signed by a key of landfall_bundle_signers"),
    "no signature": (lambda d: (d.bundle / bundles.SIGNATURE).unlink(), "manifest.json.sig is not there"),
    "signature": (lambda d: change(d.bundle / bundles.SIGNATURE, b"SSH", b"XXX"), "is not signed by a key"),
    "empty signature": (lambda d: os.truncate(d.bundle / bundles.SIGNATURE, 0), "is not signed by a key"),
    "no manifest": (lambda d: (d.bundle / bundles.MANIFEST).unlink(), "manifest.json is not there"),
    "nobody": (lambda d: setattr(d, "signers", []), "landfall_bundle_signers: names nobody"),
    "private": (lambda d: setattr(d, "signers", [d.key.read_text()]), "landfall_bundle_signers[0]: is no public key"),
    "newer": (lambda d: sign_again(d, format=2), "is of another version of Landfall"),
    "odd": (lambda d: sign_again(d, images={REDIS: {}}), "is of another version of Landfall"),
    "elsewhere": (lambda d: sign_again(d, images={REDIS: {"archive": "../../etc/passwd", "size": 1, "sha256": ""}}),
                  "names an archive elsewhere, ../../etc/passwd"),
}  # fmt: skip


@pytest.mark.parametrize("what", sorted(SPOILED))
def test_whatever_is_wrong_with_a_bundle_is_told_with_the_file(desk: Desk, what: str) -> None:
    desk.make()
    spoil, words = SPOILED[what]
    spoil(desk)
    try:
        told = "; ".join(desk.faults(REDIS))
    except bundles.BundleError as error:
        told = str(error)
    assert words in told, told
    assert "PRIVATE KEY" not in told and len(told) < 500


def test_archives_that_are_not_needed_are_not_read(desk: Desk) -> None:
    desk.make()
    os.truncate(desk.bundle / ARCHIVE, 0)
    assert desk.faults(SHOP) == []


def test_what_the_vps_got_is_compared_once_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.tar"
    path.write_text("archive")
    loaded: list[Any] = []
    monkeypatch.setattr(compose, "run", lambda argv, *_more, **_named: loaded.append(argv))
    assert images.provide_image("x:1", [], {"x:1": str(path)}, 5, bundles.sha256(str(path))) == "loaded"
    path.write_text("archivf")
    with pytest.raises(compose.CommandFailed, match="the archive of x:1 is not what was signed"):
        images.provide_image("x:1", [], {"x:1": str(path)}, 5, bundles.sha256(__file__))
    assert len(loaded) == 1


@pytest.mark.parametrize(("sign_with", "words"), [("", "names no SSH key"), ("/nowhere", "there is no file /nowhere")])
def test_without_a_key_nothing_is_made(tmp_path: Path, sign_with: str, words: str) -> None:
    with pytest.raises(bundles.BundleError, match=words):
        bundling.make(str(tmp_path / "b"), sign_with, "r", "anna", {}, print)
    assert not (tmp_path / "b").exists()


def planned(image: str, *missing: str, builds: tuple[str, ...] = ()) -> Any:
    desired = SimpleNamespace(containers={"web": Container("web", image)})
    return SimpleNamespace(
        name="web", options={"build": [{"image": one} for one in builds]}, rendered=SimpleNamespace(desired=desired),
        plan=SimpleNamespace(missing_images=missing),
    )  # fmt: skip


def test_an_image_by_its_digest_cannot_be_bundled() -> None:
    with pytest.raises(bundles.BundleError, match="web: x@sha256:0 is named by its digest, which no archive keeps"):
        bundling.needed([planned("x@sha256:0")])
    assert bundling.needed([planned("x:1"), planned("y:1", builds=("y:1",))]) == {"x:1": None, "y:1": {"image": "y:1"}}


def test_offline_what_no_archive_has_is_refused_before_anything_changes(tmp_path: Path) -> None:
    args = {"images": "offline", "archives": str(tmp_path)}
    several = [planned("x:1", "x:1"), planned("y:1", "y:1", builds=("y:1",))]
    engine: dict[str, Any] = {"engine": {"running": True}}
    (told,) = bundling.lost(several, engine, args)
    assert "landfall_images is offline, and x:1 is neither on the VPS nor an archive in" in told
    (tmp_path / "x_1.tar").touch()
    assert bundling.lost(several, engine, args) == [] == bundling.lost(several, engine, {"images": "registry"})
    (tmp_path / "x_1.tar").unlink()
    assert bundling.lost(several, {"engine": {"running": False}}, args) == []


def test_a_vps_with_nothing_is_told_as_a_real_one_is(tmp_path: Path) -> None:
    real, blank = host.gather(str(tmp_path), []), bundling.blank(str(tmp_path))
    assert set(blank) == set(real)
    assert {name: type(value) for name, value in blank.items() if name != "lock"} == {
        name: type(value) for name, value in real.items() if name != "lock"
    }


def test_a_bundle_is_made_of_an_inventory_and_reaches_no_vps(desk: Desk, tmp_path: Path) -> None:
    inventory = tmp_path / "inventory"
    (inventory / "group_vars").mkdir(parents=True)
    (inventory / "hosts.yml").write_text(
        "all: {hosts: {vps: {ansible_host: 192.0.2.1}, two: {ansible_host: 192.0.2.2}}}"
    )
    off = {f"{role}_enabled": False for role in ("grafana", "loki", "alloy", "cadvisor")}
    (inventory / "group_vars/all.yml").write_text(json.dumps({**off, "app_image": SHOP}))
    argv = [
        "ansible-playbook", "-i", str(inventory), "playbooks/bundle.yml", "-e", f"into={desk.bundle}", "-e",
        f"sign_with={desk.key}",
    ]  # fmt: skip
    done = subprocess.run(argv, cwd=rolekit.ROOT, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    found = desk.load()["images"]
    assert f"{len(found)} images are in {desk.bundle}" in " ".join(done.stdout.split())
    assert {REDIS, SHOP} <= set(found) and not [image for image in found if "grafana" in image or "loki" in image]
    assert not (inventory / "secrets").exists() and "would be generated" not in done.stdout
    assert desk.calls().count(f"save {REDIS}") == 1
