"""The moving van: a compose project becomes an inventory that the role landfall accepts, and what is left is told."""

from __future__ import annotations

import difflib
import shutil
import stat
from pathlib import Path
from typing import Any, Dict, Tuple

import pytest
import yaml

from scripts import from_compose
from tests import inventories
from tests.test_van_reading import BOARD, written

RISKY = """
services:
  web:
    image: shop/web:1
    ports: ["8000:8000", "9999:9999"]
    privileged: true
    pid: host
    network_mode: host
    volumes:
      - /var/run/docker.sock:/var/run/docker.sock
      - ./settings.toml:/etc/settings.toml
      - ./media:/media
    secrets: [api_key]
    environment: {PRICE: "{{ 5 }}", MULTI: "a'b", API_TOKEN: "{{ x }}"}
    blkio_config: {weight: 300}
  tool: {image: shop/tool}
secrets: {api_key: {file: ./api_key}}
"""


def moved(tmp_path: Path, source: Path, *more: str) -> Tuple[Path, Dict[str, Any]]:
    target = tmp_path / "inventory"
    assert from_compose.main([str(source), str(target), "--host", "192.0.2.7", *more]) == 0
    return target, yaml.safe_load((target / "group_vars/all/main.yml").read_text().replace("!unsafe", ""))


def notes(folder: Path, title: str) -> str:
    return (folder / "MOVED.md").read_text().split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]


def test_the_board_s_inventory_is_accepted_and_renders(tmp_path: Path) -> None:
    folder, found = moved(tmp_path, BOARD)
    assert inventories.faults(folder) == []
    for role in ("app", "celery", "caddy", "postgres", "redis"):
        inventories.rendered(folder, role)
    web, flower = found["app_services"]
    assert web["build"] == {"context": "{{ compose_folder }}"} and found["compose_folder"] == str(BOARD)
    assert web["command"] == ["uvicorn", "board.main:app", "--host", "0.0.0.0", "--port", "8000"]  # noqa: S104
    assert web["release"] == ["sh", "-c", "alembic upgrade head"]
    assert (web["port"], web["health"], web["host"]) == (8000, "/healthz", "board.example.org")
    assert web["metrics"] == {"port": 8000, "kind": "instrumentator"}
    assert web["environment"] == {"LOG_LEVEL": "info", "ALLOWED_HOSTS": "localhost,board.example.org,web"}
    assert web["secret_environment"] == {
        "DATABASE_URL": "postgresql+psycopg://board:{{ postgres_passwords['board'] | landfall.vps.url_text }}"
        "@postgres:5432/board",
        "CELERY_BROKER_URL": "redis://:{{ redis_password | landfall.vps.url_text }}@redis:6379/0",
        "SIGNING_KEY": "{{ vault_signing_key }}",
    }
    assert web["volumes"] == ["uploads:/uploads"]
    assert web["depends_on"] == {"postgres": "service_healthy", "redis": "service_started"}
    assert (found["celery_service"], found["celery_app"], found["celery_beat_enabled"]) == ("web", "board.tasks", True)
    assert found["celery_workers"] == [
        {
            "name": "worker",
            "queues": ["celery", "thumbnails"],
            "concurrency": 1,
            "arguments": ["--task-events", "--max-tasks-per-child=100"],
            "grace": 60,
        }
    ]
    assert found["postgres_databases"] == [{"name": "board"}]
    assert (flower["port"], flower["health"], flower["metrics"]) == (5555, "tcp", {"port": 5555, "kind": "none"})
    assert found["caddy_sites"] == [
        {"host": "board.example.org", "upstreams": ["web:8000"]},
        {
            "host": "flower.board.example.org",
            "upstreams": ["flower:5555"],
            "users": {"bob": "{{ vault_flower_bob }}"},
        },
    ]
    assert "Nothing." in notes(folder, "By hand")


def test_the_scenario_deploys_what_the_van_writes_with_three_lines_by_hand(tmp_path: Path) -> None:
    """Two for a job, which no compose file has; one where the project lies, which is another folder on each machine."""
    folder, _found = moved(tmp_path, BOARD)
    scenario = BOARD.parent / "group_vars/all"
    mine, theirs = ((place / "main.yml").read_text().splitlines() for place in (folder / "group_vars/all", scenario))
    changed = [line[2:] for line in difflib.ndiff(mine, theirs) if line[0] in "+-"]
    assert changed == [
        f"compose_folder: {BOARD}",
        "compose_folder: \"{{ lookup('ansible.builtin.env', 'MOLECULE_SCENARIO_DIRECTORY') }}/project\"",
        "    jobs:",
        '      - {name: report, command: python -m board.report, schedule: "*:*:00"}',
    ]
    vaults = [yaml.safe_load((place / "vault.yml").read_text()) for place in (folder / "group_vars/all", scenario)]
    assert vaults[0] == vaults[1]


