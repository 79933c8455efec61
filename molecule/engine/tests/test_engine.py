"""What the engine does when things go wrong. Each test leaves the VPS as the converge step did."""

from __future__ import annotations

import json
import re
import threading
from typing import Any

from testbed import probe
from testbed.drills import added_to_role, identity, play, record, serves, unchanged

DEBUG = ("--tags", "prometheus", "-e", '{"prometheus_arguments": ["--log.level=debug"]}')

BROKEN_CONFIGURATION = ("prometheus/templates/config/prometheus.yml.j2", "\nno_such_key: 1\n")
# A quote too many, and the rule file is no YAML any more
BROKEN_RULE = ("redis_exporter/templates/rules/redis.yml.j2", '\nmore: "\n')

# Runs on the VPS: waits until the new compose file is in place, then kills -9 whoever holds the engine's lock, which
# is the module between swap and record.
KILLER = r"""
import glob, os, signal, sys, time
deadline = time.monotonic() + 120
while time.monotonic() < deadline:
    if sys.argv[1] in open("/opt/landfall/prometheus/compose.yaml").read():
        for link in glob.glob("/proc/[0-9]*/fd/*"):
            try:
                if os.readlink(link) == "/opt/landfall/.state/lock.guard":
                    os.kill(int(link.split("/")[2]), signal.SIGKILL)
                    print("killed")
                    sys.exit(0)
            except OSError:
                pass
    time.sleep(0.002)
sys.exit("nothing to kill")
"""


def test_nothing_to_do_is_said_at_once_and_no_later_task_runs() -> None:
    text, figures, status = play()
    assert unchanged(text, figures, status)
    assert "plan: nothing to do, 3 components are as the inventory says" in text, text
    assert not any(f"TASK [{role} :" in text for role in ("docker", "redis", "redis_exporter", "prometheus")), text


def test_a_host_stays_in_the_play_where_the_inventory_says_so() -> None:
    text, figures, status = play("-e", '{"landfall_finish_early": false}')
    assert unchanged(text, figures, status)
    assert "plan: nothing to do" in text and "TASK [prometheus : Deploy Prometheus]" in text, text


def test_what_does_not_render_is_refused_before_another_component_is_changed(host: Any) -> None:
    before = identity(host, "redis")
    with added_to_role("prometheus/templates/config/prometheus.yml.j2", "\n{{ no_such_variable }}\n"):
        text, figures, status = play("-e", "redis_memory=600m")
    assert status != 0 and figures["changed"] == 0, text
    assert "no_such_variable" in text and "nothing was changed" in text and "TASK [redis" not in text, text
    assert identity(host, "redis") == before and serves(host)


def test_what_the_checker_refuses_never_becomes_live(host: Any) -> None:
    before = identity(host, "prometheus"), probe.output(host, "cat", "/opt/landfall/prometheus/config/prometheus.yml")
    with added_to_role(*BROKEN_CONFIGURATION):
        text, _figures, status = play("--tags", "prometheus")
    assert status != 0
    assert "promtool" in text and "no_such_key" in text, text
    assert (
        identity(host, "prometheus"),
        probe.output(host, "cat", "/opt/landfall/prometheus/config/prometheus.yml"),
    ) == before
    assert not host.file("/opt/landfall/.state/lock").exists, "who was refused keeps nobody out"
    assert serves(host)


def test_the_checker_runs_under_check_mode_too(host: Any) -> None:
    with added_to_role(*BROKEN_CONFIGURATION):
        text, _figures, status = play("--check", "--tags", "prometheus")
    assert status != 0 and "promtool" in text, text
    assert serves(host)


