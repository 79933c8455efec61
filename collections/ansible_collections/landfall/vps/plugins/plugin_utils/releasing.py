"""Which release a run makes: its name and commit, told before anything happens, and what speaks against the name."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import time
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

from ansible.plugins.action import ActionBase
from ansible_collections.landfall.vps.plugins.module_utils import plan as planning
from ansible_collections.landfall.vps.plugins.module_utils.release_list import COMPLETE, FAILED, INCOMPLETE, OPEN
from ansible_collections.landfall.vps.plugins.plugin_utils import hooks, seam, session
from ansible_collections.landfall.vps.plugins.plugin_utils.planned import Planned

GIT_SECONDS = 5.0
LEAST = 2  # releases that are kept
LEAST_SECONDS = 0.05
LONGEST = 80  # characters of a name
_BECAME = {INCOMPLETE: "serves in part", FAILED: "does not serve"}


def members(planned: Sequence[Planned]) -> List[Planned]:
    """Those whose changes make a release."""
    return [one for one in planned if one.options.get("releases")]


def choose(
    planned: Sequence[Planned], state: Mapping[str, Any], folder: str
) -> Tuple[Optional[Dict[str, Any]], List[str]]:
    """(the release that changing ``planned`` makes, or None; faults).

    ``{name, given, commit, groups, wants, images, keep, hooks}``, see ``release_list``. ``folder`` is that of the
    inventory.
    """
    changed = [one for one in members(planned) if one.plan.changed]
    if not changed:
        return None, []
    settings = [one.options["releases"] for one in changed]
    given = next((str(one["name"]) for one in settings if one.get("name")), "")
    # An inventory that git does not have says nothing of its own, whatever checkout it lies in
    name, commit = described([*_sources(changed), *([folder] if _git(folder, "ls-files", "--", ".") else [])])
    wants = {one.name: one.rendered.desired.identity for one in changed}
    found: Dict[str, Any] = {
        "name": given or name or _stamped(wants),
        "given": bool(given),
        "commit": commit,
        "groups": sorted({str(one.options.get("group") or one.name) for one in members(planned)}),
        "wants": wants,
        "images": sorted({c.image for one in changed for c in one.rendered.desired.containers.values()}),
        "keep": max(int(one["keep"]) for one in settings),
        "hooks": dict(settings[0].get("hooks") or {}),
    }
    variable = str(settings[0].get("variable") or "the name of the release")
    return found, [*_too_few(found["keep"], variable), *(_clash(found, changed, state, variable) if given else [])]


def _too_few(count: int, variable: str) -> List[str]:
    form = "{0}s_kept: {1} leaves none to go back to; write 2 or more"
    return [form.format(variable, count)] if count < LEAST else []


def _sources(changed: Sequence[Planned]) -> List[str]:
    """Folders that what changes is built from, those of its own images first."""
    own = {container.image for one in changed for container in one.rendered.desired.containers.values()}
    builds = [build for one in changed for build in one.options.get("build") or [] if build["image"] in own]
    return list(dict.fromkeys(str(build["context"]) for build in builds))


def described(folders: Sequence[str]) -> Tuple[str, str]:
    """(name, commit) of the first of ``folders`` that git knows; empty where it knows none."""
    for folder in folders:
        name = _git(folder, "describe", "--always", "--dirty", "--tags") if os.path.isdir(folder) else ""
        if name:
            return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:LONGEST], _git(folder, "rev-parse", "HEAD")
    return "", ""


def _git(folder: str, *words: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", folder, *words], capture_output=True, text=True, check=False, timeout=GIT_SECONDS,
            stdin=subprocess.DEVNULL, env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _stamped(wants: Mapping[str, str]) -> str:
    digest = hashlib.sha256(json.dumps(dict(wants), sort_keys=True).encode()).hexdigest()[:6]
    return "{0}-{1}".format(time.strftime("%Y%m%d-%H%M%S", time.gmtime()), digest)


def _clash(wanted: Mapping[str, Any], changed: Sequence[Planned], state: Mapping[str, Any], variable: str) -> List[str]:
    """Why the given name is taken: a release that served has it, with other images."""
    for release in state.get("releases") or []:
        if release["name"] != wanted["name"] or release["outcome"] != COMPLETE:
            continue
        for one in changed:
            kept = (release["components"].get(one.name) or {}).get("images")
            images = {container.image for container in one.rendered.desired.containers.values()}
            if kept and images and set(kept) != images:
                form = "{0}: release '{1}' is there already, with another image of {2} ({3}; this one is {4}); {5}"
                do = "choose another name, leave it out to have one made, or go back to that release"
                return [form.format(variable, release["name"], one.name, _named(kept), _named(images), do)]
    return []


def _named(images: Any) -> str:
    return ", ".join(sorted(str(image) for image in images))


def told(wanted: Mapping[str, Any], state: Mapping[str, Any], rehearsing: bool) -> str:
    """What is said of the release before anything happens."""
    known = [str(one["name"]) for one in state.get("releases") or [] if one["outcome"] == COMPLETE]
    commit = ", commit {0}".format(wanted["commit"][:12]) if wanted["commit"] else ""
    taken = "; that name served already, so it gets a number" if wanted["name"] in known else ""
    would = "would be" if rehearsing else "is"
    return "release: {0} {1} {2}{3}{4}".format("what changes", would, wanted["name"], commit, taken)


def phases(seconds: Any) -> str:
    """How long each phase of a component's change took, in brackets; empty where none is worth a word."""
    told = seconds.items() if isinstance(seconds, Mapping) else ()
    found = ", ".join("{0} {1:.1f} s".format(name, value) for name, value in told if value >= LEAST_SECONDS)
    return " ({0})".format(found) if found else ""


