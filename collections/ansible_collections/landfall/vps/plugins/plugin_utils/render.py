"""Renders a role's files on the controller into what a component should be on the VPS."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Tuple

import yaml
from ansible_collections.landfall.vps.plugins.module_utils import rollout
from ansible_collections.landfall.vps.plugins.module_utils.plan import Container, Desired, fingerprint, main_container
from ansible_collections.landfall.vps.plugins.plugin_utils import (
    declared,
    fitting,
    given,
    mounts,
    placing,
    quick_yaml,
    saving,
    serving,
    timer_files,
)
from ansible_collections.landfall.vps.plugins.plugin_utils.stack import UNPREFIXED, Stack
from ansible_collections.landfall.vps.plugins.plugin_utils.targets import hyphens, own_jobs, target_files, targets

RenderText = Callable[[str, Mapping[str, Any], Mapping[str, str]], str]
"""(template file, more variables, delimiters) -> rendered text"""

BRACKETS = {
    "variable_start_string": "[[",
    "variable_end_string": "]]",
    "block_start_string": "[%",
    "block_end_string": "%]",
    "comment_start_string": "[#",
    "comment_end_string": "#]",
}
RULES, TARGETS, BOARDS = "rules", "targets", "dashboards"  # kinds of files whose content the engine knows
PRESENCE = "presence.yml.j2"
DASHBOARDS = "dashboards.json.j2"
TAG = re.compile(r"^[^\s@]+:(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]*)(?:@sha256:[0-9a-f]{64})?$")
DIGEST = re.compile(r"^[^\s@:]+(?::[0-9]+/[^\s@:]+)?@sha256:[0-9a-f]{64}$")


class RenderError(Exception):
    """A role's files and the inventory do not add up to a component."""


@dataclass(frozen=True)
class Rendered:
    """``desired`` for the planner, ``contents`` (path to bytes) for the VPS; ``boards`` are folders of dashboards."""

    desired: Desired
    contents: Mapping[str, bytes]
    boards: Tuple[str, ...] = ()


def _sources(role_path: str, kind: str) -> Iterator[Tuple[str, str]]:
    """(source file, path relative to ``kind``) from templates/<kind> and files/<kind>, without their tests."""
    for place in ("templates", "files"):
        folder = os.path.join(role_path, place, kind)
        for source in given.below(folder):
            relative = os.path.relpath(source, folder)
            if not relative.startswith("tests" + os.sep):
                yield source, relative


def image_fault(image: str) -> str:
    """What is wrong with an image reference, empty when it is pinned to an exact tag or a digest."""
    if DIGEST.match(image):
        return ""
    if "@" in image and not TAG.match(image):
        return "has no digest of the form @sha256: and 64 hexadecimal digits"
    found = TAG.match(image)
    if not found:
        return "has no tag"
    return "is not pinned: 'latest' changes under your feet" if found.group("tag") == "latest" else ""


def _document(compose_text: str, source: str) -> Dict[str, Any]:
    try:
        return dict(quick_yaml.load(compose_text) or {})
    except yaml.YAMLError as error:
        raise RenderError("{0} does not render to YAML: {1}".format(source, error)) from error


def _volumes(document: Mapping[str, Any], source: str, external: Tuple[str, ...]) -> List[str]:
    """The volumes that the engine makes for the component, labelled, so that nobody takes them for somebody else's."""
    found = []
    for key, volume in (document.get("volumes") or {}).items():
        if not (volume or {}).get("external"):
            raise RenderError(
                "{0} lets Compose make the volume {1}; list it with service.volumes(), so that the engine makes and "
                "labels it".format(source, key)
            )
        name = str(volume.get("name") or key)
        if name not in external:
            found.append(name)
    return sorted(found)


def _containers(document: Mapping[str, Any], source: str) -> Dict[str, Container]:
    result: Dict[str, Container] = {}
    for service, options in (document.get("services") or {}).items():
        name = options.get("container_name") or service
        image = str(options.get("image") or "")
        fault = image_fault(image)
        if fault:
            raise RenderError(
                "image '{0}' of service {1} {2}; name an exact tag such as {3}:1.2.3".format(
                    image, service, fault, image.split(":", maxsplit=1)[0] or "name"
                )
            )
        if name in result:
            raise RenderError("two services are named {0}; container names must be unique".format(name))
        result[name] = Container(service, image, mounts.seen(options, document))
    if not result:
        raise RenderError("{0} declares no service".format(source))
    return result


