"""The van and names: of servers in commands, of users, of secrets, of hosts that a proxy's own file leads to."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict

import pytest
import yaml

from scripts.van import files, hosts
from scripts.van.asked import port_of
from scripts.van.notes import Notes
from tests.test_van import moved, notes
from tests.test_van_kinds import taken
from tests.test_van_reading import written

COOKIES = {
    "compose.yaml": """
services:
  django: &django
    build: {context: ., dockerfile: docker/Dockerfile}
    image: cookies_django
    env_file: [.envs/django, .envs/postgres]
    depends_on: [postgres, redis]
    command: /start
  postgres:
    image: postgres:17
    env_file: .envs/postgres
    command: postgres -c max_connections=800 -c fsync=off -c effective_io_concurrency=2
  redis: {image: "redis:7.2"}
  traefik: {build: {context: ., dockerfile: docker/traefik/Dockerfile}, ports: ["80:80"]}
  worker: {<<: *django, image: cookies_worker, command: /start-worker}
  flower: {<<: *django, image: cookies_flower, command: /start-flower}
""",
    ".envs/django": "DJANGO_ALLOWED_HOSTS=.cookies.example.org\nREDIS_URL=redis://redis:6379/3\nCELERY_LEVEL=info\n",
    ".envs/postgres": "POSTGRES_HOST=postgres\nPOSTGRES_DB=cookies\nPOSTGRES_USER=XkQzRt\nPOSTGRES_PASSWORD=s3CrEt\n",
    "docker/Dockerfile": "FROM python:3.13-slim\nENV POOL=solo\nCOPY docker/start /start\n"
    "COPY docker/worker /start-worker\nCOPY docker/flower /start-flower\nUSER django\n",
    "docker/start": "#!/bin/bash\npython /app/manage.py collectstatic --noinput\n"
    "exec gunicorn config.wsgi --bind 0.0.0.0:5000 --chdir=/app\n",
    "docker/worker": '#!/bin/bash\nexec celery -A config.celery_app worker -l INFO --pool="${POOL}"\n',
    "docker/flower": '#!/bin/bash\nexec celery -A config.celery_app -b "${REDIS_URL}" flower\n',
    "docker/traefik/Dockerfile": "FROM traefik:3\nCOPY docker/traefik/traefik.yml /etc/traefik\n",
    "docker/traefik/traefik.yml": """
entryPoints: {web: {address: ":80"}}
http:
  routers:
    web: {rule: "Host(`cookies.example.org`) || Host(`www.cookies.example.org`)", service: django}
    flower: {rule: "Host(`cookies.example.org`)", entryPoints: [flower], service: flower}
  services:
    django: {loadBalancer: {servers: [{url: "http://django:5000"}]}}
    flower: {loadBalancer: {servers: [{url: "http://flower:5555"}]}}
""",
}


def test_scripts_of_the_image_a_file_of_traefik_and_a_user_in_capitals(tmp_path: Path) -> None:
    folder, found = taken(tmp_path, COOKIES)
    by_name = {item["name"]: item for item in found["app_services"]}
    django, flower = by_name["django"], by_name["flower"]
    assert (django["port"], django["health"], django["host"]) == (5000, "tcp", "cookies.example.org")
    assert (flower["port"], flower["metrics"]) == (5555, {"port": 5555, "kind": "none"})
    assert found["caddy_sites"] == [
        {"host": name, "upstreams": ["django:5000"]} for name in ("cookies.example.org", "www.cookies.example.org")
    ]
    assert "flower: cookies.example.org is that of django; give it a name of its own" in notes(folder, "By hand")
    assert found["postgres_databases"] == [{"name": "cookies", "owner": "xkqzrt"}]
    assert found["postgres_users"][0]["name"] == "xkqzrt" == django["environment"]["POSTGRES_USER"]
    assert "XkQzRt is called xkqzrt here" in notes(folder, "Changed on the way")
    assert found["postgres_settings"] == {"effective_io_concurrency": "2"}
    assert "max_connections=800: it is postgres_max_connections here" in notes(folder, "Changed on the way")
    assert "fsync=off was left out: a power cut" in notes(folder, "Left out")
    assert found["celery_workers"] == [{"name": "worker", "arguments": ["--pool=solo"]}], "ENV of the image"
    assert found["celery_exporter_broker_url"].endswith("@redis:6379/3"), "an application with one URL for all"


WAITING = {
    "compose.yaml": """
