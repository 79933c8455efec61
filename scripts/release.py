"""`make release VERSION=0.2.0`: checks, writes the version and CHANGELOG.md, commits and tags. It pushes nothing.

The fragments in changelogs/fragments say what changed; they decide how far the version has to go up, and each breaking
change among them says how to migrate. `--check` only looks.
"""

from __future__ import annotations

import argparse
import datetime
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
GALAXY = "collections/ansible_collections/landfall/vps/galaxy.yml"
# Where the version of the project stands, with what stands before it
PLACES = {
    GALAXY: re.compile(r"(?m)^(version: )(\S+)$"),
    "pyproject.toml": re.compile(r'(?m)^(version = ")([^"]+)'),
    "docs/collection.md": re.compile(r"(landfall-vps-)(\d+\.\d+\.\d+)"),
}
VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)")
BREAKING = ("breaking_changes", "removed_features")
FEATURES = ("major_changes", "minor_changes", "deprecated_features")


class ReleaseError(Exception):
    """What stands in the way of a release, a line for each."""


def number(version: str) -> tuple[int, int, int]:
    """Return a version as numbers. Raises ReleaseError if it is none."""
    found = VERSION.fullmatch(version)
    if not found:
        raise ReleaseError(f"VERSION: {version!r} is no version; write three numbers, such as 0.2.0")
    major, minor, patch = map(int, found.groups())
    return major, minor, patch


def fragments(root: Path) -> dict[str, list[str]]:
    """Return section -> texts of all fragments."""
    found: dict[str, list[str]] = {}
    for path in sorted((root / "changelogs/fragments").glob("*.yml")):
        content: dict[str, Any] = yaml.safe_load(path.read_text("utf-8")) or {}
        for section, texts in content.items():
            found.setdefault(section, []).extend([texts] if isinstance(texts, str) else texts)
    return found


def least(released: str, changes: dict[str, list[str]]) -> str:
    """Return the lowest version that may come after ``released`` with these changes.

    Before 1.0.0 the second number says that something breaks, from then on the first.
    """
    major, minor, patch = number(released)
    breaks, adds = (any(changes.get(name) for name in names) for names in (BREAKING, FEATURES))
    if breaks and major:
        return f"{major + 1}.0.0"
    return f"{major}.{minor + 1}.0" if breaks or adds else f"{major}.{minor}.{patch + 1}"


def unmigrated(changes: dict[str, list[str]]) -> list[str]:
    """Return the beginnings of breaking changes that do not say how to migrate."""
    texts = [text for name in BREAKING for text in changes.get(name, [])]
    return [text[:60] for text in texts if not re.search(r"\bMigration: \S", text)]


def released(root: Path) -> str:
    """Return the newest version of the changelog."""
    log = yaml.safe_load((root / "changelogs/changelog.yaml").read_text("utf-8"))
    return max(map(str, log["releases"]), key=number)


def _git(root: Path, *argv: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *argv], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ReleaseError(f"git {' '.join(argv)}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def _antsibull(root: Path, *argv: str) -> None:
    program = str(Path(sys.executable).with_name("antsibull-changelog"))
    done = subprocess.run([program, *argv], cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ReleaseError(f"antsibull-changelog {argv[0]}: {(done.stdout + done.stderr).strip()}")


def check(root: Path, version: str) -> None:
    """Look whether ``version`` can be released from here. Raises ReleaseError with all that is wrong."""
    number(version)
    before, changes = released(root), fragments(root)
    wrong = []
    if not any(changes.values()):
        wrong.append("changelogs/fragments: is empty, so there is nothing to release; add a fragment")
    elif number(version) < number(least(before, changes)):
        wrong.append(
            f"VERSION: {version} is too low after {before}; these changes need {least(before, changes)} or more"
        )
    wrong += [f"breaking change without 'Migration: …' in its fragment: {text}…" for text in unmigrated(changes)]
    for name, place in PLACES.items():
        standing = {found[1] for found in place.findall((root / name).read_text("utf-8"))}
        if standing != {before}:
            wrong.append(f"{name}: says {', '.join(sorted(standing)) or 'no version'}, the changelog {before}")
    if _git(root, "tag", "--list", f"v{version}").strip():
        wrong.append(f"VERSION: the tag v{version} is there already")
    if _git(root, "status", "--porcelain").strip():
        wrong.append("git status: there are changes; commit them first")
    try:
        _antsibull(root, "lint")
    except ReleaseError as error:
        wrong.append(str(error))
    if wrong:
        raise ReleaseError("\n".join(wrong))


def notes(root: Path, version: str) -> str:
    """Return the part of CHANGELOG.md about ``version``, without the marks of its anchors. Raises ReleaseError."""
    text = re.sub(r"<a id=[^>]*></a>\n", "", (root / "CHANGELOG.md").read_text("utf-8"))
    escaped = version.replace(".", r"\.")
    found = re.search(rf"(?ms)^## v{re.escape(escaped)}\n(.*?)(?=^## |\Z)", text)
    if not found:
        raise ReleaseError(f"CHANGELOG.md: has no section v{version}")
    return found[1].strip() + "\n"


def release(root: Path, version: str, date: str) -> None:
    """Write, commit and tag ``version``. Raises ReleaseError."""
    for name, place in PLACES.items():
        path = root / name
        path.write_text(place.sub(rf"\g<1>{version}", path.read_text("utf-8")), "utf-8")
    _antsibull(root, "release", "--version", version, "--date", date)
    _git(root, "add", "--all", "changelogs", "CHANGELOG.md", *PLACES)
    _git(root, "commit", "--quiet", "-m", f"release: {version}")
    # Lines that begin with # are headings here
    _git(root, "tag", "--annotate", "--cleanup=verbatim", f"v{version}", "-m", f"{version}\n\n{notes(root, version)}")


def main() -> int:
    """Release, or only look; return the exit status."""
    parser = argparse.ArgumentParser(prog="release", description=__doc__)
    parser.add_argument("version")
    parser.add_argument("--check", action="store_true", help="only look whether it can be released")
    parser.add_argument("--notes", action="store_true", help="print what CHANGELOG.md says of it")
    parser.add_argument("--date", default=datetime.datetime.now(datetime.timezone.utc).date().isoformat())
    args = parser.parse_args()
    try:
        if args.notes:
            sys.stdout.write(notes(ROOT, args.version))
            return 0
        check(ROOT, args.version)
        if args.check:
            sys.stdout.write(f"{args.version} can be released\n")
            return 0
        release(ROOT, args.version, args.date)
    except ReleaseError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"committed and tagged v{args.version}; publish it with: git push --follow-tags\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
