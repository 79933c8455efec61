"""The log of who changed what on this VPS, and what monitoring is told of it.

One line of JSON for each trip that changed something, tried to, or was refused, in ``<root>/.state/audit.jsonl``, which
only root may read. It names no value of a variable and no secret.
"""

from __future__ import annotations

import json
import os
import time
from typing import Any, Dict, List, Mapping

from ansible_collections.landfall.vps.plugins.module_utils import plan as planning
from ansible_collections.landfall.vps.plugins.module_utils import records, release_list

LARGEST = 1 << 20  # bytes, of which the younger half stays
REASON = 500  # characters
METRICS = "landfall-deploys.prom"
TEXTFILES = "textfiles"
DONE, FAILED, REFUSED = "done", "failed", "refused"
FIGURES = {
    "last_timestamp_seconds": "When this group was last changed, or tried to.",
    "last_duration_seconds": "How long that took.",
    "last_success": "Whether it serves as it was to.",
}


def path_of(root: str) -> str:
    """Where the log lies."""
    return os.path.join(root, records.STATE_DIR, "audit.jsonl")


def append(root: str, entry: Mapping[str, Any]) -> None:
    """Add a line; of a log that is too large the older half goes. Raises OSError."""
    path = path_of(root)
    text = json.dumps({"at": round(time.time(), 1), **entry}, sort_keys=True) + "\n"
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as handle:
        handle.write(text.encode())
        large = handle.tell() > LARGEST
    if large:
        with open(path, "rb") as handle:
            handle.seek(-LARGEST // 2, os.SEEK_END)
            handle.readline()
            rest = handle.read()
        temporary = path + ".new"
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as handle:
            handle.write(rest)
        os.replace(temporary, path)


def read(root: str, count: int) -> List[Dict[str, Any]]:
    """The last ``count`` entries, the youngest first; what is no entry is left out."""
    try:
        with open(path_of(root), encoding="utf-8", errors="replace") as handle:
            lines = handle.read().splitlines()
    except OSError:
        return []
    found: List[Dict[str, Any]] = []
    for line in reversed(lines):
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and len(found) < count:
            found.append(entry)
    return found


def told(
    root: str,
    told_by: Mapping[str, Any],
    what: str,
    outcomes: Mapping[str, Mapping[str, Any]],
    metas: Mapping[str, Mapping[str, Any]],
) -> None:
    """Log what became of components (Ansible results), and tell monitoring of their groups. Raises OSError.

    ``told_by``: ``{run, who}``, ``release`` and ``commit`` where it makes one, ``seconds`` where they are not the sum.
    ``metas`` are those of their records.
    """
    touched = {name: outcome for name, outcome in outcomes.items() if outcome.get("failed") or outcome.get("changed")}
    if not touched:
        return
    faults = {name: _fault(outcome) for name, outcome in touched.items() if outcome.get("failed")}
    moved = [name for name, outcome in touched.items() if outcome.get("action") not in (None, planning.NONE)]
    append(
        root,
        {
            **{key: value for key, value in told_by.items() if value},
            "what": what,
            "components": {name: _became(outcome) for name, outcome in touched.items()},
            "result": (FAILED if moved else REFUSED) if faults else DONE,
            "seconds": round(float(told_by.get("seconds") or sum(map(_seconds, touched.values()))), 1),
            **({"why": "; ".join(faults.values())[:REASON]} if faults else {}),
        },
    )
    groups: Dict[str, List[Mapping[str, Any]]] = {}
    for name, outcome in touched.items():
        if name in metas and not outcome.get("busy"):
            groups.setdefault(planning.group_of(name, {"meta": metas.get(name) or {}}), []).append(outcome)
    if groups:
        measure(root, groups)


def _fault(outcome: Mapping[str, Any]) -> str:
    return " ".join(str(outcome.get("msg") or outcome["failed"]).split())[:REASON]


def _became(outcome: Mapping[str, Any]) -> str:
    action = str(outcome.get("action") or "started")
    return "failed" if outcome.get("failed") and action in (planning.NONE, "started") else action


def _seconds(outcome: Mapping[str, Any]) -> float:
    took = outcome.get("seconds") or 0.0
    return sum(took.values()) if isinstance(took, Mapping) else float(took)


# -- monitoring -------------------------------------------------------------------------------------------------------


def _state(root: str) -> str:
    return os.path.join(root, records.STATE_DIR, "deploys", "figures.json")


def measure(root: str, groups: Mapping[str, List[Mapping[str, Any]]]) -> None:
    """Count what became of each group, and write it for whoever takes in metrics. Raises OSError."""
    known = {planning.group_of(name, record) for name, record in records.load_all(root)[0].items()}
    figures = {group: one for group, one in figures_of(root).items() if group in {*known, *groups}}
    for group, outcomes in groups.items():
        one = figures.setdefault(group, {})
        good = not any(outcome.get("failed") for outcome in outcomes)
        if good and group not in known:  # it was removed
            del figures[group]
            continue
        one["last_timestamp_seconds"] = round(time.time(), 1)
        one["last_duration_seconds"] = round(sum(_seconds(outcome) for outcome in outcomes), 2)
        one["last_success"] = int(good)
        result = "success" if good else "failure"
        one[result] = int(one.get(result, 0)) + 1
    os.makedirs(os.path.dirname(_state(root)), mode=0o700, exist_ok=True)
    records.write_whole(_state(root), figures)
    publish(root)


def figures_of(root: str) -> Dict[str, Dict[str, Any]]:
    """Group to what is counted of it."""
    try:
        with open(_state(root), encoding="utf-8") as handle:
            value = json.load(handle)
    except (OSError, ValueError):
        return {}
    return {str(name): one for name, one in value.items() if isinstance(one, dict)} if isinstance(value, dict) else {}


def publish(root: str) -> None:
    """Write the figures into the folders of those who take in metrics, whole or not at all. Raises OSError."""
    text = exposition(figures_of(root), release_list.load_all(root))
    for name, record in records.load_all(root)[0].items():
        folder = ((record["meta"].get("takes") or {}) if isinstance(record["meta"], dict) else {}).get(TEXTFILES)
        place = os.path.join(root, name, folder) if folder else ""
        if place and os.path.isdir(place):
            path = os.path.join(place, METRICS)
            temporary = path + ".new"
            with open(temporary, "w", encoding="utf-8") as handle:
                handle.write(text)
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)


