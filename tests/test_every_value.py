"""Hostile text in every text variable of every role: refused by name, or every file of the role still says it exactly.

The seeds are fixed. Each example puts one text into one variable of a role in use and asks the inventory's check. Where
that lets it pass, the role is rendered twice, with a marker and with the text: wherever a parser reads the marker in
the first, it must read the text in the second.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any, Dict, Iterator, List

import pytest
from ansible_collections.landfall.vps.plugins.plugin_utils import formats, quick_yaml, quoting, specs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import rolekit

SLOW = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]
HOSTILE = [
    "017", "1.10", "12:30:45", "1e3", "~", "null", "yes", "0x1F", "1_000", "2026-01-01", "$HOME", "${x}",
    "$$", "a: b", "- a",
    "#c", "x #c", " lead", "trail ", "tab\tx", "nl\nx", "\r\n", "a\u2028b", "\x85", "\u00a0", "\U0001f600",
    "'", '"', "\\",
    "`", "{{ x }}", "{{x}}", "%41", "%", "!tag", "&a", "*a", "\x07", "=", "<<", "a,b", "a;b", "a|b", "a&b",
    "../x", "/", ".",
    "[a]", "{a}", "é", "a" * 70, "-", "@", "(", "a'b\"c\\d", "{env.X}", "{$X}", "%(x)s", "${env:X}",
    "$__env{X}", "]]", "0",
]  # fmt: skip
# A good value for each format, into which the hostile text is put
FRAMES = {
    "url": ["http://x/{0}", "http://{0}/", "{0}"], "url_path": ["/{0}", "/a?b={0}", "{0}"], "path": ["/{0}", "{0}"],
    "address": ["{0}:80", "x:{0}", "{0}"], "mount": ["{0}:/x", "x:/{0}", "{0}"], "tmpfs": ["/{0}", "{0}"],
    "redis_url": ["redis://:{0}@redis:6379/0", "redis://redis:6379/{0}"], "image": ["{0}:1.0", "x:{0}", "{0}"],
    "email": ["{0}@example.org", "{0}"], "emails": ["{0}@example.org", "A {0} <a@example.org>"], "words": ["{0}"],
    "duration": ["{0}s", "{0}"], "size": ["{0}m", "{0}"], "pem": ["-----BEGIN CERTIFICATE-----\n{0}"],
    "publish": ["127.0.0.1:{0}:80", "{0}"],
    "known_hosts": ["{0} ssh-ed25519 AAAAC3Nz", "x ssh-ed25519 AAAAC3Nz {0}", "# {0}\nx ssh-rsa AAAAB3Nz\n", "{0}"],
}  # fmt: skip
SITE = {"host": "app.example.org", "upstreams": ["app:8000"]}
USED: Dict[str, Any] = {
    **{name: value for more in rolekit.OPTIONAL.values() for name, value in more.items()},
    "app_services": [
        {
            "name": "api", "image": "example/api:1.0.0", "port": 8000, "health": "/h", "command": ["run"],
            "queues": ["q"],
            "environment": {"A": "b"}, "secrets": {"S": "t"}, "volumes": ["data:/data"], "tmpfs": ["/cache"],
            "ready": "/r",
            "metrics": {"port": 8000, "path": "/m", "interval": "15s", "timeout": "10s"}, "limits": {"memory": "1g"},
            "health_interval": "10s", "stop_grace_period": "30s", "user": "10001:10001", "publish": ["127.0.0.1:1:1"],
        }
    ],
    "celery_workers": [{"name": "w", "queues": ["q"], "memory": "1g", "environment": {"A": "b"}, "arguments": ["-E"]}],
    "celery_service": "api", "celery_app": "shop.celery",
    "alertmanager_receivers": [
        {"name": "hook", "type": "webhook", "url": "https://x/y", "teams": ["web"]},
        {"name": "chat", "type": "slack", "url": "https://hooks.slack.com/services/x", "channel": "#a"},
        {"name": "tele", "type": "telegram", "bot_token": "1:x", "chat_id": 1},
        {"name": "page", "type": "pagerduty", "routing_key": "k"},
        {"name": "mail", "type": "email", "to": "a@example.org", "from": "b@example.org", "smarthost": "m:25",
         "username": "u", "password": "p"},
    ],
    "blackbox_exporter_targets": [{"name": "shop", "url": "https://shop.example.org"}],
    "prometheus_extra_targets": [
        {"job": "x", "targets": ["db:1"], "path": "/m", "interval": "15s", "timeout": "10s", "labels": {"a": "b"}}
    ],
    "prometheus_arguments": ["--log.level=info"], "node_exporter_arguments": ["--x=y"], "celery_arguments": ["-E"],
    "alertmanager_heartbeat_url": "https://hc.example.org/x", "alloy_exclude_containers": ["x"],
    "grafana_home_dashboard": "home.json", "caddy_acme_email": "a@example.org",
    "caddy_sites": [{**SITE, "health": "/h", "private_paths": ["/p"], "users": {"u": "$2y$12$" + "a" * 53}}],
    "caddy_other_upstreams": ["app"],
    "caddy_acme_dns": ["cloudflare", "{file./run/secrets/token}"],
    "backup_ssh_known_hosts": "storage.example.org ssh-ed25519 AAAAC3Nz",
    "app_environment": {"APP_REDIS_HOST": "redis"}, "postgres_exporter_flags": ["--x"],
}  # fmt: skip
ROLES = rolekit.component_names()
SPECS = specs.role_specs(str(rolekit.ROLES))
SAID = {role: formats.load(str(rolekit.ROLES), role) for role in SPECS}


def _places(value: Any, spec: str, path: List[Any]) -> Iterator[tuple[str, List[Any]]]:
    """(path in the argument spec, path in the value) of every text in a value."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _places(item, f"{spec}.{key}", [*path, key])
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _places(item, spec, [*path, index])
    elif isinstance(value, str):
        yield spec, path


