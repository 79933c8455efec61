"""The filter that turns the sites of an inventory into what a proxy needs, see plugin_utils/sites.py."""

from __future__ import annotations

import json
from typing import Any, Callable, Dict, Mapping, Sequence

from ansible.errors import AnsibleFilterError
from ansible_collections.landfall.vps.plugins.plugin_utils import sites


def expand(items: Sequence[Mapping[str, Any]], where: str, **settings: Any) -> Dict[str, Any]:
    """What a proxy needs to know of the sites ``items``, the value of ``where``. Raises AnsibleFilterError."""
    try:
        return sites.expand(json.loads(json.dumps(items, default=str)), where, settings)
    except sites.SiteError as error:
        raise AnsibleFilterError(str(error)) from error
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise AnsibleFilterError("{0}: {1}".format(where, error)) from error


class FilterModule:
    """Registers the filter as landfall.vps.sites."""

    def filters(self) -> Dict[str, Callable[..., Any]]:
        """Name to function."""
        return {"sites": expand}
