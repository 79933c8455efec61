"""Hostile items of every list of an inventory: told once, by variable, item and key, before anything is rendered.

Each example puts one wrong thing into one place of one list that is right otherwise. The check of the whole inventory
must say so, each place in one sentence; where it says nothing, the role that has the list must take it.
"""

from __future__ import annotations

import copy
import random
import re
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible_collections.landfall.vps.plugins.plugin_utils import formats, specs

from tests import rolekit

SPECS = specs.role_specs(str(rolekit.ROLES))
SAID = {role: formats.load(str(rolekit.ROLES), role) for role in SPECS}
EXAMPLES = 24
SECRET = "AnExampleThatIsLongEnough"  # noqa: S105 - of nobody
HASH = "$2y$12$" + "a" * 53
JOB = {"name": "tidy", "command": ["run"], "schedule": "daily", "timeout": "5m"}
HOOK = {"command": ["true"], "where": "vps", "timeout": 5}
LISTS: Dict[str, List[Dict[str, Any]]] = {
    "app_services": [
        {"name": "api", "image": "example/api:1.0.0", "port": 8000, "health": "/h", "host": "a.example.org",
         "environment": {"A": "b"}, "secrets": {"S": "t"}, "secret_environment": {"X": "y"}, "volumes": ["data:/data"],
         "tmpfs": ["/cache"], "metrics": {"port": 8000, "path": "/m", "labels": {"a": "b"}}, "ready": "/r",
         "limits": {"memory": "1g", "cpus": 1}, "health_interval": "10s", "user": "1000:1000", "jobs": [JOB],
         "publish": ["127.0.0.1:8000:8000"], "extra_hosts": ["db.example.org:192.0.2.7"], "labels": {"a": "b"},
         "depends_on": {"redis": "service_started"}, "cap_add": ["CHOWN"], "replicas": 1, "command": ["run"],
         "read_only": False, "update_order": "stop-first"},
        {"name": "two", "image": "example/two:1.0.0", "health": "tcp", "port": 80},
    ],
    "celery_workers": [
        {"name": "w1", "queues": ["q"], "memory": "1g", "environment": {"A": "b"}, "concurrency": 2, "jobs": [JOB],
         "publish": ["127.0.0.1:9999:9999"], "grace": 30},
        {"name": "w2", "service": "two", "volumes": ["more:/more"]},
    ],
    "landfall_deploy_keys": [
        {"name": "ci", "key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExample ci@example.org", "may": ["plan", "deploy"]},
    ],
    "app_hooks_before": [HOOK, {"command": "true"}],
    "app_hooks_after": [HOOK],
    "app_hooks_failed": [HOOK],
    "postgres_databases": [
        {"name": "shop", "owner": "shop", "extensions": ["pg_trgm"], "access": {"report": "read"},
         "connection_limit": 5, "scheme": "postgresql"},
        {"name": "other"},
    ],
    "postgres_users": [
        {"name": "report", "password": SECRET, "roles": ["pg_monitor"], "connection_limit": 3},
    ],
    "caddy_sites": [
        {"host": "a.example.org", "upstreams": ["api:8000"], "aliases": ["b.example.org"], "health": "/h",
         "users": {"u": HASH}, "headers": {"X-A": "b"}, "max_body": "10m", "allow": ["192.0.2.0/24"],
         "redirect_from": ["www.a.example.org"],
         "routes": [{"paths": ["/x"], "upstreams": ["two:80"], "headers": {"X-B": "c"}}]},
        {"host": "c.example.org", "redirect": {"to": "https://a.example.org", "status": 308, "keep_path": True}},
        {"host": "*.d.example.org", "previews": True, "tls": "internal"},
    ],
    "docker_registries": [
        {"address": "registry.example.org", "user": "u", "password": SECRET},
        {"address": "r.example.org:5000", "user": "u", "password": SECRET},
    ],
    "prometheus_extra_targets": [
        {"job": "x", "targets": ["db:1"], "path": "/m", "interval": "15s", "timeout": "10s", "labels": {"a": "b"}},
        {"job": "y", "targets": ["db:2"], "metrics": "none", "scheme": "https"},
    ],
    "prometheus_remote_write": [
        {"url": "https://w.example.org/x", "name": "far", "user": "u", "password": SECRET, "keep": "up"},
    ],
    "alertmanager_receivers": [
        {"name": "hook", "type": "webhook", "url": "https://x/y", "teams": ["web"]},
        {"name": "mail", "type": "email", "to": "a@example.org", "from": "b@example.org", "smarthost": "m:25",
         "username": "u", "password": "p"},
    ],
    "host_firewall_tunnels": [{"opens": "51820/udp", "interface": "wg0"}],
    "private_network_members": [
        {"name": "web", "address": "10.99.0.1", "endpoint": "web.example.org", "port": 51820},
        {"name": "data", "address": "10.99.0.2", "endpoint": "192.0.2.2", "port": 51820},
    ],
    "blackbox_exporter_targets": [
        {"name": "shop", "url": "https://shop.example.org"}, {"name": "two", "url": "https://two.example.org"},
    ],
}  # fmt: skip
MORE = {
    "host_enabled": True,
    "private_network_enabled": True,
    "private_network_hosts": ["web", "data"],
    "caddy_enabled": True,
    "postgres_enabled": True,
    "celery_service": "api",
    "celery_app": "shop.celery",
}
BAD: Dict[str, Any] = {
    "null": None, "a number": 7.25, "negative": -1, "a boolean": True, "a list of lists": [["a"]],
    "a map": {"zz": {"b": []}}, "empty": "", "a control character": "a\x07b", "a line break": "a\nb",
    "an escape": "../../etc/x", "unicode": "\u00e9\u202e", "long": "a" * 300, "NUL": "a\0b",
    "a template": "{{ nothing_here }}", "a list of null": [None], "two words": "zz zz",
}  # fmt: skip
Place = Tuple[Any, ...]


