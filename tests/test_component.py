"""`make component`: what it makes passes the project's tests, touches nothing else, and bad arguments are refused."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import component
from tests import rolekit

ARGV = ["--image", "traefik/whoami:v1.11.0", "--port", "8080", "--path", "/health"]
# Those that look at every role, and those that know the stack's own ones
TESTS = ("test_specs.py", "test_templates.py", "test_pins.py", "test_docs.py", "test_testbed.py",
         "test_ledger_components.py")  # fmt: skip
CHOSEN = "whoami or every_role or budget or offline or reference_stack or unique or reached or readmes"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What git has of this checkout, with a new role."""
    target = tmp_path_factory.mktemp("checkout")
    listed = subprocess.run(["git", "ls-files", "-z", "-c", "-o", "--exclude-standard"], cwd=rolekit.ROOT,
                            capture_output=True, text=True, check=True).stdout  # fmt: skip
    for name in filter(None, listed.split("\0")):
        if (rolekit.ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(rolekit.ROOT / name, target / name)
    before = {path for path in target.rglob("*") if path.is_file()}
    assert component.main(["whoami", *ARGV, "--roles", str(target / "roles")]) == 0
    subprocess.run([sys.executable, "scripts/role_readmes.py"], cwd=target, check=True, capture_output=True)
    made = {path for path in target.rglob("*") if path.is_file()} - before
    assert {path.relative_to(target).parts[:2] for path in made} == {("roles", "whoami")}, "nothing but its folder"
    return target


def test_a_new_role_passes_the_tests_of_all(checkout: Path) -> None:
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-k", CHOSEN]
    done = subprocess.run(
        [*argv, *(f"tests/{name}" for name in TESTS)], cwd=checkout, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, check=False, env={**os.environ, "PYTHONPATH": "", "PYTEST_ADDOPTS": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:]
    assert " passed" in done.stdout


def test_a_rule_that_it_breaks_is_told(checkout: Path) -> None:
    compose = checkout / "roles/whoami/templates/compose.yaml.j2"
    whole = compose.read_text()
    compose.write_text(whole.replace("user='65534:65534'", "user='0:0'"))
    try:
        argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-k", "whoami"]
        done = subprocess.run(
            [*argv, "tests/test_templates.py"], cwd=checkout, capture_output=True, text=True, check=False
        )
    finally:
        compose.write_text(whole)
    assert done.returncode == 1 and "test_hardening[whoami]" in done.stdout


@pytest.mark.parametrize(
    ("name", "more", "words"),
    [
        ("Who", [], "NAME=Who: write small letters"),
        ("redis", [], "NAME=redis: there is"),
        ("whoami", ["--image", "traefik/whoami"], "IMAGE=traefik/whoami: write an image with an exact tag"),
        ("whoami", ["--image", "traefik/whoami:latest"], "IMAGE=traefik/whoami:latest"),
        ("whoami", ["--path", "health"], "--path health: write the path"),
    ],
)
def test_what_cannot_be_made_is_refused(
    name: str, more: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert component.main([name, *ARGV, *more]) == 1
    assert words in capsys.readouterr().err
    assert not (rolekit.ROLES / "whoami").exists()
