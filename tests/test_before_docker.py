"""What Docker and Compose would refuse on the VPS is refused with the inventory, by the variable's name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.landfall.vps.plugins.plugin_utils import checks, formats, service_lines, services

from tests import inventories

WEB: dict[str, Any] = {"name": "web", "image": "shop/web:1.0", "port": 8000, "health": "/health"}


@pytest.mark.parametrize(
    ("form", "good", "bad"),
    [
        (
            "image",
            [
                "shop/web:1", "web:1", "ghcr.io/my-org/my_app:V1.2-RC", "Registry.Example.org:5000/a__b/c.d:1",
                "localhost/web:1", "localhost:5000/web:1", "web@sha256:" + "0" * 64, "a/b/c/d:1@sha256:" + "a" * 64,
            ],
            ["Shop/web:1", "ghcr.io/MyOrg/app:1", "web :1", "-web:1", "web/:1", "/web:1", "a//b:1", "a_-b:1", ""],
        ),
        (
            "signal",
            ["SIGINT", "INT", "SIGUSR1", "9", "64", "SIGRTMIN+3", "RTMAX-14", "SIGWINCH"],
            ["SIGFOO", "0", "65", "SIGRTMIN+16", "SIG", "INT ", "sigint", "SIGINT+1"],
        ),
        (
            "tmpfs",
            ["/run", "/cache:size=64m", "/x:uid=33,gid=33,mode=1777,noexec", "/x:size=50%", "/x:rw,nosuid"],
            ["run", "/x:size=lots", "/x:mode=rwx", "/x:uid=www", "/x:", "/x:siez=1m", "/x:size=1m,"],
        ),
        ("ulimit", ["1024", "-1", "0"], ["many", "1k", "-2", "1.5"]),
    ],
)  # fmt: skip
def test_formats_take_what_docker_takes(form: str, good: list[str], bad: list[str]) -> None:
    assert {text: fault for text in good for fault in [formats.FORMATS[form](text)] if fault} == {}
    assert [text for text in bad if not formats.FORMATS[form](text)] == []


@pytest.mark.parametrize(
    ("item", "told"),
    [
        (
            {"image": "ghcr.io/MyOrg/App:V1"},
            "capital letters in its name, which no registry takes; write ghcr.io/myorg",
        ),
        ({"stop_signal": "SIGFOO"}, "app_services[0].stop_signal: 'SIGFOO' is no signal"),
        ({"tmpfs": ["/tmp:size=lots"]}, "app_services[0].tmpfs[0]: '/tmp:size=lots' is no tmpfs"),  # noqa: S108
        ({"ulimits": {"nofile": "x"}}, "app_services[0].ulimits.nofile: 'x' is no limit"),
        ({"ulimits": {"nofile": {"soft": "x", "hard": 9}}}, "app_services[0].ulimits.nofile.soft: 'x' is no limit"),
        (
            {"publish": ["8080:80", "0.0.0.0:8080:81"]},
            "port 8080 of the VPS is published twice, by 8080:80 and by 0.0.",
        ),
    ],
)
def test_the_item_is_named(tmp_path: Path, item: dict[str, Any], told: str) -> None:
    folder = inventories.written(tmp_path, {"app_services": [{**WEB, **item}], "celery_enabled": False})
    [fault] = inventories.faults(folder)
    assert told in fault


def test_one_port_may_be_published_to_two_addresses_and_by_two_protocols() -> None:
    ports = ["127.0.0.1:53:53", "127.0.0.1:53:53/udp", "192.0.2.7:53:53", "[::1]:53:53"]
    assert checks.publish_clashes({"app_services": [{**WEB, "publish": ports}]}) == []
    [fault] = checks.publish_clashes({"caddy_publish": ["80:80", "80:80"]})
    assert fault == "caddy_publish: port 80 of the VPS is published twice, by 80:80 and by 80:80; choose another"


def test_a_file_of_variables_is_read_as_editors_write_it(tmp_path: Path) -> None:
    assert service_lines.read_env('\ufeffA=1\r\nB="x y"\r\n', "x.env") == {"A": "1", "B": "x y"}
    (tmp_path / "latin.env").write_bytes(b"A=caf\xe9\n")
    with pytest.raises(services.ServiceError, match=r"web: env_file: .*latin.env is no UTF-8"):
        services._env_files({"env_file": str(tmp_path / "latin.env")}, "app_services: web")
