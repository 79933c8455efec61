"""Texts of /proc, of ufw and of Docker, as real machines have them, and what is read from them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.landfall.vps.plugins.module_utils import host, registry, sockets, surroundings
from ansible_collections.landfall.vps.plugins.module_utils.docker_api import Docker, DockerError

# A VPS with Docker: docker0, eth0, a WireGuard tunnel that is the default route in two halves
ROUTE = """Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010011AC\t0003\t0\t0\t0\t00000000\t0\t0\t0
tun0\t00000000\t0100080A\t0003\t0\t0\t0\t00000080\t0\t0\t0
tun0\t00000080\t0100080A\t0003\t0\t0\t0\t00000080\t0\t0\t0
docker0\t0000C90A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
eth0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
eth0\t010200C0\t00000000\t0005\t0\t0\t0\tFFFFFFFF\t0\t0\t0
"""
FIB_TRIE = """Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 10.201.0.0/24 2 0 2
        +-- 10.201.0.0/31 1 0 0
           |-- 10.201.0.0
              /24 link UNICAST
           |-- 10.201.0.1
              /32 host LOCAL
Id 52:
  +-- 100.64.0.0/10 2 0 2
     |-- 100.64.0.0
        /10 universe UNICAST
     |-- 100.100.100.100
        /32 universe UNICAST
     |-- broken
        /33 universe UNICAST
"""


def test_routes_have_their_interfaces_and_defaults_are_left_out() -> None:
    assert surroundings.routes(ROUTE, FIB_TRIE) == [
        {"range": "10.201.0.0/24", "interface": "docker0"},
        {"range": "172.17.0.0/16", "interface": "eth0"},
        {"range": "100.64.0.0/10", "interface": ""},
    ]


@pytest.mark.parametrize("text", ["", "Iface\n", "Iface\neth0 zz 0 0 0 0 0 00FFFFFF\n", "Iface\neth0 00000000\n"])
def test_a_text_that_is_no_table_has_no_routes(text: str) -> None:
    assert surroundings.routes(text, text) == []


def test_this_machines_own_tables_are_understood() -> None:
    found = surroundings.network_facts()["routes"]
    listed = subprocess.run(["ip", "-4", "-j", "route", "show"], capture_output=True, check=False).stdout
    ranges = {route["dst"] for route in json.loads(listed or b"[]") if "/" in route["dst"]}
    assert ranges <= {route["range"] for route in found}


UFW_RULES = """*filter
### RULES ###

### tuple ### allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 in
-A ufw-user-input -p tcp --dport 22 -j ACCEPT

