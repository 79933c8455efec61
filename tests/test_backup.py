"""Backups: what roles declare and render, what is refused, and the program's proofs against a store that can lie."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
from pathlib import Path
from typing import Any, Dict, List, Sequence

import pytest
from ansible_collections.landfall.vps.plugins.module_utils.backups import (
    postgres,
    redis,
    repository,
    restoring,
    stack,
    taking,
    tools,
    volumes,
)
from ansible_collections.landfall.vps.plugins.module_utils.plan import Container
from ansible_collections.landfall.vps.plugins.plugin_utils import saving

from tests import rolekit

ON = {"backup_enabled": True, "backup_repository": "/mnt/backup"}
S3 = {"backup_repository": "s3:https://s3.example.org/bucket", "backup_s3_access_key": "KEYID"}
STORE_KEY = "AVerySecretKeyOfTheStore"
CONTAINERS = {"x-web": Container("web", "shop/web:1", ())}
DOCUMENT = {"volumes": {"data": {"external": True, "name": "x-data"}}}


# -- what roles declare ---------------------------------------------------------------------------------------------


def test_what_is_declared_is_recorded_with_the_names_of_the_vps() -> None:
    item = {"kind": "volume", "volume": "data", "exclude": ["*.tmp"]}
    found = saving.described([item], CONTAINERS, DOCUMENT)["saves"]
    assert found == [{**item, "volume": "x-data", "service": "web", "container": "x-web", "what": "volume/data"}]
    assert saving.described([], CONTAINERS, DOCUMENT) == {}


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ({"kind": "tape"}, "kind is 'tape'; it must be postgresql or rdb or volume"),
        ({"kind": "postgresql"}, "lacks user"),
        ({"kind": "volume", "volume": "data", "user": "x"}, "has no user"),
        ({"kind": "volume", "volume": "other"}, "the compose file has no volume other"),
        ({"kind": "volume", "volume": "data", "service": "db"}, "there is no service db"),
    ],
)
def test_what_cannot_be_declared_is_refused(item: Dict[str, Any], words: str) -> None:
    with pytest.raises(saving.SavesError, match=words):
        saving.described([item], CONTAINERS, DOCUMENT)


def test_roles_declare_their_databases_and_services_their_volumes(tmp_path: Path) -> None:
    more = rolekit.OPTIONAL["postgres"]
    kinds = {
        role: [item["what"] for item in rolekit.component(role, tmp_path, **more).desired.meta["saves"]]
        for role in ("postgres", "redis", "grafana", "alertmanager", "app")
    }
    assert kinds == {
        "postgres": ["postgres"], "redis": ["redis"], "grafana": ["volume/grafana-data"],
        "alertmanager": ["volume/alertmanager-data"], "app": ["volume/app-data"],
    }  # fmt: skip


def test_redis_has_a_user_for_saves_only_with_backups(tmp_path: Path) -> None:
    with_it = rolekit.component("redis", tmp_path, **ON)
    without = rolekit.component("redis", tmp_path)
    acl = "redis/secrets/users.acl"
    assert "user backup on #" in rolekit.text(with_it, acl) and "backup" not in rolekit.text(without, acl)
    assert "-@all +bgsave +lastsave +info" in rolekit.text(with_it, acl)
    path = "redis/secrets/backup_password"
    assert path in with_it.contents and path not in without.contents


# -- the role -----------------------------------------------------------------------------------------------------


def test_the_program_lies_on_the_vps_as_it_is_here_and_runs_by_a_timer(tmp_path: Path) -> None:
    rendered = rolekit.component("backup", tmp_path, **ON)
    home = Path(str(tools.__file__)).parent
    for source in home.glob("*.py"):
        assert rendered.contents[f"backup/config/landfall_backups/{source.name}"] == source.read_bytes()
    unit = json.loads(rolekit.text(rendered, "backup/units/landfall-job-backup.json"))
    assert unit["argv"] == ["python3", "-IB", "/opt/landfall/backup/config/backup.py", "now"]
    assert "backup/units/landfall-job-backup.yaml" not in rendered.contents
    service = rolekit.text(rendered, "backup/units/landfall-job-backup.service")
    assert "Nice=10" in service and "IOSchedulingPriority=7" in service
    settings = json.loads(rolekit.text(rendered, "backup/config/settings.json"))
    assert set(stack.KEYS) <= set(settings) and settings["keep"]["daily"] == 7


def test_a_repository_on_the_vps_gets_no_network_and_keys_are_files(tmp_path: Path) -> None:
    local = rolekit.compose(rolekit.component("backup", tmp_path, **ON))["services"]["backup"]
    assert (local["network_mode"], local["cap_drop"], local["restart"]) == ("none", ["ALL"], "no")
    assert local["read_only"] and "cap_add" not in local
    remote = rolekit.component("backup", tmp_path, **{**ON, **S3, "backup_s3_secret_key": STORE_KEY})
    assert rolekit.compose(remote)["services"]["backup"]["network_mode"] == "bridge"
    holding = {path: mark for path, mark in remote.desired.files.items() if STORE_KEY.encode() in remote.contents[path]}
    assert list(holding) == ["backup/secrets/s3"] and holding["backup/secrets/s3"].endswith(":400:0")
    password = rolekit.text(remote, "backup/secrets/password").strip()
    assert len(password) > 20
    assert [path for path, text in remote.contents.items() if password.encode() in text] == ["backup/secrets/password"]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"backup_repository": ""}, "backup_repository: is empty"),
        ({"backup_repository": "sftp://a@b:22//c"}, "backup_ssh_key and backup_ssh_known_hosts: are needed"),
        (S3, "backup_s3_access_key and backup_s3_secret_key: are needed"),
        (dict.fromkeys(("backup_keep_daily", "backup_keep_weekly", "backup_keep_monthly"), 0), "nothing would be kept"),
    ],
)
def test_what_cannot_work_is_refused_by_its_variable(tmp_path: Path, more: Dict[str, Any], words: str) -> None:
    with pytest.raises(Exception, match=words):
        rolekit.component("backup", tmp_path, **{**ON, **more})


# -- a store that can lie -------------------------------------------------------------------------------------------


class Store:
    """A repository that is a folder; its snapshots are what lies in it now."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def dump(self, _snapshot: str, path: str, archive: bool = False) -> List[str]:
        place = f"{self.folder}{path}"
        return ["tar", "-C", place, "-cf", "-", "."] if archive else ["cat", place]


