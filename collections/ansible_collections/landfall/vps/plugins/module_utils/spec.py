"""Options of ``landfall.vps.component``: the action uses them, the module documents them."""

from __future__ import annotations

from typing import Any, Dict

COMPONENT: Dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "uid": {"type": "int", "default": 0},
    "components": {"type": "list", "elements": "dict"},
    "values": {"type": "dict", "default": {}},
    "needs": {"type": "list", "elements": "raw", "default": []},
    "secrets": {"type": "dict", "default": {}, "no_log": True},
    "files": {"type": "dict", "default": {}},
    "folders": {"type": "dict", "default": {}},
    "check": {"type": "list", "elements": "raw", "default": []},
    "reload": {
        "type": "dict",
        "options": {
            "port": {"type": "int"},
            "path": {"type": "str"},
            "host": {"type": "str"},
            "service": {"type": "str"},
            "signal": {"type": "str"},
            "exec": {"type": "list", "elements": "str"},
            "files": {"type": "list", "elements": "str", "default": ["config/*"]},
        },
        "mutually_exclusive": [["signal", "port", "exec"]],
        "required_one_of": [["signal", "port", "exec"]],
        "required_together": [["port", "path"]],
    },
    "prove": {"type": "list", "elements": "dict", "default": []},
    "prove_timeout": {"type": "int", "default": 60},
    "apply_timeout": {"type": "int", "default": 300},
    "image_timeout": {"type": "int", "default": 1800},
    "scrape": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "port": {"type": "int", "required": True},
            "service": {"type": "str"},
            "job": {"type": "str"},
            "host": {"type": "str"},
            "path": {"type": "str", "default": "/metrics"},
            "interval": {"type": "str"},
            "timeout": {"type": "str"},
            "scheme": {"type": "str", "choices": ["http", "https"], "default": "http"},
            "labels": {"type": "dict", "default": {}},
        },
    },
    "drop_ins": {"type": "dict", "default": {}},
    "serves": {"type": "list", "elements": "dict", "default": []},
    "without": {"type": "list", "elements": "str", "default": []},
    "own_volumes": {"type": "raw", "default": False},
    "release": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "service": {"type": "str", "required": True},
            "argv": {"type": "list", "elements": "str", "required": True},
        },
    },
    "rolling": {"type": "list", "elements": "list", "default": []},
    "timers": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "name": {"type": "str", "required": True},
            "service": {"type": "str", "required": True},
            "argv": {"type": "list", "elements": "str", "required": True},
            "schedule": {"type": "list", "elements": "str", "required": True},
            "timeout": {"type": "int", "default": 3600},
            "late_after": {"type": "int", "default": 900},
            "persistent": {"type": "bool", "default": True},
            "changes": {"type": "dict", "default": {}},
        },
    },
    "exercise": {
        "type": "dict",
        "default": {},
        "options": {
            "requests": {"type": "list", "elements": "dict", "default": []},
            "increases": {"type": "list", "elements": "str", "default": []},
        },
    },
    "build": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "image": {"type": "str", "required": True},
            "context": {"type": "path", "required": True},
            "dockerfile": {"type": "str", "default": "Dockerfile"},
            "args": {"type": "dict", "default": {}},
            "target": {"type": "str"},
            "platform": {"type": "str"},
        },
    },
}

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
