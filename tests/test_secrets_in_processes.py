"""A secret is in a file: not in what a process was started with, where `ps auxe` shows it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import rolekit

CLI = """
import os, sys
started_with = open("/proc/self/environ").read() + open("/proc/self/cmdline").read()
print("seen" if "broker.example" in started_with else "hidden", os.environ["CE_BROKER_URL"], sys.argv[1:], __name__)
import beside
"""


def test_the_exporter_learns_the_brokers_url_after_its_start(tmp_path: Path) -> None:
    rendered = rolekit.text(rolekit.component("celery_exporter", tmp_path), "celery_exporter/config/start.py")
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "cli.py").write_text(CLI)
    (tmp_path / "app" / "beside.py").write_text("print('its own modules are found')\n")
    (tmp_path / "broker_url").write_text("redis://:p@broker.example:6379/0\n")
    start = rendered.replace("/app/cli.py", f"{tmp_path}/app/cli.py").replace("/run/secrets", str(tmp_path))
    assert start.count(str(tmp_path)) == 2
    (tmp_path / "start.py").write_text(start)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "start.py"), "--queues=a"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.splitlines() == [
        "hidden redis://:p@broker.example:6379/0 ['--queues=a'] __main__",
        "its own modules are found",
    ]


# VARIABLE="$(cat /run/secrets/x)" program, --option=$(cat /run/secrets/x), export VARIABLE=$(</run/secrets/x)
SHOWN = re.compile(
    r"""(?:(?:^|[\s;'"])[A-Z_]{3,}=|--[\w-]+[= ]|export\s+\w+=)["']?\$\$?\((?:cat\s+|<)\s*/run/secrets"""
)


@pytest.mark.parametrize("text", ['X_AUTH="$$(cat /run/secrets/x)" a', "a --password=$(</run/secrets/x)"])
def test_what_is_looked_for_would_be_found(text: str) -> None:
    assert SHOWN.search(text)


@pytest.mark.parametrize("role", rolekit.component_names())
def test_no_command_of_a_role_hands_a_secret_over_by_its_environment_or_arguments(role: str, tmp_path: Path) -> None:
    rendered = rolekit.deployed(role, tmp_path)
    values = [
        content.decode(errors="ignore").strip()
        for path, content in rendered.contents.items()
        if path.startswith(f"{rendered.desired.name}/secrets/") and len(content) > 16
    ]
    tasks = (rolekit.ROLES / role / "tasks" / "main.yml").read_text()
    for path, content in {**rendered.contents, "tasks": tasks.encode()}.items():
        text = content.decode(errors="ignore")
        assert not SHOWN.search(text), path
        assert not re.search(r"os\.exec\w+\(", text), f"{path}: a new program shows the environment that it starts with"
        if "/secrets/" not in path:
            assert [value[:4] for value in values if value in text] == [], path
