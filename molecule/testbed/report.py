"""The benchmark's section of docs/benchmarks.md."""

from __future__ import annotations

import json
import os
import platform
import statistics
from dataclasses import asdict, dataclass, field

from .paths import CACHE, ROOT, run

PAGE = ROOT / "docs/benchmarks.md"
BEGIN = "<!-- deploys: written by `make bench`, do not edit -->"
END = "<!-- /deploys -->"
NEWLINE = "\n"
Samples = dict[str, list[float]]


@dataclass
class Results:
    """Seconds of every sample."""

    images: dict[str, str]
    components: int
    host: str
    load: float = 0.0  # of 15 minutes, the highest at the end of any part
    loads: dict[str, float] = field(default_factory=dict)  # of one minute, at the end of each part
    deploy: Samples = field(default_factory=dict)
    phases: dict[str, Samples] = field(default_factory=dict)
    fleet: Samples = field(default_factory=dict)
    targets: dict[str, float] = field(
        default_factory=lambda: {
            "no-op": 1.5, "no-op with verify": 2.5, "one change, by tag": 3.0, "first deploy": 1.5, "fleet": 2.5}
    )  # fmt: skip


def spread(values: list[float]) -> str:
    """Return median, extremes and number of samples, in seconds."""
    return f"{statistics.median(values):.2f} | {min(values):.2f} to {max(values):.2f} ({len(values)} runs)"


def ratio(above: list[float], below: list[float]) -> float:
    """Return the quotient of two medians."""
    return statistics.median(above) / statistics.median(below)


def verdict(value: float, target: float | None) -> str:
    """Return the target and whether it was met."""
    return "" if target is None else f"at most {target:.1f}: {'met' if value <= target else 'missed'}"


def table(results: Results) -> list[str]:
    """Return the lines of the tables."""
    targets = results.targets
    lines = head("run", "trivial play")
    for name, samples in results.phases.items():
        base = samples["trivial"]
        lines.append(f"| one trivial module task, beside {name} | {spread(base)} | 1.0 | |")
        measured = {label: values for label, values in samples.items() if label not in {"trivial", "back"}}
        lines += [row(label, values, base, targets.get(label)) for label, values in measured.items()]
    if results.deploy:
        lines += ["", *head("first deploy, images present", "compose by hand")]
        base = results.deploy["first deploy: compose by hand"]
        lines += [row(label, values, base, targets.get(label)) for label, values in results.deploy.items()]
    if results.fleet:
        (one, single), (many, several) = results.fleet.items()
        lines += ["", *head("no-op, four components each", "one host"), row(one, single, single, None)]
        lines.append(row(many, several, single, targets["fleet"]))
    return lines


def head(title: str, base: str) -> list[str]:
    """Return the two lines that begin a table."""
    return [f"| {title} | seconds, median | spread | ÷ {base} | target |", "|---|---|---|---|---|"]


def row(label: str, values: list[float], base: list[float], target: float | None) -> str:
    """Return one line of a table."""
    value = ratio(values, base)
    return f"| {label} | {spread(values)} | {value:.2f} | {verdict(value, target)} |"


def write(results: Results) -> None:
    """Replace the section of the page; keep what others measured on it."""
    results.load = max(results.load, os.getloadavg()[2])
    (CACHE / "bench" / "results.json").write_text(json.dumps(asdict(results), indent=1))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    engine, compose = results.host.split()
    commit = run("git", "-C", str(ROOT), "rev-parse", "--short", "HEAD")
    images = ", ".join(f"{name} ({source})" for name, source in sorted(results.images.items()))
    loads = ", ".join(f"{part} {load:.1f}" for part, load in results.loads.items())
    section = f"""{BEGIN}

## What a deploy costs

Measured by `make bench` at {commit} on {os.cpu_count()} cores with {memory:.0f} GiB, Linux
{platform.release().split("-")[0]}; the servers are containers on the same machine, with Docker {engine} and Compose
{compose}. {results.components} components. The runs of a table are taken in turn, after one turn that does not count;
first deploys after everything but the images was removed. Load average of one minute at the end of each part:
{loads}; of 15 minutes: up to {results.load:.1f}. Far above the number of cores, it says that
the machine did other work too, and that only the ratios mean anything.

- *Ordinary role*: the same services, files and limits as one task per step (folders, templates, secrets,
  `community.docker.docker_container`, waiting until healthy), the way most roles are written.
- *Compose by hand*: the same services in one compose file, `docker compose up --detach --wait` over SSH, the files
  already in their place; no check, no proof beyond the healthchecks, nothing undone.

{NEWLINE.join(table(results))}

Images used: {images or "upstream's"}.

{END}"""
    page = PAGE.read_text() if PAGE.is_file() else "# Benchmarks\n"
    if BEGIN in page:
        page = page[: page.index(BEGIN)] + section + page[page.index(END) + len(END) :]
    else:
        page = page.rstrip("\n") + "\n\n" + section + "\n"
    PAGE.write_text(page)
