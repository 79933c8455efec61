"""Goes back to a release: judged before anything is touched, then each of its components as by any deploy.

Each component is planned, checked, swapped, proven and undone by its own journal. That all of them end as the one
release or as the other is noted in ``open.json`` before the first is touched: who finds that of a dead run goes on.
"""

from __future__ import annotations

import base64
import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Dict, List, Mapping, Optional

from ansible_collections.landfall.vps.plugins.module_utils import ownership, records, release_list, releases
from ansible_collections.landfall.vps.plugins.module_utils import plan as planning
from ansible_collections.landfall.vps.plugins.module_utils.compose import Refused
from ansible_collections.landfall.vps.plugins.module_utils.docker_api import Docker
from ansible_collections.landfall.vps.plugins.module_utils.host import marks_of
from ansible_collections.landfall.vps.plugins.module_utils.release_list import COMPLETE, Release
from ansible_collections.landfall.vps.plugins.module_utils.settling import Settling

Outcomes = Dict[str, Dict[str, Any]]
One = Callable[[Mapping[str, Any], bool, bool], Dict[str, Any]]
"""Brings one component to what a request says, under check mode rehearses it: (request, check mode, with diff)."""
UNNAMED = "unnamed-"
SHOWN = 5
AT_ONCE = 6
"""How many components are changed side by side: each start is a process of Compose of some 40 MB."""


# -- judged -----------------------------------------------------------------------------------------------------------


def choose(root: str, name: str) -> Release:
    """The release ``name``, or for an empty name the one that served last beside that which serves now.

    Raises Refused with what there is.
    """
    served = [one for one in release_list.load_all(root) if one["outcome"] == COMPLETE]  # that which served last first
    now = releases.serving(root)
    # What was kept on the way back is no release that anybody made: there may be a half of one in it
    mine = [one for one in served if not one["name"].startswith(UNNAMED)]
    others = [one for one in mine if now is None or one["name"] != now["name"]]
    if name:
        found = release_list.load(root, name)
        if found is None:
            names = ", ".join(one["name"] for one in served) or "none"
            raise Refused("there is no release '{0}' here; there are: {1}".format(name, names))
        if found["outcome"] != COMPLETE:
            names = ", ".join(one["name"] for one in others) or "none"
            form = "release {0} is {1} and never served as a whole ({2}); go back to one of: {3}"
            raise Refused(form.format(name, found["outcome"], found["why"], names))
        return found
    # What serves may be a part of something: then that which served last as a whole came before it
    if not others:
        form = "there is no release before {0} to go back to: no other one that served is kept"
        raise Refused(form.format(now["name"] if now else "what serves"))
    return others[0]


def faults(root: str, docker: Docker, release: Release) -> List[str]:
    """What is missing or damaged of what a release needs to serve again."""
    found: List[str] = []
    there = docker.images()
    for component, kept in sorted(release["components"].items()):
        record = _record(root, release, component)
        if record is None:
            found.append("its record of {0} cannot be read".format(component))
            continue
        if planning.identity_of(record) != kept.get("identity"):
            found.append("its record of {0} is not the one that was kept".format(component))
        for path, mark in sorted(record["files"].items()):
            place = _file(root, release, component, path)
            if planning.content_of(marks_of("/", [place]).get(place, "")) != planning.content_of(mark):
                found.append("its file {0} is missing or damaged".format(path))
        for image, identifier in sorted((kept.get("images") or {}).items()):
            found += _image_fault(image, str(identifier), there)
    return found


def _image_fault(image: str, identifier: str, there: Mapping[str, Mapping[str, Any]]) -> List[str]:
    now = (there.get(planning.stored_as(image)) or {}).get("id")
    if now == identifier:
        return []
    if now is None:
        form = "the image {0} is not on the VPS any more: pull or build it again as it was ({1})"
        return [form.format(image, identifier)]
    form = "the image {0} is another one by now ({1}, it was {2}): docker tag the old one, if it is still there"
    return [form.format(image, now, identifier)]


def commands_since(root: str, release: Mapping[str, Any]) -> Dict[str, List[str]]:
    """Release commands that ran for releases that are younger than ``release``, by the latter's name."""
    found = {
        one["name"]: list(one.get("ran") or []) for one in release_list.load_all(root) if one["at"] > release["at"]
    }
    return {name: ran for name, ran in sorted(found.items()) if ran}


