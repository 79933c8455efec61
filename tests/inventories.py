"""Whole inventories on disk, judged as the role landfall judges them, and rendered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible.vars.manager import VariableManager

from tests import rolekit  # isort: split

from ansible_collections.landfall.vps.plugins.plugin_utils import formats, specs
from ansible_collections.landfall.vps.plugins.plugin_utils.origin import Sources

__all__ = ["faults", "rendered", "variables", "written"]


def written(folder: Path, values: dict[str, Any]) -> Path:
    """An inventory of one host with these variables; the folder."""
    hosts = {"all": {"hosts": {"vps": {}}, "vars": values}}
    (folder / "hosts.yml").write_text(yaml.safe_dump(hosts, sort_keys=False), encoding="utf-8")
    return folder


def variables(folder: Path) -> dict[str, Any]:
    """What the inventory in a folder says of its host, untemplated."""
    loader = DataLoader()
    found = InventoryManager(loader, sources=[str(folder / "hosts.yml")])
    return dict(VariableManager(loader, found).get_vars(host=found.get_host("vps")))


def faults(folder: Path) -> list[str]:
    """What the role landfall has to say against the inventory in a folder."""
    loader = DataLoader()
    roles = rolekit.role_names()
    values = {**rolekit.inventory(folder), **variables(folder)}
    templar = Templar(loader=loader, variables=values)
    return specs.inventory_faults(
        roles,
        specs.role_specs(str(rolekit.ROLES)),
        list(values),
        lambda name: templar.template(values[name]),
        said={role: formats.load(str(rolekit.ROLES), role) for role in roles},
        sources=Sources(loader.get_text_file_contents, str(rolekit.ROLES) + "/"),
        written=values,
    )


def rendered(folder: Path, role: str) -> Any:
    """A role's component for the inventory in a folder."""
    own = {key: value for key, value in variables(folder).items() if key not in ("inventory_dir", "inventory_hostname")}
    return rolekit.component(role, folder, **own)
