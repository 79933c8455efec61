"""docs/security.md names every container that is root, has a capability, or sees the VPS, and no other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Dict

from tests import rolekit

PAGE = rolekit.ROOT / "docs" / "security.md"
# A repository that is a path, which backups are mounted
MORE: Dict[str, Dict[str, Any]] = {"backup": {"backup_enabled": True, "backup_repository": "/srv/backup"}}


def _table() -> Dict[str, Dict[str, str]]:
    section = PAGE.read_text(encoding="utf-8").split("## What runs as root", 1)[1].split("\n## ", 1)[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"]
    head, _rule, *body = rows
    return {row[0]: dict(zip(head, row)) for row in body}


def _deployed(home: Path) -> Dict[str, Dict[str, Any]]:
    found = {}
    for role in rolekit.component_names():
        for name, service in rolekit.services(rolekit.deployed(role, home / role, **MORE.get(role, {}))):
            assert service["read_only"], name
            assert service["cap_drop"] == ["ALL"], name
            assert "no-new-privileges:true" in service["security_opt"], name
            assert not service.get("privileged"), name
            mounts = [str(volume).split(":")[0] for volume in service.get("volumes", []) if str(volume)[0] == "/"]
            found[name] = {
                "root": service["user"].split(":")[0] == "0",
                "capabilities": service.get("cap_add", []),
                "sees": mounts + [key for key in ("network_mode", "pid") if service.get(key) == "host"],
            }
    return found


def test_the_table_of_exceptions_is_complete_and_true(tmp_path: Path) -> None:
    deployed = {name: one for name, one in _deployed(tmp_path).items() if any(one.values())}
    table = _table()
    assert set(table) == set(deployed)
    for name, row in table.items():
        one = deployed[name]
        assert (row["as root"] == "yes") is one["root"], name
        assert re.findall(r"[A-Z_]{3,}", row["capabilities"]) == one["capabilities"], name
        assert (row["sees of the VPS"] != "\N{EN DASH}") is bool(one["sees"]), name
        assert len(row["why"]) > 10, name


def test_the_docker_socket_is_told_of(tmp_path: Path) -> None:
    with_socket = [name for name, one in _deployed(tmp_path).items() if "/var/run/docker.sock" in one["sees"]]
    assert with_socket == ["alloy"], "name it under 'What a stolen container can reach'"
    assert "root on the VPS" in PAGE.read_text(encoding="utf-8")
