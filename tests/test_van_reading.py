"""The van reads a Compose project as Compose does: held against the real program, and against what it refuses."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any, Dict, List

import pytest

from scripts.van import celery, project, secrets
from scripts.van.interpolate import ComposeError, read_file, substitute
from tests import programs, rolekit

BOARD = rolekit.ROOT / "molecule" / "board" / "project"
PLUGINS = "usr/libexec/docker/cli-plugins"

PROJECT = {
    ".env": "TAG=1.2\nEMPTY=\nQUOTED='a $TAG'\nBOTH=\"x-${TAG}\\ty\"\nCOMPOSE_PROFILES=extra\nCUT=a b # note\n",
    "web.env": "export A=1\nB=${TAG:-none}\n# note\nC='$x'\nD=a#b\nHANDED\n",
    "compose.yaml": """
x-common: &common
  environment: &env {A: from-file, N: 1.10, B: true, NULLED: , OCT: 010, T: "12:30"}
  labels: [a=1, b]
services:
  web:
    <<: *common
    image: shop/web:${TAG:?a tag}
    build: {context: ./src, args: [V=1, TAG]}
    command: uvicorn "a b" --port 80
    env_file: [web.env, {path: absent.env, required: false}]
    ports: ["8000:80", "127.0.0.1:1-2:3-4/udp", "9000", {target: 5, published: "6"}]
    volumes: [data:/data, "./src:/src:ro", "/srv/x:/x", {type: tmpfs, target: /t}]
    depends_on: [db]
    healthcheck: {test: curl -f http://localhost/}
    extra_hosts: {db.example.org: 192.0.2.7}
    tmpfs: /run
    expose: [80]
  db:
    image: postgres:${VERSION-17}
    environment: [A=$$x, "B=${EMPTY:-filled}", "C=${EMPTY-unfilled}", "D=${TAG:+there}", "E=${X:-${TAG}}"]
    ulimits: {nofile: {soft: 1, hard: 2}}
  job:
    extends: {file: base.yaml, service: base}
    command: [b]
    environment: {TWO: 2}
  extra: {image: "a:1", profiles: [extra]}
  never: {image: "a:1", profiles: [never]}
volumes: {data: }
""",
    "base.yaml": """
services:
  base: {image: "base:1", command: [a], environment: {ONE: 1},
    cap_add: [CHOWN]}
""",
    "compose.override.yaml": """
services:
  web:
    command: [override]
    environment: {A: over, NEW: "x"}
    ports: ["8000:80", "7000:70"]
    volumes: ["other:/data"]
    labels: {c: "3"}
  db:
    depends_on: {job: {condition: service_completed_successfully}}
volumes: {other: }
""",
    "src/Dockerfile": "FROM scratch\n",
}


def compose(folder: Path, *arguments: str) -> Any:
    """What the real program prints of a project, its $$ undone."""
    program = programs.from_debian("docker-compose", "docker-compose", PLUGINS)
    command = [program, *arguments, "config", "--format", "json"]
    done = subprocess.run(command, cwd=folder, env={"PATH": "/usr/bin"}, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.replace("$$", "$"))["services"]


def canonical(service: Dict[str, Any]) -> Dict[str, Any]:
    """The keys that are moved, without what Compose adds."""
    same = ("image", "command", "entrypoint", "environment", "labels", "cap_add", "tmpfs", "user", "expose", "ulimits",
            "extra_hosts", "working_dir")  # fmt: skip
    service = {**service, "extra_hosts": [one.replace("=", ":") for one in service.get("extra_hosts") or []]}
    build = service.get("build") or {}
    found: Dict[str, Any] = {key: service[key] for key in same if service.get(key)}
    found["build"] = {key: build[key] for key in ("context", "args", "target") if build.get(key)}
    keys = ("host_ip", "published", "target", "protocol")
    found["ports"] = sorted([str(port.get(key, "tcp" * (key == "protocol"))) for key in keys]
                            for port in service.get("ports") or [])  # fmt: skip
    found["volumes"] = sorted([one["type"], str(one.get("source", "")), one["target"], bool(one.get("read_only"))]
                              for one in service.get("volumes") or [])  # fmt: skip
    found["depends_on"] = {name: said["condition"] for name, said in (service.get("depends_on") or {}).items()}
    found["test"] = (service.get("healthcheck") or {}).get("test")
    return found


def written(folder: Path, files: Dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize("place", ["table", "board"])
def test_a_project_is_what_compose_says_it_is(place: str, tmp_path: Path) -> None:
    folder = BOARD if place == "board" else written(tmp_path, PROJECT)
    files = project.files_of(folder, {})
    mine = project.read(files, outside={}).services
    theirs = compose(folder)
    assert set(mine) == set(theirs)
    for name, service in theirs.items():
        assert json.loads(json.dumps(canonical(mine[name]))) == json.loads(json.dumps(canonical(service))), name


def test_each_key_has_its_line(tmp_path: Path) -> None:
    found = project.read(project.files_of(written(tmp_path, PROJECT), {}), outside={})
    assert found.line("db", "ulimits") == "compose.yaml:22"
    assert found.line("web", "command") == "compose.override.yaml:4"
    assert found.line("job", "cap_add") == "base.yaml:4", "what extends brought"
    assert found.line("web", "environment", "N") == "compose.yaml:3", "what an anchor brought"
    assert found.left == {"never": ["never"]}


@pytest.mark.parametrize(
    ("compose_file", "told"),
    [
        ("services: {a: {image: '${TAG:?name one}'}}", "the variable TAG has no value: name one"),
        ("services: {a: {image: 'a:$ '}}", "a $ that is meant as such is written $$"),
        ("services: {a: {image: '${TAG'}}", "a brace is not closed"),
        ("services: {a: {env_file: none.env}}", "none.env: No such file"),
        ("services: {a: {ports: ['x:y']}}", "'x:y' is no port"),
        ("services: {a: {extends: b}}", "extends b, which compose.yaml does not have"),
        ("services: {a: {extends: a}}", "extends itself"),
        ("services: [a", "compose.yaml"),
        ("- a", "this is no Compose file"),
    ],
)
def test_what_compose_refuses_is_refused_by_its_file(compose_file: str, told: str, tmp_path: Path) -> None:
    written(tmp_path, {"compose.yaml": compose_file})
    with pytest.raises(ComposeError) as no:
        project.read([tmp_path / "compose.yaml"], outside={})
    assert told in str(no.value) and "compose.yaml" in str(no.value)


def test_variables_of_a_file(tmp_path: Path) -> None:
    path = written(tmp_path, {"x": "A=1\nB='$A\nb'\nC=\"$A\\n\\$A\"\nD=$%&\n"}) / "x"
    assert read_file(path, {}) == {"A": "1", "B": "$A\nb", "C": "1\n$A", "D": "$%&"}
    with pytest.raises(ComposeError, match="line 1"):
        read_file(written(tmp_path, {"x": "no value here\n"}) / "x", {})
    unset: List[str] = []
    assert substitute("$A-${B:-${A}}", {}, unset.append) == "-" and unset == ["A", "A"]


@pytest.mark.parametrize(
    ("words", "kind", "app", "queues", "arguments"),
    [
        ("celery -A shop.tasks worker -l info -Q a,b -c 4", "worker", "shop.tasks", ["a", "b"], []),
        ("celery --app=shop worker --pool=solo -E", "worker", "shop", [], ["--pool=solo", "--task-events"]),
        ("poetry run celery -A shop beat -S x:Y", "beat", "shop", [], []),
        ("python -m celery -A shop worker -Ofair -c2", "worker", "shop", [], ["--optimization=fair"]),
        ("sh -c 'alembic upgrade head && exec celery -A s worker'", "worker", "s", [], []),
        ("celery --broker=redis://r flower --port=5555", "flower", "", [], []),
    ],
)
def test_commands_of_celery(words: str, kind: str, app: str, queues: List[str], arguments: List[str]) -> None:
    found = celery.recognise(celery._split(words))
    assert found and (found.kind, found.app, found.queues, found.arguments) == (kind, app, queues, arguments)
    assert found.before == (["alembic upgrade head"] if words.startswith("sh") else [])


def test_other_commands_are_none_of_celery() -> None:
    for words in ("celery inspect ping", "uvicorn main:app", "worker", "sh -c 'echo celery'"):
        assert celery.recognise(celery._split(words)) is None, words


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("DB_PASSWORD", "x", True), ("SECRET_KEY", "", True), ("A_TOKEN", "t", True), ("A_DSN", "https://k@s/1", True),
        ("DATABASE_URL", "postgres://u:p@h/d", True), ("CACHE", "redis://h:6379", False), ("PG_PASS", "x", True),
        ("ACCESS_TOKEN_EXPIRE_MINUTES", "30", False), ("USE_TOKEN", "true", False), ("PASSWORD_FILE", "/run/x", False),
        ("KEYCLOAK_URL", "https://k", False), ("STRIPE_API_KEY", "sk_live_0123456789", True), ("MONKEY", "m", True),
        ("JWT_ALGORITHM", "HS256", False), ("SLACK_WEBHOOK", "https://h", True), ("LOG_LEVEL", "info", False),
    ],
)  # fmt: skip
def test_secrets_are_known_by_name_or_by_what_they_say(name: str, value: str, secret: bool) -> None:
    """Rather one too many in the vault (MONKEY) than one too few."""
    assert secrets.is_secret(name, value) is secret
