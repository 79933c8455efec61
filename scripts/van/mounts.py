"""Volumes of a service: named ones stay, folders beside the compose file become some, files belong into the image."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

from scripts.van import files
from scripts.van.notes import Notes

SOCKET = ("/var/run/docker.sock", "/run/docker.sock")


class Mounts:
    """Makes volumes, and notes on what cannot be one."""

    def __init__(self, project: Any, notes: Notes) -> None:
        self.project, self.notes = project, notes

    def of(self, name: str, service: Mapping[str, Any]) -> list[str]:
        """The volumes of one service, as its item has them."""
        found = [self._mount(name, service, mount) for mount in service.get("volumes") or []]
        return list(dict.fromkeys(one for one in found if one))

    def _mount(self, name: str, service: Mapping[str, Any], mount: Mapping[str, Any]) -> Optional[str]:
        source, target = str(mount.get("source") or ""), str(mount.get("target"))
        where, end = self.project.line(name, "volumes", target), ":ro" if mount.get("read_only") else ""
        if source in SOCKET:
            self.notes.add(
                "hand",
                where,
                name,
                f"{source} makes it the VPS's administrator; if that is meant, add docker_socket to app_allow "
                f"and {source}:{target} to its volumes",
            )
            return None
        if mount.get("type") == "tmpfs":
            return None  # an item of tmpfs
        if mount.get("type") == "volume" and source:
            said = self.project.top["volumes"].get(source) or {}
            if said.get("driver_opts") or said.get("external"):
                self.notes.add(
                    "hand",
                    self.project.line("volumes", source),
                    name,
                    f"volume {source} is external or has a driver of its own",
                )
            return f"{source}:{target}{end}"
        if mount.get("type") == "volume":
            return f"{_volume_name(name, target)}:{target}{end}"
        return self._bind(name, service, Path(source), target, where, end)

    def _bind(
        self, name: str, service: Mapping[str, Any], source: Path, target: str, where: str, end: str
    ) -> Optional[str]:
        context = Path(str((service.get("build") or {}).get("context") or "/nowhere"))
        inside = self.project.folder in (source, *source.parents)
        if source.is_dir() and context in (source, *source.parents) and any(source.iterdir()):
            if files.Dockerfile(service["build"]).holds(target):
                self.notes.add("left", where, name, f"{target}: source code over that of the image, as for development")
            else:
                told = f"{target}: no COPY of the Dockerfile brings {source.name} there, so the image lacks it"
                self.notes.add("hand", where, name, told)
            return None
        if inside and not source.exists():
            volume = (
                _volume_name(name, target)
                if source == self.project.folder
                else _volume_name("", str(source.relative_to(self.project.folder)))
            )
            self.notes.add(
                "changed", where, name, f"{target}: a folder beside the compose file becomes the volume {volume}"
            )
            return f"{volume}:{target}{end}"
        if inside:
            self.notes.add(
                "hand",
                where,
                name,
                f"{target}: {source.relative_to(self.project.folder)} lies on this machine alone; put it into the "
                "image (COPY), or make it a named volume",
            )
            return None
        if not str(source).startswith(("/etc/localtime", "/etc/timezone")):
            self.notes.add("changed", where, name, f"{source} must exist on the VPS")
            return f"{source}:{target}{end}"
        return None


def _volume_name(name: str, target: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", f"{name}-{target}".lower()).strip("-")
