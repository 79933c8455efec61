"""Each role documents exactly the variables it has, with their types, and is laid out as docs/architecture.md says."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict

import pytest
import yaml

from scripts import role_readmes
from tests import rolekit

ROLES = rolekit.role_names()
TYPES: Dict[str, tuple[type, ...]] = {
    "str": (str,),
    "path": (str,),
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "list": (list,),
    "dict": (dict,),
}
# Roles that set up or look at the host itself deploy no container
HOST_ROLES = {"landfall", "docker", "host", "verify", "backup"}
TEMPLATE_PLACES = {"compose.yaml.j2", "config", "secrets", "rules", "dashboards", "service.j2", "presence.yml.j2"}
FILE_PLACES = {"config", "secrets", "rules", "dashboards"}


@pytest.mark.parametrize("role", ROLES)
def test_every_variable_is_documented_and_every_documented_one_exists(role: str) -> None:
    defaults = set(rolekit.defaults(role))
    documented = rolekit.options(role)
    required = {name for name, option in documented.items() if option.get("required")}
    assert defaults == set(documented) - required
    assert not defaults & required, "what has a default is not required"


@pytest.mark.parametrize("role", ROLES)
def test_variables_carry_the_role_s_name(role: str) -> None:
    assert [name for name in rolekit.options(role) if not name.startswith(role + "_")] == []


@pytest.mark.parametrize("role", ROLES)
def test_defaults_have_the_documented_type(role: str, tmp_path: Path) -> None:
    variables = {**rolekit.inventory(tmp_path), "role_path": str(rolekit.ROLES / role)}
    for name, option in rolekit.options(role).items():
        if name not in rolekit.defaults(role):
            continue
        value = rolekit.template(variables[name], variables)
        _fits(name, value, option)


def _fits(name: str, value: Any, option: Dict[str, Any]) -> None:
    if option["type"] != "raw":
        assert isinstance(value, TYPES[option["type"]]), f"{name} is {value!r}"
        assert option["type"] == "bool" or not isinstance(value, bool), f"{name} is {value!r}"
    if option.get("choices"):
        assert set(value if isinstance(value, list) else [value]) <= set(option["choices"]), name
    inner = option.get("options")
    if not inner:
        return
    for item in value if isinstance(value, list) else [value]:
        assert set(item) <= set(inner), f"{name} has undocumented keys"
        for key, part in item.items():
            _fits(f"{name}.{key}", part, inner[key])


@pytest.mark.parametrize("role", ROLES)
def test_everything_is_described(role: str) -> None:
    spec = yaml.safe_load((rolekit.ROLES / role / "meta" / "argument_specs.yml").read_text(encoding="utf-8"))
    main = spec["argument_specs"]["main"]
    assert main["short_description"]

    def walk(options: Dict[str, Any]) -> None:
        for name, option in options.items():
            assert option.get("description"), name
            assert option["type"] in {*TYPES, "raw"}, name
            assert "default" not in option, f"{name}: values live in defaults/main.yml alone"
            if option["type"] == "list":
                assert option.get("elements"), name
            walk(option.get("options") or {})

    walk(main.get("options") or {})


@pytest.mark.parametrize("role", sorted(set(ROLES) - {"landfall"}))
def test_secrets_are_marked(role: str) -> None:
    for name, option in rolekit.options(role).items():
        if name.endswith(("_password", "_token", "_secrets", "_secret_key")):
            assert option.get("no_log") is True, name


@pytest.mark.parametrize("role", ROLES)
def test_layout(role: str) -> None:
    folder = rolekit.ROLES / role
    for needed in ("meta/main.yml", "meta/argument_specs.yml", "tasks/main.yml", "README.md"):
        assert (folder / needed).is_file(), needed
    if role in HOST_ROLES:
        return
    assert role in rolekit.component_names()
    meta = yaml.safe_load((folder / "meta" / "main.yml").read_text(encoding="utf-8"))
    assert meta["dependencies"] == [], "site.yml runs the role landfall once, before all others"
    (task,) = rolekit.tasks(role)
    assert task[rolekit.ENGINE]["name"] == role
    assert task["notify"] == "Settle"
    assert {path.name for path in (folder / "templates").iterdir()} <= TEMPLATE_PLACES
    if (folder / "files").exists():
        assert {path.name for path in (folder / "files").iterdir()} <= FILE_PLACES
    enabled = role + "_enabled"
    assert rolekit.options(role)[enabled]["type"] == "bool"


@pytest.mark.parametrize("role", ROLES)
def test_readme_is_what_make_docs_writes(role: str) -> None:
    folder = rolekit.ROLES / role
    assert (folder / "README.md").read_text(encoding="utf-8") == role_readmes.readme(folder), "run make docs"


def test_site_runs_the_checking_role_first_and_every_role_once() -> None:
    (play,) = yaml.safe_load((rolekit.ROOT / "site.yml").read_text(encoding="utf-8"))
    assert len(play["post_tasks"]) == 1, "verify comes after the handler that starts and proves"
    tasks = play["tasks"] + play["post_tasks"]
    imports = [task["ansible.builtin.import_role"] for task in tasks]
    names = [item["name"] for item in imports]
    assert (names[0], names[-1]) == ("landfall", "verify")
    assert sorted(names) == rolekit.role_names()
    assert {item["rolespec_validate"] for item in imports} == {False}
    assert [task.get("tags") for task in tasks] == [None, *names[1:]]
