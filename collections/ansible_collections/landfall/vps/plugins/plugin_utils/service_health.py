"""How one asks a service whether it is well: the healthcheck of its containers, its proof, the probe from outside."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Tuple

from ansible_collections.landfall.vps.plugins.module_utils import units
from ansible_collections.landfall.vps.plugins.plugin_utils import quoting
from ansible_collections.landfall.vps.plugins.plugin_utils.service_lines import ServiceError, words

TIMINGS = {"interval": "10s", "timeout": "5s", "retries": 3, "start_period": "30s"}
KINDS = ("path", "tcp", "exec", "none")
SHORTEST = 0.001
"""Seconds: the engine takes no shorter time."""
HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?(?::[0-9]{1,5})?")
EXAMPLE = "a path such as /health, tcp, a command as a list, or {none: why nobody can ask it}"


@dataclass(frozen=True)
class Health:
    """``test`` as Compose takes it, empty for a container that nobody can ask; ``reason`` says why then."""

    test: Tuple[str, ...]
    timings: Mapping[str, Any]
    reason: str = ""

    @property
    def patience(self) -> int:
        """Seconds after which a container that starts slowly is unhealthy by its own settings."""
        if not self.test:
            return 0
        start, interval, timeout = (
            units.seconds(str(self.timings[key])) for key in ("start_period", "interval", "timeout")
        )
        return int(start + (interval + timeout) * int(self.timings["retries"]))


def kind_of(item: Mapping[str, Any], told: str) -> Tuple[str, Any, Mapping[str, Any]]:
    """``(path, tcp, exec or none; what it says; the mapping that it came in)``. Raises ServiceError."""
    value = item.get("health")
    if value is None or value in ("", [], {}):
        if item.get("one_shot"):
            return "none", "it runs once", {}
        raise ServiceError("{0} has no health; give {1}".format(told, EXAMPLE))
    if isinstance(value, Mapping):
        kinds = [kind for kind in KINDS if kind in value]
        unknown = sorted(set(value) - {*KINDS, *TIMINGS, "port", "host"})
        if len(kinds) != 1 or unknown:
            raise ServiceError(
                "{0}: health {1}; it is one of {2}, with port, host, interval, timeout, retries, start_period".format(
                    told, "has no {0}".format(", ".join(unknown)) if unknown else "says how to ask not once",
                    ", ".join(KINDS))
            )  # fmt: skip
        return kinds[0], value[kinds[0]], value
    if isinstance(value, str) and value == "tcp":
        return "tcp", True, {}
    if isinstance(value, str) and value.startswith("/"):
        return "path", value, {}
    if isinstance(value, (list, tuple)) or (isinstance(value, str) and re.search(r"\s", value.strip())):
        return "exec", value, {}
    raise ServiceError("{0}: health is {1!r}; give {2}".format(told, value, EXAMPLE))


def _port(item: Mapping[str, Any], more: Mapping[str, Any], told: str, what: str) -> int:
    port = more.get("port") or item.get("port")
    if not port:
        raise ServiceError("{0} has {1} and no port; say by port where it answers".format(told, what))
    return _number(port, 65535, "{0}: {1}: port".format(told, what))


def _number(value: Any, most: int, what: str) -> int:
    text = str(value)
    if isinstance(value, bool) or not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= most:
        raise ServiceError("{0} is {1}; it must be a whole number, 1 to {2}".format(what, value, most))
    return int(text)


def host_of(item: Mapping[str, Any], more: Mapping[str, Any], told: str) -> str:
    """The Host header with which the service is asked, empty for none. Raises ServiceError."""
    host = str(more.get("host") or item.get("host") or "")
    if host and not HOST.fullmatch(host):
        raise ServiceError("{0}: host '{1}' is no name such as shop.example.org".format(told, host))
    return host


def _path(path: Any, told: str, what: str) -> str:
    text = str(path or "")
    if not text.startswith("/") or not text.isprintable() or not text.isascii() or " " in text:
        raise ServiceError("{0}: {1} '{2}' is no path; write one such as /health".format(told, what, text))
    return text


def of(item: Mapping[str, Any], told: str) -> Health:
    """The healthcheck of an item's containers. Raises ServiceError."""
    kind, value, more = kind_of(item, told)
    timings = _timings(item, more, told)
    if kind == "none":
        if not isinstance(value, str) or not value.strip():
            raise ServiceError("{0}: health none needs the reason why nobody can ask it".format(told))
        return Health((), timings, " ".join(value.split()))
    if kind == "path":
        path, port = _path(value, told, "health"), _port(item, more, told, "a path as health")
        # A second less than the container has for it, so that the answer is the command's own and not a kill
        seconds = max(1, int(units.seconds(str(timings["timeout"]))) - 1)
        asked = quoting.http_health(path, port, host=host_of(item, more, told), seconds=seconds)
        return Health(("CMD-SHELL", asked), timings)
    if kind == "tcp":
        said = {"port": value} if value and value is not True else more
        return Health(("CMD-SHELL", listens(_port(item, said, told, "tcp as health"))), timings)
    if isinstance(value, str):
        return Health(("CMD-SHELL", value), timings)
    argv = words(value, told + ": health")
    if argv[0] == "NONE":
        raise ServiceError("{0}: health [NONE] gives no reason; write {{none: why nobody can ask it}}".format(told))
    return Health(tuple(argv if argv[0] in ("CMD", "CMD-SHELL") else ["CMD", *argv]), timings)


