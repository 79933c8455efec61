"""Passwords of registries and pulls: kept for root alone beside what the owner has, tried first, told with advice."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, Dict, List, Tuple

import pytest
from ansible_collections.landfall.vps.plugins.module_utils import compose, images, registry
from ansible_collections.landfall.vps.plugins.plugin_utils import preflight

ONE = {"address": "https://registry.example.com/", "user": "deploy", "password": "pa:ss$wörd"}
AUTH = registry.auth_of("deploy", "pa:ss$wörd")
OWNERS: Dict[str, Any] = {
    "auths": {"ghcr.io": {"auth": "b3duOmVy", "email": "me@example.org"}}, "HttpHeaders": {"X-Meta": "1"},
    "proxies": {"default": {"httpProxy": "http://p:1"}},
}  # fmt: skip


class Vps:
    """Root's home, the stack's root, and an engine that answers ``said``."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.config = str(tmp_path / "root"), tmp_path / "docker" / "config.json"
        self.said: Tuple[int, bytes] = (200, b'{"Status": "Login Succeeded"}')
        self.asked: List[Dict[str, Any]] = []
        monkeypatch.setenv("DOCKER_CONFIG", str(self.config.parent))
        monkeypatch.setattr(registry, "SOCKET", "/dev/null")
        monkeypatch.setattr(registry, "Docker", lambda *_more: self)

    def call(self, _method: str, _path: str, body: Dict[str, Any]) -> Tuple[int, bytes]:
        self.asked.append(body)
        return self.said

    def own(self, value: Any) -> None:
        self.config.parent.mkdir()
        self.config.write_text(value if isinstance(value, str) else json.dumps(value))

    def sign_in(self, *wanted: Dict[str, str]) -> Dict[str, Any]:
        return registry.sign_in_to(self.root, list(wanted))

    def kept(self) -> Dict[str, Any]:
        found: Dict[str, Any] = json.loads(self.config.read_text())
        return found


@pytest.fixture(name="vps")
def fixture_vps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Vps:
    return Vps(tmp_path, monkeypatch)


def test_a_password_is_tried_and_kept_for_root_alone(vps: Vps) -> None:
    assert registry.differs([ONE], registry.marks(vps.root))
    assert vps.sign_in(ONE) == {"changed": True}
    assert vps.asked == [{"username": "deploy", "password": ONE["password"], "serveraddress": "registry.example.com"}]
    assert vps.kept() == {"auths": {"registry.example.com": {"auth": AUTH}}}
    assert (vps.config.stat().st_mode & 0o777, vps.config.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    note = Path(vps.root) / registry.KEPT
    assert note.stat().st_mode & 0o777 == 0o600 and AUTH not in note.read_text()
    marks = registry.marks(vps.root)
    assert not registry.differs([ONE], marks) and AUTH not in json.dumps(marks)
    assert registry.differs([{**ONE, "password": "other"}], marks) and registry.differs([], marks)


def test_what_the_owner_has_stays(vps: Vps) -> None:
    vps.own(OWNERS)
    vps.sign_in(ONE)
    auths = {**OWNERS["auths"], "registry.example.com": {"auth": AUTH}}
    assert vps.kept() == {**OWNERS, "auths": auths}
    vps.sign_in()
    assert vps.kept() == OWNERS


def test_a_password_that_somebody_changed_since_is_theirs(vps: Vps) -> None:
    vps.sign_in(ONE)
    theirs = {"auths": {"registry.example.com": {"auth": "c29tZTpib2R5"}}}
    vps.config.write_text(json.dumps(theirs))
    assert registry.differs([ONE], registry.marks(vps.root))
    vps.sign_in()
    assert vps.kept() == theirs


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ((401, b'{"message": "Get v2: unauthorized"}'), "registry.example.com: it refuses the user 'deploy'"),
        (
            (500, b'{"message": "dial tcp: lookup registry.example.com: no such host"}'),
            "cannot be reached from the VPS",
        ),
    ],
)
def test_one_that_is_refused_changes_nothing(vps: Vps, said: Tuple[int, bytes], words: str) -> None:
    vps.own(OWNERS)
    before, vps.said = vps.config.read_bytes(), said
    failed = vps.sign_in(ONE)["failed"]
    assert failed.startswith("docker_registries: ") and words in failed and ONE["password"] not in failed
    assert vps.config.read_bytes() == before and not (Path(vps.root) / registry.KEPT).exists()