def rendered_compose(
    name: str, role_path: str, render_text: RenderText, project: str = "", values: Optional[Mapping[str, Any]] = None
) -> Tuple[str, str]:
    """(text, template) of a component's compose file. Raises RenderError, or whatever ``render_text`` raises."""
    source = os.path.join(role_path, "templates", "compose.yaml.j2")
    known = {"landfall_component": name, "landfall_project": project, **(values or {})}
    return _text(render_text, source, known, {}), source


def names_in(compose_text: str, source: str, external: Tuple[str, ...]) -> Tuple[List[str], List[str]]:
    """(containers, volumes) that a compose file declares as the stack's own. Raises RenderError."""
    document = _document(compose_text, source)
    return list(_containers(document, source)), _volumes(document, source, external)


def _with_service(items: List[Any], first: str) -> List[Any]:
    return [{**item, "service": item.get("service") or first} for item in items]


def _placed(item: Mapping[str, Any], names: Mapping[str, str]) -> Dict[str, Any]:
    """A probe or reload with the containers in place of the services that its role names."""
    return {**item, **{key: names.get(item[key], item[key]) for key in ("service", "host") if item.get(key)}}


def complete(
    options: Mapping[str, Any], containers: Mapping[str, Container], node: str, prefix: str = ""
) -> Dict[str, Any]:
    """The component's options with every implied container named, as kept in its record.

    Roles speak of services, which are names within the stack's network; what asks the engine needs containers' names.
    """
    names = {container.service: name for name, container in containers.items()}
    main = main_container(options["name"], {name: service for service, name in names.items()})
    first = containers[main].service
    checks = [item if isinstance(item, dict) else {"argv": item} for item in options["check"]]
    reload = options["reload"] and {k: v for k, v in options["reload"].items() if v is not None}
    result = {
        "uid": options["uid"],
        "needs": options["needs"],
        "check": _with_service(checks, first),
        "reload": {**reload, "service": reload.get("service") or first} if reload else None,
        "prove": _with_service(options["prove"], first),
        "prove_timeout": options["prove_timeout"],
        "apply_timeout": options["apply_timeout"],
        "image_timeout": options["image_timeout"],
        "targets": targets(options.get("group") or options["name"], options["scrape"], first, node),
        "drop_ins": options["drop_ins"],
        "exercise": {
            "requests": _with_service((options["exercise"] or {}).get("requests") or [], first),
            "increases": (options["exercise"] or {}).get("increases") or [],
        },
    }
    # Only where there is something to say: a record that says the same as before needs no trip
    if hyphens(options["name"]) not in names:
        result["main"] = main
    if options.get("serves"):
        try:
            result["serves"] = serving.checked(_with_service(options["serves"], first))
        except serving.ServesError as error:
            raise RenderError(str(error)) from error
    serves = result.get("serves", [])
    for item in [*result["check"], *result["prove"], *([result["reload"]] if reload else []), *serves]:
        if item["service"] not in names:
            raise RenderError(
                "service '{0}' is named, but the compose file declares only {1}".format(
                    item["service"], ", ".join(sorted(names))
                )
            )
    result["prove"] = [_placed(item, names) for item in result["prove"]]
    result["reload"] = _placed(result["reload"], names) if reload else None
    if serves:
        result["serves"] = [_placed(item, names) for item in serves]
    # Work may be asked of the other services of a group, too
    asked = [_placed(item, names) for item in result["exercise"]["requests"]]
    for item in asked:
        if item["service"] not in containers:
            item["service"] = prefix + item["service"]
    result["exercise"]["requests"] = asked
    return result


