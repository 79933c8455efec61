"""Images of earlier releases: the last ones stay, and nothing goes that is not ours or is in use."""

from __future__ import annotations

import urllib.parse
from typing import Any, Optional

from ansible_collections.landfall.vps.plugins.module_utils import pruning
from ansible_collections.landfall.vps.plugins.module_utils.docker_api import DockerError


class Engine:
    """Images by tag with their ages, and containers with the tags of their images."""

    def __init__(
        self,
        tags: dict[str, int],
        containers: tuple[str, ...] = (),
        refuses: str = "",
        stacks: Optional[dict[str, str]] = None,
    ) -> None:
        self.tags, self.running, self.refuses, self.stacks = dict(tags), containers, refuses, stacks or {}

    def containers(self) -> dict[str, Any]:
        return {
            tag: {"image": tag, "image_id": "id of " + tag, "stack": self.stacks.get(tag, "landfall")}
            for tag in self.running
        }

    def json(self, _method: str, _path: str) -> list[dict[str, Any]]:
        if self.refuses == "all":
            raise DockerError("the engine does not answer")
        return [{"RepoTags": [tag], "Created": at, "Id": "id of " + tag} for tag, at in self.tags.items()]

    def call(self, method: str, path: str) -> tuple[int, bytes]:
        tag = urllib.parse.unquote(path[len("/images/") :])
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


def forgotten(
    engine: Engine, *images: str, held: tuple[str, ...] = (), known: Optional[dict[str, Any]] = None
) -> list[str]:
    return pruning.forget(engine, images, known or {}, set(held))  # type: ignore[arg-type]


def test_what_a_dropped_release_had_pulled_goes_unless_somebody_has_a_use_for_it() -> None:
    engine = Engine({f"shop/web:{number}": number for number in range(6)}, ("shop/web:5", "shop/web:2"))
    dropped = [f"shop/web:{number}" for number in range(4)]
    known = {"web": record("shop/web:5"), "jobs": record("shop/web:2", "shop/web:3")}
    assert forgotten(engine, *dropped, "id of shop/web:0", held=("id of shop/web:1",), known=known) == [
        "old images removed: shop/web:0"
    ]
    # 1 has the id of a release that is kept, 2 a container, 3 a record; 4 no release of this stack had
    assert sorted(engine.tags) == [f"shop/web:{number}" for number in (1, 2, 3, 4, 5)]
    assert forgotten(engine, "shop/web:0", "landfall/web:1", known=known) == []


def test_what_shares_its_repository_with_a_container_of_somebody_else_stays() -> None:
    engine = Engine({"shop/web:1": 1, "shop/web:2": 2}, ("shop/web:2",), stacks={"shop/web:2": "staging-landfall"})
    assert forgotten(engine, "shop/web:1", known={"jobs": record("shop/jobs:1")}) == []
    assert forgotten(engine, "shop/web:1", known={"web": record("shop/web:2")}) == ["old images removed: shop/web:1"]


def test_an_image_named_by_its_digest_goes_by_it() -> None:
    digest = "shop/web@sha256:" + "0" * 64
    engine = Engine({digest: 1})
    assert forgotten(engine, digest.replace("web@", "web:1@")) == [f"old images removed: {digest}"]


def test_an_engine_that_refuses_to_forget_fails_no_deploy() -> None:
    assert forgotten(Engine({"shop/web:1": 1}, refuses="shop/web:1"), "shop/web:1") == []
    assert forgotten(Engine({}, refuses="all"), "shop/web:1") == ["old images stay: the engine does not answer"]
