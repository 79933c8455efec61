"""Releases on a VPS: named, listed, gone back to with their secrets; refused where something of one is missing."""

from __future__ import annotations

import json
import time
from typing import Any

from testbed import probe

DEPLOY, BACK, LIST = (f"playbooks/{name}.yml" for name in ("deploy", "rollback", "releases"))
# A VPS that was tried before knows others
V1, V2 = (f"v{number}.{int(time.time())}" for number in (1, 2))
FIRST = ("-e", f"app_release={V1}", "-e", "app_admin_token=the-first-one", "-e", "app_log_level=WARNING")
SECOND = ("-e", f"app_release={V2}", "-e", "app_admin_token=the-second-one", "-e", "app_log_level=ERROR")
OWN = {"app", "celery-enhancement", "celery-extraction", "celery-search", "celery-beat"}


def token(host: Any) -> str:
    return probe.output(host, "cat", "/opt/landfall/app/secrets/app/app_admin_token")


def identities(host: Any) -> dict[str, tuple[str, str, int]]:
    return {name: probe.identity(entry) for name, entry in probe.containers(host).items()}


def level(host: Any, container: str = "celery-beat") -> str:
    found: list[str] = probe.containers(host)[container]["Config"]["Env"]
    return next(item for item in found if "LOG_LEVEL" in item)


def states() -> dict[str, str]:
    """Name -> state of each release, as the table says."""
    text, _figures, status = probe.playbook(name=LIST)
    assert status == 0, text
    table = text.split("  name ", 1)[1].split("\n  \n")[0].splitlines()[1:]
    words = ("serving", "kept", "failed", "incomplete")
    rows = [line.split() for line in table if line.startswith("  ")]
    return {row[0]: next((word for word in row if word.strip(",") in words), "") for row in rows}


def test_two_releases_are_named_and_listed(host: Any) -> None:
    for arguments, name in ((FIRST, V1), (SECOND, V2)):
        text, figures, status = probe.playbook(*arguments, name=DEPLOY)
        assert status == 0 and figures["changed"] == 2, text
        assert f"release: what changes is {name}" in text and f"release: {name} serves" in text, text
    assert token(host) == "the-second-one"
    found = states()
    assert (found[V2], found[V1]) == ("serving", "kept"), found
    folder = host.file("/opt/landfall/.state/releases")
    assert folder.mode == 0o700 and folder.user == "root"
    log = [json.loads(line) for line in probe.output(host, "cat", "/opt/landfall/.state/audit.jsonl").splitlines()]
    assert {"run", "who", "what", "release", "components", "result", "seconds", "at"} <= set(log[-1])
    assert "the-second-one" not in json.dumps(log)


def test_an_unchanged_deploy_makes_no_release_and_changes_nothing(host: Any) -> None:
    before, known = identities(host), states()
    text, figures, status = probe.playbook(*SECOND, name=DEPLOY)
    assert status == 0 and figures["changed"] == 0, text
    assert identities(host) == before and states() == known


def test_check_mode_shows_what_a_rollback_would_change(host: Any) -> None:
    before = identities(host)
    text, figures, status = probe.playbook("--check", "--diff", name=BACK)
    assert status == 0 and figures["changed"] == 1, text
    assert f"release {V1} would serve in place of {V2}" in text and '+      "APP_LOG_LEVEL": "WARNING"' in text, text
    assert "the-first-one" not in text and identities(host) == before


def test_a_rollback_by_name_brings_secrets_environment_workers_and_beat_back(host: Any) -> None:
    before = identities(host)
    began = time.monotonic()
    text, figures, status = probe.playbook("-e", f"app_release={V1}", name=BACK)
    assert status == 0 and figures["changed"] == 1, text
    print(f"rollback with the image present: {time.monotonic() - began:.1f} s")
    assert token(host) == "the-first-one"
    assert all(level(host, name).endswith("=WARNING") for name in OWN)
    after = identities(host)
    assert {name for name in before if before[name] != after.get(name)} == OWN
    assert (states()[V1], states()[V2]) == ("serving", "kept")
    assert "the next site.yml deploys what the inventory says" in text


def test_what_is_not_whole_is_refused_before_anything_is_touched(host: Any) -> None:
    before = identities(host)
    kept = f"/opt/landfall/.state/releases/{V2}/components/app/files/app/secrets/app/app_admin_token"
    probe.output(host, "sh", "-c", f"mv {kept} {kept}.away")
    text, figures, status = probe.playbook("-e", f"app_release={V2}", name=BACK)
    probe.output(host, "sh", "-c", f"mv {kept}.away {kept}")
    assert status != 0 and figures["changed"] == 0, text
    assert "app_admin_token is missing or damaged" in text and "nothing was changed" in text, text
    assert identities(host) == before
    # An image that is not there any more: what was kept says another id than any image has
    release = f"/opt/landfall/.state/releases/{V2}/release.json"
    text = probe.output(host, "cat", release)
    image = next(iter(json.loads(text)["components"]["app"]["images"].values()))
    probe.output(host, "cp", release, release + ".away")
    probe.output(host, "sed", "-i", f"s/{image}/sha256:{'0' * 64}/", release)
    said, figures, status = probe.playbook("-e", f"app_release={V2}", name=BACK)
    probe.output(host, "mv", release + ".away", release)
    assert status != 0 and "is another one by now" in said and identities(host) == before, said


def test_a_name_that_is_none_or_taken_is_refused(host: Any) -> None:
    before = identities(host)
    text, figures, status = probe.playbook("-e", "app_release=v1/2", name=DEPLOY)
    assert status != 0 and figures["changed"] == 0, text
    assert "app_release: 'v1/2' is no name of a release" in text, text
    text, _figures, status = probe.playbook("-e", "app_release=v9", name=BACK)
    assert status != 0 and "there is no release 'v9' here; there are: " in text and V1 in text, text
    assert identities(host) == before


def test_the_next_deploy_brings_what_the_inventory_says(host: Any) -> None:
    text, _figures, status = probe.playbook(name=DEPLOY)
    assert status == 0, text
    assert level(host).endswith("=INFO")