def exposition(figures: Mapping[str, Mapping[str, Any]], releases: List[Dict[str, Any]]) -> str:
    """The figures in Prometheus' text format; ``releases`` as they are listed, that which served last first."""
    lines: List[str] = []
    for figure, meaning in FIGURES.items():
        name = "landfall_deploy_" + figure
        lines += ["# HELP {0} {1}".format(name, meaning), "# TYPE {0} gauge".format(name)]
        for group, one in sorted(figures.items()):
            if one.get(figure) is not None:
                lines.append("{0}{{group={1}}} {2}".format(name, json.dumps(group), one[figure]))
    name = "landfall_deploys_total"
    lines += ["# HELP {0} Changes of a group, by how they ended.".format(name), "# TYPE {0} counter".format(name)]
    for group, one in sorted(figures.items()):
        for result in ("success", "failure"):
            lines.append(
                "{0}{{group={1},result={2}}} {3}".format(
                    name, json.dumps(group), json.dumps(result), int(one.get(result, 0))
                )
            )
    served = [release for release in releases if release["outcome"] == release_list.COMPLETE][:1]
    name = "landfall_release_timestamp_seconds"
    lines += ["# HELP {0} Since when the release serves.".format(name), "# TYPE {0} gauge".format(name)]
    for release in served:
        labels = "release={0},commit={1}".format(json.dumps(release["name"]), json.dumps(str(release.get("commit"))))
        lines.append("{0}{{{1}}} {2}".format(name, labels, round(release_list.last_served(release), 1)))
    return "\n".join(lines) + "\n"
