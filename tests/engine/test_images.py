"""Images that several components of a trip are made of."""

from __future__ import annotations

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
