"""The planner, by tables and by properties."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.landfall.vps.plugins.module_utils import plan as p
from hypothesis import given
from hypothesis import strategies as st

IMAGE = "redis:8.8.3-alpine"


def mark(text: str, mode: int = 0o644, uid: int = 0) -> str:
    return p.fingerprint(text.encode(), mode, uid)


FILES = {
    "redis/compose.yaml": mark("compose"),
    "redis/config/redis.conf": mark("conf"),
    "redis/secrets/password": mark("secret", 0o400, 999),
    "prometheus/rules.d/redis--memory.yml": mark("rules"),
    "prometheus/targets.d/redis.yml": mark("targets"),
}
DESIRED = p.Desired("redis", True, FILES, {"redis": p.Container("redis", IMAGE)}, ("config/*",), {"uid": 999})


def applied(desired: p.Desired, **changes: Any) -> p.Actual:
    """A VPS on which ``desired`` was applied and proven."""
    names = desired.containers
    record = {
        "digest": desired.digest,
        "files": dict(desired.files),
        "containers": {n: {"service": c.service, "image": c.image, "config_hash": "h1"} for n, c in names.items()},
        "images": {c.image: "sha256:1" for c in names.values()},
        "proven": True,
    }
    containers = {n: {"id": n, "image_id": "sha256:1", "state": "running", "config_hash": "h1"} for n in names}
    images = {c.image: "sha256:1" for c in names.values()}
    return replace(p.Actual(dict(desired.files), containers, images, record), **changes)


LIVE = applied(DESIRED)


def edited(path: str, text: str = "by hand", mode: int = 0o644, uid: int = 0) -> dict[str, str]:
    return {**FILES, path: mark(text, mode, uid)}


def without(path: str) -> dict[str, str]:
    return {key: value for key, value in FILES.items() if key != path}


def container(**changes: Any) -> dict[str, dict[str, Any]]:
    return {"redis": {**LIVE.containers["redis"], **changes}}


CASES: list[tuple[str, p.Desired, p.Actual, str, dict[str, Any]]] = [
    ("nothing differs", DESIRED, LIVE, p.NONE, {"up": False, "reload": False}),
    ("bare VPS", DESIRED, p.Actual(), p.CREATED, {"up": True, "missing_images": (IMAGE,)}),
    ("bare VPS, image there", DESIRED, p.Actual(images={IMAGE: "sha256:1"}), p.CREATED, {"missing_images": ()}),
    (
        "config edited by hand",
        DESIRED,
        replace(LIVE, files=edited("redis/config/redis.conf")),
        p.RELOADED,
        {"reload": True, "up": False, "files": {"redis/config/redis.conf": "change"}},
    ),
    (
        "new config, no reload possible",
        replace(DESIRED, reload_files=()),
        replace(LIVE, files=edited("redis/config/redis.conf")),
        p.RECREATED,
        {"force": ("redis",), "reload": False},
    ),
    (
        "stray file in config",
        DESIRED,
        replace(LIVE, files={**FILES, "redis/config/x": mark("x")}),
        p.RELOADED,
        {"files": {"redis/config/x": "remove"}},
    ),
    (
        "secret changed",
        DESIRED,
        replace(LIVE, files=edited("redis/secrets/password", "old", 0o400, 999)),
        p.RECREATED,
        {"force": ("redis",)},
    ),
    (
        "secret readable by others",
        DESIRED,
        replace(LIVE, files=edited("redis/secrets/password", "secret", 0o444, 999)),
        p.UPDATED,
        {"up": False, "reload": False, "files": {"redis/secrets/password": "change"}},
    ),
    (
        "compose file edited",
        DESIRED,
        replace(LIVE, files=edited("redis/compose.yaml")),
        p.RECREATED,
        {"up": True, "force": ()},
    ),
    (
        "container stopped",
        DESIRED,
        replace(LIVE, containers=container(state="exited")),
        p.STARTED,
        {"up": True, "force": ()},
    ),
    ("container gone", DESIRED, replace(LIVE, containers={}), p.RECREATED, {"up": True, "force": ()}),
    (
        "container recreated by hand",
        DESIRED,
        replace(LIVE, containers=container(config_hash="h2")),
        p.RECREATED,
        {"up": True},
    ),
    (
        "unknown container in the project",
        DESIRED,
        replace(LIVE, containers={**LIVE.containers, "stray": {"state": "running"}}),
        p.RECREATED,
        {"up": True},
    ),
    ("image replaced under its tag", DESIRED, replace(LIVE, images={IMAGE: "sha256:2"}), p.RECREATED, {"up": True}),
    (
        "rules shipped to Prometheus changed",
        DESIRED,
        replace(LIVE, files=edited("prometheus/rules.d/redis--memory.yml")),
        p.UPDATED,
        {"up": False, "reload": False, "receivers": ("prometheus/rules.d",)},
    ),
    (
        "target file deleted by hand",
        DESIRED,
        replace(LIVE, files=without("prometheus/targets.d/redis.yml")),
        p.UPDATED,
        {"receivers": ("prometheus/targets.d",)},
    ),
    (
        "started, never proven",
        DESIRED,
        replace(LIVE, record={**(LIVE.record or {}), "proven": False}),
        p.CREATED,
        {"up": False, "files": {}},
    ),
    (
        "only what is known of it changed",
        replace(DESIRED, meta={"uid": 999, "prove": [1]}),
        LIVE,
        p.UPDATED,
        {"files": {}, "up": False},
    ),
    ("absent and gone", replace(DESIRED, present=False, files={}, containers={}), p.Actual(), p.NONE, {}),
    (
        "absent and deployed",
        replace(DESIRED, present=False, files={}, containers={}),
        LIVE,
        p.REMOVED,
        {"receivers": ("prometheus/rules.d", "prometheus/targets.d")},
    ),
]


@pytest.mark.parametrize(
    ("desired", "actual", "action", "details"), [case[1:] for case in CASES], ids=[c[0] for c in CASES]
)
def test_table(desired: p.Desired, actual: p.Actual, action: str, details: dict[str, Any]) -> None:
    found = p.plan(desired, actual)
    assert found.action == action, found.reasons
    for name, value in details.items():
        assert getattr(found, name) == value, name
    assert bool(found.reasons) == found.changed


def test_killed_between_swap_and_record_is_finished_as_it_was_begun() -> None:
    new = replace(DESIRED, files=edited("redis/config/redis.conf", "new"))
    found = p.plan(new, replace(LIVE, files=dict(new.files)))
    assert (found.action, found.reload, dict(found.files)) == (p.RELOADED, True, {})


def test_killed_after_the_swap_of_rules_still_makes_prometheus_take_them_in() -> None:
    new = replace(DESIRED, files=edited("prometheus/rules.d/redis--memory.yml", "new"))
    assert p.plan(new, replace(LIVE, files=dict(new.files))).receivers == ("prometheus/rules.d",)


def test_a_rule_of_its_own_is_taken_in_as_those_of_others_are() -> None:
    mine = "prometheus/rules.d/prometheus--a.yml"
    old = p.Desired(
        "prometheus", True, {"prometheus/compose.yaml": mark("c"), mine: mark("old")},
        {"prometheus": p.Container("prometheus", "prom:1")}, ("config/*",),
        {"drop_ins": {"rules.d": {"reload": True}, "targets.d": {}}},
    )  # fmt: skip
    record = {"files": dict(old.files), "containers": {}, "digest": old.digest, "proven": True}
    live = p.Actual(dict(old.files), {"prometheus": {"state": "running"}}, {"prom:1": "x"}, record)
    assert p.plan(old, live).action == p.NONE
    new = replace(old, files={**old.files, mine: mark("new")})
    assert (p.plan(new, live).action, p.plan(new, live).reload) == (p.RELOADED, True)
    target = replace(old, files={**old.files, "prometheus/targets.d/prometheus.yml": mark("new")})
    assert (p.plan(target, live).action, p.plan(target, live).reload) == (p.UPDATED, False)


texts = st.sampled_from(["a", "b", "c"])
paths = st.sampled_from(["compose.yaml", "config/a.yml", "config/sub/b.yml", "secrets/s"])
drop_ins = st.sampled_from(
    ["prometheus/rules.d/app--a.yml", "prometheus/targets.d/app.yml", "grafana/dashboards.d/app--x.json"]
)


@st.composite
def desires(draw: st.DrawFn) -> p.Desired:
    files = {"app/" + path: mark(draw(texts)) for path in draw(st.sets(paths))}
    files["app/compose.yaml"] = mark(draw(texts))
    files.update({path: mark(draw(texts)) for path in draw(st.sets(drop_ins))})
    names = draw(st.sets(st.sampled_from(["app", "app-2", "gateway"]), min_size=1))
    containers = {name: p.Container(name, "image:" + draw(st.sampled_from("12"))) for name in sorted(names)}
    reload_files = draw(st.sampled_from([(), ("config/*",), ("config/*", "secrets/*")]))
    return p.Desired("app", True, files, containers, reload_files, {"uid": draw(st.integers(0, 1))})


def carried_out(desired: p.Desired, actual: p.Actual) -> p.Actual:
    """What a VPS looks like after the plan was carried out: exactly the plan's files, then the record."""
    found = p.plan(desired, actual)
    files = dict(actual.files)
    for path, kind in found.files.items():
        if kind == "remove":
            del files[path]
        else:
            files[path] = desired.files[path]
    return applied(desired, files=files) if found.changed else actual


