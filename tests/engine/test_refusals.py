"""One message holds all that is wrong: of the inventory, of the VPS, and that the VPS could not be asked."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible_collections.landfall.vps.plugins.action.state import ActionModule
from ansible_collections.landfall.vps.plugins.plugin_utils.remote import TripError

INVENTORY, VPS = "the inventory of {0} has {1}", "the VPS {0} cannot take the stack, it has {1}"
HOST = {"inventory_hostname": "vps", "ansible_user": "deploy"}


@pytest.fixture(name="action")
def fixture_action() -> Any:
    return ActionModule.__new__(ActionModule)


def test_faults_of_inventory_and_vps_come_together(action: Any) -> None:
    with pytest.raises(AnsibleActionFail) as refused:
        action._refuse(
            [(INVENTORY, ["a: bad", "b: bad"]), ("none of {0}: {1}", []), (VPS, ["c: taken"])], HOST, "also: x"
        )
    assert str(refused.value).splitlines() == [
        "the inventory of vps has 2 faults; nothing was changed:",
        "- a: bad",
        "- b: bad",
        "the VPS vps cannot take the stack, it has a fault:",
        "- c: taken",
        "also: x",
    ]


def test_without_faults_nothing_is_refused(action: Any) -> None:
    action._refuse([(INVENTORY, []), (VPS, [])], HOST, "also: x")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (AnsibleConnectionFailure("no route to host"), "cannot be read: no route to host"),
        (TripError("python3 ended with 127"), "cannot be read: python3 ended with 127"),
        (AnsibleConnectionFailure("sudo: a password is required"), "rights: deploy cannot use sudo on vps"),
    ],
)
def test_a_vps_that_does_not_answer_hides_no_fault_of_the_inventory(action: Any, error: Exception, words: str) -> None:
    def wait() -> Any:
        raise error

    with pytest.raises(AnsibleActionFail) as refused:
        action._answer(wait, HOST, [(INVENTORY, ["a: bad"])])
    assert "- a: bad" in str(refused.value) and words in str(refused.value)
    with pytest.raises(type(error) if "route" in words else AnsibleActionFail) as alone:
        action._answer(wait, HOST, [(INVENTORY, [])])
    assert words.rsplit(": ", maxsplit=1)[-1] in str(alone.value)
