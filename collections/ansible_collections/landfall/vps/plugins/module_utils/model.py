"""One component as its role describes it, and the record that is kept of it: typed, and written once.

The options of the task follow from these classes (``argument_spec``); a test holds the module's documentation, what the
engine reads, what it records and what it asks of a record (``shape``) against them. ``RECORD_FORMAT`` in records.py is
their version. Nobody makes one of these classes: what a dataclass brings for that takes most of the time of loading
this file, and is left out.
"""

from __future__ import annotations

import dataclasses
import typing
from dataclasses import dataclass, field
from typing import Any, Dict, List, Literal, NewType, Optional

Path = NewType("Path", str)
"""A path on the controller."""
Raw = NewType("Raw", object)
"""Whatever its reader takes."""
NAMES: Dict[Any, str] = {str: "str", int: "int", bool: "bool", float: "float", Path: "path", Raw: "raw", Any: "raw"}


@dataclass(init=False, repr=False, eq=False)
class Reload:
    """How the running program takes in changed files."""

    port: Optional[int] = None
    path: Optional[str] = None
    host: Optional[str] = None
    service: Optional[str] = None
    signal: Optional[str] = None
    success: Dict[str, Any] = field(default_factory=dict)
    exec: Optional[List[str]] = None
    files: List[str] = field(default_factory=lambda: ["config/*"])


@dataclass(init=False, repr=False, eq=False)
class Scrape:
    """A target of whoever takes in targets."""

    port: int
    service: Optional[str] = None
    job: Optional[str] = None
    host: Optional[str] = None
    path: str = "/metrics"
    interval: Optional[str] = None
    timeout: Optional[str] = None
    scheme: Literal["http", "https"] = "http"
    labels: Dict[str, Any] = field(default_factory=dict)


@dataclass(init=False, repr=False, eq=False)
class Release:
    """A command that runs before anything of a new version is started."""

    service: str
    argv: List[str]


@dataclass(init=False, repr=False, eq=False)
class Releases:
    """The releases that changes of a component make."""

    name: str = ""
    keep: int = 5
    variable: str = ""
    hooks: Dict[str, Any] = field(default_factory=dict)


@dataclass(init=False, repr=False, eq=False)
class Timer:
    """A command that runs by a clock."""

    name: str
    service: str
    argv: List[str]
    schedule: List[str]
    timeout: int = 3600
    late_after: int = 900
    persistent: bool = True
    changes: Dict[str, Any] = field(default_factory=dict)
    on_host: bool = False


@dataclass(init=False, repr=False, eq=False)
class Exercise:
    """Work that verify gives a component."""

    requests: List[Dict[str, Any]] = field(default_factory=list)
    increases: List[str] = field(default_factory=list)


@dataclass(init=False, repr=False, eq=False)
class Build:
    """An image that is built on the VPS."""

    image: str
    context: Path
    dockerfile: str = "Dockerfile"
    args: Dict[str, Any] = field(default_factory=dict)
    target: Optional[str] = None
    platform: Optional[str] = None


@dataclass(init=False, repr=False, eq=False)
class Update:
    """How a new version takes the place of the one that runs."""

    order: Literal["stop-first", "start-first"] = "stop-first"
    proxied: bool = False
    drain: int = 30
    watch: int = 0
    error_ratio: float = 0.05
    latency: float = 0.0
    min_requests: int = 20
    why: Optional[str] = None


@dataclass(init=False, repr=False, eq=False)
class Ships:
    """Files of the controller that go where the role's own of their kind go; ``variable`` names them in messages."""

    kind: str
    files: List[str] = field(default_factory=list)
    variable: str = ""


RELOAD = {
    "mutually_exclusive": [["signal", "port", "exec"]],
    "required_one_of": [["signal", "port", "exec"]],
    "required_together": [["port", "path"]],
}


