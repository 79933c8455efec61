"""A release by its image alone: what serves now, with another image of the same repository in place of its own.

Nothing but the image can differ from what an inventory deployed last: ports, mounts, secrets, limits and commands stay.
No controller is needed; the requests are made of what lies on the VPS, and go the way of any deploy.
"""

from __future__ import annotations

import base64
import os
import re
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from ansible_collections.landfall.vps.plugins.module_utils import (
    going_back,
    records,
    release_list,
    releases,
    switching,
)
from ansible_collections.landfall.vps.plugins.module_utils import plan as planning
from ansible_collections.landfall.vps.plugins.module_utils.compose import Refused
from ansible_collections.landfall.vps.plugins.module_utils.host import marks_of
from ansible_collections.landfall.vps.plugins.module_utils.plan import repository

NAME = re.compile(r"(?!.*\.json$)[A-Za-z0-9][A-Za-z0-9._+-]{0,79}")
IMAGE = re.compile(r"[a-z0-9]+(?:[._:/-]+[A-Za-z0-9_]+)*@sha256:[0-9a-f]{64}")
VERSION = "org.landfall.version"
ONE_OF = "write the image as <repository>@sha256:<digest>, which docker push prints: a tag can be moved later"


def tag(image: str) -> str:
    """The tag of an image, empty if it names none."""
    return image.partition("@")[0].rpartition("/")[2].partition(":")[2]


def faults(name: str, images: Sequence[str]) -> List[str]:
    """What is wrong with the name of a release and its images as they were asked for."""
    found = []
    if not NAME.fullmatch(name):
        form = "release: '{0}' is no name; write up to 80 letters, digits and . _ + -, a letter or digit first"
        found.append(form.format(name))
    found += ["image: '{0}': {1}".format(image, ONE_OF) for image in images if not IMAGE.fullmatch(image)]
    twice = {repository(image) for image in images if [repository(one) for one in images].count(repository(image)) > 1}
    found += ["image: {0} is named twice; name each repository once".format(one) for one in sorted(twice)]
    return found or ([] if images else ["image: none is named; " + ONE_OF])


def wanted(
    root: str, name: str, images: Sequence[str], commit: str, common: Mapping[str, Any]
) -> Tuple[List[Dict[str, Any]], List[str]]:
    """``(requests, what becomes of whose image)`` for what differs, in the order in which components start.

    ``common`` is what all requests say: ``{root, network, run, who, holder}``. Raises Refused.
    """
    wrong = faults(name, images)
    known, bad = records.load_all(root)
    wrong += list(bad.values())
    if wrong:
        raise Refused("; ".join(wrong))
    last = release_list.load_all(root)[:1]
    if not last or last[0]["outcome"] != release_list.COMPLETE:
        raise Refused("nothing is deployed here that could get another image; run site.yml once")
    members = releases.members(root, last[0]["groups"])
    chosen = {component: _image_for(component, record, images) for component, record in members.items()}
    _refuse_unused(images, chosen, members)
    new = {one: image for one, image in chosen.items() if image and image not in _images(members[one])}
    _refuse_name(root, name, {one: image for one, image in chosen.items() if image})
    order = planning.in_order({one: planning.needed(one, known) for one in members}, new)
    found = [_request(root, one, members[one], new[one], common) for one in order if one in new]
    told = {
        "name": name,
        "given": True,
        "commit": commit,
        "groups": list(last[0]["groups"]),
        "wants": {request["desired"]["name"]: _identity(request["desired"]) for request in found},
        "images": sorted(set(new.values())),
        "keep": int(last[0].get("keep") or release_list.KEEP),
    }
    lines = ["{0}: {1} -> {2}".format(one, ", ".join(_images(members[one])), new[one]) for one in order if one in new]
    return [{**request, "release": told} for request in found], lines


def _images(record: Mapping[str, Any]) -> List[str]:
    return sorted({str(one["image"]) for one in record["containers"].values()})


def _image_for(component: str, record: Mapping[str, Any], images: Sequence[str]) -> Optional[str]:
    """Which of ``images`` takes the place of the component's own. Raises Refused where it cannot be one of several."""
    own = _images(record)
    fitting = [image for image in images if repository(image) in {repository(one) for one in own}]
    if fitting and len(own) > 1:
        form = "{0} has containers of several images ({1}), which only site.yml can change"
        raise Refused(form.format(component, ", ".join(own)))
    return fitting[0] if fitting else None


