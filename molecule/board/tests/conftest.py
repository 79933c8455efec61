"""What the tests of the board share: visits as a browser makes them, by somebody who does everything."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import testinfra
import yaml
from testbed.paths import ROOT
from testbed.visitor import Echo, Visitor

NAME = "board.example.org"
VPS = "molecule-board"
VARIABLES = Path(__file__).parent.parent / "group_vars/all/main.yml"


class BoardVisitor(Visitor):
    """Knows what the board can do."""

    def post(self, text: str) -> int:
        """Post a notice and return its number."""
        _status, said = self.ask("POST", f"/api/notices?text={text}")
        return int(json.loads(said)["id"])

    def upload(self, name: str, content: str) -> tuple[int, str]:
        """Upload a file as a form does."""
        head = f'--x\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
        body = f"{head}{content}\r\n--x--\r\n".encode()
        return self.ask("POST", "/api/uploads", body, "multipart/form-data; boundary=x")


@pytest.fixture(scope="session")
def visitor() -> BoardVisitor:
    """Give somebody who visits the board."""
    host = testinfra.get_host(f"ssh://{VPS}", ssh_config=str(ROOT / ".cache/vps/ssh_config"), sudo=True)
    return BoardVisitor(host, NAME)


@pytest.fixture(scope="session")
def load(visitor: BoardVisitor) -> Iterator[threading.Thread]:
    """Visit the board for 90 s: pages, notices, uploads, what is not there, what fails, streams and sockets."""
    end, over = time.monotonic() + 90, threading.Event()

    def work() -> None:
        number = 0
        while time.monotonic() < end and not over.wait(0.5):
            number += 1
            with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
                visitor.ask("GET", "/")
                visitor.post(f"notice+{number}")
                visitor.ask("GET", "/api/notices/1")
                visitor.ask("GET", "/api/notices/999999999")  # fails
                visitor.ask("POST", "/api/notices/0/count")  # a task that fails, and is tried again
                visitor.ask("GET", "/none")
                visitor.upload("load.txt", "x" * 1000)
                Echo(visitor, "/api/echo").say("hello")

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    yield thread
    over.set()
    thread.join(30)


@pytest.fixture
def services() -> list[dict[str, Any]]:
    """Give the services as the inventory has them, to be changed for one run."""
    found: list[dict[str, Any]] = yaml.safe_load(VARIABLES.read_text(encoding="utf-8"))["app_services"]
    return found
