"""One message holds all that is wrong: of the inventory, of the VPS, and that the VPS could not be asked."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible_collections.landfall.vps.plugins.action import state as looking
from ansible_collections.landfall.vps.plugins.action.state import ActionModule
from ansible_collections.landfall.vps.plugins.plugin_utils import compiled, preflight, seam
from ansible_collections.landfall.vps.plugins.plugin_utils.remote import TripError

INVENTORY, VPS = "the inventory of {0} has {1}", "the VPS {0} cannot take the stack, it has {1}"
HOST = {"inventory_hostname": "vps", "ansible_user": "deploy"}


@pytest.fixture(name="action")
def fixture_action() -> Any:
    return ActionModule.__new__(ActionModule)


def test_no_name_is_somebody_else_s_while_the_inventory_s_own_are_refused(action: Any) -> None:
    """With a prefix that cannot be read, every project of the owner would be in the way."""
    action._known = SimpleNamespace(template=lambda value: value)
    values = {"landfall_prefix": "acme-", "landfall_mtu": "no number"}
    theirs = {"containers": {"redis": {"labels": {}, "project": "redis"}}, "networks": {}, "volumes": {}}
    assert action._foreign(theirs, action._stack(values), {**values, "role_path": "/roles/landfall"}) == []


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


def test_with_a_bundle_no_registry_is_asked(action: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also after what a run that died left was concluded, for which the VPS is read anew."""
    image = "registry.example.com/shop:1"
    seen: list[Any] = []
    bundle = {"images": {image: {"architecture": "arm64"}}}
    want = SimpleNamespace(built={}, images={image: "app_image"})
    read = {"root": "/opt/landfall", "lock": None, "leftovers": ["app"], "engine": {"running": True}, "images": {}}

    def asked(*_args: Any) -> Any:
        raise AssertionError("a registry was asked")

    def look(state: Any, _values: Any, args: Any, _whole: Any, task_vars: Any) -> Any:
        known, notes, faults = action._architectures(state, want, args, task_vars)
        seen.append(known)
        return faults, notes

    monkeypatch.setattr(ActionBase, "run", lambda *_: {})
    monkeypatch.setattr(looking, "interpreter", lambda *_: "python3")
    monkeypatch.setattr(looking, "host_faults", lambda _: [])
    monkeypatch.setattr(looking, "read_architectures", asked)
    monkeypatch.setattr(compiled, "keep_texts_below", lambda _: None)
    monkeypatch.setattr(seam, "remembering", lambda *_: ({}, SimpleNamespace(template=lambda value: value)))
    monkeypatch.setattr(preflight, "missing_images", lambda *_: [image])
    action._task = SimpleNamespace(args={"bundle": "/media/usb", "images": "registry"}, check_mode=False)
    for name, answer in (
        ("_read", lambda *_: dict(read)), ("_inventory_faults", lambda *_: []), ("_open_bundle", lambda *_: bundle),
        ("_dashboard_faults", lambda *_: []), ("_stack", lambda _: None), ("_foreign", lambda *_: []),
        ("_recover", lambda *_: ["app"]), ("_preflight", look),
        ("_look_ahead", lambda state, *_: seen.append(state["bundle"])),
    ):  # fmt: skip
        monkeypatch.setattr(action, name, answer, raising=False)
    assert action.run(None, dict(HOST))["changed"]
    assert seen == [{image: ["arm64"]}, bundle]
