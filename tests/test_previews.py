"""Previews: the real proxy finds each by its name, bad input stops the run, what removes one removes nothing else."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests import caddykit, rolekit

HOST = "*.preview.landfall.test"
PROGRAM = rolekit.ROLES / "app/tasks/remove_preview.sh"


class Unix(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """A preview as the proxy sees it; says by which name and path it was asked."""

    daemon_threads = True

    class RequestHandlerClass(socketserver.StreamRequestHandler):
        """Answers one request."""

        def handle(self) -> None:
            path = self.rfile.readline().split()[1].decode()
            lines = iter(lambda: self.rfile.readline().strip().decode(), "")
            name = dict(line.split(": ", 1) for line in lines)["Host"]
            body = f"{self.server.server_address} {name} {path}"
            text = f"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n{body}"
            self.wfile.write(text.encode())

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), self.RequestHandlerClass)


@pytest.fixture(name="tmp_path")
def fixture_tmp_path() -> Iterator[Path]:
    """A folder with a short name, whatever TMPDIR says: the path of a socket has no more than 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="previews-", dir="/tmp") as folder:
        yield Path(folder)


@contextlib.contextmanager
def preview(path: Path) -> Iterator[None]:
    with Unix(path) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield
        server.shutdown()
    path.unlink()


def test_each_name_leads_to_the_preview_of_that_name(tmp_path: Path) -> None:
    places = {name: tmp_path / f"previews/{name}.sock" for name in ("login", "cart")}
    places["login"].parent.mkdir()
    found = caddykit.Proxy(tmp_path, caddy_sites=[{"host": HOST, "previews": True}])
    try:
        for _again in range(2):
            assert found.ask("/", "login.preview.landfall.test").status == 502
            with preview(places["login"]), preview(places["cart"]):
                for name, place in places.items():
                    host = f"{name}.preview.landfall.test"
                    assert found.ask("/a?b=c", host).text == f"{place} {host} /a?b=c"
                assert found.ask("/", "other.preview.landfall.test").status == 502
                # Whatever a visitor calls it, no other file is looked for
                for host in ("..%2flogin.preview.landfall.test", "%2e%2e%2fpreviews%2flogin.preview.landfall.test"):
                    assert "login.sock" not in found.ask("/", "login.preview.landfall.test", Host=host).text
    finally:
        found.close()


def units(folder: Path, port: int) -> dict[str, str]:
    """The units that lead to a container of a preview and end it, by their endings."""
    tasks = rolekit.load(rolekit.ROLES / "app/tasks/preview.yml")
    (placing,) = [task for task in tasks if "loop" in task and "content" in str(task["loop"])]
    known = {"preview": "login", "app_preview_folder": str(folder), "app_preview_end": 1795000000,
             "app_preview_form": rolekit.template(placing["vars"]["app_preview_form"], {}),
             "app_previewed": {"program": "/bin/remove", "container": "preview-login-web", "port": port}}  # fmt: skip
    return {item["kind"]: str(rolekit.template(item["content"], known)) for item in placing["loop"]}


@pytest.mark.skipif(
    not shutil.which("systemd-socket-activate") or not Path("/lib/systemd/systemd-socket-proxyd").exists(),
    reason="systemd, which hands on requests to a preview, is not installed here; the scenario stacks has it",
)
def test_the_whole_way_from_a_visitor_to_a_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the real proxy and systemd's own program; only the engine that knows the address is pretended."""
    (tmp_path / "bin").mkdir()
    docker = tmp_path / "bin/docker"
    form = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    docker.write_text(f'#!/bin/sh\n[ "$3 $4" = "{form} preview-login-web" ] && echo 127.0.0.1\n')
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{docker.parent}:{os.environ['PATH']}")
    (tmp_path / "previews").mkdir()
    with caddykit.upstream() as port:
        found = units(tmp_path / "previews", port)
        (place,) = re.findall("ListenStream=(.*)", found[".socket"])
        command = found[".service"].replace("\\\n", " ").replace("$$", "$").partition("ExecStart=")[2]
        # It starts the program at the first visitor, as systemd does
        argv = ["systemd-socket-activate", "-l", place, "-E", f"PATH={os.environ['PATH']}", *shlex.split(command)]
        proxy = caddykit.Proxy(tmp_path, caddy_sites=[{"host": HOST, "previews": True}])
        with subprocess.Popen(argv, stderr=subprocess.DEVNULL) as process:
            try:
                end = time.monotonic() + 20
                while not Path(place).exists() and time.monotonic() < end:
                    time.sleep(0.05)
                for _again in range(3):
                    said = proxy.ask("/hello", "login.preview.landfall.test").said
                    assert (said["path"], said["headers"]["X-Forwarded-Proto"]) == ("/hello", "https")
                assert proxy.ask("/hello", "other.preview.landfall.test").status == 502
            finally:
                process.kill()
                proxy.close()


