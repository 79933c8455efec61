"""The documents: sections that must be there, links that lead somewhere, figures that add up."""

from __future__ import annotations

import re
import tempfile
from functools import cache
from pathlib import Path

import pytest

from tests import rolekit

DOCS = rolekit.ROOT / "docs"
PAGES = [rolekit.ROOT / "README.md", rolekit.ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
NONE = "\N{EN DASH}"  # a container that a profile does not have
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
# Words that a heading of the page must contain, by page
SECTIONS = {
    "README.md": ["Monitoring / Prometheus metrics", "First deploy to a real VPS", "When it fails"],
    "docs/operations/prometheus-setup.md": [
        "Overview", "Deployment on a VPS", "Configuration files", "Scraping", "Targets outside", "Retention",
        "Security", "Kubernetes deployment", "Troubleshooting", "Next steps",
    ],
    "docs/operations/metrics-guide.md": [
        "Metrics of the application", "Sample PromQL Queries", "95th percentile", "Error rate", "Queue depth",
        "Success rate per tenant", "Request rate", "Filtering by tenant", "Testing queries in the Prometheus UI",
        "Alerting recommendations",
    ],
    "docs/monitoring.md": [
        "Quick start", "Metrics and targets", "Local and production configuration", "Join an existing Prometheus",
        "Join an existing Grafana", "Production options", "Alerts", "Best practices", "Security", "Maintenance",
        "Troubleshooting",
    ],
    "docs/profiles.md": ["What differs", "Resource budget", "Storage sizing"],
    "docs/operations/end-to-end-verification.md": [
        "By one command", "Containers", "Prometheus", "From a request to a metric", "Targets", "Alerts", "Logs",
        "Grafana", "Security", "Performance baselines",
    ],
    "docs/operations/grafana-verification.md": ["Is it healthy", "Do the data sources answer", "Are all dashboards"],
    "docs/operations/alerts.md": ["Labels", "Limits", "Adding an alert"],
    "CONTRIBUTING.md": ["Set up", "Test", "Change something", "Commit"],
}  # fmt: skip


def _headings(text: str) -> list[str]:
    return HEADING.findall(FENCE.sub("", text))


def _sections(text: str) -> list[tuple[str, bool]]:
    """Every heading, and whether a word stands below it: its own, or one of a section inside it."""
    parts = re.split(r"(?m)^(?=#+ )", FENCE.sub("code", text))
    found = []
    for at, part in enumerate(parts):
        heading, _, below = part.partition("\n")
        level = len(heading) - len(heading.lstrip("#"))
        if not level:
            continue
        for other in parts[at + 1 :]:
            if len(other) - len(other.lstrip("#")) <= level:
                break
            below += other.partition("\n")[2]
        found.append((heading, re.search(r"\w", below) is not None))
    return found


def missing_sections(text: str, wanted: list[str]) -> list[str]:
    """Return what of ``wanted`` is in no heading that has something below it."""
    full = [heading for heading, told in _sections(text) if told]
    return [words for words in wanted if not any(words.lower() in heading.lower() for heading in full)]


@pytest.mark.parametrize("name", sorted(SECTIONS))
def test_a_guide_has_its_sections(name: str) -> None:
    assert missing_sections((rolekit.ROOT / name).read_text(encoding="utf-8"), SECTIONS[name]) == []


def test_a_missing_section_is_noticed() -> None:
    assert missing_sections("# A\n\nx\n\n## B\n\ny\n", ["A", "B"]) == []
    assert missing_sections("# A\n\nx\n", ["A", "B"]) == ["B"]
    assert missing_sections("# A\n\nB\n", ["B"]) == ["B"]
    assert missing_sections("# A\n\nx\n\n## B\n\n## C\n\nz\n", ["B"]) == ["B"], "without a word"
    assert missing_sections("# A\n\nx\n\n## B\n\n---\n", ["B"]) == ["B"], "a line is no word"
    assert missing_sections("# A\n\n## B\n\n### C\n\nz\n", ["A", "B", "C"]) == [], "a section inside counts"
    assert missing_sections("## B\n\n```sh\n# ls\n```\n", ["B"]) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(rolekit.ROOT)))
