"""The real Prometheus takes in its files by a signal, says what came of it, and has no API that ends it."""

from __future__ import annotations

import signal
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible_collections.landfall.vps.plugins.module_utils import applying
from ansible_collections.landfall.vps.plugins.module_utils.probe import Unproven

from tests import programs, rolekit

CONFIG = "global: {{}}\nrule_files: [{folder}/*.rules]\n"
RULES = "groups:\n  - name: one\n    rules: [{{record: x, expr: '{expression}'}}]\n"


class Prometheus:
    """A process in place of a container."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.rules("1")
        (folder / "prometheus.yml").write_text(CONFIG.format(folder=folder))
        # Its pages are not looked at
        program = programs.from_debian("prometheus", "prometheus", unread="/usr/share/prometheus")
        argv = [program, f"--config.file={folder}/prometheus.yml",
                f"--storage.tsdb.path={folder}/data", f"--web.listen-address=127.0.0.1:{self.port}"]  # fmt: skip
        self.said = (folder / "log").open("w")
        self.process = subprocess.Popen(argv, stdout=self.said, stderr=self.said)

    def rules(self, expression: str) -> None:
        (self.folder / "a.rules").write_text(RULES.format(expression=expression))

    def kill(self, _name: str, name: str) -> None:
        """Send a signal."""
        self.process.send_signal(getattr(signal, name))

    def logs(self, _name: str, lines: int) -> str:
        """The end of its log."""
        return "\n".join((self.folder / "log").read_text().splitlines()[-lines:])

    def loaded(self) -> str:
        """The rules that it has."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/v1/rules") as answer:
            return str(answer.read().decode())

    def end(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait(20)
        self.said.close()


@pytest.fixture
def prometheus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Prometheus]:
    monkeypatch.setattr(applying, "address", lambda *_arguments: "127.0.0.1")
    monkeypatch.setattr(applying, "SAME_REFUSAL", 3)
    found = Prometheus(tmp_path)
    yield found
    found.end()


def reload(prometheus: Prometheus) -> None:
    """Do what the role says, at the port of the process."""
    (task,) = DataLoader().load_from_file(str(rolekit.ROLES / "prometheus/tasks/main.yml"))
    spec: dict[str, Any] = task["landfall.vps.component"]["reload"]
    meta = {"reload": {**spec, "success": {**spec["success"], "port": prometheus.port}}}
    applying.reload_component(prometheus, meta, "landfall", ["prometheus"])  # type: ignore[arg-type]  # a stand-in


def test_it_takes_in_files_refuses_bad_ones_and_goes_on(prometheus: Prometheus) -> None:
    prometheus.rules("2")
    reload(prometheus)  # just started: nobody sends the signal before it listens
    assert '"query":"2"' in prometheus.loaded()
    prometheus.rules("2 +")
    for _again in range(2):
        with pytest.raises(Unproven, match=r"(?s)reload of prometheus was refused: .*a\.rules: 3:31: "):
            reload(prometheus)
        assert '"query":"2"' in prometheus.loaded(), "it goes on with what it has"
    prometheus.rules("3")
    reload(prometheus)
    assert '"query":"3"' in prometheus.loaded()
    for path in ("quit", "reload"):
        request = urllib.request.Request(f"http://127.0.0.1:{prometheus.port}/-/{path}", method="POST")
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(request)  # noqa: S310 - http, see above
    assert prometheus.process.poll() is None