def judged(root: str, docker: Docker, name: str, confirm: str) -> Release:
    """The release to go back to, if it is whole and nothing speaks against it. Raises Refused."""
    release = choose(root, name)
    wrong = faults(root, docker, release)
    if wrong:
        more = ", and {0} more".format(len(wrong) - SHOWN) if len(wrong) > SHOWN else ""
        raise Refused("release {0} is not whole: {1}{2}".format(release["name"], "; ".join(wrong[:SHOWN]), more))
    ran = commands_since(root, release)
    if ran and confirm != release["name"]:
        told = "; ".join("'{0}' for {1}".format("', '".join(commands), of) for of, commands in ran.items())
        raise Refused(
            "release commands ran since {0} was made, and nobody takes back what they did: {1}. If {0} can work with "
            "that, say so: -e confirm={0}".format(release["name"], told)
        )
    return release


# -- what was kept ----------------------------------------------------------------------------------------------------


def _folder(root: str, release: Mapping[str, Any], component: str) -> str:
    return os.path.join(release_list.home(root), str(release["name"]), "components", component)


def _file(root: str, release: Mapping[str, Any], component: str, path: str) -> str:
    return os.path.join(_folder(root, release, component), "files", path)


def _record(root: str, release: Mapping[str, Any], component: str) -> Optional[Dict[str, Any]]:
    try:
        return records.load_from(os.path.join(_folder(root, release, component), "record.json"), component)
    except records.BadRecord:
        return None


def requests(root: str, release: Release, common: Mapping[str, Any]) -> List[Dict[str, Any]]:
    """What brings each component to ``release``, in the order in which they start; what it did not have goes.

    ``common`` is what all requests say: ``{root, network, run, who, holder}``.
    """
    wanted = {name: _record(root, release, name) or {} for name in release["components"]}
    known = records.load_all(root)[0]
    order = planning.in_order({name: planning.needed(name, {**known, **wanted}) for name in wanted})
    found = [_request(root, release, name, wanted[name], {*known, *wanted}, common) for name in order]
    for name, record in releases.members(root, release["groups"]).items():
        if name not in wanted:
            meta = dict(zip(("stack", "project"), ownership.of_record(name, record)))
            found.append(complete({"name": name, "present": False, "meta": meta}, {}, common))
    return found


def _request(
    root: str,
    release: Mapping[str, Any],
    name: str,
    record: Mapping[str, Any],
    components: Any,
    common: Mapping[str, Any],
) -> Dict[str, Any]:
    contents, marks = {}, {}
    for path, mark in record["files"].items():
        if path.split("/", 1)[0] not in components:  # who took it in is gone since
            continue
        with open(_file(root, release, name, path), "rb") as handle:
            contents[path] = base64.b64encode(handle.read()).decode()
        marks[path] = mark
    containers = {n: {"service": str(c.get("service")), "image": c["image"]} for n, c in record["containers"].items()}
    desired = {
        "name": name,
        "present": True,
        "files": marks,
        "containers": containers,
        "reload_files": list(record.get("reload_files") or []),
        "meta": record["meta"],
    }
    return complete(desired, contents, common)


def complete(desired: Mapping[str, Any], contents: Mapping[str, str], common: Mapping[str, Any]) -> Dict[str, Any]:
    """A request as a controller would send it, for a component of which all lies on the VPS."""
    meta = desired["meta"]
    stack, project = ownership.of_record(desired["name"], {"meta": meta})
    prefix = stack[: -len(ownership.STACK)] if stack.endswith(ownership.STACK) else ""
    timers = [prefix + str(timer["name"]) for timer in meta.get("timers") or []]
    claim = {
        "stack": stack,
        "project": project,
        "containers": sorted({*(desired.get("containers") or {}), *timers}),
        "volumes": list(meta.get("volumes") or []),
        "network": "",  # it stands in it already
        "present": desired["present"],
    }
    whole = {"files": {}, "containers": {}, "reload_files": [], **desired}
    more = {"claim": claim, "keep_volumes": False, "purge": False, "together": True, "back": True}
    return {**common, **more, "desired": whole, "contents": dict(contents), "boards": [], "builds": [], "archives": {}}


# -- done -------------------------------------------------------------------------------------------------------------


def rehearse(root: str, release: Release, common: Mapping[str, Any], with_diff: bool, one: One) -> Outcomes:
    """What going back would do to each component; nothing is changed."""
    return _side_by_side(requests(root, release, common), lambda request: one(request, True, with_diff))