@given(desires(), desires())
def test_one_run_is_enough(old: p.Desired, new: p.Desired) -> None:
    after = carried_out(new, applied(old))
    assert dict(after.files) == dict(new.files)
    assert p.plan(new, after).action == p.NONE


@given(desires(), desires(), st.data())
def test_a_run_killed_anywhere_in_the_swap_is_finished_by_the_next(
    old: p.Desired, new: p.Desired, data: st.DataObject
) -> None:
    mixed = dict(old.files)
    for path, kind in p.differences(old.files, new.files).items():
        if data.draw(st.booleans()):
            if kind == "remove":
                del mixed[path]
            else:
                mixed[path] = new.files[path]
    interrupted = applied(old, files=mixed)
    found = p.plan(new, interrupted)
    assert found.changed == (old.digest != new.digest or mixed != dict(old.files))
    undisturbed = p.plan(new, applied(old))
    assert (found.up, found.force, found.reload) == (undisturbed.up, undisturbed.force, undisturbed.reload)
    assert dict(carried_out(new, interrupted).files) == dict(new.files)


@given(desires())
def test_nothing_is_done_twice(desired: p.Desired) -> None:
    assert p.plan(desired, applied(desired)).action == p.NONE


@given(desires(), texts)
def test_what_can_be_reloaded_never_touches_the_container(desired: p.Desired, text: str) -> None:
    desired = replace(desired, reload_files=("config/*",))
    live = applied(desired)
    new = replace(desired, files={**desired.files, "app/config/a.yml": mark("new " + text)})
    found = p.plan(new, live)
    assert (found.action, found.up, found.force) == (p.RELOADED, False, ())


