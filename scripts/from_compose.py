"""A moving van: reads a Compose project and writes the inventory that deploys it.

    python scripts/from_compose.py /home/me/shop inventory/shop --host 192.0.2.10 --user deploy

What it could not take along it lists with file and line, and in MOVED.md beside the inventory. Nothing is deployed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.van import move, project, write
from scripts.van.interpolate import ComposeError
from scripts.van.notes import KINDS, Notes


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument(
        "compose",
        type=Path,
        nargs="+",
        help="folder of the project, or its compose files, the last wins; then the inventory",
    )
    parser.add_argument("--host", default="192.0.2.10", help="address of the VPS")
    parser.add_argument("--user", default="deploy", help="user of the VPS who may use sudo")
    parser.add_argument("--port", type=int, default=22, help="port of its SSH")
    parser.add_argument("--env-file", type=Path, action="append", default=[], help="in place of .env")
    parser.add_argument("--profile", action="append", default=[], help="profile of Compose; * for all")
    parser.add_argument(
        "--image", action="append", default=[], metavar="NAME=NAME:TAG", help="an exact tag for an image that has none"
    )
    parser.add_argument("--name", default="", help="name of the project, that of its folder by default")
    parser.add_argument("--force", action="store_true", help="replace an inventory that is there")
    return parser


def main(words: list[str]) -> int:
    """Run; the exit code is 1 for a project that cannot be read or an inventory that is there."""
    parser = arguments()
    asked = parser.parse_args(words)
    if len(asked.compose) < 2:  # noqa: PLR2004 - where from, where to
        parser.error("name the project and the inventory, such as: /home/me/shop inventory/shop")
    *places, target = asked.compose
    try:
        folder = places[0] if places[0].is_dir() else places[0].parent
        values = project.variables(folder.resolve(), asked.env_file, {})
        files = project.files_of(places[0], values) if len(places) == 1 else places
        compose = project.read(files, asked.env_file, asked.profile)
        if not compose.services:
            raise ComposeError(f"{files[0]}: no services{' without --profile' if compose.left else ''}")
        for pair in asked.image:
            image, _equals, exact = pair.partition("=")
            for service in compose.services.values():
                if service.get("image") == image:
                    service["image"] = exact
        inventory = move.Move(compose, asked.name).inventory
        told = ", ".join(path.name for path in files)
        written = write.write(target, inventory, compose.folder, told, vars(asked), asked.force)
    except (ComposeError, FileExistsError) as error:
        print(f"from_compose: {error}", file=sys.stderr)
        return 1
    tell(inventory.notes)
    print(f"\nWrote {', '.join(str(path.relative_to(target)) for path in written)} to {target}.")
    print(f"Next: ansible-vault encrypt {target}/group_vars/all/vault.yml")
    print(f"      ansible-playbook -i {target} site.yml --check --diff")
    return 0


def tell(found: Notes) -> None:
    """Print all notes."""
    for kind, title in KINDS.items():
        notes = found.of(kind)
        print(f"\n{title}: {len(notes)}" if notes else f"\n{title}: nothing")
        for where, service, text in notes:
            print(f"  {where or '-'}  {service + ': ' if service else ''}{text}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
