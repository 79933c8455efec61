"""The lines of a service in a compose file, as an operator would write them, from an item of the inventory."""

from __future__ import annotations

import re
from typing import Any, Dict, List, Mapping, Sequence

from ansible_collections.landfall.vps.plugins.module_utils import units
from ansible_collections.landfall.vps.plugins.plugin_utils import quoting

ENV_FILE = ".env"
"""Name of the file with secret variables, in the service's own folder of secrets."""
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
INDENT = "    "


class ServiceError(Exception):
    """What an inventory says of a service cannot be deployed; the message names the item and what would be right."""


def text(value: Any, what: str) -> str:
    """The text of a scalar. Raises ServiceError for nothing, lists and maps."""
    if value is None:
        raise ServiceError("{0} has no value; write '' for an empty one".format(what))
    try:
        return quoting.as_text(value)
    except quoting.QuotingError as error:
        raise ServiceError("{0}: {1}; write it as text, in quotes".format(what, error)) from error


def words(value: Any, what: str) -> List[str]:
    """A command as a list, from a list or from a string as Compose splits it. Raises ServiceError."""
    try:
        found = quoting.words(value)
    except quoting.QuotingError as error:
        raise ServiceError("{0}: {1}".format(what, error)) from error
    if not found:
        raise ServiceError("{0} is empty".format(what))
    return found


def memory(value: Any, told: str) -> Any:
    """A limit of memory as it is. Raises ServiceError for less than Docker takes."""
    if value not in (None, "") and units.size(str(value)) < units.SMALLEST_MEMORY:
        raise ServiceError(
            "{0}: limits.memory: {1} is less than the 6m that Docker takes at least; a number alone is bytes".format(
                told, value)
        )  # fmt: skip
    return value


def env_line(name: str, value: Any, told: str) -> str:
    """One line of a file of variables that Compose reads: between single quotes nothing has a meaning.

    Raises ServiceError for what no version of Compose reads back as it was.
    """
    what = "{0}: secret_environment {1}".format(told, name)
    if not NAME.fullmatch(name):
        raise ServiceError("{0}: no name of a variable".format(what))
    content = text(value, what)
    if re.search(r"['\\\n\r\0]", content):
        raise ServiceError(
            "{0}: a quote ', a backslash or a line break cannot be passed on as a variable; give it as a file by "
            "secrets".format(what)
        )
    return "{0}='{1}'\n".format(name, content)


def read_env(content: str, path: str) -> Dict[str, str]:
    """The variables of a ``.env`` file: NAME=value by line, quotes taken off. Raises ServiceError."""
    found: Dict[str, str] = {}
    content = content[content.startswith("\ufeff") :]  # as Compose does
    for number, line in enumerate((line.strip() for line in content.split("\n")), 1):
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.partition("=")
        name = re.sub(r"^export\s+", "", name).strip()
        if not equals or not NAME.fullmatch(name):
            raise ServiceError("{0}, line {1}: this is no NAME=value".format(path, number))
        value = value.strip()
        if value[:1] in ("'", '"') and value.find(value[0], 1) > 0:
            value = value[1 : value.find(value[0], 1)]
        else:
            value = re.sub(r"\s#.*", "", value).strip()
        if "$" in value and not line.partition("=")[2].strip().startswith("'"):
            raise ServiceError(
                "{0}, line {1}: '$' would be another variable there; write the value itself, in single quotes".format(
                    path, number)
            )  # fmt: skip
        found[name] = value
    return found


def _flow(value: Any) -> str:
    if isinstance(value, (bool, int)) and not isinstance(value, str):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "{" + ", ".join("{0}: {1}".format(quoting.yaml_text(str(k)), _flow(v)) for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_flow(item) for item in value) + "]"
    return quoting.yaml_text(value, expands=True)


def _line(key: str, value: Any) -> str:
    return "{0}{1}: {2}\n".format(INDENT, key, _flow(value))


def _list(key: str, values: Sequence[str]) -> str:
    if not values:
        return ""
    return "{0}{1}:\n".format(INDENT, key) + "".join("{0}  - {1}\n".format(INDENT, _flow(value)) for value in values)


def _map(key: str, values: Mapping[str, str]) -> str:
    if not values:
        return ""
    lines = [
        "{0}  {1}: {2}\n".format(INDENT, quoting.yaml_text(name), _flow(value))
        for name, value in sorted(values.items())
    ]
    return "{0}{1}:\n".format(INDENT, key) + "".join(lines)


def of(
    item: Mapping[str, Any],
    told: str,
    health: Any,
    environment: Mapping[str, str],
    volumes: Sequence[str],
    has_secrets: bool,
) -> str:
    """All lines of one service but those of the macro ``service.defaults``. Raises ServiceError."""
    parts = [_line("stop_grace_period", str(item.get("stop_grace_period") or "30s"))]
    for key in ("entrypoint", "command"):
        if item.get(key) not in (None, "", []):
            parts.append(_line(key, words(item[key], "{0}: {1}".format(told, key))))
    if item.get("secret_environment") or item.get("env_file"):
        parts.append(_line("env_file", ["./secrets/{0}/{1}".format(item["name"], ENV_FILE)]))
    parts.append(_map("environment", environment))
    mounts = ["./secrets/{0}:/run/secrets:ro".format(item["name"])] if has_secrets else []
    parts.append(_list("volumes", [*mounts, *volumes]))
    tmpfs = item.get("tmpfs")
    parts.append(_line("tmpfs", ["/tmp"] if tmpfs is None else [text(mount, told + ": tmpfs") for mount in tmpfs]))  # noqa: S108
    parts.append(_list("ports", [text(port, told + ": publish") for port in item.get("publish") or []]))
    for key in ("extra_hosts", "ulimits", "shm_size"):
        if item.get(key):
            parts.append(_line(key, item[key]))
    for key in ("stop_signal", "working_dir"):
        if item.get(key):
            parts.append(_line(key, text(item[key], "{0}: {1}".format(told, key))))
    parts.append(_health_lines(health))
    return "".join(part for part in parts if part).rstrip("\n")


def _health_lines(health: Any) -> str:
    if not health.test:
        return "{0}# Nobody can ask it: {1}\n{0}healthcheck: {{disable: true}}\n".format(INDENT, health.reason)
    lines = "{0}healthcheck:\n{0}  test: {1}\n".format(INDENT, _flow(list(health.test)))
    for key in ("interval", "timeout", "retries", "start_period"):
        lines += "{0}  {1}: {2}\n".format(INDENT, key, _flow(health.timings[key]))
    return lines + "{0}  start_interval: 1s\n".format(INDENT)
