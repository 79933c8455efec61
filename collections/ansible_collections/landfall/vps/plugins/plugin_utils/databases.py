"""Databases and users of a server as the inventory names them, completed: owners, who may enter, passwords, URLs."""

from __future__ import annotations

from typing import Any, Dict, Iterable, List, Mapping, Sequence
from urllib.parse import quote

UNLIMITED = -1
KINDS = ("read", "write")
SYSTEM = ("template0", "template1", "public", "none")
"""Names that a server of SQL has for itself, beside its superuser's and those that begin with pg_."""


class DatabaseError(ValueError):
    """The inventory's databases and users do not fit together; the message names the variable."""


def complete(
    databases: Sequence[Mapping[str, Any]],
    users: Sequence[Mapping[str, Any]],
    names: Sequence[str],
    monitor: Mapping[str, Any],
    superuser: str,
) -> Dict[str, Any]:
    """What a server is to have: ``{users, databases, given, generated}``.

    ``users`` is ``[{name, connection_limit, roles}]``, ``databases`` is ``[{name, owner, connection_limit, extensions,
    access, scheme}]``. The owner of a database that is no item of ``users`` is a user without more. ``given`` maps
    users to passwords that the inventory names, ``generated`` lists those that need one. ``names`` are the variables of
    databases and users; ``monitor`` is the role's own user, with its password, and ``superuser`` is that of the server.
    Raises DatabaseError.
    """
    accounts = {str(user["name"]): dict(user) for user in users}
    for path, name in _named(databases, users, names):
        _refuse_reserved(path, name, str(monitor["name"]), superuser)
    for variable, items in zip(names, (databases, users)):
        for index, item in enumerate(items):
            if int(item.get("connection_limit", UNLIMITED)) == 0:
                form = "{0}[{1}].connection_limit: 0 lets nobody in; write a number above 0, or leave it out"
                raise DatabaseError(form.format(variable, index))
    for item in databases:
        accounts.setdefault(_owner(item), {"name": _owner(item)})
    for index, item in enumerate(databases):
        for user, kind in (item.get("access") or {}).items():
            if kind not in KINDS:
                form = "{0}[{1}].access.{2}: '{3}'; write read or write"
                raise DatabaseError(form.format(names[0], index, user, kind))
            if user not in accounts or user == _owner(item):
                why = "owns it and needs none" if user in accounts else "is no item of {0}".format(names[1])
                raise DatabaseError("{0}[{1}].access: {2} {3}".format(names[0], index, user, why))
    accounts[str(monitor["name"])] = dict(monitor)
    return {
        "users": [
            {
                "name": name,
                "connection_limit": int(user.get("connection_limit", UNLIMITED)),
                "roles": [str(role) for role in user.get("roles") or []],
            }
            for name, user in accounts.items()
        ],
        "databases": [
            {
                "name": str(item["name"]),
                "owner": _owner(item),
                "connection_limit": int(item.get("connection_limit", UNLIMITED)),
                "extensions": [str(name) for name in item.get("extensions") or []],
                "access": [{"user": user, "kind": kind} for user, kind in (item.get("access") or {}).items()],
                "scheme": str(item.get("scheme") or "postgresql"),
            }
            for item in databases
        ],
        "given": {name: user["password"] for name, user in accounts.items() if user.get("password")},
        "generated": [name for name, user in accounts.items() if not user.get("password")],
    }


def urls(accounts: Mapping[str, Any], passwords: Mapping[str, str], host: str, port: int) -> Dict[str, str]:
    """Database to the URL by which its owner enters it; what is special in a password is percent-encoded."""
    return {
        item["name"]: "{0}://{1}:{2}@{3}:{4}/{5}".format(
            item["scheme"], item["owner"], quote(passwords[item["owner"]], safe=""), host, port, item["name"]
        )
        for item in accounts["databases"]
    }


def _owner(item: Mapping[str, Any]) -> str:
    return str(item.get("owner") or item["name"])


def _named(
    databases: Sequence[Mapping[str, Any]], users: Sequence[Mapping[str, Any]], names: Sequence[str]
) -> Iterable[List[str]]:
    for variable, items, keys in ((names[0], databases, ("name", "owner")), (names[1], users, ("name",))):
        for index, item in enumerate(items):
            for key in keys:
                if item.get(key):
                    yield ["{0}[{1}].{2}".format(variable, index, key), str(item[key])]


def _refuse_reserved(path: str, name: str, monitor: str, superuser: str) -> None:
    if name in (*SYSTEM, superuser) or name.startswith("pg_"):
        raise DatabaseError("{0}: '{1}' is a name of the server's own; choose another".format(path, name))
    if name == monitor:
        raise DatabaseError("{0}: '{1}' is the user who monitors; choose another".format(path, name))