def test_users_and_addresses_keep_others_out_of_previews(tmp_path: Path) -> None:
    site = {"host": HOST, "previews": True, "users": {"bob": caddykit.hashed("bob")}}
    (tmp_path / "previews").mkdir()
    found = caddykit.Proxy(tmp_path, caddy_sites=[site])
    try:
        with preview(tmp_path / "previews/login.sock"):
            assert found.ask("/", "login.preview.landfall.test").status == 401
            bob = "Basic Ym9iOmJvYg=="
            assert found.ask("/", "login.preview.landfall.test", Authorization=bob).status == 200
    finally:
        found.close()


def test_only_a_proxy_of_previews_sees_their_folder(tmp_path: Path) -> None:
    shop = {"host": "shop.landfall.test", "redirect": {"to": "/"}}
    for sites, mounted in (([shop], False), ([shop, {"host": HOST, "previews": True}], True)):
        rendered = rolekit.component("caddy", tmp_path, caddy_sites=sites, caddy_tls="internal")
        (_name, service), *_others = rolekit.services(rendered)
        assert ("./previews:/etc/previews:ro" in service["volumes"]) is mounted


SHARED = {"landfall", "verify"}
OWN = {"app", "celery", "redis", "postgres"}


@pytest.mark.parametrize("visited", [False, True])
def test_a_preview_that_a_visitor_looks_at_can_be_deployed_again(visited: bool) -> None:
    """On what systemd does: a request starts the service of a socket, and beside that no socket is started."""
    tasks = yaml.safe_load((rolekit.ROLES / "app/tasks/preview.yml").read_text())
    begin = next(task for task in tasks if "ansible.builtin.systemd_service" in task)
    active = {".socket"}
    for item in begin["loop"]:
        if visited and ".socket" in active:
            active.add(".service")
        if item["state"] in ("stopped", "restarted"):
            active.discard(item["kind"])
        if item["state"] in ("started", "restarted"):
            assert item["kind"] != ".socket" or ".service" not in active, "already active, refusing"
            active.add(item["kind"])
    assert active >= {".socket", "-end.timer"}


def test_a_preview_has_the_application_and_its_data_alone() -> None:
    """Whatever else the inventory of the stack says, that is the other stack's."""
    variables = yaml.safe_load((rolekit.ROOT / "playbooks/preview.yml").read_text())[0]["vars"]
    roles = {path.name for path in rolekit.ROLES.iterdir()} - SHARED - OWN
    assert {name: variables.get(f"{name}_enabled") for name in roles} == dict.fromkeys(roles, False)


def playbook(*argv: str) -> subprocess.CompletedProcess[str]:
    ansible = str(Path(sys.executable).with_name("ansible-playbook"))
    more = [part for one in argv for part in ("-e", one)]
    return subprocess.run(
        [ansible, "-i", "localhost,", "-c", "local", "-e", "ansible_become=false", "playbooks/preview.yml", *more],
        cwd=rolekit.ROOT, capture_output=True, text=True, check=False, timeout=120,
        env={**os.environ, "COLUMNS": "300"},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], "preview: '' is no name; write up to 30 of a-z, 0-9 and -"),
        (["preview=../x"], "preview: '../x' is no name"),
        (["preview=login", "state=gone"], "state: say state=present or state=absent"),
        (["preview=login", "app_preview_hours=0"], "app_preview_hours: 0 is no number of hours from 1 to 8760"),
        (["preview=login", "app_preview_folder=/no/such"], "app_preview_folder: /no/such is not there"),
        (["preview=login", "app_preview_upstream=web"], "app_preview_upstream: web is no service and port"),
    ],
)
def test_bad_input_stops_the_run_before_anything_changes(argv: list[str], words: str) -> None:
    done = playbook(*argv)
    said = " ".join((done.stdout + done.stderr).split())
    assert done.returncode != 0 and words in said, said
    assert "changed=0" in said


