"""`python -m testbed`: images, up, down, test. Run with molecule/ on PYTHONPATH; the Makefile does."""

from __future__ import annotations

import argparse
import sys

from . import images, stages, vps
from .paths import TestbedError


def say(text: str) -> None:
    """Print at once, also when the output is a pipe."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def build(mode: str) -> dict[str, str] | None:
    """Build what a VPS needs and return what it is to hold; None: it pulls for itself.

    :param mode: auto, offline or registry
    """
    if mode == "registry" or (mode == "auto" and vps.registry_answers()):
        say("images: a registry answers, so the VPS pulls upstream's own images")
        images.build_all(("vps", "vps-docker"))
        return None
    say("images: offline (no registry answers), built from Debian's and PyPI's packages" if mode == "auto" else
        "images: offline, built from Debian's and PyPI's packages")  # fmt: skip
    return images.build_all()


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="testbed", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    told = {"images": "build all images", "up": "create a VPS", "down": "remove a VPS",
            "used": "say which images a VPS runs", "test": "run all stages of `make test`",
            "check": "run those of `make check`",
            "clean": "remove everything that the test bed made on this machine's engine"}  # fmt: skip
    sub = {verb: verbs.add_parser(verb, help=text) for verb, text in told.items()}
    for verb in ("up", "down", "used"):
        sub[verb].add_argument("--name", default="landfall-vps")
    for verb in ("images", "up"):
        sub[verb].add_argument("--images", choices=["auto", "offline", "registry"], default="auto")
    sub["up"].add_argument("--image", choices=["vps", "vps-docker"], default="vps")
    sub["up"].add_argument("--container", default="", help="what the engine calls it, where NAME is another checkout's")
    sub["test"].add_argument("scenarios", nargs="*", default=stages.scenarios())
    return parser.parse_args()


def perform(args: argparse.Namespace) -> int:
    """Do what the command line says; return the exit status."""
    if args.verb == "test":
        return stages.run_all(stages.plan(args.scenarios))
    if args.verb == "check":
        return stages.run_all(stages.check())
    if args.verb == "images":
        preload = build(args.images)
        if preload:
            say("images used:\n" + images.offline_report(preload))
    elif args.verb == "up":
        vps.up(args.name, args.image, build(args.images), args.container)
    elif args.verb == "used":
        say(f"{args.name} runs, with the truth about each image:\n{vps.used(args.name)}")
    elif args.verb == "clean":
        say("removed: " + ", ".join(vps.clean()))
    elif vps.remove(args.name):
        say(f"{args.name}: removed")
    else:
        owner = vps.foreign(vps.container_of(args.name), known=False)
        say(f"{args.name}: there is none" + (f" of this checkout; the one of this name was made by {owner}" if owner
                                            else ""))  # fmt: skip
    return 0


def main() -> int:
    """Run one verb; what the user has to put right goes to the standard error output."""
    try:
        return perform(parse())
    except TestbedError as error:
        sys.stderr.write(f"{error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
