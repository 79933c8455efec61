"""Writes what ansible-doc tells of filters and tests, from the docstring and the signature of each function.

A function is documented where it stands; Ansible wants the same once more in a file beside its module. These files are
made when the collection is assembled.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "ansible_collections.landfall.vps.plugins"
FOLDER = ROOT / "collections/ansible_collections/landfall/vps/plugins"
NAME = "landfall.vps"


def documents() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (path below plugins/, document) for each filter and each test."""
    sys.path.insert(0, str(ROOT / "collections"))
    for kind, owner, method in (("filter", "FilterModule", "filters"), ("test", "TestModule", "tests")):
        for path in sorted((FOLDER / kind).glob("*.py")):
            if path.stem == "__init__":
                continue
            module = importlib.import_module(f"{PACKAGE}.{kind}.{path.stem}")
            for name, function in getattr(getattr(module, owner)(), method)().items():
                yield f"{kind}/{name}.yml", _document(name, kind, function)


def _document(name: str, kind: str, function: Callable[..., Any]) -> dict[str, Any]:
    told = inspect.getdoc(function)
    if not told:
        raise ValueError(f"{NAME}.{name}: its function has no docstring")
    paragraphs = [" ".join(part.split()).replace("``", "") for part in told.split("\n\n")]
    parameters = list(inspect.signature(function).parameters.values())
    positional = [p.name for p in parameters[1:] if p.kind is p.POSITIONAL_OR_KEYWORD]
    options: dict[str, Any] = {
        "_input": {"description": f"The value that the {kind} is given.", "type": "raw", "required": True}
    }
    for parameter in parameters[1:]:
        if parameter.kind is parameter.VAR_KEYWORD:
            continue
        needed = parameter.default is parameter.empty
        options[parameter.name] = {
            "description": f"Argument {parameter.name}, see the description.",
            "type": "raw",
            **({"required": True} if needed else {"default": parameter.default}),
        }
    document = {
        "name": name,
        "short_description": paragraphs[0].rstrip("."),
        "version_added": "0.1.0",
        "author": ["The Landfall maintainers"],
        "description": paragraphs,
        "options": options,
        **({"positional": ", ".join(positional)} if positional else {}),
    }
    arguments = f"({', '.join(positional)})" if positional else ""
    verb = "is" if kind == "test" else "|"
    example = f"{{{{ value {verb} {NAME}.{name}{arguments} }}}}"
    result = {"_value": {"description": "What the description says.", "type": "bool" if kind == "test" else "raw"}}
    return {"DOCUMENTATION": document, "EXAMPLES": f'result: "{example}"\n', "RETURN": result}


def write(plugins: Path) -> None:
    """Write a file for each filter and test below the folder ``plugins``. Raises ValueError without a docstring."""
    for path, document in documents():
        target = plugins / path
        target.write_text("---\n" + yaml.safe_dump(document, sort_keys=False, width=118), encoding="utf-8")
