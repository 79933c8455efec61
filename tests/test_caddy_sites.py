"""What an inventory asks of the proxy, asked of a real one: Caddy on ports of its own with what the role renders.

Each option of a site has a test that it means what was asked. Names lead to this machine; upstreams are of this test.
"""

from __future__ import annotations

import base64
import http.client
import json
import re
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.landfall.vps.plugins.plugin_utils import formats, specs

from tests import rolekit
from tests.caddykit import SHOP, Proxy, adapted, hashed, proxy, to, upstream
from tests.test_caddy_live import free_port

PAGE = (rolekit.ROOT / "docs" / "operations" / "proxy.md").read_text(encoding="utf-8")


def test_more_names_and_those_that_send_on(tmp_path: Path) -> None:
    names = {"aliases": ["store.landfall.test"], "redirect_from": ["www.shop.landfall.test"]}
    with upstream() as port, proxy(tmp_path, {"upstreams": to(port), **names}) as found:
        assert found.ask("/a").said["headers"]["Host"] == SHOP
        assert found.ask("/a", "store.landfall.test").said["headers"]["Host"] == "store.landfall.test"
        sent = found.ask("/a?b=c", "www.shop.landfall.test")
        assert (sent.status, sent.headers["location"]) == (308, f"https://{SHOP}/a?b=c")


def test_paths_lead_to_services_in_their_order(tmp_path: Path) -> None:
    with upstream() as web, upstream() as api, upstream() as docs:
        routes = [
            {"paths": ["/api/docs"], "upstreams": to(docs)},
            {"paths": ["/api", "/v1*"], "upstreams": to(api)},
            {"paths": ["/strip"], "strip": True, "upstreams": to(api)},
        ]
        with proxy(tmp_path, {"upstreams": to(web), "routes": routes}) as found:
            served = {path: found.ask(path).said for path in ("/", "/apis", "/api", "/api/x", "/v12", "/api/docs/1")}
            assert {path: said["server"] for path, said in served.items()} == {
                "/": web, "/apis": web, "/api": api, "/api/x": api, "/v12": api, "/api/docs/1": docs,
            }  # fmt: skip
            assert all(said["path"] == path for path, said in served.items())
            assert found.ask("/strip/a/b?c=d").said["path"] == "/a/b?c=d"


def test_without_an_answer_of_its_own_the_rest_of_a_site_is_404(tmp_path: Path) -> None:
    with upstream() as port, proxy(tmp_path, {"routes": [{"paths": ["/api"], "upstreams": to(port)}]}) as found:
        assert (found.ask("/api").status, found.ask("/").status) == (200, 404)


@pytest.mark.parametrize(
    ("redirect", "status", "location"),
    [
        ({"to": "https://new.example.org/x"}, 308, "https://new.example.org/x"),
        ({"to": "/new", "status": 302}, 302, "/new"),
        ({"to": "https://new.example.org/", "keep_path": True}, 308, "https://new.example.org/old/a?b=c"),
    ],
)
def test_redirects(redirect: dict[str, Any], status: int, location: str, tmp_path: Path) -> None:
    with proxy(tmp_path, {"routes": [{"paths": ["/old"], "redirect": redirect}]}) as found:
        sent = found.ask("/old/a?b=c")
        assert (sent.status, sent.headers["location"]) == (status, location)


def test_static_folders_of_this_machine_and_of_a_volume(tmp_path: Path) -> None:
    dist = tmp_path / "dist"
    (dist / "assets").mkdir(parents=True)
    (dist / "index.html").write_text("front")
    (dist / "assets" / "logo.bin").write_bytes(bytes(range(256)))
    (tmp_path / "srv/uploads/public/files").mkdir(parents=True)
    (tmp_path / "srv/uploads/public/files/a.txt").write_text("uploaded")
    (tmp_path / "srv/uploads/secret.txt").write_text("inner")
    site = {
        "static": {"folder": str(dist), "single_page": True},
        "routes": [
            {"paths": ["/files"], "static": {"volume": "uploads", "path": "public"}},
            {"paths": ["/plain"], "strip": True, "static": {"folder": str(dist)}},
        ],
    }
    with proxy(tmp_path, site) as found:
        assert found.ask("/").text == found.ask("/cart/7").text == "front"
        assert found.ask("/assets/logo.bin").headers["content-length"] == "256"
        assert found.ask("/files/a.txt").text == "uploaded" and found.ask("/files/../secret.txt").text != "inner"
        assert (found.ask("/plain/").text, found.ask("/plain/cart").status) == ("front", 404)
    rendered = rolekit.component("caddy", tmp_path, caddy_sites=[{"host": SHOP, **site}], caddy_tls="internal")
    (_name, service), *_others = rolekit.services(rendered)
    assert "uploads:/srv/uploads:ro" in service["volumes"]
    assert rendered.desired.meta["volumes"] == ["caddy-data", "uploads"]


