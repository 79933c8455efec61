"""Healthchecks as rendered, run for real: each sees a good answer, and each sees that something is wrong."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar, List

import pytest
from ansible_collections.landfall.vps.plugins.plugin_utils import service_health

from tests import programs, rolekit

# Query, blanks, quotes and signs that a shell would act upon
PATHS = ["/health", "/h?a=1&b=1", "/h;true", "/h?q=a'b", "/$(true)", "/h|true", "/h?a=`true`", "/~x(y)*"]


class _Answers(BaseHTTPRequestHandler):
    status = 200
    asked: ClassVar[List[str]] = []
    hosts: ClassVar[List[str]] = []

    def do_GET(self) -> None:
        type(self).asked.append(self.path)
        type(self).hosts.append(self.headers["Host"])
        self.send_response(self.status)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing of it is of interest."""


class Server:
    """An HTTP server on a port of its own that gives one status to everything."""

    def __init__(self, status: int) -> None:
        class Handler(_Answers):
            asked: ClassVar[List[str]] = []
            hosts: ClassVar[List[str]] = []

        Handler.status = status
        self.handler = Handler
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), self.handler)
        self.port: int = self.http.server_port
        threading.Thread(target=self.http.serve_forever, daemon=True).start()


@pytest.fixture(scope="module")
def good() -> Iterator[Server]:
    server = Server(200)
    yield server
    server.http.shutdown()


@pytest.fixture(scope="module")
def bad() -> Iterator[Server]:
    server = Server(500)
    yield server
    server.http.shutdown()


@pytest.fixture(scope="module")
def dead() -> int:
    """A port on which nobody listens."""
    server = Server(200)
    server.http.shutdown()
    server.http.server_close()
    return server.port