def test_secrets_are_in_the_vault_alone(tmp_path: Path) -> None:
    folder, _found = moved(tmp_path, BOARD)
    vault = folder / "group_vars/all/vault.yml"
    assert stat.S_IMODE(vault.stat().st_mode) == 0o600
    assert yaml.safe_load(vault.read_text()) == {
        "vault_postgres_board_password": "p%ss/w#rd",
        "vault_signing_key": "not-for-production-0123456789",
        "vault_flower_bob": "$2b$05$abcdefghijklmnopqrstuu9xU3Bs1t7UJi2CdlkA6yWaGxAgRewK.",
    }
    for path in folder.rglob("*"):
        if path.is_file() and path != vault:
            assert "not-for-production" not in path.read_text() and "p%ss" not in path.read_text(), path
    assert {"vault.yml", "secrets/"} <= set((folder / ".gitignore").read_text().splitlines())


def test_what_cannot_be_expressed_is_told_with_its_line_and_its_switch(tmp_path: Path) -> None:
    source = written(tmp_path / "shop", {"compose.yaml": RISKY, "settings.toml": "", "api_key": "k3y"})
    folder, found = moved(tmp_path, source, "--image", "shop/tool=shop/tool:2.0")
    by_hand = notes(folder, "By hand")
    for line in (
        "compose.yaml:6: web: privileged: true gives it the VPS; if that is meant, add privileged to app_allow",
        "compose.yaml:7: web: pid: host gives it the VPS; if that is meant, add host_pid to app_allow",
        "compose.yaml:8: web: network_mode: host gives it the VPS; if that is meant, add host_network to app_allow",
        "compose.yaml:10: web: /var/run/docker.sock makes it the VPS's administrator; if that is meant, add docker_soc",
        "compose.yaml:11: web: /etc/settings.toml: settings.toml lies on this machine alone",
        'port 9999:9999 was open to everybody; if that is meant: publish: ["0.0.0.0:9999:9999"]',
        "compose.yaml:15: web: blkio_config was not taken along",
    ):
        assert line in by_hand, by_hand
    assert "/media: a folder beside the compose file becomes the volume media" in notes(folder, "Changed on the way")
    assert inventories.faults(folder) == []
    web, tool = found["app_services"]
    assert "publish" not in web and web["volumes"] == ["media:/media"] and tool["image"] == "shop/tool:2.0"
    assert web["environment"] == {"PRICE": "{{ 5 }}", "MULTI": "a'b"} and set(web["secrets"]) == {"API_KEY"}
    values = inventories.variables(folder)
    assert [values[f"vault_api_{name}"] for name in ("key", "token")] == ["k3y", "{{ x }}"]
    assert found["celery_enabled"] is False and found["redis_enabled"] is False
    assert 'PRICE: !unsafe "{{ 5 }}"' in (folder / "group_vars/all/main.yml").read_text()


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"caddy": "a.example.org", "caddy.reverse_proxy": "{{upstreams 8000}}"}, "a.example.org"),
        ({"traefik.http.routers.x.rule": "Host(`a.example.org`)"}, "a.example.org"),
        ({"virtual.host": "a.example.org", "virtual.port": "8000"}, "a.example.org"),
    ],
)
def test_names_come_from_labels(labels: Dict[str, str], expected: str, tmp_path: Path) -> None:
    services = {"web": {"image": "shop/web:1", "expose": ["8000"], "labels": labels}}
    source = written(tmp_path / "shop", {"compose.yaml": yaml.safe_dump({"services": services})})
    folder, found = moved(tmp_path, source)
    assert found["caddy_app_host"] == expected and inventories.faults(folder) == []


