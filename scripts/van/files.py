"""What else lies in a project and tells of its services: Dockerfiles, scripts they copy, requirements, proxies."""

from __future__ import annotations

import json
import posixpath
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Optional

import yaml

INSTRUCTION = re.compile(r"^\s*(EXPOSE|USER|COPY|ADD|CMD|ENTRYPOINT|FROM|WORKDIR|ENV)\s+(.+)$", re.IGNORECASE)
# Libraries that serve metrics of requests, each with the kind of roles/app
LIBRARIES = {
    "prometheus-fastapi-instrumentator": "instrumentator",
    "django-prometheus": "none",
    "prometheus-flask-exporter": "none",
    "starlette-exporter": "none",
    "starlette-prometheus": "none",
}
LISTS = ("requirements*.txt", "requirements/*.txt", "pyproject.toml", "Pipfile", "setup.cfg")
TEXT = 200_000  # characters of a file that are looked at


class Dockerfile:
    """The few instructions of a Dockerfile that matter here; all empty where there is none."""

    def __init__(self, build: Optional[Mapping[str, Any]]) -> None:
        self.context = Path(str((build or {}).get("context") or "."))
        self.lines: list[tuple[str, str]] = []
        place = self.context / str((build or {}).get("dockerfile") or "Dockerfile")
        if build and place.is_file():
            plain = re.sub(r"(?m)^\s*#.*\n", "", place.read_text(encoding="utf-8", errors="replace"))
            text = re.sub(r"\\\n", " ", plain)
            found = [INSTRUCTION.match(line) for line in text.splitlines()]
            self.lines = [(match[1].upper(), match[2].strip()) for match in found if match]

    def _last(self, instruction: str) -> str:
        return next((rest for name, rest in reversed(self.lines) if name == instruction), "")

    @property
    def copied(self) -> list[Path]:
        """Files and folders of the context that COPY brings into the image, other than all of it."""
        words = [
            word for name, rest in self.lines if name == "COPY" and "--from" not in rest for word in rest.split()[:-1]
        ]
        places = [self.context / word for word in words if not word.startswith("--")]
        return [place for place in places if place.exists() and place.resolve() != self.context.resolve()]

    def holds(self, path: str) -> bool:
        """Whether COPY or ADD brings something to a folder of the image, as far as its Dockerfile tells."""
        place = "/"
        for name, rest in self.lines:
            if name == "WORKDIR":
                place = posixpath.join(place, self._filled(rest.strip("\"'")))
            if name not in ("COPY", "ADD"):
                continue
            last = _form(rest)[-1] if rest.startswith("[") and _form(rest) else rest.split()[-1]
            target = posixpath.normpath(posixpath.join(place, self._filled(last.strip("\"'"))))
            if "$" in target or f"{path.rstrip('/')}/".startswith(f"{target.rstrip('/')}/") or target.startswith(path):
                return True
        return not self.lines

    def _filled(self, text: str) -> str:
        return re.sub(r"\$\{?(\w+)\}?", lambda found: self.environment.get(found[1], found[0]), text)

    @property
    def environment(self) -> dict[str, str]:
        """ENV: what each container of the image is told."""
        found: dict[str, str] = {}
        for rest in [rest for name, rest in self.lines if name == "ENV"]:
            try:
                words = shlex.split(rest)
            except ValueError:
                continue
            pairs = [word.partition("=") for word in words]
            if all(equals for _key, equals, _value in pairs):
                found.update({key: value for key, _equals, value in pairs})
            elif len(words) > 1:
                found[words[0]] = " ".join(words[1:])
        return found

    @property
    def port(self) -> int:
        """The first port of EXPOSE, 0 for none."""
        found = re.match(r"(\d+)", self._last("EXPOSE"))
        return int(found[1]) if found else 0

    @property
    def user(self) -> str:
        """USER, empty where the image runs as root or nobody knows."""
        return self._last("USER")

    @property
    def command(self) -> list[str]:
        """ENTRYPOINT and CMD as words."""
        return [*self.entrypoint, *self.words("CMD")]

    @property
    def entrypoint(self) -> list[str]:
        """ENTRYPOINT as words."""
        return self.words("ENTRYPOINT")

    def words(self, instruction: str) -> list[str]:
        """The last ENTRYPOINT or CMD as words, none where there is none."""
        return _form(self._last(instruction))

    def script_file(self, path: str) -> Optional[Path]:
        """The file of the context that is probably ``path`` in the image, None for what is no script of it."""
        if not re.fullmatch(r"[\w./-]+", path) or not ("/" in path or path.endswith(".sh")):
            return None
        copied = self._copied(path)
        parts = [part for part in path.split("/") if part not in ("", ".", "..")]
        likely = [self.context.joinpath(*parts[at:]) for at in range(len(parts))]
        return next((one for one in [copied, *likely] if one and one.is_file() and one.stat().st_size < TEXT), None)

    def script(self, path: str) -> str:
        """The text of a file that COPY brings to ``path`` of the image, empty where none does."""
        found = self._copied(path)
        return found.read_text(encoding="utf-8", errors="replace")[:TEXT] if found else ""

    def _copied(self, path: str) -> Optional[Path]:
        for name, rest in self.lines:
            words = [word for word in rest.split() if not word.startswith("--")]
            if name != "COPY" or len(words) < 2:  # noqa: PLR2004 - source and target
                continue
            for source in words[:-1]:
                target = words[-1].rstrip("/")
                inside = f"{target}/{Path(source).name}" if words[-1].endswith("/") else target
                whole = self.context / source
                if inside == path and whole.is_file():
                    return whole
                if whole.is_dir() and path.startswith((f"{target}/", "./", "../")):
                    inner = whole / (path[len(target) + 1 :] if path.startswith(f"{target}/") else path)
                    if inner.is_file():
                        return inner
        return None

    def metrics(self) -> str:
        """The kind of metrics that a library in the context's requirements serves, empty for none."""
        for pattern in LISTS:
            for path in self.context.glob(pattern):
                text = path.read_text(encoding="utf-8", errors="replace")[:TEXT].lower()
                for library, kind in LIBRARIES.items():
                    if library in text:
                        return kind
        return ""


