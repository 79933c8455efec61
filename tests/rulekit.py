"""Rules without a host: render those of all roles with the engine's own renderer, ask promtool, take PromQL apart.

``python -m tests.rulekit render DIR`` writes what Prometheus would load and the unit tests beside it,
``python -m tests.rulekit index`` prints docs/runbooks/README.md.
"""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import promql_parser
import yaml

from tests import programs, rolekit

RUNBOOKS = rolekit.ROOT / "docs" / "runbooks"
RUNBOOK_URL = "https://runbooks.example"  # short, so that the unit tests stay readable
DROP_IN = "prometheus/rules.d/"
PRESENCE = "presence.yml"  # rendered for every component from one template of the role landfall
DURATION = {"w": 604800, "d": 86400, "h": 3600, "m": 60, "s": 1}

Matcher = tuple[str, str, str]


@dataclasses.dataclass(frozen=True)
class Rule:
    """One rule as Prometheus would load it: ``file`` on the VPS, ``source`` in this repository."""

    file: str
    source: str
    group: str
    body: dict[str, Any]

    @property
    def name(self) -> str:
        """Name of the alert, or of the recorded series."""
        return str(self.body.get("alert") or self.body["record"])

    @property
    def is_alert(self) -> bool:
        """Whether it alerts (and does not record)."""
        return "alert" in self.body

    @property
    def severity(self) -> str:
        """Its severity label, empty if it has none."""
        return str(self.body.get("labels", {}).get("severity", ""))

    @property
    def expr(self) -> str:
        """Its PromQL."""
        return str(self.body["expr"])

    @property
    def wait(self) -> int:
        """How long the condition must hold, in seconds."""
        return seconds(str(self.body.get("for", "")))


@cache
def shipped() -> dict[str, tuple[str, str]]:
    """Return what every component ships to Prometheus with default variables and tunnels: file name to (role, text).

    Raises whatever the engine raises for a template that uses an unknown variable.
    """
    found = {}
    with tempfile.TemporaryDirectory() as secrets:
        for role in rolekit.component_names():
            rendered = rolekit.deployed(
                role, Path(secrets), landfall_runbook_url=RUNBOOK_URL, private_network_enabled=True
            )
            for path in rendered.contents:
                if path.startswith(DROP_IN):
                    found[path.removeprefix(DROP_IN)] = (role, rolekit.text(rendered, path))
    return found


def _source(role: str, file: str) -> str:
    name = file.split("--", 1)[1]
    if name == PRESENCE:
        return f"roles/landfall/templates/{name}.j2"
    template = f"roles/{role}/templates/rules/{name}.j2"
    return template if (rolekit.ROOT / template).exists() else f"roles/{role}/files/rules/{name}"


def parse(files: dict[str, tuple[str, str]]) -> tuple[Rule, ...]:
    """Return the rules in rendered files. Raises KeyError or yaml.YAMLError if one is no rule file."""
    found = []
    for file, (role, text) in sorted(files.items()):
        for group in yaml.safe_load(text)["groups"]:
            found += [Rule(file, _source(role, file), group["name"], body) for body in group["rules"] or []]
    return tuple(found)


@cache
def rules() -> tuple[Rule, ...]:
    """Return every rule of every role, the presence rules of all components included."""
    return parse(shipped())


def alerts() -> tuple[Rule, ...]:
    """Return every alerting rule."""
    return tuple(rule for rule in rules() if rule.is_alert)


def unit_tests() -> list[Path]:
    """Return the promtool unit tests of all roles."""
    return sorted(rolekit.ROLES.glob("*/files/rules/tests/*.yml"))


def lay_out(folder: Path) -> tuple[list[Path], list[Path]]:
    """Write the rule files as they lie on the VPS and the unit tests beside them; return both lists."""
    folder.mkdir(parents=True, exist_ok=True)
    rule_files, tests = [], []
    for file, (_, text) in sorted(shipped().items()):
        (folder / file).write_text(text, "utf-8")
        rule_files.append(folder / file)
    for path in unit_tests():
        role = path.relative_to(rolekit.ROLES).parts[0]
        tests.append(Path(shutil.copy(path, folder / f"test--{role}--{path.name}")))
    return rule_files, tests