def render(
    options: Mapping[str, Any],
    role_path: str,
    render_text: RenderText,
    shared: str,
    node: str,
    stack: Stack = UNPREFIXED,
    destinations: Optional[declared.Destinations] = None,
    place: placing.Place = placing.ALONE,
) -> Rendered:
    """Render everything that the role at ``role_path`` holds for the component described by ``options``.

    ``shared`` is the folder of the templates that all roles use, ``node`` the inventory's name of the VPS,
    ``destinations`` where files for others go (by default to the first role that takes in their kind) and ``place``
    what other hosts of the stack mean for the compose file. Raises
    RenderError, or whatever ``render_text`` raises for an undefined variable or a refused value.
    """
    name: str = options["name"]
    group: str = options.get("group") or name
    identity = {"stack": stack.name, "project": stack.project(name, group)}
    if options["state"] == "absent":
        return Rendered(Desired(name, present=False, meta=identity), {})
    contents: Dict[str, Tuple[bytes, int, int]] = {}
    values = options.get("values") or {}
    compose_text, compose_source = rendered_compose(name, role_path, render_text, identity["project"], values)
    document = _document(compose_text, compose_source)
    containers = _containers(document, compose_source)
    compose_text, document = _placed_compose(compose_text, document, compose_source, options, containers, place)
    contents["{0}/compose.yaml".format(name)] = (compose_text.encode(), 0o644, 0)

    contents.update(_own_files(options, role_path, containers, render_text))
    if destinations is None:
        destinations = declared.destinations(os.path.dirname(role_path), lambda _role: False)
    try:
        contents.update({"{0}/{1}".format(name, at): (text, 0o644, 0) for at, text in given.files(options)})
        own = list(given.shipped(options, os.path.dirname(role_path), destinations))
    except given.GivenError as error:
        raise RenderError(str(error)) from error
    named: Dict[str, Tuple[bytes, int, int]] = {}
    for relative, secret in options["secrets"].items():
        path = "{0}/secrets/{1}".format(name, _inside(relative))
        owned = secret if isinstance(secret, Mapping) else {"content": secret, "uid": options["uid"]}
        if not isinstance(owned["content"], str):
            raise RenderError("the secret {0} is no text; write it in quotes".format(relative))
        named[path] = contents[path] = (owned["content"].encode(), 0o400, int(owned["uid"]))

    meta = complete(options, containers, node, stack.prefix)
    meta.update(identity, volumes=_volumes(document, compose_source, stack.external_volumes))
    try:
        meta.update(saving.described(options.get("saves") or [], containers, document, name))
    except saving.SavesError as error:
        raise RenderError(str(error)) from error
    meta.update(_belonging(options, role_path))
    meta.update(rollout.described(options, document, containers))
    facts = {
        "landfall_component": name,
        "landfall_group": group,
        "landfall_expected_containers": sorted(set(containers) - set(meta.get("one_shots") or [])),
        "landfall_expected_jobs": own_jobs(meta["targets"], containers),
    }
    boards = tuple(destinations.get(BOARDS) or ())

    def content(source: str) -> bytes:
        return _bytes(render_text, source, facts, BRACKETS)

    if options.get("group"):
        _refuse_shipping(role_path, destinations)
    contents.update(
        _shipped(name, role_path, os.path.join(shared, PRESENCE), destinations, content, options["without"])
    )
    fitting.fit_all(
        contents, boards, os.path.join(shared, DASHBOARDS), role_path, render_text, options["without"], BRACKETS
    )
    for folder, relative, text in own:  # as they are
        contents[_drop_in(folder, name, relative)] = (text, 0o644, 0)
    contents.update(target_files(name, meta["targets"], destinations.get(TARGETS) or []))
    try:
        contents.update(timer_files.of(name, options.get("timers") or [], meta, containers, stack, destinations))
    except timer_files.TimerError as error:
        raise RenderError(str(error)) from error

    # A template that renders to nothing makes no file; a secret that the inventory names is one, even an empty one
    marks = {
        path: fingerprint(content, mode, uid)
        for path, (content, mode, uid) in contents.items()
        if content or path in named
    }
    reload_files = tuple(options["reload"]["files"]) if options["reload"] else ()
    desired = Desired(name, True, marks, containers, reload_files, meta)
    return Rendered(desired, {path: contents[path][0] for path in marks}, boards)