def test_no_section_is_without_a_word(page: Path) -> None:
    assert [heading for heading, told in _sections(page.read_text(encoding="utf-8")) if not told] == []


# ---------------------------------------------------------------- links
def _anchors(text: str) -> set[str]:
    """The anchors that GitHub makes of the headings."""
    plain = [re.sub(r"[`*]", "", heading).lower() for heading in _headings(text)]
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in plain}


def dead_links(page: Path, text: str) -> list[str]:
    """Return the links of a page to files or headings that do not exist; addresses of others are not asked."""
    found = []
    for link in LINK.findall(FENCE.sub("", text)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        if target.exists() and anchor:
            dead = anchor not in _anchors(text if target == page else target.read_text(encoding="utf-8"))
        else:
            dead = not target.exists()
        found += [link] if dead else []
    return found


def cut_short(text: str) -> list[str]:
    """Return the options ``-e name='some words'`` of a page: Ansible takes the first word alone."""
    return re.findall(r"""-e\s+[a-z_]+=(?:'[^'\n]*[\s…][^'\n]*'|"[^"\n]*[\s…][^"\n]*"|'…')""", text)


PLAYBOOKS = sorted(rolekit.ROOT.glob("playbooks/*.yml"))


@pytest.mark.parametrize("page", [*PAGES, *PLAYBOOKS], ids=lambda page: str(page.relative_to(rolekit.ROOT)))
def test_no_value_of_several_words_is_cut_short(page: Path) -> None:
    assert cut_short(page.read_text(encoding="utf-8")) == []


def test_a_value_that_would_be_cut_short_is_noticed() -> None:
    assert cut_short("x -e service=web -e command='alembic current'") == ["-e command='alembic current'"]
    assert cut_short("""-e '{"command": "alembic current"}' -e confirm=vps -e a='b'""") == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(rolekit.ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    assert dead_links(page, page.read_text(encoding="utf-8")) == []


def test_a_dead_link_is_noticed() -> None:
    page = DOCS / "monitoring.md"
    text = (
        "# One two\n[a](profiles.md) [b](#one-two) [c](nowhere.md) [d](#three) [e](profiles.md#nothing) [f](https://x)"
    )
    assert dead_links(page, text) == ["nowhere.md", "#three", "profiles.md#nothing"]


def absent_paths(text: str) -> list[str]:
    """What a page names between backticks below one of the repository's folders and is not there.

    What a reader makes is not: an inventory of one's own, a component by another name.
    """
    folders = "|".join(sorted(path.name for path in rolekit.ROOT.iterdir() if path.is_dir() and path.name[0] != "."))
    named = set(re.findall(rf"`((?:{folders})/[\w./-]+)`", text))
    made = ("inventory/production", "inventory/preview", "roles/whoami", "build/", "app/.venv")
    return sorted(name for name in named if not name.startswith(made) and not (rolekit.ROOT / name).exists())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(rolekit.ROOT)))
def test_files_that_are_named_are_there(page: Path) -> None:
    assert absent_paths(page.read_text(encoding="utf-8")) == []


def test_a_file_that_is_not_there_is_noticed() -> None:
    assert absent_paths("`docs/app.md` `docs/nothing.md` `molecule/nowhere/` `inventory/production/x` `x/y`") == [
        "docs/nothing.md",
        "molecule/nowhere/",
    ]


def test_the_readme_fits_a_screen_and_compares_with_links() -> None:
    """What it is, a picture, the first deploy, a comparison whose cells each lead to what they say, then links."""
    text = PAGES[0].read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 80
    assert "](docs/images/" in text
    table = text.partition("\n## Comparison\n")[2].partition("\n## ")[0]
    rows = _rows(table, 6)
    assert len(rows) >= 5
    assert [cell for row in rows for cell in row[1:] if "](" not in cell] == []