def test_a_rule_that_does_not_parse_never_becomes_live(host: Any) -> None:
    path = "/opt/landfall/prometheus/rules.d/redis-exporter--redis.yml"
    before = identity(host, "redis-exporter"), identity(host, "prometheus"), probe.output(host, "cat", path)
    for more in (("--check",), ()):
        with added_to_role(*BROKEN_RULE):
            text, figures, status = play(*more, "--tags", "redis_exporter")
        assert status != 0 and figures["changed"] == 0, text
        plain = " ".join(text.split())
        assert re.search(r"prometheus/rules\.d: .*redis-exporter--redis\.yml: yaml: line \d+: ", plain), text
    after = identity(host, "redis-exporter"), identity(host, "prometheus"), probe.output(host, "cat", path)
    assert after == before
    assert serves(host)


def test_a_rule_that_came_before_prometheus_is_refused_before_prometheus_is_placed(host: Any) -> None:
    """As on a bare VPS: who ships the rule serves, and Prometheus comes with the next run, once the rule is right."""
    assert play("--tags", "prometheus", "-e", "prometheus_enabled=false")[2] == 0
    with added_to_role(*BROKEN_RULE):
        text, _figures, status = play()
    assert status != 0, text
    plain = " ".join(text.split())
    assert re.search(r"prometheus: prometheus/rules\.d: .*redis-exporter--redis\.yml: yaml: line \d+:", plain), text
    assert "prometheus" not in probe.containers(host)
    for path in ("/opt/landfall/prometheus/compose.yaml", "/opt/landfall/.state/prometheus.json"):
        assert not host.file(path).exists, path
    assert record(host, "redis_exporter")["proven"] and not host.file("/opt/landfall/.state/lock").exists
    text, _figures, status = play()
    assert status == 0 and serves(host), text
    assert unchanged(*play())


def test_a_dashboard_whose_uid_another_has_never_becomes_live(host: Any) -> None:
    folder = "/opt/landfall/grafana/dashboards.d"
    mine, other = f"{folder}/redis-exporter--database-redis.json", f"{folder}/of-an-earlier-play--redis.json"
    probe.output(host, "mv", mine, other)
    try:
        text, figures, status = play("--tags", "redis_exporter")
        plain = " ".join(text.split())
        assert status != 0 and figures["changed"] == 0, text
        assert "redis-exporter--database-redis.json: its uid landfall-database-redis is that of" in plain, text
        assert "of-an-earlier-play--redis.json already" in plain and not host.file(mine).exists
    finally:
        probe.output(host, "rm", other)
    text, figures, status = play("--tags", "redis_exporter")
    assert status == 0 and figures["changed"] == 1 and host.file(mine).exists, text


def test_a_run_killed_between_swap_and_record_is_finished_by_the_next(host: Any) -> None:
    old = record(host, "prometheus")["digest"]
    killed: list[Any] = []
    killer = threading.Thread(target=lambda: killed.append(host.run("python3 -c %s %s", KILLER, "log.level=debug")))
    killer.start()
    _text, _figures, status = play(*DEBUG)
    killer.join()
    assert killed[0].stdout == "killed\n", killed[0]
    assert status != 0
    assert record(host, "prometheus")["digest"] == old, "the killed run must not have recorded"
    assert "log.level=debug" in probe.output(host, "cat", "/opt/landfall/prometheus/compose.yaml"), "it had swapped"

    text, figures, status = play(*DEBUG)
    # The compose file is in place before the last file is: cut off between the two, the change is undone and made again
    finished = "what a run that died had begun was finished and proven" in text
    undone = "what a run that died had begun was undone; the previous files were restored" in text
    assert status == 0 and finished != undone and figures["changed"] == (1 if finished else 2), text
    assert "--log.level=debug" in probe.containers(host)["prometheus"]["Args"]
    assert record(host, "prometheus")["digest"] != old and record(host, "prometheus")["proven"]
    assert unchanged(*play(*DEBUG))
    assert play("--tags", "prometheus")[2] == 0


