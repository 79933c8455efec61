"""What Alloy does to a line on its way: relabelling and the stages of loki.process, one to one with its documents."""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Dict, List, Optional, Union

from standin import seconds, size
from syntax import Block

NANOSECONDS = 1_000_000_000


@dataclass
class Entry:
    """A line; ``at`` in nanoseconds since 1970."""

    labels: Dict[str, str]
    line: str
    at: int
    metadata: Dict[str, str] = field(default_factory=dict)
    extracted: Dict[str, Any] = field(default_factory=dict)


def relabel(rules: List[Block], labels: Dict[str, str]) -> Optional[Dict[str, str]]:
    """Prometheus' relabelling; None when a rule drops the target."""
    result = dict(labels)
    for rule in rules:
        get = rule.attributes.get
        label = str(get("target_label"))
        value = get("separator", ";").join(result.get(name, "") for name in get("source_labels", []))
        found = re.fullmatch(get("regex", "(.*)"), value, re.DOTALL)
        action = get("action", "replace")
        if action in ("drop", "keep"):
            if bool(found) == (action == "drop"):
                return None
        elif action == "labeldrop":
            result = {name: text for name, text in result.items() if not re.fullmatch(str(get("regex")), name)}
        elif action == "replace":
            if found:
                new = found.expand(
                    re.sub(r"\$\{?(\w+)\}?", r"\\g<\1>", get("replacement", "$1"))
                    if found.re.groups
                    else get("replacement", value).replace("\\", "\\\\")
                )
                result[label] = new
                if not new:
                    del result[label]
        else:
            raise ValueError(f"the stand-in does not know the action {action}")
    return result


def rfc3339(text: str) -> int:
    """Nanoseconds of a timestamp such as 2026-01-02T03:04:05.678901234Z. Raises ValueError."""
    found = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)", text)
    if not found:
        raise ValueError(text)
    zone = "+00:00" if found.group(3) == "Z" else found.group(3)
    base = int(datetime.fromisoformat(found.group(1) + zone).astimezone(timezone.utc).timestamp())
    return base * NANOSECONDS + int((found.group(2) or "0").ljust(9, "0"))


def text_of(value: Any) -> Optional[str]:
    """An extracted value as text; None for null, which no stage uses."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, float) and value == int(value):
        return str(int(value))
    return json.dumps(value, separators=(",", ":"))


def process(stages: List[Block], entry: Entry) -> Union[Entry, str]:
    """Run the stages; the reason when one drops the line."""
    entry.extracted = dict(entry.labels)
    for stage in stages:
        kind = stage.name.partition(".")[2]
        if kind == "drop":
            if _drops(stage, entry):
                return str(stage.attributes.get("drop_counter_reason", "drop_stage"))
            continue
        STAGES[kind](stage.attributes, entry)
    return entry


def _drops(stage: Block, entry: Entry) -> bool:
    """All that the stage names must hold."""
    get = stage.attributes.get
    if get("older_than") and entry.at >= time.time_ns() - int(seconds(str(get("older_than"))) * NANOSECONDS):
        return False
    if get("longer_than") and len(entry.line.encode()) <= size(str(get("longer_than"))):
        return False
    source = entry.line if not get("source") else text_of(entry.extracted.get(str(get("source")))) or ""
    if get("expression") and not re.search(str(get("expression")), source):
        return False
    return get("value") is None or source == get("value")


def _docker(_: Dict[str, Any], entry: Entry) -> None:
    try:
        parsed = json.loads(entry.line)
    except ValueError:
        return
    if not isinstance(parsed, dict) or not parsed.get("log"):
        return
    entry.line = parsed["log"]
    entry.extracted.update(output=entry.line, stream=parsed.get("stream", ""), timestamp=parsed.get("time", ""))
    entry.labels["stream"] = parsed.get("stream", "")
    try:
        entry.at = rfc3339(parsed.get("time", ""))
    except ValueError:
        return


def _source(attributes: Dict[str, Any], entry: Entry) -> Optional[str]:
    name = attributes.get("source")
    return text_of(entry.extracted.get(name)) if name else entry.line


def _json(attributes: Dict[str, Any], entry: Entry) -> None:
    try:
        parsed = json.loads(_source(attributes, entry) or "")
    except ValueError:
        return
    if not isinstance(parsed, dict):
        return
    for name, path in attributes.get("expressions", {}).items():
        value: Any = parsed
        for part in (path or name).split("."):
            value = value.get(part) if isinstance(value, dict) else None
        entry.extracted[name] = json.dumps(value, separators=(",", ":")) if isinstance(value, (dict, list)) else value


def _logfmt(attributes: Dict[str, Any], entry: Entry) -> None:
    found = dict(re.findall(r'(\w+)=("(?:\\.|[^"])*"|\S*)', _source(attributes, entry) or ""))
    for name, key in attributes.get("mapping", {}).items():
        if (key or name) in found:
            entry.extracted[name] = found[key or name].strip('"')


def _regex(attributes: Dict[str, Any], entry: Entry) -> None:
    source = _source(attributes, entry)
    found = re.search(attributes["expression"], source) if source is not None else None
    if found:
        entry.extracted.update({name: value or "" for name, value in found.groupdict().items()})


def _replace(attributes: Dict[str, Any], entry: Entry) -> None:
    source = _source(attributes, entry)
    if source is None:
        return
    result, place = "", 0
    for found in re.finditer(attributes["expression"], source):
        for number in range(1, found.re.groups + 1):
            if found.start(number) >= place:
                result += source[place : found.start(number)] + attributes.get("replace", "")
                place = found.end(number)
    result += source[place:]
    if attributes.get("source"):
        entry.extracted[attributes["source"]] = result
    else:
        entry.line = result


def _static_labels(attributes: Dict[str, Any], entry: Entry) -> None:
    entry.labels.update(attributes.get("values", {}))


def _labels(attributes: Dict[str, Any], entry: Entry) -> None:
    for name, source in attributes["values"].items():
        value = text_of(entry.extracted.get(source or name))
        if value is not None:
            entry.labels[name] = value


def _label_drop(attributes: Dict[str, Any], entry: Entry) -> None:
    for name in attributes["values"]:
        entry.labels.pop(name, None)


def _label_keep(attributes: Dict[str, Any], entry: Entry) -> None:
    entry.labels = {name: value for name, value in entry.labels.items() if name in attributes["values"]}


def _structured_metadata(attributes: Dict[str, Any], entry: Entry) -> None:
    for name, source in attributes.get("values", {}).items():
        value = text_of(entry.extracted.get(source or name))
        if value is not None:
            entry.metadata[name] = value
        # A label of that name moves.
        label = entry.labels.pop(source or name, None)
        if label is not None:
            entry.metadata[name] = label


def _structured_metadata_drop(attributes: Dict[str, Any], entry: Entry) -> None:
    for name in attributes.get("values", []):
        entry.metadata.pop(name, None)


def _output(attributes: Dict[str, Any], entry: Entry) -> None:
    entry.line = text_of(entry.extracted.get(attributes["source"])) or entry.line


STAGES = {
    "docker": _docker,
    "json": _json,
    "logfmt": _logfmt,
    "regex": _regex,
    "replace": _replace,
    "static_labels": _static_labels,
    "labels": _labels,
    "label_drop": _label_drop,
    "label_keep": _label_keep,
    "structured_metadata": _structured_metadata,
    "structured_metadata_drop": _structured_metadata_drop,
    "output": _output,
}
