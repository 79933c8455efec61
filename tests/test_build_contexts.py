"""What the engine sends of a build context, beside what `docker build` of the same folder puts into an image."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path
from typing import Dict, List

import pytest
from ansible_collections.landfall.vps.plugins.module_utils import context, images

FILES = ["a.txt", "notes", "requirements/prod.txt", "src/a/b", "src/a/c/b", "src/x.py", "deploy/x", "docs/README.md"]
# Without a line that keeps by a wildcard what lies deep in an ignored folder: the classic builder's client misses it
RULES = {
    "none": "",
    "names at the top": "*.txt\n./notes\n/docs\n",
    "any depth": "**/*.txt\nsrc/**/b\n# docs\n",
    "all but": "*\n!src/a\n!docs/README.md\ndocs/*.txt\n",
    "Dockerfile ignored": "Dockerfile\n.dockerignore\nnotes\n",
    "folder and back": "src/\n!src/a/c\ndeploy\n",
}


@pytest.fixture(scope="module", autouse=True)
def _docker() -> None:
    answer = subprocess.run(["docker", "version"], capture_output=True, check=False)
    if answer.returncode:
        pytest.skip("Docker does not answer here, so that there is nothing to compare with")


def built(tmp_path: Path, argv: List[str], stdin: str = os.devnull) -> Dict[str, str]:
    """What an image holds: name to target for links, to ``/`` for folders without anything in them, else to nothing."""
    mark = f"landfall-test-context:{os.getpid()}"
    with Path(stdin).open("rb") as handle:
        subprocess.run(["docker", "build", "-q", "-t", mark, *argv], stdin=handle, check=True, capture_output=True)
    try:
        made = subprocess.run(
            ["docker", "create", mark, "x"], check=True, capture_output=True, text=True
        ).stdout.strip()
        saved = subprocess.run(["docker", "cp", f"{made}:/here", "-"], check=True, capture_output=True).stdout
        subprocess.run(["docker", "rm", made], check=True, capture_output=True)
    finally:
        subprocess.run(["docker", "rmi", "-f", mark], check=True, capture_output=True)
    with tarfile.open(fileobj=io.BytesIO(saved)) as tar:
        members = tar.getmembers()
    parents = {str(Path(member.name).parent) for member in members}
    return {
        member.name: member.linkname or ("/" if member.isdir() else "")
        for member in members
        if not (member.isdir() and member.name.rstrip("/") in parents)
    }


@pytest.mark.parametrize("rules", list(RULES))
def test_the_image_is_the_one_that_docker_makes_of_the_folder(rules: str, tmp_path: Path) -> None:
    folder = tmp_path / "context"
    for name in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    (folder / "dangling").symlink_to("../nowhere/at-all")
    (folder / "src/up").symlink_to("..")
    (folder / "empty/inner").mkdir(parents=True)
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY . /here\n")
    if RULES[rules]:
        (folder / ".dockerignore").write_text(RULES[rules])
    packed = tmp_path / "tar"
    with packed.open("wb") as target:
        context.pack(str(folder), "Dockerfile", target)
    ours = built(tmp_path, ["-"], stdin=images._joined([str(packed)]))
    assert ours == built(tmp_path, [str(folder)])
    assert len(ours) > 2
