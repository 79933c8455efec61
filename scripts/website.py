"""`make site`: the documentation as a site in build/site, from docs/, the argument specs and the changelog.

Pages come in the order of docs/README.md; each role has one, with type, default and example of every variable. Links
out of the documentation lead to the repository. mkdocs runs in strict mode: a dead link or anchor ends the build.
"""

from __future__ import annotations

import argparse
import os
import posixpath
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from scripts import role_pages  # noqa: E402 - found from wherever this program is started

SETTINGS = "docs/site/mkdocs.yml"
HOOKS = "docs/site/hooks.py"
REPOSITORY = "https://github.com/landfall/landfall"
GUIDES = "docs/README.md"
# Pages outside docs/ and where they are on the site
PLACES = {
    "README.md": "index.md",
    GUIDES: "guides.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "CODE_OF_CONDUCT.md": "code-of-conduct.md",
    "SECURITY.md": "security-policy.md",
}
CODE = re.compile(r"^```.*?^```$|`[^`\n]+`", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(\]\()([^)\s]+)(\))")


class SiteError(Exception):
    """The site cannot be built; the message says why."""


def places(root: Path) -> dict[str, str]:
    """Return path in the repository -> path on the site, of every page."""
    found = {path: place for path, place in PLACES.items() if (root / path).is_file()}
    for path in sorted((root / "docs").rglob("*.md")):
        name = path.relative_to(root).as_posix()
        found.setdefault(name, name.removeprefix("docs/"))
    for path in sorted((root / "roles").glob("*/README.md")):
        found[path.relative_to(root).as_posix()] = f"roles/{path.parent.name}.md"
    return found


def moved(link: str, page: str, pages: dict[str, str], root: Path) -> str:
    """Return a link of ``page``, a path in the repository, as it is on the site."""
    if re.match(r"[a-z]+:", link) or link.startswith("#"):
        return link
    path, _, anchor = link.partition("#")
    target = posixpath.normpath(posixpath.join(posixpath.dirname(page), path))
    suffix = f"#{anchor}" if anchor else ""
    inside = next((one for one in (target, f"{target}/README.md") if one in pages), None)
    here = posixpath.dirname(pages[page])
    if inside:
        return posixpath.relpath(pages[inside], here or ".") + suffix
    if target.startswith("docs/") and (root / target).is_file():
        return posixpath.relpath(target.removeprefix("docs/"), here or ".") + suffix
    return f"{REPOSITORY}/{'tree' if (root / target).is_dir() else 'blob'}/main/{target}{suffix}"


def rewritten(text: str, change: Callable[[str], str]) -> str:
    """Return Markdown with each link outside code changed."""
    parts = []
    at = 0
    for code in CODE.finditer(text):
        parts += [LINK.sub(lambda one: one[1] + change(one[2]) + one[3], text[at : code.start()]), code[0]]
        at = code.end()
    return "".join(parts) + LINK.sub(lambda one: one[1] + change(one[2]) + one[3], text[at:])


def sections(text: str) -> dict[str, list[str]]:
    """Return heading -> pages that docs/README.md lists below it, in their order."""
    found: dict[str, list[str]] = {}
    for part in re.split(r"(?m)^## ", text)[1:]:
        heading, _, below = part.partition("\n")
        first_cells = [line.split("|")[1] for line in below.splitlines() if line.startswith("| ")]
        found[heading] = [link for cell in first_cells for _open, link, _close in LINK.findall(cell)]
    return found


def navigation(root: Path, pages: dict[str, str]) -> list[Any]:
    """Return the site's navigation. Raises SiteError if docs/README.md leaves a page out."""
    guides = sections((root / GUIDES).read_text("utf-8"))
    listed: dict[str, list[str]] = {}
    for heading, links in guides.items():
        paths = [posixpath.normpath(posixpath.join("docs", link)) for link in links]
        listed[heading] = [pages[path] for path in paths if path in pages and path != "README.md"]
    known = {place for links in listed.values() for place in links}
    runbooks = [place for place in pages.values() if place.startswith("runbooks/") and place != "runbooks/README.md"]
    roles = [place for place in pages.values() if place.startswith("roles/")]
    rest = {place: path for path, place in pages.items() if path.startswith("docs/")}
    missing = sorted(path for place, path in rest.items() if place not in {*known, *runbooks, "guides.md"})
    if missing:
        raise SiteError(f"{GUIDES}: does not list {', '.join(missing)}; add a row where people look for it")
    first, *others = listed
    project = [
        place for place in ("contributing.md", "code-of-conduct.md", "security-policy.md") if place in pages.values()
    ]
    return [
        {"Landfall": ["index.md", "guides.md", "changelog.md"]},
        {first: listed[first]},
        *({heading: [one for one in listed[heading] if one != "runbooks/README.md"]} for heading in others[:-1]),
        {"Runbooks": ["runbooks/README.md", *runbooks]},
        {"Roles": ["roles/README.md", *roles]},
        {others[-1]: [*listed[others[-1]], *project]},
    ]


def files(root: Path) -> Iterator[Path]:
    """Pictures and the like of docs/, which go to the site as they are."""
    yield from (path for path in sorted((root / "docs").rglob("*")) if path.suffix in (".svg", ".png", ".webp"))


def assemble(root: Path, source: Path) -> list[Any]:
    """Lay all pages out in ``source``, and return the navigation. Raises SiteError."""
    shutil.rmtree(source, ignore_errors=True)
    pages = places(root)
    nav = navigation(root, pages)
    for path, place in pages.items():
        text = role_pages.page(root / path) if place.startswith("roles/") else (root / path).read_text("utf-8")
        target = source / place
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(rewritten(text, partial(moved, page=path, pages=pages, root=root)), "utf-8")
    (source / "roles/README.md").write_text(role_pages.index(root / "roles"), "utf-8")
    for picture in files(root):
        target = source / picture.relative_to(root / "docs")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(picture, target)
    for name in ("site.css", "site.js"):
        shutil.copyfile(root / "docs/site" / name, source / name)
    return nav


def build(root: Path, folder: Path) -> Path:
    """Build the site into ``folder``/site and return it. Raises SiteError with what mkdocs says."""
    nav = assemble(root, folder / "site-source")
    settings = {
        "INHERIT": os.path.relpath(root / SETTINGS, folder), "docs_dir": "site-source", "site_dir": "site", "nav": nav,
        "hooks": [str(root / HOOKS)],
    }  # fmt: skip
    (folder / "mkdocs.yml").write_text(yaml.safe_dump(settings, sort_keys=False), "utf-8")
    argv = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", str(folder / "mkdocs.yml")]
    quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}  # an advertisement of the theme's
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=quiet)
    if done.returncode:
        raise SiteError((done.stdout + done.stderr).strip())
    return folder / "site"


def main() -> int:
    """Build the site and print where it is; return the exit status."""
    parser = argparse.ArgumentParser(prog="website", description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "build", help="folder of the site")
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    try:
        site = build(ROOT, args.output.resolve())
    except SiteError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{site / 'index.html'}\nlook at it: python3 -m http.server --directory {site} 8000\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
