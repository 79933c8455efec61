"""The page of each role on the site: every variable with its type, default and an example."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from scripts import role_readmes  # noqa: E402 - found from wherever this program is started

LONGEST = 12  # lines of an example


def _load(path: Path) -> dict[str, Any]:
    return (yaml.safe_load(path.read_text("utf-8")) or {}) if path.exists() else {}


def examples(role: Path) -> dict[str, Any]:
    """Return variable -> a value that shows its use, from meta/examples.yml."""
    return _load(role / "meta/examples.yml")


def example(role: Path, name: str) -> Any:
    """Return a value for a variable: what meta/examples.yml says, or its default. None if there is neither."""
    shown = examples(role)
    if name in shown:
        return shown[name]
    if name.endswith("_publish"):
        return _load(role / "defaults/main.yml").get(name) or ["127.0.0.1:9000:9000"]
    value = _load(role / "defaults/main.yml").get(name)
    return None if value in ("", [], {}) else value


class _Dumper(yaml.SafeDumper):
    """Lists within maps are indented, as people write them."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _lines(name: str, value: Any) -> list[str]:
    """Return an example as YAML."""
    text = yaml.dump({name: value}, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    lines = text.rstrip("\n").splitlines()
    return lines if len(lines) <= LONGEST else [*lines[:LONGEST], "# …"]


def _prose(text: str | list[str]) -> str:
    joined = " ".join((text if isinstance(text, str) else " ".join(text)).split())
    return re.sub(r"C\(((?:[^()]|\([^()]*\))*)\)", r"`\1`", joined)


def _options(options: Mapping[str, Any], path: str) -> Iterator[str]:
    """Rows of a table of the keys of a variable's items."""
    for name, option in options.items():
        mark = "[]" if option.get("elements") == "dict" else ""
        kind = role_readmes.kind(option)
        needed = "required" if option.get("required") else ""
        yield f"| `{path}{name}` | {_cell(kind)} | {needed} | {_cell(_prose(option['description']))} |"
        yield from _options(option.get("options") or {}, f"{path}{name}{mark}.")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _variable(role: Path, name: str, option: Mapping[str, Any], default: str) -> Iterator[str]:
    yield from [
        "",
        f"### {name}",
        "",
        _prose(option["description"]),
        "",
        f"Type: {role_readmes.kind(option)}. Default: {default}.",
        "",
    ]
    value = example(role, name)
    if value is not None:
        yield from ["```yaml", *_lines(name, value), "```"]
    if option.get("options"):
        yield from ["", "| Key | Type | | Meaning |", "|---|---|---|---|", *_options(option["options"], "")]


def page(readme: Path) -> str:
    """Return the page of the role whose README is given."""
    role = readme.parent
    main = _load(role / "meta/argument_specs.yml")["argument_specs"]["main"]
    defaults = _load(role / "defaults/main.yml")
    description = main.get("description") or []
    lines = [f"# {role.name}", "", _prose(main["short_description"]).rstrip(".") + "."]
    for paragraph in [description] if isinstance(description, str) else description:
        lines += ["", _prose(paragraph)]
    if f"{role.name}_enabled" in (main.get("options") or {}):
        lines += ["", "```sh", f"ansible-playbook -i inventory/production site.yml --tags {role.name}", "```"]
    options = main.get("options") or {}
    if options:
        lines += ["", "## Variables"]
    for name, option in options.items():
        needed = "required" if option.get("required") else "none"
        lines += _variable(role, name, option, role_readmes.code(defaults[name]) if name in defaults else needed)
    return "\n".join(lines) + "\n"


def index(roles: Path) -> str:
    """Return the list of all roles."""
    lines = [
        "# Roles",
        "",
        "One for each component. `site.yml` deploys them in the order in which they need each other.",
        "",
    ]
    lines += ["| role | deploys |", "|---|---|"]
    for spec in sorted(roles.glob("*/meta/argument_specs.yml")):
        name = spec.parent.parent.name
        said = _prose(_load(spec)["argument_specs"]["main"]["short_description"])
        lines.append(f"| [{name}]({name}.md) | {_cell(said)} |")
    return "\n".join(lines) + "\n"
