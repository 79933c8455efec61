"""The peers of the benchmark, made from what Landfall deployed, so that all three run the very same services."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from . import vps
from .paths import ROOT, run

Service = dict[str, Any]
LIVE = "/opt/landfall"
HEALTH = ("test", "interval", "timeout", "retries", "start_period", "start_interval")
# Found in no compose file here because the engine knows it; by hand one writes depends_on
BROKER_USERS = ("app", "celery", "redis-exporter")


def compose_files(host: str) -> dict[str, dict[str, Any]]:
    """Return component -> its compose file as Compose itself reads it, in the order of site.yml."""
    play = yaml.safe_load((ROOT / "site.yml").read_text())[0]
    live = [path.split("/")[-2] for path in vps.ssh(host, f"sudo sh -c 'ls -d {LIVE}/*/compose.yaml'").split()]
    found = {}
    for role in (task["ansible.builtin.import_role"]["name"] for task in play["tasks"]):
        # No role has a hyphen in its name: what follows one is a service of a role with several
        for component in (name for name in live if name.partition("-")[0] == role):
            path = f"{LIVE}/{component}/compose.yaml"
            found[component] = json.loads(vps.ssh(host, f"sudo docker compose -f {path} config --format json"))
    return found


def _moved(value: Any, root: str) -> Any:
    return json.loads(json.dumps(value).replace(f"{LIVE}/", f"{root}/"))


def by_hand(files: dict[str, dict[str, Any]], root: str, subnet: str) -> str:
    """Return one compose file with all services, as somebody who needs no Ansible would write it.

    :param files: what compose_files() returned
    :param root: folder of the copied configuration
    :param subnet: address range of the network, whose gateway a service may listen on
    """
    merged: dict[str, Any] = {"name": "byhand", "services": {}, "volumes": {}, "networks": {}}
    for content in files.values():
        merged["services"].update(_moved(content["services"], root))
        # External for each component, since the engine makes them; here Compose does
        merged["volumes"].update({name: {"name": v["name"]} for name, v in (content.get("volumes") or {}).items()})
        for name in content.get("networks") or {}:
            merged["networks"][name] = {"name": name, "ipam": {"config": [{"subnet": subnet}]}}
    for name, service in merged["services"].items():
        if name.startswith(BROKER_USERS) and "redis" in merged["services"]:
            service["depends_on"] = {"redis": {"condition": "service_healthy"}}
    return str(yaml.safe_dump(merged, sort_keys=False))


def _bind(volume: dict[str, Any], names: dict[str, Any]) -> str:
    source = volume["source"]
    if volume["type"] == "volume":
        source = names[source].get("name", source)
    mode = "ro" if volume.get("read_only") else "rw"
    propagation = (volume.get("bind") or {}).get("propagation")
    return f"{source}:{volume['target']}:{mode}" + (f",{propagation}" if propagation else "")


def _container(service: Service, names: dict[str, Any], root: str, config: str) -> dict[str, Any]:
    """Return the arguments of community.docker.docker_container for one service."""
    # Compose writes a dollar sign twice, for its own reader
    service = json.loads(json.dumps(_moved(service, root)).replace("$$", "$"))
    check = service["healthcheck"]
    arguments: dict[str, Any] = {
        "name": service["container_name"],
        "image": service["image"],
        "pull": "never",
        "restart_policy": "unless-stopped",
        "init": service.get("init", False),
        "user": service.get("user"),
        "read_only": service.get("read_only"),
        "privileged": service.get("privileged"),
        "cap_drop": service.get("cap_drop"),
        "capabilities": service.get("cap_add"),
        "security_opts": service.get("security_opt"),
        "devices": [f"{d['source']}:{d['target']}:{d['permissions']}" for d in service.get("devices") or []] or None,
        "cpus": float(service["cpus"]),
        "memory": str(service["mem_limit"]),
        "log_driver": service["logging"]["driver"],
        "log_options": service["logging"]["options"],
        "command": service.get("command"),
        "entrypoint": service.get("entrypoint"),
        "env": {key: str(value) for key, value in (service.get("environment") or {}).items()} or None,
        "volumes": [_bind(volume, names) for volume in service.get("volumes") or []] or None,
        "tmpfs": service.get("tmpfs"),
        "pid_mode": service.get("pid"),
        "published_ports": [
            f"{port.get('host_ip', '0.0.0.0')}:{port['published']}:{port['target']}"  # noqa: S104 - Compose's default
            for port in service.get("ports") or []
        ]
        or None,
        "healthcheck": {key: value for key, value in check.items() if key in HEALTH},
        "restart": f"{{{{ {config} is changed }}}}",
    }  # fmt: skip
    if service.get("network_mode") == "host":
        arguments["network_mode"] = "host"
    else:
        arguments |= {"networks": [{"name": name} for name in service["networks"]], "networks_cli_compatible": True,
                      "hostname": service.get("hostname")}  # fmt: skip
    return {key: value for key, value in arguments.items() if value is not None}


def ordinary_role(files: dict[str, dict[str, Any]], fetched: Path, root: str, subnet: str) -> str:
    """Return a playbook with one task per step: folders, templates, secrets, container, wait until it is healthy.

    :param files: what compose_files() returned
    :param fetched: folder on this machine with the configuration that Landfall rendered, wrapped as templates
    :param root: folder on the VPS
    :param subnet: address range of the network
    """
    tasks: list[dict[str, Any]] = [
        {
            "name": "Network",
            "community.docker.docker_network": {"name": "landfall", "ipam_config": [{"subnet": subnet}]},
        }
    ]
    for component, content in files.items():
        variable = component.replace("-", "_") + "_config"
        paths = sorted(
            path.relative_to(fetched / component) for path in (fetched / component).rglob("*") if path.is_file()
        )
        folders = sorted({str(path.parent) for path in paths if str(path.parent) != "."})
        if folders:
            tasks.append({"name": f"{component}: folders", "loop": folders, "ansible.builtin.file": {
                "path": f"{root}/{component}/{{{{ item }}}}", "state": "directory", "mode": "0755"}})  # fmt: skip
        # Each secret's owner is who the service runs as
        service = next(iter(content["services"].values()))
        owner = str(service.get("user", "0")).split(":")[0]
        plain = [str(path) for path in paths if path.parts[0] not in {"secrets", "compose.yaml"}]
        secret = [str(path) for path in paths if path.parts[0] == "secrets"]
        for kind, names, mode in (("configuration", plain, "0644"), ("secrets", secret, "0400")):
            if names:
                tasks.append({
                    "name": f"{component}: {kind}", "loop": names, "no_log": kind == "secrets",
                    "register": variable if kind == "configuration" else variable + "_secrets",
                    "ansible.builtin.template": {
                        "src": f"{fetched}/{component}/{{{{ item }}}}", "dest": f"{root}/{component}/{{{{ item }}}}",
                        "mode": mode, "owner": owner if kind == "secrets" else "root"},
                })  # fmt: skip
        if not plain:
            tasks.append(
                {"name": f"{component}: no configuration", "ansible.builtin.set_fact": {variable: {"changed": False}}}
            )
        for entry in content["services"].values():
            name = entry["container_name"]
            arguments = _container(entry, content.get("volumes") or {}, root, variable)
            tasks.append({"name": f"{name}: container", "community.docker.docker_container": arguments})
            tasks.append({
                "name": f"{name}: healthy", "community.docker.docker_container_info": {"name": name},
                "register": "info", "retries": 120, "delay": 1,
                "until": "info.container.State.Health.Status == 'healthy'"})  # fmt: skip
    play = {"name": "The same services as an ordinary role", "hosts": "all", "gather_facts": False, "become": True}
    return str(yaml.safe_dump([{**play, "tasks": tasks}], sort_keys=False, width=1000))


def fetch(host: str, target: Path) -> None:
    """Copy what lies under /opt/landfall to this machine, each text wrapped so that templating leaves it as it is."""
    archive = run("ssh", "-F", str(vps.SSH_CONFIG), host,
                      f"sudo tar -C {LIVE} --exclude=.state --exclude=docker -cf - . | base64 -w0")  # fmt: skip
    target.mkdir(parents=True, exist_ok=True)
    run("sh", "-c", f"base64 -d | tar -C '{target}' -xf - --no-same-owner", stdin=archive.encode())
    run("chmod", "-R", "u+rwX", str(target))
    for path in target.rglob("*"):
        if path.is_file():
            path.write_text("{% raw %}" + path.read_text() + "{% endraw %}")
