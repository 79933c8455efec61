"""Redis and PostgreSQL: the roles' servers in place of a project's, and what the environment says of them rewritten."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Optional
from urllib.parse import unquote

from scripts.van import kinds
from scripts.van.notes import Notes

URL = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?:(?P<user>[^:@/\s]*)(?::(?P<password>[^@/\s]*))?@)?(?P<host>[A-Za-z0-9._-]+)"
    r"(?::(?P<port>\d+))?(?P<rest>/[^\s]*)?",
    re.IGNORECASE,
)
HOSTS = re.compile(r"HOST|SERVER|ADDR|REDIS|BROKER|CACHE|DB|PG|SQL|ENDPOINT|URL")
NEWEST = 17
"""The major version of PostgreSQL of roles/postgres."""
ITS_OWN = ("shared_preload_libraries", "max_connections")
UNSAFE = ("fsync", "full_page_writes")
"""Settings that the role refuses, as a test's database may have them."""
OWN = "postgres"
"""The superuser and a database of the server's own, which an application cannot have."""


@dataclass
class Server:
    """A server of the project that a role takes over."""

    names: set[str]
    host: str
    user: str = ""
    password: str = ""
    database: str = ""
    new_user: str = ""
    new_database: str = ""
    used: set[str] = field(default_factory=set)
    """Services that were told of it with a password."""
    mentioned: set[str] = field(default_factory=set)


def names_of(name: str, service: Mapping[str, Any]) -> set[str]:
    """All names by which others reach a service."""
    networks = service.get("networks")
    aliases = [
        alias
        for one in (networks.values() if isinstance(networks, dict) else [])
        for alias in (one or {}).get("aliases") or []
    ]
    return {name, *aliases, *filter(None, [service.get("container_name"), service.get("hostname")])}


def postgres(
    name: str, service: Mapping[str, Any], title: str, project: Any, notes: Notes
) -> tuple[Server, dict[str, Any]]:
    """The server and the variables of roles/postgres for it."""
    environment = {key: str(value) for key, value in (service.get("environment") or {}).items() if value is not None}
    user = environment.get("POSTGRES_USER") or OWN
    database = environment.get("POSTGRES_DB") or user
    server = Server(names_of(name, service), OWN, user, _password(environment, project), database)
    free = re.sub(r"[^a-z0-9_]+", "_", title.lower()).strip("_") or "app"
    server.new_database = free if database == OWN else _name(database)
    server.new_user = server.new_database if user == OWN else _name(user)
    where = project.line(name, "environment")
    if user == OWN:
        notes.add(
            "changed", where, name, f"the application signed in as the superuser; its user is now {server.new_user}"
        )
    if database == OWN:
        notes.add(
            "changed",
            where,
            name,
            f"the database postgres is the server's own; the application's is now {server.new_database}",
        )
    for old, new in ((user, server.new_user), (database, server.new_database)):
        if old not in (new, OWN):
            notes.add("changed", where, name, f"{old} is called {new} here: small letters, digits, _ and - alone")
    item: dict[str, Any] = {"name": server.new_database}
    if server.new_user != server.new_database:
        item["owner"] = server.new_user
    values: dict[str, Any] = {"postgres_enabled": True, "postgres_databases": [item]}
    if server.password:
        values["postgres_users"] = [{"name": server.new_user, "password": server.password}]
    _version(name, service, values, item, project, notes)
    for mount in service.get("volumes") or []:
        target = str(mount.get("target"))
        if target.startswith("/docker-entrypoint-initdb.d"):
            notes.add(
                "hand",
                project.line(name, "volumes"),
                name,
                f"{target}: scripts of a first start; run them once with psql, or say databases, users and "
                "extensions in postgres_databases and postgres_users",
            )
    settings = re.findall(r"-c\s*([a-z_.]+)=(\S+)", " ".join(service.get("command") or []))
    own = {key: value for key, value in settings if key not in (*ITS_OWN, *UNSAFE)}
    values.update({"postgres_settings": own} if own else {})
    for key, value in settings:
        if key in UNSAFE:
            told = f"{key}={value} was left out: a power cut would destroy the data"
            notes.add("left", project.line(name, "command"), name, told)
        elif key == "max_connections":
            told = f"{key}={value}: it is postgres_max_connections here, which the profile sets; raise it if need be"
            notes.add("changed", project.line(name, "command"), name, told)
    notes.add(
        "changed",
        project.where.get((name,), ""),
        name,
        "PostgreSQL is the role postgres now, host postgres; move the data with pg_dump and pg_restore "
        "(docs/own-application.md)",
    )
    return server, values


