"""Renders roles without a host: the engine's own renderer on Ansible's own templating, with an inventory of one."""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, cast

ROOT = Path(__file__).resolve().parent.parent
os.environ.setdefault("ANSIBLE_CONFIG", str(ROOT / "ansible.cfg"))  # before Ansible is imported: it reads it then

import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
from ansible.template import Templar, trust_as_template
from ansible.utils.collection_loader import AnsibleCollectionConfig

if AnsibleCollectionConfig.collection_finder is None:
    init_plugin_loader([str(ROOT / "collections")])

from ansible_collections.landfall.vps.plugins.module_utils.plan import Desired
from ansible_collections.landfall.vps.plugins.plugin_utils import planned, stack
from ansible_collections.landfall.vps.plugins.plugin_utils.render import Rendered, render
from ansible_collections.landfall.vps.plugins.plugin_utils.templates import render_file

__all__ = ["ENGINE", "OPTIONAL", "ROLES", "ROOT", "Rendered", "component", "component_names", "components", "compose",
           "defaults", "deployed", "inventory", "load", "options", "raw", "role_names", "services", "targets", "tasks",
           "template", "text", "trusted"]  # fmt: skip
ROLES = ROOT / "roles"
SHARED = ROLES / "landfall" / "templates"
# Roles that an empty inventory leaves out, each with what an inventory says to have it
OPTIONAL: Dict[str, Dict[str, Any]] = {
    "backup": {"backup_enabled": True, "backup_repository": "/srv/backup"},
    "caddy": {
        "caddy_app_host": "app.landfall.test",
        "caddy_grafana_host": "grafana.landfall.test",
        "caddy_tls": "internal",
    },
    "postgres": {
        "postgres_enabled": True,
        "postgres_databases": [
            {"name": "shop", "extensions": ["pg_trgm"], "access": {"report": "read"}, "scheme": "postgresql+psycopg"}
        ],
        "postgres_users": [{"name": "report", "roles": ["pg_monitor"]}],
        "postgres_settings": {"random_page_cost": "1.1"},
    },
    "postgres_exporter": {
        "postgres_exporter_enabled": True,
        "postgres_exporter_host": "db.example.com",
        "postgres_exporter_password": "AnExampleThatIsLongEnoughToBeFoundAnywhere",
    },
}
ENGINE = "landfall.vps.component"


def role_names() -> List[str]:
    """All roles of this repository."""
    return sorted(path.name for path in ROLES.iterdir() if (path / "meta" / "main.yml").exists())


def component_names() -> List[str]:
    """The roles that deploy containers."""
    return [name for name in role_names() if (ROLES / name / "templates" / "compose.yaml.j2").exists()]


def stack_names() -> List[str]:
    """Those that site.yml deploys: a component of one's own may lie beside them without being part of the stack."""
    site = (ROOT / "site.yml").read_text(encoding="utf-8")
    return [name for name in component_names() if "{name: " + name + "," in site]


@cache
def load(path: Path) -> Any:
    """Content of a YAML file as an inventory or a role gives it."""
    return DataLoader().load_from_file(str(path), trusted_as_template=True)


def defaults(role: str) -> Dict[str, Any]:
    """The role's defaults, untemplated."""
    path = ROLES / role / "defaults" / "main.yml"
    return dict(load(path) or {}) if path.exists() else {}


def options(role: str) -> Dict[str, Any]:
    """The role's documented variables."""
    spec = yaml.safe_load((ROLES / role / "meta" / "argument_specs.yml").read_text(encoding="utf-8"))
    return cast(Dict[str, Any], spec["argument_specs"]["main"].get("options") or {})


def tasks(role: str) -> List[Dict[str, Any]]:
    """The role's tasks/main.yml."""
    return cast(List[Dict[str, Any]], load(ROLES / role / "tasks" / "main.yml"))


def inventory(secrets: Path, **more: Any) -> Dict[str, Any]:
    """What a role sees in a play over all roles on one host; ``more`` is what the inventory sets."""
    values: Dict[str, Any] = {}
    for role in role_names():
        values.update(defaults(role))
    values.update(
        inventory_hostname="vps",
        inventory_dir=str(secrets),
        ansible_facts={},
        ansible_role_names=role_names(),
        ansible_play_role_names=role_names(),
        ansible_run_tags=["all"],
        ansible_skip_tags=[],
        ansible_check_mode=False,
        role_path=str(ROLES / "landfall"),
    )
    values.update({key: trusted(value) for key, value in more.items()})
    return values


