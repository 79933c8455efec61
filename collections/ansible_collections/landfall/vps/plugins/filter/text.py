"""Filters that write a text into another language, see plugin_utils/quoting.py."""

from __future__ import annotations

import functools
from typing import Any, Callable, Dict

from ansible.errors import AnsibleFilterError
from ansible_collections.landfall.vps.plugins.module_utils import units
from ansible_collections.landfall.vps.plugins.plugin_utils import quoting

_FUNCTIONS: Dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        quoting.yaml_text,
        quoting.go_text,
        quoting.lua_text,
        quoting.caddyfile_text,
        quoting.shell_text,
        quoting.url_text,
        quoting.regex_text,
        quoting.matcher_text,
        quoting.words,
        quoting.http_health,
        units.size,
    )
}


def _filter(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def told(*args: Any, **options: Any) -> Any:
        try:
            return function(*args, **options)
        except ValueError as error:
            raise AnsibleFilterError("{0}: {1}".format(function.__name__, error)) from error

    return told


class FilterModule:
    """Registers the functions as landfall.vps.<name>."""

    def filters(self) -> Dict[str, Callable[..., Any]]:
        """Name to function."""
        return {name: _filter(function) for name, function in _FUNCTIONS.items()}
