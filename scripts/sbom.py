"""Write what an image holds as a CycloneDX document: Python's packages by cyclonedx-py, the distribution's beside them.

Nothing of the image runs but its Python, without a network, to say where its packages are; they are copied and read.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

STATUS = "/var/lib/dpkg/status"
RELEASE = "/usr/lib/os-release"
ASK = "import json, sys; print(json.dumps(sys.path))"
Component = dict[str, Any]


def fields(text: str) -> dict[str, str]:
    """``NAME=value`` lines of an os-release."""
    found = {}
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if equals:
            found[name] = shlex.split(value)[0] if value else ""
    return found


def installed(status: str) -> Iterator[dict[str, str]]:
    """The paragraphs of dpkg's status of packages that are installed."""
    for paragraph in status.split("\n\n"):
        found = {}
        for line in paragraph.splitlines():
            name, colon, value = line.partition(":")
            if colon and not line.startswith((" ", "\t")):
                found[name] = value.strip()
        if found.get("Status", "").endswith(" installed") and found.get("Package"):
            yield found


def distribution(status: str, release: dict[str, str]) -> list[Component]:
    """The distribution's packages as components, in the order of their names."""
    system = release.get("ID", "debian")
    found = []
    for package in installed(status):
        name, version = package["Package"], package.get("Version", "")
        more = {"arch": package.get("Architecture", ""), "distro": f"{system}-{release.get('VERSION_ID', '')}"}
        parts = system, urllib.parse.quote(name), urllib.parse.quote(version, safe=""), urllib.parse.urlencode(more)
        purl = "pkg:deb/{}/{}@{}?{}".format(*parts)
        found.append({"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl})
    return sorted(found, key=lambda one: str(one["bom-ref"]))


def whole(document: Component, more: list[Component], image: str) -> Component:
    """``document`` of cyclonedx-py with the distribution's packages, and the image as what it is about."""
    folder, slash, last = image.partition("@")[0].rpartition("/")
    name, _colon, version = last.partition(":")
    about = {"type": "container", "bom-ref": image, "name": folder + slash + name, "version": version}
    metadata = {**document.get("metadata", {}), "component": about}
    return {**document, "metadata": metadata, "components": [*document.get("components", []), *more]}


def said(*argv: str) -> str:
    """What a program prints; ends the script with its words if it fails."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(argv)}: {done.stderr.strip()}")
    return done.stdout


def python_packages(image: str, container: str, place: Path, tool: str) -> Component:
    """What cyclonedx-py finds in the folders where the image's Python looks for packages."""
    paths = json.loads(
        said("docker", "run", "--rm", "--network", "none", "--read-only", "--entrypoint", "python3", image, "-c", ASK)
    )
    copied = []
    for number, path in enumerate(path for path in paths if path.endswith(("site-packages", "dist-packages"))):
        copied.append(str(place / str(number)))
        said("docker", "cp", "--quiet", f"{container}:{path}", copied[-1])
    # What cyclonedx-py asks for its path
    interpreter = place / "python"
    interpreter.write_text(f"#!/bin/sh\necho {shlex.quote(json.dumps(copied))}\n", "utf-8")
    interpreter.chmod(0o755)
    found: Component = json.loads(said(tool, "environment", "--output-reproducible", str(interpreter)))
    return found


def look(image: str, tool: str) -> Component:
    """The document of an image that the engine has; ``tool`` is the path of cyclonedx-py."""
    container = said("docker", "create", "--network", "none", image).strip()
    try:
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            document = python_packages(image, container, place, tool)
            said("docker", "cp", "--quiet", f"{container}:{STATUS}", str(place / "status"))
            said("docker", "cp", "--quiet", f"{container}:{RELEASE}", str(place / "release"))
            release = fields((place / "release").read_text("utf-8"))
            return whole(document, distribution((place / "status").read_text("utf-8"), release), image)
    finally:
        said("docker", "rm", "--force", container)


def main() -> None:
    """Read the arguments, write the document, say what it counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("image", help="an image that the engine of this machine has")
    parser.add_argument("--tool", default="cyclonedx-py", help="path of cyclonedx-py")
    parser.add_argument("--output", type=Path, default=Path("build/sbom.cdx.json"))
    chosen = parser.parse_args()
    document = look(chosen.image, chosen.tool)
    chosen.output.parent.mkdir(parents=True, exist_ok=True)
    chosen.output.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", "utf-8")
    kinds = [str(one.get("purl", "")).partition("/")[0] for one in document["components"]]
    told = ", ".join(f"{kinds.count(kind)} {kind.removeprefix('pkg:')}" for kind in sorted(set(kinds)))
    sys.stdout.write(f"{chosen.output}: {told}\n")


if __name__ == "__main__":
    main()
