"""Whose containers a changed file concerns: those of every service that sees it, and no others."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.landfall.vps.plugins.module_utils.plan import Desired, plan
from ansible_collections.landfall.vps.plugins.plugin_utils import mounts, render

from tests.engine.test_plan import applied, mark


@pytest.mark.parametrize(
    ("web", "more", "reads"),
    [
        ({"volumes": ["./secrets/web:/run/secrets:ro"]}, {}, True),
        ({"volumes": [{"type": "bind", "source": "./secrets/web/key", "target": "/key"}]}, {}, True),
        ({"volumes": [".:/etc/shop:ro"]}, {}, True),
        ({"volumes": ["./secrets/./web/:/run/secrets"]}, {}, True),
        ({"env_file": "secrets/web/key"}, {}, True),
        ({"env_file": ["./secrets/web/key"]}, {}, True),
        ({"env_file": [{"path": "secrets/web/key", "required": False}]}, {}, True),
        ({"secrets": ["key"]}, {"secrets": {"key": {"file": "./secrets/web/key"}}}, True),
        ({"secrets": [{"source": "key", "target": "k"}]}, {"secrets": {"key": {"file": "secrets/web/key"}}}, True),
        ({"configs": ["key"]}, {"configs": {"key": {"file": "./secrets/web/key"}}}, True),
        ({"volumes": ["secrets:/run/secrets"]}, {}, False),  # a volume of that name
        ({"volumes": ["./secrets/web2:/run/secrets"]}, {}, False),
        ({"secrets": ["other"]}, {"secrets": {"other": {"external": True}}}, False),
        ({"volumes": ["../web/secrets:/x"], "env_file": "/etc/shop.env"}, {}, False),
        ({}, {}, False),
    ],
)
def test_a_changed_secret_concerns_whoever_sees_it(web: dict[str, Any], more: dict[str, Any], reads: bool) -> None:
    other = {"image": "x:1", "volumes": ["./secrets/web:/run/secrets"]}
    document = {"services": {"other": other, "web": {"image": "x:1", **web}}, **more}
    path = "shop/secrets/web/key"
    files = {"shop/compose.yaml": mark("c"), path: mark("old", 0o400)}
    before = Desired("shop", True, files, render._containers(document, "compose.yaml"))
    after = Desired("shop", True, {**files, path: mark("new", 0o400)}, before.containers)
    assert plan(after, applied(before)).force == (("other", "web") if reads else ("other",))


def test_what_a_service_sees_is_told_once() -> None:
    options = {"volumes": ["./config:/a", "./config/:/b"], "env_file": "./config/x.env"}
    assert mounts.seen(options, {}) == ("config", "config/x.env")
