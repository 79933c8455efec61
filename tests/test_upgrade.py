"""`make upgrade` notices whatever an upgrade loses."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from tests import rolekit

sys.path.append(str(rolekit.ROOT / "molecule"))

from testbed import upgrade

LEFT: dict[str, Any] = {
    "job": "1",
    "silence": "s",
    "at": 7,
    "targets": 19,
    "secrets": {"a": "b"},
    "volumes": {"v": "t"},
}
KEPT: dict[str, Any] = {
    "app": lambda _path: {"status": "succeeded"},
    "redis": lambda *_argv: "over an upgrade",
    "samples": lambda _at: 19,
    "ask": lambda _port, _path: [{"id": "s"}],
    "secrets": lambda: {"a": "b", "new": "c"},
    "volumes": lambda: {"v": "t", "w": "u"},
}


def lost(monkeypatch: pytest.MonkeyPatch, **other: Any) -> list[str]:
    for name, answer in {**KEPT, **other}.items():
        monkeypatch.setattr(upgrade, name, answer)
    return upgrade.lost(LEFT)


def test_what_is_kept_is_no_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lost(monkeypatch) == []


@pytest.mark.parametrize(
    ("name", "answer", "told"),
    [
        ("app", lambda _path: {"status": "failed"}, "job"),
        ("redis", lambda *_argv: "", "key in Redis"),
        ("samples", lambda _at: 0, "samples of Prometheus: 0 targets, 19 before"),
        ("ask", lambda _port, _path: [], "silence"),
        ("secrets", lambda: {"a": "other"}, "secret a"),
        ("volumes", lambda: {"v": "made again"}, "volume v"),
    ],
)
def test_each_loss_is_told(name: str, answer: Any, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (found,) = lost(monkeypatch, **{name: answer})
    assert told in found


def test_a_clone_without_history_is_told_apart() -> None:
    assert upgrade.known("HEAD")
    assert not upgrade.known("v0.0.0-never")
