"""Generated secrets in real runs of Ansible: never inventory, one set for each host, moved once, never by --check."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
NAMES = ("redis_password", "grafana_admin_password")
PLAY: list[dict[str, Any]] = [
    {
        "hosts": "all",
        "gather_facts": False,
        "connection": "local",
        "tasks": [
            {
                "ansible.builtin.debug": {
                    "msg": "".join(
                        "{{ inventory_hostname }}/NAME={{ lookup('landfall.vps.secret', 'NAME') }} ".replace(
                            "NAME", name
                        )
                        for name in NAMES
                    )
                }
            }
        ],
    }
]
CONFIGURATIONS = {
    "none": "",
    "everything is inventory": "[defaults]\ninventory_ignore_patterns = ^never$\ninventory_ignore_extensions = .never\n"
    "[inventory]\nunparsed_warning = false\n",
}


def ansible(program: str, *args: str, cwd: Path, config: Path) -> str:
    env = {
        **{key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")},
        "ANSIBLE_CONFIG": str(config),
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"),
        "ANSIBLE_NOCOLOR": "1",
    }
    done = subprocess.run(
        [str(BIN / program), *args], cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=120
    )
    return done.stdout + done.stderr + f"\nended with {done.returncode}\n"


class Site:
    """An inventory folder elsewhere, a play, and a configuration of somebody else."""

    def __init__(self, home: Path, hosts: tuple[str, ...] = ("web-1", "web-2"), config: str = "") -> None:
        self.home = home
        self.inventory = home / "inventory" / "production"
        self.inventory.mkdir(parents=True)
        (self.inventory / "hosts.yml").write_text(json.dumps({"all": {"hosts": {host: {} for host in hosts}}}))
        (self.inventory / "group_vars").mkdir()
        self.set(landfall_secrets_dir="{{ inventory_dir }}/secrets")
        (home / "play.yml").write_text(json.dumps(PLAY))
        (home / "elsewhere.cfg").write_text(config)
        (home / "cwd").mkdir()

    def set(self, **values: Any) -> None:
        (self.inventory / "group_vars" / "all.json").write_text(json.dumps(values))

    @property
    def secrets(self) -> Path:
        return self.inventory / "secrets"

    def play(self, *args: str, inventory: str = "") -> str:
        source = inventory or str(self.inventory)
        args = ("-i", source, str(self.home / "play.yml"), *args)
        return ansible("ansible-playbook", *args, cwd=self.home / "cwd", config=self.home / "elsewhere.cfg")

    def got(self, *args: str, inventory: str = "") -> dict[str, str]:
        said = self.play(*args, inventory=inventory)
        assert "ended with 0" in said, said
        pairs = [word.strip('"').split("=") for word in said.split() if "/" in word and "password=" in word]
        return dict(pairs)


@pytest.mark.parametrize(
    ("source", "config"),
    [
        ("production", "none"),
        ("production/hosts.yml", "none"),
        (".", "none"),
        ("production", "everything is inventory"),
    ],
)
def test_secrets_are_never_inventory(tmp_path: Path, config: str, source: str) -> None:
    site = Site(tmp_path, config=CONFIGURATIONS[config])
    # Of a folder of inventories Ansible does not read the group_vars of each
    given = ("-e", json.dumps({"landfall_secrets_dir": "{{ inventory_dir }}/secrets"}))
    made = site.got(*given, inventory=str(site.inventory.parent / source))
    assert len(set(made.values())) == 4
    listed = ansible(
        "ansible-inventory", "-i", str(site.inventory.parent / source), "--list", "-vvv",
        cwd=tmp_path / "cwd", config=tmp_path / "elsewhere.cfg",
    )  # fmt: skip
    assert "ended with 0" in listed and "web-1" in listed
    assert [value for value in made.values() if value in listed] == []
    assert site.got(*given, inventory=str(site.inventory.parent / source)) == made, "the next run has other secrets"


def test_the_old_place_was_inventory_or_this_proves_nothing(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.secrets.mkdir()
    (site.secrets / "redis_password").write_text("aPasswordAsItWasKept\n")
    listed = ansible(
        "ansible-inventory", "-i", str(site.inventory), "--list", cwd=tmp_path, config=tmp_path / "elsewhere.cfg"
    )
    assert "aPasswordAsItWasKept" in listed


def files(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_each_host_has_its_own_for_this_user_alone_and_git_ignores_them(tmp_path: Path) -> None:
    site = Site(tmp_path)
    made = site.got()
    for host in ("web-1", "web-2"):
        for name in NAMES:
            path = site.secrets / "host_vars" / host / name
            assert path.read_text() == made[f"{host}/{name}"] + "\n"
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    git = ["git", "-C", str(tmp_path)]
    subprocess.run([*git, "init", "-q"], check=True)
    told = subprocess.run([*git, "status", "--porcelain", "-uall"], check=True, capture_output=True, text=True).stdout
    assert "hosts.yml" in told and "secrets" not in told


def test_a_shared_one_is_the_same_for_all(tmp_path: Path) -> None:
    site = Site(tmp_path)
    before = site.got()
    site.set(landfall_secrets_dir="{{ inventory_dir }}/secrets", landfall_shared_secrets=["redis_password"])
    made = site.got()
    assert made["web-1/redis_password"] == made["web-2/redis_password"]
    assert made["web-1/redis_password"] not in before.values(), "two were in use, so neither may win by chance"
    assert made["web-1/grafana_admin_password"] == before["web-1/grafana_admin_password"]
    site.set(landfall_secrets_dir="{{ inventory_dir }}/secrets", landfall_shared_secrets="redis_password")
    assert "landfall_shared_secrets: write a list" in site.play()


def test_one_that_all_hosts_have_already_becomes_the_shared_one(tmp_path: Path) -> None:
    site = Site(tmp_path)
    for host in ("web-1", "web-2"):
        (site.secrets / "host_vars" / host).mkdir(parents=True)
        (site.secrets / "host_vars" / host / "redis_password").write_text("common\n")
    site.set(landfall_secrets_dir="{{ inventory_dir }}/secrets", landfall_shared_secrets=["redis_password"])
    assert set(site.got().values()) >= {"common"}
    assert site.got()["web-1/redis_password"] == site.got()["web-2/redis_password"]


def test_check_writes_nothing_and_one_rehearsal_agrees_with_itself(tmp_path: Path) -> None:
    site = Site(tmp_path)
    first = site.got("--check", "--diff")
    assert not site.secrets.exists()
    assert len(set(first.values())) == 4 and {len(value) for value in first.values()} == {40}
    assert set(site.got("--check").values()).isdisjoint(first.values()), "a rehearsal can be foretold"
    assert set(site.got().values()).isdisjoint(first.values())


OLD = {"redis_password": "kept salt=abc\n", "grafana_admin_password": "keptToo\n"}
KEPT = {f"{host}/{name}": OLD[name].split()[0] for host in ("web-1", "web-2") for name in NAMES}


def test_what_an_earlier_version_made_is_moved_once_and_no_secret_changes(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.secrets.mkdir()
    for name, content in OLD.items():
        (site.secrets / name).write_text(content)
    (site.secrets / "vault-password").write_text("the user's own\n")
    before = files(site.secrets)
    hosts = str(site.inventory / "hosts.yml")  # of the folder, and without our ansible.cfg, each secret made a host
    assert site.got("--check", inventory=hosts) == KEPT
    assert files(site.secrets) == before
    said = site.play("--limit", "web-1", inventory=hosts)  # the other host must find its own later
    assert f"redis_password moved to {site.secrets}/host_vars/web-1, {site.secrets}/host_vars/web-2" in said
    assert site.got(inventory=hosts) == KEPT
    assert sorted(path.name for path in site.secrets.iterdir()) == [".gitignore", "host_vars", "vault-password"]
    assert "moved" not in site.play(inventory=hosts)


def test_a_move_that_was_interrupted_is_finished(tmp_path: Path) -> None:
    site = Site(tmp_path)
    (site.secrets / "host_vars" / "web-1").mkdir(parents=True)
    for name, content in OLD.items():
        (site.secrets / name).write_text(content)
    (site.secrets / "host_vars" / "web-1" / "redis_password").write_text("kept\n")
    assert site.got("--limit", "web-1") == {key: value for key, value in KEPT.items() if "web-1" in key}
    assert site.got() == KEPT
    assert not (site.secrets / "redis_password").exists()


def test_another_secret_in_the_new_place_wins_and_the_old_one_stays(tmp_path: Path) -> None:
    site = Site(tmp_path, ("web-1",))
    (site.secrets / "host_vars" / "web-1").mkdir(parents=True)
    (site.secrets / "redis_password").write_text("old\n")
    (site.secrets / "host_vars" / "web-1" / "redis_password").write_text("new\n")
    assert "new" in site.got().values()
    assert (site.secrets / "redis_password").exists()
    assert "is not used" in site.play()


@pytest.mark.parametrize("given", [(), ("-e", '{"landfall_secrets_dir": "{{ inventory_dir }}/secrets"}')])
def test_an_inventory_without_a_folder_is_refused(tmp_path: Path, given: tuple[str, ...]) -> None:
    site = Site(tmp_path)
    said = site.play(*given, inventory="192.0.2.10,")
    assert "ended with 2" in said
    assert "landfall_secrets_dir: this inventory has no folder" in said.replace("\n", " ")
    assert not list(tmp_path.rglob("None*")) and not list(tmp_path.rglob("host_vars"))
    assert not Path("/secrets").exists()
    (tmp_path / "None" / "secrets").mkdir(parents=True)
    assert str(tmp_path / "None" / "secrets") in site.play(*given, inventory="192.0.2.10,").replace("\n", "")
    made = site.got("-e", f"landfall_secrets_dir={tmp_path}/mine", inventory="192.0.2.10,")
    assert (tmp_path / "mine/host_vars/192.0.2.10/redis_password").read_text().strip() in made.values()


def test_beside_the_inventory_itself_host_vars_means_something_else(tmp_path: Path) -> None:
    site = Site(tmp_path, ("web-1",))
    site.set(landfall_secrets_dir="{{ inventory_dir }}")
    (site.inventory / "redis_password.txt").write_text("")
    made = site.got()
    assert not (site.inventory / "host_vars").exists()
    assert (site.secrets / "host_vars/web-1/redis_password").read_text() == made["web-1/redis_password"] + "\n"
    assert site.got() == made