### tuple ### limit tcp 2222 0.0.0.0/0 any 0.0.0.0/0 in comment=4142
### tuple ### allow tcp 80,443 0.0.0.0/0 any 0.0.0.0/0 Nginx%20Full - in
### tuple ### allow tcp 9100 172.30.0.1 any 172.30.0.0/24 in_landfall
### tuple ### allow any any 0.0.0.0/0 any 10.0.0.0/8 out
### tuple ### broken
"""


def test_ufw_is_read_with_its_rules() -> None:
    found = surroundings.ufw("# c\nENABLED=yes\nLOGLEVEL=low\n", 'IPV6=yes\nDEFAULT_INPUT_POLICY="DROP"\n', UFW_RULES)
    assert found is not None
    assert found["input"] == "drop"
    assert [tuple(rule.values()) for rule in found["rules"]] == [
        ("allow", "tcp", "22", "0.0.0.0/0", "0.0.0.0/0", ""),
        ("limit", "tcp", "2222", "0.0.0.0/0", "0.0.0.0/0", ""),
        ("allow", "tcp", "80,443", "0.0.0.0/0", "0.0.0.0/0", ""),
        ("allow", "tcp", "9100", "172.30.0.1", "172.30.0.0/24", "landfall"),
    ]
    assert surroundings.ufw("ENABLED=no\n", "", UFW_RULES) is None
    assert surroundings.ufw("", "", "") is None


# -- sockets ----------------------------------------------------------------------------------------------------------

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
TAIL = " 00000000:00000000 00:00000000 00000000     0        0 {0} 1 00000000dcc91512 100 0 0 10 0\n"


def line(local: str, state: str, inode: int) -> str:
    return f"   0: {local} 00000000:0000 {state}" + TAIL.format(inode)


def proc(root: Path, tables: dict[str, str], processes: dict[int, tuple[str, list[str], str]]) -> str:
    """A /proc: tables of sockets, and of processes their program, what they have open, and their cgroup."""
    (root / "net").mkdir(parents=True)
    for name, text in tables.items():
        (root / "net" / name).write_text(HEAD + text, encoding="utf-8")
    for pid, (program, opened, cgroup) in processes.items():
        (root / str(pid) / "fd").mkdir(parents=True)
        (root / str(pid) / "comm").write_text(program + "\n", encoding="utf-8")
        (root / str(pid) / "cgroup").write_text(cgroup, encoding="utf-8")
        for number, target in enumerate(opened):
            (root / str(pid) / "fd" / str(number)).symlink_to(target)
    return str(root)


ID = "a1" * 32


def test_listeners_have_their_process_and_their_container(tmp_path: Path) -> None:
    found = sockets.listeners(
        proc(
            tmp_path,
            {
                "tcp": line("0100007F:2382", "0A", 11)
                + line("00000000:0050", "0A", 12)
                + line("0100007F:1F90", "01", 9),
                "tcp6": line("00000000000000000000000000000000:0050", "0A", 13)
                + line("0000000000000000FFFF00000100007F:1F91", "0A", 14)
                + line("B80D0120000000000000000001000000:01BB", "0A", 0),
                "udp": line("00000000:01BB", "07", 15) + line("0100007F:0035", "01", 16),
            },
            {
                1: ("systemd", ["/dev/null", "socket:[11]"], "0::/init.scope\n"),
                7: ("nginx", ["socket:[12]", "socket:[13]"], "0::/system.slice/nginx.service\n"),
                70: ("nginx", ["socket:[12]", "socket:[13]"], "0::/system.slice/nginx.service\n"),
                71: ("node_exporter", ["pipe:[3]", "socket:[14]"], f"0::/system.slice/docker-{ID}.scope\n"),
                72: ("caddy", ["socket:[15]"], f"9:name=systemd:/docker/{'b2' * 32}/docker/{ID}\n"),
            },
        )
    )
    assert [tuple(entry.values()) for entry in found] == [
        ("tcp", "127.0.0.1", 9090, 1, "systemd", ""),
        ("tcp", "0.0.0.0", 80, 7, "nginx", ""),  # noqa: S104 - read, not bound
        ("tcp", "::", 80, 7, "nginx", ""),
        ("tcp", "127.0.0.1", 8081, 71, "node_exporter", ID),
        ("tcp", "2001:db8::1", 443, 0, "", ""),
        ("udp", "0.0.0.0", 443, 72, "caddy", ID),  # noqa: S104 - read, not bound
    ]


def test_a_process_that_ends_while_it_is_read_is_nobody(tmp_path: Path) -> None:
    place = proc(
        tmp_path, {"tcp": line("0100007F:2382", "0A", 11)}, {5: ("gone", [], ""), 6: ("x", ["socket:[11]"], "")}
    )
    (tmp_path / "5" / "fd").rmdir()
    (tmp_path / "6" / "fd" / "1").symlink_to("socket:[99]")
    (tmp_path / "6" / "comm").unlink()
    assert [(entry["pid"], entry["program"]) for entry in sockets.listeners(place)] == [(6, "?")]
    assert sockets.listeners(str(tmp_path / "none")) == []


def test_a_real_listener_is_found() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        found = [entry for entry in sockets.listeners() if entry["port"] == port]
    assert [(entry["protocol"], entry["address"], entry["pid"]) for entry in found] == [
        ("tcp", "127.0.0.1", os.getpid())
    ]


# -- engine -----------------------------------------------------------------------------------------------------------

INFO = {
    "DockerRootDir": "/mnt/docker",
    "Driver": "overlay2",
    "DriverStatus": [["Backing Filesystem", "extfs"], ["Supports d_type", "true"]],
    "Architecture": "aarch64",
    "NCPU": 2,
    "MemoryLimit": True,
    "CpuCfsQuota": True,
    "CpuCfsPeriod": True,
    "SecurityOptions": ["name=apparmor", "name=seccomp,profile=builtin", "name=userns"],
    "Swarm": {"LocalNodeState": "active"},
    "LoggingDriver": "journald",
    "HttpProxy": "http://user:secret@proxy.example.com:3128/",
    "HttpsProxy": "",
}
VERSION = {"Version": "26.1.5", "Components": [{"Name": "Engine", "Version": "26.1.5"}]}


def test_what_matters_of_the_engines_answer() -> None:
    found = surroundings.engine_setup(INFO, VERSION)
    assert found["data_root"] == "/mnt/docker"
    assert found["security"] == ["apparmor", "seccomp", "userns"]
    assert (found["swarm"], found["cpus"], found["architecture"], found["podman"]) == ("active", 2, "aarch64", False)
    assert found["proxies"] == {"HttpProxy": "http://proxy.example.com:3128"}
    assert found["image_root"] == ""
    snapshots = {**INFO, "DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]]}
    assert surroundings.engine_setup(snapshots, VERSION)["image_root"] == "/var/lib/containerd"
    assert surroundings.engine_setup({}, {"Components": [{"Name": "Podman Engine"}]})["podman"]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://user:secret@proxy:3128", "http://proxy:3128"),
        ("user:secret@proxy:3128", "proxy:3128"),
        ("socks5://proxy", "socks5://proxy"),
        ("http://proxy:port", "(unreadable)"),
    ],
)
def test_a_proxys_password_is_never_read(url: str, shown: str) -> None:
    assert surroundings.without_user(url) == shown


def test_the_clients_settings_are_read_without_its_passwords() -> None:
    text = json.dumps(
        {
            "auths": {"ghcr.io": {"auth": "c2VjcmV0"}},
            "currentContext": "rootless",
            "proxies": {"default": {"httpProxy": "http://u:secret@p:1", "noProxy": "localhost"}},
        }
    )
    found = surroundings.client_settings(text)
    assert found == {"context": "rootless", "proxies": {"httpProxy": "http://p:1", "noProxy": "localhost"}}
    for broken in ("", "{", "[]", '{"proxies": []}', '{"proxies": {"default": "x"}}'):
        assert surroundings.client_settings(broken) == {"proxies": {}, "context": ""}


def test_the_daemons_settings_are_read() -> None:
    assert surroundings.daemon_settings('{"data-root": "/x", "proxies": {"http-proxy": "secret"}}') == {
        "data-root": "/x"
    }
    assert surroundings.daemon_settings(" \n") == {}
    assert "error" in surroundings.daemon_settings('{"data-root": "/x",}')
    assert "error" in surroundings.daemon_settings("[]")


class Engine(Docker):
    """An engine that answers from a table of paths."""

    def __init__(self, answers: dict[str, Any]) -> None:
        super().__init__("/nowhere")
        self.answers = answers
        self.asked: list[tuple[str, Any]] = []

    def call(self, method: str, path: str, *_rest: Any, **more: Any) -> tuple[int, bytes]:
        self.asked.append((path, more.get("more_headers")))
        answer = self.answers.get(path.split("?", maxsplit=1)[0])
        if answer is None:
            raise DockerError("no route to registry")
        status, body = answer if isinstance(answer, tuple) else (200, answer)
        return status, json.dumps(body).encode()


def test_published_ports_are_those_of_the_vps() -> None:
    ports = [
        {"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 80, "Type": "tcp"},  # noqa: S104 - read, not bound
        {"IP": "::", "PrivatePort": 80, "PublicPort": 80, "Type": "tcp"},
        {"PrivatePort": 9090, "Type": "tcp"},
    ]
    answer = [{"Id": "1", "Names": ["/caddy"], "Ports": ports, "State": "running"}]
    assert Engine({"/containers/json": answer}).containers()["caddy"]["ports"] == ["0.0.0.0:80/tcp", ":::80/tcp"]


def test_only_idle_images_are_asked_for_their_architecture() -> None:
    engine = Engine({"/images/two/json": {"Architecture": "arm64"}})
    facts = {
        "containers": {"redis": {"image_id": "one", "state": "running"}, "old": {"image_id": "two", "state": "exited"}},
        "images": {"redis:1": {"id": "one"}, "app:1": {"id": "two"}, "app:latest": {"id": "two"}},
    }
    host._idle_architectures(engine, facts)
    assert [image.get("architecture") for image in facts["images"].values()] == [None, "arm64", "arm64"]
    assert [path for path, _headers in engine.asked] == ["/images/two/json"]


def test_registries_are_asked_through_the_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    platforms = [{"architecture": "amd64", "os": "linux"}, {"architecture": "unknown", "os": "unknown"}]
    engine = Engine(
        {
            "/distribution/ghcr.io/x/y:1/json": {"Platforms": platforms},
            "/distribution/private/z:1/json": (401, {"message": "authentication required"}),
        }
    )
    auth = {"auths": {"ghcr.io": {"auth": "dXNlcjpwYXNz"}}}
    (tmp_path / "config.json").write_text(json.dumps(auth), encoding="utf-8")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setattr(registry, "Docker", lambda *_arguments: engine)
    found = registry.architectures(["ghcr.io/x/y:1", "private/z:1", "gone:1"])
    assert found == {
        "known": {"ghcr.io/x/y:1": ["amd64"]},
        "unknown": {"private/z:1": "authentication required", "gone:1": "no route to registry"},
    }
    signed = {path for path, headers in engine.asked if headers}
    assert signed == {"/distribution/ghcr.io/x/y:1/json"}
    assert registry.registry_of("redis:8") == registry.registry_of("grafana/loki:3") == registry.HUB
    assert registry.registry_of("localhost:5000/app:1") == "localhost:5000"


def test_each_file_system_is_named_once(tmp_path: Path) -> None:
    found = host.disks({str(tmp_path / "a" / "b"): "data", str(tmp_path): "files", "/proc": "images"})
    assert [entry["holds"] for entry in found] == [["data", "files"], ["images"]]
    assert found[0]["free"] > 0 and not found[0]["read_only"]


def test_the_data_root_is_the_engines_word_or_its_files() -> None:
    assert host.data_root({"data_root": "/a", "daemon": {"data-root": "/b"}}) == "/a"
    assert host.data_root({"daemon": {"data-root": "/b"}}) == "/b"
    assert host.data_root({}) == "/var/lib/docker"


def test_kernel_settings_are_those_that_there_are(tmp_path: Path) -> None:
    (tmp_path / "vm").mkdir()
    (tmp_path / "vm" / "overcommit_memory").write_text("0\n", encoding="utf-8")
    assert surroundings.sysctls(str(tmp_path)) == {"vm.overcommit_memory": "0"}
    assert sys.platform != "linux" or "vm.overcommit_memory" in surroundings.sysctls()


def test_an_engine_is_asked_where_its_data_is(tmp_path: Path) -> None:
    engine = Engine(
        {"/version": VERSION, "/info": INFO} | {p: [] for p in ("/containers/json", "/images/json", "/networks")}
    )
    engine.answers["/volumes"] = {"Volumes": []}
    engine.path = str(tmp_path)
    facts = host.engine_facts(str(tmp_path), engine)
    assert (facts["running"], facts["data_root"], facts["error"]) == (True, "/mnt/docker", "")
    engine.path = str(tmp_path / "none")
    facts = host.engine_facts(str(tmp_path), engine)
    assert (facts["running"], facts["setup"]["client"]["context"]) == (False, "")


def test_addresses_by_ipv6_are_those_that_the_world_can_reach() -> None:
    text = (
        "2a0104f80000000000000000000000ab 02 40 00 80     eth0\n"
        "fe800000000000000042acfffe110002 02 40 20 80     eth0\n"
        "fd00000000000000000000000000000a 03 40 00 80  docker0\n"
        "00000000000000000000000000000001 01 80 10 80       lo\n"
    )
    assert surroundings.public_ipv6(text) == ["2a01:4f8::ab on eth0"]
    assert surroundings.public_ipv6("") == surroundings.public_ipv6("nonsense\n") == []
