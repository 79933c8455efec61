"""Kinds of compose files that teams have: each becomes an inventory that is accepted, and the rest is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, Tuple

import pytest
import yaml

from scripts.van import celery
from tests import inventories
from tests.test_van import moved, notes
from tests.test_van_reading import written

ROLES = ("app", "celery", "caddy", "postgres", "redis", "celery_exporter", "redis_exporter")
DJANGO = {
    "compose.yml": """
x-app: &app
  build: {context: ., dockerfile: docker/Dockerfile, target: production, args: [PIP_EXTRA=prod]}
  env_file: [.env, {path: .env.local, required: false}]
  depends_on: [db, redis]
services:
  web:
    <<: *app
    command: [sh, -c, "python manage.py migrate --noinput && gunicorn shop.wsgi -b 0.0.0.0:8000 -w ${WORKERS:-3}"]
    volumes:
      - {type: volume, source: static, target: /app/static}
      - {type: bind, source: ./media, target: /app/media}
    ports: [{target: 8000, published: "8000", protocol: tcp, mode: host}]
  celery:
    <<: *app
    command: celery -A shop worker --concurrency=2 -Q default,mail
    deploy: {replicas: 2, resources: {limits: {memory: 512M, cpus: "0.5"}}}
  beat:
    <<: *app
    command: celery -A shop beat --scheduler django_celery_beat.schedulers:DatabaseScheduler
  flower:
    image: mher/flower:2.0
    command: celery --broker=redis://redis:6379/2 flower --basic-auth=admin:${FLOWER_PASSWORD:?set one}
    ports: ["5555:5555"]
  db: {image: "postgres:15-alpine", env_file: .env}
  redis: {image: "redis:7-alpine"}
  nginx:
    image: nginx:1.27
    volumes: ["./nginx.conf:/etc/nginx/conf.d/default.conf:ro", "static:/static"]
volumes: {static: }
""",
    ".env": "SECRET_KEY='django-$x9'\nALLOWED_HOSTS=shop.example.org\nPOSTGRES_DB=shop\nPOSTGRES_USER=shop\n"
    'POSTGRES_PASSWORD="a b#c"\nCELERY_BROKER_URL=redis://redis:6379/2\nFLOWER_PASSWORD=geheim\n',
    "docker/Dockerfile": "FROM python:3.13-slim AS production\nUSER app\n",
    "nginx.conf": """upstream app { server web:8000; }
