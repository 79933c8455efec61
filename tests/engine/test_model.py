"""One typed model: the task's options, the module's documentation, what the engine reads and what it records agree."""

from __future__ import annotations

import ast
import dataclasses
import importlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Dict, Iterator, List, Literal, Optional, Tuple

import pytest
import yaml
from ansible_collections.landfall.vps.plugins.module_utils import applying, model, plan, shapes, spec

PLUGINS = Path(__file__).resolve().parents[2] / "collections/ansible_collections/landfall/vps/plugins"
PLACE = "ansible_collections.landfall.vps.plugins"
TOLD = ("type", "elements", "choices", "default", "required")


def documented(module: str) -> Dict[str, Any]:
    """The options of a module's documentation in the form of an argument spec."""
    told = yaml.safe_load(importlib.import_module(f"{PLACE}.modules.{module}").DOCUMENTATION)
    options = dict(told["options"])
    for fragment in told.get("extends_documentation_fragment", []):
        found = importlib.import_module(f"{PLACE}.doc_fragments.{fragment.rpartition('.')[2]}").ModuleDocFragment
        more = yaml.safe_load(found.DOCUMENTATION)["options"]
        assert not options.keys() & more.keys(), "said twice"
        options.update(more)
    return as_spec(options)


def as_spec(options: Dict[str, Any]) -> Dict[str, Any]:
    found = {}
    for name, option in options.items():
        assert option["description"], name
        found[name] = {key: option[key] for key in TOLD if key in option}
        if "suboptions" in option:
            found[name]["options"] = as_spec(option["suboptions"])
    return found


def told(options: Dict[str, Any]) -> Dict[str, Any]:
    """What documentation can say of an argument spec."""
    found = {}
    for name, option in options.items():
        found[name] = {key: option[key] for key in TOLD if key in option}
        if "options" in option:
            found[name]["options"] = told(option["options"])
    return found


@pytest.mark.parametrize(("module", "options"), [("component", spec.COMPONENT), ("verify", spec.VERIFY)])
def test_what_is_documented_is_what_a_task_may_say(module: str, options: Dict[str, Any]) -> None:
    assert documented(module) == told(options)


@pytest.mark.parametrize(("module", "known"), [("state", "OPTIONS"), ("settle", "DEFAULTS")])
def test_what_is_documented_of_the_others_is_what_their_plugin_takes(module: str, known: str) -> None:
    plugin = importlib.import_module(f"ansible_collections.landfall.vps.plugins.action.{module}")
    assert set(documented(module)) == set(getattr(plugin, known))


def keys_read(source: str) -> Iterator[Tuple[str, str]]:
    """(variable, key) of each ``variable["key"]`` and ``variable.get("key")``."""
    for node in ast.walk(ast.parse(source)):
        owner: Optional[ast.expr] = None
        key: Optional[ast.expr] = None
        if isinstance(node, ast.Subscript):
            owner, key = node.value, node.slice
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("get", "pop"):
            owner, key = node.func.value, node.args[0] if node.args else None
        name = getattr(owner, "id", getattr(owner, "attr", ""))
        if isinstance(key, ast.Constant) and isinstance(key.value, str):
            yield name, key.value


def read_by_the_engine() -> List[Tuple[str, str]]:
    places = [path for folder in ("action", "plugin_utils", "module_utils") for path in (PLUGINS / folder).glob("*.py")]
    return [pair for path in places for pair in keys_read(path.read_text(encoding="utf-8"))]


def test_every_option_is_read_somewhere_and_nothing_is_read_that_is_none() -> None:
    places = [*(PLUGINS / "plugin_utils").glob("*.py"), PLUGINS / "action" / "component.py"]
    places.append(PLUGINS / "module_utils" / "rollout.py")
    read = {
        path.stem: {key for name, key in keys_read(path.read_text()) if name in ("options", "whole")} for path in places
    }
    assert set(spec.COMPONENT) <= set.union(*read.values()), "documented and not implemented"
    its = set.union(*(read[name] for name in ("component", "given", "planned", "render", "rollout") if name in read))
    assert its - set(spec.COMPONENT) - INNER == set(), "implemented and not documented"


INNER = {"restart", "user", "volumes", "env_file", "container_name", "image", "group", "values"}
"""Keys of a service in a compose file, which is called ``options`` as well; what parts.py adds to a part's options."""


def test_every_suboption_is_read_somewhere() -> None:
    read = {key for _name, key in read_by_the_engine()}
    read |= {"target", "platform"}  # in a loop, compose.py
    for option in spec.COMPONENT.values():
        for name in option.get("options", {}):
            assert name in read, f"{name} is documented and not implemented"


def test_a_field_that_nobody_reads_or_documents_is_found() -> None:
    wider = {**spec.COMPONENT, "colour": {"type": "str"}}
    assert told(wider) != documented("component")
    assert ("options", "colour") not in read_by_the_engine()


def test_what_is_recorded_is_what_the_model_says() -> None:
    desired = plan.Desired("redis", True, {}, {"redis": plan.Container("redis", "redis:8")}, (), {})
    docker: Any = SimpleNamespace(containers=dict, images=dict)
    written = set(applying.record_of(desired, docker, "ops@desk", proven=True)) | {"format", "start"}
    assert written == {one.name for one in dataclasses.fields(model.Record)}
    asked = {key.rstrip("?") for key in shapes.RECORD}
    assert asked < {one.name for one in dataclasses.fields(model.Record)}
    assert {key for key in shapes.RECORD if not key.endswith("?")} == set(model.shape(model.Record))


def test_what_the_engine_reads_of_a_record_s_meta_has_a_form() -> None:
    sources = (PLUGINS / "module_utils").glob("*.py")
    read = {key for path in sources for name, key in keys_read(path.read_text("utf-8")) if name == "meta"}
    assert len(read) > 15
    assert read - {key.rstrip("?") for key in shapes.META} - {"exercise", "takes"} == set()


def test_types_become_options() -> None:
    @dataclasses.dataclass
    class Inner:
        port: int

    @dataclasses.dataclass
    class Outer:
        name: str
        many: List[Dict[str, Any]] = dataclasses.field(default_factory=list)
        kind: Literal["a", "b"] = "a"
        maybe: Optional[str] = None

    assert model.argument_spec(Outer) == {
        "name": {"type": "str", "required": True},
        "many": {"type": "list", "elements": "dict", "default": []},
        "kind": {"type": "str", "choices": ["a", "b"], "default": "a"},
        "maybe": {"type": "str"},
    }
    assert model.argument_spec(Inner) == {"port": {"type": "int", "required": True}}
