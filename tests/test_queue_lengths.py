"""What waits in a queue is the sum over its priorities: a real Redis runs the script of redis-exporter."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import requests
from ansible_collections.landfall.vps.plugins.plugin_utils import quoting

from tests import inventories, programs, rolekit, rulekit

OPTIONS = {"celery_workers": [{"name": "w", "queues": ["mail", "b:ulk.é", "idle", "odd"]}], "celery_app": "shop"}
SERVER = """redis-server --port 0 --unixsocket $PWD/s.sock --dir $PWD --save '' --appendonly no \
    --user default on nopass '~*' '&*' +@all --user {acl} >log 2>&1 &
tries=0
until [ -S s.sock ]; do
tries=$((tries + 1)); [ "$tries" -lt 100 ] && kill -0 $! || {{ cat log; exit 1; }}; sleep 0.1; done
redis() {{ redis-cli -s s.sock --no-auth-warning "$@"; }}
{fill}
redis --user monitor --pass m -n 0 --json --eval {script}
kill $!
"""


def counted(folder: Path, fill: str, **more: Any) -> dict[str, int]:
    """What the script says, as the user monitor, of a Redis in which ``fill`` has put something."""
    rendered = rolekit.component("redis_exporter", folder, **{**OPTIONS, **more})
    script = folder / "unacked.lua"
    script.write_text(rolekit.text(rendered, "redis_exporter/config/unacked.lua"), "utf-8")
    users = rolekit.text(rolekit.component("redis", folder, redis_monitor_password="m"), "redis/secrets/users.acl")  # noqa: S106
    (line,) = [line for line in users.splitlines() if line.startswith("user monitor ")]
    acl = " ".join(f"'{word}'" for word in line.split()[1:])
    text = SERVER.format(acl=acl, fill=fill, script=script)
    argv = [*programs.in_image("redis", "/bin/bash", folder), "-c", f"cd {folder}\n{text}"]
    done = subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True, stderr=subprocess.STDOUT).stdout
    found = json.loads(done.splitlines()[-1])
    return {key: int(value) for key, value in zip(found[::2], found[1::2], strict=True)}


FILL = """redis rpush mail 1 2 >/dev/null
redis rpush "$(printf 'mail\\006\\0263')" 1 2 3 >/dev/null
redis rpush "$(printf 'mail\\006\\0269')" 1 >/dev/null
redis rpush 'b:ulk.é' 1 >/dev/null
redis rpush "$(printf 'b:ulk.é\\006\\0266')" 1 1 >/dev/null
redis set odd text >/dev/null"""


def test_all_priorities_are_counted(tmp_path: Path) -> None:
    """As Kombu's transport for Redis names them; a key of another kind counts nothing, and breaks nothing."""
    lengths = {"mail": 6, "b:ulk.é": 3, "idle": 0, "odd": 0}
    expected = {"celery_unacked_oldest_seconds": 0, **{f"celery_queue_length/{name}": n for name, n in lengths.items()}}
    assert counted(tmp_path, FILL) == expected


def test_steps_and_separator_of_the_application(tmp_path: Path) -> None:
    fill = "for key in mail mail:1 mail:2 mail:5; do redis -n 3 rpush $key 1 2 >/dev/null; done"
    more = {
        "redis_exporter_priority_steps": [0, 1, 2],
        "redis_exporter_priority_separator": ":",
        "redis_exporter_database": 3,
    }
    assert counted(tmp_path, fill, **more)["celery_queue_length/mail"] == 6


@pytest.mark.parametrize("prefix", [None, "shop:"])
def test_an_inventory_with_and_without_a_prefix_is_accepted(prefix: str | None, tmp_path: Path) -> None:
    values = {} if prefix is None else {"celery_exporter_key_prefix": prefix}
    assert inventories.faults(inventories.written(tmp_path, values)) == []


def test_keys_with_a_prefix(tmp_path: Path) -> None:
    """As Kombu names them with global_keyprefix; what has not that prefix is another application's."""
    fill = re.sub(r"(rpush (?:\"\$\(printf )?'?)(?=mail|b:)", r"\1shop:", FILL)
    fill += "\nredis rpush mail 1 1 1 >/dev/null; redis zadd shop:unacked_index 1 x >/dev/null"
    more = {"celery_exporter_key_prefix": "shop:"}
    found = counted(tmp_path, fill, **more)
    assert (found["celery_queue_length/mail"], found["celery_queue_length/b:ulk.é"]) == (6, 3)
    assert found["celery_unacked_oldest_seconds"] > 1_000_000_000
    keys = dict(rolekit.services(rolekit.component("redis_exporter", tmp_path, **{**OPTIONS, **more})))[
        "redis-exporter"
    ]["environment"]["REDIS_EXPORTER_CHECK_SINGLE_KEYS"]
    assert {"db0=shop:mail", "db0=shop:unacked"} <= set(keys.split(","))
    rules = rolekit.component("redis_exporter", tmp_path, **more)
    path = next(path for path in rules.contents if path.endswith("redis.yml"))
    assert 'redis_key_size{key="shop:unacked"}' in rolekit.text(rules, path)
    exporter = dict(rolekit.services(rolekit.component("celery_exporter", tmp_path, **more)))["celery-exporter"]
    assert "--broker-transport-option=global_keyprefix=shop:" in exporter["command"]