@pytest.fixture
def volume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A volume with files, a link and a database in it."""
    place = tmp_path / "volume"
    (place / "up").mkdir(parents=True)
    (place / "up/a b*[x].txt").write_text("one")
    (place / "up/link").symlink_to("a b*[x].txt")
    (place / "up/b").write_bytes(os.urandom(5000))
    base = sqlite3.connect(place / "shop.db")
    base.execute("PRAGMA journal_mode=WAL")
    base.execute("CREATE TABLE t AS SELECT 1")
    base.commit()
    base.close()
    monkeypatch.setattr(volumes, "mountpoint", lambda _name: str(place))

    def copy(root: str, relative: str, target: str) -> None:  # without the rights that only root can give up
        source, copy_ = sqlite3.connect(f"{root}/{relative}"), sqlite3.connect(target)
        source.backup(copy_)
        source.close()
        copy_.close()

    monkeypatch.setattr(volumes, "copy_sqlite", copy)
    return place


def stored(volume: Path, tmp_path: Path) -> tuple[Dict[str, Any], Store]:
    """What is noted of a volume, and a store that has it as restic would."""
    noted = volumes.note({"volume": "data"}, str(tmp_path / "stage"), str(tmp_path / "cache"))
    store = tmp_path / "store"
    store.mkdir()
    subprocess.run(["cp", "-a", str(volume), str(store / "files")], check=True)
    for path in store.glob("files/shop.db*"):
        path.unlink()
    subprocess.run(["cp", "-a", str(tmp_path / "stage"), str(store / "sqlite")], check=True)
    return noted, Store(store)


def proof(noted: Dict[str, Any], store: Store) -> Dict[str, int]:
    return volumes.prove(noted, store, "s", ("/files", "/sqlite"))  # type: ignore[arg-type]


def test_a_volume_that_comes_back_whole_is_proven(volume: Path, tmp_path: Path) -> None:
    noted, store = stored(volume, tmp_path)
    assert set(noted["sqlite"]) == {"shop.db"} and set(noted["files"]) == {"up/a b*[x].txt", "up/b", "up/link"}
    assert proof(noted, store) == {"files": 4, "changed": 0}
    assert volumes.excluded(noted, "/v", ["cache"])[:1] == ["/v/shop.db"]


def test_a_flipped_byte_a_missing_file_and_another_database_are_noticed(volume: Path, tmp_path: Path) -> None:
    noted, store = stored(volume, tmp_path)
    path = store.folder / "files/up/b"
    content, its = path.read_bytes(), path.stat()
    path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    os.utime(path, ns=(its.st_atime_ns, its.st_mtime_ns))
    with pytest.raises(tools.Fault, match="up/b was restored with other content"):
        proof(noted, store)
    path.unlink()
    with pytest.raises(tools.Fault, match="up/b is not in the snapshot"):
        proof(noted, store)
    path.write_bytes(content)
    os.utime(path, ns=(its.st_atime_ns, its.st_mtime_ns))
    base = sqlite3.connect(store.folder / "sqlite/shop.db")
    base.execute("INSERT INTO t VALUES (2)")
    base.commit()
    base.close()
    with pytest.raises(tools.Fault, match=r"the database shop\.db was restored with other content"):
        proof(noted, store)


def test_what_was_written_meanwhile_is_no_fault(volume: Path, tmp_path: Path) -> None:
    noted, store = stored(volume, tmp_path)
    (store.folder / "files/up/b").write_text("newer")
    (store.folder / "files/up/new").write_text("new")
    assert proof(noted, store) == {"files": 3, "changed": 2}


def test_a_store_that_breaks_off_is_noticed(volume: Path, tmp_path: Path) -> None:
    noted, store = stored(volume, tmp_path)
    whole = store.dump
    store.dump = lambda *a, **k: ["sh", "-c", '"$@" | head -c 2000', "sh", *whole(*a, **k)]  # type: ignore[method-assign]
    with pytest.raises(tools.Fault):
        proof(noted, store)


def test_hashes_are_taken_again_only_where_something_changed(volume: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = volumes.note({"volume": "data"}, str(tmp_path / "one"), str(cache))
    known = json.loads(cache.read_text())
    known["up/b"][4] = "remembered"
    cache.write_text(json.dumps(known))
    second = volumes.note({"volume": "data"}, str(tmp_path / "two"), str(cache))
    assert second["files"]["up/b"][2] == "remembered" and first["files"]["up/link"] == second["files"]["up/link"]
    (volume / "up/b").write_text("changed")
    assert volumes.note({"volume": "data"}, str(tmp_path / "three"), str(cache))["files"]["up/b"][2] != "remembered"


# -- bringing back --------------------------------------------------------------------------------------------------


class World:
    """Docker as far as a swap asks it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: List[str] = []
        monkeypatch.setattr(volumes, "using", lambda _name: ["app"])
        monkeypatch.setattr(volumes, "run", self.run)

    def run(self, argv: Sequence[str], *_more: Any) -> bytes:
        self.asked.append(" ".join(argv))
        return b""