def test_guides_can_be_reached_from_the_readme() -> None:
    """Every page but the runbooks, which alerts and their own index lead to."""
    seen: set[Path] = set()
    todo = [PAGES[0]]
    while todo:
        page = todo.pop()
        if page in seen or page.suffix != ".md":
            continue
        seen.add(page)
        links = [link.partition("#")[0] for link in LINK.findall(page.read_text(encoding="utf-8"))]
        todo += [(page.parent / link).resolve() for link in links if link and not re.match(r"[a-z]+:", link)
                 and (page.parent / link).is_file()]  # fmt: skip
    assert [str(page) for page in PAGES if page not in seen and page.parent.name != "runbooks"] == []


# ---------------------------------------------------------------- figures
def _rows(text: str, columns: int) -> list[list[str]]:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    return [row for row in rows if len(row) == columns and not set(row[0]) <= set("-: ")]


def wrong_estimates(text: str) -> list[list[str]]:
    """Rows of the tables of storage whose last column is not what the formula above them gives."""
    wrong = []
    for number, days, size, gigabytes in _rows(text, 4):
        if not re.fullmatch(r"\d+", number):
            continue
        samples = int(number) * 240 * 24 * int(days) * float(size) / 1e9
        logs = int(number) * 800 * int(days) / float(size) / 1e9
        expected = logs if int(number) >= 100_000 else samples
        wrong += [] if abs(expected - float(gigabytes)) <= 0.06 else [[number, days, size, gigabytes]]
    return wrong


def test_the_estimate_of_storage_adds_up() -> None:
    text = (DOCS / "profiles.md").read_text(encoding="utf-8").split("## Storage sizing")[1]
    assert len([row for row in _rows(text, 4) if row[0].isdigit()]) >= 8
    assert wrong_estimates(text) == []
    assert wrong_estimates("| 6700 | 30 | 1.5 | 2.7 |\n") != []


@cache
def _limits(profile: str) -> dict[str, str]:
    with tempfile.TemporaryDirectory() as folder:
        names = rolekit.stack_names()
        stack = [rolekit.component(name, Path(folder), landfall_profile=profile) for name in names]
    return {n: s["mem_limit"] for one in stack if one.desired.present for n, s in rolekit.services(one)}


@pytest.mark.parametrize(("column", "profile"), [(1, "small"), (2, "standard"), (3, "full")])
def test_the_budget_names_every_container_with_its_limit(column: int, profile: str) -> None:
    text = (DOCS / "profiles.md").read_text(encoding="utf-8").split("## Resource budget")[1].split("### Disk")[0]
    rows = {row[0].removesuffix(" †"): row for row in _rows(text, 7) if re.fullmatch(r"[a-z-]+( †)?", row[0])}
    rows.pop("container", None)
    assert {name: row[column + 3] for name, row in rows.items() if row[column + 3] != NONE} == _limits(profile)
    assert all((row[column] == NONE) == (name not in _limits(profile)) for name, row in rows.items())
    total = sum(int(row[column]) for row in rows.values() if row[column] != NONE)
    [together] = [row for row in _rows(text, 7) if "together" in row[0]]
    assert abs(total - int(together[column].strip("*"))) <= len(rows) / 2, "rounding apart, the sum is the sum"


def test_the_metrics_guide_explains_at_least_eight_queries() -> None:
    """DOC-02: each sample query says what it means and what to expect."""
    text = (DOCS / "operations/metrics-guide.md").read_text(encoding="utf-8")
    samples = text.split("## Sample PromQL Queries")[1].split("\n## ")[0].split("\n### ")[1:]
    assert len(samples) >= 8
    for sample in samples:
        after = sample.rpartition("```")[2]
        assert "```promql" in sample and "Expected:" in after, sample.splitlines()[0]
