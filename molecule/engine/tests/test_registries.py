"""A registry with a password, on the VPS itself: signed in at, pulled from, and told of before anything changes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from testbed import probe

PLAY = "molecule/engine/converge.yml"
PASSWORD = "a registry: pass$word"  # noqa: S105 - of a registry that lives as long as this module's tests
HASH = "$2b$05$abcdefghijklmnopqrstuubEl9hpkvNMrM.IP4HJaKroc0C7ZkKyC"
REGISTRY = "127.0.0.1:5000"
IMAGE = f"{REGISTRY}/team/redis:1"
OWNERS = {"auths": {"ghcr.io": {"auth": "b3duOmVy"}}, "HttpHeaders": {"X-Meta": "1"}}
CONFIG = "/root/.docker/config.json"


def play(password: str, image: str = IMAGE, *argv: str) -> tuple[str, dict[str, int], int]:
    """The scenario's play with Redis from that registry; ``(what it printed in one line, figures, exit status)``."""
    wanted = {
        "docker_registries": [{"address": REGISTRY, "user": "deploy", "password": password}],
        "landfall_images": "registry",
        "redis_image": image,
    }
    text, figures, status = probe.playbook("-e", json.dumps(wanted), "--diff", "-vvv", *argv, name=PLAY)
    return " ".join(text.split()), figures, status


def write(host: Any, path: str, text: str) -> None:
    probe.output(host, "sh", "-c", f"umask 077; mkdir -p $(dirname {path}); cat >{path} <<'END'\n{text}\nEND")


@pytest.fixture(scope="module", autouse=True)
def fixture_registry(host: Any) -> Iterator[None]:
    """Debian's registry with one user, an image of the stack in it, and a config.json of the owner's."""
    install = "DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends docker-registry"
    probe.output(host, "sh", "-c", f"apt-get update -qq && {install}")
    write(host, "/etc/docker/registry/htpasswd", f"deploy:{HASH}")
    probe.output(host, "sh", "-c", "chmod 644 /etc/docker/registry/htpasswd; systemctl restart docker-registry")
    source = probe.containers(host)["redis"]["Config"]["Image"]
    docker, auth = "docker --config /tmp/push", f"--username deploy --password-stdin {REGISTRY}"
    push = f"{docker} login {auth} && docker tag {source} {IMAGE} && {docker} push {IMAGE}"
    assert probe.eventually(lambda: host.run("curl -s http://127.0.0.1:5000/v2/").rc == 0, 20)
    probe.output(host, "sh", "-c", f"printf %s '{PASSWORD}' | ({push}); docker rmi {IMAGE}; rm -r /tmp/push")
    write(host, CONFIG, json.dumps(OWNERS))
    yield
    text, _figures, status = probe.playbook(name=PLAY)
    assert status == 0, text
    probe.output(host, "sh", "-c", "apt-get purge --yes docker-registry; rm -rf /var/lib/docker-registry /root/.docker")


def kept(host: Any) -> Any:
    return json.loads(probe.output(host, "cat", CONFIG))


@pytest.mark.parametrize(
    ("password", "image", "words"),
    [
        ("wrong", IMAGE, "redis_image: 127.0.0.1:5000/team/redis:1 cannot be pulled: it wants a user who may read it"),
        (PASSWORD, f"{REGISTRY}/team/redis:2", "127.0.0.1:5000 has no such image; look at its name and tag"),
        (PASSWORD, "127.0.0.1:5001/team/redis:1", "127.0.0.1:5001 cannot be reached from the VPS"),
    ],
    ids=["password", "image", "registry"],
)
def test_what_cannot_be_pulled_is_refused_before_anything_changes(
    host: Any, password: str, image: str, words: str
) -> None:
    before = probe.identity(probe.containers(host)["redis"])
    text, figures, status = play(password, image)
    assert status != 0 and figures["changed"] == 0, text
    assert words in text and "nothing was changed" in text, text
    assert password not in text or password == "wrong"  # noqa: S105
    assert probe.identity(probe.containers(host)["redis"]) == before and kept(host) == OWNERS


def test_an_image_is_pulled_with_a_password_that_nobody_sees(host: Any) -> None:
    text, figures, status = play(PASSWORD)
    assert status == 0 and figures["changed"] > 0, text
    assert probe.containers(host)["redis"]["Config"]["Image"] == IMAGE
    config = kept(host)
    assert set(config["auths"]) == {"ghcr.io", REGISTRY} and config["HttpHeaders"] == OWNERS["HttpHeaders"]
    assert probe.output(host, "stat", "--format", "%a %U", CONFIG).split() == ["600", "root"]
    secret = config["auths"][REGISTRY]["auth"]
    assert PASSWORD not in text and secret not in text
    found = host.run("grep -rlF -e %s -e %s /opt/landfall /etc/docker /tmp", PASSWORD, secret).stdout
    assert found == ""
    # sudo notes the commands of these tests, which name the password; the deploy's own hold programs alone
    journal = host.run(
        "journalctl -o cat --no-pager | grep -v COMMAND= | grep -cF -e %s -e %s", PASSWORD, secret
    ).stdout
    assert journal.strip() == "0"
    text, figures, status = play(PASSWORD)
    assert status == 0 and figures["changed"] == 0, text


def test_what_is_not_named_any_more_is_signed_out_of(host: Any) -> None:
    text, _figures, status = probe.playbook("--tags", "docker", name=PLAY)
    assert status == 0, text
    assert kept(host) == OWNERS