@given(desires(), desires())
def test_files_of_others_are_never_touched(old: p.Desired, new: p.Desired) -> None:
    foreign = {"prometheus/rules.d/redis--a.yml": mark("x"), "apple/compose.yaml": mark("x"), "app/data/x": mark("x")}
    everything = {**old.files, **foreign}
    actual = replace(applied(old), files=p.select("app", everything, applied(old).record))
    assert not set(p.plan(new, actual).files) & set(foreign)


@pytest.mark.parametrize(
    ("needs", "only", "order"),
    [
        ({}, None, []),
        ({"a": ["b"], "b": [], "c": ["a"]}, None, ["b", "a", "c"]),
        ({"a": ["b"], "b": [], "c": ["a"]}, {"a"}, ["b", "a"]),
        ({"a": ["gone"]}, None, ["a"]),
        ({"a": ["b"], "b": ["a"]}, None, ["b", "a"]),
        ({"a": []}, {"unknown"}, []),
    ],
)
def test_nothing_comes_before_what_it_needs(
    needs: dict[str, list[str]], only: set[str] | None, order: list[str]
) -> None:
    assert p.in_order(needs, only) == order


DIGEST = "sha256:" + "ab" * 32


@pytest.mark.parametrize(
    ("image", "kept"),
    [
        ("redis:8", "redis:8"),
        ("redis@" + DIGEST, "redis@" + DIGEST),
        ("redis:8@" + DIGEST, "redis@" + DIGEST),
        ("localhost:5000/team/api:1.2@" + DIGEST, "localhost:5000/team/api@" + DIGEST),
    ],
)
def test_an_image_named_by_its_digest_is_found(image: str, kept: str) -> None:
    assert p.stored_as(image) == kept
    desired = p.Desired("app", files={}, containers={"app": p.Container("app", image)})
    assert p.plan(desired, p.Actual(images={kept: "sha256:1"})).missing_images == ()
    assert p.plan(desired, p.Actual()).missing_images == (image,)


