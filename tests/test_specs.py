"""Each role documents exactly the variables it has, with their types, and is laid out as docs/architecture.md says."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, Iterator

import pytest
import yaml
from ansible_collections.landfall.vps.plugins.plugin_utils import checks, formats

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
HOST_ROLES = {"landfall", "docker", "host", "private_network", "verify", "backup"}
SHARED = {"service.j2", "presence.yml.j2", "dashboards.json.j2"}
TEMPLATE_PLACES = {"compose.yaml.j2", "config", "secrets", "rules", "dashboards", "tasks"} | SHARED
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


def _refused(name: str, value: Any) -> bool:
    return any(fault.startswith(f"{name}: {value} is no bound;") for fault in checks.value_faults(name, value))


@pytest.mark.parametrize("role", ROLES)
def test_nothing_that_bounds_can_be_set_to_no_bound(role: str, tmp_path: Path) -> None:
    """To most programs 0 means no limit: a label could then explode, a log or a container grow without end."""
    variables = {**rolekit.inventory(tmp_path), "role_path": str(rolekit.ROLES / role)}
    bounds = [name for name in rolekit.options(role) if checks.BOUNDS.search(name) and "_alert_" not in name]
    for name in bounds:
        assert _refused(name, 0) and _refused(name, "0"), name
        if name in rolekit.defaults(role):
            assert checks.value_faults(name, rolekit.template(variables[name], variables)) == []


@pytest.mark.parametrize(
    "name",
    [
        *("prometheus_sample_limit", "prometheus_retention_size", "loki_max_streams", "loki_max_line_size"),
        *("redis_maxmemory", "celery_task_time_limit", "docker_log_max_size", "docker_log_max_files"),
        *("app_memory", "app_cpus", "celery_beat_memory", "prometheus_memory"),
    ],
)
def test_a_variable_that_0_would_make_endless_is_known_as_a_bound(name: str) -> None:
    """By its name alone: who renames one has to see to it."""
    assert any(name in rolekit.options(role) for role in ROLES), "there is no such variable any more"
    assert _refused(name, 0)


def test_what_is_no_bound_may_be_0() -> None:
    names = ("app_alert_rate_limit_per_second", "redis_alert_limit", "celery_exporter_retry_interval")
    assert [fault for name in names for fault in checks.value_faults(name, 0)] == []
    service = {"name": "a", "environment": {"memory": 0, "RATE_LIMIT": 0}}
    assert checks.value_faults("app_services", [service]) == []


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
    play, after = yaml.safe_load((rolekit.ROOT / "site.yml").read_text(encoding="utf-8"))
    assert len(after["tasks"]) == 1, "verify comes after the handler that starts and proves, for hosts that were done"
    assert set(play) == {"name", "hosts", "gather_facts", "become", "force_handlers", "tasks"}
    tasks = play["tasks"] + after["tasks"]
    imports = [task["ansible.builtin.import_role"] for task in tasks]
    names = [item["name"] for item in imports]
    assert (names[0], names[-1]) == ("landfall", "verify")
    assert len(set(names)) == len(names)
    assert set(names) <= set(rolekit.role_names()), "a component of one's own may be in no site.yml"
    assert {item["rolespec_validate"] for item in imports} == {False}
    assert [task.get("tags") for task in tasks] == [None, *names[1:]]


def texts(spec: str, option: Dict[str, Any]) -> Iterator[str]:
    """The paths of all that is text in a variable."""
    kind = option.get("type", "str")
    if "choices" in option:
        return
    if option.get("options"):
        for name, below in option["options"].items():
            yield from texts(f"{spec}.{name}", below)
    elif kind in ("str", "path") or (kind == "list" and option.get("elements", "str") in ("str", "path")):
        yield spec
    elif kind == "raw":
        yield from (spec, spec + ".*")
    elif kind == "dict":
        yield from (spec + ".<key>", spec + ".*")


@pytest.mark.parametrize("role", ROLES)
def test_every_text_of_every_role_has_a_format(role: str) -> None:
    said = formats.load(str(rolekit.ROLES), role)
    known = {
        path: formats.format_of(path, said)
        for name, option in rolekit.options(role).items()
        if name not in said["free"]
        for path in texts(name, option)
    }
    missing = sorted(path for path, form in known.items() if form not in formats.FORMATS)
    assert not missing, f"name their formats in roles/{role}/meta/formats.yml (text is one): {', '.join(missing)}"
    assert set(said["formats"]) <= set(known), "formats of variables that do not exist"
    assert {*said["free"], *said["at_most"], *said["at_most"].values()} <= set(rolekit.options(role))
