"""Migrations that stand before a server: taken apart from it, or told with their line."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List

import pytest
import yaml

from scripts.van import shell
from tests.test_van import moved, notes
from tests.test_van_kinds import taken
from tests.test_van_reading import written

DATABASE = {"db": {"image": "postgres:17", "environment": {"POSTGRES_PASSWORD": "AnExample"}}}


def project(folder: Path, files: Dict[str, str], **web: Any) -> Path:
    services = {"web": {"build": ".", "expose": ["8000"], "depends_on": ["db"], **web}, **DATABASE}
    files = {"Dockerfile": "FROM scratch\n", **files, "compose.yaml": yaml.safe_dump({"services": services})}
    return written(folder / "shop", files)


# A script, the release that comes of it, and the command
APART: List[tuple[str, str, List[str]]] = [
    ("alembic upgrade head && exec gunicorn shop:app -w 2", "alembic upgrade head",
     ["gunicorn", "shop:app", "-w", "2"]),
    ("python -m shop migrate; uvicorn shop:app --reload", "python -m shop migrate", ["uvicorn", "shop:app"]),
    ("flask db upgrade && gunicorn --bind :8000 'shop:create()'", "flask db upgrade",
     ["sh", "-c", "exec gunicorn --bind :8000 'shop:create()'"]),
    ("while ! nc -z db 5432; do sleep 1; done; python manage.py migrate && gunicorn shop.wsgi",
     "python manage.py migrate", ["gunicorn", "shop.wsgi"]),
    ("cd /srv && alembic upgrade head && uvicorn shop:app", "cd /srv && alembic upgrade head",
     ["sh", "-c", "cd /srv && exec uvicorn shop:app"]),
    ("set -e\nalembic upgrade head\nuvicorn shop:app --port $PORT", "set -e && alembic upgrade head",
     ["sh", "-c", "set -e && exec uvicorn shop:app --port $PORT"]),
    ("python manage.py collectstatic --noinput && python manage.py migrate && gunicorn shop.wsgi",
     "python manage.py migrate",
     ["sh", "-c", "python manage.py collectstatic --noinput && exec gunicorn shop.wsgi"]),
    ("alembic upgrade head || exit 1; exec uvicorn shop:app", "alembic upgrade head || exit 1",
     ["uvicorn", "shop:app"]),
    ("alembic upgrade head && python -m shop.seed && uvicorn shop:app", "alembic upgrade head && python -m shop.seed",
     ["uvicorn", "shop:app"]),
    ('if [ "$MIGRATE" = 1 ]; then alembic upgrade head; fi; uvicorn shop:app',
     'if [ "$MIGRATE" = 1 ]; then alembic upgrade head; fi', ["uvicorn", "shop:app"]),
    ("until alembic upgrade head; do sleep 2; done && uvicorn shop:app", "until alembic upgrade head; do sleep 2; done",
     ["uvicorn", "shop:app"]),
    ("alembic upgrade head && uvicorn shop:app 2>&1 | tee /tmp/log", "alembic upgrade head",
     ["sh", "-c", "uvicorn shop:app 2>&1 | tee /tmp/log"]),
    ("export A='x && y' && alembic upgrade head && uvicorn shop:app", "export A='x && y' && alembic upgrade head",
     ["sh", "-c", "export A='x && y' && exec uvicorn shop:app"]),
]  # fmt: skip


@pytest.mark.parametrize(("script", "release", "command"), APART)
def test_migrations_in_a_command_become_the_release(
    script: str, release: str, command: List[str], tmp_path: Path
) -> None:
    folder, found = moved(tmp_path, project(tmp_path, {}, command=["sh", "-c", script.replace("$", "$$")]))
    (web,) = found["app_services"]
    assert (web["release"], web["command"]) == (["sh", "-c", release], command)
    assert web["depends_on"] == {"postgres": "service_started"}
    assert "runs once for each new version, as release" in notes(folder, "Changed on the way")


@pytest.mark.parametrize(
    ("files", "web", "expected"),
    [
        ({"Dockerfile": 'FROM x\nCMD ["sh", "-c", "alembic upgrade head && uvicorn shop:app"]\n'}, {},
         {"command": ["uvicorn", "shop:app"]}),
        ({"Dockerfile": "FROM x\nCMD flask db upgrade && gunicorn shop:app -b :$PORT\n"}, {},
         {"command": ["sh", "-c", "exec gunicorn shop:app -b :$PORT"]}),
        ({}, {"entrypoint": ["sh", "-c", "alembic upgrade head && exec uvicorn shop:app"]},
         {"entrypoint": ["uvicorn", "shop:app"]}),
        ({}, {"entrypoint": ["sh", "-c"], "command": ["alembic upgrade head && uvicorn shop:app"]},
         {"entrypoint": ["uvicorn", "shop:app"]}),
    ],
)  # fmt: skip
def test_migrations_of_the_image_and_of_an_entrypoint_do_too(
    files: Dict[str, str], web: Dict[str, Any], expected: Dict[str, Any], tmp_path: Path
) -> None:
    _folder, found = moved(tmp_path, project(tmp_path, files, **web))
    (item,) = found["app_services"]
    assert item["release"][:2] == ["sh", "-c"] and "uvicorn" not in item["release"][2]
    assert {key: item[key] for key in ("entrypoint", "command") if key in item} == expected


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("alembic upgrade head || uvicorn shop:app", "what migrates and what serves are one command"),
        ("alembic upgrade head & uvicorn shop:app", "a command in the background and others"),
        ("alembic upgrade head && uvicorn shop:app || sleep 9", "what serves is part of a list with '||'"),
        ("if true; then alembic upgrade head; uvicorn shop:app; fi", "what migrates and what serves are one command"),
    ],
)
def test_what_cannot_be_taken_apart_is_told_with_its_line(script: str, told: str, tmp_path: Path) -> None:
    folder, found = moved(tmp_path, project(tmp_path, {}, command=["sh", "-c", script]))
    assert "release" not in found["app_services"][0]
    (line,) = [one for one in notes(folder, "By hand").splitlines() if told in one]
    assert line.startswith("- compose.yaml:") and "write what migrates as release" in line


@pytest.mark.parametrize("place", ["/srv/start.sh", "./scripts/start.sh", "scripts/start.sh", "entrypoint"])
def test_a_script_that_migrates_is_told_with_the_line_in_it(place: str, tmp_path: Path) -> None:
    text = "#!/bin/sh\n# alembic\nset -e\nalembic upgrade head\nexec uvicorn shop:app\n"
    files = {
        "Dockerfile": "FROM x\nWORKDIR /srv\nCOPY . .\n"
        + 'ENTRYPOINT ["/scripts/start.sh"]\n' * (place == "entrypoint"),
        "scripts/start.sh": text, "start.sh": text,
    }  # fmt: skip
    command = {} if place == "entrypoint" else {"command": ["bash", place]}
    folder, _found = moved(tmp_path, project(tmp_path, files, **command))
    assert "start.sh, line 4, runs 'alembic upgrade head' at each start" in notes(folder, "By hand")


def test_a_worker_keeps_what_it_waits_for(tmp_path: Path) -> None:
    """The database by its role, whatever the service is called; a proxy or a worker is told."""
    services = {
        "web": {"build": ".", "expose": ["8000"], "depends_on": ["cache", "tasks", "front"]},
        "tasks": {"build": ".", "command": "celery -A shop worker",
                  "depends_on": {"db": {"condition": "service_healthy"}}},
        "cache": {"image": "redis:7"},
        "front": {"image": "nginx:1.27"},
        **DATABASE,
    }  # fmt: skip
    files = {"compose.yaml": yaml.safe_dump({"services": services}), "Dockerfile": "FROM scratch\n"}
    folder, found = taken(tmp_path, files)
    assert found["celery_workers"] == [{"name": "tasks", "depends_on": {"postgres": "service_healthy"}}]
    assert found["app_services"][0]["depends_on"] == {"redis": "service_started"}
    left = notes(folder, "Left out")
    assert "web: depends_on front, which is no service" in left and "web: depends_on tasks" in left


def test_a_worker_s_script_and_the_image_that_another_service_builds(tmp_path: Path) -> None:
    services = {
        "web": {"build": ".", "image": "shop/web:1", "expose": ["8000"]},
        "tasks": {"image": "shop/web:1", "environment": {"POOL": "threads"},
                  "entrypoint": ["/wait.sh", "db:5432", "--", "/work.sh"]},
        "other": {"image": "foreign/app:2", "command": "/start-celery-worker"},
        "db": {"image": "postgres:16.4-alpine@sha256:" + "9" * 64, "environment": {"POSTGRES_PASSWORD": "AnExample"}},
    }  # fmt: skip
    files = {
        "compose.yaml": yaml.safe_dump({"services": services}),
        "Dockerfile": "FROM scratch\nCOPY \\\n  docker/wait.sh \\\n  docker/work.sh \\\n  /\n",
        "docker/wait.sh": "exec \"$@\"\n",
        "docker/work.sh": 'exec celery --app=shop \\\n  worker --pool="${POOL}" --loglevel="${LEVEL}" -c "${COUNT:-3}" '
        '--time-limit="$LIMIT"\n',
    }  # fmt: skip
    folder, found = taken(tmp_path, files)
    (worker,) = found["celery_workers"]
    assert (worker["name"], worker["concurrency"], worker["arguments"]) == ("tasks", 3, ["--pool=threads"])
    by_hand = notes(folder, "By hand")
    assert "tasks: --time-limit=$LIMIT: LIMIT has no value here, so it was not taken along" in by_hand
    assert "other: /start-celery-worker is a script of its image" in by_hand
    assert "PostgreSQL 16 becomes 17" in notes(folder, "Changed on the way")


def test_the_configuration_that_a_proxy_is_built_with_is_read(tmp_path: Path) -> None:
    services = {
        "web": {"build": ".", "expose": ["8000"]},
        "nginx": {"build": {"context": ".", "dockerfile": "nginx.Dockerfile"}},
    }
    files = {
        "compose.yaml": yaml.safe_dump({"services": services}),
        "Dockerfile": "FROM scratch\n",
        "nginx.Dockerfile": "FROM nginx:1.27\nCOPY front/shop.conf /etc/nginx/conf.d/\n",
        "front/shop.conf": "server {\n server_name shop.example.org;\n client_max_body_size 5m;\n"
        " location /x { uwsgi_pass web:3031; }\n location / { proxy_pass http://web:8000; }\n}\n",
    }
    folder, found = taken(tmp_path, files)
    assert found["caddy_app_host"] == "shop.example.org"
    by_hand = notes(folder, "By hand")
    assert "shop.conf:3: nginx: bodies up to 5m" in by_hand
    assert "shop.conf:4: nginx: to web:3031 it speaks no HTTP" in by_hand


@pytest.mark.parametrize(
    ("script", "commands"),
    [
        ("a 'x;y' \"p && q\" && b", [("a 'x;y' \"p && q\"", "&&"), ("b", "")]),
        ("a $(b; c) `d && e`; f", [("a $(b; c) `d && e`", ";"), ("f", "")]),
        ("for x in a b; do y; done\nz", [("for x in a b; do y; done", ";"), ("z", "")]),
        ("(a; b) && { c; d; }; e", [("(a; b)", "&&"), ("{ c; d; }", ";"), ("e", "")]),
        ("case $x in a) b;; *) c;; esac; d", [("case $x in a) b;; *) c;; esac", ";"), ("d", "")]),
        ("a 2>&1 >x & b # c; d", [("a 2>&1 >x", "&"), ("b", "")]),
        ("a \\\n  b && c", [("a    b", "&&"), ("c", "")]),
        ("if a; then if b; then c; fi; fi; d", [("if a; then if b; then c; fi; fi", ";"), ("d", "")]),
        ("echo fi done; a", [("echo fi done", ";"), ("a", "")]),
        ("", []),
    ],
)  # fmt: skip
def test_commands_of_a_script(script: str, commands: List[tuple[str, str]]) -> None:
    assert [(one.text, one.behind) for one in shell.commands(script)] == commands