@pytest.fixture(scope="module", params=["busybox wget", "curl", "python3"])
def tools(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder for PATH that holds one of the programs that a healthcheck uses, and a shell."""
    folder = tmp_path_factory.mktemp("tools")
    (folder / "sh").symlink_to(shutil.which("sh") or "/bin/sh")
    if request.param == "busybox wget":
        (folder / "wget").symlink_to(programs.from_debian("busybox", "busybox-static"))
    else:
        found = shutil.which(request.param)
        assert found, f"{request.param} is not installed here"
        # A shim of pyenv is a script that needs more than is in this folder
        (folder / request.param).symlink_to(sys.executable if request.param == "python3" else found)
    return str(folder)


def ask(tools: str, port: int, path: str, host: str = "", **environment: str) -> int:
    """The exit code of the rendered command with nothing but ``tools`` at hand."""
    source = f"{{{{ {path!r} | landfall.vps.http_health({port}, host={host!r}) }}}}"
    command = rolekit.template(rolekit.trusted(source), {})
    done = subprocess.run(
        ["sh", "-c", command], env={"PATH": tools, **environment}, capture_output=True, timeout=30, check=False
    )
    return done.returncode


@pytest.mark.parametrize("path", PATHS)
def test_a_program_that_answers_is_well(tools: str, good: Server, path: str) -> None:
    assert ask(tools, good.port, path) == 0
    assert good.handler.asked[-1] == path


def test_an_answer_may_take_as_long_as_the_inventory_says() -> None:
    item = {"name": "a", "port": 80, "health": {"path": "/", "timeout": "30s"}}
    for timeout, seconds in (("30s", 29), ("5s", 4), ("500ms", 1)):
        item["health"] = {"path": "/", "timeout": timeout}
        command = service_health.of(item, "a").test[1]
        assert f"wget -q -T {seconds} " in command and f"curl -fsS -m {seconds} " in command, timeout
        assert f"timeout={seconds})" in command, timeout


@pytest.mark.parametrize("path", PATHS)
def test_a_program_that_is_gone_is_not_well(tools: str, dead: int, path: str) -> None:
    assert ask(tools, dead, path) != 0


@pytest.mark.parametrize("path", PATHS)
def test_a_program_that_fails_is_not_well(tools: str, bad: Server, path: str) -> None:
    assert ask(tools, bad.port, path) != 0
    assert bad.handler.asked[-1] == path


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])
def test_no_proxy_speaks_for_a_program(tools: str, good: Server, bad: Server, dead: int, name: str) -> None:
    asked = len(good.handler.asked)
    assert ask(tools, dead, "/health", **{name: f"http://127.0.0.1:{good.port}"}) != 0
    assert len(good.handler.asked) == asked
    assert ask(tools, good.port, "/health", **{name: f"http://127.0.0.1:{bad.port}"}) == 0


def test_the_name_that_an_application_insists_on_is_sent(tools: str, good: Server) -> None:
    assert ask(tools, good.port, "/health", host="app.example.org") == 0
    assert good.handler.hosts[-1] == "app.example.org"


def test_every_tool_is_asked_in_turn(good: Server, tmp_path: Path) -> None:
    (tmp_path / "sh").symlink_to(shutil.which("sh") or "/bin/sh")
    assert ask(str(tmp_path), good.port, "/health") != 0, "no tool at all is no health"


def _checks() -> Iterator[tuple[str, str, List[str]]]:
    folder = Path(os.environ.get("PYTEST_DEBUG_TEMPROOT", "/tmp")) / f"healthchecks-{os.getpid()}"  # noqa: S108
    try:
        for role in rolekit.component_names():
            for name, service in rolekit.services(rolekit.deployed(role, folder)):
                if service["restart"] == "no" and "healthcheck" not in service:
                    continue  # what runs to its end has no health
                yield role, name, service["healthcheck"]["test"]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(role: str, test: List[str], port: int, tmp_path: Path) -> int:
    config = rolekit.ROLES / role / "templates" / "config"
    known = {"/etc/alloy": config, "/etc/celery-exporter": tmp_path}
    for file in config.glob("*.py.j2") if role == "celery_exporter" else []:
        text = re.sub(r"127\.0\.0\.1:[0-9]+", f"127.0.0.1:{port}", file.read_text("utf-8"))
        (tmp_path / file.name[:-3]).write_text(text, "utf-8")
    words = [word.replace("$$", "$") for word in test]
    words = [re.sub(r"\b(127\.0\.0\.1|localhost|172\.30\.0\.1):[0-9]+", f"127.0.0.1:{port}", word) for word in words]
    for inside, outside in known.items():
        words = [word.replace(inside, str(outside)) for word in words]
    command = ["sh", "-c", words[1]] if words[0] == "CMD-SHELL" else words[1:]
    (tmp_path / "wget").unlink(missing_ok=True)
    (tmp_path / "wget").symlink_to(programs.from_debian("busybox", "busybox-static"))  # as in the images, not as here
    path = f"{tmp_path}:{os.environ['PATH']}"
    try:
        return subprocess.run(
            command, env={**os.environ, "PATH": path}, capture_output=True, timeout=30, check=False
        ).returncode
    except FileNotFoundError:
        return 127


CHECKS = list(_checks())


@pytest.mark.parametrize(("role", "name", "test"), CHECKS, ids=[name for _, name, _ in CHECKS])
def test_no_container_is_well_where_nothing_runs(
    role: str, name: str, test: List[str], dead: int, tmp_path: Path
) -> None:
    assert _run(role, test, dead, tmp_path) != 0, f"{name}: {test}"


@pytest.mark.parametrize(
    ("role", "name", "test"),
    [check for check in CHECKS if "http" in str(check[2])],
    ids=[name for _, name, test in CHECKS if "http" in str(test)],
)
def test_a_container_that_answers_is_well_and_one_that_fails_is_not(
    role: str, name: str, test: List[str], good: Server, bad: Server, tmp_path: Path
) -> None:
    assert _run(role, test, good.port, tmp_path) == 0, f"{name}: {test}"
    assert _run(role, test, bad.port, tmp_path) != 0, f"{name}: {test}"


def test_probes_that_speak_http_are_shell_commands_without_a_proxy() -> None:
    assert len([name for _, name, test in CHECKS if "http" in str(test)]) >= 8
    assert not [name for _, name, test in CHECKS if test[0] == "CMD" and {"wget", "curl"} & set(test)]
