"""Writes roles/*/README.md from each role's meta/argument_specs.yml and defaults/main.yml; `--check` only compares."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping

import yaml

LONGEST_CELL = 100  # characters of a default; of a longer one the file itself tells
ROLES = Path(__file__).resolve().parent.parent / "roles"
NOTE = "<!-- Made by `make docs` from meta/argument_specs.yml and defaults/main.yml; edit those. -->"


def _cell(text: object) -> str:
    return str(text).replace("|", "\\|").replace("\n", " ").strip()


def _prose(text: str) -> str:
    """Ansible's C(...) is Markdown's `...`; other marks are not used here."""
    return text.replace("C(", "`").replace(")", "`") if "C(" in text and text.count("C(") == text.count(")") else text


def code(value: object) -> str:
    """A default as inline code, or where to find it."""
    text = value if isinstance(value, str) else yaml.safe_dump(value, default_flow_style=True, width=1000)
    text = " ".join(text.replace("...\n", "").split())
    if len(text) > LONGEST_CELL:
        return "see defaults/main.yml"
    return f"`{_cell(text)}`" if text else "empty"


def kind(option: Mapping[str, Any]) -> str:
    """The type of an option, with its choices."""
    kind = str(option["type"])
    if option.get("elements"):
        kind += " of " + str(option["elements"])
    if option.get("choices"):
        kind += ": " + ", ".join(str(choice) for choice in option["choices"])
    return kind


def _rows(options: Mapping[str, Any], defaults: Mapping[str, Any], path: str = "") -> Iterator[str]:
    for name, option in options.items():
        default = code(defaults[name]) if name in defaults else "required" if option.get("required") or not path else ""
        description = option["description"]
        text = description if isinstance(description, str) else " ".join(description)
        yield f"| `{path}{name}` | {_cell(kind(option))} | {default} | {_cell(_prose(text))} |"
        mark = "[]" if option.get("elements") == "dict" else ""
        yield from _rows(option.get("options") or {}, {}, f"{path}{name}{mark}.")


def readme(role: Path) -> str:
    """The README of the role in folder ``role``. Raises KeyError when its specification is incomplete."""
    spec = yaml.safe_load((role / "meta" / "argument_specs.yml").read_text(encoding="utf-8"))
    main: Dict[str, Any] = spec["argument_specs"]["main"]
    place = role / "defaults" / "main.yml"
    defaults = (yaml.safe_load(place.read_text(encoding="utf-8")) or {}) if place.exists() else {}
    description = main.get("description") or []
    paragraphs = [description] if isinstance(description, str) else description
    lines: List[str] = [f"# {role.name}", "", NOTE, "", main["short_description"].rstrip(".") + "."]
    for paragraph in paragraphs:
        lines += ["", _prose(" ".join(paragraph.split()))]
    options = main.get("options") or {}
    if options:
        lines += ["", "| Variable | Type | Default | Meaning |", "|---|---|---|---|", *_rows(options, defaults)]
    return "\n".join(lines) + "\n"


def stale(write: bool) -> List[Path]:
    """The READMEs that differ from what they would be; written anew if ``write``."""
    result = []
    for spec in sorted(ROLES.glob("*/meta/argument_specs.yml")):
        role = spec.parent.parent
        target = role / "README.md"
        text = readme(role)
        if not target.exists() or target.read_text(encoding="utf-8") != text:
            result.append(target)
            if write:
                target.write_text(text, encoding="utf-8")
    return result


def main(arguments: List[str]) -> int:
    """Write, or with --check compare; the exit code is 1 when something was stale and nothing was written."""
    check = "--check" in arguments
    found = stale(write=not check)
    for path in found:
        print("stale:" if check else "wrote", path.relative_to(ROLES.parent))
    return 1 if check and found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
