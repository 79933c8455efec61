"""A secret gets a new value: the old one is kept until all have the new one, and a run that dies is made good."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.landfall.vps.plugins.plugin_utils import secrets

from tests import rolekit

NAME, HOST, ALPHABET = "redis_password", "vps", "abcdefghij"


@pytest.fixture
def store(tmp_path: Path) -> Callable[..., secrets.Store]:
    def make(rehearse: bool = False) -> secrets.Store:
        told: list[str] = []
        return secrets.Store(str(tmp_path), str(tmp_path), rehearse, "run", told.append, lambda: [HOST])

    return make


def value(one: secrets.Store) -> str:
    return one.get(NAME, HOST, False, 40, ALPHABET)


def test_both_values_are_known_until_the_end(store: Callable[..., secrets.Store], tmp_path: Path) -> None:
    one = store()
    old = value(one)
    assert one.before(NAME, HOST, False) == ""
    assert one.begin(NAME, HOST, False, 40, ALPHABET)
    assert one.before(NAME, HOST, False) == old
    assert value(one) != old and len(value(one)) == 40
    kept = sorted(path for path in tmp_path.rglob("redis*"))
    assert {stat.S_IMODE(path.stat().st_mode) for path in kept} == {0o600}
    new = value(one)
    assert not one.begin(NAME, HOST, False, 40, ALPHABET), "a second run goes on with the first one's value"
    assert (value(one), one.before(NAME, HOST, False)) == (new, old)
    assert one.end(NAME, HOST, False)
    assert (value(one), one.before(NAME, HOST, False)) == (new, "")
    assert not one.end(NAME, HOST, False)


def test_one_may_go_back_while_both_are_accepted(store: Callable[..., secrets.Store]) -> None:
    one = store()
    old = value(one)
    one.begin(NAME, HOST, False, 40, ALPHABET)
    assert one.end(NAME, HOST, False, back=True)
    assert (value(one), one.before(NAME, HOST, False)) == (old, "")


def test_a_rehearsal_changes_nothing(store: Callable[..., secrets.Store]) -> None:
    old = value(store())
    assert store(rehearse=True).begin(NAME, HOST, False, 40, ALPHABET)
    assert (value(store()), store().before(NAME, HOST, False)) == (old, "")


@pytest.mark.parametrize("step", ["link", "replace"])
def test_a_run_that_dies_loses_no_value(
    store: Callable[..., secrets.Store], monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    one = store()
    old = value(one)

    def dies(*_args: Any, **_more: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, step, dies)
        with pytest.raises(KeyboardInterrupt):
            one.begin(NAME, HOST, False, 40, ALPHABET)
    assert value(one) == old
    assert one.begin(NAME, HOST, False, 40, ALPHABET)
    assert one.before(NAME, HOST, False) == old and value(one) != old


def test_a_secret_that_was_never_made_is_not_replaced(store: Callable[..., secrets.Store]) -> None:
    with pytest.raises(secrets.SecretError, match="is not generated"):
        store().begin(NAME, HOST, False, 40, ALPHABET)


def test_redis_accepts_both_while_they_are_replaced(tmp_path: Path) -> None:
    before = {"default": "old-one", "monitor": "", "backup": "", "admin": "old-admin"}
    rendered = rolekit.component("redis", tmp_path, redis_passwords_before=before)
    users = rolekit.text(rendered, "redis/secrets/users.acl").splitlines()
    assert [line.split()[:2] for line in users] == [["user", name] for name in ("default", "monitor", "admin")]
    assert [line.count(" #") for line in users] == [2, 1, 2]
    assert rolekit.text(rendered, "redis/secrets/admin_passwords").splitlines()[1:] == ["old-admin"]
    plain = rolekit.component("redis", tmp_path)
    users = rolekit.text(plain, "redis/secrets/users.acl").splitlines()
    assert [line.count(" #") for line in users] == [1, 1, 1]
    assert len(rolekit.text(plain, "redis/secrets/admin_passwords").splitlines()) == 1
