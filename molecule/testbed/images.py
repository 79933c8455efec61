"""Build what the catalogue lists, only where an input changed, as much at once as the cores allow."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from . import catalog, debian
from .catalog import Image
from .paths import CACHE, CHECKOUT, ROOT, Progress, TestbedError, locked, run

LABEL = "org.landfall.source"
TAGS = CACHE / "images" / "tags.json"
# An application that a VPS builds, where no package index answers either
SAMPLE = "molecule/board/project"


def exists(reference: str) -> bool:
    """Say whether the engine has an image under this reference."""
    return subprocess.run(["docker", "image", "inspect", reference], capture_output=True, check=False).returncode == 0


def source_of(reference: str) -> str:
    """Return what an image truly is, "upstream" where the test bed did not build it."""
    form = f'{{{{with .Config.Labels}}}}{{{{index . "{LABEL}"}}}}{{{{end}}}}'
    return run("docker", "image", "inspect", "--format", form, reference) or "upstream"


def build_environment() -> dict[str, str]:
    """Return the environment for `docker build`: BuildKit where its plugin is, else the classic builder."""
    have = subprocess.run(["docker", "buildx", "version"], capture_output=True, check=False).returncode == 0
    return {**os.environ, "DOCKER_BUILDKIT": "1" if have else "0"}


def docker_build(context: Path, tag: str, arguments: dict[str, str], label: str) -> None:
    """Build one context.

    :param context: its folder
    :param tag: what the result is called
    :param arguments: build arguments
    :param label: what the image truly is
    """
    given = [part for name, value in arguments.items() for part in ("--build-arg", f"{name}={value}")]
    run("docker", "build", "--quiet", "--label", f"{LABEL}={label}", "--tag", tag, *given, str(context),
        env=build_environment())  # fmt: skip


def download_wheels(requirements: list[str], target: Path) -> None:
    """Download wheels for the Python of the images (3.13); building them there would need a compiler and an index."""
    options = ["--only-binary=:all:", "--ignore-requires-python", "--python-version", "3.13", "--implementation", "cp"]
    for platform in ("manylinux_2_34_x86_64", "manylinux_2_28_x86_64", "manylinux2014_x86_64", "any"):
        options += ["--platform", platform]
    run(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", *options,
        "--dest", str(target), *requirements)  # fmt: skip


def own_tag(name: str, digest: str) -> str:
    """Return the tag under which a build is kept on this machine, whatever reference the roles pin.

    It says what the image was made from, so two checkouts mean the same by it; a role's reference they may not, and the
    user may have upstream's own image under that. Only inside a VPS it is called as the roles call it.
    """
    return f"landfall-testbed/{name}:{digest}"


def tag_of(reference: str) -> str:
    """Return this machine's tag for what this checkout means by a reference. Raises TestbedError if it is not built."""
    tags = json.loads(TAGS.read_text()) if TAGS.is_file() else {}
    if reference not in tags:
        raise TestbedError(f"{reference} is not built yet: run `make images`")
    return str(tags[reference])


def remember(tags: dict[str, str]) -> None:
    """Note which tag of this machine each reference has; those of before stay."""
    kept = json.loads(TAGS.read_text()) if TAGS.is_file() else {}
    fresh = TAGS.with_suffix(".new")
    fresh.write_text(json.dumps({**kept, **tags}, indent=1))
    fresh.replace(TAGS)


