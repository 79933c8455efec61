"""Alloy's configuration language: a parser, and a check of this stack's components against their documents."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Dict, Iterator, List, Tuple

from standin import seconds

TOKEN = re.compile(
    r"(?P<space>[ \t\r]+|//[^\n]*|/\*.*?\*/)|(?P<line>\n)|(?P<string>\"(?:\\.|[^\"\\\n])*\"|`[^`]*`)"
    r"|(?P<number>-?\d+(?:\.\d+)?)|(?P<word>[A-Za-z_][A-Za-z0-9_]*)|(?P<op>[{}()\[\],=.])",
    re.DOTALL,
)
ESCAPES = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\", "'": "'", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}


class Invalid(Exception):
    """The configuration is refused; the message is as `alloy validate` prints it."""


@dataclass
class Ref:
    """A reference such as loki.write.loki.receiver."""

    name: str
    line: int


@dataclass
class Block:
    """A block: its name, label, attributes and inner blocks."""

    name: str
    label: str
    line: int
    attributes: Dict[str, Any] = field(default_factory=dict)
    blocks: List[Block] = field(default_factory=list)

    @property
    def id(self) -> str:
        """Name and label, as references say it."""
        return f"{self.name}.{self.label}" if self.label else self.name


class Parser:
    """A recursive descent over one file."""

    def __init__(self, text: str, path: str) -> None:
        self.path = path
        self.tokens: List[Tuple[str, str, int]] = []
        position, line = 0, 1
        while position < len(text):
            found = TOKEN.match(text, position)
            if not found:
                raise Invalid(f"Error: {path}:{line}:1: illegal character {text[position]!r}")
            kind = str(found.lastgroup)
            if kind != "space":
                self.tokens.append((kind, found.group(), line))
            line += found.group().count("\n")
            position = found.end()
        self.tokens.append(("end", "", line))
        self.place = 0

    def fail(self, expected: str) -> Invalid:
        """The complaint about the token at hand."""
        _, text, line = self.tokens[self.place]
        return Invalid(f"Error: {self.path}:{line}:1: expected {expected}, got {text.strip() or 'end of line'}")

    def skip(self) -> None:
        """Pass over empty lines."""
        while self.tokens[self.place][0] == "line":
            self.place += 1

    def take(self, kind: str, text: str = "") -> str:
        """Take the next token, which must be of this kind and text."""
        have, value, _ = self.tokens[self.place]
        if have != kind or (text and value != text):
            raise self.fail(text or kind)
        self.place += 1
        return value

    def at(self, text: str) -> bool:
        """Whether the next token is this one."""
        return self.tokens[self.place][1] == text

    def file(self) -> List[Block]:
        """The whole file."""
        top = Block("", "", 1)
        self.body(top)
        if self.tokens[self.place][0] != "end":
            raise self.fail("block or attribute")
        return top.blocks

    def body(self, owner: Block) -> None:
        """Attributes and blocks up to a closing brace or the end."""
        while True:
            self.skip()
            if self.tokens[self.place][0] == "end" or self.at("}"):
                return
            line = self.tokens[self.place][2]
            name = self.take("word")
            while self.at("."):
                self.place += 1
                name += "." + self.take("word")
            if self.at("="):
                self.place += 1
                if name in owner.attributes:
                    raise Invalid(f'Error: {self.path}:{line}:1: attribute "{name}" may only be provided once')
                owner.attributes[name] = self.value()
            else:
                label = text(self.take("string")) if self.tokens[self.place][0] == "string" else ""
                inner = Block(name, label, line)
                self.take("op", "{")
                self.body(inner)
                self.take("op", "}")
                owner.blocks.append(inner)
            if self.tokens[self.place][0] != "end" and not self.at("}"):
                self.take("line")

    def value(self) -> Any:
        """One expression: literals, lists, objects, references."""
        kind, word, line = self.tokens[self.place]
        if kind == "string":
            self.place += 1
            return text(word)
        if kind == "number":
            self.place += 1
            return float(word) if "." in word else int(word)
        if word in ("[", "{"):
            return self.collection(word)
        name = self.take("word")
        if name in ("true", "false", "null"):
            return {"true": True, "false": False, "null": None}[name]
        while self.at("."):
            self.place += 1
            name += "." + self.take("word")
        return Ref(name, line)

    def collection(self, opening: str) -> Any:
        """A list or an object."""
        closing = "]" if opening == "[" else "}"
        self.take("op", opening)
        items: List[Any] = []
        pairs: Dict[str, Any] = {}
        self.skip()
        while not self.at(closing):
            if opening == "{":
                kind, word, _ = self.tokens[self.place]
                self.place += 1
                if kind not in ("word", "string"):
                    raise self.fail("an object's key")
                self.take("op", "=")
                pairs[text(word) if kind == "string" else word] = self.value()
            else:
                items.append(self.value())
            if self.at(","):
                self.place += 1
                self.skip()
            elif not self.at(closing):
                # A line may not end inside a collection without a comma.
                raise self.fail("','")
        self.take("op", closing)
        return items if opening == "[" else pairs


def text(literal: str) -> str:
    """The value of a string literal."""
    if literal[0] == "`":
        return literal[1:-1]

    def one(found: re.Match[str]) -> str:
        if found.group(1) not in ESCAPES:
            raise Invalid(f"Error: unknown escape sequence in {literal}")
        return ESCAPES[found.group(1)]

    return re.sub(r"\\(.)", one, literal[1:-1])


# Per component: attributes (! is required), inner blocks ("name: attributes"), what it exports. From Alloy's reference.
STAGES: Dict[str, str] = {
    "stage.docker": "",
    "stage.static_labels": "values",
    "stage.json": "expressions regex drop_malformed source",
    "stage.logfmt": "mapping regex source",
    "stage.regex": "expression! source labels_from_groups",
    "stage.replace": "expression! replace source",
    "stage.labels": "values! source_type",
    "stage.label_drop": "values!",
    "stage.label_keep": "values!",
    "stage.structured_metadata": "values regex",
    "stage.structured_metadata_drop": "values",
    "stage.output": "source!",
    "stage.drop": "source separator expression value older_than longer_than drop_counter_reason",
    "stage.timestamp": "source! format! fallback_formats location action_on_failure action_on_duplicate_timestamp",
}
RULE = {"rule": "source_labels separator regex modulus target_label replacement action"}
COMPONENTS: Dict[str, Tuple[str, Dict[str, str], str]] = {
    "logging": ("level format write_to", {}, ""),
    "discovery.docker": (
        "host! port host_networking_host refresh_interval match_first_network",
        {"filter": "name! values!"},
        "targets",
    ),
    "discovery.relabel": ("targets!", RULE, "output rules"),
    "loki.relabel": ("forward_to! max_cache_size", RULE, "receiver rules"),
    "loki.source.file": (
        "targets! forward_to! encoding tail_from_end legacy_positions_file on_positions_file_error",
        {
            "file_watch": "min_poll_frequency max_poll_frequency",
            "file_match": "enabled sync_period ignore_older_than",
            "decompression": "enabled! format! initial_delay",
        },
        "",
    ),
    "loki.source.journal": ("forward_to! format_as_json labels matches max_age path relabel_rules", {}, ""),
    "loki.process": ("forward_to!", STAGES, "receiver"),
    "loki.write": (
        "external_labels max_streams",
        {
            "endpoint": "url! name batch_size batch_wait remote_timeout tenant_id headers max_backoff_period "
            "max_backoff_retries min_backoff_period retry_on_http_429 enable_http2 follow_redirects",
            "wal": "enabled max_segment_age min_read_frequency max_read_frequency drain_timeout",
        },
        "receiver",
    ),
}


def _refs(value: Any) -> Iterator[Ref]:
    if isinstance(value, Ref):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _refs(inner)


def _attributes(path: str, block: Block, allowed: str) -> None:
    names = {name.rstrip("!"): name.endswith("!") for name in allowed.split()}
    for name in block.attributes:
        if name not in names:
            raise Invalid(f'Error: {path}:{block.line}:1: unrecognized attribute name "{name}"')
    for name, required in names.items():
        if required and name not in block.attributes:
            raise Invalid(f'Error: {path}:{block.line}:1: missing required attribute "{name}"')
    for name in ("older_than", "max_age", "refresh_interval"):
        if name in block.attributes:
            try:
                seconds(str(block.attributes[name]))
            except ValueError as error:
                raise Invalid(f"Error: {path}:{block.line}:1: {name}: {error}") from error
    if block.name == "stage.drop" and not {"source", "expression", "older_than", "longer_than"} & set(block.attributes):
        raise Invalid(f"Error: {path}:{block.line}:1: drop stage config must contain at least one of `source`, "
                      "`expression`, `older_than` or `longer_than`")  # fmt: skip
    for name in ("expression", "regex"):
        if name in block.attributes:
            try:
                re.compile(str(block.attributes[name]))
            except re.error as error:
                raise Invalid(f"Error: {path}:{block.line}:1: {name}: error parsing regexp: {error}") from error


def parse(content: str, path: str) -> List[Block]:
    """The blocks of a file. Raises Invalid for what Alloy refuses: syntax, names, references."""
    blocks = Parser(content, path).file()
    exports: Dict[str, str] = {}
    for block in blocks:
        if block.name not in COMPONENTS:
            raise Invalid(f'Error: {path}:{block.line}:1: cannot find the definition of component name "{block.name}"')
        if block.id in exports:
            raise Invalid(f"Error: {path}:{block.line}:1: block {block.id} already declared")
        attributes, inner, exported = COMPONENTS[block.name]
        exports[block.id] = exported
        _attributes(path, block, attributes)
        for below in block.blocks:
            if below.name not in inner:
                raise Invalid(f'Error: {path}:{below.line}:1: unrecognized block name "{below.name}"')
            _attributes(path, below, inner[below.name])
    for block in blocks:
        for ref in _refs([block.attributes, [below.attributes for below in block.blocks]]):
            owner, _, name = ref.name.rpartition(".")
            if name not in exports.get(owner, "").split():
                raise Invalid(f'Error: {path}:{ref.line}:1: component "{ref.name}" does not exist or is out of scope')
    return blocks