def test_only_the_services_that_see_a_changed_file_are_recreated() -> None:
    files = {"shop/compose.yaml": "c:644:0", "shop/secrets/api/token": "1:400:0", "shop/secrets/web/token": "1:400:0"}
    containers = {
        "api": p.Container("api", "x:1", ("secrets/api",)),
        "web": p.Container("web", "x:1", ("secrets/web",)),
        "idle": p.Container("idle", "x:1"),
    }
    running = {
        n: {"id": n, "image_id": "i", "state": "running", "config_hash": "h", "project": "shop"} for n in containers
    }

    def forced(path: str) -> tuple[str, ...]:
        wanted = p.Desired("shop", True, {**files, path: "2:400:0"}, containers)
        before = p.Desired("shop", True, files, containers)
        record = {"files": files, "digest": before.digest, "proven": True, "containers": {}, "images": {}}
        return p.plan(wanted, p.Actual(files, running, {"x:1": "i"}, record)).force

    assert forced("shop/secrets/api/token") == ("api",)
    assert forced("shop/secrets/web/token") == ("web",)
    # Nobody is known to see it, so that everybody may
    assert forced("shop/secrets/other") == ("api", "idle", "web")


@pytest.mark.parametrize(
    ("services", "main", "container"),
    [
        ({"a-sidecar": "a-sidecar", "shop": "shop"}, "", "shop"),
        ({"a-sidecar": "a-sidecar", "x-shop-1": "shop"}, "", "x-shop-1"),
        ({"z-first": "z-first", "a-sidecar": "a-sidecar"}, "", "z-first"),
        ({"a-sidecar": "a-sidecar", "z-first": "z-first"}, "z-first", "z-first"),
        ({"a-sidecar": "a-sidecar"}, "gone", "a-sidecar"),
    ],
)
def test_the_main_container_is_not_the_alphabetically_first(
    services: dict[str, str], main: str, container: str
) -> None:
    assert p.main_container("shop", services, main) == container
    record = {"name": "shop", "meta": {"main": main}, "containers": {n: {"service": s} for n, s in services.items()}}
    assert p.main_of(record) == container


def test_what_ran_once_and_well_is_as_wanted() -> None:
    desired = replace(DESIRED, meta={**DESIRED.meta, "one_shots": ["redis"]})
    found = applied(desired)
    done = {**found.containers["redis"], "state": "exited", "done": True}
    assert p.plan(desired, replace(found, containers={"redis": done})).action == p.NONE
    assert p.plan(desired, replace(found, containers={"redis": {**done, "done": False}})).action == p.STARTED
    assert p.plan(DESIRED, replace(applied(DESIRED), containers={"redis": done})).action == p.STARTED


@pytest.mark.parametrize(
    ("found", "word"),
    [
        ({}, "missing"),
        ({"state": "running", "health": "healthy"}, "healthy"),
        ({"state": "running", "health": "none"}, "none"),
        ({"state": "exited", "done": True}, "exited"),
    ],
)
def test_how_a_container_is(found: Any, word: str) -> None:
    assert p.well("web", found, {}) == word
    meta = {"one_shots": ["web"], "unasked": ["web"]}
    better = {"none": "unasked", "exited": "done"}.get(word, word)
    assert p.well("web", found, meta) == better and (better in p.WELL) == (word != "missing")