services:
  web:
    build: .
    command: bash -c 'while !</dev/tcp/db/5432; do sleep 1; done; flask db upgrade; exec gunicorn -b :8000 wsgi:app'
    depends_on: [db, cache]
  api:
    build: .
    entrypoint: [/wait-for-it.sh, "db:5432", --, /start.sh]
    command: [gunicorn, -b, "0.0.0.0:8000", "wsgi:app"]
    healthcheck: {test: [CMD, redis-cli, -h, cache, ping]}
  odd: {build: ., command: sh -c "until psql app@db -c 1; do sleep 1; done; exec poll"}
  db: {image: "postgres:17", environment: {POSTGRES_DB: shop, POSTGRES_USER: shop, POSTGRES_PASSWORD: x1}}
  cache: {image: "redis:7"}
""",
    "Dockerfile": "FROM python:3.13-slim\nCOPY start.sh /start.sh\n",
    "start.sh": '#!/bin/sh\n# waits\nuntil nc -w 2 -z db 5432; do sleep 1; done\nexec "$@"\n',
}


def test_a_command_asks_the_servers_by_their_names_here(tmp_path: Path) -> None:
    folder, found = taken(tmp_path, WAITING)
    web, api, odd = found["app_services"]
    assert web["release"] == ["sh", "-c", "while !</dev/tcp/postgres/5432; do sleep 1; done && flask db upgrade"]
    assert web["command"] == ["gunicorn", "-b", ":8000", "wsgi:app"]
    assert api["entrypoint"] == ["/wait-for-it.sh", "postgres:5432", "--", "/start.sh"]
    assert api["health"] == ["redis-cli", "-h", "redis", "ping"]
    by_hand = notes(folder, "By hand")
    assert "api: start.sh, line 3, names db, which is called postgres here" in by_hand
    assert "odd: its command names db, which is called postgres here" in by_hand and "@db" in odd["command"][2]
    assert "web: its command names" not in by_hand, "flask db upgrade speaks of no server"


@pytest.mark.parametrize(
    ("text", "there"),
    [
        ("nc -z db 5432", True), ("wait-for-it db:5432", True), ("redis://u:p@db/0", True), ("psql -hdb", True),
        ("pg_isready --host=db", True), ("flask db upgrade", False), ("db:/srv", False), ("my.db:54", False),
        ("img/db:5", False), ("-host dbs", False), ("a-db:80", False),
    ],
)  # fmt: skip
def test_where_a_text_names_a_server(text: str, there: bool) -> None:
    found = hosts.Hosts(Notes(), {"db": "postgres"}, str)._text(text)
    assert found == (text.replace("db", "postgres", 1) if there else text)


SECRETS = """
services:
  web:
    image: shop/web:1
    expose: ["8000"]
    environment:
      MEMCACHED_PASSWORD_FILE: /run/secrets/cache_password
      REDIS_PASSWORD_FILE: /run/secrets/redis_password
      DB_PASSWORD_FILE: /run/secrets/db_password
      API_KEY_FILE: /run/secrets/api_key
    secrets: [redis_password, db_password, api_key, gone]
    depends_on: [db, redis]
  db: {image: "postgres:17", environment: {POSTGRES_USER: shop, POSTGRES_PASSWORD_FILE: /run/secrets/db_password}}
  redis: {image: "redis:7"}
secrets:
  redis_password: {file: redis.txt}
  db_password: {file: db.txt}
  api_key: {environment: SHOP_API_KEY}
  gone: {environment: NOT_SET}