def test_bodies_above_the_limit_are_refused(tmp_path: Path) -> None:
    site = {"max_body": "1k", "routes": [{"paths": ["/upload"], "max_body": "4k"}]}
    with upstream() as port:
        site = {"upstreams": to(port), "max_body": "1k", "routes": [
            {"paths": ["/upload"], "max_body": "4k", "upstreams": to(port)},
            {"paths": ["/other"], "upstreams": to(port)},
        ]}  # fmt: skip
        with proxy(tmp_path, site) as found:
            sizes = {("/", 1024): 200, ("/", 1025): 413, ("/other", 1025): 413, ("/upload", 4096): 200,
                     ("/upload", 4097): 413}  # fmt: skip
            assert {(path, size): found.ask(path, body=b"x" * size).status for path, size in sizes} == sizes


def test_users_of_a_site_and_of_a_path(tmp_path: Path) -> None:
    users = {name: hashed(name) for name in ("bob", "eve")}
    site = {"upstreams": ["127.0.0.1:1"], "routes": [
        {"paths": ["/admin"], "users": {"bob": users["bob"]}, "redirect": {"to": "/in"}},
        {"paths": ["/"], "redirect": {"to": "/"}},
    ]}  # fmt: skip
    basic = {name: "Basic " + base64.b64encode(f"{name}:{name}".encode()).decode() for name in users}
    with proxy(tmp_path, site) as found:
        assert found.ask("/").status == 308
        assert found.ask("/admin").status == found.ask("/admin", Authorization=basic["eve"]).status == 401
        assert found.ask("/admin", Authorization=basic["bob"]).status == 308
    assert users["bob"] not in (tmp_path / "caddy/config/Caddyfile").read_text()


def test_who_may_enter_by_address(tmp_path: Path) -> None:
    site = {"redirect": {"to": "/"}, "routes": [
        {"paths": ["/inner"], "allow": ["192.0.2.0/24", "2001:db8::/32"], "redirect": {"to": "/"}},
        {"paths": ["/here"], "allow": ["127.0.0.1", "192.0.2.0/24"], "redirect": {"to": "/"}},
    ]}  # fmt: skip
    with proxy(tmp_path, site) as found:
        assert [found.ask(path).status for path in ("/", "/inner/x", "/here")] == [308, 403, 308]
        # What a visitor writes is not believed
        assert found.ask("/inner", X_Forwarded_For="192.0.2.7").status == 403
    (tmp_path / "trusting").mkdir()
    with proxy(tmp_path / "trusting", site, caddy_trusted_proxies=["127.0.0.0/8"]) as found:
        assert found.ask("/inner", X_Forwarded_For="192.0.2.7").status == 308
        assert found.ask("/inner", X_Forwarded_For="2001:db8::7").status == 308
        assert found.ask("/here", X_Forwarded_For="198.51.100.7").status == 403


def test_headers_of_answers_and_requests(tmp_path: Path) -> None:
    policy = "default-src 'self'; img-src *"
    with upstream() as port:
        site = {
            "upstreams": to(port),
            "headers": {"X-Frame-Options": "DENY", "X-Powered-By": "", "Content-Security-Policy": policy},
            "request_headers": {"X-Team": "web shop", "Accept-Language": ""},
            "routes": [{"paths": ["/api"], "upstreams": to(port), "headers": {"X-Frame-Options": "ALLOW"}}],
        }
        with proxy(tmp_path, site) as found:
            answer, api = found.ask("/", Accept_Language="de"), found.ask("/api")
    assert answer.headers["x-frame-options"] == "DENY" and "x-powered-by" not in answer.headers
    assert answer.headers["content-security-policy"] == policy
    assert answer.said["headers"]["X-Team"] == "web shop" and "Accept-Language" not in answer.said["headers"]
    assert api.headers["x-frame-options"] == "ALLOW" and api.said["headers"]["X-Team"] == "web shop"


