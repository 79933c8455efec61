"""Images that several components of a trip are made of."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Dict, List

import pytest
from ansible_collections.landfall.vps.plugins.module_utils import compose, images
from ansible_collections.landfall.vps.plugins.module_utils.converge import Converger

from tests.engine.world import request

BUILDS = [{"image": "landfall/web:1", "twin": "landfall/api:1"}, {"image": "landfall/api:1", "tar": ["parts"]}]


class Engine:
    """What images there are, and which were asked for."""

    def __init__(self) -> None:
        self.there: Dict[str, Any] = {}
        self.asked: List[str] = []

    def images(self) -> Dict[str, Any]:
        return self.there

    def provide(self, image: str, *_more: Any) -> str:
        self.asked.append(image)
        self.there[image] = {"id": "1"}
        return "built"


def worker(folder: Path, engine: Any) -> Converger:
    found = Converger({**request(folder, "web", {}), "builds": BUILDS}, engine)
    found.provided = {}
    return found


def test_what_another_component_is_built_from_is_built_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine()
    monkeypatch.setattr(images, "provide_image", engine.provide)
    worker(tmp_path, engine)._image("landfall/web:1")
    assert engine.asked == ["landfall/api:1", "landfall/web:1"]
    engine.asked.clear()
    worker(tmp_path, engine)._image("landfall/web:1")
    assert engine.asked == ["landfall/web:1"], "it is there"


def test_a_build_that_failed_is_not_tried_for_each_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: List[str] = []

    def refuse(image: str, *_more: Any) -> str:
        tried.append(image)
        raise compose.CommandFailed("step 3 of 4 failed")

    monkeypatch.setattr(images, "provide_image", refuse)
    found = worker(tmp_path, Engine())
    for image in ("landfall/web:1", "landfall/api:1"):
        with pytest.raises(compose.CommandFailed, match="step 3 of 4"):
            found._image(image)
    assert tried == ["landfall/api:1"]


BUILDKIT = "\n".join(
    [
        "#5 [builder 1/3] FROM docker.io/library/python:3.13-slim",
        "#6 [builder 2/3] RUN pip install nothing",
        "#7 [web 2/4] COPY . /srv",
        *[f"#6 0.{number:03} Looking in line {number}" for number in range(60)],
        "#7 DONE 0.1s",
        '#6 ERROR: process "/bin/sh -c pip install nothing" did not complete successfully: exit code: 1',
        "------",
        "ERROR: failed to solve: exit code: 1",
    ]
)
LEGACY = "\n".join(
    [
        "Step 1/3 : FROM scratch",
        " ---> ",
        "Step 2/3 : RUN make",
        " ---> Running in 1f",
        "\x1b[91mmake: *** No targets.  Stop.",
        "\x1b[0mRemoving intermediate container 1f",
    ]
)


@pytest.mark.parametrize(
    ("said", "step", "cause", "more"),
    [
        (BUILDKIT, "2 of 3: RUN pip install nothing", "#6 0.059 Looking in line 59", "its last 50 lines"),
        (LEGACY, "2 of 3: RUN make", "\nmake: *** No targets", "it said"),
        ("#1 [internal] load build definition\n#1 DONE\nERROR: unknown instruction: RUNN\n", "", "RUNN", "no step"),
    ],
    ids=["buildkit", "before it", "no step"],
)
def test_a_build_that_failed_says_its_step_and_its_last_lines(
    said: str, step: str, cause: str, more: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "said").write_text(said)
    (tmp_path / "docker").write_text(f"#!/bin/sh\ncat {tmp_path}/said\nexit 1\n")
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    (tmp_path / "tar").write_bytes(b"")
    build = {"image": "landfall/web:1", "tar": [str(tmp_path / "tar")]}
    with pytest.raises(compose.CommandFailed) as failed:
        images.provide_image("landfall/web:1", [build], {}, 60)
    told = str(failed.value)
    first, _line, rest = told.partition("\n")
    assert first.startswith("landfall/web:1 cannot be built; its build failed") and more in first, first
    assert "; look at build and its Dockerfile; " in first, first
    assert (f"at step {step};" in first) == bool(step) and cause in told
    assert rest.splitlines() == re.sub("\x1b\\[[0-9]+m", "", said).splitlines()[-50:]