def _form(text: str) -> list[str]:
    if text.startswith("["):
        try:
            return [str(word) for word in json.loads(text)]
        except ValueError:
            return []
    if re.search(r"&&|\|\||;|\$", text):
        return ["sh", "-c", text]  # as Docker runs it
    try:
        return shlex.split(text) if text else []
    except ValueError:
        return []


def nginx_sites(text: str) -> Iterator[tuple[str, str, str, int]]:
    """``(host, path, service, port)`` of each proxy_pass in a configuration of nginx; host is empty for any."""
    found = re.findall(r"upstream\s+(\S+)\s*\{[^}]*?server\s+([^\s;]+)", text, re.DOTALL)
    upstreams: dict[str, str] = dict(found)
    for block in re.split(r"\bserver\s*\{", text)[1:]:
        names = re.search(r"server_name\s+([^;]+);", block)
        hosts = [name for name in (names[1].split() if names else []) if re.fullmatch(r"[a-z0-9.-]+\.[a-z]+", name)]
        for path, inner in re.findall(r"location\s+(?:[=~^*]+\s+)?(\S+)\s*\{([^}]*)\}", block):
            passed = re.search(r"proxy_pass\s+https?://([^/;\s]+)", inner)
            if passed:
                server = upstreams.get(passed[1], passed[1])
                service, _colon, port = server.partition(":")
                for host in hosts or [""]:
                    yield host, path, service, int(port) if port.isdigit() else 80


def rule(text: str) -> Iterator[tuple[str, str]]:
    """``(host, path)`` of each name and path in a rule of Traefik."""
    quoted = r"[`'\"]([^`'\"]+)"
    hosts = [host for inside in re.findall(r"Host\(([^)]*)\)", text) for host in re.findall(quoted, inside)]
    inside = " ".join(re.findall(r"Path(?:Prefix)?\(([^)]*)\)", text))
    paths = [path for path in re.findall(quoted, inside) if path.startswith("/")]
    for host in [one for one in hosts if re.fullmatch(r"[A-Za-z0-9.-]+", one)] or ([""] if paths else []):
        yield from ((host, path) for path in paths or ["/"])


def traefik_sites(text: str) -> Iterator[tuple[str, str, str, int]]:
    """``(host, path, service, port)`` of each router in a file of Traefik, if it says what it leads to."""
    try:
        http = (yaml.safe_load(text) or {}).get("http") or {}
        urls = {
            name: one["loadBalancer"]["servers"][0]["url"]
            for name, one in (http.get("services") or {}).items()
            if (one.get("loadBalancer") or {}).get("servers")
        }
        routers = [(one.get("rule", ""), urls.get(one.get("service"), "")) for one in http.get("routers", {}).values()]
    except (yaml.YAMLError, AttributeError, KeyError, TypeError):
        return
    for rules, url in routers:
        target = re.match(r"https?://([^:/]+)(?::(\d+))?", url)
        if target:
            yield from ((host, path, target[1], int(target[2] or 80)) for host, path in rule(rules))


def caddy_sites(text: str) -> Iterator[tuple[str, str, str, int]]:
    """``(host, path, service, port)`` of each reverse_proxy in a Caddyfile."""
    host = ""
    for line in text.splitlines():
        opened = re.match(r"^([a-zA-Z0-9.:/*-]+(?:,\s*[a-zA-Z0-9.:/*-]+)*)\s*\{", line)
        if opened:
            host = re.sub(r"^https?://|:\d+$", "", opened[1].split(",")[0])
        passed = re.match(r"^\s*reverse_proxy\s+(?:(/\S+)\s+)?(?:https?://)?([a-zA-Z0-9_.-]+):(\d+)", line)
        if passed:
            yield host, passed[1] or "/", passed[2], int(passed[3])
