"""One service of a Compose project as an item of app_services; what does not fit becomes a note with its line."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.landfall.vps.plugins.plugin_utils import dangers
from ansible_collections.landfall.vps.plugins.plugin_utils.service_lines import ServiceError

from scripts.van import asked, celery, files, kinds, secrets
from scripts.van import once as once_only
from scripts.van.commands import Commands
from scripts.van.hosts import Hosts
from scripts.van.keys import COMPOSE, SAME, SILENT
from scripts.van.mounts import Mounts
from scripts.van.notes import Notes
from scripts.van.proxies import Site

# What Docker gives every container and an image that starts as root and changes its user needs
STARTERS = ["CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"]
ALLOWED = re.compile(r"(?:ALLOWED|TRUSTED)_HOSTS")


class Items:
    """Makes items; what all of them share."""

    def __init__(
        self, project: Any, notes: Notes, sites: Sequence[Site], secret_of: Any, rename: Any, names: Mapping[str, str]
    ) -> None:
        self.project, self.notes, self.sites = project, notes, sites
        self.secret_of, self.rename = secret_of, rename
        self.hosts = Hosts(notes, names, project.line)
        self.commands = Commands(notes, rename, secret_of)
        """``secret_of(service, variable, value)`` is what stands for a secret, ``rename(service, variable, value)`` the
        value with names of servers as they are here, or None."""

    def item(self, name: str, service: Mapping[str, Any], new_name: str, known: Mapping[str, str]) -> dict[str, Any]:
        """The item of one service.

        :param known: services that may be named in ``depends_on``, with their names here
        """
        once = self._once(name, service)
        found: dict[str, Any] = {"name": new_name, **self._image(name, service)}
        if service.get("command"):
            found["command"] = list(service["command"])
        found.update({key: service[key] for key in SAME if service.get(key)})
        port = 0 if once else asked.port_of(name, service, self.sites)
        if port:
            found["port"] = port
        found.update(asked.health(name, service, found, once))
        found.update(self._host(name, service))
        if not once and port:
            found.update(self._metrics(service, port))
        found.update(self._environment(name, service))
        self._allow_scrapes(name, found)
        if found.get("command"):
            given = service.get("environment") or {}
            self.commands.adapt(name, found, given, self.project.line(name, "command"))
        if celery.recognise(kinds.argv(service)) is None:
            self.hosts.adapt(name, found, service)
        mounts = Mounts(self.project, self.notes).of(name, service)
        found.update({"volumes": mounts} if mounts else {})
        memory = [str(one["target"]) for one in service.get("volumes") or [] if one.get("type") == "tmpfs"]
        if [one for one in memory if one != "/tmp"]:  # noqa: S108 - which every service has
            found["tmpfs"] = [*dict.fromkeys([*(found.get("tmpfs") or ["/tmp"]), *memory])]  # noqa: S108 - the default
        mounted = {**(found.get("secrets") or {}), **self._files(name, service)}
        found.update({"secrets": mounted} if mounted else {})
        if any(key in found for key in ("secrets", "secret_environment")) and not re.match(
            r"\d", found.get("user", "")
        ):
            found["uid"] = 0  # Compose reads variables, and an image that starts as root reads its files
            if "secrets" in found and found.get("user", "root").split(":")[0] not in ("root", "0"):
                self.notes.add(
                    "hand",
                    self.project.line(name, "user"),
                    name,
                    f"uid: the number of {found['user']}, who reads its secrets",
                )
        found.update(self._publish(name, service, port))
        found.update(self._limits(service))
        depends = {
            known[one]: said["condition"] for one, said in (service.get("depends_on") or {}).items() if one in known
        }
        found.update({"depends_on": depends} if depends else {})
        for one in sorted(set(service.get("depends_on") or {}) - set(known) - set(self.project.left)):
            self.notes.add(
                "left",
                self.project.line(name, "depends_on", one) or self.project.line(name, "depends_on"),
                name,
                f"depends_on {one}, which is no service of app_services here",
            )
        if once:
            found["one_shot"] = True
        if service.get("read_only") is not True:
            found["read_only"] = False
        found.update(self._rights(service))
        found.update(self._rest(name, service))
        self._without_dangers(name, found)
        return found

    def _without_dangers(self, name: str, found: dict[str, Any]) -> None:
        """Take out what would give the service the VPS, which the role refuses without its switch."""
        compose = found.get("compose") or {}
        for holder, key in ((found, "volumes"), (found, "cap_add"), (compose, "devices"), (compose, "ipc")):
            values = holder.get(key) or []
            for value in values if isinstance(values, list) else [values]:
                one = {key: [value]} if holder is found else {"compose": {key: [value] if key == "devices" else value}}
                try:
                    risks = list(dangers.found(one, name))
                except ServiceError as error:
                    risks = [("", str(error))]
                for switch, what in risks:
                    meant = f"if that is meant, add {switch} to app_allow and {value} to its {key}" if switch else ""
                    told = f"{what or value} gives it {dangers.DANGERS[switch]}; {meant}" if switch else what
                    line = self.project.line(name, key, str(value).split(":", maxsplit=1)[0])
                    self.notes.add("hand", line or self.project.line(name, key), name, told)
                if risks and isinstance(values, list):
                    holder[key] = [kept for kept in holder[key] if kept != value]
                elif risks:
                    del holder[key]
            if key in holder and not holder[key]:
                del holder[key]
        if "compose" in found and not compose:
            del found["compose"]

    def _once(self, name: str, service: Mapping[str, Any]) -> bool:
        waited = any(
            (other.get("depends_on") or {}).get(name, {}).get("condition") == "service_completed_successfully"
            for other in self.project.services.values()
        )
        policy = ((service.get("deploy") or {}).get("restart_policy") or {}).get("condition")
        restarts = "no" if policy == "none" else policy or str(service.get("restart"))
        migrates = restarts == "on-failure" and once_only.is_migration(kinds.argv(service), name)
        return waited or migrates or (restarts in ("no", "False") and not service.get("ports"))

    def _image(self, name: str, service: Mapping[str, Any]) -> dict[str, Any]:
        image, build = str(service.get("image") or ""), service.get("build")
        if build:
            kept = {key: build[key] for key in ("context", "dockerfile", "target") if build.get(key)}
            if kept.get("dockerfile") == "Dockerfile":
                del kept["dockerfile"]
            arguments = {key: value for key, value in (build.get("args") or {}).items() if value is not None}
            for key in sorted(
                set(build) - {"context", "dockerfile", "target", "args", "cache_from", "tags", "pull", "labels"}
            ):
                self.notes.add("hand", self.project.line(name, "build", key), name, f"build.{key} has no counterpart")
            return {"build": {**kept, **({"args": arguments} if arguments else {})}}
        tag = image.rpartition("/")[2].partition(":")[2]
        if "@" not in image and tag in ("", "latest"):
            self.notes.add(
                "hand",
                self.project.line(name, "image"),
                name,
                f"image {image} has no exact tag, so it may be another one tomorrow; name one with "
                f"--image {image}={image.partition(':')[0]}:1.2.3",
            )
        return {"image": image}

    def _host(self, name: str, service: Mapping[str, Any]) -> dict[str, Any]:
        public = [site.host for site in self.sites if site.service == name and site.public]
        environment = service.get("environment") or {}
        allowed = [str(value) for key, value in environment.items() if ALLOWED.search(key)]
        hosts = (
            re.findall(r"[A-Za-z0-9][A-Za-z0-9.-]*", " ".join(allowed))
            if not any("*" in one for one in allowed)
            else []
        )
        if not hosts:
            return {}
        return {
            "host": next(
                (host for host in [*public, *hosts] if host in hosts or f".{host.split('.', 1)[-1]}" in hosts), hosts[0]
            )
        }

    def _metrics(self, service: Mapping[str, Any], port: int) -> dict[str, Any]:
        command, _script = kinds.command_of(service)
        if command and command.kind == "flower":
            return {"metrics": {"port": port, "kind": "none"}}  # its own, whatever the application counts
        kind = files.Dockerfile(service.get("build")).metrics()
        return {"metrics": {"port": port, "kind": kind}} if kind else {}

    def _allow_scrapes(self, name: str, found: dict[str, Any]) -> None:
        """Prometheus asks by the service's own name, which an application that checks Host has to allow."""
        for key in ("environment", "secret_environment"):
            for variable, value in (found.get(key) or {}).items():
                if "metrics" in found and "host" in found and ALLOWED.search(variable) and found["name"] not in value:
                    sign = "," if "," in value or " " not in value else " "
                    found[key][variable] = f"{value}{sign}{found['name']}"
                    self.notes.add(
                        "changed",
                        self.project.line(name, "environment", variable),
                        name,
                        f"{variable} got {found['name']}, by which Prometheus asks for its metrics",
                    )

    def _environment(self, name: str, service: Mapping[str, Any]) -> dict[str, Any]:
        plain: dict[str, str] = {}
        hidden: dict[str, str] = {}
        apart: dict[str, str] = {}
        for key, value in (service.get("environment") or {}).items():
            text = "" if value is None else str(value)
            if value is None:
                self.notes.add(
                    "hand", self.project.line(name, "environment", key), name, f"{key} has no value here; it is empty"
                )
            renamed = self.rename(name, key, text)
            if renamed is not None:
                (hidden if "{{" in renamed else plain)[key] = renamed
            elif secrets.is_secret(key, text):
                (hidden if secrets.fits_variable(text) else apart)[key] = self.secret_of(name, key, text)
                if key in apart:
                    self.notes.add(
                        "hand",
                        self.project.line(name, "environment", key),
                        name,
                        f"{key} has a quote ', a backslash or a line break, which no such variable can hold: it is "
                        f"/run/secrets/{key.lower()} here, which {key}_FILE names; let the application read that",
                    )
            else:
                plain[key] = text
        return {
            **({"environment": plain} if plain else {}),
            **({"secret_environment": hidden} if hidden else {}),
            **({"secrets": apart} if apart else {}),
        }

    def _files(self, name: str, service: Mapping[str, Any]) -> dict[str, str]:
        found: dict[str, str] = {}
        for one in service.get("secrets") or []:
            source, where = one["source"], self.project.line(name, "secrets", one["source"])
            said = self.project.top["secrets"].get(source, {})
            content = self.project.secret(source)
            target = str(one.get("target") or source).rpartition("/")[2]
            key = target.upper().replace("-", "_").replace(".", "_")
            renamed = self.rename(name, key, (content or "").strip())
            if content is None and not renamed:
                file = str(said.get("file", "")).rpartition("/")[2]
                why = f"its file {file} is not there" if file else "its value is not in the project"
                self.notes.add("hand", where, name, f"secret {source}: {why}; fill in its value in vault.yml")
            template = bool(renamed and "{{" in renamed)
            found[key] = str(renamed) if template else self.secret_of(name, key, renamed or content or "")
            if key.lower() != target:
                self.notes.add(
                    "hand",
                    where,
                    name,
                    f"secret {source} is at /run/secrets/{key.lower()} here, not /run/secrets/{target}",
                )
        for one in service.get("configs") or []:
            self.notes.add(
                "hand", self.project.line(name, "configs"), name, f"config {one['source']}: put the file into the image"
            )
        return found

    def _publish(self, name: str, service: Mapping[str, Any], port: int) -> dict[str, Any]:
        proxied = any(site.service == name for site in self.sites)
        found = []
        for one in service.get("ports") or []:
            text = f"{one.get('published') or '-'}:{one['target']}"
            where = self.project.line(name, "ports")
            if one.get("host_ip", "0.0.0.0").startswith("127."):  # noqa: S104 - Compose's own default
                found.append(f"127.0.0.1:{text}")
            elif proxied or (int(one["target"]) == port and one.get("protocol", "tcp") == "tcp"):
                self.notes.add(
                    "changed",
                    where,
                    name,
                    f"port {text} is not open to everybody: the proxy leads to it once it has a name "
                    "(caddy_app_host, caddy_sites)",
                )
            else:
                self.notes.add(
                    "hand",
                    where,
                    name,
                    f'port {text} was open to everybody; if that is meant: publish: ["0.0.0.0:{text}"]',
                )
        return {"publish": found} if found else {}

    def _limits(self, service: Mapping[str, Any]) -> dict[str, Any]:
        deploy = service.get("deploy") or {}
        limits = (deploy.get("resources") or {}).get("limits") or {}
        memory = str(limits.get("memory") or service.get("mem_limit") or "0").lower()
        cpus = float(limits.get("cpus") or service.get("cpus") or 0)
        found = {**({"cpus": cpus} if cpus else {}), **({"memory": memory} if not memory.startswith("0") else {})}
        count = int(deploy.get("replicas") or service.get("scale") or 1)
        return {**({"limits": found} if found else {}), **({"replicas": count} if count > 1 else {})}

    def _rights(self, service: Mapping[str, Any]) -> dict[str, Any]:
        """Capabilities of an image that starts as root; those of another one need none."""
        user = str(service.get("user") or files.Dockerfile(service.get("build")).user)
        dropped = "ALL" in [str(one).upper() for one in service.get("cap_drop") or []]
        if dropped or (user and user.split(":", maxsplit=1)[0] not in ("root", "0")):
            return {}
        return {"cap_add": sorted({*(service.get("cap_add") or []), *STARTERS})}

    def _rest(self, name: str, service: Mapping[str, Any]) -> dict[str, Any]:
        for key, value, switch, how in (
            ("privileged", True, "privileged", "compose: {privileged: true}"),
            ("network_mode", "host", "host_network", "compose: {network_mode: host}"),
            ("pid", "host", "host_pid", "compose: {pid: host}"),
        ):
            if service.get(key) == value:
                self.notes.add(
                    "hand",
                    self.project.line(name, key),
                    name,
                    f"{key}: {str(value).lower()} gives it the VPS; if that is meant, add {switch} to app_allow and "
                    f"{how} to it",
                )
        mode = str(service.get("network_mode") or "")
        if mode.startswith(("service:", "container:")):
            self.notes.add(
                "hand", self.project.line(name, "network_mode"), name, f"network_mode: {mode} has no counterpart"
            )
        more = {key: service[key] for key in COMPOSE if service.get(key)}
        for key in sorted(set(service) - SILENT - set(SAME) - set(COMPOSE)):
            self.notes.add(
                "hand",
                self.project.line(name, key),
                name,
                f"{key} was not taken along; see the key compose of app_services",
            )
        labels = {
            key: value
            for key, value in (service.get("labels") or {}).items()
            if not re.match(r"traefik\.|caddy|com\.docker|com\.centurylinklabs|homepage\.|autoheal|virtual\.", key)
        }
        return {**({"labels": labels} if labels else {}), **({"compose": more} if more else {})}
