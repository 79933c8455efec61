"""Filters that complete the databases and users of an inventory, see plugin_utils/databases.py."""

from __future__ import annotations

import json
from typing import Any, Callable, Dict, Mapping, Sequence

from ansible.errors import AnsibleFilterError
from ansible_collections.landfall.vps.plugins.plugin_utils import databases


def accounts(items: Sequence[Mapping[str, Any]], users: Sequence[Mapping[str, Any]], **settings: Any) -> Dict[str, Any]:
    """What a server is to have, see ``databases.complete``. Raises AnsibleFilterError."""
    try:
        more = [settings[key] for key in ("names", "monitor", "superuser")]
        plain = json.loads(json.dumps([items, users, *more], default=str))
        return databases.complete(*plain)
    except (KeyError, TypeError, AttributeError) as error:
        form = "{0}: an item is not as the role's README says ({1!r})"
        raise AnsibleFilterError(form.format(" or ".join(settings["names"]), error)) from error
    except ValueError as error:
        raise AnsibleFilterError(str(error)) from error


def database_urls(found: Mapping[str, Any], passwords: Mapping[str, str], host: str, port: int) -> Dict[str, str]:
    """Database to URL, see ``databases.urls``."""
    return databases.urls(found, passwords, host, port)


class FilterModule:
    """Registers the filters as landfall.vps.<name>."""

    def filters(self) -> Dict[str, Callable[..., Any]]:
        """Name to function."""
        return {"accounts": accounts, "database_urls": database_urls}
