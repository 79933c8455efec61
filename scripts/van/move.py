"""A Compose project turned into an inventory: which service becomes what, and what is told on the way."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Optional

from scripts.van import celery, files, items, kinds, once, proxies, shapes, stores
from scripts.van.fronts import Fronts
from scripts.van.notes import Notes

RESERVED = {
    "redis", "postgres", "caddy", "prometheus", "grafana", "alertmanager", "loki", "alloy", "cadvisor", "node-exporter",
    "redis-exporter", "celery-exporter", "postgres-exporter", "blackbox-exporter", "celery-beat",
}  # fmt: skip
DRAIN = 30  # seconds that app_drain_timeout is by itself


@dataclass
class Inventory:
    """What is written: variables, those for the vault, and the notes."""

    variables: dict[str, Any] = field(default_factory=dict)
    vault: dict[str, str] = field(default_factory=dict)
    notes: Notes = field(default_factory=Notes)


class Move:
    """One move; ``inventory`` is what came of it."""

    def __init__(self, project: Any, title: str = "") -> None:
        self.project, self.inventory = project, Inventory()
        self.notes = self.inventory.notes
        self.title = title or project.folder.name
        kinds.share_builds(project.services)
        self.kinds = {name: kinds.kind_of(name, service) for name, service in project.services.items()}
        self.sites = proxies.of(project)
        self.servers: list[stores.Server] = []
        self.names: dict[str, str] = {}
        self.known: dict[str, str] = {}
        """Services that others may wait for, with their names here."""
        self.hosts: dict[str, str] = {}
        """All names of servers that are others here."""
        self.items = items.Items(project, self.notes, self.sites, self._secret, self._rename, self.hosts)
        self._move()

    def _where(self, name: str) -> str:
        return str(self.project.where.get((name,), ""))

    def _secret(self, service: str, variable: str, value: str) -> str:
        """The template that stands for a secret, which goes to the vault."""
        name = "vault_" + re.sub(r"[^a-z0-9]+", "_", variable.lower()).strip("_")
        vault = self.inventory.vault
        if vault.get(name, value) != value:
            name = f"vault_{re.sub(r'[^a-z0-9]+', '_', service.lower())}_{name[6:]}"
        vault[name] = value
        return "{{ " + name + " }}"

    def _rename(self, service: str, variable: str, value: str) -> Optional[str]:
        for server in self.servers:
            found = stores.rewrite(variable, value, service, server)
            if found is not None:
                return found
        return self._renamed_hosts(value)

    def _renamed_hosts(self, value: str) -> Optional[str]:
        """A URL or address of a service whose name is another one here."""
        changed = value
        for name, service in self.project.services.items():
            new = self.names.get(name, "")
            for old in stores.names_of(name, service) - {new} if new else ():
                changed = re.sub(rf"(?<=[/@,]){re.escape(old)}(?=[:/,]|$)|^{re.escape(old)}(?=:\d+$)", new, changed)
        return changed if changed != value and not re.search(r"://[^/\s:@]*:[^/\s@]+@", changed) else None

    def _move(self) -> None:
        services = self.project.services
        self._choose_servers()
        for name, kind in self.kinds.items():
            if kind in ("service", "flower"):
                self.names[name] = self._free_name(name)
        for name, kind in self.kinds.items():
            if kind in ("proxy", "watcher"):
                what = {
                    "proxy": "the role caddy is the proxy here",
                    "watcher": "this stack watches with programs of its own",
                }[kind]
                self.notes.add(
                    "left", self._where(name), name, f"{kinds.base(kinds.origin(services[name])) or name}: {what}"
                )
            if kind == "service" and kinds.untold(name, services[name]):
                what = f"{kinds.argv(services[name])[0]} is a script of its image; if that starts a worker of Celery or"
                how = "beat, make it an item of celery_workers, or set celery_beat_enabled"
                self.notes.add("hand", self.project.line(name, "command") or self._where(name), name, f"{what} {how}")
        for where, name, text in proxies.lost(self.project, self.kinds):
            self.notes.add("hand", where, name, text)
        servers = {name: self.kinds[name] for name in services if self.kinds[name] in ("redis", "postgres")}
        for name, new in {**self.names, **servers}.items():
            self.hosts.update({old: new for old in stores.names_of(name, services[name]) if old != new})
        self.known.update(self.names, **servers)
        found = {name: self.items.item(name, services[name], self.names[name], self.known) for name in self.names}
        self._releases(found)
        self._workers(found)
        self.inventory.variables.update(Fronts(self, self._secret).of(found))
        self._tell_servers()
        ordered = sorted(
            found, key=lambda name: 0 if any(site.service == name and site.public for site in self.sites) else 1
        )
        self.inventory.variables["app_services"] = [found[name] for name in ordered]
        longest = max((shapes.seconds(item.get("stop_grace_period")) for item in found.values()), default=0)
        if longest > DRAIN:  # a deploy waits for requests as long as the slowest service may take to end
            self.inventory.variables["app_drain_timeout"] = longest
        for variable in sorted(self.project.unset):
            self.notes.add("hand", "", "", f"the variable {variable} has no value in .env; it is empty")
        for name, profiles in self.project.left.items():
            self.notes.add(
                "left", self._where(name), name, f"only with the profile {' or '.join(profiles)} (--profile)"
            )

    def _free_name(self, name: str) -> str:
        good = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:63] or "web"
        if good in RESERVED:
            good = f"own-{good}"
        if good != name:
            self.notes.add("changed", self._where(name), name, f"its name here, and on the network, is {good}")
        return good

    def _choose_servers(self) -> None:
        """The first of each kind is taken over by its role; another one stays a service of its own."""
        services, variables = self.project.services, self.inventory.variables
        texts = [str(value) for service in services.values() for value in (service.get("environment") or {}).values()]
        for kind in ("redis", "postgres"):
            found = [name for name, one in self.kinds.items() if one == kind]
            found.sort(
                key=lambda name: -sum(1 for text in texts if re.search(rf"redis://[^\s]*{re.escape(name)}\b.*", text))
            )
            if not found:
                continue
            for name in found[1:]:
                self.kinds[name] = "service"
                self.notes.add(
                    "changed",
                    self._where(name),
                    name,
                    f"a second {kind} stays a service of its own, without the exporter",
                )
            service = services[found[0]]
            if kind == "redis":
                self.servers.append(stores.redis(found[0], service))
                self.notes.add(
                    "changed",
                    self._where(found[0]),
                    found[0],
                    "Redis is the role redis now, host redis, with a password",
                )
            else:
                server, values = stores.postgres(found[0], service, self.title, self.project, self.notes)
                for user in values.get("postgres_users", []):
                    user["password"] = self._secret("postgres", f"postgres_{user['name']}_password", user["password"])
                variables.update(values)
                self.servers.append(server)
        if not any(server.host == "redis" for server in self.servers):
            variables.update(redis_enabled=False, redis_exporter_enabled=False)

    def _tell_servers(self) -> None:
        for server in self.servers:
            if server.host != "redis":
                continue
            for name, kind in self.kinds.items():
                depends = set(self.project.services[name].get("depends_on") or {}) & server.names
                if (
                    kind not in ("service", "worker")
                    or name in server.used
                    or not (depends or name in server.mentioned)
                ):
                    continue
                self.notes.add(
                    "hand",
                    self._where(name),
                    name,
                    "Redis asks for a password here; give it in the variable that the application reads, such as "
                    'secret_environment: {REDIS_PASSWORD: "{{ redis_password }}"}',
                )

    def _releases(self, found: dict[str, dict[str, Any]]) -> None:
        services = self.project.services
        for name, item in list(found.items()):
            once.release_of(item, services[name], self.notes, lambda *key, one=name: self.project.line(one, *key))
            words = kinds.argv(services[name])
            if not item.get("one_shot") or not words or not once.is_migration(words, name):
                continue
            web = next(
                (
                    one
                    for one in found
                    if one != name and found[one].get("port") and kinds.same_code(services[one], services[name])
                ),
                None,
            )
            if web and "release" not in found[web]:
                found[web]["release"] = words
                del found[name]
                for other in found.values():
                    (other.get("depends_on") or {}).pop(item["name"], None)
                found[web].setdefault("depends_on", {}).update(item.get("depends_on") or {})
                self.notes.add(
                    "changed",
                    self._where(name),
                    name,
                    f"runs as the release of {web}: once for each new version, before it serves",
                )

    def _workers(self, found: dict[str, dict[str, Any]]) -> None:
        services, variables = self.project.services, self.inventory.variables
        workers = {
            name: kinds.command_of(services[name]) for name, kind in self.kinds.items() if kind in ("worker", "beat")
        }
        if not workers:
            variables.update(celery_enabled=False, celery_exporter_enabled=False)
            return
        apps = [command.app for command, _script in workers.values() if command.app]
        if apps:
            variables["celery_app"] = max(apps, key=apps.count)
        else:
            self.notes.add("hand", "", "", "no worker says its application by -A; set celery_app")
            variables["celery_app"] = "app"
        variables["celery_workers"], beats = [], []
        for name, (command, script) in workers.items():
            where = self.project.line(name, "command") or self._where(name)
            image = files.Dockerfile(services[name].get("build")).environment
            for kind, text in celery.told(command, script, {**image, **(services[name].get("environment") or {})}):
                self.notes.add(kind, where, name, text)
            if command.kind == "beat" or "--beat" in command.options:
                beats.append((name, command))
            if command.kind == "worker":
                variables["celery_workers"].append(self._worker(name, command, found))
        variables["celery_beat_enabled"] = bool(beats)
        for name, command in beats:
            if command.options.get("--scheduler"):
                variables["celery_beat_scheduler"] = command.options["--scheduler"]
            self.notes.add(
                "changed", self._where(name), name, "beat is celery-beat of the role celery, one in the whole system"
            )
        self._code(found)
        self._broker(found)

    def _broker(self, found: Mapping[str, Mapping[str, Any]]) -> None:
        """Where celery-exporter looks, if that is not database 0 of the role redis."""
        variables = self.inventory.variables
        workers = variables["celery_workers"]
        names = {worker.get("service") or variables.get("celery_service") for worker in workers}
        items = [*workers, *(item for item in found.values() if item["name"] in names)]
        told = [
            value
            for names in (
                r".*BROKER",
                r"(?:.*_)?(?:REDIS|AMQP|RABBITMQ)_UR[LI]",
            )  # an application may have only one URL
            for item in items
            for key in ("secret_environment", "environment")
            for name, value in (item.get(key) or {}).items()
            if re.match(names, name) and re.search(r"://|^\{\{ vault_", value)
        ]
        if told and not re.search(r"@redis:6379(?:/0?)?$", told[0]):
            variables["celery_exporter_broker_url"] = told[0]
        elif not told and variables.get("redis_enabled") is False:
            variables["celery_exporter_enabled"] = False
            self.notes.add(
                "hand", "", "", "no worker's variable names its broker; set celery_exporter_broker_url and _enabled"
            )

    def _worker(self, name: str, command: celery.Command, found: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        service = self.project.services[name]
        raw = self.items.item(name, service, self._free_name(name), self.known)
        source = next((one for one in found if kinds.same_code(self.project.services[one], service)), None)
        worker: dict[str, Any] = {"name": raw["name"]}
        if source:
            worker["service"] = found[source]["name"]
        else:
            worker.update(
                {key: raw[key] for key in ("image", "build", "user", "uid", "cap_add", "read_only") if key in raw}
            )
        if command.app and command.app != self.inventory.variables["celery_app"]:
            worker["module"] = command.app
        if command.queues:
            worker["queues"] = command.queues
        if command.options.get("--concurrency", "").isdigit():
            worker["concurrency"] = int(command.options["--concurrency"])
        if command.arguments:
            worker["arguments"] = command.arguments
        shared: Mapping[str, Any] = found[source] if source else {}
        for key in ("environment", "secret_environment", "secrets"):
            own = {
                one: value for one, value in (raw.get(key) or {}).items() if (shared.get(key) or {}).get(one) != value
            }
            worker.update({key: own} if own else {})
        for key in ("volumes", "working_dir", "tmpfs", "user"):
            if raw.get(key) != shared.get(key) and (raw.get(key) or key == "volumes"):
                worker[key] = raw.get(key) or []
        for key in ("replicas", "labels", "extra_hosts", "compose", "depends_on"):
            if raw.get(key) and raw.get(key) != shared.get(key):
                worker[key] = raw[key]
        limits = raw.get("limits") or {}
        worker.update(limits)
        grace = celery.grace(service, command.arguments)
        if grace:
            worker["grace"] = grace
        return worker

    def _code(self, found: Mapping[str, Mapping[str, Any]]) -> None:
        """What most workers share is said once, for beat too."""
        variables = self.inventory.variables
        workers = variables["celery_workers"]
        named = [worker["service"] for worker in workers if worker.get("service")]
        beats = [name for name, kind in self.kinds.items() if kind == "beat"]
        if not named:
            named = [
                found[one]["name"]
                for one in found
                for beat in beats
                if kinds.same_code(self.project.services[one], self.project.services[beat])
            ]
        if named:
            variables["celery_service"] = max(named, key=named.count)
            for worker in workers:
                if worker.get("service") == variables["celery_service"]:
                    del worker["service"]
        elif workers and workers[0].get("image"):
            # Nothing but workers runs this code: theirs is beat's as well
            first = workers[0]
            variables["celery_image"] = first["image"]
            for key in ("environment", "secrets", "secret_environment", "volumes"):
                if first.get(key) and key != "secret_environment":
                    variables[f"celery_{key}"] = first[key]
        if not variables["celery_beat_enabled"] and not workers:
            variables.update(celery_enabled=False)
