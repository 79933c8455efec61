"""Which queries of a page are executed on the live stack, and which of them must return something."""

from __future__ import annotations

import sys

from tests import rolekit

sys.path.append(str(rolekit.ROOT / "molecule"))

from testbed import documented

PAGE = """# Title

```promql
sum(up)
```
Targets. Expected: 19.

```promql
up == 0
```
Expected: nothing.

```sh
curl -fsSG http://127.0.0.1:9090/api/v1/query --data-urlencode 'query=up' | python3 -m json.tool
curl -sG http://127.0.0.1:3100/loki/api/v1/query_range \\
  --data-urlencode 'query={service="app"}'
```

| question | query |
|---|---|
| errors | `{level=~"error\\|critical"}` |

| other | code |
|---|---|
| x | `not a query` |
"""


def test_queries_are_found_with_what_the_page_promises() -> None:
    found = list(documented.in_page(documented.GUIDE, PAGE))
    assert [(one.line, one.language, one.text, one.promised) for one in found] == [
        (3, "promql", "sum(up)", True),
        (8, "promql", "up == 0", False),
        (13, "promql", "up", True),
        (13, "logql", '{service="app"}', True),
        (21, "promql", '{level=~"error|critical"}', False),
    ]


def test_a_runbook_promises_nothing() -> None:
    assert not any(one.promised for one in documented.in_page("docs/runbooks/A.md", PAGE))


def test_every_fence_of_the_documentation_is_found() -> None:
    queries = documented.every()
    fences = sum(path.read_text("utf-8").count("\n```promql\n") for path in (rolekit.ROOT / "docs").rglob("*.md"))
    assert sum(one.language == "promql" for one in queries) >= fences > 100
    assert any(one.language == "logql" and one.file.endswith("logging.md") for one in queries)
    assert sum(one.promised for one in queries) >= 10
