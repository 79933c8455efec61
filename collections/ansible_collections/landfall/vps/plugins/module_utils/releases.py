"""Makes releases: begun with the first change of a run, kept once all that the run wanted serves, dropped when too old.

What a release keeps is written whole beside the others and appears by a rename. What a run that died had begun is
concluded by the next one.
"""

from __future__ import annotations

import os
import shutil
import time
from typing import Any, Dict, List, Mapping, Optional, Set

from ansible_collections.landfall.vps.plugins.module_utils import plan as planning
from ansible_collections.landfall.vps.plugins.module_utils import pruning, records, release_list, shapes
from ansible_collections.landfall.vps.plugins.module_utils.docker_api import Docker
from ansible_collections.landfall.vps.plugins.module_utils.host import marks_of
from ansible_collections.landfall.vps.plugins.module_utils.release_list import (
    COMPLETE,
    FAILED,
    FORMAT,
    INCOMPLETE,
    OPEN,
    Release,
)
from ansible_collections.landfall.vps.plugins.module_utils.store import make_folder

FAILED_KEPT = 5
"""Releases that never served and are told of: they hold neither files nor images."""
CHANGES = (planning.CREATED, planning.RECREATED, planning.STARTED, planning.ROLLED_BACK)
"""Actions before which a release command runs."""
REASON = 600  # characters


def members(root: str, groups: List[str]) -> Dict[str, Dict[str, Any]]:
    """The records of the components of ``groups``."""
    known = records.load_all(root)[0]
    return {name: record for name, record in known.items() if planning.group_of(name, record) in groups}


def current(root: str, groups: List[str]) -> Dict[str, str]:
    """Component to identity, of what serves now; of what never served nothing."""
    found = members(root, groups)
    return {name: planning.identity_of(record) for name, record in found.items() if record["proven"]}


def serving(root: str) -> Optional[Release]:
    """The release whose components are just those that serve now, or None."""
    for release in release_list.load_all(root):
        if release["outcome"] == COMPLETE and release_list.identities(release) == current(root, release["groups"]):
            return release
    return None


def begin(root: str, wanted: Mapping[str, Any], run: str, who: str) -> Release:
    """Note what the run changes. Raises OSError.

    ``wanted`` is ``{name, given, commit, groups, wants, images, keep}``.
    """
    found = release_list.under_way(root)
    if found is not None and found["run"] == run:
        found["wants"].update(wanted["wants"])
        found["groups"] = sorted({*found["groups"], *wanted["groups"]})
        found["tried"] = sorted({*found.get("tried", []), *(wanted.get("images") or [])})
    else:
        before = serving(root)
        groups = {group for release in release_list.load_all(root) for group in release["groups"]}
        found = {
            "format": FORMAT,
            # By the name that it will have, so that all its trips are told of as one
            "name": _free_name(root, {"base": wanted["name"]}),
            "base": wanted["name"],
            "given": bool(wanted.get("given")),
            "commit": str(wanted.get("commit") or ""),
            "at": time.time(),
            "by": who,
            "run": run,
            "groups": sorted({*groups, *wanted["groups"]}),
            "outcome": OPEN,
            "why": "",
            "wants": dict(wanted["wants"]),
            "tried": sorted(wanted.get("images") or []),
            "components": {},
            "ran": [],
            "served": [],
            "after": before["name"] if before else "",
            "touched": False,
            "keep": int(wanted.get("keep") or release_list.KEEP),
            **({"back": wanted["back"]} if wanted.get("back") else {}),
        }
    write_open(root, found)
    return found


def write_open(root: str, release: Mapping[str, Any]) -> None:
    """Write the change that goes on. Raises OSError."""
    make_folder(os.path.join(root, records.STATE_DIR), 0o700)
    make_folder(release_list.home(root), 0o700)
    records.write_whole(release_list.open_file(root), release)


def forget_open(root: str) -> None:
    """The change is concluded."""
    path = release_list.open_file(root)
    if os.path.lexists(path):
        os.unlink(path)


