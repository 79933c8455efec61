"""`make release`: what it refuses, and a release of this very commit in a clone of its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from scripts import release
from tests import rolekit

ROOT = rolekit.ROOT
GIT = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false", "-c", "tag.gpgsign=false")
PARTS = (*release.PLACES, "changelogs", "CHANGELOG.md")


def git(folder: Path, *argv: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *GIT, *argv], capture_output=True, text=True, check=True)
    return done.stdout


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a release touches, as it is here, in a repository of its own."""
    for variable, value in (("NAME", "A"), ("EMAIL", "a@example.org")):
        monkeypatch.setenv(f"GIT_AUTHOR_{variable}", value)
        monkeypatch.setenv(f"GIT_COMMITTER_{variable}", value)
    for part in PARTS:
        (tmp_path / part).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, tmp_path / part)
        else:
            shutil.copy(ROOT / part, tmp_path / part)
    git(tmp_path, "init", "--quiet", "--initial-branch=main")
    git(tmp_path, "add", "--all")
    git(tmp_path, "commit", "--quiet", "-m", "all")
    return tmp_path


def fragment(project: Path, text: str, name: str = "x.yml") -> None:
    """Leave this fragment alone in the project."""
    for path in (project / "changelogs/fragments").glob("*.yml"):
        path.unlink()
    (project / "changelogs/fragments" / name).write_text(text, "utf-8")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "-m", "fragment")


def after(project: Path) -> str:
    """The next version that may be released."""
    return release.least(release.released(project), release.fragments(project))


def test_what_is_here_can_be_released(project: Path) -> None:
    before, version = release.released(project), after(project)
    if not any(release.fragments(project).values()):  # just released
        fragment(project, "---\nbugfixes: [Something is mended.]\n")
        version = after(project)
    release.check(project, version)
    release.release(project, version, "2026-11-27")
    assert git(project, "status", "--porcelain") == ""
    assert git(project, "log", "-1", "--format=%s") == f"release: {version}\n"
    said = git(project, "tag", "-l", "--format=%(contents)", f"v{version}")
    assert said.startswith(f"{version}\n\n### ") and "<a id" not in said
    for name in release.PLACES:
        text = (project / name).read_text("utf-8")
        assert version in text and before not in text.replace(f"ansible-core {before}", "")
    assert not list((project / "changelogs/fragments").glob("*.yml"))
    log = yaml.safe_load((project / "changelogs/changelog.yaml").read_text("utf-8"))["releases"]
    assert list(log) == [before, version] or set(log) >= {before, version}
    with pytest.raises(release.ReleaseError, match="nothing to release"):
        release.check(project, release.least(version, {}))


def test_every_breaking_change_says_how_to_migrate() -> None:
    assert release.unmigrated(release.fragments(ROOT)) == []


@pytest.mark.parametrize(
    ("before", "sections", "expected"),
    [
        ("0.1.0", ["breaking_changes"], "0.2.0"),
        ("0.1.4", ["minor_changes"], "0.2.0"),
        ("0.1.4", ["bugfixes"], "0.1.5"),
        ("1.2.3", ["removed_features", "bugfixes"], "2.0.0"),
        ("1.2.3", ["deprecated_features"], "1.3.0"),
        ("1.2.3", ["security_fixes"], "1.2.4"),
    ],
)
def test_changes_decide_how_far_the_version_goes_up(before: str, sections: list[str], expected: str) -> None:
    assert release.least(before, {name: ["x"] for name in sections}) == expected


@pytest.mark.parametrize("version", ["1", "v0.2.0", "0.2", "0.2.0-rc1", "0.2.0\n", ""])
def test_no_version_is_refused(version: str, project: Path) -> None:
    with pytest.raises(release.ReleaseError, match="is no version; write three numbers"):
        release.check(project, version)


def test_a_version_that_hides_a_breaking_change_is_refused(project: Path) -> None:
    fragment(project, "---\nbreaking_changes: ['X is gone. Migration: use Y.']\n")
    major, minor, patch = release.number(release.released(project))
    with pytest.raises(release.ReleaseError, match=rf"too low .* need {major}\.{minor + 1}\.0"):
        release.check(project, f"{major}.{minor}.{patch + 1}")
    release.check(project, f"{major}.{minor + 1}.0")


def test_a_breaking_change_without_a_way_out_is_refused(project: Path) -> None:
    fragment(project, "---\nbreaking_changes: ['X is gone.']\n")
    with pytest.raises(release.ReleaseError, match=r"without 'Migration: …' in its fragment: X is gone"):
        release.check(project, after(project))


def test_a_fragment_that_the_changelog_does_not_know_is_refused(project: Path) -> None:
    fragment(project, "---\nfixes: [Something.]\n")
    with pytest.raises(release.ReleaseError, match=r"(?i)antsibull-changelog lint: .*invalid section: fixes"):
        release.check(project, "0.9.0")


def test_uncommitted_changes_and_a_tag_that_is_there_are_told_at_once(project: Path) -> None:
    fragment(project, "---\nbugfixes: [Something is mended.]\n")
    version = after(project)
    git(project, "tag", f"v{version}")
    (project / "CHANGELOG.md").write_text("x", "utf-8")
    with pytest.raises(release.ReleaseError) as caught:
        release.check(project, version)
    assert f"the tag v{version} is there already" in str(caught.value)
    assert "there are changes; commit them first" in str(caught.value)


def test_versions_that_differ_are_refused(project: Path) -> None:
    path = project / "pyproject.toml"
    path.write_text(path.read_text("utf-8").replace('\nversion = "', '\nversion = "9'), "utf-8")
    git(project, "commit", "--quiet", "-am", "x")
    with pytest.raises(release.ReleaseError, match=r"pyproject\.toml: says 9\d"):
        release.check(project, "9.0.0")


def test_the_changelog_is_what_its_releases_say(project: Path) -> None:
    program = str(Path(sys.executable).with_name("antsibull-changelog"))
    subprocess.run([program, "generate"], cwd=project, check=True, capture_output=True)
    assert (project / "CHANGELOG.md").read_text("utf-8") == (ROOT / "CHANGELOG.md").read_text("utf-8"), (
        "CHANGELOG.md is written by `make release`; say what changed in changelogs/fragments"
    )