def _first(found: Proxy, path: str, accept: str) -> tuple[float, float]:
    """Return the seconds until the head, and until the first event, of a stream."""
    with found.connect(SHOP) as secure:
        started = time.monotonic()
        head = f"GET {path} HTTP/1.1\r\nHost: {SHOP}\r\nAccept: {accept}\r\nAccept-Encoding: gzip\r\n\r\n"
        secure.sendall(head.encode())
        reader = secure.makefile("rb")
        assert reader.readline().split()[1] == b"200"
        begun = time.monotonic() - started
        while reader.readline().strip():
            pass
        while b"data: 1" not in reader.readline():
            pass
        return begun, time.monotonic() - started


def test_event_streams_start_at_once(tmp_path: Path) -> None:
    """Their head before the first event, which a browser tells the page as open; the first event without the next."""
    with upstream() as port:
        site = {"upstreams": to(port), "routes": [{"paths": ["/events2"], "stream": True, "upstreams": to(port)}]}
        with proxy(tmp_path, site) as found:
            begun, event = _first(found, "/events", "text/event-stream")
            assert begun < 2 < event < 6
            assert _first(found, "/events2", "*/*")[1] < 2


def test_own_lines_run_in_their_order_behind_who_may_enter(tmp_path: Path) -> None:
    lines = "@old path /old /api/old\nredir @old /new 301\n\n"
    lines += 'handle /hello {\n\trespond "{http.request.host} says hello"\n}\n'
    site = {"upstreams": ["127.0.0.1:1"], "snippet": lines, "private_paths": ["/hidden"], "routes": [
        {"paths": ["/api"], "snippet": 'respond "a: }" 200'},
    ]}  # fmt: skip
    with proxy(tmp_path, site, caddy_blocks="http://blocks.landfall.test {\n\trespond fine\n}\n") as found:
        assert found.ask("/api/old").headers["location"] == "/new"
        assert found.ask("/hello").text == f"{SHOP} says hello"
        assert (found.ask("/hidden").status, found.ask("/api").text) == (404, "a: }")
        connection = http.client.HTTPConnection("127.0.0.1", found.plain, timeout=10)
        connection.request("GET", "/", headers={"Host": "blocks.landfall.test"})
        assert connection.getresponse().read() == b"fine"


def test_a_line_that_means_nothing_is_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"unrecognized directive: no_such_thing"):
        adapted(
            tmp_path,
            caddy_sites=[{"host": SHOP, "redirect": {"to": "/"}, "snippet": "respond /x 200\nno_such_thing\n"}],
        )


def test_nobody_serves(tmp_path: Path) -> None:
    """The page of 502, 503 and 504, with the status; none where the inventory wants none."""
    with proxy(tmp_path, {"upstreams": to(free_port())}, caddy_upstream_patience="1s") as found:
        answer = found.ask("/x/y")
        assert answer.status == 502 and "not available at the moment" in answer.text
        assert answer.headers["content-type"].startswith("text/html") and answer.headers["cache-control"] == "no-store"
    (tmp_path / "own").mkdir()
    own = "<p>{{ not a template }} Wir sind gleich zurück"
    more = {"caddy_upstream_patience": "1s", "caddy_error_page": rolekit.raw(own)}
    with proxy(tmp_path / "own", {"upstreams": to(free_port()), "health": "/h"}, **more) as found:
        answer = found.ask("/")
        assert answer.status in (502, 503) and answer.text == own
    (tmp_path / "none").mkdir()
    with proxy(
        tmp_path / "none", {"upstreams": to(free_port())}, caddy_upstream_patience="1s", caddy_error_page=""
    ) as found:
        assert (found.ask("/").status, found.ask("/").text) == (502, "")


def _servers(config: dict[str, Any]) -> list[dict[str, Any]]:
    return list(config["apps"]["http"]["servers"].values())


def test_protocols(tmp_path: Path) -> None:
    site = {"host": SHOP, "redirect": {"to": "/"}}
    for protocols in (["h1", "h2", "h3"], ["h1", "h2"]):
        config = adapted(tmp_path, caddy_sites=[site], caddy_protocols=protocols)
        # All three are Caddy's own default
        assert all(server.get("protocols", ["h1", "h2", "h3"]) == protocols for server in _servers(config))
    with proxy(tmp_path, {"redirect": {"to": "/"}}) as found:
        assert f'h3=":{found.port}"' in found.ask("/").headers["alt-svc"]
        with pytest.raises(OSError, match="in use"), socket.socket(type=socket.SOCK_DGRAM) as other:
            other.bind(("", found.port))  # QUIC listens there


