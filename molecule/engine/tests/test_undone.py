"""What does not serve is undone: the tree, the containers and what Prometheus knows are those of before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from testbed import probe
from testbed.drills import changed_roles, identity, play, record, serves, unchanged

CRASH = ("--tags", "prometheus", "-e", '{"prometheus_arguments": ["--no-such-flag"]}')
# Comes up and stays unhealthy
MORE = """
  redis-exporter-more:
    image: {{ service.text(redis_exporter_image) }}
{{ service.defaults('redis-exporter-more', image=redis_exporter_image, cpus=redis_exporter_cpus,
                    memory=redis_exporter_memory, user='59000:59000') }}
{{ service.healthcheck(['CMD', 'false'], interval='1s', timeout='1s', retries=1, start_period='1s') }}
"""
RULE = {"groups": [{"name": "more", "rules": [{"alert": "More", "expr": "vector(1) > 2"}]}]}
# New files, and one that gets a target more
ADDED = ("prometheus/rules.d/redis-exporter--more.yml", "prometheus/targets.d/redis-exporter.yml",
         "grafana/dashboards.d/redis-exporter--more.json")  # fmt: skip


def tree(host: Any) -> str:
    """Every file and folder of the stack with mode, owner and content; of the engine's own state the records."""
    look = "find . -path ./.state -prune -o -printf '%y %m %U %p\\n' | sort; find . -type f ! -path './.state/*' "
    look += "-exec sha256sum {} + | sort; sha256sum .state/*.json"
    return probe.output(host, "sh", "-c", f"cd /opt/landfall && {look}")


def grown(roles: Path) -> None:
    """Let redis-exporter bring a service that does not serve, and a file of each kind for others."""
    role = roles / "redis_exporter"
    template = role / "templates/compose.yaml.j2"
    services, network, _nothing = template.read_text(encoding="utf-8").rpartition("{{ service.network() }}\n")
    template.write_text(f"{services.rstrip()}{MORE}{network}", encoding="utf-8")
    (role / "templates/rules/more.yml.j2").write_text(json.dumps(RULE))
    board = json.loads((role / "files/dashboards/database-redis.json").read_text())
    (role / "files/dashboards/more.json").write_text(json.dumps({**board, "uid": "landfall-more", "title": "More"}))
    tasks = yaml.safe_load((role / "tasks/main.yml").read_text())
    component = tasks[0]["landfall.vps.component"]
    component["scrape"].append({"port": 9121, "service": "redis-exporter-more"})
    component["prove_timeout"] = 60  # an end for what never answers: unhealthy is told at once
    (role / "tasks/main.yml").write_text(yaml.safe_dump(tasks))


def jobs(host: Any) -> set[str]:
    """What Prometheus scrapes."""
    found = {str(one["labels"]["job"]) for one in probe.prometheus(host, "targets")["activeTargets"]}
    assert "redis-exporter" in found, found
    return found


def test_what_an_update_added_for_others_goes_with_it_when_it_does_not_serve(host: Any) -> None:
    before = tree(host), identity(host, "redis-exporter"), identity(host, "prometheus")
    with changed_roles(grown):
        foreseen, _figures, status = play("--tags", "redis_exporter", "--check", "--diff")
        assert status == 0 and all(f"+++ after: {path}" in foreseen for path in ADDED), foreseen
        text, _figures, status = play("--tags", "redis_exporter")
    assert status != 0, text
    plain = " ".join(text.split())
    assert "redis-exporter-more is unhealthy" in plain and "previous version was restored and serves again" in plain
    assert tree(host) == before[0]
    assert (identity(host, "redis-exporter"), identity(host, "prometheus")) == before[1:]
    assert "redis-exporter-more" not in probe.containers(host)
    groups = {group["name"] for group in probe.prometheus(host, "rules")["groups"]}
    assert groups and "more" not in groups, groups
    # Prometheus itself waits for five seconds between two looks at files of targets
    assert probe.eventually(lambda: "redis-exporter-more" not in jobs(host), 20), jobs(host)
    assert unchanged(*play())


def test_a_version_that_does_not_serve_is_undone_and_says_why(host: Any) -> None:
    before = tree(host)
    digest = record(host, "prometheus")["digest"]
    text, _figures, status = play(*CRASH)
    assert status != 0
    assert "no-such-flag" in text, text  # the program's own log line
    assert "previous version was restored and serves again" in text, text
    assert "rolled_back" in text
    assert tree(host) == before and record(host, "prometheus")["digest"] == digest
    assert serves(host)
    assert unchanged(*play())


def test_a_new_component_that_does_not_serve_is_removed_again(host: Any) -> None:
    assert play("--tags", "redis_exporter", "-e", "redis_exporter_enabled=false")[2] == 0
    before = tree(host)
    text, _figures, status = play("--tags", "redis_exporter", "-e", "redis_exporter_memory=6m")
    assert status != 0 and "it was new: its containers and files were removed again" in text, text
    assert "redis-exporter" not in probe.containers(host)
    assert tree(host) == before
    assert not host.file("/opt/landfall/redis_exporter").exists
    assert not host.file("/opt/landfall/prometheus/targets.d/redis-exporter.yml").exists
    text, figures, status = play("--tags", "redis_exporter")
    assert status == 0 and figures["changed"] == 1, text
