"""A second process does half of the work, and nothing that it cannot do, or would have to say, is lost."""

from __future__ import annotations

import os
from collections.abc import Callable
from multiprocessing import Event
from pathlib import Path
from typing import Any

import pytest
from ansible.utils.display import Display
from ansible_collections.landfall.vps.plugins.plugin_utils import halves

MANY = list(range(7))
HERE = os.getpid()


class Both:
    """Work of which each process does some: who comes to it first waits until the other one has begun, too."""

    def __init__(self, other: Callable[[int], Any]) -> None:
        self.other, self.begun = other, {True: Event(), False: Event()}

    def __call__(self, item: int) -> Any:
        here = os.getpid() == HERE
        self.begun[here].set()
        assert self.begun[not here].wait(60)
        return who(item) if here else self.other(item)


def who(item: int) -> tuple[int, bool]:
    return item * item, os.getpid() == HERE


def shared(other: Callable[[int], Any]) -> None:
    done = halves.done(Both(other), MANY, True)
    assert [made for made, _here in done] == [item * item for item in MANY]
    assert {here for _made, here in done} == {True, False}


def test_two_processes_do_what_they_come_to_and_all_are_in_their_order() -> None:
    shared(who)


def test_what_only_v_would_show_is_no_reason_to_do_it_again() -> None:
    def work(item: int) -> tuple[int, bool]:
        Display().vvvvv("looking for something")
        return who(item)

    shared(work)


def test_nothing_is_begun_twice(tmp_path: Path) -> None:
    def work(item: int) -> tuple[int, bool]:
        (tmp_path / str(item)).touch(exist_ok=False)
        return who(item)

    assert [made for made, _here in halves.done(work, MANY, True)] == [item * item for item in MANY]


def test_one_that_is_slow_leaves_the_rest_to_the_other() -> None:
    free = Event()

    def work(item: int) -> tuple[int, bool]:
        if item == 0:
            free.set()
        if os.getpid() != HERE:
            assert free.wait(60)
        return who(item)

    done = halves.done(work, MANY, True)
    assert [here for _made, here in done].count(False) <= 1


@pytest.mark.parametrize(("items", "split"), [(MANY, False), (MANY[:5], True), ([], True)])
def test_few_things_and_those_of_many_hosts_are_done_by_one(items: list[int], split: bool) -> None:
    assert halves.done(who, items, split) == [(item * item, True) for item in items]


def dies(_item: int) -> Any:
    os._exit(3)


def fails(_item: int) -> Any:
    raise ValueError


def prints(_item: int) -> Any:
    Display().display("heard by nobody")


def warns(_item: int) -> Any:
    Display().warning("heard by nobody")


def deprecates(_item: int) -> Any:
    Display().deprecated("heard by nobody", version="99", collection_name="landfall.vps")


def swallows(_item: int) -> Any:
    try:
        Display().v("heard by nobody")
        Display().display("heard by nobody")
    except Exception:  # noqa: BLE001 - as code of Ansible's does
        return "swallowed"


@pytest.mark.parametrize("other", [dies, fails, prints, warns, deprecates, swallows, lambda _item: lambda: None])
def test_what_the_other_one_cannot_do_or_would_print_is_done_here(other: Any) -> None:
    assert halves.done(Both(other), MANY, True) == [(item * item, True) for item in MANY]


def test_what_fails_fails_and_leaves_no_process_behind() -> None:
    with pytest.raises(ZeroDivisionError):
        halves.done(lambda item: 1 // (item - 4), MANY, True)
    with pytest.raises(ZeroDivisionError):  # whichever process came to it
        halves.done(lambda item: 1 // (len(who(item)) - 2), MANY, True)
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_a_second_process_is_of_use_for_one_host_on_two_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1})
    assert halves.useful({"ansible_play_hosts_all": ["a"]})
    assert not halves.useful({"ansible_play_hosts_all": ["a", "b"]}) and not halves.useful({})
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0})
    assert not halves.useful({"ansible_play_hosts_all": ["a"]})
