"""One run at a time, and no run that died blocks the next."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.landfall.vps.plugins.module_utils import lease, lock
from ansible_collections.landfall.vps.plugins.module_utils.lock import LEASE_SECONDS, Lock, Locked


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "PATIENCE", 0.2)


def leased(root: Path, run: str = "1", who: str = "anna@laptop", doing: str = "redis: recreated") -> Lock:
    """A run between two of its programs."""
    held = Lock(str(root), run, who)
    held.acquire(doing)
    held.keep()
    return held


def content(root: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((root / ".state" / "lock").read_text())
    return value


def test_a_second_run_is_told_who_since_when_and_doing_what(tmp_path: Path) -> None:
    leased(tmp_path)
    with pytest.raises(Locked) as refused:
        Lock(str(tmp_path), "2", "ben@desk").acquire("app: created")
    for words in ("anna@laptop", "redis: recreated", "since 20", "frees itself in"):
        assert words in str(refused.value)


def test_the_same_run_goes_on_and_keeps_its_beginning(tmp_path: Path) -> None:
    leased(tmp_path)
    since = content(tmp_path)["since"]
    time.sleep(0.01)
    Lock(str(tmp_path), "1", "anna").acquire("b", resumed=True)
    assert content(tmp_path)["since"] == since


def test_a_lease_ends_and_one_that_is_renewed_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leased(tmp_path)
    begin = time.clock_gettime(time.CLOCK_BOOTTIME)
    monkeypatch.setattr(lock, "_now", lambda: begin + LEASE_SECONDS - 1)
    assert lease.renew(str(tmp_path), "1", "anna") == {"held": True}
    monkeypatch.setattr(lock, "_now", lambda: begin + 2 * LEASE_SECONDS - 2)
    with pytest.raises(Locked):
        Lock(str(tmp_path), "2", "ben").acquire("b")
    monkeypatch.setattr(lock, "_now", lambda: begin + 2 * LEASE_SECONDS + 1)
    Lock(str(tmp_path), "2", "ben").acquire("b")
    assert lease.renew(str(tmp_path), "1", "anna") == {"held": False}


@pytest.mark.parametrize("days", [1, -1])
def test_a_clock_that_jumps_neither_frees_nor_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    held = leased(tmp_path)
    jumped = time.time() + days * 86400
    monkeypatch.setattr(time, "time", lambda: jumped)
    with pytest.raises(Locked):
        Lock(str(tmp_path), "2", "ben").acquire("b")
    held.release()
    Lock(str(tmp_path), "2", "ben").acquire("b")


def test_a_lease_of_before_a_reboot_has_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leased(tmp_path)
    monkeypatch.setattr(lock, "_boot", lambda: "another boot")
    Lock(str(tmp_path), "2", "ben").acquire("b")


def test_release_frees_at_once_and_only_its_own(tmp_path: Path) -> None:
    first = leased(tmp_path)
    Lock(str(tmp_path), "2", "ben").release()
    lease.end(str(tmp_path), "2", "ben")
    with pytest.raises(Locked):
        Lock(str(tmp_path), "3", "cleo").acquire("c")
    first.release()
    Lock(str(tmp_path), "3", "cleo").acquire("c")


def test_a_run_that_has_ended_frees_its_lock_also_while_its_last_program_works(tmp_path: Path) -> None:
    working = Lock(str(tmp_path), "1", "anna")
    working.acquire("a")
    lease.end(str(tmp_path), "1", "anna")
    with pytest.raises(Locked, match="working right now"):
        Lock(str(tmp_path), "2", "ben").acquire("b")
    working.keep()
    Lock(str(tmp_path), "2", "ben").acquire("b")
    assert not (tmp_path / ".state" / "lock.ended").exists()


def test_a_run_that_ended_before_its_program_began_does_nothing_and_keeps_nobody_out(tmp_path: Path) -> None:
    """Its controller was killed while the program was on its way: it came after the word that the run is over."""
    lease.end(str(tmp_path), "1", "anna@laptop")
    with pytest.raises(Locked, match="has ended"):
        Lock(str(tmp_path), "1", "anna").acquire("redis: planning")
    Lock(str(tmp_path), "2", "ben").acquire("b")
    assert not (tmp_path / ".state" / "lock.ended").exists()
    lease.end(str(tmp_path), "1", "anna@laptop")
    with pytest.raises(Locked, match="ben"):
        Lock(str(tmp_path), "1", "anna").acquire("redis: planning")


def test_a_run_known_to_be_dead_does_not_block(tmp_path: Path) -> None:
    leased(tmp_path)
    Lock(str(tmp_path), "2", "anna", dead="1").acquire("b")


def test_a_run_that_another_one_has_overtaken_goes_no_further(tmp_path: Path) -> None:
    leased(tmp_path).release()
    leased(tmp_path, "2", "ben").release()
    with pytest.raises(Locked, match="another run has worked on this VPS since this one began"):
        Lock(str(tmp_path), "1", "anna").acquire("c", resumed=True)
    Lock(str(tmp_path), "1", "anna").acquire("c", resumed=False)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"run": "1"}', '{"run": "1", "until": "soon", "boot": 7}', '{"run": 5, "until": 1e30}'],
)
def test_a_lock_file_that_says_nothing_blocks_nobody_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    (tmp_path / ".state").mkdir()
    (tmp_path / ".state" / "lock").write_text(text)
    try:
        Lock(str(tmp_path), "2", "ben").acquire("b")
    except Locked as refused:  # the version before wrote no boot; a lease of theirs is a minute at most
        assert "frees itself in 59 s" in str(refused) or "frees itself in 60 s" in str(refused)


def test_the_lease_of_the_version_before_counts(tmp_path: Path) -> None:
    (tmp_path / ".state").mkdir()
    old = {"run": "laptop:1", "who": "anna", "doing": "a", "since": time.time(), "until": time.time() + 60}
    (tmp_path / ".state" / "lock").write_text(json.dumps({**old, "working": False}))
    with pytest.raises(Locked, match="anna"):
        Lock(str(tmp_path), "2", "ben").acquire("b")
    (tmp_path / ".state" / "lock").write_text(json.dumps({**old, "until": time.time() - 1}))
    Lock(str(tmp_path), "2", "ben").acquire("b")


HOLD = """
import sys, time
sys.path.insert(0, sys.argv[2])
from ansible_collections.landfall.vps.plugins.module_utils.lock import Lock
Lock(sys.argv[1], "1", "anna").acquire("redis: recreated")
print("locked", flush=True)
time.sleep(60)
"""


def test_a_process_killed_while_it_works_blocks_nobody(tmp_path: Path) -> None:
    collections = str(Path(__file__).parents[2] / "collections")
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path), collections], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"locked\n"
        with pytest.raises(Locked, match="working right now"):
            Lock(str(tmp_path), "2", "ben").acquire("b")
        holder.kill()
    Lock(str(tmp_path), "2", "ben").acquire("b")