def promtool() -> str:
    """Return the path of promtool."""
    return programs.from_debian("promtool", "promtool")


def run_promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run promtool; its exit code and output are the caller's to judge."""
    command = [promtool(), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def seconds(duration: str) -> int:
    """Return a Prometheus duration such as ``1h30m`` in seconds, 0 for an empty one."""
    return sum(int(number) * DURATION[unit] for number, unit in re.findall(r"(\d+)([wdhms])", duration))


def selectors(expr: str) -> Iterator[tuple[str, list[Matcher]]]:
    """Yield (metric, [(label, operator, value)]) for each selector in an expression. Raises ValueError if it is bad.

    A metric that is chosen by a pattern of its name is yielded with the matcher of ``__name__`` and an empty name.
    """
    for node in nodes(expr):
        if isinstance(node, promql_parser.VectorSelector):
            matchers = [(one.name, _operator(one), one.value) for one in node.matchers.matchers]
            yield node.name or "", matchers


def _operator(matcher: Any) -> str:
    kinds = {"Equal": "=", "NotEqual": "!=", "Re": "=~", "NotRe": "!~"}
    return kinds.get(str(matcher.op).rsplit(".", 1)[-1], str(matcher.op))


def nodes(expr: str) -> Iterator[Any]:
    """Yield every part of an expression, the whole first. Raises ValueError if it does not parse."""
    waiting: list[Any] = [promql_parser.parse(expr)]
    while waiting:
        node = waiting.pop()
        yield node
        waiting += _parts(node)


def _parts(node: Any) -> list[Any]:
    parts = [getattr(node, name, None) for name in ("expr", "lhs", "rhs", "vector_selector")]
    parts += getattr(node, "args", None) or []
    return [part for part in parts if part is not None and not isinstance(part, (str, float, int))]


def unaggregated(node: Any) -> dict[str, str]:
    """Return the metrics in a part of an expression that no aggregation is around, each with its selector's text."""
    if isinstance(node, promql_parser.AggregateExpr):
        return {}
    found = {str(node.name): str(node)} if isinstance(node, promql_parser.VectorSelector) else {}
    for part in _parts(node):
        found |= unaggregated(part)
    return found


def index(found: tuple[Rule, ...]) -> str:
    """Return the text of docs/runbooks/README.md."""
    rows: dict[str, list[Rule]] = {}
    for rule in found:
        rows.setdefault(rule.name, []).append(rule)
    lines = [
        "# Runbooks",
        "",
        "One page for each alert; the `runbook_url` of an alert leads to it. On the VPS each component lies in",
        "`/opt/landfall/<component>`, where plain `docker compose` works. Queries: in Grafana, or there:",
        "",
        "```sh",
        "curl -fsSG http://127.0.0.1:9090/api/v1/query --data-urlencode 'query=up == 0' | python3 -m json.tool",
        "```",
        "",
        "[alerts.md](../operations/alerts.md) explains labels, limits and how to add an alert. The list below is made",
        "by `python -m tests.rulekit index` and compared by tests/test_rules.py.",
        "",
        "| alert | severity | rule |",
        "|---|---|---|",
    ]
    for name in sorted(rows):
        severities = ", ".join(dict.fromkeys(rule.severity for rule in rows[name]))
        source = rows[name][0].source
        lines.append(f"| [{name}]({name}.md) | {severities} | [{source.removeprefix('roles/')}](../../{source}) |")
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> int:
    """Carry out the command line; return the exit code."""
    if arguments == ["index"]:
        sys.stdout.write(index(alerts()))
        return 0
    if len(arguments) == 2 and arguments[0] == "render":
        rule_files, tests = lay_out(Path(arguments[1]))
        sys.stdout.write(f"{len(rule_files)} rule files, {len(tests)} unit tests in {arguments[1]}\n")
        return 0
    sys.stderr.write((__doc__ or "") + "\n")
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
