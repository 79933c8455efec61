"""Containers of a component that do the same, replaced one after another without a request failing."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any, Iterator, List, Mapping

from ansible_collections.landfall.vps.plugins.module_utils import progress
from ansible_collections.landfall.vps.plugins.module_utils.docker_api import Docker
from ansible_collections.landfall.vps.plugins.module_utils.probe import prove
from ansible_collections.landfall.vps.plugins.module_utils.store import Store
from ansible_collections.landfall.vps.plugins.module_utils.switching import drained, rotation_of


class Turns:
    """Containers of a component that do the same, replaced in turn: each is out of rotation meanwhile."""

    def __init__(self, store: Store, docker: Docker, network: str, record: Mapping[str, Any]) -> None:
        self.store = store
        self.docker = docker
        self.network = network
        self.record = record
        self.rotation = rotation_of(store, docker)
        self.told: List[str] = []

    @contextmanager
    def __call__(self, service: str, container: str) -> Iterator[None]:
        """One of them is replaced within; it is sent requests again once it is proven. Raises Unproven, OSError."""
        meta = self.record["meta"]
        if self.rotation.take_out(service):
            progress.say(self.store.name, "taking {0} out of rotation".format(service))
            self.rotation.settle(service)
            self.told += drained(self.rotation, service, container, self.record)
        yield
        progress.say(self.store.name, "proving {0}".format(service))
        probes = [item for item in meta.get("prove") or [] if item.get("service") == container]
        prove(self.docker, [container], probes, self.network, float(meta.get("prove_timeout", 60)))
        if self.rotation.put_back(service):
            self.rotation.settle(service)
