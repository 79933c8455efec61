"""What the plan says of containers is what the run will do."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Dict

import pytest
from ansible_collections.landfall.vps.plugins.module_utils import plan as planning
from ansible_collections.landfall.vps.plugins.plugin_utils import foresight


def proxy(*upstreams: str, proven: bool = True) -> Dict[str, Any]:
    serves = [{"api": "proxy", "folder": "rotation", "upstreams": list(upstreams)}]
    return {"caddy": {"meta": {"serves": serves}, "proven": proven}}


def component(proxied: bool) -> Any:
    update = {"proxied": proxied, "standby": {"container": "web-next", "service": "web-next", "compose": {}}}
    desired = SimpleNamespace(meta={"update": update}, containers={"web": SimpleNamespace(service="web")})
    plan = SimpleNamespace(action=planning.RECREATED, receivers=[], force=[], files={})
    actual = SimpleNamespace(containers={"web": {"state": "running"}})
    return SimpleNamespace(name="web", plan=plan, rendered=SimpleNamespace(desired=desired), actual=actual)


BESIDE, IN_PLACE = "starts web-next, then replaces web", "restarts web"


@pytest.mark.parametrize(
    ("proxied", "records", "said"),
    [
        (True, proxy("web", "web-next"), BESIDE),
        (True, {}, IN_PLACE),
        (True, proxy("web"), IN_PLACE),
        (True, proxy("web", "web-next", proven=False), IN_PLACE),
        (False, {}, BESIDE),
    ],
    ids=[
        "a proxy leads to both",
        "the proxy comes with this run",
        "it knows one",
        "it never served",
        "no proxy needed",
    ],
)
def test_a_version_is_said_to_start_beside_the_old_one_where_it_will(
    proxied: bool, records: Dict[str, Any], said: str
) -> None:
    assert foresight.touched(component(proxied), records) == said
