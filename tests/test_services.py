"""Services and workers of other people's applications: what each option becomes, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict

import pytest
from ansible_collections.landfall.vps.plugins.plugin_utils import service_health

from tests import inventories, rolekit

WEB: Dict[str, Any] = {"name": "web", "image": "shop/web:1.0", "port": 8000, "health": "/health"}
TMP = "/tmp"  # noqa: S108 - in the container
ALONE: Dict[str, Any] = {"celery_enabled": False}
DIGEST = "sha256:" + "0123456789abcdef" * 4


def one(tmp_path: Path, **more: Any) -> Dict[str, Any]:
    """The only service of a compose file, for an item with ``more``."""
    return dict(rolekit.services(rolekit.component("app", tmp_path, app_services=[{**WEB, **more}])))["web"]


def refusal(tmp_path: Path, role: str = "app", **more: Any) -> str:
    with pytest.raises(Exception) as no:
        rolekit.component(role, tmp_path, **more)
    return str(no.value)


@pytest.mark.parametrize(
    ("more", "key", "value"),
    [
        ({"command": "uvicorn main:app --port 80"}, "command", ["uvicorn", "main:app", "--port", "80"]),
        ({"command": ["sh", "-c", "echo $HOME"]}, "command", ["sh", "-c", "echo $$HOME"]),
        ({"command": "sh -c 'exec a \"$B\"'"}, "command", ["sh", "-c", 'exec a "$$B"']),
        ({"entrypoint": "/entry.sh --quiet"}, "entrypoint", ["/entry.sh", "--quiet"]),
        ({"user": "33:33"}, "user", "33:33"),
        ({"user": "www-data"}, "user", "www-data"),
        ({"cap_add": ["CHOWN", "SETUID"]}, "cap_add", ["CHOWN", "SETUID"]),
        ({"extra_hosts": ["db.example.org:192.0.2.7"]}, "extra_hosts", ["db.example.org:192.0.2.7"]),
        ({"ulimits": {"nofile": {"soft": 1024, "hard": 4096}}}, "ulimits", {"nofile": {"soft": 1024, "hard": 4096}}),
        ({"shm_size": "256m"}, "shm_size", "256m"),
        ({"stop_signal": "SIGINT"}, "stop_signal", "SIGINT"),
        ({"stop_grace_period": "2m"}, "stop_grace_period", "2m"),
        ({"working_dir": "/srv"}, "working_dir", "/srv"),
        ({"tmpfs": [TMP, "/run:uid=33"]}, "tmpfs", [TMP, "/run:uid=33"]),
        ({"read_only": False}, "read_only", False),
        ({"image": "shop/web@" + DIGEST}, "image", "shop/web@" + DIGEST),
        ({"publish": ["127.0.0.1:8000:8000"]}, "ports", ["127.0.0.1:8000:8000"]),
        ({"limits": {"cpus": 0.5, "memory": "64m"}}, "mem_limit", "64m"),
        ({"compose": {"devices": ["/dev/snd"], "cpus": 2}}, "cpus", 2),
        ({"compose": {"devices": ["/dev/snd"]}}, "devices", ["/dev/snd"]),
        ({"compose": {"tmpfs": ["/var/cache"]}}, "tmpfs", [TMP, "/var/cache"]),
        ({"compose": {"command": ["a", "$B"]}, "command": "c"}, "command", ["a", "$$B"]),
        ({"compose": {"sysctls": {"net.core.somaxconn": 1024}}}, "sysctls", {"net.core.somaxconn": 1024}),
    ],
)
def test_an_option_says_what_it_says_in_compose(more: Dict[str, Any], key: str, value: Any, tmp_path: Path) -> None:
    assert one(tmp_path, **more)[key] == value


def test_the_user_is_the_image_s_own_unless_secrets_need_an_owner(tmp_path: Path) -> None:
    assert "user" not in one(tmp_path)
    items = [
        {**WEB, "name": "a", "secrets": {"KEY": "x"}},
        {**WEB, "name": "b", "secrets": {"KEY": "x"}, "user": "999:999"},
        {**WEB, "name": "c", "secrets": {"KEY": "x"}, "user": "100:101"},
        {**WEB, "name": "d", "secrets": {"KEY": "x"}, "uid": 70},
    ]
    rendered = rolekit.component("app", tmp_path, app_services=items)
    owners = {
        path.split("/")[2]: mark.split(":")[2] for path, mark in rendered.desired.files.items() if "/secrets/" in path
    }
    assert owners == {"a": "10001", "b": "999", "c": "100", "d": "70"}
    users = {name: service.get("user") for name, service in rolekit.services(rendered)}
    assert users == {"a": "10001:10001", "b": "999:999", "c": "100:101", "d": None}


def test_environment_is_text_and_nothing_is_refused_by_name(tmp_path: Path) -> None:
    told = one(
        tmp_path, environment={"DEBUG": False, "PORT": 8000, "EMPTY": "", "PRICE": "5$", "SAD": "\U0001f622 '\""}
    )
    assert told["environment"] == {
        "DEBUG": "false",
        "PORT": "8000",
        "EMPTY": "",
        "PRICE": "5$$",
        "SAD": "\U0001f622 '\"",
    }
    for value in (None, ["a"], {"a": 1}):
        text = refusal(tmp_path, app_services=[{**WEB, "environment": {"SENTRY_DSN": value}}])
        assert "app_services: web: environment SENTRY_DSN" in text


def test_secret_variables_are_in_no_readable_file(tmp_path: Path) -> None:
    more = {"secret_environment": {"DATABASE_URL": 'postgresql://u:p$4%#"@db/x'}, "secrets": {"KEY": "y"}}
    rendered = rolekit.component("app", tmp_path, app_services=[{**WEB, **more}])
    path = "app-web/secrets/web/.env"
    assert rendered.contents[path] == b"DATABASE_URL='postgresql://u:p$4%#\"@db/x'\n"
    assert rendered.desired.files[path].split(":")[1] == "400"
    assert dict(rolekit.services(rendered))["web"]["env_file"] == ["./secrets/web/.env"]
    assert [p for p, content in rendered.contents.items() if b"p$4" in content] == [path]
    text = refusal(tmp_path, app_services=[{**WEB, "secret_environment": {"PEM": "a\nb"}}])
    assert "secret_environment PEM" in text and "by secrets" in text


def test_a_file_of_variables(tmp_path: Path) -> None:
    (tmp_path / "web.env").write_text("# note\nexport A=1 # one\nB='x #$y'\n\nC=\"z\"\n")
    rendered = rolekit.component("app", tmp_path, app_services=[{**WEB, "env_file": str(tmp_path / "web.env")}])
    assert rendered.contents["app-web/secrets/web/.env"] == b"A='1'\nB='x #$y'\nC='z'\n"
    assert "env_file" in refusal(tmp_path, app_services=[{**WEB, "env_file": "web.env"}])
    (tmp_path / "bad.env").write_text("A=1\nB=$A\n")
    text = refusal(tmp_path, app_services=[{**WEB, "env_file": [str(tmp_path / "bad.env")]}])
    assert "line 2" in text


@pytest.mark.parametrize(
    ("health", "test"),
    [
        (["pg_isready", "-q"], ["CMD", "pg_isready", "-q"]),
        (["CMD-SHELL", "a || b"], ["CMD-SHELL", "a || b"]),
        ("curl -f http://localhost/ || exit 1", ["CMD-SHELL", "curl -f http://localhost/ || exit 1"]),
        ({"exec": ["true"]}, ["CMD", "true"]),
        ("tcp", ["CMD-SHELL", "grep -qE ':1F40 [0-9A-F]+:0000 0A' /proc/net/tcp /proc/net/tcp6 2>/dev/null"]),
        ({"tcp": 80}, ["CMD-SHELL", "grep -qE ':0050 [0-9A-F]+:0000 0A' /proc/net/tcp /proc/net/tcp6 2>/dev/null"]),
    ],
)
def test_kinds_of_health(health: Any, test: Any, tmp_path: Path) -> None:
    assert one(tmp_path, health=health)["healthcheck"]["test"] == test


def test_health_over_http_names_the_host_that_the_application_answers_to(tmp_path: Path) -> None:
    item = {**WEB, "host": "shop.example.org", "ready": "/ready", "health": {"path": "/h", "port": 81, "retries": 5}}
    rendered = rolekit.component("app", tmp_path, app_services=[item])
    check = dict(rolekit.services(rendered))["web"]["healthcheck"]
    assert "127.0.0.1:81/h" in check["test"][1] and "shop.example.org" in check["test"][1] and check["retries"] == 5
    [proof] = rendered.desired.meta["prove"]
    assert (proof["path"], proof["headers"]) == ("/ready", {"Host": "shop.example.org"})


def test_nobody_can_ask_it(tmp_path: Path) -> None:
    service = one(tmp_path, health={"none": "it only listens to a queue"})
    assert service["healthcheck"] == {"disable": True}
    rendered = rolekit.component("app", tmp_path, app_services=[{**WEB, "health": {"none": "why"}}])
    assert "Nobody can ask it: why" in rolekit.text(rendered, "app-web/compose.yaml")


def test_timings_of_health_and_the_patience_that_follows(tmp_path: Path) -> None:
    more = {"health_interval": "20s", "health_timeout": "7s", "health_retries": 4, "health_start_period": "3m"}
    rendered = rolekit.component("app", tmp_path, app_services=[{**WEB, **more}])
    check = dict(rolekit.services(rendered))["web"]["healthcheck"]
    assert [check[key] for key in ("interval", "timeout", "retries", "start_period")] == ["20s", "7s", 4, "3m"]
    assert rendered.desired.meta["prove_timeout"] == 180 + 4 * 27
    assert rolekit.component("app", tmp_path, app_services=[WEB]).desired.meta["prove_timeout"] == 75


def test_depends_on_within_the_list_and_beyond_it(tmp_path: Path) -> None:
    items = [
        {**WEB, "depends_on": {"db": {"condition": "service_healthy"}, "seed": "service_completed_successfully",
                               "redis": None}},
        {"name": "db", "image": "postgres:17.1", "health": ["pg_isready"], "replicas": 1},
        {"name": "seed", "image": "shop/web:1.0", "command": ["seed"], "one_shot": True, "depends_on": ["db"]},
    ]  # fmt: skip
    rendered = rolekit.component("app", tmp_path, app_services=items)
    assert dict(rolekit.services(rendered))["seed"]["restart"] == "no"
    components = rolekit.components("app", tmp_path, app_services=items)
    assert [(one.desired.name, one.desired.meta["needs"]) for one in components] == [
        ("app-db", ["redis"]),
        ("app-seed", ["redis", {"name": "app-db", "condition": "started"}]),
        ("app-web", ["redis", "app-db", {"name": "app-seed", "condition": "completed"},
                     {"name": "redis", "condition": "started"}]),
    ]  # fmt: skip
    text = refusal(tmp_path, app_services=[{**WEB, "depends_on": ["db"]}, {**items[1], "depends_on": ["web"]}])
    assert "depends_on goes round in a circle: web -> db -> web" in text
    text = refusal(tmp_path, app_services=[{**WEB, "depends_on": ["rediss"]}])
    assert "web: depends_on rediss" in text and "did you mean redis?" in text


def test_image_with_build_is_what_compose_makes_of_it(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    build = {"context": str(tmp_path), "args": {"V": 1}}

    def image(**more: Any) -> str:
        item = {key: value for key, value in {**WEB, **more}.items() if value is not None}
        rendered = rolekit.component("app", tmp_path, app_services=[item])
        return str(dict(rolekit.services(rendered))["web"]["image"])

    tag = image(image=None, build=build).partition(":")[2]
    assert image(image="shop/web", build=build) == f"shop/web:{tag}"
    assert image(image="registry.example.org:5000/web:1.0", build=build) == f"registry.example.org:5000/web:1.0-{tag}"
    assert image(image=None, build={**build, "args": {"V": 2}}) != f"landfall/web:{tag}"
    assert image(image=None, build=str(tmp_path)).startswith("landfall/web:")


def test_what_ready_and_tcp_say_counts_as_text_too() -> None:
    asked = service_health.proofs({**WEB, "ready": {"path": "/r", "status": "204", "port": "81"}}, "web", "web")
    assert asked == [{"service": "web", "port": 81, "path": "/r", "status": 204}]
    said = service_health.of({**WEB, "health": {"tcp": "9000"}}, "web").test
    assert said == service_health.of({**WEB, "health": {"tcp": 9000}}, "web").test
    assert said != service_health.of({**WEB, "health": "tcp"}, "web").test


@pytest.mark.parametrize(
    ("item", "told"),
    [
        ({"name": "Web_App"}, ["'Web_App'", "such as web-app"]),
        ({"name": "a" * 64}, ["at most 63"]),
        ({"health": None}, ["web has no health", "/health"]),
        ({"health": "health"}, ["health is 'health'", "/health"]),
        ({"health": {"path": "/a", "tcp": True}}, ["not once"]),
        ({"health": {"none": ""}}, ["reason"]),
        ({"health": {"path": "/a", "intervall": "1s"}}, ["intervall"]),
        ({"health_interval": "10"}, ["health interval", "10s"]),
        ({"health_retries": 0}, ["health retries"]),
        ({"ready": "ready"}, ["ready 'ready' is no path"]),
        ({"ready": {"path": "/r", "status": [200, 204]}}, ["ready: status is [200, 204]", "such as 204"]),
        ({"ready": {"path": "/r", "status": "2xx"}}, ["ready: status is 2xx"]),
        ({"ready": {"path": "/r", "contains": 5}}, ["ready: contains is 5", "in quotes"]),
        ({"ready": {"path": "/r", "port": "8000/tcp"}}, ["port is 8000/tcp", "1 to 65535"]),
        ({"ready": "/ä"}, ["ready '/ä' is no path"]),
        ({"health": {"path": "/h", "port": "http"}}, ["port is http", "1 to 65535"]),
        ({"health": {"tcp": 70000}}, ["port is 70000"]),
        ({"health": {"tcp": "redis"}}, ["port is redis"]),
        ({"replicas": 0}, ["replicas is 0"]),
        ({"volumes": ["./nginx.conf:/etc/nginx/nginx.conf"]}, ["./nginx.conf", "this machine", "into the image"]),
        ({"volumes": ["data"]}, ["'data' is no mount"]),
        ({"volumes": ["/var/run/docker.sock:/var/run/docker.sock"]}, ["administrator", "docker_socket to app_allow"]),
        ({"compose": {"privileged": True}}, ["privileged to app_allow"]),
        ({"compose": {"network_mode": "host"}}, ["host_network to app_allow"]),
        ({"compose": {"container_name": "x"}}, ["compose.container_name", "use name"]),
        ({"command": "a; b"}, ["web: command", "no shell"]),
        ({"release": "bash"}, ["web: release: bash alone waits for commands", "nobody there to answer"]),
        ({"release": ["/bin/sh", "-i"]}, ["release: sh -i waits at a prompt; leave -i out"]),
        ({"release": "python manage.py collectstatic"}, ["release: collectstatic asks", "add --noinput"]),
        ({"release": ["python", "manage.py", "shell"]}, ["release: shell waits at a prompt"]),
        ({"command": "a 'b"}, ["web: command", "open quote"]),
        ({"secrets": {"KEY": None}}, ["secret KEY is no text"]),
        ({"secrets": {"../x": "a"}}, ["secret ../x is no name"]),
        ({"depends_on": {"web2": "service_heathy"}}, ["no condition service_heathy"]),
        ({"host": "a b"}, ["host 'a b'"]),
        ({"build": {"context": "/nowhere-at-all"}}, ["web", "/nowhere-at-all is not a folder"]),
        ({"build": "./shop"}, ["web: build: './shop' is no folder of this machine by its whole path", "inventory_dir"]),
        ({"build": "https://github.com/x/y.git"}, ["is no folder of this machine"]),
        ({"build": {"contxt": "/x"}}, ["build.contxt", "did you mean context?"]),
        ({"build": {"context": "/", "args": ["A=1"]}}, ["build.args: is no map"]),
        ({"build": {"context": "/", "secrets": ["npm"]}}, ["build.secrets", "docker build --secret", "stay readable"]),
        ({"build": {"context": "/", "ssh": ["default"]}}, ["build.ssh", "push it to a registry"]),
        ({"build": {"context": "/", "platforms": ["linux/arm64"]}}, ["build.platforms", "by platform"]),
        ({"build": {"context": "/", "dockerfile_inline": "FROM a"}}, ["dockerfile_inline", "by dockerfile"]),
        ({"limits": {"memory": 128}}, ["limits.memory: 128 is less than the 6m", "a number alone is bytes"]),
        ({"jobs": [{"name": "a", "command": ["x"], "schedule": "daily", "limits": {"memory": "5m"}}]}, ["job a", "6m"]),
        ({"depends_on": ["web"]}, ["a service cannot wait for itself"]),
        ({"metrics": {"port": 80, "job": 'a"b'}}, ["metrics.job: 'a\"b' has a quote", "name the job without"]),
        ({"cap_add": ["CHOWNN"]}, ["there is no capability CHOWNN; did you mean CHOWN?"]),
    ],
)
def test_refused_with_the_item_and_what_is_right(item: Dict[str, Any], told: Any, tmp_path: Path) -> None:
    text = refusal(tmp_path, app_services=[{**WEB, **item}])
    assert "app_services: " in text
    for word in told:
        assert word in text, text


@pytest.mark.parametrize(
    ("item", "switch"),
    [
        ({"compose": {"privileged": True}}, "privileged"),
        ({"compose": {"network_mode": "host"}}, "host_network"),
        ({"compose": {"pid": "host"}}, "host_pid"),
        ({"volumes": ["/var/run/docker.sock:/var/run/docker.sock:ro"]}, "docker_socket"),
        ({"volumes": ["/run/docker.sock:/x"]}, "docker_socket"),
        ({"volumes": ["/var/run:/x"]}, "docker_socket"),
        ({"volumes": ["//run/./docker.sock:/x"]}, "docker_socket"),
        ({"volumes": ["/run/containerd:/x:ro"]}, "docker_socket"),
        ({"compose": {"volumes": ["/var/run/docker.sock:/x"]}}, "docker_socket"),
        ({"compose": {"volumes": [{"type": "bind", "source": "/run", "target": "/x"}]}}, "docker_socket"),
        ({"volumes": ["/:/host:ro"]}, "host_files"),
        ({"volumes": ["/etc:/host:ro"]}, "host_files"),
        ({"volumes": ["/etc/cron.d:/host"]}, "host_files"),
        ({"volumes": ["/root/../etc/ssh:/host"]}, "host_files"),
        ({"volumes": ["/var/lib/docker/volumes:/v"]}, "host_files"),
        ({"compose": {"devices": ["/dev/sda:/dev/sda"]}}, "host_files"),
        ({"cap_add": ["ALL"]}, "host_rights"),
        ({"cap_add": ["cap_sys_admin"]}, "host_rights"),
        ({"compose": {"cap_add": ["SYS_MODULE"]}}, "host_rights"),
        ({"compose": {"ipc": "host"}}, "host_rights"),
        ({"compose": {"device_cgroup_rules": ["a *:* rwm"]}}, "host_rights"),
    ],
)
def test_what_is_dangerous_needs_its_name(item: Dict[str, Any], switch: str, tmp_path: Path) -> None:
    text = refusal(tmp_path, app_services=[{**WEB, **item}])
    assert f"if that is meant, add {switch} to app_allow" in text and "app_services: web: " in text
    rolekit.component("app", tmp_path, app_services=[{**WEB, **item}], app_allow=[switch])
    assert switch in rolekit.options("app")["app_allow"]["choices"]


@pytest.mark.parametrize(
    "item",
    [
        {"volumes": ["/etc/localtime:/etc/localtime:ro", "/etc/ssl/certs:/etc/ssl/certs:ro,z"]},
        {"volumes": ["/srv/shop:/srv/shop", "/var/lib/shop:/data", "/home/shop/media:/media", "/runs:/runs"]},
        {"volumes": ["/dev/shm:/dev/shm", "etc:/etc/shop"]},  # noqa: S108 - of the VPS
        {"cap_add": ["NET_ADMIN", "cap_net_bind_service", "SYS_PTRACE"]},
        {"compose": {"devices": ["/dev/net/tun", "/dev/snd:/dev/snd"]}},
        {"compose": {"ipc": "shareable", "network_mode": "none"}},
        {"compose": {"deploy": {"resources": {"reservations": {"devices": [{"capabilities": ["gpu"]}]}}}}},
    ],
)
def test_what_is_not_dangerous_needs_no_name(item: Dict[str, Any], tmp_path: Path) -> None:
    assert one(tmp_path, **item)


@pytest.mark.parametrize(
    ("item", "told"),
    [
        ({"working_dir": "srv"}, "app_services[0].working_dir: 'srv' is no absolute path"),
        ({"stop_signal": "TERM now"}, "app_services[0].stop_signal: 'TERM now' is no signal"),
        ({"extra_hosts": ["db"]}, "app_services[0].extra_hosts[0]: 'db' is no name of a machine with its address"),
        ({"shm_size": "much"}, "app_services[0].shm_size: 'much' is no size here"),
    ],
)
def test_refused_with_the_inventory(item: Dict[str, Any], told: str, tmp_path: Path) -> None:
    [fault] = inventories.faults(inventories.written(tmp_path, {"app_services": [{**WEB, **item}], **ALONE}))
    assert fault.startswith(told)


@pytest.mark.parametrize(
    "item",
    [
        {"stop_signal": 15},
        {"stop_signal": "SIGRTMIN+3"},
        {"extra_hosts": ["a=2001:db8::1", "b:[::1]", "host.docker.internal:host-gateway"]},
        {"replicas": "2"},
        {"compose": {"deploy": {"resources": {"reservations": {"devices": [{"count": 1, "capabilities": ["gpu"]}]}}}}},
        {"compose": {"volumes": [{"type": "tmpfs", "target": "/x", "tmpfs": {"size": 1000}}]}},
    ],
)
def test_taken_with_the_inventory(item: Dict[str, Any], tmp_path: Path) -> None:
    values = {"app_services": [{**WEB, **item}], "caddy_app_host": "shop.example.org", **ALONE}
    folder = inventories.written(tmp_path, values)
    assert inventories.faults(folder) == []
    for _name, service in rolekit.services(inventories.rendered(folder, "app")):
        assert isinstance(service.get("stop_signal", ""), str)


def test_a_port_for_everybody_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr("ansible.utils.display.Display.warning", lambda _self, text, *_a, **_k: said.append(text))
    one(tmp_path, publish=["0.0.0.0:8080:80", "127.0.0.1:81:81"])
    assert said == []
    one(tmp_path, publish=["8080:80"])
    assert "web opens port 8080" in said[0] and "127.0.0.1:8080:80" in said[0]


def test_switched_off_nothing_is_asked(tmp_path: Path) -> None:
    rolekit.component("app", tmp_path, app_services=[], app_enabled="false")
    rolekit.component("celery", tmp_path, app_services=[WEB], celery_enabled="false")


def test_each_service_is_a_component_of_its_own_and_a_context_is_built_once(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    build = {"context": str(tmp_path)}
    items = [
        {**WEB, "image": "shop/web", "build": build, "volumes": ["files:/srv"], "secrets": {"KEY": "x"}},
        {**WEB, "name": "app-worker", "image": "shop/web", "build": build, "volumes": ["files:/srv"], "replicas": 2},
    ]
    web, worker = rolekit.components("app", tmp_path, app_services=items)
    assert (web.desired.name, worker.desired.name) == ("app-web", "app-worker")
    assert [one.desired.meta["project"] for one in (web, worker)] == ["app_web", "app_worker"]
    assert [one.desired.meta["role"] for one in (web, worker)] == ["app", "app"]
    assert list(web.desired.containers) == ["web"] and "app-web/secrets/web/key" in web.contents
    assert list(worker.desired.containers) == ["app-worker-1", "app-worker-2"]
    assert not [path for path in worker.contents if "/secrets/" in path]
    assert len({c.image for one in (web, worker) for c in one.desired.containers.values()}) == 1
    owners = [one.desired.meta.get("volume_owners", []) for one in (web, worker)]
    assert [item["volume"] for item in owners[0]] == ["files"] and owners[1] == []
    text = refusal(tmp_path, app_services=[WEB, {**WEB, "name": "app-web"}])
    assert "app-web and web would both be the component app-web" in text
    text = refusal(tmp_path, app_services=[{**WEB, "compose": {"network_mode": "service:vpn"}}])
    assert "write container:vpn" in text
    assert "app_services is empty; set app_enabled to false" in refusal(tmp_path, app_services=[])
