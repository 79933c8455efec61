"""What arrives: a real Alertmanager with the role's configuration and template tells sinks on this machine.

The role renders everything. What has no address in it (Telegram, PagerDuty) is sent to a sink by the keys that
Alertmanager documents for that, telegram_api_url and pagerduty_url.
"""

from __future__ import annotations

import base64
import email
import email.policy
import http.server
import json
import re
import socket
import socketserver
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from tests import programs, rolekit

TYPES = ["discord", "slack", "telegram", "pagerduty", "email", "webhook"]
PATIENCE = 12.0  # seconds
LABELS = {"alertname": "QueueStuck", "severity": "warning", "service": "worker", "cluster": "vps", "team": "platform"}
ANNOTATIONS = {
    "summary": 'Queue "a&b" is <stuck>',
    "description": "Größe 12 > 10.\nSecond line: 'quoted', \\ and *starred*_",
    "runbook_url": "https://runbooks.example/QueueStuck.md",
}
PLACE = "QueueStuck · worker · vps"


class Sinks:
    """A web server and a mail server on this machine, which keep all that they are told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, dict[str, str], Any]] = []
        self.mails: list[tuple[list[str], bytes]] = []
        self.web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._web())
        self.mail = socketserver.ThreadingTCPServer(("127.0.0.1", 0), self._mail())

    @property
    def url(self) -> str:
        """Where the web server is."""
        return f"http://127.0.0.1:{self.web.server_address[1]}"

    def _web(self) -> type[http.server.BaseHTTPRequestHandler]:
        told = self.told

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                told.append((self.path, dict(self.headers), body))
                # Slack's webhooks and Telegram answer so; no other client looks at more than the status
                telegram = json.dumps({"ok": True, "result": {"message_id": 1, "chat": {"id": -100}}})
                answer = (telegram if self.path.startswith("/bot") else "ok").encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        return Handler

    def _mail(self) -> type[socketserver.StreamRequestHandler]:
        mails = self.mails

        class Handler(socketserver.StreamRequestHandler):
            def say(self, text: str) -> None:
                self.wfile.write(f"{text}\r\n".encode())

            def handle(self) -> None:
                said: list[str] = []
                self.say("220 sink")
                while line := self.rfile.readline().decode().strip():
                    said.append(line)
                    verb = line.split()[0].upper()
                    if verb == "EHLO":
                        self.say("250-sink\r\n250 AUTH PLAIN")
                    elif verb == "AUTH":
                        self.say("235 welcome")
                    elif verb == "DATA":
                        self.say("354 go on")
                        lines = iter(self.rfile.readline, b".\r\n")
                        mails.append((said, b"".join(part.removeprefix(b".") for part in lines)))
                        self.say("250 taken")
                    else:
                        self.say("221 bye" if verb == "QUIT" else "250 fine")

        return Handler

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Serve until the block ends."""
        for server in (self.web, self.mail):
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, daemon=True).start()
        yield
        for server in (self.web, self.mail):
            server.shutdown()
            server.server_close()

    def heard(self, kind: str) -> list[Any]:
        """All messages of one type of receiver: (path, headers, body), of mail (commands, text)."""
        if kind == "email":
            return list(self.mails)
        mark = {"telegram": "/bot", "pagerduty": "/pagerduty"}.get(kind, f"s3cret-{kind}")
        return [request for request in self.told if mark in request[0] and "Odd" not in json.dumps(request[2])]


def _receivers(sinks: Sinks) -> list[dict[str, Any]]:
    host, port = sinks.mail.server_address[:2]
    post = {"to": "a@example.com, c@example.com", "from": "Landfall <b@example.com>", "require_tls": False}
    return [
        {"name": "discord", "type": "discord", "url": f"{sinks.url}/api/webhooks/1/s3cret-discord"},
        {"name": "slack", "type": "slack", "url": f"{sinks.url}/services/T/B/s3cret-slack", "channel": "#ops"},
        {"name": "telegram", "type": "telegram", "bot_token": "1:s3cret-telegram", "chat_id": -100},
        {"name": "pagerduty", "type": "pagerduty", "routing_key": "s3cret-pagerduty"},
        {"name": "email", "type": "email", **post, "smarthost": f"{host!s}:{port}", "username": "b",
         "password": "s3cret-email"},
        {"name": "webhook", "type": "webhook", "url": f"{sinks.url}/s3cret-webhook"},
    ]  # fmt: skip