def test_a_wildcard_with_a_certificate_of_its_own(tmp_path: Path) -> None:
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
            "-subj", "/CN=x", "-addext", "subjectAltName=DNS:*.landfall.test", "-keyout", str(tmp_path / "key"), "-out",
            str(tmp_path / "crt")]  # fmt: skip
    subprocess.run(made, check=True, capture_output=True)
    site = {"certificate": (tmp_path / "crt").read_text(), "key": (tmp_path / "key").read_text()}
    rendered = rolekit.component(
        "caddy", tmp_path, caddy_sites=[{**site, "host": "*.landfall.test", "redirect": {"to": "/"}}]
    )
    assert {"caddy/secrets/_wildcard.landfall.test.crt", "caddy/secrets/_wildcard.landfall.test.key"} <= set(
        rendered.contents
    )
    assert "aliases" not in rolekit.compose(rendered)["services"]["caddy"]["networks"]
    with proxy(tmp_path, {**site, "host": "*.landfall.test", "redirect": {"to": "/in"}}) as found:
        assert found.ask("/", "any.landfall.test").headers["location"] == "/in"
        with found.connect("any.landfall.test") as secure:
            assert b"*.landfall.test" in (secure.getpeercert(binary_form=True) or b"")


def test_certificates_by_dns_need_an_image_with_the_module(tmp_path: Path) -> None:
    """The official image says so before anything is replaced; what is written for the module is right."""
    site = {"host": "*.example.org", "redirect": {"to": "/"}, "tls": "acme"}
    more = {"caddy_acme_dns": rolekit.raw("cloudflare {file./run/secrets/token}"), "caddy_secrets": {"token": "s3cret"}}
    with pytest.raises(AssertionError, match=r"dns\.providers\.cloudflare"):
        adapted(tmp_path, caddy_sites=[site], **more)
    assert (tmp_path / "caddy/secrets/token").read_text() == "s3cret"
    assert "\tacme_dns cloudflare {file." in (tmp_path / "caddy/config/Caddyfile").read_text()


@pytest.mark.parametrize(
    ("site", "words"),
    [
        ({"upstreams": ["shopp:80"]}, "no service of this inventory is called shopp; did you mean shop?"),
        ({"upstreams": ["zzz:80"]}, "is called zzz; write an address such as 192.0.2.7:80"),
        ({"upstreams": ["grafana:3000"]}, "upstreams: grafana is switched off in this inventory"),
        ({"routes": [{"paths": ["/"], "upstreams": ["zzz:80"]}]}, "routes[0]: upstreams: no service"),
        ({"routes": [{"paths": ["api"], "redirect": {"to": "/"}}]}, "routes[0]: path 'api' must start with a slash"),
        ({"routes": [{"paths": ["/a*b"], "redirect": {"to": "/"}}]}, "a * may only be its end"),
        ({"routes": [{"paths": ["/a"]}]}, "routes[0]: nobody answers"),
        ({"routes": [{"paths": ["/a", "/b"], "strip": True, "redirect": {"to": "/"}}]}, "strip takes one path off"),
        ({"upstreams": ["shop:80"], "redirect": {"to": "/"}}, "upstreams and redirect exclude each other"),
        ({"redirect": {"to": "example.org"}}, "redirect: 'example.org' is neither a URL nor a path"),
        ({"redirect": {"to": "/", "status": 200}}, "redirect: 200 is no status that sends on"),
        ({"static": {"folder": "/no/such"}}, "static: there is no folder /no/such on this machine"),
        ({"static": {"folder": "/etc", "volume": "x"}}, "static: give either folder"),
        ({"static": {"volume": "x", "path": "a/../.."}}, "leads out of the folder"),
        ({"redirect": {"to": "/"}, "allow": ["10.0.0.0/99"]}, "allow: '10.0.0.0/99' is no address or network"),
        ({"redirect": {"to": "/"}, "headers": {"X Y": "1"}}, "headers: 'X Y' is no name of a header"),
        ({"redirect": {"to": "/"}, "headers": {"X": 'a"b'}}, "headers: X: a Caddyfile cannot hold it"),
        ({"redirect": {"to": "/"}, "max_body": "many"}, "max_body: 'many' is no size"),
        (
            {"redirect": {"to": "/"}, "snippet": "respond 200\n}\nother.example.org {"},
            "snippet: its braces do not match",
        ),
        ({"redirect": {"to": "/"}, "aliases": ["Store"]}, "Store: no name of a host"),
        ({"host": "*.example.org", "tls": "acme", "redirect": {"to": "/"}}, "a wildcard gets no certificate over HTTP"),
        ({"redirect": {"to": "/"}, "routes": [{"paths": ["/p"], "upstreams": ["prometheus:9090"]}]}, "asks nobody"),
        ({"previews": True}, "previews: each is a name below host; write one such as *.preview.example.org"),
        (
            {"host": "*.example.org", "previews": True, "aliases": ["example.org"]},
            "previews: each is a name below host",
        ),
        ({"previews": True, "upstreams": ["shop:80"]}, "upstreams and previews exclude each other"),
    ],
)
def test_refused_before_anything_changes(site: dict[str, Any], words: str, tmp_path: Path) -> None:
    """With the inventory, by the name of the variable, and by the site."""
    services = [{"name": "shop", "image": "x/shop:1", "port": 80, "health": "/"}]
    values = rolekit.inventory(
        tmp_path,
        caddy_sites=[{"host": SHOP, **site}],
        caddy_tls="internal",
        app_services=services,
        grafana_enabled=False,
    )
    options = specs.role_specs(str(rolekit.ROLES))
    said = {"caddy": formats.load(str(rolekit.ROLES), "caddy")}
    faults = specs.inventory_faults(
        ["caddy"], options, list(values), lambda name: rolekit.template(values[name], values), said=said
    )
    where = f"caddy_sites: {site.get('host', SHOP)}: "
    assert any(fault.startswith(where) and words in fault for fault in faults), faults


