"""Writes the lines of a site in a Caddyfile: one block per site, what it does in the order in which it is written.

All that decides stands in blocks ``route``, since elsewhere Caddy sorts: a redirect would come before who may enter.
"""

from __future__ import annotations

import re
from typing import Any, Iterator, List, Mapping, Sequence

from ansible_collections.landfall.vps.plugins.module_utils import units
from ansible_collections.landfall.vps.plugins.plugin_utils.quoting import caddyfile_text as word

SECRETS, VOLUMES = "/run/secrets", "/srv"
MAINTENANCE = "/etc/maintenance.d"
"""Where lies what holds visitors back for a while: nothing most of the time."""
EVENTS = "text/event-stream"
DOWN = "502 503 504"
PREVIEWS = "/etc/previews"
"""Where each preview has a socket, by its name."""
ROTATION = "/etc/rotation"
"""Where the proxy finds the marks that say who is sent requests (module_utils/rotation.py)."""
WHOM, ASK, KEEPS = "Landfall-Upstream", "Landfall-Ask", "Landfall-Stream"
"""Headers of its questions to itself: which upstream is meant, whether that one has to be asked as well, and whether it
is for what stays open."""
STREAMS = "header({'Upgrade': 'websocket'}) || header({'Accept': '*" + EVENTS + "*'})"


def stem(site: Mapping[str, Any]) -> str:
    """What the names of a site's files begin with."""
    return str(site["host"]).replace("*", "_wildcard", 1)