def _configure(folder: Path, sinks: Sinks) -> Path:
    """Write what the role renders; only places of files and addresses without a variable are others."""
    rendered = rolekit.component(
        "alertmanager",
        folder,
        alertmanager_receivers=_receivers(sinks),
        alertmanager_heartbeat_url=f"{sinks.url}/s3cret-heartbeat",
        alertmanager_heartbeat_interval="1s",
        alertmanager_fallback_receiver="pagerduty",
        alertmanager_warning_wait="0s",
        alertmanager_group_interval="1s",
    )
    for path, content in rendered.contents.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    config = folder / "alertmanager/config/alertmanager.yml"
    text = config.read_text().replace("/etc/alertmanager/", f"{config.parent}/")
    document = yaml.safe_load(text.replace("/run/secrets/", f"{folder}/alertmanager/secrets/"))
    document["global"] |= {"telegram_api_url": sinks.url, "pagerduty_url": f"{sinks.url}/pagerduty"}
    config.write_text(yaml.safe_dump(document))
    return config


def _until(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _ask(url: str, body: Any = None) -> str:
    answer = requests.get(url, timeout=5) if body is None else requests.post(url, json=body, timeout=5)
    answer.raise_for_status()
    return answer.text


def _ready(url: str) -> bool:
    try:
        return bool(_ask(f"{url}/-/ready"))
    except requests.RequestException:
        return False


@contextmanager
def _alertmanager(config: Path, log: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = programs.in_image("alertmanager", "/bin/alertmanager", config.parents[2])
    flags = [f"--config.file={config}", f"--storage.path={config.parent}/data", "--cluster.listen-address="]
    flags += [
        f"--web.listen-address=127.0.0.1:{port}",
        "--web.external-url=http://vps.example:9093",
        "--log.level=debug",
    ]
    flags += ["--web.route-prefix=/"]
    with log.open("wb") as told, subprocess.Popen([*program, *flags], stdout=told, stderr=told) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            assert _until(lambda: process.poll() is not None or _ready(url)) and process.poll() is None, log.read_text()
            yield url
        finally:
            process.terminate()


class Told:
    """What each type was told: first that the alert fires, then that it is over."""

    def __init__(self, folder: Path) -> None:
        self.sinks = Sinks()
        self.config = _configure(folder, self.sinks)
        with self.sinks.serving(), _alertmanager(self.config, folder / "log") as url:
            alert = {"labels": LABELS, "annotations": ANNOTATIONS, "generatorURL": "http://vps.example:9090/graph"}
            watchdog = {"labels": {"alertname": "Watchdog", "severity": "none"}}
            odd = {"labels": {"alertname": "Odd", "severity": "unheard-of"}}
            _ask(f"{url}/api/v2/alerts", [alert, watchdog, odd])
            self._wait(1, folder)
            assert _until(lambda: bool(self.odd())), (folder / "log").read_text()
            now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            _ask(f"{url}/api/v2/alerts", [{**alert, "endsAt": now}])
            self._wait(2, folder)
            self.status = _ask(f"{url}/api/v2/status")
        self.log = (folder / "log").read_text()

    def odd(self) -> list[Any]:
        """What the fallback receiver was told of an alert whose severity no route knows."""
        return [body for _path, _headers, body in self.sinks.told if "Odd" in json.dumps(body)]

    def _wait(self, count: int, folder: Path) -> None:
        _until(lambda: all(len(self.sinks.heard(kind)) >= count for kind in TYPES))
        silent = [kind for kind in TYPES if len(self.sinks.heard(kind)) < count]
        assert not silent, f"{silent} did not get message {count}\n{(folder / 'log').read_text()}"


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    return Told(tmp_path_factory.mktemp("alertmanager"))


def _well_formed(title: str, text: str, state: str) -> None:
    """The same words for every receiver, and nothing of the template's own."""
    assert title == f"{state}: {PLACE}"
    lines = text.strip().splitlines()
    assert [*lines[:4], len(lines)] == [
        ANNOTATIONS["summary"],
        *ANNOTATIONS["description"].splitlines(),
        f"Runbook: {ANNOTATIONS['runbook_url']}",
        5,
    ]
    assert re.fullmatch(r"Since 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC", lines[4])


STATES = ["WARNING", "RESOLVED"]


@pytest.mark.parametrize("state", STATES)
def test_discord(told: Told, state: str) -> None:
    path, _headers, body = told.sinks.heard("discord")[STATES.index(state)]
    assert path == "/api/webhooks/1/s3cret-discord"
    [embed] = body["embeds"]
    _well_formed(embed["title"], embed["description"], state)


@pytest.mark.parametrize("state", STATES)
def test_slack(told: Told, state: str) -> None:
    path, _headers, body = told.sinks.heard("slack")[STATES.index(state)]
    assert (path, body["channel"]) == ("/services/T/B/s3cret-slack", "#ops")
    [part] = body["attachments"]
    _well_formed(part["title"], part["text"], state)


@pytest.mark.parametrize("state", STATES)
def test_telegram(told: Told, state: str) -> None:
    path, _headers, body = told.sinks.heard("telegram")[STATES.index(state)]
    assert path == "/bot1:s3cret-telegram/sendMessage"
    assert body["chat_id"] == "-100" and not body.get("parse_mode"), "what an alert says is no markup"
    title, _, text = body["text"].partition("\n")
    _well_formed(title, text, state)


@pytest.mark.parametrize("state", STATES)
def test_pagerduty(told: Told, state: str) -> None:
    _path, _headers, body = told.sinks.heard("pagerduty")[STATES.index(state)]
    assert body["routing_key"] == "s3cret-pagerduty"
    assert body["event_action"] == {"WARNING": "trigger", "RESOLVED": "resolve"}[state]
    assert body["dedup_key"] == told.sinks.heard("pagerduty")[0][2]["dedup_key"], "one incident, opened and closed"
    payload = body["payload"]
    assert (payload["summary"], payload["severity"], payload["component"]) == (f"{state}: {PLACE}", "warning", "worker")
    assert body["links"] == [{"href": ANNOTATIONS["runbook_url"], "text": "Runbook"}]
    [alert] = payload["custom_details"][{"WARNING": "firing", "RESOLVED": "resolved"}[state]]
    assert (alert["labels"], alert["annotations"]) == (LABELS, ANNOTATIONS)


def test_pagerduty_is_told_no_severity_that_it_would_refuse(told: Told) -> None:
    [odd] = told.odd()
    assert (odd["payload"]["severity"], odd["payload"]["summary"]) == ("error", "UNHEARD-OF: Odd")
    assert not odd.get("links"), "no link to nowhere"


@pytest.mark.parametrize("state", STATES)
def test_email(told: Told, state: str) -> None:
    said, raw = told.sinks.heard("email")[STATES.index(state)]
    [login] = [line for line in said if line.startswith("AUTH PLAIN")]
    assert base64.b64decode(login.split()[2]) == b"\0b\0s3cret-email"
    assert [line for line in said if line.startswith(("MAIL", "RCPT"))] == [
        "MAIL FROM:<b@example.com>",
        "RCPT TO:<a@example.com>",
        "RCPT TO:<c@example.com>",
    ]
    mail = email.message_from_bytes(raw, policy=email.policy.default)
    assert [part.get_content_type() for part in mail.walk()] == ["multipart/alternative", "text/plain"], "no other body"
    body = mail.get_body(("plain",))
    assert body is not None
    _well_formed(str(mail["Subject"]), body.get_content(), state)
    assert str(mail["To"]) == "a@example.com, c@example.com"


@pytest.mark.parametrize("state", STATES)
def test_webhook(told: Told, state: str) -> None:
    path, headers, body = told.sinks.heard("webhook")[STATES.index(state)]
    assert (path, headers["Content-Type"]) == ("/s3cret-webhook", "application/json")
    assert body["status"] == {"WARNING": "firing", "RESOLVED": "resolved"}[state]
    [alert] = body["alerts"]
    assert (alert["labels"], alert["annotations"]) == (LABELS, ANNOTATIONS)


def test_the_heartbeat_is_told_of_the_watchdog_alone(told: Told) -> None:
    beats = told.sinks.heard("heartbeat")
    assert beats and {beat[2]["commonLabels"]["alertname"] for beat in beats} == {"Watchdog"}
    assert not any("Watchdog" in json.dumps(r) for kind in TYPES if kind != "email" for r in told.sinks.heard(kind))


def test_no_secret_stands_anywhere_but_in_its_file(told: Told) -> None:
    assert "s3cret" not in told.config.read_text()
    assert "s3cret" not in told.status, "Alertmanager's own page shows its configuration"
    assert "s3cret" not in told.log