def note(
    root: str, docker: Docker, run: str, outcomes: Mapping[str, Mapping[str, Any]], metas: Mapping[str, Any]
) -> Optional[Dict[str, Any]]:
    """Take what became of components into the release that the run has begun, and conclude it if that was all.

    ``metas`` are those of the records that were to be. Returns ``{name, outcome, why, after, commit, seconds, notes}``,
    or None without one. Raises OSError.
    """
    found = release_list.under_way(root)
    if found is None or found["run"] != run or found.get("back"):
        return None
    faults = []
    for name, outcome in outcomes.items():
        if outcome.get("failed"):
            faults.append(" ".join(str(outcome.get("msg") or outcome["failed"]).split())[:REASON])
        found["touched"] = bool(found.get("touched") or outcome.get("changed") or outcome.get("told") is not None)
        if outcome.get("action") in CHANGES:
            commands = (metas.get(name) or {}).get("release") or []
            ran = [" ".join(str(word) for word in item["argv"]) for item in commands]
            found["ran"] = list(dict.fromkeys([*found["ran"], *ran]))
    found["why"] = "; ".join([*([found["why"]] if found["why"] else []), *faults])[:REASON]
    if not found["why"] and not _as_wanted(root, found):
        write_open(root, found)
        return _told(found, [])
    return conclude(root, docker, found)


def _as_wanted(root: str, release: Mapping[str, Any]) -> bool:
    """Whether all that the run wanted serves."""
    now, there = current(root, release["groups"]), members(root, release["groups"])
    same = all(now.get(name, "") == identity for name, identity in release["wants"].items())
    return same and all(record["proven"] for record in there.values())


def _partly(root: str, release: Mapping[str, Any]) -> bool:
    now = current(root, release["groups"])
    return any(identity and now.get(name) == identity for name, identity in release["wants"].items())


def _told(release: Mapping[str, Any], notes: List[str]) -> Dict[str, Any]:
    took = {"seconds": _seconds(release), "notes": notes}
    return {**{key: release[key] for key in ("name", "outcome", "why", "after", "commit")}, **took}


def conclude(root: str, docker: Docker, release: Release) -> Dict[str, Any]:
    """Keep what was begun as what it has become; returns what ``note`` does. Raises OSError."""
    now = current(root, release["groups"])
    notes: List[str] = []
    release["seconds"] = _seconds(release)
    if not release["why"] and _as_wanted(root, release):
        twin = serving(root)
        if twin is not None and release.get("touched") and twin["base"] != release["base"]:
            twin = None  # the same by another name is another release
        if twin is not None and _images(root, release["groups"]) == release_list.images_of([twin]):
            release = {**release, "name": twin["name"], "outcome": COMPLETE}
            serve_again(root, twin)
        elif now:
            release = keep(root, {**release, "served": [moment(root)]})
            notes = drop(root, docker, int(release.get("keep") or release_list.KEEP))
        else:
            release = {**release, "outcome": COMPLETE, "name": "none"}  # all of it was removed
    else:
        release["outcome"] = INCOMPLETE if _partly(root, release) else FAILED
        release["why"] = release["why"] or "the run that made it ended before all of it served"
        release["name"] = _free_name(root, release)
        write(root, release)
        drop(root, docker, int(release.get("keep") or release_list.KEEP))
    forget_open(root)
    return _told(release, notes)


def _images(root: str, groups: List[str]) -> Set[str]:
    found: Set[str] = set()
    for record in members(root, groups).values():
        images = record.get("images") or {}
        found |= set(images) | {str(identifier) for identifier in images.values()}
    return found


def moment(root: str) -> float:
    """Now, and after all that served before: a clock that was set back must not change which release is the last."""
    return max([time.time(), *(release_list.last_served(one) + 0.001 for one in release_list.load_all(root))])


def _seconds(release: Mapping[str, Any]) -> float:
    return max(0.0, round(time.time() - float(release["at"]), 1))


def serve_again(root: str, release: Release) -> None:
    """Note that a release that is kept serves from now on. Raises OSError."""
    write(root, {**release, "why": "", "served": [*release["served"], moment(root)][-20:]})