def _with(value: Any, path: List[Any], text: str) -> Any:
    if not path:
        return text
    key, rest = path[0], path[1:]
    if isinstance(value, dict):
        return {k: _with(v, rest, text) if k == key else v for k, v in value.items()}
    return [_with(v, rest, text) if i == key else v for i, v in enumerate(value)]


def variables(role: str, folder: Path) -> Dict[str, Any]:
    """The values of a role's variables that are text or hold some."""
    known = {**rolekit.inventory(folder, **USED), "role_path": str(rolekit.ROLES / role)}
    free = SAID[role]["free"]
    names = [name for name, option in SPECS[role].items() if "choices" not in option and name not in free]
    return {name: json.loads(json.dumps(rolekit.template(known[name], known))) for name in names if name in known}


def _read(path: str, content: bytes) -> Any:
    text = content.decode()
    if path.endswith((".yml", ".yaml")):
        return quick_yaml.load(text)
    if path.endswith("/Caddyfile"):
        # Its words, since one is in quotes only where it needs them. Comments are whole lines
        return [shlex.split(line) for line in text.splitlines() if not line.lstrip().startswith("#")]
    return json.loads(text) if path.endswith(".json") else text


def _strings(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """(place, text) of every text in a document, keys by their position: a key may be what changes."""
    if isinstance(value, dict):
        for index, (key, item) in enumerate(value.items()):
            yield f"{path}.{index}?", str(key)
            yield from _strings(item, f"{path}.{index}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _strings(item, f"{path}[{index}]")
    elif isinstance(value, str):
        yield path, value


def judged(role: str, name: str, value: Any, folder: Path) -> List[str]:
    values = {**rolekit.inventory(folder, **USED), name: value}
    spec = {role: {name: SPECS[role][name]}}
    said = {role: {**SAID[role], "at_most": {}, "filled": []}}
    return specs.inventory_faults([role], spec, [name], values.__getitem__, said=said)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("secrets")


def _forms(text: str) -> List[str]:
    """The text as it is, or as it stands in a URL, a regular expression, a matcher, Lua, or where ``$`` is doubled."""
    regex = quoting.regex_text(text)
    matcher = regex.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    lua = quoting.lua_text(text)[1:-1]
    return [text, text.replace("$", "$$"), quoting.url_text(text), regex, matcher, quoting.shell_text(text), lua]


def _rendered(role: str, folder: Path, name: str, value: Any) -> Dict[str, Any]:
    rendered = rolekit.component(role, folder, **{**USED, name: rolekit.raw(value)})
    return {path: _read(path, content) for path, content in rendered.contents.items() if "/rules.d/" not in path}


def _lost(before: Dict[str, Any], after: Dict[str, Any], text: str) -> List[str]:
    """Where the marker stood before and something else than ``text`` stands now."""
    lost = []
    for path, document in before.items():
        now = dict(_strings(after.get(path.replace(MARKER, text))))  # a component may be named after it
        for place, old in _strings(document):
            if MARKER in old and now.get(place) not in [old.replace(MARKER, form) for form in _forms(text)]:
                lost.append(f"{path}{place}: {now.get(place)!r} instead of {old.replace(MARKER, text)!r}")
    return lost


@pytest.mark.parametrize("role", ROLES)
@settings(derandomize=True, max_examples=40, deadline=None, suppress_health_check=SLOW, database=None)
@given(data=st.data())
def test_hostile_text_is_refused_by_name_or_kept(role: str, data: st.DataObject, folder: Path) -> None:
    known = _KNOWN.setdefault(role, variables(role, folder))
    places = [(name, spec, path) for name, value in known.items() for spec, path in _places(value, name, [])]
    name, spec, path = data.draw(st.sampled_from(places))
    form = formats.format_of(spec, SAID[role]) or "text"
    frame = data.draw(st.sampled_from(FRAMES.get(form.split(":")[0], ["{0}"])))
    hostile = data.draw(st.sampled_from(HOSTILE))
    value = _with(known[name], path, frame.replace("{0}", hostile))
    faults = judged(role, name, value, folder)
    assert all(name in fault for fault in faults), faults
    if faults:
        return
    try:
        after = _rendered(role, folder, name, value)
    except Exception as error:  # noqa: BLE001 - whatever stops the run must name the variable
        assert name in str(error), f"{name}={value!r} is refused without its name: {error}"
        return
    framed = _with(known[name], path, frame.replace("{0}", MARKER))
    if judged(role, name, framed, folder):
        return  # no text of this format can be recognised again: a number, or a time
    try:
        before = _rendered(role, folder, name, framed)
    except Exception:  # noqa: BLE001 - a template allows even less than the format
        return
    assert _lost(before, after, hostile) == [], f"{name} ({spec})"


MARKER = "zzmarker"
_KNOWN: Dict[str, Dict[str, Any]] = {}


def test_the_property_sees_what_is_lost() -> None:
    before = quick_yaml.load(f"a: [x {MARKER}]\nb: 1\n")
    assert _lost({"f": before}, {"f": {"a": ["x 017"], "b": 1}}, "017") == []
    for after in ({"a": ["x 15"], "b": 1}, {"a": [15]}, {"b": 1}, {}, None):
        assert _lost({"f": before}, {"f": after}, "017") != []


@pytest.mark.parametrize(
    ("role", "name", "value", "words"),
    [
        ("backup", "backup_ssh_known_hosts", "# ok\nstorage.example.org\n", "line 2 is none of OpenSSH's known_hosts"),
        ("backup", "backup_ssh_known_hosts", "a ssh-rsa AAAAB3\r\n", "line 1 is none"),
        (
            "backup",
            "backup_ssh_known_hosts",
            "@revoked [a]:22,b ssh-ed25519 AAAAC3 me\n\n#x\n|1|a=|b= ssh-rsa AAAA+/=",
            "",
        ),
        ("caddy", "caddy_acme_dns", "cloudflare {", "has braces"),
        ("caddy", "caddy_acme_dns", ["cloudflare", "a\nb"], "control characters"),
        ("caddy", "caddy_acme_dns", ["cloudflare", "{$TOKEN}"], "write a secret as {file./run/secrets/NAME}"),
        ("caddy", "caddy_acme_dns", "cloudflare 'open", "is no command"),
        ("caddy", "caddy_acme_dns", "cloudflare {file./run/secrets/t} {env.X}", ""),
        ("caddy", "caddy_acme_dns", ["route53", "a b", "#c"], ""),
    ],
)
def test_lines_of_a_language_are_judged_with_the_inventory(
    role: str, name: str, value: Any, words: str, folder: Path
) -> None:
    faults = judged(role, name, value, folder)
    assert bool(faults) == bool(words) and all(name in fault and words in fault for fault in faults), faults
