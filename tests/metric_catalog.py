"""Which metrics exist, with which labels: captured expositions, the application's contract, documented series.

Used by the tests of dashboards and of rules, so that a query can only name what some program really serves.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
EXPOSITIONS = ROOT / "tests" / "expositions"
CONTRACT = ROOT / "docs" / "architecture.md"
# Labels of every scraped series: by Prometheus itself and by the target files of the engine
TARGET_LABELS = frozenset({"job", "instance", "service", "component", "node", "metrics_kind"})
_SAMPLE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+[-+0-9eE.NnaIif]+(?:\s+\d+)?$")
_LABEL = re.compile(r'([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"')
_METRIC = re.compile(r"`([a-z_]+)(?:\{([a-z_,]+)\})?`")
_SUFFIXES = {"histogram": ("_bucket", "_sum", "_count"), "summary": ("", "_sum", "_count")}


@dataclass
class Metric:
    """A metric that some program serves: its labels, and the values seen for each label in the captures."""

    labels: set[str] = field(default_factory=set)
    values: dict[str, set[str]] = field(default_factory=dict)
    counter: bool = False
    source: str = ""

    def unseen(self, label: str, operator: str, value: str) -> list[str]:
        """Return the values that a matcher names and no capture has; of a pattern those that are plain words.

        A label of which no capture has any value is not judged.
        """
        seen = self.values.get(label)
        if seen is None or operator not in ("=", "=~"):
            return []
        named = [value] if operator == "=" else [one for one in value.split("|") if re.fullmatch(r"\w+", one)]
        wrong = [one for one in named if one not in seen]
        if operator == "=~" and not wrong and not any(re.fullmatch(value, one) for one in seen):
            wrong = [value]
        return wrong


def _captured(catalog: dict[str, Metric], files: str) -> None:
    for path in sorted(EXPOSITIONS.glob(files)):
        kinds: dict[str, str] = {}
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith("# TYPE "):
                _, _, name, kind = line.split()
                kinds[name] = kind
            elif line and not line.startswith("#"):
                match = _SAMPLE.match(line)
                if not match:
                    raise ValueError(f"{path.name}: not a sample: {line}")
                metric = catalog.setdefault(match.group(1), Metric(source=path.name))
                base = re.sub(r"_(bucket|sum|count)$", "", match.group(1))
                metric.counter |= kinds.get(match.group(1)) == "counter" or kinds.get(base) in _SUFFIXES
                for label, value in _LABEL.findall(match.group(2) or ""):
                    metric.labels.add(label)
                    metric.values.setdefault(label, set()).add(value)


def _add(catalog: dict[str, Metric], name: str, labels: set[str], source: str) -> None:
    gauge = "timestamp" in name or "mtime" in name or name.startswith(("container_", "scrape_"))
    histogram = name.endswith("_seconds") and not gauge
    names = [name + suffix for suffix in _SUFFIXES["histogram"]] if histogram else [name]
    for one in names:
        metric = catalog.setdefault(one, Metric(source=source))
        metric.labels |= labels | ({"le"} if one.endswith("_bucket") else set())
        metric.counter |= histogram or name.endswith("_total")


def contract() -> dict[str, set[str]]:
    """Return the application's metrics and labels as docs/architecture.md promises them, or raise ValueError."""
    text = CONTRACT.read_text(encoding="utf-8")
    start, end = text.find("Metric names of the application"), text.find("Task names:")
    if not 0 <= start < end:
        raise ValueError(f"{CONTRACT.name} no longer has the paragraph of the application's metrics")
    return {name: set(labels.split(",")) - {""} for name, labels in _METRIC.findall(text[start:end])}


@cache
def catalog(*, own: bool = False) -> dict[str, Metric]:
    """Return every known metric by the name of its series (histograms with their suffixes).

    ``own`` are those that the reference application was seen to serve, and nobody else.
    """
    known: dict[str, Metric] = {}
    _captured(known, "*-0.1.0.txt" if own else "*.txt")
    if own:
        return known
    for name, labels in contract().items():
        _add(known, name, labels, CONTRACT.name)
    documented = yaml.safe_load((EXPOSITIONS / "documented.yml").read_text(encoding="utf-8"))
    for program, entry in documented.items():
        for name, labels in entry["metrics"].items():
            _add(known, name, {*labels, *entry.get("labels", [])}, f"documented.yml: {program}")
    return known
