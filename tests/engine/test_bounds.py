"""What the disk of a VPS may come to hold: the sum, what nobody bounds, and that roles say so of what they keep."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.landfall.vps.plugins.module_utils import plan
from ansible_collections.landfall.vps.plugins.plugin_utils import bounds
from ansible_collections.landfall.vps.plugins.plugin_utils.planned import Planned
from ansible_collections.landfall.vps.plugins.plugin_utils.render import Rendered

from tests import rolekit

GB = 1 << 30
DISK = {"path": "/var/lib/docker", "holds": ["data", "images"], "free": GB, "size": 20 * GB, "read_only": False}


def planned(
    name: str, image: str, *, keep: int = 0, built: bool = False, log: str = "10m", present: bool = True
) -> Planned:
    options: dict[str, Any] = {"name": name, "build": [{"image": image}] if built else []}
    if keep:
        options["releases"] = {"keep": keep}
    logging = {"logging": {"options": {"max-size": log, "max-file": "3"}}} if log else {}
    text = yaml.safe_dump({"services": {name: logging}}).encode()
    desired = plan.Desired(name, present, {}, {name: plan.Container(name, image)})
    return Planned(
        options, Rendered(desired, {f"{name}/compose.yaml": text}), plan.Plan(plan.NONE), {},
        plan.Actual({}, {}, {}, None),
    )  # fmt: skip


def role(place: Path, name: str, text: str) -> None:
    (place / name / "meta").mkdir(parents=True)
    (place / name / "meta/disk.yml").write_text(text)


def look(place: Path, *several: Planned, images: Any = None, disk: Any = DISK, **values: Any) -> list[bounds.Bound]:
    (place / "landfall").mkdir(exist_ok=True)
    state = {"images": images or {}, "host": {"disks": [disk]}}
    return bounds.all_of(str(place / "landfall"), values, several, state, "400m")


def limits(found: list[bounds.Bound]) -> dict[str, Any]:
    return {bound.what: bound.limit for bound in found}


def test_what_roles_declare_is_taken_from_their_variables(tmp_path: Path) -> None:
    role(tmp_path, "store", "metrics: {size: store_retention_size, times: 1.5}\nlogs: {grows: by time alone}\n")
    role(tmp_path, "vps", "journal: {size: vps_journal, if: vps_journals}\ncache: {size: 10MB}\n")
    role(tmp_path, "off", "all: {size: 1TB}\n")
    found = look(tmp_path, store={"store_retention_size": "2GB"}, vps={"vps_journal": "500MB", "vps_journals": True})
    assert limits(found) == {
        "metrics of store": 3 * GB,
        "logs of store": None,
        "journal of vps": 500 << 20,
        "cache of vps": 10 << 20,
    }
    assert found[0].by == "store_retention_size 2GB, 1.5 times" and found[1].by == "by time alone"
    without = limits(look(tmp_path, vps={"vps_journal": "500MB", "vps_journals": False}))
    assert without == {"cache of vps": 10 << 20, "journal of the system": 4 * GB}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[1]", "must map what is kept to its bound"),
        ("x: {times: 2}", "x: needs either size or grows"),
        ("x: {size: 1GB, grows: too}", "needs either size or grows"),
        ("x: {size: much}", "x: 'much' is no size"),
        ("x: {size: 1GB, unless: y}", "needs either size or grows"),
    ],
)
def test_a_declaration_that_nobody_understands_is_refused(tmp_path: Path, text: str, words: str) -> None:
    role(tmp_path, "store", text)
    with pytest.raises(bounds.BoundError, match=re.escape(words)) as caught:
        look(tmp_path, store={})
    assert str(tmp_path / "store/meta/disk.yml") in str(caught.value)


def test_images_count_with_those_that_releases_keep(tmp_path: Path) -> None:
    there = {"shop/web:1": {"size": 300}, "landfall/api:1": {"size": 200}, "redis:8": {"size": 100}}
    found = look(
        tmp_path,
        planned("web", "shop/web:1", keep=5),
        planned("jobs", "shop/web:1", keep=5),
        planned("api", "landfall/api:1", keep=5, built=True),
        planned("redis", "redis:8"),
        planned("gone", "gone:1", present=False),
        planned("new", "new:1"),
        images=there,
    )
    assert limits(found)["images in use"] == 300 + 200 + 100 + (400 << 20)
    # What was pulled for five that never served stays, too; what was built here counts among those that are kept
    assert limits(found)["images of releases that are kept"] == 10 * 300 + 5 * 200
    assert limits(found)["images of earlier versions of components"] is None


def test_logs_count_by_what_compose_files_say(tmp_path: Path) -> None:
    found = look(tmp_path, planned("a", "x:1"), planned("b", "x:1", log="1g"), planned("c", "x:1", log=""))
    assert limits(found)["logs of containers"] == 3 * (10 << 20) + 3 * GB
    assert limits(found)["logs of c"] is None


def test_the_sum_is_told_and_a_disk_that_is_too_small(tmp_path: Path) -> None:
    role(tmp_path, "store", "metrics: {size: size}\nlogs: {grows: by time alone}\n")
    state = {"images": {}, "host": {"disks": [DISK]}}
    fits = look(tmp_path, store={"size": "15GB"})
    assert bounds.note(fits, state) == []
    lines = bounds.told(fits, state)
    assert lines[0] == "disk: what has a bound comes to 20.4 GB of 21.5 GB at most"
    assert [line.split()[0] for line in lines[1:]] == ["what", "metrics", "journal", "logs"]
    assert lines[-1].split() == ["logs", "of", "store", "grows", "by", "time", "alone"]
    (said,) = bounds.note(look(tmp_path, store={"size": "17GB"}), state)
    assert said.startswith(
        "disk: this VPS has 21.5 GB, and what the stack keeps may come to 22.5 GB: metrics of store 18.3"
    )
    assert bounds.note(look(tmp_path, store={"size": "17GB"}), {"host": {"disks": [{**DISK, "size": 0}]}}) == []


def test_every_role_that_keeps_something_says_what_bounds_it() -> None:
    for path in sorted(rolekit.ROLES.glob("*/templates/compose.yaml.j2")):
        own = re.search(r"service\.volumes\(", path.read_text("utf-8"))
        if own:
            assert (path.parents[1] / "meta/disk.yml").exists(), (
                f"{path}: has volumes; say in meta/disk.yml what bounds them"
            )
    kept = [str(path.parents[1].name) for path in rolekit.ROLES.glob("*/meta/disk.yml")]
    values = {name: rolekit.defaults(name) for name in kept if name not in ("host", "docker", "prometheus", "redis")}
    assert all(bound.limit is None for bound in bounds.declared(str(rolekit.ROLES), values))
    sizes: dict[str, dict[str, Any]] = {
        "docker": {"docker_enabled": True, "docker_build_cache_max_size": "2GB"},
        "host": {"host_journal": True, "host_journal_max_size": "500MB"},
        "prometheus": {"prometheus_retention_size": "5GB"},
        "redis": {"redis_maxmemory": "320m"},
    }
    found = limits(bounds.declared(str(rolekit.ROLES), sizes))
    assert found == {
        "build cache of docker": 2 * GB,
        "journal of host": 500 << 20,
        "metrics of prometheus": int(6.25 * GB),
        "queues and caches of redis": 4 * (320 << 20),
    }
    for name, variables in sizes.items():
        assert set(variables) <= set(rolekit.defaults(name)), name
