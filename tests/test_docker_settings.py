"""The engine's settings as the role docker puts them together from its own, the operator's and the inventory's."""

from __future__ import annotations

import json
from typing import Any, Dict, Iterator

import pytest
from ansible.parsing.dataloader import DataLoader

from tests import rolekit

TASKS = rolekit.ROLES / "docker" / "tasks"
OURS = {"max-size": "10m", "max-file": "3"}


def after(before: Dict[str, Any], asked: Dict[str, Any], **inventory: Any) -> Dict[str, Any]:
    """What daemon.json becomes, where it was ``before`` and the role asked for ``asked`` last time."""
    loader = DataLoader()
    main, configure = (
        loader.load_from_file(str(TASKS / name), trusted_as_template=True) for name in ("main.yml", "configure.yml")
    )
    files = {"/etc/docker/daemon.json": json.dumps(before), "/opt/landfall/docker/wanted.json": json.dumps(asked)}
    variables = {
        **rolekit.defaults("docker"),
        **main[0]["vars"],
        **configure[1]["vars"],
        **inventory,
        "landfall_root": "/opt/landfall",
        "docker_contents": files,
    }
    found: Dict[str, Any] = rolekit.template(variables["docker_after"], variables)
    return found


def test_an_engine_of_nobody_gets_our_settings() -> None:
    found = after({}, {})
    assert (found["log-driver"], found["log-opts"], found["live-restore"]) == ("json-file", OURS, True)


@pytest.mark.parametrize("driver", ["journald", "syslog", "fluentd", "none"])
def test_options_of_files_are_not_given_to_other_log_drivers(driver: str) -> None:
    """dockerd: "unknown log opt 'max-file' for journald log driver", and it does not start any more."""
    for found in (after({"log-driver": driver}, {}), after({}, {}, docker_daemon_options={"log-driver": driver})):
        assert found["log-driver"] == driver and "log-opts" not in found
    own = {"log-driver": driver, "log-opts": {"tag": "x"}}
    assert after(own, {})["log-opts"] == {"tag": "x"}


def test_the_other_driver_of_files_keeps_our_bounds() -> None:
    assert after({"log-driver": "local"}, {})["log-opts"] == OURS


def test_a_driver_that_is_changed_by_hand_later_loses_our_options() -> None:
    ours = after({}, {})
    assert "log-opts" not in after({**ours, "log-driver": "journald"}, ours)


def test_the_cache_of_builds_is_bounded_unless_the_operator_says_how() -> None:
    assert after({}, {})["builder"] == {"gc": {"enabled": True, "defaultKeepStorage": "2GB"}}
    assert after({}, {}, docker_build_cache_max_size="5GB")["builder"]["gc"]["defaultKeepStorage"] == "5GB"
    own = {"builder": {"gc": {"enabled": False}}}
    assert after(own, {})["builder"] == own["builder"]


def _copies(tasks: Any) -> Iterator[Any]:
    """What the tasks, and those inside their blocks, copy to daemon.json."""
    for task in tasks:
        copied = task.get("ansible.builtin.copy") or {}
        if copied.get("dest") == "/etc/docker/daemon.json":
            yield copied
        for inner in ("block", "rescue"):
            yield from _copies(task.get(inner) or [])


@pytest.mark.parametrize(
    ("mark", "mode", "group"),
    [
        ("5ca1ab1e:640:0", "0640", "kept"),
        ("5ca1ab1e:600:0", "0600", "kept"),
        ("5ca1ab1e:644:0", "0644", "kept"),
        ("not-a-file:777:0", "0644", "root"),
        ("", "0644", "root"),
    ],
)
def test_the_file_keeps_the_mode_and_group_that_the_operator_gave_it(mark: str, mode: str, group: str) -> None:
    loader = DataLoader()
    daemon, configure = (
        loader.load_from_file(str(TASKS / name), trusted_as_template=True) for name in ("daemon.yml", "configure.yml")
    )
    marks = {"/etc/docker/daemon.json": mark} if mark else {}
    variables = {**configure[1]["vars"], "docker_marks": marks, "omit": "kept"}
    found = [tuple(rolekit.template(copied[key], variables) for key in ("mode", "group")) for copied in _copies(daemon)]
    assert found == [(mode, group)] * 2, "written, and put back where the engine does not start"