def _placed_compose(
    text: str,
    document: Dict[str, Any],
    source: str,
    options: Mapping[str, Any],
    containers: Mapping[str, Container],
    place: placing.Place,
) -> Tuple[str, Dict[str, Any]]:
    """The compose file as text and document, with what other hosts mean for it."""
    services = {name: one.service for name, one in containers.items()}
    ports = place.ports(options["scrape"], list(services.values()), services[main_container(options["name"], services)])
    try:
        fitted = placing.fitted(text, document, place.hosts, ports)
    except placing.PlacingError as error:
        raise RenderError("{0}: {1}".format(source, error)) from error
    return fitted, document if fitted == text else _document(fitted, source)


def _own_files(
    options: Mapping[str, Any], role_path: str, containers: Mapping[str, Container], render_text: RenderText
) -> Iterator[Tuple[str, Tuple[bytes, int, int]]]:
    """The files of a role's ``config`` and ``secrets``, by path; a member of a group has those that it mounts."""
    mounted = {mount.split("/")[0] for container in containers.values() for mount in container.mounts}
    for kind, mode, uid in (("config", 0o644, 0), ("secrets", 0o400, options["uid"])):
        if options.get("group") and not {kind, "."} & mounted:
            continue
        for source, relative in _sources(role_path, kind):
            path = "{0}/{1}/{2}".format(options["name"], kind, relative[:-3] if relative.endswith(".j2") else relative)
            yield path, (_bytes(render_text, source, options.get("values") or {}, {}), mode, uid)


def _belonging(options: Mapping[str, Any], role_path: str) -> Dict[str, Any]:
    """Whose a component is, where its name does not say it; otherwise what its role takes in."""
    role = options.get("group") or os.path.basename(role_path)
    if role != options["name"]:
        return {"role": role}
    takes = declared.takes(role_path)
    return {"takes": takes} if takes else {}


def _refuse_shipping(role_path: str, destinations: declared.Destinations) -> None:
    """Rules and dashboards belong to a role as a whole, and none of a group's components is that."""
    own = [kind for kind in destinations for _source, _relative in _sources(role_path, kind)]
    if own:
        raise RenderError("a role that deploys a group ships no {0}: each of its components would".format(own[0]))


def _shipped(
    name: str,
    role_path: str,
    presence: str,
    destinations: declared.Destinations,
    content: Callable[[str], bytes],
    without: List[str],
) -> Iterator[Tuple[str, Tuple[bytes, int, int]]]:
    """The files of a role that go to others, by path; ``presence`` is one more with rules, ``without`` are left out."""
    for kind, folders in destinations.items():
        sources = {relative: source for source, relative in _sources(role_path, kind)}
        if kind == RULES and os.path.exists(presence):
            sources[PRESENCE] = presence
        for relative, source in sources.items():
            shipped = relative[:-3] if relative.endswith(".j2") else relative
            if "{0}/{1}".format(kind, shipped) in without:
                continue
            text = content(source)
            for folder in folders:
                yield _drop_in(folder, name, shipped), (text, 0o644, 0)


def _inside(relative: str) -> str:
    """``relative`` if it is a plain path below the folder that it is meant for. Raises RenderError."""
    parts = relative.split("/")
    if "\0" in relative or any(part in ("", ".", "..") for part in parts):
        raise RenderError("the secret '{0}' is no name of a file below secrets/".format(relative))
    return relative


def _drop_in(folder: str, name: str, relative: str) -> str:
    return "{0}/{1}--{2}".format(folder, hyphens(name), relative.replace(os.sep, "-"))


def _text(render_text: RenderText, source: str, more: Mapping[str, Any], delimiters: Mapping[str, str]) -> str:
    try:
        return render_text(source, more, delimiters)
    except FileNotFoundError as error:
        raise RenderError("{0} is missing".format(source)) from error


def _bytes(render_text: RenderText, source: str, more: Mapping[str, Any], delimiters: Mapping[str, str]) -> bytes:
    if source.endswith(".j2"):
        return _text(render_text, source, more, delimiters).encode()
    with open(source, "rb") as handle:
        return handle.read()
