"""What a component asks to be scraped: entries and files for discovery (file_sd), and the jobs that are there by it."""

from __future__ import annotations

from typing import Any, Dict, Iterator, List, Mapping, Tuple

import yaml
from ansible_collections.landfall.vps.plugins.module_utils.plan import Container


def hyphens(name: str) -> str:
    """Container name of a component."""
    return name.replace("_", "-")


def targets(component: str, scrape: List[Mapping[str, Any]], first: str, node: str) -> List[Dict[str, Any]]:
    """Entries of a file for discovery (file_sd); ``first`` is the component's container, ``node`` the VPS's name."""
    result = []
    for item in scrape:
        service = item.get("service") or first
        labels: Dict[str, str] = {"job": item.get("job") or service, "service": service, "component": component}
        labels["node"] = node
        if item.get("path") and item["path"] != "/metrics":
            labels["__metrics_path__"] = item["path"]
        if item.get("scheme") and item["scheme"] != "http":
            labels["__scheme__"] = item["scheme"]
        if item.get("interval"):
            labels["__scrape_interval__"] = item["interval"]
        if item.get("timeout"):
            labels["__scrape_timeout__"] = item["timeout"]
        labels.update({key: str(value) for key, value in (item.get("labels") or {}).items()})
        result.append({"targets": ["{0}:{1}".format(item.get("host") or service, item["port"])], "labels": labels})
    return result


def own_jobs(found: List[Mapping[str, Any]], containers: Mapping[str, Container]) -> List[str]:
    """The jobs that are there because of this component: not those of targets that another container answers for."""
    services = {container.service for container in containers.values()}
    jobs = set()
    for entry in found:
        host = entry["targets"][0].rsplit(":", 1)[0]
        if host in services or "." in host:  # a name with a dot is no container
            jobs.add(entry["labels"]["job"])
    return sorted(jobs)


def target_files(
    name: str, found: List[Dict[str, Any]], folders: List[str]
) -> Iterator[Tuple[str, Tuple[bytes, int, int]]]:
    """The file with the targets of a component, for each folder that takes such files in."""
    text = "# What {0} asks to be scraped. Written by its role; edit there.\n".format(hyphens(name))
    for folder in folders if found else []:
        content = text + yaml.safe_dump(found, sort_keys=False)
        yield "{0}/{1}.yml".format(folder, hyphens(name)), (content.encode(), 0o644, 0)