def build(image: Image, tag: str, base: str) -> str:
    """Build one image and return what it truly is.

    :param image: what to build
    :param tag: what the result is called
    :param base: the tag of its base, "" if none
    :raises TestbedError: with the end of the failing program's output
    """
    scratch = Path(tempfile.mkdtemp(dir=CACHE / "images"))
    try:
        debs = debian.download(image.suite, image.debs) if image.debs else []
        if image.rootfs:
            label = f"Debian {image.suite}" if image.rootfs != "busybox" else f"Debian {image.suite} busybox"
            if image.rootfs == "busybox":
                debian.busybox(debs, scratch / "root")
                run("tar", "-C", str(scratch / "root"), "-cf", str(scratch / "root.tar"), ".")
            else:
                debian.minbase(image.suite, image.rootfs, scratch / "root.tar")
            changes = ['CMD ["sh"]', "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                       "ENV LANG=C.UTF-8", f'LABEL {LABEL}="{label}"']  # fmt: skip
            options = [part for change in changes for part in ("-c", change)]
            run("docker", "import", *options, str(scratch / "root.tar"), tag)
            return label
        shutil.copytree(image.folder, scratch / "context")
        if debs:
            debian.unpack(debs, scratch / "context/root")
        if image.wheels:
            download_wheels(list(image.wheels), scratch / "context/wheels")
        if image.standin:
            docker_build(scratch / "context", tag, {"BASE": base}, f"stand-in for {image.reference}")
            return "stand-in"
        label = f"Debian {image.names} {debian.version(debs, image.names)}" if debs else image.name
        docker_build(scratch / "context", tag, {"BASE": base}, label)
        if not debs and image.names:
            label = installed(tag, image.names)
            relabel(tag, label)
        return label
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def installed(tag: str, package: str) -> str:
    """Return origin, name and version of a package that was installed during a build."""
    run_in = ["docker", "run", "--rm", "--network", "none", "--entrypoint"]
    found = subprocess.run(
        [*run_in, "dpkg-query", tag, "-W", "-f", "Debian ${Package} ${Version}", package],
        capture_output=True, check=False, text=True,
    )  # fmt: skip
    if found.returncode == 0:
        return found.stdout.strip()
    text = f"import importlib.metadata as m; print('PyPI {package}', m.version('{package}'))"
    return run(*run_in, "python", tag, "-c", text)


def relabel(tag: str, label: str) -> None:
    """Add the label with the true version; it is known only after the build."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "Dockerfile").write_text(f'FROM {tag}\nLABEL {LABEL}="{label}"\n')
        run("docker", "build", "--quiet", "--tag", tag, folder, env=build_environment())


def build_all(only: tuple[str, ...] = ()) -> dict[str, str]:
    """Build and tag all images and return reference -> source of those that a VPS is to hold.

    :param only: names of the catalogue; their bases are built with them
    :raises TestbedError: if one cannot be built
    """
    with locked(CACHE / "images" / "lock"):
        return _build_all(only, Progress("images"))


def _build_all(only: tuple[str, ...], progress: Progress) -> dict[str, str]:
    images = catalog.load()
    wanted = dict(images)
    if only:
        names, todo = set(), list(only)
        while todo:
            name = todo.pop()
            if name and name not in names:
                names.add(name)
                todo.append(images[name].base)
        wanted = {name: image for name, image in images.items() if name in names}
    archived = load_archives(progress)
    tags = dict(archived)
    digests: dict[str, str] = {}
    futures: dict[str, Future[None]] = {}

    def one(image: Image) -> None:
        base = ""
        if image.reference in archived:
            return
        if image.base:
            futures[image.base].result()
            base = tags[images[image.base].reference]
        tag = tags[image.reference]
        if exists(tag):
            told = "unchanged"
        else:
            making = f"{tag}-{CHECKOUT}"  # whole before anybody sees it under its name
            build(image, making, base)
            run("docker", "tag", making, tag)
            run("docker", "rmi", making)
            told = "built"
        progress.say(f"{told:9}  {image.reference}  ({source_of(tag)})")

    # Those that wait stand behind what they wait for, so a full pool cannot block itself
    with ThreadPoolExecutor(max_workers=3) as pool:
        for name, image in wanted.items():
            archive = archived.get(images[image.base].reference, "") if image.base else ""
            digests[name] = catalog.recipe_digest(image, archive or digests.get(image.base, ""))
            tags.setdefault(image.reference, own_tag(name, digests[name]))
            futures[name] = pool.submit(one, image)
    for future in futures.values():
        future.result()
    preload = {image.reference: source_of(tags[image.reference]) for image in wanted.values() if image.preload}
    preload.update(dict.fromkeys(archived, "image-archives/"))
    if not only and (ROOT / "app/Dockerfile").is_file():
        reference, tag = build_app(progress, tags[images["python"].reference])
        tags[reference] = tag
        preload[reference] = source_of(tag)
        fill_wheelhouse(progress, f"{SAMPLE}/requirements.txt", f"{SAMPLE}/wheelhouse", "wheelhouse-board")
    remember(tags)
    return preload


def load_archives(progress: Progress) -> dict[str, str]:
    """Load what lies in image-archives/; return reference -> this machine's tag of what is used as it is."""
    found: dict[str, str] = {}
    for path in sorted((ROOT / "image-archives").glob("*.tar*")):
        with subprocess.Popen(["zstd", "-dcf", str(path)], stdout=subprocess.PIPE) as unpacked:
            loaded = subprocess.run(
                ["docker", "load"], stdin=unpacked.stdout, capture_output=True, text=True, check=False
            )
        if loaded.returncode != 0:
            raise TestbedError(f"{path.relative_to(ROOT)} is no image archive: {loaded.stderr.strip()}")
        references = {
            line.split(": ", 1)[1] for line in loaded.stdout.splitlines() if line.startswith("Loaded image: ")
        }
        progress.say(f"archive    {', '.join(sorted(references))}  ({path.name})")
        for reference in references:
            identity = run("docker", "image", "inspect", "--format", "{{.Id}}", reference)
            found[reference] = own_tag("archive", identity.removeprefix("sha256:")[:12])
            run("docker", "tag", identity, found[reference])
    return found


def fill_wheelhouse(progress: Progress, lock: str, house: str, name: str) -> None:
    """Download what a build context installs, unless its lock is the one that was downloaded for.

    :param progress: where it is said
    :param lock: file of exact versions with hashes, from the repository's root
    :param house: folder of the context for its wheels, from the repository's root
    :param name: of the file that remembers the lock
    """
    folder = ROOT / house
    stamp = CACHE / "images" / name  # not in the build context, whose digest it would change
    wanted = hashlib.sha256((ROOT / lock).read_bytes()).hexdigest() if (ROOT / lock).is_file() else ""
    if folder.is_dir() and stamp.is_file() and stamp.read_text() == wanted:
        return
    fresh = Path(tempfile.mkdtemp(dir=CACHE / "images"))
    download_wheels(["--no-deps", "--require-hashes", "-r", str(ROOT / lock)], fresh)
    fresh.chmod(0o755)
    shutil.rmtree(folder, ignore_errors=True)
    shutil.move(fresh, folder)  # whole or not at all: the context's digest is taken over it
    stamp.write_text(wanted)
    progress.say(f"{house} filled")


def app_reference() -> str:
    """Return the reference that the engine expects of the application built from app/."""
    # The engine's own file, as Ansible sees it; a namespace package, since Ansible's loader is not asked here
    home = str(ROOT / "collections")
    if home not in sys.path:
        sys.path.insert(0, home)
    context = importlib.import_module("ansible_collections.landfall.vps.plugins.module_utils.context")
    return f"landfall/app:{context.build_tag({'context': str(ROOT / 'app')})}"


def build_app(progress: Progress, base: str) -> tuple[str, str]:
    """Build the application's image; return its reference and this machine's tag.

    :param progress: where it is said
    :param base: tag of the image with Python
    """
    fill_wheelhouse(progress, "app/requirements.lock", "app/wheelhouse", "wheelhouse")
    reference = app_reference()
    tag = own_tag("app", hashlib.sha256(f"{reference} {base}".encode()).hexdigest()[:12])
    told = "unchanged"
    if not exists(tag):
        docker_build(ROOT / "app", tag, {"PYTHON_IMAGE": base}, "app/ of this checkout")
        told = "built"
    progress.say(f"{told:9}  {reference}")
    return reference, tag


def offline_report(preload: dict[str, str]) -> str:
    """Return one line per image that says what it truly is."""
    width = max(len(reference) for reference in preload)
    return "\n".join(f"  {reference:{width}}  {source}" for reference, source in sorted(preload.items()))
