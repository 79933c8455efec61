"""Debian packages of any suite on any machine, unpacked or as a root file system, signatures checked."""

from __future__ import annotations

import re
import shutil
import tempfile
import time
from pathlib import Path

from .paths import CACHE, TestbedError, locked, run

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
LISTS_FRESH_FOR = 36_000  # seconds


def mirror() -> str:
    """Return the mirror that this machine itself uses. Raises TestbedError when apt names none."""
    for path in [*sorted(Path("/etc/apt/sources.list.d").glob("*.sources")), Path("/etc/apt/sources.list")]:
        if path.is_file():
            found = re.search(r"^(?:URIs:|deb(?: \[[^]]*\])?)\s+(https?://\S*debian/?)(?=\s|$)", path.read_text(), re.M)
            if found:
                return found.group(1).rstrip("/")
    raise TestbedError("apt names no Debian mirror: add one to /etc/apt/sources.list or sources.list.d")


def sources(suite: str) -> str:
    """Return the lines of a sources.list; a released suite has its updates and security fixes beside it."""
    base = mirror()
    lines = [f"deb {base} {suite} main"]
    if suite in {"bookworm", "trixie"}:
        lines += [f"deb {base} {suite}-updates main", f"deb {base}-security {suite}-security main"]
    return "\n".join(lines) + "\n"


def download(suite: str, packages: tuple[str, ...]) -> list[Path]:
    """Download packages of a suite without touching this machine's own apt settings.

    :raises TestbedError: if a package is not there or its signature is not valid
    """
    home = CACHE / "apt" / suite
    # By file: stages run side by side, each in a process of its own, and apt refuses a second one
    with locked(home / "lock"):
        for folder in ("etc/apt.conf.d", "etc/preferences.d", "lists/partial", "cache/archives/partial", "debs"):
            (home / folder).mkdir(parents=True, exist_ok=True)
        (home / "status").touch()
        signed = f"[signed-by={KEYRING}]"
        (home / "etc/sources.list").write_text(re.sub("^deb ", f"deb {signed} ", sources(suite), flags=re.M))
        options = {
            "Dir::Etc": home / "etc",
            "Dir::Etc::sourcelist": home / "etc/sources.list",
            "Dir::Etc::sourceparts": "-",
            "Dir::State": home,
            "Dir::State::lists": home / "lists",
            "Dir::State::status": home / "status",
            "Dir::Cache": home / "cache",
            "Acquire::Languages": "none",
            # Testing's index may be older than it promises; its signature is checked all the same
            "Acquire::Check-Valid-Until": "false",
            "APT::Sandbox::User": "root",
        }
        apt = ["apt-get", "-qq", *[part for key, value in options.items() for part in ("-o", f"{key}={value}")]]
        indexes = list((home / "lists").glob("*_Packages*"))
        if not indexes or time.time() - min(path.stat().st_mtime for path in indexes) > LISTS_FRESH_FOR:
            run(*apt, "update")
            for path in (home / "lists").glob("*_Packages*"):
                path.touch()
        target = Path(tempfile.mkdtemp(dir=home / "debs"))
        try:
            run("env", "-C", str(target), *apt, "download", *packages)
            found = []
            for path in sorted(target.glob("*.deb")):
                found.append(path.rename(home / "debs" / path.name))
        finally:
            shutil.rmtree(target)
    if len(found) != len(packages):
        raise TestbedError(f"{suite} gave {[path.name for path in found]} for {packages}")
    return found


def unpack(debs: list[Path], root: Path) -> None:
    """Unpack packages below a folder, without what no container reads."""
    root.mkdir(parents=True, exist_ok=True)
    for path in debs:
        run("dpkg", "-x", str(path), str(root))
    for name in ("doc", "man", "lintian", "locale"):
        shutil.rmtree(root / "usr/share" / name, ignore_errors=True)


def version(debs: list[Path], package: str) -> str:
    """Return the version of one of the downloaded packages."""
    for path in debs:
        if path.name.startswith(f"{package}_"):
            return run("dpkg-deb", "-f", str(path), "Version")
    raise TestbedError(f"{package} is not among {[path.name for path in debs]}")


def minbase(suite: str, variant: str, tar: Path) -> None:
    """Write the root file system of a suite as a tar archive."""
    listing = tar.with_suffix(".list")
    listing.write_text(sources(suite))
    excluded = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("man", "locale", "doc")]
    run(
        "mmdebstrap",
        f"--variant={variant}",
        "--include=ca-certificates",
        '--aptopt=Acquire::Languages "none"',
        '--aptopt=APT::Install-Recommends "false"',
        '--aptopt=Acquire::Check-Valid-Until "false"',
        *excluded,
        "--dpkgopt=path-include=/usr/share/doc/*/copyright",
        suite,
        str(tar),
        str(listing),
    )


def busybox(debs: list[Path], root: Path) -> None:
    """Make a root file system like that of upstream's small images: libc, a shell, wget, certificates."""
    unpack(debs, root)
    root.chmod(0o755)
    shutil.rmtree(root / "usr/lib/x86_64-linux-gnu/gconv", ignore_errors=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        old, new = root / name, root / "usr" / name
        new.mkdir(parents=True, exist_ok=True)
        if old.is_dir() and not old.is_symlink():
            run("cp", "-a", f"{old}/.", f"{new}/")
            shutil.rmtree(old)
        if not old.is_symlink():
            old.symlink_to(f"usr/{name}")
    for applet in run("chroot", str(root), "/usr/bin/busybox", "--list").split():
        link = root / "usr/bin" / applet
        if not link.exists() and not link.is_symlink():
            link.symlink_to("busybox")
    for name in ("etc/ssl/certs", "proc", "sys", "dev", "run", "root", "home", "tmp", "var/tmp"):
        (root / name).mkdir(parents=True, exist_ok=True)
    for name in ("tmp", "var/tmp"):
        (root / name).chmod(0o1777)
    bundle = sorted((root / "usr/share/ca-certificates").rglob("*.crt"))
    (root / "etc/ssl/certs/ca-certificates.crt").write_bytes(b"".join(path.read_bytes() for path in bundle))
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n")
    (root / "etc/group").write_text("root:x:0:\nnogroup:x:65533:\nnobody:x:65534:\n")
    (root / "etc/nsswitch.conf").write_text("hosts: files dns\n")
