"""Renders the files of a role on Ansible's own templating, and keeps the compiled templates between two runs."""

from __future__ import annotations

import hashlib
import os
from typing import Any, Dict, List, Mapping

from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.release import __version__
from ansible.template import Templar, trust_as_template
from jinja2 import FileSystemBytecodeCache

SETTINGS = {"trim_blocks": True, "lstrip_blocks": True}


# What most roles use; a name that is missing here only costs each worker that uses it two milliseconds
_FILTERS = (
    "bool combine default first flatten hash human_to_bytes int join landfall.vps.context_tag landfall.vps.refuse"
    " landfall.vps.refuse_unless landfall.vps.http_health landfall.vps.words landfall.vps.yaml_text"
    " length lower map reject replace sort string ternary to_json to_nice_json unique"
)
_TESTS = "defined match none search string truthy"


def warm_up(delimiters: Mapping[str, str]) -> None:
    """Let Ansible load filters, tests and lexers now: in the process that forks a worker for each task, not in each.

    Called when an action plugin of the engine is loaded, which Ansible does before it forks for its task.
    ``delimiters`` are the other ones that files of roles use.
    """
    templar = Templar(loader=DataLoader(), variables={})
    used = "".join("{{{{ [] | {0} }}}}".format(name) for name in _FILTERS.split())
    used += "".join("{{{{ 1 is {0} }}}}".format(name) for name in _TESTS.split())
    templar.template(trust_as_template("{% if false %}" + used + "{% endif %}"))
    templar.template(trust_as_template("{% if true %}{% endif %}"), overrides=SETTINGS)
    start, end = delimiters["block_start_string"], delimiters["block_end_string"]
    templar.template(
        trust_as_template("{0} if true {1}{0} endif {1}".format(start, end)), overrides={**SETTINGS, **delimiters}
    )


class TemplateError(Exception):
    """A template does not render; the message starts with its path below the role."""


def _keep_compiled(templar: Templar, overrides: Mapping[str, Any]) -> None:
    """Let Jinja keep compiled template files, as compiling them takes longer than all else in a run without changes.

    Jinja keeps them in a folder that only this user may enter and looks each one up by path and content; settings and
    versions, which it does not look at, go into the file names. The text of variables is not kept, as it may be secret.
    """
    environment = getattr(getattr(templar, "_engine", None), "environment", None)
    if environment is None:  # not public in Ansible: without it all works as well, if slower
        return
    settings = hashlib.sha256(repr((__version__, sorted(overrides.items()))).encode()).hexdigest()[:12]
    try:
        environment.bytecode_cache = FileSystemBytecodeCache(pattern="__landfall_{0}_%s.cache".format(settings))
    except (RuntimeError, OSError):  # no such folder can be made, or somebody else owns it
        environment.bytecode_cache = None


def render_file(
    templar: Templar,
    role_path: str,
    source: str,
    folders: List[str],
    values: Dict[str, Any],
    delimiters: Mapping[str, str],
) -> str:
    """Return the template file ``source`` of the role at ``role_path``, rendered with ``values``.

    ``folders`` are searched for what it imports. Raises TemplateError if a variable is undefined or a filter refuses.
    """
    overrides = {**SETTINGS, **delimiters}
    fresh = templar.copy_with_new_env(searchpath=[os.path.dirname(source), *folders], available_variables=values)
    _keep_compiled(fresh, overrides)
    start, end = delimiters.get("block_start_string", "{%"), delimiters.get("block_end_string", "%}")
    with open(source, encoding="utf-8") as handle:
        text = handle.read()
    # Jinja keeps compiled what a loader brings, not what it is handed as text
    wrapper = "{0} include '{1}' {2}{3}".format(start, os.path.basename(source), end, "\n" * _newlines(text))
    try:
        value = fresh.template(trust_as_template(wrapper), escape_backslashes=False, overrides=overrides)
    except AnsibleError as error:
        raise TemplateError("{0}: {1}".format(os.path.relpath(source, role_path), error)) from error
    return "" if value is None else str(value)


def _newlines(text: str) -> int:
    return len(text) - len(text.rstrip("\n"))