FAKE = """#!/bin/sh
# An engine and a systemd that write down what they are told; the engine has what lies in the folder {folder}/engine
echo "${{0##*/}} $*" >>{folder}/calls
case "${{0##*/}} $*" in
  "docker "*" ls "*"--filter label=org.landfall.stack=preview-login-landfall") cat {folder}/engine/$1 ;;
  "docker "*" ls "*"--filter label=org.landfall.stack=preview-cart-landfall") ;;
  "docker "*" ls"*) exit 9 ;;
  "docker "*" rm "*) : >{folder}/engine/$1 ;;
esac
"""


class Vps:
    """Folders and programs in place of those of a VPS."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.units, self.roots = folder, folder / "units", folder / "opt"
        for path in (self.units, self.roots / "preview-login-landfall/app", self.roots / "landfall", folder / "bin",
                     folder / "engine", folder / "home"):  # fmt: skip
            path.mkdir(parents=True)
        for name in ("docker", "systemctl"):
            (folder / "bin" / name).write_text(FAKE.format(folder=folder))
            (folder / "bin" / name).chmod(0o755)
        for kind, one in (("container", "c1"), ("volume", "v1"), ("network", "n1")):
            (folder / "engine" / kind).write_text(one + "\n")
        for name in ("login.socket", "login.service", "login-end.timer", "login-end.service", "cart-end.timer"):
            (self.units / f"landfall-preview-{name}").touch()
        (self.units / "preview-login-job.timer").symlink_to(self.roots / "preview-login-landfall/app/job.timer")
        (self.units / "job.timer").symlink_to(self.roots / "landfall/app/job.timer")

    def remove(self, *argv: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": f"{self.folder}/bin:{os.environ['PATH']}", "LANDFALL_ROOTS": str(self.roots),
                       "LANDFALL_UNITS": str(self.units), "LANDFALL_HOME": str(self.folder / "home")}  # fmt: skip
        return subprocess.run(["sh", str(PROGRAM), *argv], env=environment, capture_output=True, text=True, check=False)

    def calls(self) -> list[str]:
        return (self.folder / "calls").read_text().splitlines() if (self.folder / "calls").exists() else []


@pytest.fixture(name="vps")
def fixture_vps(tmp_path: Path) -> Vps:
    return Vps(tmp_path)


def test_what_removes_a_preview_removes_all_of_it_and_nothing_else(vps: Vps) -> None:
    done = vps.remove("login")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in vps.units.iterdir() if not path.is_symlink()) == [
        "landfall-preview-cart-end.timer"
    ]
    assert [path.name for path in vps.roots.iterdir()] == ["landfall"]
    changes = [call for call in vps.calls() if " ls " not in call]
    assert changes == [
        "systemctl disable --quiet --now preview-login-job.timer",
        "docker container rm --force c1", "docker volume rm v1", "docker network rm n1",
        "systemctl disable --quiet --now landfall-preview-login.socket",
        "systemctl stop landfall-preview-login.service",
        "systemctl disable --quiet --now landfall-preview-login-end.timer", "systemctl daemon-reload",
    ]  # fmt: skip
    (vps.units / "preview-login-job.timer").unlink()  # systemctl does so
    again = vps.remove("login")
    assert again.returncode == 0 and again.stdout == "", "there is nothing to tell"
    assert (vps.folder / "home").exists(), "the other one needs it"
    assert vps.remove("cart").returncode == 0 and not (vps.folder / "home").exists()


@pytest.mark.parametrize("name", ["", "a/../b", "..", "*", "A", "a b", "$(id)", "login;id"])
def test_what_is_no_name_removes_nothing(vps: Vps, name: str) -> None:
    assert vps.remove(name).returncode == 2
    assert vps.calls() == [] and len(list(vps.roots.iterdir())) == 2
