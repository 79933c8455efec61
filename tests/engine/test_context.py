"""Build contexts: what Docker would send, what makes another image, and what reaches the VPS."""

from __future__ import annotations

import io
import json
import os
import socket
import tarfile
from pathlib import Path
from typing import Any, Dict, List

import pytest
from ansible_collections.landfall.vps.plugins.module_utils import compose, context, dockerignore, images
from ansible_collections.landfall.vps.plugins.plugin_utils import shipping

# Judged by moby's own code (github.com/moby/patternmatcher at 5a6d842, ignorefile and MatchesUsingParentResults)
CASES: List[Dict[str, Any]] = json.loads(Path(__file__).with_name("dockerignore_cases.json").read_text("utf-8"))


def left_out(rules: str, path: str) -> bool:
    matcher, above, ignored = dockerignore.Matcher(dockerignore.read(rules)), list[bool](), False
    parts = path.split("/")
    for length in range(1, len(parts) + 1):
        ignored, above = matcher.judge("/".join(parts[:length]), above)
    return ignored


@pytest.mark.parametrize("case", CASES, ids=[repr(case["ignore"]) for case in CASES])
def test_the_rules_are_those_of_moby(case: Dict[str, Any]) -> None:
    if case["refused"]:
        with pytest.raises(dockerignore.BadPattern):
            left_out(case["ignore"], "a")
        return
    assert {path: left_out(case["ignore"], path) for path in case["paths"]} == case["paths"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    place = tmp_path / "context"
    place.mkdir()
    (place / "Dockerfile").write_text("FROM scratch\n")
    return place


def fill(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


@pytest.mark.parametrize(
    ("rules", "sent"),
    [
        ("", ["Dockerfile", "a.txt", "deploy/Dockerfile", "deploy/x", "requirements/prod.txt", "src/a/b", "src/a/c/b"]),
        ("*.txt", ["Dockerfile", "deploy/Dockerfile", "deploy/x", "requirements/prod.txt", "src/a/b", "src/a/c/b"]),
        ("**/*.txt\nsrc/**/b", ["Dockerfile", "deploy/Dockerfile", "deploy/x"]),
        ("*\n!src/a", ["Dockerfile", "src/a/b", "src/a/c/b"]),
        ("*\n!**/c", ["Dockerfile", "src/a/c/b"]),
        ("deploy\nsrc\n!src/a/c\n./a.txt", ["Dockerfile", "requirements/prod.txt", "src/a/c/b"]),
    ],
)
def test_files_that_are_sent(rules: str, sent: List[str], folder: Path) -> None:
    fill(folder, "a.txt", "requirements/prod.txt", "src/a/b", "src/a/c/b", "deploy/Dockerfile", "deploy/x")
    if rules:
        (folder / ".dockerignore").write_text(rules)
    fill(folder, ".git/HEAD")
    assert [name for name in context.files(str(folder)) if name != ".dockerignore"] == sent


def test_a_dockerfile_is_sent_from_an_ignored_folder_and_its_own_rules_come_first(folder: Path) -> None:
    fill(folder, "deploy/Dockerfile", "deploy/secret", "a", "b")
    (folder / ".dockerignore").write_text("deploy\na\n")
    assert context.files(str(folder), "deploy/Dockerfile") == [
        ".dockerignore", "Dockerfile", "b", "deploy/Dockerfile"]  # fmt: skip
    (folder / "deploy/Dockerfile.dockerignore").write_text("b\n")
    assert "a" in context.files(str(folder), "deploy/Dockerfile")
    assert "b" not in context.files(str(folder), "deploy/Dockerfile")


def test_a_dockerfile_outside_the_context_is_sent_under_a_name_of_its_own(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "other").write_text("FROM scratch\n")
    assert context.OUTSIDE in context.files(str(folder), "../other")
    assert context.sent_dockerfile(str(folder), "../other") == context.OUTSIDE
    assert context.sent_dockerfile(str(folder), "./Dockerfile") == "Dockerfile"


@pytest.mark.parametrize("rules", ["", "shared\n", "*\n"])
@pytest.mark.parametrize("target", ["shared/Dockerfile", "../elsewhere/Dockerfile"])
def test_a_dockerfile_that_is_a_link_is_there_on_the_vps_and_part_of_the_digest(
    target: str, rules: str, folder: Path
) -> None:
    (folder / "Dockerfile").unlink()
    fill(folder, target)
    (folder / "Dockerfile").symlink_to(target)
    (folder / ".dockerignore").write_text(rules)
    assert (target in context.files(str(folder))) == (rules == "" and target.startswith("shared"))
    first = fresh(folder)
    packed = io.BytesIO()
    context.pack(str(folder), "Dockerfile", packed)
    with tarfile.open(fileobj=io.BytesIO(packed.getvalue())) as tar:
        member = tar.extractfile("Dockerfile")  # follows a link to what is in the tar
        assert member is not None and member.read().decode() == target
    assert fresh(folder) == first
    (folder / target).write_text("FROM other\n")
    assert fresh(folder) != first


def test_a_dockerfile_elsewhere_that_is_a_link_is_part_of_the_digest(folder: Path, tmp_path: Path) -> None:
    fill(tmp_path, "one", "two")
    (tmp_path / "link").symlink_to("one")
    first = fresh(folder, dockerfile="../link")
    (tmp_path / "one").write_text("FROM other\n")
    assert fresh(folder, dockerfile="../link") != first


def test_a_name_that_is_no_text_can_be_told(folder: Path) -> None:
    (Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9\n"))).write_text("x" * 100)
    told = context.size_fault(str(folder), "Dockerfile", 10)
    assert "caf\\xe9\\n (0.0 MB)" in told
    (folder / ".dockerignore").write_bytes(b"caf\xe9[\n")
    with pytest.raises(context.ContextError, match=r"caf\\xe9\[' has a bracket"):
        context.files(str(folder))


def test_git_is_sent_only_where_the_rules_say_so(folder: Path) -> None:
    fill(folder, ".git/HEAD", "sub/.git/HEAD", "sub/x")
    assert context.files(str(folder)) == ["Dockerfile", "sub/x"]
    (folder / ".dockerignore").write_text("!.git\n")
    assert ".git/HEAD" in context.files(str(folder))


def unpacked(folder: Path, dockerfile: str = "Dockerfile") -> Dict[str, tarfile.TarInfo]:
    target = io.BytesIO()
    context.pack(str(folder), dockerfile, target)
    with tarfile.open(fileobj=io.BytesIO(target.getvalue())) as tar:
        return {info.name: info for info in tar.getmembers()}


def test_links_and_empty_folders_are_sent_as_what_they_are(folder: Path) -> None:
    fill(folder, "real/a")
    (folder / "dangling").symlink_to("../nowhere")
    (folder / "to-folder").symlink_to("real")
    (folder / "empty/inner").mkdir(parents=True)
    (folder / "real/circle").symlink_to("..")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "socket"))
        found = unpacked(folder)
    assert {name: info.linkname for name, info in found.items() if info.issym()} == {
        "dangling": "../nowhere", "to-folder": "real", "real/circle": ".."}  # fmt: skip
    assert [name for name, info in found.items() if info.isdir()] == ["empty/inner"]
    assert set(found) == {"Dockerfile", "dangling", "to-folder", "empty/inner", "real/a", "real/circle"}


def test_a_tar_is_the_same_whoever_checked_it_out(folder: Path) -> None:
    fill(folder, "a")
    first, second = io.BytesIO(), io.BytesIO()
    context.pack(str(folder), "Dockerfile", first)
    os.utime(folder / "a", (1, 1))
    (folder / "a").chmod(0o600)
    context.pack(str(folder), "Dockerfile", second)
    assert first.getvalue() == second.getvalue()


@pytest.mark.parametrize("more", ["none", "dangling", "missing"])
def test_a_folder_that_is_no_context_is_refused(more: str, folder: Path) -> None:
    (folder / "Dockerfile").unlink()
    if more == "dangling":
        (folder / "Dockerfile").symlink_to("nowhere")
    path = folder / "missing" if more == "missing" else folder
    with pytest.raises(context.ContextError, match="is not a folder" if more == "missing" else "has no Dockerfile"):
        context.digest(str(path))


# -- the digest ---------------------------------------------------------------------------------------------------


def fresh(folder: Path, **build: Any) -> str:
    """The tag as a new process would find it."""
    context._KNOWN.clear()
    return context.build_tag({"context": str(folder), **build})


def test_a_remembered_digest_is_not_computed_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = fresh(folder)
    monkeypatch.setattr(context, "open", lambda *_a, **_k: pytest.fail("a file was read"), raising=False)
    mark = context._mark(str(folder), context.entries(str(folder)))
    monkeypatch.setattr(context, "_remembered", lambda _path, _dockerfile: (mark, first))
    assert fresh(folder) == first


@pytest.mark.parametrize(
    "change",
    ["content", "content with the old times", "new file", "executable", "removed", "link", "link to another",
     "empty folder", "Dockerfile"],
)  # fmt: skip
def test_any_change_makes_another_digest(folder: Path, change: str) -> None:
    (folder / "a").write_text("1")
    (folder / "b").symlink_to("a")
    first = fresh(folder)
    assert fresh(folder) == first
    before = (folder / "a").stat()
    if change == "new file":
        (folder / "c").write_text("")
    elif change == "executable":
        (folder / "a").chmod(0o755)
    elif change == "removed":
        (folder / "a").unlink()
    elif change == "link":
        (folder / "a").unlink()
        (folder / "a").symlink_to("b")
    elif change == "link to another":
        (folder / "b").unlink()
        (folder / "b").symlink_to("Dockerfile")
    elif change == "empty folder":
        (folder / "d").mkdir()
    elif change == "Dockerfile":
        (folder / "Dockerfile").write_text("FROM scratch\nUSER 1\n")
    else:
        (folder / "a").write_text("2")
    if change == "content with the old times":
        os.utime(folder / "a", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert fresh(folder) != first


def test_all_that_an_image_is_built_from_is_part_of_its_tag(folder: Path) -> None:
    fill(folder, "other/Dockerfile")
    builds: List[Dict[str, Any]] = [
        {}, {"args": {"VERSION": "1"}}, {"args": {"VERSION": "2"}}, {"args": {"OTHER": "1"}}, {"target": "web"},
        {"platform": "linux/arm64"}, {"dockerfile": "other/Dockerfile"}, {"args": {"target": "web"}}]  # fmt: skip
    tags = [fresh(folder, **build) for build in builds]
    assert len(set(tags)) == len(tags)
    assert fresh(folder, args={}, target=None, dockerfile="Dockerfile") == tags[0], (
        "what is the default changes nothing"
    )


def test_without_a_writable_cache_the_digest_is_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = fresh(folder)
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    assert fresh(folder) == first


# -- to the VPS ---------------------------------------------------------------------------------------------------


class Vps:
    """Keeps what is sent, as files do on a VPS; ``said`` is what the user sees."""

    def __init__(self, place: Path) -> None:
        self.place, self.said = place, list[str]()
        place.mkdir()

    def send(self, path: str) -> str:
        target = self.place / Path(path).name
        assert not target.exists(), "two files of one name"
        target.write_bytes(Path(path).read_bytes())
        return str(target)

    def shipping(self, archives: str = "", limit: str = "1GB") -> shipping.Shipping:
        return shipping.Shipping(self.send, self.said.append, archives, limit)


@pytest.fixture
def vps(tmp_path: Path) -> Vps:
    return Vps(tmp_path / "vps")


def commands(monkeypatch: pytest.MonkeyPatch) -> List[List[str]]:
    """Where the commands go that would be run on the VPS."""
    ran: List[List[str]] = []

    def run(argv: List[str], *_args: Any, **_more: Any) -> str:
        ran.append(list(argv))
        return ""

    monkeypatch.setattr(compose, "run", run)
    return ran


def test_two_contexts_of_one_name_and_parts_put_together(
    tmp_path: Path, vps: Vps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipping, "PART", 4096)
    builds: List[Dict[str, Any]] = []
    for team in ("orders", "billing"):
        place = tmp_path / team / "service"
        place.mkdir(parents=True)
        (place / "Dockerfile").write_text("FROM scratch\n")
        (place / "source").write_text(team)
        (place / "noise").write_bytes(os.urandom(300000))
        tag = context.build_tag({"context": str(place)})
        builds.append({"image": f"landfall/{team}:{tag}", "context": str(place), "args": {}})
    sent, archives = vps.shipping().images([build["image"] for build in builds], builds, [], offline=False)
    assert archives == {} and len(sent) == 2 and all(len(build["tar"]) > 2 for build in sent)
    assert [line for line in vps.said if "MB sent" in line], "nothing tells how far it is"
    for build in sent:
        whole = images._joined(build["tar"])
        with tarfile.open(whole) as tar:
            source = tar.extractfile("source")
            assert source is not None and source.read().decode() in build["image"]
        assert [path for path in build["tar"] if Path(path).exists()] == [whole]


def test_one_context_is_sent_and_built_once(folder: Path, vps: Vps, monkeypatch: pytest.MonkeyPatch) -> None:
    tag = fresh(folder)
    builds = [{"image": f"landfall/{name}:{tag}", "context": str(folder)} for name in ("web", "worker", "beat")]
    missing = [build["image"] for build in builds]
    sent, _archives = vps.shipping().images(missing, builds, [], offline=True)
    assert [build["image"].split(":")[0] for build in sent if build.get("tar")] == ["landfall/beat"]
    ran = commands(monkeypatch)
    for image in sorted(missing):
        images.provide_image(image, sent, {}, 60)
    assert [argv[1] for argv in ran] == ["build", "tag", "tag"]
    # A service that joins later: the image is there
    sent, _archives = vps.shipping().images(missing[:1], builds, missing[1:], offline=True)
    assert sent == [{"image": missing[0], "twin": missing[2]}]


def test_what_a_build_is_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ran = commands(monkeypatch)
    (tmp_path / "tar").write_bytes(b"")
    build = {"image": "landfall/a:1", "dockerfile": "d/D", "target": "web", "platform": "linux/arm64",
             "args": {"V": "1"}, "tar": [str(tmp_path / "tar")]}  # fmt: skip
    assert images.provide_image("landfall/a:1", [build], {}, 60) == "built"
    assert " ".join(ran[0]) == (
        "docker build --tag landfall/a:1 --file d/D --force-rm --target web --platform linux/arm64 --build-arg V=1 -"
    )


def test_a_context_that_is_too_large_is_refused_with_what_makes_it_so(folder: Path, vps: Vps) -> None:
    fill(folder, "src/a")
    (folder / "node_modules").mkdir()
    with (folder / "node_modules/blob").open("wb") as handle:
        handle.truncate(3_000_000)
    build = {"image": "landfall/a:1", "context": str(folder)}
    with pytest.raises(
        shipping.ShippingError, match=r"3\.0 MB.*node_modules \(3\.0 MB\).*landfall_context_limit"
    ) as no:
        vps.shipping(limit="2MB").images(["landfall/a:1"], [build], [], offline=False)
    assert str(folder / ".dockerignore") in str(no.value) and not list(vps.place.iterdir())
    (folder / ".dockerignore").write_text("node_modules\n")
    vps.shipping(limit="2MB").images(["landfall/a:1"], [build], [], offline=False)


def test_offline_nothing_is_pulled(tmp_path: Path, vps: Vps) -> None:
    (tmp_path / "redis_8.tar").write_bytes(b"x")
    ship = vps.shipping(archives=str(tmp_path))
    _sent, archives = ship.images(["redis:8"], [], [], offline=True)
    assert list(archives) == ["redis:8"]
    with pytest.raises(shipping.ShippingError, match=r"offline.*new:1.*new_1\.tar"):
        ship.images(["new:1"], [], [], offline=True)
    assert not [line for line in vps.said if "pulling" in line]
    ship.images(["new:1"], [], [], offline=False)
    assert vps.said == ["pulling new:1"]
