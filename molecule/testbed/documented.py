"""Every query that the documentation shows, and whether the text beside it promises a result.

Found are fenced blocks of ``promql`` and ``logql``, ``query=…`` in fenced commands that ask Prometheus or Loki, and the
code in a column ``query`` of a table.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .paths import ROOT

GUIDE = "docs/operations/metrics-guide.md"
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_ASKED = re.compile(r"""(['"])query=(.+?)\1""")
_CELL = re.compile(r"`([^`]+)`")


@dataclass(frozen=True)
class Documented:
    """A query: where it stands, its text, and whether the page says that it returns something."""

    file: str
    line: int
    language: str  # promql or logql
    text: str
    promised: bool

    @property
    def where(self) -> str:
        """Name in messages."""
        return f"{self.file}:{self.line}"


def promises(after: str) -> bool:
    """Whether the text after a query, up to the next block or heading, does not say "Expected: nothing"."""
    own = re.split(r"^(?:#|```)", after, maxsplit=1, flags=re.MULTILINE)[0]
    return not re.search(r"Expected:\s+nothing\b", own)


def in_page(file: str, page: str) -> Iterator[Documented]:
    """Yield the queries of one page. Promises are looked for in the metrics guide only: runbooks are for bad days."""
    guide = file == GUIDE
    for block in _FENCE.finditer(page):
        kind, text = block.groups()
        line = page.count("\n", 0, block.start()) + 1
        if kind in ("promql", "logql"):
            yield Documented(file, line, kind, text.strip(), guide and promises(page[block.end() :]))
        elif kind == "sh":
            for asked in _ASKED.finditer(text):
                # A command may go over several lines; its address is the last one before the query
                loki = re.findall(r"/(loki/)?api/v1/query", text[: asked.start()])[-1:] == ["loki/"]
                yield Documented(file, line, "logql" if loki else "promql", asked.group(2), guide)
    columns: list[str] = []
    for number, row in enumerate(_FENCE.sub(lambda found: "\n" * found.group(0).count("\n"), page).splitlines(), 1):
        cells = [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", row)[1:-1]]
        if not cells:
            columns = []
        elif not columns:
            columns = cells
        elif "query" in columns and len(cells) == len(columns):
            for code in _CELL.findall(cells[columns.index("query")]):
                yield Documented(file, number, "logql" if "logging" in file else "promql", code, False)


def every() -> list[Documented]:
    """Return the queries of README.md and of all pages below docs/, in the order of their files."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    names = [(page, Path(page).relative_to(ROOT).as_posix()) for page in pages]
    return [query for page, name in names for query in in_page(name, page.read_text(encoding="utf-8"))]