def listens(port: int) -> str:
    """A shell command that exits 0 while somebody in the container listens on a TCP port; needs grep alone."""
    return "grep -qE ':{0:04X} [0-9A-F]+:0000 0A' /proc/net/tcp /proc/net/tcp6 2>/dev/null".format(port)


def _timings(item: Mapping[str, Any], more: Mapping[str, Any], told: str) -> Dict[str, Any]:
    found: Dict[str, Any] = {}
    for key, default in TIMINGS.items():
        value = more.get(key)
        value = item.get("health_" + key) if value is None else value
        value = item.get("_health_" + key, default) if value is None else value
        what = "{0}: health {1}".format(told, key)
        if key == "retries":
            if isinstance(value, bool) or not str(value).isdigit() or int(value) < 1:
                raise ServiceError("{0} is {1}; it must be a whole number from 1 on".format(what, value))
            found[key] = int(value)
            continue
        fault = units.duration_fault(str(value), "compose")
        if fault or (key != "start_period" and units.seconds(str(value)) < SHORTEST):
            raise ServiceError("{0}: {1}".format(what, fault or "'{0}' is shorter than 1ms".format(value)))
        found[key] = str(value)
    return found


def proofs(item: Mapping[str, Any], told: str, container: str) -> List[Dict[str, Any]]:
    """What is asked of a container after its start, besides its own healthcheck. Raises ServiceError."""
    ready = item.get("ready")
    if not ready:
        return []
    more = ready if isinstance(ready, Mapping) else {"path": ready}
    unknown = sorted(set(more) - {"path", "port", "host", "status", "contains"})
    if unknown:
        raise ServiceError("{0}: ready has no {1}; it has path, port, host, status, contains".format(
            told, ", ".join(unknown)))  # fmt: skip
    found: Dict[str, Any] = {
        "service": container,
        "port": _port(item, more, told, "a path as ready"),
        "path": _path(more.get("path"), told, "ready"),
    }
    host = host_of(item, more, told)
    if host:
        found["headers"] = {"Host": host}
    if more.get("status"):
        status = str(more["status"])
        if not re.fullmatch(r"[1-5][0-9]{2}", status):
            raise ServiceError("{0}: ready: status is {1}; write one number such as 204".format(told, status))
        found["status"] = int(status)
    if more.get("contains"):
        if not isinstance(more["contains"], str):
            raise ServiceError(
                "{0}: ready: contains is {1}; write it as text, in quotes".format(told, more["contains"])
            )
        found["contains"] = more["contains"]
    return [found]


def asked_at(item: Mapping[str, Any], told: str) -> Optional[Dict[str, Any]]:
    """``{port, path, host}`` where the service is asked over HTTP from outside its container, None where it is not.

    That is ``ready``, else a path of ``health``; ``path`` is empty where only a TCP port is known.
    """
    ready = item.get("ready")
    if ready:
        proof = proofs(item, told, "x")[0]
        return {"port": proof["port"], "path": proof["path"], "host": proof.get("headers", {}).get("Host", "")}
    kind, value, more = kind_of(item, told)
    if kind == "path":
        return {"port": _port(item, more, told, "a path as health"), "path": str(value),
                "host": host_of(item, more, told)}  # fmt: skip
    if kind != "none" and item.get("port"):
        return {"port": int(item["port"]), "path": "", "host": ""}
    return None
