"""Own settings of Redis: a real one takes them in, and what would undo the role is refused by its name."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.landfall.vps.plugins.plugin_utils import formats, specs

from tests import programs, rolekit

SETTINGS = {
    "notify-keyspace-events": "Ex",
    "timeout": 300,
    "save": "",
    "client-output-buffer-limit": "pubsub 8mb 2mb 30",
    "lazyfree-lazy-eviction": True,
}
SCRIPT = """set -e
redis-server config/redis.conf --aclfile $PWD/secrets/users.acl --port 0 --unixsocket $PWD/s.sock --dir $PWD \\
    --appendonly no >log 2>&1 &
tries=0
until [ -S s.sock ]; do
tries=$((tries + 1)); [ "$tries" -lt 100 ] && kill -0 $! || { cat log; exit 1; }; sleep 0.1; done
for name in notify-keyspace-events timeout save client-output-buffer-limit lazyfree-lazy-eviction; do
redis-cli -s s.sock --no-auth-warning --user admin --pass admin config get $name; done; kill $! || true"""


def started(folder: Path, **more: Any) -> str:
    rendered = rolekit.component("redis", folder, redis_admin_password="admin", **more)  # noqa: S106
    for path, content in rendered.contents.items():
        if path.startswith("redis/"):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
    argv = [*programs.in_image("redis", "/bin/sh", folder), "-c", f"cd {folder}/redis\n{SCRIPT}"]
    return subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True, stderr=subprocess.STDOUT).stdout


def test_a_real_redis_takes_them_in(tmp_path: Path) -> None:
    lines = started(tmp_path, redis_settings=SETTINGS).splitlines()
    said = dict(zip(lines[::2], lines[1::2], strict=True))
    assert (said["timeout"], said["save"], said["lazyfree-lazy-eviction"]) == ("300", "", "yes")
    assert set(said["notify-keyspace-events"]) == {"E", "x"}
    assert "pubsub 8388608 2097152 30" in said["client-output-buffer-limit"]


def test_one_that_nobody_knows_stops_the_checker_before_anything_is_replaced(tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError) as refused:
        started(tmp_path, redis_settings={"no-such-thing": "1"})
    assert ">>> 'no-such-thing 1'" in refused.value.stdout


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"maxmemory": "1g"}, "redis_settings: maxmemory is set by redis_maxmemory; use that"),
        ({"requirepass": "x"}, "redis_settings: requirepass is set by redis_password"),
        ({"dir": "/srv"}, "redis_settings: dir would take the data"),
        ({"dbfilename": "other.rdb"}, "redis_settings: dbfilename would take the data"),
        ({"appenddirname": "other"}, "redis_settings: appenddirname would take the data"),
    ],
)
def test_what_the_role_sets_is_refused(settings: dict[str, str], words: str, tmp_path: Path) -> None:
    with pytest.raises(Exception, match=words):
        rolekit.component("redis", tmp_path, redis_settings=settings)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"redis_settings": {"timeout": "1\ndir /"}}, "redis_settings.timeout: '1\\ndir /' is no value of a setting"),
        ({"redis_settings": {"a b": "1"}}, "is no name of a setting"),
        ({"redis_password": ""}, "redis_password: is empty; leave it out for the role's own, or set it from"),
    ],
)
def test_refused_with_the_inventory(more: dict[str, Any], words: str, tmp_path: Path) -> None:
    values = {**rolekit.inventory(tmp_path), **more}
    said = {"redis": formats.load(str(rolekit.ROLES), "redis")}
    options = specs.role_specs(str(rolekit.ROLES))
    resolve = lambda name: rolekit.template(values[name], values)  # noqa: E731
    faults = specs.inventory_faults(["redis"], options, list(values), resolve, said=said)
    assert any(words in fault for fault in faults), faults