def test_a_hand_edited_file_is_put_right_by_a_reload(host: Any) -> None:
    path = "/opt/landfall/prometheus/config/prometheus.yml"
    before, was = identity(host, "prometheus"), probe.output(host, "cat", path)
    probe.output(host, "sed", "-i", "s/scrape_interval: .15s./scrape_interval: 30s/", path)
    text, figures, status = play("--diff")
    assert status == 0 and figures["changed"] == 1, text
    assert "-  scrape_interval: 30s" in text, text
    assert probe.output(host, "cat", path) == was
    assert identity(host, "prometheus") == before


def test_a_stopped_container_is_started_again(host: Any) -> None:
    before = identity(host, "redis-exporter")[0]
    probe.output(host, "docker", "stop", "redis-exporter")
    text, figures, status = play()
    assert status == 0 and figures["changed"] == 1 and "redis-exporter is exited" in text, text
    assert identity(host, "redis-exporter")[0] == before, "started, not replaced"
    assert probe.containers(host)["redis-exporter"]["State"]["Running"]


def test_a_removed_container_is_made_again(host: Any) -> None:
    probe.output(host, "docker", "rm", "--force", "redis-exporter")
    text, figures, status = play()
    assert status == 0 and figures["changed"] == 1 and "redis-exporter is missing" in text, text


def test_a_secret_is_shown_nowhere(host: Any) -> None:
    secret = probe.output(host, "cat", "/opt/landfall/redis/secrets/redis_password").strip()
    assert len(secret) >= 20
    text, _figures, status = play("--diff", "-vvv", "--tags", "redis", "-e", "redis_password=another-long-secret-value")
    assert status == 0, text
    assert "redis/secrets/redis_password" in text and "another-long-secret-value" not in text.split("PLAY [", 1)[1]
    back, _figures, status = play("--diff", "-vvv", "--tags", "redis")
    assert status == 0 and secret not in back, back
    seen = json.dumps(probe.containers(host)) + probe.output(host, "ps", "-eww", "-o", "args")
    assert secret not in seen
    mode = host.file("/opt/landfall/redis/secrets/redis_password").mode
    assert mode == 0o400


def test_absent_removes_everything_but_the_data(host: Any) -> None:
    text, figures, status = play("--tags", "redis_exporter", "-e", "redis_exporter_enabled=false")
    assert status == 0 and figures["changed"] == 1, text
    assert "redis-exporter" not in probe.containers(host)
    assert not host.file("/opt/landfall/.state/redis_exporter.json").exists
    text, figures, status = play("--tags", "redis", "-e", "redis_enabled=false")
    assert status == 0 and figures["changed"] == 1, text
    assert "redis-data" in probe.output(host, "docker", "volume", "ls", "--quiet")
    text, figures, status = play()
    assert status == 0 and figures["changed"] == 2, text


def test_bad_input_stops_the_run_before_anything_changed(host: Any) -> None:
    before = {name: probe.identity(entry) for name, entry in probe.containers(host).items()}
    wrong = (
        "-e",
        "redis_maxmemry=1",
        "-e",
        "prometheus_image=prom/prometheus:latest",
        "-e",
        "prometheus_sample_limit=0",
    )
    text, figures, status = play(*wrong)
    assert status != 0 and figures["changed"] == 0, text
    assert "prometheus_sample_limit: 0 is no bound; give an amount above 0" in " ".join(text.split()), text
    assert "did you mean redis_maxmemory?" in text and "'latest'" in text and "nothing was changed" in text, text
    assert {name: probe.identity(entry) for name, entry in probe.containers(host).items()} == before


def test_a_user_who_may_not_use_sudo_is_told_so(host: Any) -> None:
    probe.output(host, "useradd", "--create-home", "nosudo")
    probe.output(host, "cp", "-r", "/home/deploy/.ssh", "/home/nosudo/")
    probe.output(host, "chown", "-R", "nosudo:", "/home/nosudo/.ssh")
    text, figures, status = play("-e", "ansible_user=nosudo")
    assert status != 0 and figures["changed"] == 0, text
    plain = " ".join(text.split())
    assert "nosudo cannot use sudo" in plain and "--ask-become-pass" in plain, text
