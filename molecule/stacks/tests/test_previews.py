"""Previews: deployed by one command beside other stacks, found by their names, gone by one command or by themselves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from testbed import probe

EDGE, PREVIEW = "molecule/stacks/edge.yml", "playbooks/preview.yml"
FOLDER = "/opt/edge-landfall/caddy/previews"
STACK: dict[str, Any] = {
    "landfall_prefix": "edge-",
    "landfall_subnet": "172.30.5.0/24",
    "caddy_tls": "internal",
    # There is no application beside it
    "caddy_app_upstreams": [],
    # What is asked for here is /metrics
    "caddy_private_paths": [],
    "caddy_sites": [{"host": "*.preview.landfall.test", "previews": True}],
}


def play(values: dict[str, Any], name: str, *argv: str) -> tuple[str, dict[str, int], int]:
    text, figures, status = probe.playbook("-e", json.dumps(values), *argv, name=name)
    return " ".join(text.split()), figures, status


def preview(host: Any, name: str, *argv: str, **more: Any) -> tuple[str, dict[str, int], int]:
    """Deploy a preview: an exporter as the application, whose metrics begin with its name."""
    image = probe.containers(host)["staging-redis-exporter"]["Config"]["Image"]
    service = {
        "name": "web",
        "image": image,
        "port": 9121,
        "health": "/health",
        "environment": {"REDIS_ADDR": "redis://redis:6379", "REDIS_EXPORTER_NAMESPACE": name},
        "user": "10001:10001",
        "limits": {"memory": "48m", "cpus": 0.2},
    }
    values: dict[str, Any] = {
        "preview": name,
        "app_preview_folder": FOLDER,
        "app_preview_upstream": "web:9121",
        "app_services": [service],
        "celery_enabled": False,
        **more,
    }
    return play(values, PREVIEW, *argv)


def asked(host: Any, name: str, path: str = "/metrics") -> str:
    """What a visitor of the preview gets, or the status if it is no 200."""
    full = f"{name}.preview.landfall.test"
    form = "curl -sk -m 10 --resolve %s:443:127.0.0.1 -w '\\n%%{http_code}' https://%s%s"
    text, _line, status = host.run(form, full, full, path).stdout.rpartition("\n")
    return str(text if status == "200" else status)


def there(host: Any, name: str) -> dict[str, tuple[str, str, int]]:
    found = probe.containers(host)
    return {one: probe.identity(found[one]) for one in found if one.startswith(name)}


def left(host: Any, name: str) -> str:
    """All that is left of a preview, empty if nothing is."""
    stack = f"label=org.landfall.stack=preview-{name}-landfall"
    asking = f"""for kind in container volume network; do docker $kind ls --quiet --filter {stack}; done
        ls -d /opt/preview-{name}-landfall {FOLDER}/{name}.sock /etc/systemd/system/*preview-{name}* 2>/dev/null
        docker container ls --all --quiet --filter name=preview-{name}-; true"""
    return probe.output(host, "sh", "-c", asking).strip()


@pytest.fixture(scope="module", autouse=True)
def fixture_edge(host: Any) -> Iterator[None]:
    """The proxy; the stack of the scenario runs beside it, and is no other at the end."""
    before = there(host, "staging-")
    text, _figures, status = play(STACK, EDGE)
    assert status == 0, text
    yield
    assert there(host, "staging-") == before
    text, _figures, status = play({**STACK, "caddy_enabled": False, "landfall_purge_volumes": True}, EDGE)
    assert status == 0, text


def test_previews_are_found_by_their_names_and_have_their_own_data(host: Any) -> None:
    assert asked(host, "login") == "502"
    edge = there(host, "edge-")
    for name in ("login", "cart"):
        text, _figures, status = preview(host, name)
        assert status == 0, text
        found = asked(host, name)
        assert f"{name}_up " in found, found
    volumes = set(probe.output(host, "docker", "volume", "ls", "--quiet").split())
    assert {"preview-login-redis-data", "preview-cart-redis-data"} <= volumes
    assert there(host, "edge-") == edge, "the proxy was not touched"
    described = probe.containers(host)["preview-login-web"]
    assert described["HostConfig"]["Memory"] == 48 << 20 and not described["HostConfig"]["PortBindings"]
    assert probe.containers(host)["preview-login-redis"]["HostConfig"]["Memory"] > 0


def test_one_goes_by_a_command_and_the_other_stays(host: Any) -> None:
    cart = there(host, "preview-cart-")
    text, figures, status = preview(host, "login", state="absent")
    assert status == 0 and figures["changed"] == 1, text
    assert left(host, "login") == "" and asked(host, "login") == "502"
    assert there(host, "preview-cart-") == cart and "cart_up " in asked(host, "cart")
    text, figures, status = preview(host, "login", state="absent")
    assert status == 0 and figures["changed"] == 0, text


def test_one_goes_by_itself_when_its_time_is_over(host: Any) -> None:
    assert left(host, "cart")
    timer = "/etc/systemd/system/landfall-preview-cart-end.timer"
    end = "$(date --utc --date=+3seconds '+%Y-%m-%d %H:%M:%S')"
    probe.output(host, "sh", "-c", f'sed -i "s/^OnCalendar=.*/OnCalendar={end} UTC/" {timer}; systemctl daemon-reload; '
                 "systemctl restart landfall-preview-cart-end.timer")  # fmt: skip
    assert probe.eventually(lambda: left(host, "cart") == "", 60), left(host, "cart")
    assert asked(host, "cart") == "502"
    assert not host.file("/usr/local/lib/landfall-preview/remove").exists, "it was the last one"
    assert host.run("systemctl --failed --plain --no-legend 'landfall-preview-*'").stdout == ""


def test_bad_input_leaves_nothing(host: Any) -> None:
    for values, words in (
        ({"app_preview_folder": "/opt/none"}, "app_preview_folder: /opt/none is not there"),
        ({"landfall_subnet": "172.30.5.0/24"}, "landfall_subnet"),
    ):
        text, _figures, status = preview(host, "bad", **values)
        assert status != 0 and words in text, text
    assert not there(host, "preview-bad-") and not host.file("/opt/preview-bad-landfall/app-web").exists
    text, _figures, status = preview(host, "bad", state="absent")
    assert status == 0 and left(host, "bad") == "", text
