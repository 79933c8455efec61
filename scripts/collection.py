"""Assembles the collection landfall.vps from this checkout: engine, roles, playbooks, the reference application.

The checkout runs in place, with its roles and playbooks at the top; Galaxy wants them inside the collection, and roles
of a collection are called by their full names. `make collection` writes build/landfall-vps-<version>.tar.gz, the same
bytes from the same commit.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from scripts import filter_docs  # noqa: E402 - found from wherever this program is started

NAME = "landfall.vps"
HOME = "collections/ansible_collections/landfall/vps/"
# What of the checkout goes where; whatever else is there is for those who work on it
PARTS = {
    HOME: "",
    "roles/": "roles/",
    "playbooks/": "playbooks/",
    "site.yml": "playbooks/site.yml",
    "inventory/example/": "inventory/example/",
    "app/": "app/",
    "LICENSE": "LICENSE",
    "CHANGELOG.md": "CHANGELOG.md",
    "changelogs/changelog.yaml": "changelogs/changelog.yaml",
}
LIST, MANIFEST = "FILES.json", "MANIFEST.json"
LEFT_OUT = re.compile(r"^app/(?!landfall_app/|requirements\.lock$|Dockerfile$|\.dockerignore$|README)")
ROLE = re.compile(r"(import_role: *{ *name: *)([a-z_]+)")


class CollectionError(Exception):
    """The collection cannot be assembled; the message says why."""


def _git(*argv: str) -> str:
    done = subprocess.run(["git", "-C", str(ROOT), *argv], capture_output=True, text=True, check=False)
    if done.returncode:
        raise CollectionError(f"git {' '.join(argv)}: {done.stderr.strip()}")
    return done.stdout


def contents() -> dict[str, str]:
    """Return path within the collection -> path within the checkout, of all that git knows. Raises CollectionError.

    What lies at the top of the checkout goes before what HOME has for those who look there.
    """
    found: dict[str, str] = {}
    for path in _git("ls-files", "-z").split("\0"):
        if not path or LEFT_OUT.search(path.removeprefix(HOME)) or not (ROOT / path).is_file():
            continue
        for prefix, place in PARTS.items():
            if prefix.endswith("/") and path.startswith(prefix):
                found[place + path.removeprefix(prefix)] = path
            elif path == prefix:
                found[place] = path
    return {**found, **{place: path for path, place in PARTS.items() if found.get(place) and not path.endswith("/")}}


def adapted(place: str, text: str) -> str:
    """Return a playbook as it must be inside a collection: roles by their full names, its siblings beside it."""
    if not place.startswith("playbooks/"):
        return text
    return ROLE.sub(rf"\g<1>{NAME}.\g<2>", text).replace("import_playbook: ../site.yml", "import_playbook: site.yml")


def assemble(target: Path) -> None:
    """Lay the collection out in ``target``, which must be empty or missing. Raises CollectionError."""
    for place, source in contents().items():
        path = target / place
        path.parent.mkdir(parents=True, exist_ok=True)
        if place.startswith("playbooks/"):
            path.write_text(adapted(place, (ROOT / source).read_text(encoding="utf-8")), encoding="utf-8")
        else:
            shutil.copyfile(ROOT / source, path)
        path.chmod(0o755 if os.access(ROOT / source, os.X_OK) else 0o644)
    filter_docs.write(target / "plugins")


def pack(folder: Path, target: Path) -> Path:
    """Let ansible-galaxy build the collection in ``folder``, and write it to ``target`` with nothing of today in it.

    Raises CollectionError if it refuses.
    """
    program = str(Path(sys.executable).with_name("ansible-galaxy"))
    with tempfile.TemporaryDirectory() as scratch:
        argv = [program, "collection", "build", str(folder), "--output-path", scratch]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode:
            raise CollectionError(f"ansible-galaxy collection build: {(done.stdout + done.stderr).strip()}")
        built = next(Path(scratch).glob("*.tar.gz"))
        result = target / built.name
        target.mkdir(parents=True, exist_ok=True)
        _without_time(built, result)
    return result


def _read(archive: tarfile.TarFile, name: str) -> IO[bytes]:
    found = archive.extractfile(name)
    if found is None:
        raise CollectionError(f"{name} in the archive is no file")
    return found


def _without_time(built: Path, result: Path) -> None:
    """Write a tarball anew: members and the list of them sorted, stamped with the time of the commit."""
    stamp = int(_git("log", "-1", "--format=%ct").strip())
    plain = io.BytesIO()
    with tarfile.open(built) as old, tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as new:
        listed, about = json.load(_read(old, LIST)), json.load(_read(old, MANIFEST))
        listed["files"].sort(key=lambda one: str(one["name"]))
        again = {LIST: json.dumps(listed, indent=1).encode()}
        about["file_manifest_file"]["chksum_sha256"] = hashlib.sha256(again[LIST]).hexdigest()
        again[MANIFEST] = json.dumps(about, indent=1).encode()
        for member in sorted(old.getmembers(), key=lambda one: one.name):
            member.mtime, member.uid, member.gid, member.uname, member.gname = stamp, 0, 0, "", ""
            member.pax_headers = {}  # which hold the time once more
            content = again.get(member.name)
            member.size = member.size if content is None else len(content)
            if content is None:
                new.addfile(member, old.extractfile(member) if member.isfile() else None)
            else:
                new.addfile(member, io.BytesIO(content))
    with result.open("wb") as handle, gzip.GzipFile("", "wb", fileobj=handle, mtime=stamp) as zipped:
        zipped.write(plain.getvalue())


def main() -> int:
    """Build the tarball and print where it is; return the exit status."""
    parser = argparse.ArgumentParser(prog="collection", description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "build", help="folder of the tarball")
    args = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "vps"
            assemble(folder)
            sys.stdout.write(f"{pack(folder, args.output)}\n")
    except CollectionError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
