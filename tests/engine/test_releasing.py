"""Which name a release gets on the controller, what is refused, and what is said of releases."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any, Dict

import pytest
from ansible_collections.landfall.vps.plugins.action import rollback
from ansible_collections.landfall.vps.plugins.module_utils import plan
from ansible_collections.landfall.vps.plugins.plugin_utils import formats, releasing
from ansible_collections.landfall.vps.plugins.plugin_utils.planned import Planned
from ansible_collections.landfall.vps.plugins.plugin_utils.render import Rendered

GIT = ("git", "-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")


def planned(component: str, image: str, context: str = "", changed: bool = True, **releases: Any) -> Planned:
    containers = {component: plan.Container(component, image)}
    desired = plan.Desired(component, True, {f"{component}/compose.yaml": "1:644:0"}, containers)
    settings = {"name": "", "keep": 5, "variable": "web_release", "hooks": {}, **releases}
    options = {
        "name": component,
        "group": "web",
        "releases": settings,
        "build": [{"image": image, "context": context}] if context else [],
    }
    what = plan.Plan(plan.RECREATED, ("x",), {}, up=True) if changed else plan.Plan(plan.NONE)
    return Planned(options, Rendered(desired, {}), what, {}, plan.Actual({}, {}, {}, None))


def kept(name: str, image: str, outcome: str = "complete") -> Dict[str, Any]:
    components = {"web-a": {"identity": "i", "images": {image: "sha256:1"}}}
    return {"name": name, "base": name, "outcome": outcome, "given": True, "at": 1.0, "groups": ["web"],
            "components": components}  # fmt: skip


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    (folder / "web").mkdir(parents=True)
    (folder / "web/a").write_text("1")
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"], ["tag", "release/1.0"]):
        subprocess.run([*GIT, "-C", str(folder), *words], check=True, capture_output=True)
    return folder


def test_a_release_is_called_as_git_describes_what_is_built(repository: Path, tmp_path: Path) -> None:
    one = planned("web-a", "landfall/a:1", str(repository / "web"))
    found, faults = releasing.choose([one], {}, str(tmp_path))
    assert found and not faults and found["name"] == "release-1.0" and re.fullmatch("[0-9a-f]{40}", found["commit"])
    assert found["wants"] == {"web-a": one.rendered.desired.identity} and found["groups"] == ["web"]
    (repository / "web/a").write_text("2")
    found, _faults = releasing.choose([one], {}, str(tmp_path))
    assert found and found["name"] == "release-1.0-dirty"


def test_what_comes_from_a_registry_is_called_after_the_inventory_or_the_time(repository: Path, tmp_path: Path) -> None:
    one = planned("web-a", "shop/a:1")
    found, _faults = releasing.choose([one], {}, str(repository))
    assert found and found["name"] == "release-1.0"
    (repository / "inventory").mkdir()
    (repository / "inventory/hosts.yml").write_text("all:\n")
    found, _faults = releasing.choose([one], {}, str(repository / "inventory"))
    assert found and not found["commit"], "git has nothing of it: the checkout's commit is somebody else's"
    alone = tmp_path / "alone"
    alone.mkdir()
    found, _faults = releasing.choose([one], {}, str(alone))
    assert found and re.fullmatch(r"[0-9]{8}-[0-9]{6}-[0-9a-f]{6}", found["name"]) and found["commit"] == ""


def test_nothing_changed_is_no_release_and_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(releasing, "_git", lambda *_words: pytest.fail("git was asked"))
    assert releasing.choose([planned("web-a", "shop/a:1", changed=False)], {}, "/") == (None, [])


def test_a_name_that_has_other_images_is_refused_with_variable_and_remedy(tmp_path: Path) -> None:
    one = planned("web-a", "shop/a:2", name="v1")
    _found, faults = releasing.choose([one], {"releases": [kept("v1", "shop/a:1")]}, str(tmp_path))
    assert len(faults) == 1 and faults[0].startswith("web_release: release 'v1' is there already, with another image")
    assert "(shop/a:1; this one is shop/a:2); choose another name" in faults[0]
    for other in (kept("v1", "shop/a:2"), kept("v1", "shop/a:1", "failed"), kept("v2", "shop/a:1")):
        assert releasing.choose([one], {"releases": [other]}, str(tmp_path))[1] == []


def test_too_few_to_go_back_are_refused(tmp_path: Path) -> None:
    _found, faults = releasing.choose([planned("web-a", "shop/a:1", keep=1)], {}, str(tmp_path))
    assert faults == ["web_releases_kept: 1 leaves none to go back to; write 2 or more"]


@pytest.mark.parametrize(("name", "good"), [("v1.2.0-rc.1+b", True), ("", True), ("a/b", False), ("-x", False),
                                            ("a b", False), ("x" * 81, False)])  # fmt: skip
def test_a_name_is_one_of_a_folder(name: str, good: bool) -> None:
    assert (formats.FORMATS["release"](name) == "") is good


def test_a_trip_is_told_what_is_going_to_be_and_no_hooks(tmp_path: Path) -> None:
    one, other = planned("web-a", "shop/a:1", name="v1", hooks={"before": ["x"]}), planned("web-b", "shop/b:1")
    chosen, _faults = releasing.choose([one], {}, str(tmp_path))
    told = releasing.request(chosen, [one, other])
    assert told and set(told["wants"]) == {"web-a", "web-b"} and "hooks" not in told
    assert releasing.request(None, [one]) is None


def test_what_is_said_of_going_back() -> None:
    outcome = {"action": "recreated", "seconds": {"apply": 1.0, "prove": 0.5}, "reasons": ["change: a"], "notes": []}
    answer = {"notes": [], "components": {"web": outcome}, "release": "v1", "before": "v2", "seconds": 3.21}
    lines = rollback.said(answer, False)
    assert lines[0] == "web: recreated (apply 1.0 s, prove 0.5 s)"
    assert "release v1 serves in place of v2, after 3.2 s" in lines
    assert "the next site.yml deploys what the inventory says" in lines[-1]
    assert rollback.said(answer, True)[-1] == "release v1 would serve in place of v2"
    assert rollback.said({**answer, "components": {}}, False) == ["release v1 serves already"]
    assert (
        rollback.said({**answer, "failed": True, "undone": "v2 serves again"}, False)[-1] == "undone: v2 serves again"
    )