def _name(text: str) -> str:
    """A name that the role takes, for one that it may not."""
    small = re.sub(r"[^a-z0-9_-]+", "_", text.lower())[:63]
    return small if re.match("[a-z]", small) else f"db_{small}"[:63]


def _password(environment: Mapping[str, str], project: Any) -> str:
    """The server's password, also one in a file that is a secret of the project."""
    named = environment.get("POSTGRES_PASSWORD_FILE", "").rpartition("/")[2]
    return environment.get("POSTGRES_PASSWORD") or (project.secret(named) or "").strip()


def _version(
    name: str, service: Mapping[str, Any], values: dict[str, Any], item: dict[str, Any], project: Any, notes: Notes
) -> None:
    image = kinds.origin(service)
    bare = image.partition("@")[0]
    tag = bare.rpartition(":")[2] if ":" in bare.rpartition("/")[2] else ""
    extension = {"postgis": "postgis", "pgvector": "vector"}.get(kinds.base(image))
    if extension:
        values["postgres_image"], item["extensions"] = image, [extension]
        return
    number = re.match(r"\d+", tag)
    major = int(number[0]) if number else NEWEST
    if major > NEWEST:
        values["postgres_image"] = image if "alpine" not in tag else f"postgres:{tag.partition('-')[0]}"
    elif major < NEWEST:
        notes.add("changed", project.line(name, "image"), name, f"PostgreSQL {major} becomes {NEWEST}")


def redis(name: str, service: Mapping[str, Any]) -> Server:
    """The server that roles/redis takes over; its password there is in its command or environment."""
    words = service.get("command") or []
    at = words.index("--requirepass") + 1 if "--requirepass" in words else 0
    environment = service.get("environment") or {}
    password = words[at] if at and at < len(words) else environment.get("REDIS_PASSWORD") or ""
    return Server(names_of(name, service), "redis", password=str(password))


def rewrite(name: str, value: str, service: str, server: Server) -> Optional[str]:
    """A variable of ``service`` as a template that names the role's server, None if it does not speak of it."""
    whole = URL.fullmatch(value)
    if whole and whole["host"] in server.names:
        server.used.add(service)
        return _url(whole, server)
    upper = name.upper()
    hosted = re.fullmatch(r"([A-Za-z0-9._-]+):(\d+)", value)
    if (value in server.names and HOSTS.search(upper)) or (hosted and hosted[1] in server.names):
        server.mentioned.add(service)
        port = 6379 if server.host == "redis" else 5432
        return f"{server.host}:{port}" if hosted else server.host
    found = _redis_word(upper) if server.host == "redis" else _postgres_word(upper, value, server)
    if found and "{{" in found:
        server.used.add(service)
    return found


def _redis_word(upper: str) -> Optional[str]:
    named = re.search(r"(?:REDIS|VALKEY|(?<!MEM)CACHE|BROKER).*PASS", upper) and not upper.endswith("_FILE")
    return "{{ redis_password }}" if named else None


def _postgres_word(upper: str, value: str, server: Server) -> Optional[str]:
    if not re.search(r"PG|POSTGRE|SQL|DB|DATABASE", upper):
        return None
    if "PASS" in upper and value == server.password:
        return "{{ " + f"postgres_passwords['{server.new_user}']" + " }}"
    if server.user != server.new_user and value == server.user and "USER" in upper:
        return server.new_user
    if server.database != server.new_database and value == server.database and re.search("DB|NAME|DATABASE", upper):
        return server.new_database
    return None


def _url(found: re.Match[str], server: Server) -> str:
    rest = found["rest"] or ""
    if server.host == "redis":
        return f"{found['scheme']}://:{{{{ redis_password | landfall.vps.url_text }}}}@redis:6379{rest}"
    path, question, query = rest.lstrip("/").partition("?")
    database = server.new_database if unquote(path) in (server.database, "") else path
    password = f"{{{{ postgres_passwords['{server.new_user}'] | landfall.vps.url_text }}}}"
    return f"{found['scheme']}://{server.new_user}:{password}@postgres:5432/{database}{question}{query}"