@pytest.mark.parametrize(
    "upstreams", [["shop:80"], ["shop-1:80", "shop-2:80"], ["worker:9"], ["192.0.2.7:80"], ["db.example.org:80"],
                  ["[2001:db8::7]:80"], ["redis:6379"], ["neighbour:80"]],
)  # fmt: skip
def test_upstreams_that_somebody_has(upstreams: list[str], tmp_path: Path) -> None:
    services = [{"name": "shop", "image": "x/shop:1", "port": 80, "health": "/", "replicas": 2}]
    workers = [{"name": "worker", "queues": ["q"]}]
    more = {"app_services": services, "celery_workers": workers, "caddy_other_upstreams": ["neighbour"]}
    adapted(tmp_path, caddy_sites=[{"host": SHOP, "upstreams": upstreams}], **more)


EXAMPLES = [yaml.safe_load(text) for text in re.findall(r"(?ms)^```yaml\n(.*?)^```$", PAGE)]


@pytest.mark.parametrize("example", EXAMPLES, ids=[str(number) for number in range(len(EXAMPLES))])
def test_every_example_of_the_page_is_what_caddy_takes(example: dict[str, Any], tmp_path: Path) -> None:
    assert set(example) <= {*rolekit.options("caddy"), *rolekit.options("app")}
    (tmp_path / "frontend/dist").mkdir(parents=True)
    (tmp_path / "frontend/dist/index.html").write_text("front")
    made = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-subj",
        "/CN=x",
    ]
    pem = subprocess.run([*made, "-keyout", "/dev/stdout"], check=True, capture_output=True, text=True)
    key, _, certificate = pem.stdout.partition("-----BEGIN CERTIFICATE")
    vault = {"vault_bob": hashed("bob"), "vault_dns_token": "t",
             "vault_certificate": "-----BEGIN CERTIFICATE" + certificate, "vault_key": key}  # fmt: skip
    services = [{"name": name, "image": "x/y:1", "port": 8000, "health": "/"} for name in ("web", "api")]
    variables = {"app_services": services, **example, **vault, "caddy_tls": "acme"}
    variables["caddy_sites"] = json.loads(
        json.dumps(variables.get("caddy_sites", [{"host": "a.example.org", "upstreams": ["web:8000"]}]))
    )
    if "caddy_acme_dns" in example:
        with pytest.raises(AssertionError, match=r"module not registered: dns\.providers"):
            adapted(tmp_path, **variables)
    else:
        adapted(tmp_path, **variables)


def test_the_page_has_an_example_of_each_option() -> None:
    options = rolekit.options("caddy")["caddy_sites"]["options"]
    used = {key for example in EXAMPLES for site in example.get("caddy_sites", []) for key in site}
    within = {
        key
        for example in EXAMPLES
        for site in example.get("caddy_sites", [])
        for route in site.get("routes", [])
        for key in route
    }
    # docs/operations/tls.md and docs/previews.md have theirs
    assert set(options) - used - within == {"health_host", "previews", "tls"}
    for page, option in (("operations/tls.md", "tls:"), ("previews.md", "previews: true")):
        assert option in (rolekit.ROOT / "docs" / page).read_text(encoding="utf-8"), page