def outcome(release: Optional[Mapping[str, Any]]) -> List[str]:
    """What is said of the release that a trip's answer tells of."""
    if not release or not release["name"]:
        return ["release: " + note for note in (release or {}).get("notes") or []]
    if release["outcome"] == OPEN:
        return []
    if release["outcome"] == COMPLETE:
        after = ", after {0}".format(release["after"]) if release["after"] not in ("", release["name"]) else ""
        line = "release: {0} serves{1}".format(release["name"], after)
    else:
        line = "release: {0} {1}: {2}".format(release["name"], _BECAME[release["outcome"]], release["why"])
    return [line, *("  " + note for note in release["notes"])]


def prepared(action: ActionBase, chosen: Mapping[str, Any], task_vars: Dict[str, Any], verb: str = "deploy") -> None:
    """Run the hooks that come before a release. Raises HookError; those for a failure have run then."""
    found = chosen.get("hooks") or {}
    told = {"action": verb, "components": chosen["wants"], "name": chosen["name"], "commit": chosen["commit"]}
    host, by = str(task_vars.get("inventory_hostname")), session.who()
    try:
        hooks.run(action, found.get(hooks.BEFORE) or [], hooks.environment(told, host, by), task_vars, _say(task_vars))
    except hooks.HookError as error:
        became = {"name": told["name"], "commit": told["commit"], "outcome": "refused", "why": str(error)}
        for warning in hooks.conclude(action, found, became, told, task_vars, by, _say(task_vars)):
            seam.warn(task_vars, warning)
        raise


def ended(
    action: ActionBase,
    release: Optional[Mapping[str, Any]],
    chosen: Optional[Mapping[str, Any]],
    task_vars: Dict[str, Any],
    verb: str = "deploy",
) -> List[str]:
    """Say what a trip tells of the release, and run the hooks that come after it; returns warnings."""
    for line in outcome(release):
        seam.say(task_vars, line)
    found = (chosen or {}).get("hooks") or {}
    if not release or not found:
        return []
    told = {"action": verb, "components": (chosen or {}).get("wants") or {}}
    return hooks.conclude(action, found, release, told, task_vars, session.who(), _say(task_vars))


def _say(task_vars: Mapping[str, Any]) -> Callable[[str], None]:
    return lambda line: seam.say(task_vars, line)


def request(chosen: Optional[Mapping[str, Any]], several: Sequence[Planned]) -> Optional[Dict[str, Any]]:
    """What the trip of ``several`` is told of the release: what it really is going to be included."""
    own = members(several)
    if chosen is None or not own:
        return None
    wants = {one.name: one.rendered.desired.identity for one in own if one.plan.action != planning.NONE}
    kept = {key: value for key, value in chosen.items() if key != "hooks"}
    return {**kept, "wants": {**chosen["wants"], **wants}}
