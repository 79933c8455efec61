"""Makes a role for a component of one's own, to begin from: `make component NAME=whoami IMAGE=… PORT=…`.

What it writes deploys, is health-checked, proven and scraped, and passes every test of the project; docs/
writing-a-component.md says how it goes on from there.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TEMPLATES = Path(__file__).with_suffix("")
FILES = {
    "defaults.yml.in": "defaults/main.yml",
    "argument_specs.yml.in": "meta/argument_specs.yml",
    "meta.yml.in": "meta/main.yml",
    "tasks.yml.in": "tasks/main.yml",
    "compose.yaml.j2.in": "templates/compose.yaml.j2",
}
NAME = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*")
IMAGE = re.compile(r"(?P<name>[a-z0-9.-]+(?::[0-9]+)?(?:/[a-z0-9._-]+)*):(?P<tag>[\w][\w.-]*)")
PATH = re.compile(r"/[\w./-]*")


class ComponentError(ValueError):
    """The role cannot be made; the message names the argument, what is wrong and what would be right."""


def checked(args: argparse.Namespace, roles: Path) -> dict[str, str]:
    """Return what the templates' words stand for. Raises ComponentError."""
    if not NAME.fullmatch(args.name):
        raise ComponentError(f"NAME={args.name}: write small letters, digits and underscores, such as my_cache")
    if (roles / args.name).exists():
        raise ComponentError(f"NAME={args.name}: there is {roles / args.name} already; take another name")
    image = IMAGE.fullmatch(args.image)
    if not image or image["tag"] == "latest":
        raise ComponentError(f"IMAGE={args.image}: write an image with an exact tag, such as traefik/whoami:v1.11.0")
    for word, value in (("--path", args.path), ("--metrics", args.metrics)):
        if not PATH.fullmatch(value):
            raise ComponentError(f"{word} {value}: write the path of an URL, such as /health")
    host = args.name.replace("_", "-")
    return {
        "NAME": args.name, "HOST": host, "TITLE": host[0].upper() + host[1:], "IMAGE": args.image,
        "DEPNAME": image["name"], "PORT": str(args.port), "UID": str(args.uid), "PATH": args.path,
        "METRICS": args.metrics,
    }  # fmt: skip


def make(words: dict[str, str], roles: Path) -> list[Path]:
    """Write the role and return its files."""
    written = []
    for source, place in FILES.items():
        text = (TEMPLATES / source).read_text(encoding="utf-8")
        for word, value in words.items():
            text = text.replace(f"@{word}@", value)
        path = roles / words["NAME"] / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        written.append(path)
    return written


def main(argv: list[str] | None = None) -> int:
    """Make a role and say what comes next; return the exit status."""
    parser = argparse.ArgumentParser(prog="component", description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--image", required=True)
    parser.add_argument("--port", type=int, required=True, help="on which it answers HTTP")
    parser.add_argument("--path", default="/", help="that answers 200 when it is well")
    parser.add_argument("--metrics", default="/metrics")
    parser.add_argument("--uid", type=int, default=65534, help="the user it runs as")
    parser.add_argument("--roles", type=Path, default=ROOT / "roles")
    args = parser.parse_args(argv)
    try:
        words = checked(args, args.roles)
        paths = make(words, args.roles)
    except ComponentError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    for path in paths:
        sys.stdout.write(f"{path}\n")
    line = f"{{name: {words['NAME']}, rolespec_validate: false}}"
    sys.stdout.write(
        f"next: `make docs` writes its README; a play deploys it after the role landfall, in site.yml by\n"
        f"    - name: {words['TITLE']}\n      ansible.builtin.import_role: {line}\n      tags: {words['NAME']}\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