server {
  server_name shop.example.org;
  client_max_body_size 20m;
  location /static/ { alias /static/; }
  location / { proxy_pass http://app; }
}
""",
}
FLASK = {
    "docker-compose.yml": """
services:
  web:
    build: .
    command: gunicorn -w 4 -b :5000 wsgi:app
    environment: [SECRET_KEY, "REDIS_URL=redis://cache:6379/1"]
    ports: ["${PORT:-5000}:5000"]
    healthcheck: {test: [CMD-SHELL, "curl -f http://localhost:5000/ping || exit 1"]}
  jobs:
    build: .
    command: rq worker --url redis://cache:6379/1 high
    environment: {REDIS_URL: "redis://cache:6379/1"}
  other: {build: ., command: "python poll.py redis://cache:6379/3 --api-key=sk_live_0123456789"}
  mail: {image: axllent/mailpit, profiles: [dev]}
  cache: {image: "valkey/valkey:8"}
""",
    "Dockerfile": "FROM python:3.13-slim\n",
}
FORMS = {
    "base.yml": """
services:
  python:
    image: registry.example.org:5000/shop/api:2.4
    read_only: true
    user: "1000:1000"
    environment: {LOG: "1.10", CELERY_BROKER_URL: "amqp://shop:pw@broker:5672//"}
""",
    "compose.yaml": """
services:
  api:
    extends: {file: base.yml, service: python}
    command: >
      fastapi run main.py
      --port 8080
    labels: ["traefik.http.routers.api.rule=Host(`api.example.org`) && PathPrefix(`/v1`)"]
    secrets: [db_password]
    ulimits: {nofile: {soft: 1024, hard: 2048}}
    sysctls: [net.core.somaxconn=1024]
    stop_grace_period: 1m30s
    healthcheck: {test: "wget -qO- http://127.0.0.1:8080/v1/health", interval: 1m}
  tasks:
    extends: api
    command: celery --app main.celery worker --pool=gevent --queues=a,b
  vpn:
    image: linuxserver/wireguard:1.0.20210914
    cap_add: [NET_ADMIN, SYS_MODULE]
    privileged: true
    network_mode: host
    devices: ["/dev/net/tun", "/dev/sda:/dev/sda"]
    volumes: ["/lib/modules:/lib/modules", "/etc:/host:ro", "/var/run:/run/host", "/srv/keys:/keys"]
  broker: {image: "rabbitmq:4-management"}
secrets: {db_password: {file: ./db_password.txt}}
""",
    "db_password.txt": "s3cr3t",
}


def taken(tmp_path: Path, files: Dict[str, str]) -> Tuple[Path, Dict[str, Any]]:
    folder, found = moved(tmp_path, written(tmp_path / "shop", files))
    assert inventories.faults(folder) == []
    for role in ROLES:
        inventories.rendered(folder, role)
    return folder, found


def test_django_with_gunicorn_celery_flower_and_nginx(tmp_path: Path) -> None:
    folder, found = taken(tmp_path, DJANGO)
    web, flower = found["app_services"]
    assert web["build"]["target"] == "production" and web["build"]["args"] == {"PIP_EXTRA": "prod"}
    assert web["command"] == ["gunicorn", "shop.wsgi", "-b", "0.0.0.0:8000", "-w", "3"]
    assert web["release"] == ["sh", "-c", "python manage.py migrate --noinput"]
    assert (web["host"], web["volumes"]) == ("shop.example.org", ["static:/app/static", "media:/app/media"])
    assert found["celery_workers"] == [
        {"name": "celery", "queues": ["default", "mail"], "concurrency": 2, "volumes": [], "replicas": 2,
         "cpus": 0.5, "memory": "512m"}
    ]  # fmt: skip
    broker = "redis://:{{ redis_password | landfall.vps.url_text }}@redis:6379/2"
    assert found["celery_exporter_broker_url"] == broker, "its queues are counted where they are"
    assert flower["command"] == ["celery", "flower"], "no secret in a command"
    assert flower["secret_environment"] == {
        "CELERY_BROKER_URL": broker,
        "FLOWER_BASIC_AUTH": "{{ vault_flower_basic_auth }}",
    }
    assert "geheim" not in (folder / "group_vars/all/main.yml").read_text()
    by_hand = notes(folder, "By hand")
    assert "nginx.conf:4: nginx: bodies up to 20m: max_body of the site" in by_hand
    assert "nginx.conf:5: nginx: files of /static/: give the site a route with static" in by_hand


def test_flask_with_rq_takes_its_address_from_a_variable(tmp_path: Path) -> None:
    folder, found = taken(tmp_path, FLASK)
    web, jobs, other = found["app_services"]
    assert (web["health"], web["port"]) == ("/ping", 5000)
    assert jobs["command"] == ["sh", "-c", 'exec rq worker --url "$REDIS_URL" high']
    assert jobs["secret_environment"]["REDIS_URL"].endswith("@redis:6379/1")
    by_hand = notes(folder, "By hand")
    assert "web: SECRET_KEY has no value here" in by_hand
    assert "other: its command names cache, which is called otherwise here" in by_hand
    assert "other: its command holds a secret (--api-key)" in by_hand
    assert other["command"][0] == "python" and found["celery_enabled"] is False
    assert "mail: only with the profile dev" in notes(folder, "Left out")


def test_extends_long_forms_another_broker_and_what_is_refused(tmp_path: Path) -> None:
    folder, found = taken(tmp_path, FORMS)
    api, vpn, _broker = found["app_services"]
    assert api["command"] == ["fastapi", "run", "main.py", "--port", "8080"] and api["health"] == "/v1/health"
    assert (api["user"], api["environment"], api["stop_grace_period"]) == ("1000:1000", {"LOG": "1.10"}, "1m30s")
    assert found["app_drain_timeout"] == 90, "or the role refuses it"
    assert api["secrets"] == {"DB_PASSWORD": "{{ vault_db_password }}"}
    assert found["celery_exporter_broker_url"] == "{{ vault_celery_broker_url }}" and found["redis_enabled"] is False
    assert found["celery_workers"][0]["arguments"] == ["--pool=gevent"]
    assert found["caddy_sites"] == [
        {"host": "api.example.org", "routes": [{"paths": ["/v1"], "upstreams": ["api:8080"]}]}
    ]
    assert "SYS_MODULE" not in vpn["cap_add"] and "NET_ADMIN" in vpn["cap_add"]
    assert vpn["volumes"] == ["/srv/keys:/keys"] and vpn["compose"] == {"devices": ["/dev/net/tun"]}
    by_hand = notes(folder, "By hand")
    for part, switch in (
        ("privileged: true gives it the VPS", "privileged"),
        ("network_mode: host gives it the VPS", "host_network"),
        ("the capability SYS_MODULE", "host_rights"),
        ("/lib/modules gives it", "host_files"),
        ("/etc gives it", "host_files"),
        ("/var/run gives it the engine's socket", "docker_socket"),
        ("/dev/sda gives it", "host_files"),
    ):
        (line,) = [line for line in by_hand.splitlines() if f"vpn: {part}" in line]
        assert f"add {switch} to app_allow" in line and line.startswith("- compose.yaml:"), line


@pytest.mark.parametrize("variable", ["TAG", "PASSWORD"])
def test_a_variable_that_compose_demands_is_demanded(
    variable: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from scripts import from_compose  # noqa: PLC0415 - its main reads the arguments of a command line

    text = yaml.safe_dump({"services": {"web": {"image": f"shop/web:${{{variable}:?name one}}"}}})
    source = written(tmp_path / "shop", {"compose.yaml": text})
    assert from_compose.main([str(source), str(tmp_path / "inventory")]) == 1
    assert f"the variable {variable} has no value: name one" in capsys.readouterr().err
    assert not (tmp_path / "inventory").exists()


def test_a_secret_that_no_variable_can_hold_is_a_file_and_told(tmp_path: Path) -> None:
    """A key in PEM form in .env is common: the check would refuse it as a variable."""
    environment = {
        "SIGNING_KEY": "-----BEGIN KEY-----\nMII\n-----END KEY-----\n",
        "API_SECRET": "it's",
        "DB_PASSWORD": 'p"#$x',
    }
    compose = {"services": {"web": {"image": "shop/web:1", "expose": ["8000"], "environment": environment}}}
    folder, found = taken(tmp_path, {"compose.yaml": yaml.safe_dump(compose).replace("$x", "$$x")})
    (web,) = found["app_services"]
    assert set(web["secrets"]) == {"SIGNING_KEY", "API_SECRET"} and set(web["secret_environment"]) == {"DB_PASSWORD"}
    by_hand = notes(folder, "By hand")
    assert "SIGNING_KEY has a quote ', a backslash or a line break" in by_hand and "SIGNING_KEY_FILE names" in by_hand
    assert "BEGIN KEY" not in (folder / "group_vars/all/main.yml").read_text()


@pytest.mark.parametrize(
    ("stop", "arguments", "seconds"),
    [(None, [], 0), ("90s", [], 90), ("1m0.5s", [], 61), ("30s", ["--time-limit=600"], 610),
     (None, ["--time-limit=600", "--soft-time-limit=9"], 610), ("20m", ["--time-limit=600"], 1200)],
)  # fmt: skip
def test_a_worker_may_finish_its_longest_task(stop: str | None, arguments: list[str], seconds: int) -> None:
    assert celery.grace({"stop_grace_period": stop}, arguments) == seconds