def _refuse_unused(
    images: Sequence[str], chosen: Mapping[str, Optional[str]], members: Mapping[str, Mapping[str, Any]]
) -> None:
    there = {repository(image) for record in members.values() for image in _images(record)}
    unused = [image for image in images if image not in chosen.values()]
    if unused:
        form = "image: nothing that was deployed here is of the repository {0}; there are: {1}"
        named = ", ".join(sorted(repository(image) for image in unused))
        raise Refused(form.format(named, ", ".join(sorted(there)) or "none"))


def _refuse_name(root: str, name: str, chosen: Mapping[str, str]) -> None:
    """A release of this name served already, with other images. Raises Refused."""
    release = release_list.load(root, name)
    if release is None or release["outcome"] != release_list.COMPLETE:
        return
    for component, image in sorted(chosen.items()):
        kept = (release["components"].get(component) or {}).get("images") or {}
        if kept and image not in kept:
            form = "release: '{0}' is there already, with another image of {1} ({2}); choose another name, or go back"
            raise Refused(form.format(name, component, ", ".join(sorted(kept))))


def _request(
    root: str, component: str, record: Mapping[str, Any], image: str, common: Mapping[str, Any]
) -> Dict[str, Any]:
    """The component as it is, with another image. Raises Refused where it is not as it was deployed."""
    (old,) = _images(record)
    contents: Dict[str, bytes] = {}
    marks = marks_of(root, record["files"])
    for path, mark in record["files"].items():
        if planning.content_of(marks.get(path, "")) != planning.content_of(mark):
            died = "an interrupted run left it, the next deploy recovers" if records.leftovers(root) else ""
            hint = died or "run site.yml, which puts it right"
            raise Refused("{0} is not as it was deployed; {1}".format(path, hint))
        with open(os.path.join(root, path), "rb") as handle:
            contents[path] = handle.read()
    own = component + "/compose.yaml"
    contents[own] = _another(contents[own].decode(), old, image, len(record["containers"]), own).encode()
    files = dict(record["files"])
    _content, mode, uid = files[own].split(":")
    files[own] = planning.fingerprint(contents[own], int(mode, 8), int(uid))
    meta = _replaced(record["meta"], old, image)
    containers = {n: {"service": str(c.get("service")), "image": image} for n, c in record["containers"].items()}
    desired = {
        "name": component,
        "present": True,
        "files": files,
        "containers": containers,
        "reload_files": list(record.get("reload_files") or []),
        "meta": meta,
    }
    encoded = {path: base64.b64encode(content).decode() for path, content in contents.items()}
    request = going_back.complete(desired, encoded, common)
    standby = switching.standby_of({"meta": meta})
    claim = {**request["claim"], "standbys": [standby["container"]] if standby else []}
    return {**request, "claim": claim, "together": False, "back": False}


def _another(text: str, old: str, new: str, count: int, path: str) -> str:
    """A compose file with another image, and with its version beside it. Raises Refused if it is not found in there."""
    quote = "[\"']?"
    form = r"(\bimage{0}:\s*{0}){1}({0})(?=[\s,}}]|$)".format(quote, re.escape(_written(old)))
    text, found = re.subn(form, lambda one: one.group(1) + _written(new) + one.group(2), text)
    if found != count:
        form = "{0} names its image in a way of its own ({1} of {2} found); only site.yml can change it"
        raise Refused(form.format(path, found, count))
    form = r"({0}{1}{0}:[ \t]*)(?:\"[^\"\n]*\"|'[^'\n]*'|[^\s,}}]*)".format(quote, re.escape(VERSION))
    return re.sub(form, lambda one: '{0}"{1}"'.format(one.group(1), tag(new)), text)


def _written(image: str) -> str:
    return image.replace("$", "$$")


def _replaced(value: Any, old: str, new: str, key: str = "") -> Any:
    """What is known of a component, with another image wherever its own is named as a whole."""
    if isinstance(value, Mapping):
        return {name: _replaced(one, old, new, str(name)) for name, one in value.items()}
    if isinstance(value, list):
        return [_replaced(one, old, new) for one in value]
    if key == VERSION:
        return tag(new)
    return new if isinstance(value, str) and value in (old, _written(old)) else value


def _identity(desired: Mapping[str, Any]) -> str:
    services = {name: (str(one["service"]), str(one["image"])) for name, one in desired["containers"].items()}
    return planning.identity(str(desired["name"]), desired["files"], services)
