"""Images of earlier releases: the last ones stay, and nothing goes that is not ours or is in use."""

from __future__ import annotations

from typing import Any

from ansible_collections.landfall.vps.plugins.module_utils import pruning
from ansible_collections.landfall.vps.plugins.module_utils.docker_api import DockerError


class Engine:
    """Images by tag with their ages, and containers with the tags of their images."""

    def __init__(self, tags: dict[str, int], containers: tuple[str, ...] = (), refuses: str = "") -> None:
        self.tags, self.running, self.refuses = dict(tags), containers, refuses

    def containers(self) -> dict[str, Any]:
        return {tag: {"image_id": "id of " + tag} for tag in self.running}

    def json(self, _method: str, _path: str) -> list[dict[str, Any]]:
        if self.refuses == "all":
            raise DockerError("the engine does not answer")
        return [{"RepoTags": [tag], "Created": at, "Id": "id of " + tag} for tag, at in self.tags.items()]

    def call(self, method: str, path: str) -> tuple[int, bytes]:
        tag = path[len("/images/") :]
        if method != "DELETE" or tag == self.refuses:
            return 409, b"in use"
        del self.tags[tag]
        return 200, b"[]"


def releases(name: str, count: int) -> dict[str, int]:
    return {f"{name}:{number}": number for number in range(count)}


def record(*images: str) -> dict[str, Any]:
    return {"containers": {image: {"image": image} for image in images}}


def pruned(engine: Engine, *images: str, **records: Any) -> list[str]:
    return pruning.prune(engine, images, records)  # type: ignore[arg-type]


def test_the_last_five_releases_stay() -> None:
    engine = Engine(releases("landfall/web", 8), ("landfall/web:7",))
    assert pruned(engine, "landfall/web:7", web=record("landfall/web:7")) == [
        "old images removed: landfall/web:0, landfall/web:1, landfall/web:2"
    ]
    assert sorted(engine.tags) == [f"landfall/web:{number}" for number in (3, 4, 5, 6, 7)]
    assert pruned(engine, "landfall/web:7", web=record("landfall/web:7")) == []


def test_what_is_used_or_named_counts_and_stays_however_old() -> None:
    engine = Engine(releases("landfall/web", 8), ("landfall/web:0",))
    pruned(engine, "landfall/web:7", web=record("landfall/web:7"), jobs=record("landfall/web:1"))
    assert sorted(engine.tags) == [f"landfall/web:{number}" for number in (0, 1, 5, 6, 7)]


def test_what_is_not_built_here_or_belongs_to_another_component_is_not_touched() -> None:
    tags = {**releases("shop/web", 9), **releases("landfall/other", 9), **releases("python", 9)}
    engine = Engine({**tags, "landfall/web:1": 1})
    assert pruned(engine, "landfall/web:1", "shop/web:8", "python:3", "landfall/x@sha256:0") == []
    assert len(engine.tags) == 28


def test_an_engine_that_refuses_fails_no_deploy() -> None:
    engine = Engine(releases("landfall/web", 7), refuses="landfall/web:0")
    assert pruned(engine, "landfall/web:6") == ["old images removed: landfall/web:1"]
    assert pruned(Engine({}, refuses="all"), "landfall/web:6") == ["old images stay: the engine does not answer"]