def test_a_volume_is_swapped_and_swapped_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    place, fresh, old = (tmp_path / name for name in ("_data", "_data_restoring", "_data_before"))
    for folder, text in ((place, "old"), (fresh, "new")):
        folder.mkdir()
        (folder / "a").write_text(text)
    volumes.swap([(str(place), str(fresh), str(old))], ["data"])
    assert ((place / "a").read_text(), (old / "a").read_text()) == ("new", "old")
    assert world.asked == ["docker stop app", "docker start app"]
    volumes.swap([(str(place), str(fresh), str(old))], ["data"])  # done already
    assert (place / "a").read_text() == "new"
    volumes.swap([(str(place), str(old), str(fresh))], ["data"])
    assert ((place / "a").read_text(), (fresh / "a").read_text()) == ("old", "new")


def test_those_who_use_a_volume_are_started_whatever_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    (tmp_path / "new").mkdir()
    with pytest.raises(OSError, match="nowhere"):
        volumes.swap([(str(tmp_path / "nowhere/x"), str(tmp_path / "new"), "")], ["data"])
    assert world.asked[-1] == "docker start app"


def settings(root: Path, **more: Any) -> Dict[str, Any]:
    keep = {"daily": 1}
    return {"root": str(root), "component": "backup", "stack": "landfall", "host": "vps", "service": "backup",
            "keep": keep, "parts": 7, "without": [], "volumes": [], "scratch": "", **more}  # fmt: skip


def record(root: Path, name: str, **meta: Any) -> None:
    (root / ".state").mkdir(exist_ok=True)
    (root / ".state" / f"{name}.json").write_text(json.dumps({"meta": meta}))


def test_what_is_deployed_is_backed_up_but_for_what_is_left_out(tmp_path: Path) -> None:
    record(tmp_path, "web", saves=[{"kind": "volume", "what": "volume/data", "volume": "data"}])
    record(tmp_path, "store", serves=[{"api": "backups", "folder": "textfile.d", "metric": "m"}])
    found = stack.Stack(settings(tmp_path, volumes=["more"]))
    assert [item["what"] for item in found.sources()] == ["volume/data", "volume/more"]
    assert found.reports() == [(str(tmp_path / "store/textfile.d"), "m")]
    assert stack.Stack(settings(tmp_path, without=["volume/data"])).sources() == []
    with pytest.raises(tools.Fault, match="backup_without: there is no redis here; there are: volume/data"):
        stack.Stack(settings(tmp_path, without=["redis"])).sources()


MANIFEST = {
    "sources": {
        "postgres": {"kind": "postgresql", "databases": {"shop": {}, "billing": {}}},
        "volume/data": {"kind": "volume"},
    }
}