@pytest.mark.parametrize(
    ("config", "words"), [("{oops", "is no JSON"), ({"credsStore": "pass"}, "leaves passwords to 'pass'")]
)
def test_a_file_that_cannot_be_used_is_told(vps: Vps, config: Any, words: str) -> None:
    vps.own(config)
    before = vps.config.read_bytes()
    assert words in vps.sign_in(ONE)["failed"] and vps.config.read_bytes() == before


def test_docker_hub_has_one_name() -> None:
    names = ["docker.io", "https://index.docker.io/v1/", "registry-1.docker.io"]
    assert {registry.canonical(name) for name in names} == {registry.HUB}
    assert registry.canonical("http://localhost:5000/") == registry.registry_of("localhost:5000/a:1")


# What engines said, as recorded
SAID = {
    "toomanyrequests: You have reached your pull rate limit.": registry.LIMIT,
    "unexpected status from GET request: 429 Too Many Requests": registry.LIMIT,
    'Head "https://x/v2/": unauthorized: authentication required': registry.DENIED,
    "no basic auth credentials": registry.DENIED,
    "pull access denied for x, repository does not exist or may require login: denied": registry.DENIED,
    "manifest for redis:0 not found: manifest unknown: manifest unknown": registry.ABSENT,
    "dial tcp: lookup registry.example.com on 127.0.0.11:53: no such host": registry.UNREACHABLE,
    "dial tcp 127.0.0.1:5001: connect: connection refused": registry.UNREACHABLE,
    "tls: failed to verify certificate: x509: certificate signed by unknown authority": registry.UNREACHABLE,
    "http: server gave HTTP response to HTTPS client": registry.UNREACHABLE,
    "received unexpected HTTP status: 503 Service Unavailable": registry.UNREACHABLE,
    "no space left on device": "",
}


@pytest.mark.parametrize(("said", "kind"), SAID.items())
def test_a_cause_is_known_by_what_the_engine_says(said: str, kind: str) -> None:
    assert registry.cause(said) == kind


def pulls(monkeypatch: pytest.MonkeyPatch, *answers: str) -> List[float]:
    """Let pulls fail with these answers, then succeed; returns the list of pauses."""
    left = list(answers)
    paused: List[float] = []

    def run(_argv: List[str], _timeout: float, **_more: Any) -> str:
        if left:
            raise compose.CommandFailed(left.pop(0))
        return ""

    monkeypatch.setattr(compose, "run", run)
    monkeypatch.setattr(time, "sleep", paused.append)
    return paused


def test_a_pull_is_tried_again_where_that_may_help(monkeypatch: pytest.MonkeyPatch) -> None:
    paused = pulls(monkeypatch, "toomanyrequests", "connection refused")
    assert images.pull("x:1", 600) == "pulled, the 3. time it was tried"
    assert paused == list(images.PAUSES[:2])


@pytest.mark.parametrize(
    ("said", "tries", "words"),
    [
        ("toomanyrequests", 4, "name a user and a password for docker.io in docker_registries, or a mirror"),
        ("connection refused", 4, "docker.io cannot be reached from the VPS"),
        ("unauthorized", 1, "name user and password for docker.io in docker_registries"),
        ("manifest unknown", 1, "docker.io has no such image"),
    ],
)
def test_a_pull_that_fails_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, said: str, tries: int, words: str
) -> None:  # fmt: skip
    paused = pulls(monkeypatch, *[said] * tries)
    with pytest.raises(compose.CommandFailed, match=words):
        images.pull("x:1", 600)
    assert len(paused) == tries - 1


def test_no_pull_goes_on_beyond_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    paused = pulls(monkeypatch, "toomanyrequests", "toomanyrequests")
    with pytest.raises(compose.CommandFailed):
        images.pull("x:1", 1)
    assert paused == []


def test_what_a_registry_refuses_is_a_fault_before_anything_changes() -> None:
    state: Dict[str, Any] = {"engine": {"setup": {"daemon": {}}}}
    unknown = {"a.example/x:1": "unauthorized", "x:9": "manifest unknown", "y:1": "429", "z:1": "no such host"}
    variables = {"a.example/x:1": "app_services[0].image"}
    found = preflight.refused_images(unknown, variables, state, {})
    assert set(found) == {"a.example/x:1", "x:9", "z:1"}
    assert found["a.example/x:1"].startswith("app_services[0].image: a.example/x:1 cannot be pulled: ")
    assert "name user and password for a.example in docker_registries" in found["a.example/x:1"]
    # A mirror that the engine is about to be told of may have it
    settings = {"engine_options": {"registry-mirrors": ["https://mirror.example"]}}
    assert set(preflight.refused_images(unknown, variables, state, settings)) == {"a.example/x:1", "x:9"}