def test_a_text_of_lua_is_its_bytes() -> None:
    assert quoting.lua_text('a"\\\n\x06é') == '"a\\034\\092\\010\\006\\195\\169"'


def _series(name: str, **labels: str) -> str:
    return name + "{" + ", ".join(f'{key}="{value}"' for key, value in labels.items()) + "}"


@pytest.mark.parametrize(
    ("exporter", "script", "expected"),
    [("2x5", "9x5", 9), ("7x5", "_x5", 7), ("_x5", "4x5", 4), ("6x5", "0x5", 6)],
)
def test_a_queue_s_length_is_the_larger_count(exporter: str, script: str, expected: int, tmp_path: Path) -> None:
    """With another broker redis-exporter finds nothing, without redis-exporter only priority 0 is known."""
    rendered = rolekit.component("celery_exporter", tmp_path, landfall_runbook_url=rulekit.RUNBOOK_URL)
    path = next(path for path in rendered.contents if path.endswith("resource-exhaustion.yml"))
    (tmp_path / "rules.yml").write_text(rolekit.text(rendered, path), "utf-8")
    series = [
        {"series": _series("celery_queue_length", queue_name="mail", job="celery-exporter"), "values": exporter},
        {"series": _series("redis_script_values", key="celery_queue_length/mail", job="redis"), "values": script},
        {"series": _series("redis_script_values", key="celery_unacked_oldest_seconds", job="redis"), "values": "99x5"},
    ]
    sample = {"labels": _series("queue_name:celery_queue_length:max", queue_name="mail"), "value": expected}
    asked = [{"expr": "queue_name:celery_queue_length:max", "eval_time": "3m", "exp_samples": [sample]}]
    test = {"interval": "1m", "input_series": series, "promql_expr_test": asked}
    (tmp_path / "test.yml").write_text(json.dumps({"rule_files": ["rules.yml"], "tests": [test]}), "utf-8")
    result = rulekit.run_promtool("test", "rules", tmp_path / "test.yml")
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_exporter_s_lines_are_those_that_dashboards_are_tried_with(tmp_path: Path) -> None:
    """The real exporter runs the script of the reference application against a real Redis."""
    exporter = programs.from_debian("prometheus-redis-exporter", "prometheus-redis-exporter")
    rendered = rolekit.component("redis_exporter", tmp_path)
    script = tmp_path / "unacked.lua"
    script.write_text(rolekit.text(rendered, "redis_exporter/config/unacked.lua"), "utf-8")
    wait = "until [ -e stop ]; do sleep 0.1; done"
    text = SERVER.format(acl="monitor on nopass '~*' '&*' +@all", fill=FILL, script=script)
    text = re.sub(r"(?m)^redis --user monitor .*$", wait, text)
    argv = [*programs.in_image("redis", "/bin/bash", tmp_path), "-c", f"cd {tmp_path}\n{text}"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{free.getsockname()[1]}"
    with (
        subprocess.Popen(argv) as server,
        subprocess.Popen(
            [exporter, f"-web.listen-address={place}", f"-redis.addr=unix://{tmp_path}/s.sock", f"-script={script}"],
        ) as asked,
    ):
        try:
            end = time.monotonic() + 30
            served = ""
            while "redis_script_values" not in served:
                assert server.poll() is None and time.monotonic() < end, served
                time.sleep(0.2)
                with contextlib.suppress(OSError):
                    served = requests.get(f"http://{place}/metrics", timeout=5).text
        finally:
            asked.terminate()
            (tmp_path / "stop").touch()
            server.wait(30)
    kept = (rolekit.ROOT / "tests/expositions/redis-exporter-1.86.0.txt").read_text("utf-8")
    said = re.compile(r'(?m)^redis_script_values\{filename="[^"]*",key="([^"]*)"\} [0-9]')
    keys = [set(said.findall(text)) for text in (served, kept)]
    assert keys[0] == keys[1] and len(keys[0]) == 4, keys