"""


def test_secrets_in_files_of_servers_and_of_variables(tmp_path: Path) -> None:
    """A path is no password: the program would look for a file with the password's name."""
    texts = {"compose.yaml": SECRETS, "redis.txt": "r3d\n", "db.txt": "d8\n", ".env": "SHOP_API_KEY=k3y\n"}
    folder, found = taken(tmp_path, texts)
    (web,) = found["app_services"]
    assert web["environment"] == {
        "MEMCACHED_PASSWORD_FILE": "/run/secrets/cache_password",
        "REDIS_PASSWORD_FILE": "/run/secrets/redis_password",
        "DB_PASSWORD_FILE": "/run/secrets/db_password",
        "API_KEY_FILE": "/run/secrets/api_key",
    }
    assert web["secrets"] == {
        "REDIS_PASSWORD": "{{ redis_password }}",
        "DB_PASSWORD": "{{ postgres_passwords['shop'] }}",
        "API_KEY": "{{ vault_api_key }}",
        "GONE": "{{ vault_gone }}",
    }
    vault = yaml.safe_load((folder / "group_vars/all/vault.yml").read_text())
    assert (vault["vault_api_key"], vault["vault_postgres_shop_password"]) == ("k3y", "d8")
    assert "secret gone: its value is not in the project" in notes(folder, "By hand")
    assert "Redis asks for a password" not in notes(folder, "By hand")


@pytest.mark.parametrize(
    ("service", "port"),
    [
        ({"image": "axllent/mailpit:1", "ports": [1025, 8025]}, 8025),
        ({"image": "shop/mail:1", "ports": [25, 80, 443]}, 80),
        ({"image": "shop/smtp:1", "ports": [25]}, 25),
        ({"image": "mher/flower:2.0", "ports": []}, 5555),
        ({"image": "shop/x:1", "command": ["flower", "--port=7000"]}, 7000),
    ],
)
def test_the_port_that_a_visitor_asks(service: Dict[str, Any], port: int) -> None:
    given = {**service, "ports": [{"target": one} for one in service.get("ports", [])]}
    assert port_of("x", given, []) == port


def test_what_leads_nowhere_is_told(tmp_path: Path) -> None:
    services = {
        "web": {"image": "shop/web:1", "labels": {"traefik.http.routers.x.rule": "Host(`a.example.org`)"}},
        "edge": {"image": "haproxy:3.1"},
    }
    folder, found = moved(tmp_path, written(tmp_path / "a", {"compose.yaml": yaml.safe_dump({"services": services})}))
    assert "web: a.example.org leads to a port that nobody names; give it a port" in notes(folder, "By hand")
    assert "edge: where it leads could not be read; name hosts and services" in notes(folder, "By hand")
    assert "caddy_app_host" not in found and "caddy_sites" not in found


def test_code_that_only_the_machine_has_is_told(tmp_path: Path) -> None:
    services = {
        "web": {"build": ".", "expose": ["80"], "volumes": ["./src:/app/src", "./tools:/tools"]},
        "jobs": {"image": "shop/x:1", "volumes": [{"type": "tmpfs", "target": "/work"}], "restart": "on-failure",
                 "command": "./migrate.sh"},
        "migrator": {"image": "shop/y:1", "deploy": {"restart_policy": {"condition": "on-failure"}}},
    }  # fmt: skip
    texts = {
        "compose.yaml": yaml.safe_dump({"services": services}),
        "Dockerfile": "FROM scratch\nWORKDIR /app\nCOPY --chown=1:1 . .\n",
        "src/a.py": "",
        "tools/b.py": "",
    }
    folder, found = taken(tmp_path, texts)
    assert "web: /app/src: source code over that of the image" in notes(folder, "Left out")
    assert "web: /tools: no COPY of the Dockerfile brings tools there" in notes(folder, "By hand")
    jobs, migrator, _web = found["app_services"]
    assert jobs["tmpfs"] == ["/tmp", "/work"] and jobs["one_shot"] and migrator["one_shot"]  # noqa: S108 - in memory


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FROM x\nENV A=1 B='2 3'\nENV C old form\n", {"A": "1", "B": "2 3", "C": "old form"}),
        ('FROM x\nENV A="open\n', {}),
        ("FROM x\nENV \\\n  # a note\n  A=1 \\\n  B=2\n", {"A": "1", "B": "2"}),
    ],
)
def test_variables_of_an_image(text: str, expected: Dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(text)
    assert files.Dockerfile({"context": str(tmp_path)}).environment == expected