def of(site: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """The lines of a site. ``settings`` as ``sites.expand`` has them, with ``kind`` of its certificate."""
    names = [str(site["host"]), *(site.get("aliases") or [])]
    lines = [", ".join(names) + " {", *_indented(_site(site, settings)), "}"]
    for name in site.get("redirect_from") or []:
        lines += ["", name + " {", *_indented(_tls(site, settings)), "\tlog"]
        lines += ["\tredir https://{0}{{uri}} 308".format(site["host"]), "}"]
    return "\n".join(lines) + "\n"


def _indented(lines: Any) -> List[str]:
    return ["\t" + line if line else "" for line in lines]


def _block(head: str, lines: Any) -> List[str]:
    return [head + " {", *_indented(lines), "}"]


def _tls(site: Mapping[str, Any], settings: Mapping[str, Any]) -> Iterator[str]:
    if settings["kind"] == "internal":
        yield "tls internal"
    elif settings["kind"] == "files":
        yield "tls {0}/{1}.crt {0}/{1}.key".format(SECRETS, stem(site))


def _site(site: Mapping[str, Any], settings: Mapping[str, Any]) -> Iterator[str]:
    yield from _tls(site, settings)
    yield "log"
    # Compression would hold back the head of an event stream until its first event
    yield "@compressible not header Accept *{0}*".format(EVENTS)
    yield "encode @compressible zstd gzip"
    header = ["-Server"]
    if settings.get("hsts") and settings["kind"] != "internal":
        header.append("Strict-Transport-Security " + word(settings["hsts"]))
    yield from _block("header", header)
    yield from _block("route", _route(site, settings))
    if settings.get("error_page"):
        page = [
            "root {0}/errors".format(settings["place"]),
            "rewrite /down.html",
            "header Cache-Control no-store",
            "file_server",
        ]
        yield "# Nobody serves"
        yield from _block("handle_errors " + DOWN, _block("route", page))


def _route(site: Mapping[str, Any], settings: Mapping[str, Any]) -> Iterator[str]:
    name = stem(site)
    if site.get("maintenance") is not False:
        yield "import {0}/*.caddyfile".format(MAINTENANCE)
    private = site.get("private_paths") or settings.get("private_paths") or []
    if private:
        below = " ".join("{0} {1}".format(word(path), word(path.rstrip("/") + "/*")) for path in private)
        yield "@private path " + below
        yield "respond @private 404"
    yield from _access(site, name, "")
    if site.get("snippet"):
        yield _snippet(name, settings)
    for number, route in enumerate(site.get("routes") or [], 1):
        below = "{0}.{1}".format(name, number)
        lines = list(_access(route, below, str(number)))
        lines += [_snippet(below, settings)] if route.get("snippet") else []
        yield "@route{0} path {1}".format(number, " ".join(_paths(route["paths"])))
        lines += _answer(_inherited(site, route), below, settings)
        yield from _block("handle @route{0}".format(number), _block("route", lines))
    if any(site.get(key) for key in ("upstreams", "static", "redirect", "previews")):
        own = list(_answer(site, name, settings))
        yield from _block("handle", _block("route", own)) if site.get("routes") else own
    else:
        yield "respond 404"


def _inherited(site: Mapping[str, Any], route: Mapping[str, Any]) -> Mapping[str, Any]:
    """A route with what it takes from its site."""
    joined = {key: {**(site.get(key) or {}), **(route.get(key) or {})} for key in ("headers", "request_headers")}
    return {**route, **joined, "max_body": route.get("max_body") or site.get("max_body")}


def _paths(paths: Any) -> Iterator[str]:
    """A path means itself and all below; one that ends in * what it says."""
    for path in paths:
        if path.endswith("*"):
            yield word(path)
        else:
            yield word(path)
            yield word(path.rstrip("/") + "/*")


def _access(part: Mapping[str, Any], name: str, number: str) -> Iterator[str]:
    if part.get("allow"):
        yield "@denied{0} not client_ip {1}".format(number, " ".join(str(address) for address in part["allow"]))
        yield "respond @denied{0} 403".format(number)
    if part.get("users"):
        yield "import {0}/{1}.users".format(SECRETS, name)


def _snippet(name: str, settings: Mapping[str, Any]) -> str:
    return "import {0}/snippets/{1}.caddyfile".format(settings["place"], name)


def _answer(part: Mapping[str, Any], name: str, settings: Mapping[str, Any]) -> Iterator[str]:
    """How a site, or a route of it, answers a request that may enter."""
    if part.get("max_body"):
        yield from _block("request_body", ["max_size {0}".format(units.size(str(part["max_body"])))])
    headers = part.get("headers") or {}
    if headers:
        # After the upstream's own, or both would be sent
        lines = ["-" + key if value == "" else "{0} {1}".format(key, word(value)) for key, value in headers.items()]
        yield from _block("header", [*lines, "defer"])
    if part.get("strip"):
        yield "uri strip_prefix " + word(part["paths"][0].rstrip("*").rstrip("/") or "/")
    if part.get("redirect"):
        yield from _redirect(part["redirect"])
    elif part.get("static"):
        yield from _static(part["static"], name, settings)
    elif part.get("previews"):
        # The first label of the name; a preview comes and goes without a change here
        place = "unix/{0}/{{http.request.host.labels.{1}}}.sock".format(PREVIEWS, str(part["host"]).count("."))
        yield from _block("reverse_proxy " + place, ["flush_interval -1"] if part.get("stream") else [])
    elif part.get("upstreams"):
        led = addresses(part, settings)
        if len(led) > len(part["upstreams"]):
            # A websocket or a stream of events is not begun where it would soon be cut off
            matcher = "@streams_" + re.sub(r"[^a-z0-9]", "_", name.lower())
            yield "{0} expression `{1}`".format(matcher, STREAMS)
            yield from _block(
                "reverse_proxy {0} {1}".format(matcher, " ".join(led)), _upstreams(part, settings, keeps=True)
            )
        yield from _block("reverse_proxy {0}".format(" ".join(led)), _upstreams(part, settings))


def _redirect(redirect: Mapping[str, Any]) -> Iterator[str]:
    target = word(redirect["to"])
    if redirect.get("keep_path"):
        target = word(str(redirect["to"]).rstrip("/")) + "{uri}"
    # Without the asterisk a path would be taken for what to match
    yield "redir * {0} {1}".format(target, redirect.get("status") or 308)


def _static(static: Mapping[str, Any], name: str, settings: Mapping[str, Any]) -> Iterator[str]:
    folder = "{0}/static/{1}".format(settings["place"], name)
    place = folder if static.get("folder") else "{0}/{1}".format(VOLUMES, static["volume"])
    sub = str(static.get("path") or "").strip("/")
    yield "root {0}".format(word(place + ("/" + sub if sub else "")))
    if static.get("single_page"):
        yield "try_files {path} /index.html"
    yield "file_server"


def _upstreams(part: Mapping[str, Any], settings: Mapping[str, Any], keeps: bool = False) -> Iterator[str]:
    yield "lb_policy least_conn"
    yield "lb_try_duration " + word(settings["patience"])
    yield "# Websockets outlive a change of the configuration"
    yield "stream_close_delay " + word(settings["close_delay"])
    if part.get("stream"):
        yield "# Each byte goes on as it comes"
        yield "flush_interval -1"
    for key, value in (part.get("request_headers") or {}).items():
        yield "header_up -{0}".format(key) if value == "" else "header_up {0} {1}".format(key, word(value))
    if any(_name(upstream) in (settings.get("rotated") or []) for upstream in part["upstreams"]):
        yield from _rotated(part, settings, keeps)
    elif part.get("health"):
        yield "health_uri " + word(part["health"])
        yield "health_interval 2s"
        yield "health_timeout 2s"
        if part.get("health_host"):
            yield from _block("health_headers", ["Host " + word(part["health_host"])])
    yield from _block("transport http", ["keepalive " + word(settings["keepalive"])])


def _name(upstream: str) -> str:
    return upstream.rpartition(":")[0]


def addresses(part: Mapping[str, Any], settings: Mapping[str, Any]) -> List[str]:
    """The upstreams of a site or route, each with the standby of its service behind it."""
    standbys = settings.get("standbys") or {}
    found = []
    for upstream in part.get("upstreams") or []:
        name, _colon, port = upstream.rpartition(":")
        found += [upstream] + (["{0}:{1}".format(standbys[name], port)] if name in standbys else [])
    return found


def questions(part: Mapping[str, Any], settings: Mapping[str, Any]) -> int:
    """How many questions a site or route has asked in a round: one for each upstream, again for what stays open."""
    led = addresses(part, settings)
    if not any(_name(upstream) in (settings.get("rotated") or []) for upstream in part.get("upstreams") or []):
        return 0
    return len(led) * (2 if len(led) > len(part["upstreams"]) else 1)


def _rotated(part: Mapping[str, Any], settings: Mapping[str, Any], keeps: bool) -> Iterator[str]:
    """Whether an upstream is sent requests is asked of the block that ``rotation`` writes."""
    target = "{http.reverse_proxy.active.target_upstream}"
    yield "# Who is in rotation: see the block for that"
    yield "health_uri " + word(part.get("health") or "/")
    yield "health_upstream " + settings["rotation"]
    yield "health_interval 1s"
    yield "health_timeout 2s"
    host = word(part["health_host"]) if part.get("health_host") else target
    asked = [*([ASK + " yes"] if part.get("health") else []), *([KEEPS + " yes"] if keeps else [])]
    yield from _block("health_headers", ["Host " + host, "{0} {1}".format(WHOM, target), *asked])


def rotation(standbys: Sequence[str], settings: Mapping[str, Any]) -> str:
    """The block that answers who is in rotation, for the addresses ``standbys`` by other rules than for the rest.

    An upstream is unless there is a mark that it is out, a standby only while there is one that it is in, and for what
    stays open only until there is one that it is about to go. One that has
    a path of its own for its health is then asked for that. Whoever is not well gets 404, which counts as no error.
    """
    address, _colon, port = settings["rotation"].rpartition(":")
    name = ["map {header." + WHOM + "} {service} {", '\t~^(.+):[0-9]+$ "${1}"', "}"]
    lines = [*name, "@out file /{service}.out", "respond @out 404"]
    if standbys:
        lines += _block("@idle", [*("header {0} {1}".format(WHOM, one) for one in standbys), "not file /{service}.in"])
        lines.append("respond @idle 404")
        lines += [
            "@leaving {",
            "\theader {0} *".format(KEEPS),
            "\tfile /{service}.leaving",
            "}",
            "respond @leaving 404",
        ]
    hidden = ["header_up -" + key for key in (WHOM, ASK, KEEPS)]
    wrong = ["@bad status 5xx", *_block("handle_response @bad", ["respond 404"])]
    lines += ["@asked header {0} *".format(ASK)]
    # Connections that are kept would look like requests to whoever waits for the last of them
    short = _block("transport http", ["keepalive off"])
    lines += _block("reverse_proxy @asked {header." + WHOM + "}", [*hidden, *short, *wrong])
    lines.append("respond 200")
    inner = ["bind " + address, "root " + ROTATION, *_block("route", lines), *_block("handle_errors", ["respond 404"])]
    return "\n".join(_block("http://:" + port, inner)) + "\n"
