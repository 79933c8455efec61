"""Looks at the dashboards of all roles of a play together, before anything changes."""

from __future__ import annotations

import hashlib
import os
from typing import Callable, Dict, Iterable, List, Mapping, Sequence

from ansible_collections.landfall.vps.plugins.module_utils import dashboards
from ansible_collections.landfall.vps.plugins.plugin_utils.targets import hyphens


def _dashboards(folder: str) -> Dict[str, bytes]:
    result = {}
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
        if name.endswith(".json"):
            with open(os.path.join(folder, name), "rb") as handle:
                result[name] = handle.read()
    return result


def _lies_there(role: str, name: str, content: bytes, marks: Mapping[str, str], folders: Sequence[str]) -> bool:
    paths = ["{0}/{1}--{2}".format(folder, hyphens(role), name) for folder in folders]
    digest = hashlib.sha256(content).hexdigest()
    return all(digest == marks.get(path, "").split(":", 1)[0] for path in paths)


def dashboard_faults(
    roles_folder: str,
    roles: Iterable[str],
    marks: Mapping[str, str],
    enabled: Callable[[str], bool],
    folders: Sequence[str],
) -> List[str]:
    """Faults of the dashboards that these roles ship as plain files, one sentence each.

    ``marks`` are the fingerprints of what lies on the VPS, ``enabled`` tells of a role whether it is deployed,
    ``folders`` are where dashboards go. What
    lies there unchanged was looked at when it came, so that a run without changes parses nothing. A dashboard that is
    a template is no file yet: the trip of its component looks at it, beside all that lie there.
    """
    found = {role: _dashboards(os.path.join(roles_folder, role, "files", "dashboards")) for role in sorted(set(roles))}
    new = [role for role in found if not all(_lies_there(role, n, c, marks, folders) for n, c in found[role].items())]
    if not any(enabled(role) for role in new):
        return []
    contents = {
        "roles/{0}/files/dashboards/{1}".format(role, name): content
        for role in found
        if found[role] and enabled(role)
        for name, content in found[role].items()
    }
    return dashboards.faults(contents, {})