def trusted(value: Any) -> Any:
    """``value`` as an inventory on disk gives it: its text may hold templates."""
    if isinstance(value, _Raw):
        return str(value)
    if isinstance(value, str):
        return trust_as_template(value)
    if isinstance(value, dict):
        return {key: trusted(item) for key, item in value.items()}
    return [trusted(item) for item in value] if isinstance(value, list) else value


def raw(value: Any) -> Any:
    """``value`` as an inventory gives it under ``!unsafe`` or from its vault: its braces are braces."""
    if isinstance(value, str):
        return _Raw(value)
    if isinstance(value, dict):
        return {key: raw(item) for key, item in value.items()}
    return [raw(item) for item in value] if isinstance(value, list) else value


class _Raw(str):
    """Text that ``trusted`` leaves as it is."""


def template(value: Any, variables: Mapping[str, Any]) -> Any:
    """``value`` with its templates replaced."""
    return Templar(loader=DataLoader(), variables=dict(variables)).template(value)


def component(role: str, secrets: Path, **more: Any) -> Rendered:
    """All files of a role's component, as the engine would send them to a host whose inventory sets ``more``.

    Of a role that deploys several, all of them joined, by the role's name.
    """
    found = components(role, secrets, **more)
    if len(found) == 1:
        return found[0]
    every = [one.desired for one in found]
    files = {path: mark for one in every for path, mark in one.files.items()}
    containers = {name: container for one in every for name, container in one.containers.items()}
    contents = {path: content for one in found for path, content in one.contents.items()}
    meta = {key: _joined([one.meta[key] for one in every if key in one.meta]) for one in every for key in one.meta}
    return Rendered(Desired(role, bool(found), files, containers, (), meta), contents)


def _joined(values: List[Any]) -> Any:
    if all(isinstance(value, list) for value in values):
        return [item for value in values for item in value]
    return values[0]


def components(role: str, secrets: Path, **more: Any) -> List[Rendered]:
    """The components of a role, in the order in which they start."""
    task = next(task for task in tasks(role) if ENGINE in task)
    variables = {**inventory(secrets, **more), "role_path": str(ROLES / role), **task.get("vars", {})}
    # Through JSON, as templating leaves notes on its values that no YAML writer knows.
    arguments = json.loads(json.dumps(template(task[ENGINE], variables)))
    wanted = planned.specs(arguments)

    role_path = str(ROLES / role)
    templar = Templar(loader=DataLoader(), variables=variables)
    folders = [str(ROLES / role / "templates"), str(SHARED)]

    def render_text(source: str, more: Mapping[str, Any], delimiters: Mapping[str, str]) -> str:
        return render_file(templar, role_path, source, folders, {**variables, **more}, delimiters)

    def variable(name: str, default: Any) -> Any:
        return template(variables[name], variables) if name in variables else default

    host, whole = variables["inventory_hostname"], stack.read(variable)
    return [render(options, role_path, render_text, str(SHARED), host, whole) for options in wanted]


def deployed(role: str, secrets: Path, **more: Any) -> Rendered:
    """The role's component, switched on where an empty inventory leaves it out."""
    return component(role, secrets, **{**OPTIONAL.get(role, {}), **more})


def text(rendered: Rendered, path: str) -> str:
    """One rendered file."""
    content: bytes = rendered.contents[path]
    return content.decode()


def compose(rendered: Rendered) -> Dict[str, Any]:
    """The rendered compose file as data; of a role that deploys several, the services of all of them."""
    texts = [text(rendered, path) for path in rendered.contents if path.endswith("/compose.yaml")]
    documents = [cast(Dict[str, Any], yaml.safe_load(one)) for one in texts]
    joined = {key: value for document in documents for key, value in document.items()}
    for key in ("services", "volumes"):
        if key in joined:
            joined[key] = {name: item for document in documents for name, item in (document.get(key) or {}).items()}
    return joined


def services(rendered: Rendered) -> Iterator[tuple[str, Dict[str, Any]]]:
    """The services of the rendered compose file."""
    yield from compose(rendered)["services"].items()


def targets(rendered: Rendered) -> List[Dict[str, Any]]:
    """The scrape targets that the component ships to Prometheus."""
    paths = [path for path in rendered.contents if path.startswith("prometheus/targets.d/")]
    return [target for path in paths for target in yaml.safe_load(rendered.contents[path])]
