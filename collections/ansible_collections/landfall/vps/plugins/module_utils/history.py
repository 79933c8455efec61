"""What is told of releases and of the runs that were here. Reads, and changes nothing."""

from __future__ import annotations

import time
from typing import Any, Dict, List, Mapping

from ansible_collections.landfall.vps.plugins.module_utils import audit, release_list, releases
from ansible_collections.landfall.vps.plugins.module_utils.docker_api import Docker, DockerError
from ansible_collections.landfall.vps.plugins.module_utils.plan import stored_as


def moment(at: float) -> str:
    """Seconds since 1970 for people."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at)) if at else ""


def listing(root: str, count: int) -> Dict[str, Any]:
    """``releases`` (rows, the last ``when`` first), ``runs`` (the last ``count``), ``serving``, ``under_way``.

    What is not told by the VPS itself, but by its engine, is left out where that does not answer.
    """
    now = releases.serving(root)
    rows = []
    there = _images()
    for release in sorted(release_list.load_all(root), key=_when, reverse=True):
        serves = now is not None and release["name"] == now["name"]
        images = {image: found for one in release["components"].values() for image, found in one["images"].items()}
        gone = [image for image in images if there is not None and there.get(stored_as(image)) != images[image]]
        kept = "kept" if release["outcome"] == release_list.COMPLETE else str(release["outcome"])
        state = "serving" if serves else kept
        why = str(release.get("why") or "")
        rows.append(
            {
                "name": release["name"],
                "digest": ", ".join(sorted({str(found)[7:19] for found in images.values() if found})),
                "commit": str(release.get("commit") or "")[:12],
                "when": moment(_when(release)),
                "by": release.get("by"),
                "state": state + (", image missing" if gone else ""),
                "why": why,
                "ran": list(release.get("ran") or []),
            }
        )
    going = release_list.under_way(root)
    return {
        "releases": rows,
        "serving": now["name"] if now else "",
        "under_way": going["name"] if going else "",
        "runs": [{**entry, "when": moment(float(entry.get("at") or 0))} for entry in audit.read(root, count)],
    }


def _when(release: Mapping[str, Any]) -> float:
    return release_list.last_served(release) or float(release["at"])


def _images() -> Any:
    try:
        return {name: image["id"] for name, image in Docker().images().items()}
    except (DockerError, OSError):
        return None


def columns(entries: List[Dict[str, Any]]) -> List[Dict[str, str]]:
    """Entries of the log as rows of a table."""
    return [
        {
            "when": str(entry.get("when") or ""),
            "who": str(entry.get("who") or ""),
            "what": str(entry.get("what") or ""),
            "release": str(entry.get("release") or ""),
            "result": str(entry.get("result") or ""),
            "seconds": str(entry.get("seconds", "")),
            "components": ", ".join("{0} {1}".format(*pair) for pair in sorted((entry.get("components") or {}).items()))
            + (": " + str(entry["why"]) if entry.get("why") else ""),
        }
        for entry in entries
    ]
