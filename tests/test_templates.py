"""Every component's compose file obeys the rules of docs/architecture.md, checked as rendered, without a host."""

from __future__ import annotations

import ipaddress
import re
import tempfile
from functools import cache
from pathlib import Path
from typing import Any, Dict, Iterator, List

import pytest
import yaml

from tests import rolekit

# (service, rule) -> why it cannot obey. Everything else must.
EXEMPT = {
    ("node-exporter", "network"): "sees the host's own network devices; listens on the bridge's gateway alone",
    ("alloy", "socket"): "asks the engine which container a log belongs to",
    ("alloy", "user"): "the engine's log files belong to root",
    ("caddy", "user"): "upstream's image keeps its volume for root; every capability but that for low ports is dropped",
    ("backup", "user"): "reads the files of volumes, whoever owns them",
    ("backup", "network"): "sends backups away by the engine's own bridge, where no container of the stack is",
    ("backup", "restart"): "runs to its end",
    ("backup", "health"): "runs to its end",
    ("backup", "mount"): "a repository on a disk of the VPS is written to",
    ("cadvisor", "user"): "reads what belongs to root: cgroups, the engine's folder and socket",
}
# Single files of the host that nobody ever replaces, so that a mount of the file itself does not go stale.
FIXED_FILES = ("/var/run/docker.sock", "/etc/machine-id", "/dev/kmsg")


@cache
def _default(role: str) -> rolekit.Rendered:
    """The role as the least inventory that has it renders it. The run's passwords are thrown away with their folder."""
    return rolekit.deployed(role, _SECRETS)


_FOLDER = tempfile.TemporaryDirectory()
_SECRETS = Path(_FOLDER.name)


@pytest.fixture(params=rolekit.component_names())
def rendered(request: pytest.FixtureRequest) -> rolekit.Rendered:
    return _default(request.param)


def _each(rendered: rolekit.Rendered, rule: str) -> Iterator[tuple[str, Dict[str, Any]]]:
    for name, service in rolekit.services(rendered):
        if (name, rule) not in EXEMPT:
            yield name, service


def test_identity(rendered: rolekit.Rendered) -> None:
    for path in [path for path in rendered.contents if path.endswith("/compose.yaml")]:
        folder, project = path.split("/")[0], yaml.safe_load(rolekit.text(rendered, path))["name"]
        # One of several that a role deploys is called after both, as <role>_<name>
        own = folder == rendered.desired.name
        assert project == (folder.replace("_", "-") if own else folder.replace("-", "_", 1)), path
    for name, service in rolekit.services(rendered):
        assert service["container_name"] == name
        assert service["restart"] == ("no" if (name, "restart") in EXEMPT else "unless-stopped")


def test_limits_and_logging(rendered: rolekit.Rendered) -> None:
    for name, service in rolekit.services(rendered):
        assert float(service["cpus"]) > 0, name
        assert service["mem_limit"], name
        assert service["logging"] == {"driver": "json-file", "options": {"max-size": "10m", "max-file": "3"}}, name


def test_hardening(rendered: rolekit.Rendered) -> None:
    for name, service in rolekit.services(rendered):
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert not service.get("privileged") or (name, "privileged") in EXEMPT, name
    for name, service in _each(rendered, "read_only"):
        assert service["read_only"] is True, name
    for name, service in _each(rendered, "socket"):
        assert "docker.sock" not in str(service.get("volumes")), name
    for name, service in _each(rendered, "user"):
        assert str(service["user"]).split(":")[0] not in ("0", "root"), name


def test_health_is_asked_and_found_fast(rendered: rolekit.Rendered) -> None:
    for name, service in _each(rendered, "health"):
        check = service["healthcheck"]
        assert check["test"][0] in ("CMD", "CMD-SHELL"), name
        assert {"interval", "timeout", "retries", "start_period", "start_interval"} <= set(check), name


def test_network(rendered: rolekit.Rendered) -> None:
    document = rolekit.compose(rendered)
    for name, service in _each(rendered, "network"):
        assert list(service["networks"]) == ["landfall"], name
        assert service["hostname"] == name
        assert "network_mode" not in service, name
        assert document["networks"] == {"landfall": {"external": True}}


def test_nothing_is_published_beyond_loopback(rendered: rolekit.Rendered) -> None:
    for name, service in rolekit.services(rendered):
        for port in service.get("ports", []):
            if name == "caddy" and port in (
                "80:80",
                "443:443",
                "443:443/udp",
            ):  # the proxy is what the outside may reach
                continue
            host = str(port).rsplit(":", 2)[0]
            assert ipaddress.ip_address(host).is_loopback, port


def test_directories_are_mounted_never_files(rendered: rolekit.Rendered) -> None:
    folders = {str(parent) for path in rendered.contents for parent in Path(path).parents}
    folders |= {f"{rendered.desired.name}/{place}" for place in rendered.desired.meta["drop_ins"]}
    folders.add(f"{rendered.desired.name}/secrets")  # may be empty
    volumes = rolekit.compose(rendered).get("volumes") or {}
    for name, service in rolekit.services(rendered):
        for volume in service.get("volumes", []):
            source, target, *flags = volume.split(":")
            assert target.startswith("/"), volume
            if source.startswith("."):
                homes = {path.split("/")[0] for path in rendered.contents if path.endswith("/compose.yaml")}
                assert {str(Path(home, source)) for home in homes} & folders, f"{name} mounts {source}"
                assert flags and "ro" in flags[0].split(","), volume
            elif source.startswith("/"):
                assert source in FIXED_FILES or not Path(source).suffix, volume
                assert (name, "mount") in EXEMPT or (flags and "ro" in flags[0].split(",")), volume
            else:
                assert (volumes[source] or {}).get("name") == source, "volumes have fixed names"


def test_secrets_stay_in_their_files(rendered: rolekit.Rendered) -> None:
    secrets = {
        word for path, content in rendered.contents.items() if "/secrets/" in path for word in _words(content.decode())
    }
    for path, content in rendered.contents.items():
        mode, uid = rendered.desired.files[path].split(":")[1:]
        if "/secrets/" in path:
            assert (mode, uid) == ("400", str(rendered.desired.meta["uid"])), path
            continue
        for secret in secrets:
            assert secret not in content.decode(), f"{path} holds a secret"


def _words(text: str) -> List[str]:
    """Generated passwords, and what is made from them: long runs of letters and digits."""
    run = "".join(letter if letter.isalnum() else " " for letter in text)
    return [word for word in run.split() if len(word) >= 32]


def test_exemptions_are_still_needed() -> None:
    names = {name for role in rolekit.component_names() for name, _service in rolekit.services(_default(role))}
    assert {name for name, _rule in EXEMPT} <= names


def test_container_names_are_unique() -> None:
    names = [name for role in rolekit.component_names() for name, _service in rolekit.services(_default(role))]
    assert sorted(names) == sorted(set(names))


def test_refusals_are_printed_not_assigned() -> None:
    """Templating keeps errors until a value is used: a refusal that is assigned and not used never refuses."""
    assigned = re.compile(r"{%-?\s*set _ =(?:(?!%}).)*landfall\.vps\.refuse", re.DOTALL)
    for path in sorted(rolekit.ROLES.glob("*/templates/**/*.j2")):
        assert not assigned.search(path.read_text(encoding="utf-8")), f"{path}: write {{{{ … }}}}"