def test_users_of_a_middleware_of_traefik_are_those_of_the_site(tmp_path: Path) -> None:
    hashed = "$2y$10$" + "a" * 53
    labels = {
        "traefik.http.routers.x.rule": "Host(`a.example.org`)",
        "traefik.http.routers.x.middlewares": "gzip@file, team@docker",
        "traefik.http.routers.y.rule": "Host(`b.example.org`)",
    }
    users = {"traefik.http.middlewares.team.basicauth.users": f"bob:{hashed},eve:$apr1$x$y".replace("$", "$$")}
    services = {
        "web": {"image": "shop/web:1", "expose": ["8000"], "labels": labels},
        "traefik": {"image": "traefik:v3.6", "labels": users},
    }
    source = written(tmp_path / "shop", {"compose.yaml": yaml.safe_dump({"services": services})})
    folder, found = moved(tmp_path, source)
    assert found["caddy_sites"] == [
        {
            "host": "a.example.org",
            "upstreams": ["web:8000"],
            "users": {"bob": "{{ vault_web_bob }}", "eve": "{{ vault_web_eve }}"},
        },
        {"host": "b.example.org", "upstreams": ["web:8000"]},
    ]
    assert yaml.safe_load((folder / "group_vars/all/vault.yml").read_text())["vault_web_bob"] == hashed
    assert "the password of eve is no bcrypt hash" in notes(folder, "By hand")


def test_paths_and_names_of_nginx_become_a_site_with_routes(tmp_path: Path) -> None:
    conf = """server { listen 80; server_name shop.example.org;
      location / { proxy_pass http://front:3000; }
      location /api/ { proxy_pass http://web:8000; } }"""
    services = {
        "nginx": {"image": "nginx:1.29", "volumes": ["./nginx.conf:/etc/nginx/conf.d/default.conf:ro"]},
        "front": {"image": "shop/front:1", "expose": ["3000"]},
        "web": {"image": "shop/web:1", "expose": ["8000"]},
    }
    files = {"compose.yaml": yaml.safe_dump({"services": services}), "nginx.conf": conf}
    _folder, found = moved(tmp_path, written(tmp_path / "shop", files))
    assert found["caddy_sites"] == [
        {
            "host": "shop.example.org",
            "upstreams": ["front:3000"],
            "routes": [{"paths": ["/api"], "upstreams": ["web:8000"]}],
        }
    ]
    assert [item["name"] for item in found["app_services"]] == ["front", "web"]


def test_a_service_that_only_migrates_becomes_the_release(tmp_path: Path) -> None:
    services = {
        "web": {
            "build": ".",
            "expose": ["8000"],
            "depends_on": {"prestart": {"condition": "service_completed_successfully"}},
        },
        "prestart": {"build": ".", "command": "bash scripts/prestart.sh"},
    }
    files = {"compose.yaml": yaml.safe_dump({"services": services}), "Dockerfile": "FROM scratch\n"}
    folder, found = moved(tmp_path, written(tmp_path / "shop", files))
    (web,) = found["app_services"]
    assert web["release"] == ["bash", "scripts/prestart.sh"] and not web.get("depends_on")
    assert inventories.faults(folder) == []


def test_a_worker_whose_command_is_a_script_of_the_image(tmp_path: Path) -> None:
    services = {
        "web": {"build": ".", "command": "/start", "expose": ["8000"]},
        "worker": {"build": ".", "command": "/start-worker"},
    }
    files = {
        "compose.yaml": yaml.safe_dump({"services": services}),
        "Dockerfile": "FROM scratch\nCOPY --chown=x worker.sh /start-worker\n",
        "worker.sh": "#!/bin/sh\nset -e\nexec celery -A shop.celery worker -l INFO -Q mails\n",
    }
    folder, found = moved(tmp_path, written(tmp_path / "shop", files))
    assert found["celery_workers"] == [{"name": "worker", "queues": ["mails"]}] and found["celery_app"] == "shop.celery"
    assert "its command was read in start-worker" in notes(folder, "Changed on the way")


def test_an_inventory_that_is_there_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, _found = moved(tmp_path, BOARD)
    (folder / "hosts.yml").write_text("mine")
    assert from_compose.main([str(BOARD), str(folder)]) == 1
    assert "is there already" in capsys.readouterr().err and (folder / "hosts.yml").read_text() == "mine"
    assert from_compose.main([str(BOARD), str(folder), "--force"]) == 0
    shutil.rmtree(folder)
    assert from_compose.main([str(tmp_path / "none"), str(folder)]) == 1
    assert "from_compose: " in capsys.readouterr().err and not folder.exists()
