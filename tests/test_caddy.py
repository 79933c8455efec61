"""The proxy with TLS: what its role makes of the sites (PRM-23), and what it refuses before anything changes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests import rolekit

HASH = "$2a$14$" + "a" * 53
PEM = "-----BEGIN {0}-----\nMIIB\n-----END {0}-----\n"
PRESENCE = "prometheus/rules.d/{}--presence.yml"
SHOP = {"host": "shop.example.org", "upstreams": ["app:8000"]}


def caddyfile(folder: Path, **variables: Any) -> str:
    return rolekit.text(rolekit.component("caddy", folder, **variables), "caddy/config/Caddyfile")


def test_without_a_site_nothing_listens(tmp_path: Path) -> None:
    assert not rolekit.component("caddy", tmp_path).desired.present


def test_two_names_are_enough(tmp_path: Path) -> None:
    names = {"caddy_app_host": "app.example.org", "caddy_grafana_host": "grafana.example.org"}
    rendered = rolekit.component("caddy", tmp_path, **names)
    text = rolekit.text(rendered, "caddy/config/Caddyfile")
    assert "\napp.example.org {\n" in text and "reverse_proxy app:8000 app-next:8000 {" in text
    assert "\ngrafana.example.org {\n" in text and "reverse_proxy grafana:3000 {" in text
    assert "tls internal" not in text and text.count("Strict-Transport-Security") == 2
    ini = rolekit.text(rolekit.component("grafana", tmp_path, **names), "grafana/config/grafana.ini")
    assert "root_url = https://grafana.example.org/" in ini
    assert "cookie_secure = true" in ini
    (_name, service), *others = rolekit.services(rendered)
    assert not others
    assert service["networks"]["landfall"]["aliases"] == ["app.example.org", "grafana.example.org"]


def test_replicas_and_own_services_are_found(tmp_path: Path) -> None:
    services = [
        {"name": "mailer", "image": "x/mailer:1.0"},
        {
            "name": "gateway",
            "image": "x/gateway:1.0",
            "port": 3000,
            "replicas": 2,
            "metrics": {"port": 3000, "path": "/api/m"},
        },
    ]
    text = caddyfile(tmp_path, caddy_app_host="shop.example.org", app_services=services)
    assert "reverse_proxy gateway-1:3000 gateway-2:3000 {" in text
    assert "@private path /metrics /metrics/* /api/m /api/m/*\n" in text


def test_an_upstream_is_asked_by_the_name_that_its_service_answers_to(tmp_path: Path) -> None:
    """The application behind ``caddy_app_host`` has ALLOWED_HOSTS: its health is asked with one of them."""
    service = {"name": "web", "image": "x/web:1", "port": 80, "health": "/", "ready": "/r", "host": "shop.example.org"}
    text = caddyfile(tmp_path, caddy_app_host="shop.example.org", app_services=[service])
    assert text[text.index("health_headers") :].split()[:4] == ["health_headers", "{", "Host", "shop.example.org"]


def test_metrics_of_the_sites_are_not_public(tmp_path: Path) -> None:
    text = caddyfile(tmp_path, caddy_sites=[SHOP, {**SHOP, "host": "other.example.org", "private_paths": ["/inner/"]}])
    assert "@private path /metrics /metrics/*\n" in text
    assert "@private path /inner/ /inner/*\n" in text
    assert text.count("respond @private 404") == 2


def test_users_and_keys_are_secret_files(tmp_path: Path) -> None:
    site = {
        **SHOP,
        "users": {"bob": HASH},
        "certificate": PEM.format("CERTIFICATE"),
        "key": PEM.format("PRIVATE KEY"),
    }
    rendered = rolekit.component("caddy", tmp_path, caddy_sites=[site])
    text = rolekit.text(rendered, "caddy/config/Caddyfile")
    assert "tls /run/secrets/shop.example.org.crt /run/secrets/shop.example.org.key" in text
    assert "import /run/secrets/shop.example.org.users" in text
    secret = {path for path in rendered.contents if path.startswith("caddy/secrets/")}
    assert secret == {f"caddy/secrets/shop.example.org.{end}" for end in ("crt", "key", "users")}
    assert rolekit.text(rendered, "caddy/secrets/shop.example.org.users") == f"basic_auth {{\n\tbob {HASH}\n}}\n"
    others = b"".join(content for path, content in rendered.contents.items() if path not in secret)
    assert HASH.encode() not in others and b"MIIB" not in others


def test_every_site_is_probed_through_tls(tmp_path: Path) -> None:
    sites = [{**SHOP, "health": "/health"}, {**SHOP, "host": "shop.test", "tls": "internal", "users": {"bob": HASH}}]
    found = rolekit.targets(rolekit.component("caddy", tmp_path, caddy_sites=sites))
    probes = {entry["labels"]["instance"]: entry for entry in found if entry["labels"]["job"] == "blackbox"}
    assert set(probes) == {"https://shop.example.org/health", "https://shop.test/"}
    public, own = probes["https://shop.example.org/health"]["labels"], probes["https://shop.test/"]["labels"]
    assert (public["__param_module"], own["__param_module"]) == ("https_reachable", "https_own_authority")
    assert "certificate" not in public and own["certificate"] == "own"
    assert public["service"] == own["service"] == "app"  # what holds back the application's alerts holds back these
    blackbox = rolekit.text(rolekit.component("blackbox_exporter", tmp_path), "blackbox_exporter/config/blackbox.yml")
    assert "  https_reachable:\n" in blackbox and "  https_own_authority:\n" in blackbox
    without = rolekit.component("caddy", tmp_path, caddy_sites=sites, blackbox_exporter_enabled=False)
    assert [entry["labels"]["job"] for entry in rolekit.targets(without)] == ["caddy"]


@pytest.mark.parametrize(
    ("site", "words"),
    [
        ({"host": "https://shop.example.org"}, "https://shop.example.org: no name of a host"),
        ({"host": "Shop.example.org"}, "no name of a host; write one such as shop.example.org, in small letters"),
        ({"host": "192.0.2.1"}, "192.0.2.1: no name of a host"),
        ({"host": "shop.test"}, "shop.test: no public authority gives a certificate for this name; set tls: internal"),
        ({"upstreams": []}, "shop.example.org: upstreams is empty"),
        ({"upstreams": ["app"]}, "upstreams: 'app' is no name:port; write one such as web:8000"),
        ({"upstreams": ["http://app:8000"]}, "'http://app:8000' is no name:port"),
        ({"upstreams": ["prometheus:9090"]}, "prometheus:9090 asks nobody for a password; name users who may enter"),
        ({"users": {"bob": "secret"}}, "users: what is kept for bob is no bcrypt hash; make one with"),
        ({"certificate": "MIIB"}, "certificate is no PEM"),
        ({"certificate": PEM.format("CERTIFICATE")}, "certificate and key go together; give both or none"),
        ({"key": PEM.format("PRIVATE KEY")}, "certificate and key go together; give both or none"),
        ({"private_paths": ["metrics"]}, "private path 'metrics' must start with a slash"),
        ({"private_paths": ["/a*"]}, "private path '/a*' must start with a slash and hold neither blanks nor *"),
        ({"health": "health"}, "health: 'health' is no path; write one such as /health"),
    ],
)
def test_refused_before_anything_changes(site: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(Exception, match=re.escape(words)):
        caddyfile(tmp_path, caddy_sites=[{**SHOP, **site}])


def test_a_site_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Exception, match=re.escape("caddy_sites: shop.example.org is there twice")):
        caddyfile(tmp_path, caddy_sites=[SHOP, SHOP])


def test_what_is_refused_does_not_show_the_hash(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="no bcrypt hash") as refused:
        caddyfile(tmp_path, caddy_sites=[{**SHOP, "users": {"bob": "hunter2hunter2"}}])
    assert "hunter2" not in str(refused.value)


def test_the_probes_of_sites_are_expected_of_the_prober_alone(tmp_path: Path) -> None:
    """JobAbsent for them would otherwise be told twice, by two components."""
    own = rolekit.text(rolekit.component("caddy", tmp_path, caddy_sites=[SHOP]), PRESENCE.format("caddy"))
    assert 'up{job="caddy"' in own and 'up{job="blackbox"' not in own
    probing = rolekit.text(rolekit.component("blackbox_exporter", tmp_path), PRESENCE.format("blackbox-exporter"))
    assert 'up{job="blackbox"' in probing
    host = rolekit.text(rolekit.component("node_exporter", tmp_path), PRESENCE.format("node-exporter"))
    assert 'up{job="node-exporter"' in host  # its address is the host's


def test_a_service_behind_the_proxy_believes_it(tmp_path: Path) -> None:
    """Uvicorn otherwise takes every visitor for one without TLS, and redirects to http://."""
    items: list[dict[str, Any]] = [
        {"name": "web", "image": "x/web:1", "port": 3000, "health": "/", "replicas": 2, "environment": {"A": "b"}},
        {"name": "own", "image": "x/own:1", "port": 80, "health": "/", "environment": {"FORWARDED_ALLOW_IPS": "*"}},
        {"name": "inner", "image": "x/inner:1", "port": 80, "health": "/"},
    ]
    sites = [
        {**SHOP, "upstreams": ["web-1:3000", "web-2:3000"]},
        {**SHOP, "host": "o.example.org", "upstreams": ["own:80"]},
    ]
    trusted = ",".join(rolekit.defaults("app")["app_trusted_proxies"])
    found = {}
    for enabled in (True, False):
        rendered = rolekit.component("app", tmp_path, app_services=items, caddy_sites=sites, caddy_enabled=enabled)
        found[enabled] = {
            name: service.get("environment", {}).get("FORWARDED_ALLOW_IPS")
            for name, service in rolekit.services(rendered)
        }
    assert found[True] == {"web-1": trusted, "web-2": trusted, "own": "*", "inner": None}
    assert found[False] == {"web-1": None, "web-2": None, "own": "*", "inner": None}


def test_a_play_without_the_application_has_no_upstreams_of_it(tmp_path: Path) -> None:
    variables = rolekit.inventory(tmp_path)
    upstreams = rolekit.trusted("{{ caddy_app_upstreams }}")
    assert rolekit.template(upstreams, variables) == ["app:8000"]
    del variables["app_services"]
    assert rolekit.template(upstreams, variables) == []
