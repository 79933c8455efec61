"""Which ports may answer from outside follows what the proxy publishes, also in the play that only verifies."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Optional

import pytest
from ansible_collections.landfall.vps.plugins.filter import inventory
from ansible_collections.landfall.vps.plugins.plugin_utils import session

from tests import rolekit

ELSEWHERE = ["80:80", "8443:443", "8443:443/udp"]
LEFT = {"roles": ["redis", "caddy"], "enabled": ["redis", "caddy"]}


def allowed(state: Dict[str, Any], **inventory_has: Any) -> List[int]:
    """The default of verify_public_ports in the second play of site.yml, which knows no other role's defaults."""
    play = {**rolekit.defaults("verify"), "ansible_role_names": ["verify"], "ansible_play_role_names": ["verify"],
            "ansible_run_tags": ["all"], "role_path": str(rolekit.ROLES / "verify"), "inventory_hostname": "vps",
            **rolekit.trusted(inventory_has), "ansible_facts": session.as_fact(state)}  # fmt: skip
    found: List[int] = rolekit.template(rolekit.trusted("{{ verify_public_ports }}"), play)
    return found


@pytest.mark.parametrize(
    ("recorded", "left", "publish", "ports"),
    [
        ([], LEFT, None, [80, 443]),  # the first deploy: the VPS was read before it
        (["caddy"], LEFT, ELSEWHERE, [80, 443, 8443]),
        (["caddy"], LEFT, ["127.0.0.1:8080:80", "0.0.0.0:8443:443"], [80, 443, 8443]),
        (["caddy"], LEFT, [], [80, 443]),
        ([], {**LEFT, "enabled": ["redis"]}, None, [80, 443]),  # the proxy is another stack's
        (["caddy"], {"roles": ["redis"], "enabled": ["redis"]}, None, [80, 443]),  # a play of others
        (["caddy"], None, None, [80, 443]),
        ([], None, None, [80, 443]),
    ],
)
def test_what_the_proxy_publishes_may_be_public(
    recorded: List[str], left: Optional[Dict[str, Any]], publish: Optional[List[str]], ports: List[int]
) -> None:
    state = {"records": {name: {"meta": {}} for name in recorded}, **({"expected": left} if left else {})}
    assert allowed(state, **({} if publish is None else {"caddy_publish": publish})) == ports


def test_what_the_inventory_says_comes_first() -> None:
    assert allowed({"records": {}, "expected": LEFT}, verify_public_ports=[22, 5000]) == [22, 5000]


def test_http3_has_no_port_of_its_own(tmp_path: Path) -> None:
    values = rolekit.inventory(tmp_path, caddy_sites=[{"host": "a.example.org", "upstreams": ["app:8000"]}])
    published = rolekit.template(rolekit.trusted("{{ caddy_publish }}"), values)
    assert "443:443/udp" in published
    assert inventory.public_ports(published) == rolekit.template(rolekit.trusted("{{ verify_public_ports }}"), values)


def test_what_is_bound_to_a_private_address_is_not_public() -> None:
    given = ["127.0.0.1:1:1", "[::1]:2:2", "10.0.0.1:3:3", "gateway:4", "[::]:5:5", "203.0.113.1:6:6/udp", "7:7", "x"]
    assert inventory.public_ports(given) == [5, 6, 7]
    assert inventory.public_ports(given, protocols=True) == ["5/tcp", "6/udp", "7/tcp"]
    assert inventory.public_ports("80:80") == []  # one text, as an inventory may hold