@dataclass(init=False, repr=False, eq=False)
class Component:
    """What a task of ``landfall.vps.component`` says, see the module's documentation."""

    name: str
    state: Literal["present", "absent"] = "present"
    uid: int = 0
    components: Optional[List[Dict[str, Any]]] = None
    values: Dict[str, Any] = field(default_factory=dict)
    needs: List[Raw] = field(default_factory=list)
    secrets: Dict[str, Any] = field(default_factory=dict, metadata={"no_log": True})
    files: Dict[str, Any] = field(default_factory=dict)
    folders: Dict[str, Any] = field(default_factory=dict)
    check: List[Raw] = field(default_factory=list)
    reload: Optional[Reload] = field(default=None, metadata=RELOAD)
    prove: List[Dict[str, Any]] = field(default_factory=list)
    prove_timeout: int = 60
    apply_timeout: int = 300
    image_timeout: int = 1800
    scrape: List[Scrape] = field(default_factory=list)
    drop_ins: Dict[str, Any] = field(default_factory=dict)
    serves: List[Dict[str, Any]] = field(default_factory=list)
    saves: List[Dict[str, Any]] = field(default_factory=list)
    without: List[str] = field(default_factory=list)
    ships: List[Ships] = field(default_factory=list)
    own_volumes: Any = False
    release: List[Release] = field(default_factory=list)
    releases: Optional[Releases] = None
    rolling: List[List[str]] = field(default_factory=list)
    update: Optional[Update] = None
    timers: List[Timer] = field(default_factory=list)
    exercise: Exercise = field(default_factory=Exercise)
    build: List[Build] = field(default_factory=list)


@dataclass(init=False, repr=False, eq=False)
class Record:
    """What is kept on the VPS of a component that was applied.

    ``digest`` is that of all that makes it what it is, ``files`` path to fingerprint, ``containers`` name to
    ``{service, image, config_hash}``, ``images`` image to id, ``meta`` what verify and later runs need to know;
    ``start`` is there while it waits for its start. ``at`` is in seconds since 1970, ``by`` for people.
    """

    name: str
    group: str
    files: Dict[str, str]
    containers: Dict[str, Any]
    meta: Dict[str, Any]
    proven: bool
    digest: Optional[str] = None
    images: Optional[Dict[str, Any]] = None
    reload_files: Optional[List[str]] = None
    at: Optional[float] = None
    by: Optional[str] = None
    format: Optional[int] = None
    start: Optional[Dict[str, Any]] = None


def argument_spec(model: Any) -> Dict[str, Any]:
    """The options of an Ansible task that has the fields of a dataclass."""
    hints = typing.get_type_hints(model)
    return {one.name: _option(one, hints[one.name]) for one in dataclasses.fields(model)}


def _option(one: dataclasses.Field[Any], hint: Any) -> Dict[str, Any]:
    option: Dict[str, Any] = _kind(_inner(hint))
    if one.default_factory is not dataclasses.MISSING:
        made = one.default_factory()
        option["default"] = {} if dataclasses.is_dataclass(made) else made
    elif one.default is dataclasses.MISSING:
        option["required"] = True
    elif one.default is not None:
        option["default"] = one.default
    option.update(one.metadata)
    return option


def _inner(hint: Any) -> Any:
    """The type of an option that may be left out."""
    parts = [part for part in typing.get_args(hint) if part is not type(None)]
    return parts[0] if typing.get_origin(hint) is typing.Union else hint


def _kind(hint: Any) -> Dict[str, Any]:
    origin = typing.get_origin(hint)
    if origin is Literal:
        return {"type": "str", "choices": list(typing.get_args(hint))}
    if dataclasses.is_dataclass(hint):
        return {"type": "dict", "options": argument_spec(hint)}
    if origin is dict:
        return {"type": "dict"}
    if origin is list:
        element = _kind(typing.get_args(hint)[0])
        found = {"type": "list", "elements": element["type"]}
        return {**found, "options": element["options"]} if "options" in element else found
    return {"type": NAMES[hint]}


def shape(model: Any) -> Dict[str, type]:
    """The fields that every value of a dataclass has, with the type of each as JSON knows it."""
    hints = typing.get_type_hints(model)
    fields = [one for one in dataclasses.fields(model) if one.default is dataclasses.MISSING]
    return {one.name: typing.get_origin(hints[one.name]) or hints[one.name] for one in fields}
