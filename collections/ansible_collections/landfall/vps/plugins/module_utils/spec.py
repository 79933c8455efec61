"""Options of ``landfall.vps.component``: the action uses them, the module documents them."""

from __future__ import annotations

from typing import Any, Dict

from ansible_collections.landfall.vps.plugins.module_utils.model import Component, argument_spec

COMPONENT: Dict[str, Any] = argument_spec(Component)

VERIFY: Dict[str, Any] = {
    "root": {"type": "path", "default": "/opt/landfall"},
    "network": {"type": "str", "default": "landfall"},
    "exercise": {"type": "bool", "default": False},
    "status": {"type": "bool", "default": False},
    "public_ports": {"type": "list", "elements": "int", "default": []},
    "trusted": {"type": "list", "elements": "str", "default": []},
    "test_alert": {"type": "str", "choices": ["none", "info", "warning", "critical"], "default": "none"},
    "timeout": {"type": "int", "default": 60},
}