def test_what_is_brought_back_is_named_as_a_backup_tells_it() -> None:
    here = [{"what": "postgres"}, {"what": "volume/data"}]
    assert stack.chosen(here, MANIFEST, "postgres/shop") == [("postgres", "shop")]
    assert stack.chosen(here, MANIFEST, "postgres") == [("postgres", "shop"), ("postgres", "billing")]
    assert len(stack.chosen(here, MANIFEST, "all")) == 3
    with pytest.raises(tools.Fault, match="what: the snapshot has no redis; it has: all, postgres, postgres/billing"):
        stack.chosen(here, MANIFEST, "redis")
    with pytest.raises(tools.Fault, match="volume/data is in the snapshot and not on this VPS"):
        stack.chosen(here[:1], MANIFEST, "all")


def test_nothing_is_replaced_without_the_name_of_the_vps(tmp_path: Path) -> None:
    one = restoring.Restore(stack.Stack(settings(tmp_path)), "20261127t031500")
    for confirm in ("", "yes", "other"):
        with pytest.raises(tools.Fault, match="say -e confirm=vps"):
            one.confirmed(confirm, "it would be replaced")
    one.confirmed("vps", "it would be replaced")
    with pytest.raises(tools.Fault, match="no restore 20261127t031500 keeps anything"):
        one.undo("vps")


def test_names_beside_a_database_fit_and_are_no_backup_of_their_own() -> None:
    name = postgres.beside("x" * 63, "before", "20261127t031500")
    assert len(name) <= 63 and postgres.BESIDE.search(name)
    assert not postgres.BESIDE.search("shop_before")


# -- comparing ------------------------------------------------------------------------------------------------------


def test_tables_that_differ_are_told() -> None:
    noted = {"public.a": [3, "9"], "public.b": [1, "5"], "public.c": [1, "1"]}
    assert postgres.differences(noted, noted) == []
    assert postgres.differences(noted, {"public.a": [2, "9"], "public.b": [1, "6"], "public.d": [0, "0"]}) == [
        "table public.a has 2 rows, not 3", "table public.b has other content", "table public.c is missing",
        "table public.d was not there",
    ]  # fmt: skip


def test_keys_of_all_databases_are_counted() -> None:
    assert redis.keys("# Keyspace\r\ndb0:keys=3,expires=1\r\ndb12:keys=40,expires=0\r\n") == 43
    assert redis.keys("# Keyspace\r\n") == 0


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("Fatal: wrong password or no key found", "backup_password: "),
        ("Fatal: repository does not exist: unable to open config file", "backup_repository: there is no repository"),
        ("write /repository/data: no space left on device", "backup_repository: the target is full"),
        ("dial tcp 192.0.2.1:9000: connect: connection refused", "backup_repository: the target cannot be reached"),
        ("Host key verification failed.", "backup_ssh_known_hosts: "),
        ("backup@h: Permission denied (publickey).", "backup_ssh_key: "),
        ("The AWS Access Key Id is wrong: InvalidAccessKeyId", "backup_s3_access_key: "),
        ("ciphertext verification failed", "the repository is damaged"),
        ("something else", "restic: something else"),
    ],
)
def test_what_restic_complains_of_is_told_by_the_variable(said: str, words: str) -> None:
    assert repository.explained(said).startswith(words)


# -- telling --------------------------------------------------------------------------------------------------------


def test_a_failed_run_keeps_the_time_of_the_last_good_one(tmp_path: Path) -> None:
    record(tmp_path, "store", serves=[{"api": "backups", "folder": "textfile.d", "metric": "last_success"}])
    folder = tmp_path / "store/textfile.d"
    folder.mkdir(parents=True)
    good = taking.Backup(stack.Stack(settings(tmp_path)))
    assert good.report(0.0, "1a2b3c4d") == 0
    path = tmp_path / ".state/backup/last.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "last_success_timestamp_seconds": 1000}))
    bad = taking.Backup(stack.Stack(settings(tmp_path)))
    bad.faults.append(("restore", "a table differs"))
    assert bad.report(0.0, "") == 1
    text = (folder / "landfall-backup.prom").read_text()
    assert "last_success 1000" in text.splitlines()
    assert 'landfall_backup_failed{step="restore"} 1' in text and 'landfall_backup_failed{step="dump"} 0' in text
    assert (folder / "landfall-backup.prom").stat().st_mode & 0o777 == 0o644


def test_two_do_not_work_at_once(tmp_path: Path) -> None:
    one = stack.Stack(settings(tmp_path))
    with one.alone(), pytest.raises(tools.Fault, match="a backup or a restore goes on"), one.alone():
        pass
