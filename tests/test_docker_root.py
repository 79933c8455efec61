"""An engine whose data lies elsewhere: what looks into it follows, and an ordinary one changes nothing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Dict

import pytest
from ansible_collections.landfall.vps.plugins.plugin_utils import session

from tests import rolekit

ELSEWHERE = "/mnt/big.disk/docker"


def facts(root: str) -> Dict[str, Any]:
    return {"ansible_facts": session.as_fact({"engine": {"data_root": root}, "networks": {}})}


def compose(role: str, tmp_path: Path, root: str) -> Dict[str, Any]:
    rendered = rolekit.component(role, tmp_path, **(facts(root) if root else {}))
    (service,) = (service for _name, service in rolekit.services(rendered))
    return service


@pytest.mark.parametrize(("role", "mount"), [("cadvisor", "{0}:{0}:ro"), ("alloy", "{0}/containers:{0}/containers:ro")])
@pytest.mark.parametrize("root", ["", "/var/lib/docker", ELSEWHERE])
def test_mounts_follow_the_engine(tmp_path: Path, role: str, mount: str, root: str) -> None:
    volumes = compose(role, tmp_path, root)["volumes"]
    assert mount.format(root or "/var/lib/docker") in volumes
    assert not root.startswith("/mnt") or not any("/var/lib/docker" in volume for volume in volumes)


def test_alloy_reads_the_logs_where_they_are(tmp_path: Path) -> None:
    text = rolekit.text(rolekit.component("alloy", tmp_path, **facts(ELSEWHERE)), "alloy/config/config.alloy")
    assert f'"{ELSEWHERE}/containers/$1/$1-json.log"' in text and "/var/lib/docker" not in text


def test_node_exporter_leaves_containers_mounts_out_wherever_they_are(tmp_path: Path) -> None:
    for root, left_out in (("/var/lib/docker", 1), (ELSEWHERE, 2)):
        command = compose("node_exporter", tmp_path, root)["command"]
        (option,) = (text for text in command if "mount-points-exclude" in text)
        pattern = re.compile(option.split("=", 1)[1].replace("$$", "$"))
        places = ["/var/lib/docker/overlay2/x/merged", ELSEWHERE + "/overlay2/x/merged", "/mnt/bigxdisk/docker/x"]
        assert [bool(pattern.search(place)) for place in places] == [True, left_out == 2, False]
        assert not pattern.search(root), "the file system itself is shown"