def _free_name(root: str, release: Mapping[str, Any]) -> str:
    """The base, or with the first number that no release that served has: v1, v1+2."""
    number, name = 1, str(release["base"])
    while (release_list.load(root, name) or {}).get("outcome") == COMPLETE:
        number += 1
        name = "{0}+{1}".format(release["base"], number)
    return name


def keep(root: str, release: Release) -> Release:
    """Keep what serves now, files, secrets and records, as a release; returns it with its name. Raises OSError.

    A file that an earlier release has is there once: those of releases are never written to.
    """
    name = _free_name(root, release)
    place = os.path.join(release_list.home(root), "." + name + ".making")
    shutil.rmtree(place, ignore_errors=True)
    make_folder(place, 0o700)
    earlier = [os.path.join(release_list.home(root), one["name"]) for one in release_list.load_all(root)][:1]
    kept: Dict[str, Any] = {}
    for component, record in members(root, release["groups"]).items():
        folder = os.path.join(place, "components", component)
        for path, mark in record["files"].items():
            before = [os.path.join(one, "components", component, "files", path) for one in earlier]
            _keep_file(os.path.join(root, path), os.path.join(folder, "files", path), mark, before)
        make_folder(folder, 0o700)
        records.write_whole(os.path.join(folder, "record.json"), record)
        kept[component] = {"identity": planning.identity_of(record), "images": dict(record.get("images") or {})}
    done = {**release, "name": name, "outcome": COMPLETE, "components": kept}
    records.write_whole(os.path.join(place, "release.json"), done)
    target = os.path.join(release_list.home(root), name)
    _remove(root, name)
    os.rename(place, target)
    return done


def _keep_file(live: str, place: str, mark: str, before: List[str]) -> None:
    """Keep the content of ``live``; by a link where one of ``before`` is the same."""
    make_folder(os.path.dirname(place), 0o700)
    for other in before:
        if planning.content_of(marks_of("/", [other]).get(other, "")) == planning.content_of(mark):
            os.link(other, place)
            return
    temporary = place + ".new"
    with open(live, "rb") as source:
        number = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o400)
        with open(number, "wb") as handle:
            shutil.copyfileobj(source, handle)
            handle.flush()
            os.fsync(handle.fileno())
    os.replace(temporary, place)


def write(root: str, release: Mapping[str, Any]) -> None:
    """Write what is told of a release; its files stay as they are. Raises OSError."""
    folder = os.path.join(release_list.home(root), str(release["name"]))
    make_folder(folder, 0o700)
    records.write_whole(os.path.join(folder, "release.json"), release)


def _remove(root: str, name: str) -> None:
    folder = os.path.join(release_list.home(root), name)
    if os.path.isdir(folder):
        gone = os.path.join(release_list.home(root), "." + name + ".dropped")
        shutil.rmtree(gone, ignore_errors=True)
        os.rename(folder, gone)
        shutil.rmtree(gone, ignore_errors=True)


def drop(root: str, docker: Docker, count: int) -> List[str]:
    """Forget all but the ``count`` releases that served last, and their images; returns what was done."""
    found = release_list.load_all(root)
    served = [one for one in found if one["outcome"] == COMPLETE]
    never = [one for one in found if one["outcome"] != COMPLETE]
    gone = served[max(2, count) :] + never[FAILED_KEPT:]
    for release in gone:
        _remove(root, release["name"])
    images = {image for release in gone for image in [*release_list.images_of([release]), *release.get("tried", [])]}
    left = release_list.images_of(release_list.load_all(root))
    known = records.load_all(root)[0]
    told = pruning.prune(docker, sorted(images), known, left, count) if images else []
    return told + (pruning.forget(docker, images, known, left) if images else [])


def sweep(root: str) -> None:
    """Remove what was half written or half dropped, and a change of which nobody can tell what it was.

    Raises BadRecord where a newer Landfall can.
    """
    home = release_list.home(root)
    if release_list.under_way(root) is None:
        shapes.discard(release_list.open_file(root))
    for name in os.listdir(home) if os.path.isdir(home) else []:
        if name.startswith(".") or name.endswith(".new"):
            shapes.discard(os.path.join(home, name))