def _side_by_side(wanted: List[Dict[str, Any]], work: Callable[[Mapping[str, Any]], Dict[str, Any]]) -> Outcomes:
    with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
        return dict(zip([request["desired"]["name"] for request in wanted], pool.map(work, wanted)))


def carry(
    root: str, release: Release, common: Mapping[str, Any], with_diff: bool, one: One, docker: Optional[Docker] = None
) -> Outcomes:
    """Bring all components to ``release``, side by side: what each of them needs serves, or goes back with it.

    What was not there comes after them, and then what goes; neither does if one of the others failed. The caller holds
    the lock.
    """
    wanted = requests(root, release, common)
    there = {name for name, record in releases.members(root, release["groups"]).items() if record["proven"]}
    stays = [r for r in wanted if r["desired"]["present"] and r["desired"]["name"] in there]
    outcomes = _side_by_side(stays, lambda request: one(request, False, with_diff))
    for request in [request for request in wanted if request not in stays]:
        if any(outcome.get("failed") for outcome in outcomes.values()):
            return outcomes
        outcomes[request["desired"]["name"]] = one(request, False, with_diff)
    unproven = {name for name, record in releases.members(root, release["groups"]).items() if not record["proven"]}
    if unproven:
        settled = Settling(root, common["network"], docker, common["run"]).run(unproven)
        for name, outcome in settled.items():
            if "failed" in outcome:
                told = {"failed": True, "msg": outcome["failed"], "undone": outcome["undone"], "logs": outcome["logs"]}
                outcomes[name] = {**(outcomes.get(name) or {}), **told}
    return outcomes


def begin(root: str, release: Release, common: Mapping[str, Any]) -> Release:
    """Note where to before anything is touched, and keep what serves now if it is no release yet. Raises OSError."""
    if releases.serving(root) is None:
        name = UNNAMED + time.strftime("%Y%m%d-%H%M%S", time.gmtime())
        told = {"commit": "", "given": False, "groups": release["groups"], "wants": {}, "name": name}
        unnamed = releases.begin(root, told, str(common["run"]), str(common["who"]))
        why = "kept before going back to {0}".format(release["name"])
        releases.keep(root, {**unnamed, "served": [releases.moment(root)], "why": why})
        releases.forget_open(root)
    wanted = {key: release[key] for key in ("name", "groups", "commit")}
    return releases.begin(root, {**wanted, "wants": {}, "back": release["name"]}, common["run"], common["who"])


def turn(root: str, going: Release, why: str) -> Release:
    """It did not serve: from now on the way leads to what was left. Raises OSError."""
    turned = {**going, "back": going["after"], "after": "", "why": why}
    releases.write_open(root, turned)
    return turned


def arrive(root: str, going: Release, who: str) -> None:
    """All of the release serves. Raises OSError."""
    release, left = release_list.load(root, str(going["back"])), release_list.load(root, str(going["after"] or ""))
    if left is not None and left["name"] != going["back"]:
        releases.write(root, {**left, "why": "left for {0} by {1}".format(going["back"], who)})
    if release is not None:
        releases.serve_again(root, release)
    releases.forget_open(root)


def travel(
    root: str, going: Release, common: Mapping[str, Any], with_diff: bool, one: One, docker: Optional[Docker] = None
) -> Dict[str, Any]:
    """Go where ``going`` says, and if that does not serve back to what was left: ``{outcomes, failed, undone}``."""
    release = release_list.load(root, str(going["back"]))
    if release is None:
        releases.forget_open(root)
        return {"outcomes": {}, "failed": "release {0} is gone".format(going["back"]), "undone": ""}
    outcomes = carry(root, release, common, with_diff, one, docker)
    bad = {name: outcome for name, outcome in outcomes.items() if outcome.get("failed")}
    if not bad:
        arrive(root, going, str(common["who"]))
        return {"outcomes": outcomes, "failed": "", "undone": ""}
    why = "; ".join(str(outcome["msg"]) for outcome in bad.values())
    left = release_list.load(root, str(going["after"] or ""))
    if left is None:
        releases.forget_open(root)
        return {"outcomes": outcomes, "failed": why, "undone": "nothing was left that could be gone back to"}
    back = carry(root, left, common, False, one, docker) if turn(root, going, why) else {}
    worse = "; ".join(str(outcome["msg"]) for outcome in back.values() if outcome.get("failed"))
    releases.forget_open(root)
    undone = (
        "but {0} does not serve either: {1}".format(left["name"], worse)
        if worse
        else "{0} serves again".format(left["name"])
    )
    return {"outcomes": outcomes, "failed": why, "undone": undone}
