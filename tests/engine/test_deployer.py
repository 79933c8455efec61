"""A key that may do nothing but deploy: an image by digest in place of one of the same repository, and nothing else."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Dict, List

import pytest
from ansible_collections.landfall.vps.plugins.module_utils import (
    audit,
    deployer,
    history,
    lock,
    plan,
    progress,
    pushing,
    releases,
)
from ansible_collections.landfall.vps.plugins.module_utils.compose import Refused
from ansible_collections.landfall.vps.plugins.module_utils.lock import Lock
from ansible_collections.landfall.vps.plugins.plugin_utils import remote

from tests.engine.test_releases import deploy, fixture_world, now, served  # noqa: F401 - a fixture
from tests.engine.test_transaction import Files, compose_file
from tests.engine.world import NETWORK, World

SHOP = "registry.example.com:5000/team/shop"
OLD = SHOP + ":1"
ALL = ["plan", "deploy", "rollback", "releases"]


@pytest.fixture(autouse=True)
def own_process() -> Iterator[None]:
    """What the program makes of its process, whose children would ignore SIGHUP as well, ends with the test."""
    hang_up, folder, mask = signal.getsignal(signal.SIGHUP), Path.cwd(), os.umask(0o22)
    os.umask(mask)
    yield
    signal.signal(signal.SIGHUP, hang_up)
    os.chdir(folder)
    os.umask(mask)


def image(letter: str, repository: str = SHOP) -> str:
    return f"{repository}@sha256:{letter * 64}"


@pytest.fixture(name="shop")
def fixture_shop(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """Web and its worker serve an image of a registry, deployed by an inventory; other images can be pulled."""
    known = [OLD, image("a"), image("b"), image("c")]
    monkeypatch.setattr(world, "images", lambda: {one: {"id": "sha256:" + one, "labels": {}} for one in known})
    monkeypatch.setattr(history, "_images", lambda: None)
    assert deploy(world, shop(), "v1", "r1")["release"]["outcome"] == "complete"
    Lock(str(world.root), "r1", "anna").release()
    return world


def shop() -> Dict[str, Files]:
    web = {"web/compose.yaml": compose_file("web", {"web": 1}, OLD), "web/secrets/token": b"secret"}
    return {"web": web, "worker": {"worker/compose.yaml": compose_file("worker", {"worker": 1}, OLD)}}


def ask(world: World, command: str, may: List[str] | None = None, wait: int = 0) -> int:
    """What sshd would run for the key ``ci``."""
    path = world.root.parent / deployer.SETTINGS
    settings = {"root": str(world.root), "network": NETWORK, "wait": wait, "keys": {"ci": may or ALL}}
    path.write_text(json.dumps(settings))
    here = Path.cwd()
    try:
        return deployer.main(str(path.parent), ["ci", command])
    finally:
        os.chdir(here)
        progress._file.clear()


def runs(world: World) -> Dict[str, str]:
    return {name: str(one["image"]) for name, one in world.state.items()}


def spoil(world: World) -> None:
    (world.root / "web/config/a").write_bytes(b"bad")


def left(world: World) -> List[str]:
    return [path for path in world.leftovers() if not path.startswith("releases/v")]


def test_an_image_by_digest_takes_the_place_of_all_of_its_repository(
    shop: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask(shop, f"deploy v2 {image('a')} --commit c0ffee") == 0
    said = capsys.readouterr().out
    assert runs(shop) == {"web": image("a"), "worker": image("a")}
    assert "release v2 serves, after v1" in said and "web: recreated" in said, said
    assert served(shop) == ["v2", "v1"] and now(shop) == "v2"
    entry = audit.read(str(shop.root), 1)[0]
    assert (entry["who"], entry["release"], entry["commit"]) == ("ci (deploy key)", "v2", "c0ffee")
    assert json.loads((shop.root / "web/compose.yaml").read_text())["services"]["web"]["v"] == 1
    assert not (shop.root / ".state/lock").exists() and left(shop) == []


def test_the_same_again_changes_nothing(shop: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(shop, f"deploy v2 {image('a')}") == 0
    before = shop.picture()
    assert ask(shop, f"deploy v2 {image('a')}") == 0
    assert shop.picture() == before and "these images serve already" in capsys.readouterr().out


def test_a_plan_says_the_same_and_changes_nothing(shop: World, capsys: pytest.CaptureFixture[str]) -> None:
    before = shop.picture()
    assert ask(shop, f"plan v2 {image('a')}") == 0
    said = capsys.readouterr().out
    assert f"web: {OLD} -> {image('a')}" in said and "web: would be recreated" in said, said
    assert shop.picture() == before and now(shop) == "v1"


def test_what_does_not_serve_is_undone_and_told(shop: World, capsys: pytest.CaptureFixture[str]) -> None:
    before = runs(shop)
    (shop.root / "web/config").mkdir()
    shop.before_step = lambda: spoil(shop)
    assert ask(shop, f"deploy v2 {image('a')}") == 1
    shop.before_step = None
    said = capsys.readouterr().out
    assert "FAILED: web" in said and "release v2 is" in said, said
    assert runs(shop)["web"] == before["web"] and now(shop) != "v2"


def test_back_to_a_release_by_its_name(shop: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(shop, f"deploy v2 {image('a')}") == 0
    assert ask(shop, "rollback") == 0 and runs(shop)["web"] == OLD and now(shop) == "v1"
    assert ask(shop, "rollback v2") == 0 and runs(shop)["worker"] == image("a")
    assert ask(shop, "rollback v9") == 1
    assert "there is no release 'v9' here" in capsys.readouterr().out


def test_releases_are_listed(shop: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(shop, "releases", ["releases"]) == 0
    assert capsys.readouterr().out.startswith("v1  serving")


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("", "this key opens no shell; ssh … plan|deploy"),
        ("sh -c id", "this key may not 'sh'"),
        ("rollback", "this key may not 'rollback'"),
        (f"deploy v2 {SHOP}:2", "a tag can be moved later"),
        (f"deploy v2 {image('a')}; id", "is no name|by <|image: ';|write the image"),
        (f"deploy ../v2 {image('a')}", "release: '../v2' is no name"),
        (f"deploy open.json {image('a')}", "release: 'open.json' is no name"),
        (f"deploy v2 {image('a', 'docker.io/evil/miner')}", "repository docker.io/evil/miner; there are: " + SHOP),
        (f"deploy v2 {image('a')} {image('b')}", "is named twice"),
        (f"deploy v2 {image('a')} --commit $(id)", "unrecognized arguments|is no commit"),
        (f"deploy v2 {image('a')} --commit HEAD", "--commit: 'HEAD' is no commit"),
        (f"deploy v2 {image('a')} --wait 1e9", "invalid int value"),
        (f"deploy v2 {image('a')} --wait 999999", "--wait: 999999"),
        (f"deploy v2 {image('a')} --who root", "unrecognized arguments: --who"),
        ("deploy v2", "the following arguments are required"),
        ("deploy v1 'unclosed", "cannot be read: No closing quotation"),
        ("deploy -- -x " + image("a"), "release: '-x' is no name"),
    ],
)
def test_whatever_else_is_asked_is_refused_and_nothing_changes(
    shop: World, capsys: pytest.CaptureFixture[str], command: str, words: str
) -> None:
    before = shop.picture()
    assert ask(shop, command, ["plan", "deploy"]) in (1, 2)
    said = capsys.readouterr().err
    assert any(word in said for word in words.split("|")) or words in said, said
    assert "nothing was changed" in said and shop.picture() == before


def test_a_name_that_served_with_another_image_is_refused(shop: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(shop, f"deploy v1 {image('a')}") == 1
    assert "release: 'v1' is there already, with another image of web" in capsys.readouterr().err
    assert runs(shop)["web"] == OLD


def test_a_file_that_was_changed_by_hand_is_left_to_site(shop: World, capsys: pytest.CaptureFixture[str]) -> None:
    (shop.root / "web/secrets/token").chmod(0o600)
    (shop.root / "web/secrets/token").write_bytes(b"mine")
    assert ask(shop, f"deploy v2 {image('a')}") == 1
    assert "web/secrets/token is not as it was deployed; run site.yml" in capsys.readouterr().err


def test_nothing_can_be_deployed_where_nothing_was(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(world, f"deploy v2 {image('a')}") == 1
    assert "run site.yml once" in capsys.readouterr().err


def test_while_another_run_has_the_vps_it_is_refused_by_name_or_waits(
    shop: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Lock(str(shop.root), "other", "anna@laptop")
    other.acquire("redis: recreated")
    other.keep()
    assert ask(shop, f"deploy v2 {image('a')}") == deployer.BUSY
    assert "another run is in progress on this VPS: anna@laptop" in capsys.readouterr().err
    assert ask(shop, f"plan v2 {image('a')}") == 0
    looks: List[float] = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 20:
            other.end()

    monkeypatch.setattr(time, "sleep", sleep)
    assert ask(shop, f"deploy v2 {image('a')} --wait 60") == 0
    said = capsys.readouterr().out
    assert said.count("waiting up to 60 s for anna@laptop, 'between components, last redis: recreated'") == 1, said
    assert now(shop) == "v2"


def test_a_wait_that_is_over_says_how_long_it_was(shop: World, capsys: pytest.CaptureFixture[str]) -> None:
    other = Lock(str(shop.root), "other", "anna@laptop")
    other.acquire("redis: recreated")
    other.keep()
    assert ask(shop, f"deploy v2 {image('a')}", wait=1) == deployer.BUSY
    assert "waited 1 s for it" in capsys.readouterr().err


def test_killed_at_any_step_the_next_one_ends_as_one_of_both(
    shop: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "_left", lambda _holder: 0.0)  # a minute later
    saved, step = shop.save(tmp_path / "saved"), 0
    while True:
        shop.load(saved)
        if shop.dies_at(step, lambda: ask(shop, f"deploy v2 {image('a')}")) is not None:
            break
        assert ask(shop, f"deploy v3 {image('b')}", wait=0) == 0, step
        assert set(runs(shop).values()) == {image("b")} and left(shop) == [], step
        assert releases.serving(str(shop.root)) is not None
        step += 3
    assert step > 60


@pytest.mark.parametrize("quote", ["", '"', "'"])
def test_the_image_and_its_version_are_replaced_however_they_are_quoted(quote: str) -> None:
    text = (
        f"services:\n  web:\n    labels:\n      org.landfall.version: {quote}1{quote}\n"
        f"      note: {OLD}\n    image: {quote}{OLD}{quote}\n    environment:\n      A: {OLD}0\n"
    )
    found = pushing._another(text, OLD, image("a"), 1, "web/compose.yaml")
    assert f"    image: {quote}{image('a')}{quote}\n" in found and '      org.landfall.version: ""\n' in found
    assert found.count(OLD) == 2  # what is no image stays
    with pytest.raises(Refused, match="of 2 found"):
        pushing._another(text, OLD, image("a"), 2, "web/compose.yaml")


def test_what_is_known_of_a_standby_gets_the_image_as_well() -> None:
    meta: Dict[str, Any] = {
        "update": {"standby": {"compose": {"services": {"n": {"image": OLD, "labels": {pushing.VERSION: "1"}}}}}},
        "prove": [{"path": "/" + OLD}],
    }
    found = pushing._replaced(meta, OLD, image("b"))
    service = found["update"]["standby"]["compose"]["services"]["n"]
    assert service == {"image": image("b"), "labels": {pushing.VERSION: ""}} and found["prove"] == meta["prove"]


@pytest.mark.parametrize(
    ("name", "repository", "tag"),
    [
        ("shop", "shop", ""),
        ("r:5000/a/shop:1.2@sha256:0", "r:5000/a/shop", "1.2"),
        ("r:5000/shop", "r:5000/shop", ""),
        ("shop@sha256:0", "shop", ""),
    ],
)
def test_names_of_images_are_taken_apart(name: str, repository: str, tag: str) -> None:
    assert (plan.repository(name), pushing.tag(name)) == (repository, tag)


def test_the_program_that_stays_on_the_vps_needs_nothing_but_python(tmp_path: Path) -> None:
    place = tmp_path / "deployer.py"
    place.write_text(remote.standing_program())
    (tmp_path / "settings.json").write_text(
        json.dumps({"root": str(tmp_path), "network": {}, "keys": {"ci": ["plan"]}})
    )
    argv = [sys.executable, "-I", str(place)]
    done = subprocess.run([*argv, "ci", "sh"], capture_output=True, text=True, check=False, cwd="/", timeout=60)
    assert done.returncode == 2 and "this key may not 'sh'; ssh … plan" in done.stderr, done.stderr
    done = subprocess.run([*argv, "who", "plan"], capture_output=True, text=True, check=False, cwd="/", timeout=60)
    assert done.returncode == 2 and "the key who is none of those" in done.stderr, done.stderr


def test_identities_are_those_that_a_trip_makes(shop: World) -> None:
    common = {"root": str(shop.root), "network": NETWORK, "run": "x", "who": "ci", "holder": None}
    requests, _lines = pushing.wanted(str(shop.root), "v2", [image("a")], "", common)
    for request in requests:
        desired = request["desired"]
        services = {n: (c["service"], c["image"]) for n, c in desired["containers"].items()}
        wants = request["release"]["wants"]
        assert wants[desired["name"]] == plan.identity(desired["name"], desired["files"], services)
