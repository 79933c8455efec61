"""The proof of Grafana, run as the role renders it against the stand-in, on this machine and without containers."""

from __future__ import annotations

import http.server
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests import rolekit

STANDIN = rolekit.ROOT / "molecule/images/standins/grafana"
OLD, NEW = "the-password-of-the-first-start", "another-password-that-is-wanted"
# Braces, quotes and brackets in texts, uids of others around its own: whatever order and form somebody's tool writes
AWKWARD = (
    r'{"panels":[{"uid":"of-a-panel","title":"a \"}{[ b","datasource":{"uid":"prometheus"}}],'
    r'"title":"uid","tags":["uid"],"uid":"mine"}'
)


class Prometheus(http.server.BaseHTTPRequestHandler):
    """As much of Prometheus as the proof's query of a data source asks for."""

    def do_GET(self) -> None:
        """Answer any query."""
        text = b'{"status": "success", "data": {"resultType": "vector", "result": [{"metric": {}, "value": [1, "1"]}]}}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Grafana:
    """The stand-in with the role's files, below ``folder`` in place of the container's root."""

    def __init__(self, folder: Path, prometheus: str) -> None:
        self.folder = folder
        self.port = _free_port()
        self.prometheus = prometheus
        self.url = f"http://127.0.0.1:{self.port}"
        self.dashboards = folder / "dashboards"
        self.dashboards.mkdir()
        program = folder / "bin/grafana"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec {sys.executable} {STANDIN / "grafana.py"} "$@"\n')
        program.chmod(0o755)
        self.path = {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"}
        self.process: subprocess.Popen[bytes] | None = None

    def configure(self, **variables: Any) -> None:
        """Write what the role renders, with its places below ``folder``."""
        off = {f"{role}_enabled": False for role in ("loki", "alertmanager")}
        given = {"grafana_admin_password": OLD, "grafana_prometheus_url": self.prometheus, **off, **variables}
        rendered = rolekit.component("grafana", self.folder, **given)
        for path, content in rendered.contents.items():
            if not path.startswith("grafana/"):
                continue
            text = content.decode().replace("/run/secrets/", f"{self.folder}/grafana/secrets/")
            text = text.replace("/etc/grafana/", f"{self.folder}/grafana/config/")
            text = text.replace("/tmp/reset", f"{self.folder}/reset")  # noqa: S108 - the script's own place
            for word in (" /dashboards", "path: /dashboards"):
                text = text.replace(word, word.replace("/dashboards", str(self.dashboards)))
            text = text.replace("127.0.0.1:3000", f"127.0.0.1:{self.port}").replace(" = 3000", f" = {self.port}")
            (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / path).write_text(text)
        ini = self.folder / "grafana/config/grafana.ini"
        config = self.folder / "grafana/config"
        ini.write_text(f"{ini.read_text()}\n[paths]\ndata = {self.folder}/data\nprovisioning = {config}/provisioning\n")

    def start(self) -> None:
        """Start it, and wait until it answers."""
        program = ["grafana", "server", f"--config={self.folder}/grafana/config/grafana.ini"]
        self.process = subprocess.Popen(program, env=self.path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        assert _until(lambda: self.status("/api/health") == 200)

    def stop(self) -> None:
        """End it."""
        if self.process:
            self.process.kill()
            self.process.wait()

    def status(self, path: str, password: str = "") -> int:
        """The status of a GET, as admin if a password is given; 0 when nobody answers."""
        try:
            return requests.get(self.url + path, auth=("admin", password) if password else None, timeout=5).status_code
        except requests.RequestException:
            return 0

    def save(self, board: dict[str, Any]) -> requests.Response:
        """Save a dashboard as somebody does in the browser."""
        return requests.post(f"{self.url}/api/dashboards/db", json={"dashboard": board}, auth=("admin", OLD), timeout=5)

    def set_password(self) -> None:
        """What a deployment runs before its proof, and verify never."""
        script = ["bash", str(self.folder / "grafana/config/password.sh")]
        done = subprocess.run(script, env=self.path, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stdout) == (0, "password set\n"), done.stderr

    def prove(self) -> tuple[int, str]:
        """The exit status of the proof, and what it says."""
        script = ["bash", str(self.folder / "grafana/config/prove.sh")]
        done = subprocess.run(script, env=self.path, capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stdout + done.stderr

    def proven(self) -> bool:
        """Whether the proof passes."""
        return self.prove()[0] == 0


def _until(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 40
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


@pytest.fixture
def grafana(tmp_path: Path) -> Iterator[Grafana]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Prometheus)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    made = Grafana(tmp_path, f"http://127.0.0.1:{server.server_address[1]}")
    made.configure()
    try:
        yield made
    finally:
        made.stop()
        server.shutdown()
        server.server_close()


def _ship(grafana: Grafana) -> int:
    """Put the dashboards of all roles there, and one that somebody else's tool wrote."""
    sources = sorted(rolekit.ROLES.glob("*/files/dashboards/*.json"))
    for source in sources:
        (grafana.dashboards / f"{source.parts[-4]}--{source.name}").write_bytes(source.read_bytes())
    (grafana.dashboards / "mine--awkward.json").write_text(AWKWARD)
    return len(sources) + 1


def test_every_file_is_asked_for_by_its_own_uid(grafana: Grafana) -> None:
    count = _ship(grafana)
    grafana.start()
    assert _until(grafana.proven), grafana.prove()
    assert grafana.prove() == (0, f"proven: {count} dashboards\n")


def test_one_made_by_hand_does_not_stand_in_for_one_that_is_missing(grafana: Grafana) -> None:
    _ship(grafana)
    (grafana.dashboards / "bad--x.json").write_text('{"uid": "without-a-title"}')
    (grafana.dashboards / "bad--y.json").write_text('{"title": "Without a uid", "panels": [{"uid": "of-a-panel"}]}')
    (grafana.dashboards / "bad--z.json").write_text("")
    (grafana.dashboards / "over--z.json").write_text('{"title": "Again", "uid": "mine"}')
    grafana.start()
    for number in range(3):
        assert grafana.save({"title": f"By hand {number}", "uid": f"by-hand-{number}"}).status_code == 200
    bad = (
        "bad--x.json (without-a-title)",
        "bad--y.json (it has no uid)",
        "bad--z.json (it has no",
        "over--z.json (its uid mine is that of",
    )
    wanted = [f"{grafana.dashboards}/{name}" for name in bad]
    _until(lambda: all(text in grafana.prove()[1] for text in wanted))
    status, said = grafana.prove()
    assert status == 1 and all(text in said for text in wanted), said
    assert said.startswith("dashboards that Grafana has not loaded: ") and said.count(".json") == len(bad)


def test_what_somebody_made_under_the_uid_of_a_missing_one_is_not_it(grafana: Grafana) -> None:
    (grafana.dashboards / "bad--x.json").write_text('{"uid": "taken"}')
    grafana.start()
    assert grafana.save({"title": "By hand", "uid": "taken"}).status_code == 200
    assert "bad--x.json (taken)" in grafana.prove()[1]


def test_the_proof_tells_of_another_password_and_changes_nothing(grafana: Grafana) -> None:
    grafana.start()
    assert _until(grafana.proven)
    grafana.stop()
    grafana.configure(grafana_admin_password=NEW)
    grafana.start()
    status, said = grafana.prove()
    assert (status, "docker exec grafana bash " in said and "/password.sh" in said) == (1, True), said
    assert "set grafana_admin_password to the new one" in said
    assert (grafana.status("/api/user", NEW), grafana.status("/api/user", OLD)) == (401, 200)


def test_a_deployment_sets_the_password_when_it_changes(grafana: Grafana) -> None:
    grafana.start()
    grafana.set_password()
    assert _until(grafana.proven)
    grafana.stop()
    grafana.configure(grafana_admin_password=NEW)
    grafana.start()
    assert grafana.status("/api/user", NEW) == 401, "Grafana takes the password in on its first start only"
    grafana.set_password()
    assert _until(grafana.proven), grafana.prove()
    assert (grafana.status("/api/user", NEW), grafana.status("/api/user", OLD)) == (200, 401)


def test_nobody_gets_in_without_a_password_and_nobody_saves_what_is_shipped(grafana: Grafana) -> None:
    _ship(grafana)
    grafana.start()
    assert _until(grafana.proven)
    assert grafana.status("/api/org") == 401
    answer = grafana.save({"title": "Changed", "uid": "landfall-overview"})
    assert (answer.status_code, answer.json()["message"]) == (400, "Cannot save provisioned dashboard")
    shown = requests.get(f"{grafana.url}/api/dashboards/uid/landfall-overview", auth=("admin", OLD), timeout=5).json()
    assert shown["meta"]["provisioned"] is True and shown["dashboard"]["title"] != "Changed"


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        (
            "grafana.ini",
            "[auth.anonymous]\nenabled = false",
            "[auth.anonymous]\nenabled = true",
            "answered 200, not 401",
        ),
        (
            "provisioning/dashboards/landfall.yaml",
            "allowUiUpdates: false",
            "allowUiUpdates: true",
            "awkward.json (mine)",
        ),
    ],
)
def test_an_open_door_is_noticed(grafana: Grafana, file: str, old: str, new: str, words: str) -> None:
    _ship(grafana)
    path = grafana.folder / "grafana/config" / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    grafana.start()
    assert _until(lambda: words in grafana.prove()[1]), grafana.prove()
