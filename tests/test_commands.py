"""Commands and examples of the documents: they parse, and name playbooks, tags, targets and scripts that exist."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests import rolekit

ROOT = rolekit.ROOT
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^( *)```(\w+)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
TARGETS = set(re.findall(r"(?m)^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8")))
APP_TARGETS = set(re.findall(r"(?m)^([a-z-]+):", (ROOT / "app/Makefile").read_text("utf-8")))
TAGS = {*rolekit.role_names(), "all", "never", "whoami"}
SHELLS = {"sh", "bash", "console"}


def blocks(page: Path) -> list[tuple[str, str]]:
    """Language and text of the blocks of code of a page."""
    found = []
    for indent, language, text in BLOCK.findall(page.read_text("utf-8")):
        found.append((language, re.sub(rf"(?m)^{indent}", "", text)))
    return found


def inline(page: Path) -> list[str]:
    """Commands between backticks."""
    text = BLOCK.sub("", page.read_text("utf-8"))
    return re.findall(r"`((?:make|ansible-playbook|scripts/|python scripts/)[^`]*)`", text)


def faults(command: str) -> list[str]:
    """What a command names that is not there."""
    found = []
    for written in command.replace("\\\n", " ").splitlines():
        line = written.partition(" #")[0]
        for made in re.findall(r"(?:^|[;&(] *)make ((?:-C app )?[a-z-]+)", line.strip()):
            known = APP_TARGETS if made.startswith("-C app ") else TARGETS
            found += [] if made.split()[-1] in known else [f"make {made}"]
        if "ansible-playbook" in line and "my-" not in line:
            for playbook in re.findall(r"(?<![\w/.-])((?:playbooks/)?[\w-]+\.yml)\b", line):
                if playbook == "site.yml" or playbook.startswith("playbooks/"):
                    found += [] if (ROOT / playbook).is_file() else [playbook]
            for name in re.findall(r"\blandfall\.vps\.([a-z-]+)", line):
                known_here = name == "site" or (ROOT / f"playbooks/{name}.yml").is_file()
                found += [] if known_here else [f"landfall.vps.{name}"]
            for tags in re.findall(r"--tags[ =]([a-z_,]+)", line):
                found += [f"--tags {tag}" for tag in tags.split(",") if tag and tag not in TAGS]
        for script in re.findall(r"(?<![\w/.-])(scripts/[\w-]+\.(?:py|sh))\b", line):
            found += [] if (ROOT / script).is_file() else [script]
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_parse_and_name_what_exists(page: Path) -> None:
    found = [fault for command in inline(page) for fault in faults(command)]
    for language, text in blocks(page):
        if language not in SHELLS:
            continue
        # <name> is for the reader to fill in
        plain = re.sub(r"<[\w -]+>", "filled-in", text)
        done = subprocess.run(["bash", "-n"], input=plain, text=True, capture_output=True, check=False)
        found += [f"{done.stderr}{text}"] if done.returncode or done.stderr else []
        found += faults(text)
    assert found == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_examples_parse(page: Path) -> None:
    for language, text in blocks(page):
        if language in ("yaml", "yml"):
            list(yaml.compose_all(text))
        elif language == "json":
            json.loads(text)


def test_what_is_not_there_is_found() -> None:
    assert faults("make nothing-such") == ["make nothing-such"]
    assert faults("make -C app nothing") == ["make -C app nothing"]
    assert faults("ansible-playbook -i x playbooks/none.yml --tags redis,nginx") == [
        "playbooks/none.yml",
        "--tags nginx",
    ]
    assert faults("ansible-playbook landfall.vps.none -i x") == ["landfall.vps.none"]
    assert faults("python scripts/none.py") == ["scripts/none.py"]
    assert faults("make site && . x # make nothing") == []
