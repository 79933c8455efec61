"""Renders the files of a role on Ansible's own templating, and keeps the compiled templates between two runs."""

from __future__ import annotations

import gc
import os
from collections import ChainMap
from typing import Any, Dict, List, Mapping, cast

from ansible.errors import AnsibleError
from ansible.template import Templar
from ansible_collections.landfall.vps.plugins.plugin_utils import seam

SOURCE = "landfall_template"
"""The variable that names the file which is rendered."""
SETTINGS = {"trim_blocks": True, "lstrip_blocks": True}


# What most roles use; a name that is missing here only costs each worker that uses it two milliseconds
_FILTERS = (
    "bool combine default first flatten hash int join landfall.vps.context_tag landfall.vps.refuse"
    " landfall.vps.refuse_unless landfall.vps.http_health landfall.vps.size landfall.vps.words landfall.vps.yaml_text"
    " length lower map reject replace sort string ternary to_json to_nice_json unique"
)
_TESTS = "defined match none search string truthy"


def warm_up(delimiters: Mapping[str, str]) -> None:
    """Let Ansible load filters, tests and lexers now: in the process that forks a worker for each task, not in each.

    Called when an action plugin of the engine is loaded, which Ansible does before it forks for its task.
    ``delimiters`` are the other ones that files of roles use.
    """
    templar = seam.fresh_templar()
    used = "".join("{{{{ [] | {0} }}}}".format(name) for name in _FILTERS.split())
    used += "".join("{{{{ 1 is {0} }}}}".format(name) for name in _TESTS.split())
    templar.template(seam.trusted("{% if false %}" + used + "{% endif %}"))
    templar.template(seam.trusted("{% if true %}{% endif %}"), overrides=SETTINGS)
    start, end = delimiters["block_start_string"], delimiters["block_end_string"]
    templar.template(
        seam.trusted("{0} if true {1}{0} endif {1}".format(start, end)), overrides={**SETTINGS, **delimiters}
    )
    # Templates make so many objects that the collector keeps walking all of Ansible's; the workers' need no walk
    gc.freeze()


class TemplateError(Exception):
    """A template does not render; the message starts with its path below the role."""


def render_file(
    templar: Templar,
    role_path: str,
    source: str,
    folders: List[str],
    values: Mapping[str, Any],
    delimiters: Mapping[str, str],
) -> str:
    """Return the template file ``source`` of the role at ``role_path``, rendered with ``values``.

    ``folders`` are searched for what it imports. Raises TemplateError if a variable is undefined or a filter refuses.
    """
    overrides = {**SETTINGS, **delimiters}
    known = ChainMap({SOURCE: os.path.basename(source)}, cast("Dict[str, Any]", values))
    fresh = seam.templar_with(templar, known, [os.path.dirname(source), *folders])
    seam.keep_compiled(fresh, overrides)
    start, end = delimiters.get("block_start_string", "{%"), delimiters.get("block_end_string", "%}")
    with open(source, encoding="utf-8") as handle:
        text = handle.read()
    # Jinja keeps compiled what a loader brings, not what it is handed as text: one such text for all files
    wrapper = "{0} include {1} {2}{3}".format(start, SOURCE, end, "\n" * _newlines(text))
    try:
        value = fresh.template(seam.trusted(wrapper), escape_backslashes=False, overrides=overrides)
    except AnsibleError as error:
        raise TemplateError("{0}: {1}".format(os.path.relpath(source, role_path), error)) from error
    return "" if value is None else str(value)


def _newlines(text: str) -> int:
    return len(text) - len(text.rstrip("\n"))
