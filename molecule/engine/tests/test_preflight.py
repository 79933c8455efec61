"""A VPS that others live on: who has what a run wants is told before anything changes, and all at once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from testbed import probe

PLAY = "molecule/engine/converge.yml"
# What a process, the kernel, the engine and the inventory itself say no to
WANTED = {
    "redis_publish": ["127.0.0.1:6390:6379"],
    "prometheus_cpus": 4096,
    "docker_daemon_options": {"userns-remap": "default"},
    "redis_maxmemory": "0",
    "redis_password": "",
}
FAULTS = (
    "the inventory of",
    "redis_password: is empty",
    "redis_maxmemory: 0 is no bound",
    "cannot take the stack, it has 3 faults",
    "userns-remap is set by the inventory",
    "redis_publish[0]: port 6390/tcp of the VPS is taken by python3 (pid ",
    "prometheus_cpus: 4096 CPUs are more than this VPS has",
)


def play(*argv: str) -> tuple[str, dict[str, int], int]:
    """The scenario's play; ``(what it printed in one line, figures, exit status)``."""
    text, figures, status = probe.playbook(*argv, name=PLAY)
    return " ".join(text.split()), figures, status


@pytest.fixture(name="stranger")
def fixture_stranger(host: Any) -> Iterator[None]:
    """A process on a port and a bridge within the containers' range, both somebody else's."""
    probe.output(host, "systemd-run", "--unit=stranger", "python3", "-m", "http.server", "6390", "--bind", "127.0.0.1")
    for words in ("add stranger type bridge", "set stranger up"):
        probe.output(host, "ip", "link", *words.split())
    probe.output(host, "ip", "address", "add", "172.30.0.129/25", "dev", "stranger")
    listens = ["sh", "-c", "ss -tln | grep -q 127.0.0.1:6390"]
    assert probe.eventually(lambda: host.run(" ".join(["%s"] * len(listens)), *listens).rc == 0, 20)
    yield
    probe.output(host, "ip", "link", "delete", "stranger")
    probe.output(host, "systemctl", "stop", "stranger")


@pytest.mark.parametrize("mode", ["", "--check"])
@pytest.mark.usefixtures("stranger")
def test_all_faults_are_told_at_once_and_nothing_is_changed(host: Any, mode: str) -> None:
    # What was read and which run read it is remembered; neither is a file of a component
    names = ["!", "-name", "compose-version", "!", "-name", "last-run", "-type", "f"]
    tree = ["find", "/opt/landfall", "/etc/docker", *names, "-printf", "%p %T@ %s\\n"]
    before = probe.output(host, *tree), {n: probe.identity(c) for n, c in probe.containers(host).items()}
    text, figures, status = play(*([mode] if mode else []), "-e", json.dumps(WANTED))
    assert status != 0 and figures["changed"] == 0, text
    missing = [words for words in FAULTS if words not in text]
    assert not missing, (missing, text)
    assert (probe.output(host, *tree), {n: probe.identity(c) for n, c in probe.containers(host).items()}) == before


@pytest.fixture(name="peculiar")
def fixture_peculiar(host: Any) -> Iterator[str]:
    """What somebody made of the engine: its settings, root's client, containers, volumes and images; an image of it."""
    image = probe.containers(host)["redis"]["Config"]["Image"]
    arm = "printf x >/tmp/x && tar -C /tmp -c x | docker import --platform linux/{0} - stranger:1"
    other = "amd64" if probe.output(host, "uname", "-m").strip() == "aarch64" else "arm64"
    probe.output(host, "sh", "-c", arm.format(other))
    probe.output(host, "docker", "run", "-d", "--name", "shop", "--publish", "127.0.0.1:6391:6379", image)
    probe.output(host, "docker", "volume", "create", "lived-redis-data")
    kept = "test ! -e {0} || cp -a {0} {0}.kept; mkdir -p $(dirname {0}); printf '%s' '{1}' >{0}"
    back = "rm -f {0}; test ! -e {0}.kept || mv {0}.kept {0}"
    files = {"/etc/docker/daemon.json": '{"mtu": 1400,}', "/root/.docker/config.json": '{"currentContext": "far"}'}
    try:
        for path, text in files.items():
            probe.output(host, "sh", "-c", kept.format(path, text))
        yield other
    finally:
        for path in files:
            probe.output(host, "sh", "-c", back.format(path))
        probe.output(host, "docker", "rm", "--force", "--volumes", "shop")
        probe.output(host, "docker", "volume", "rm", "lived-redis-data")
        probe.output(host, "docker", "rmi", "stranger:1")


def test_each_kind_of_neighbour_and_engine_is_told_in_one_message(host: Any, peculiar: str) -> None:
    """A second stack comes to this VPS, where all is taken: by the first one, by a shop, by what its owner set."""
    wanted = {
        "landfall_prefix": "lived-",
        "landfall_subnet": "172.30.0.0/25",
        "landfall_image_size": "900TB",
        "redis_publish": ["127.0.0.1:6391:6379"],
        "redis_image": "stranger:1",
        "redis_exporter_image": "nobody/has-this:1",
        "docker_daemon_options": {"iptables": False},
    }
    text, figures, status = play("--check", "-e", json.dumps(wanted))
    assert status != 0 and figures["changed"] == 0, text
    told = (
        "/etc/docker/daemon.json is no JSON",
        "iptables is false",
        "the context 'far'",
        "redis_publish[0]: port 6391/tcp of the VPS is taken by the container shop",
        "port 9090/tcp of the VPS is taken by the container prometheus of the Landfall stack 'landfall'",
        "landfall_subnet: 172.30.0.0/25 overlaps the Docker network landfall",
        "1 missing image and the reserve need ",
        f"redis_image: stranger:1 is built for {peculiar}",
        "the volume lived-redis-data is there already and belongs to somebody who made it by hand",
    )
    missing = [words for words in told if words not in text]
    assert not missing, (missing, text)
    assert not host.file("/opt/lived-landfall").exists and not host.file("/opt/landfall/.state/lock").exists


@pytest.mark.usefixtures("stranger")
def test_what_only_overlaps_a_network_that_is_there_is_told(host: Any) -> None:
    text, figures, status = play()
    assert status == 0 and figures["changed"] == 0, text
    assert "overlaps a route through the interface stranger (172.30.0.128/25)" in text
    port = probe.output(host, "sh", "-c", "ss -tlnp | grep -c 127.0.0.1:9090")
    assert port.strip() == "1", "the stack's own listener is nobody's fault"


def test_a_file_that_vanishes_and_data_below_the_root_end_no_run(host: Any) -> None:
    """A cron job that writes a metric, and the data of a container: neither is the engine's to read."""
    churn = (
        "while :; do echo x >/opt/landfall/prometheus/rules.d/x.$$; rm -f /opt/landfall/prometheus/rules.d/x.$$; done"
    )
    probe.output(host, "systemd-run", "--unit=churn", "sh", "-c", churn)
    probe.output(host, "mkdir", "-p", "/opt/landfall/redis/data")
    probe.output(host, "truncate", "--size=100G", "/opt/landfall/redis/data/dump.rdb")
    try:
        text, figures, status = play()
        assert status == 0 and figures["changed"] == 0, text
    finally:
        probe.output(host, "systemctl", "stop", "churn")
        probe.output(host, "rm", "-r", "/opt/landfall/redis/data")