def places(value: Any, path: Place = ()) -> Iterator[Tuple[Place, Any]]:
    """Every place in a value and what is there, the value itself among them."""
    yield path, value
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from places(item, (*path, key))


def put(value: Any, path: Place, new: Any) -> Any:
    """``value`` with something else at a place."""
    if not path:
        return new
    value = copy.copy(value)
    value[path[0]] = put(value[path[0]], path[1:], new)
    return value


def wrong(value: Any) -> Iterator[Tuple[str, Place, Any]]:
    """(what is wrong, where, the value with it)."""
    for path, there in places(value):
        for what, bad in BAD.items():
            yield what, path, put(value, path, bad)
        if isinstance(there, dict):
            yield "an unknown key", path, put(value, path, {**there, "zz_top": 1})
            yield "a key that is no text", path, put(value, path, {**there, 5: 1})
            for key in there:
                near = key[:-2] + key[-1:] + key[-2:-1]
                if near != key and len(key) > 1:
                    renamed = {near if one == key else one: item for one, item in there.items()}
                    yield f"the near name {near}", path, put(value, path, renamed)
        if isinstance(there, list) and there and isinstance(there[0], dict):
            yield "an item twice", path, put(value, path, [*there, there[0]])


class Inventory:
    """One that is right. What does not depend on what an example changes is resolved once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.written = rolekit.inventory(folder, **MORE, **LISTS)
        templar = Templar(loader=DataLoader(), variables=self.written)
        names = {name for options in SPECS.values() for name in options} & set(self.written)
        self.known = {name: templar.template(self.written[name]) for name in names}

    def faults(self, name: str, value: Any) -> List[str]:
        """What is said where ``name`` has another value."""
        values = {**self.written, name: rolekit.trusted(value)}
        templar = Templar(loader=DataLoader(), variables=values)
        anew = {name, *specs.consequences(self.known, {name}, values)}

        def resolve(one: str) -> Any:
            return templar.template(values[one]) if one in anew or one not in self.known else self.known[one]

        return specs.inventory_faults(list(SPECS), SPECS, list(values), resolve, said=SAID, written=values)

    def rendered(self, name: str, value: Any) -> None:
        """Render the roles that read a list."""
        role = max((role for role in SPECS if name.startswith(role + "_")), key=len)
        if role in rolekit.component_names():
            rolekit.components(role, self.folder, **{**MORE, **LISTS, name: value})


@pytest.fixture(scope="module")
def inventory(tmp_path_factory: pytest.TempPathFactory) -> Inventory:
    return Inventory(tmp_path_factory.mktemp("hostile"))


def test_the_lists_are_right(inventory: Inventory) -> None:
    assert inventory.faults("app_services", LISTS["app_services"]) == []
    for name, value in LISTS.items():
        inventory.rendered(name, value)


def test_every_list_of_maps_is_among_them() -> None:
    every = {
        name
        for options in SPECS.values()
        for name, option in options.items()
        if option.get("elements") == "dict" and option.get("options")
    }
    assert every == set(LISTS)


def _names(value: Any, path: Place) -> List[str]:
    """By what the item at a place may be called."""
    item = value[path[0]] if path and isinstance(value, list) else None
    return [str(item[key]) for key in ("name", "host") if item.get(key)] if isinstance(item, dict) else []


@pytest.mark.parametrize("name", LISTS)
def test_what_is_wrong_is_told_once_by_variable_item_and_key_or_taken(name: str, inventory: Inventory) -> None:
    """Where more than one sentence is said, each is about another place: an item twice is wrong in several."""
    every = list(wrong(LISTS[name]))
    random.Random(name).shuffle(every)  # noqa: S311 - the same each time
    for what, path, value in every[:EXAMPLES]:
        told = f"{name}{path}: {what}"
        found = inventory.faults(name, value)
        if not found:
            try:
                inventory.rendered(name, value)
            except Exception as error:  # noqa: BLE001 - whatever stops the run
                found = [str(error)]
        heads = [fault.split(": ", 1)[0] for fault in found]
        assert len(heads) == len(set(heads)) or what == "an item twice", (told, found)
        for fault in found:
            assert name in fault, (told, fault)
            assert not re.search(r"object has no|NoneType|_Ansible|Traceback|role \w+: ", fault), (told, fault)
        names = [*_names(LISTS[name], path), *_names(value, path)]
        at = [f"[{path[0]}]", *names] if path else [""]
        assert all(any(one in fault for one in at) for fault in found) or what == "an item twice", (told, found)
