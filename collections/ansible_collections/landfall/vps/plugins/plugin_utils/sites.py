"""Sites of a proxy: what an inventory says of them, checked, and what a component needs to serve them.

``expand`` takes the items as they are written and returns plain data; ``site_lines`` writes the configuration. All that
is wrong is told at once, each fault by the site that it is about.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
from typing import Any, Dict, Iterable, Iterator, List, Mapping, Tuple

from ansible_collections.landfall.vps.plugins.module_utils import units
from ansible_collections.landfall.vps.plugins.plugin_utils import certificates, given, quoting, site_lines

NAME = re.compile(r"(?:\*\.)?(?=.{4,253}\Z)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]")
NOT_PUBLIC = re.compile(r"\.(test|localhost|local|internal|lan|home\.arpa|invalid|example)$")
UPSTREAM = re.compile(r"(?:[a-zA-Z0-9][a-zA-Z0-9._-]*|\[[0-9a-fA-F:]+\]):[0-9]{1,5}")
BCRYPT = re.compile(r"\$2[aby]\$[0-9]{2}\$[./A-Za-z0-9]{53}")
USER = re.compile(r"[^\s{}\"]+")
HEADER = re.compile(r"[A-Za-z0-9-]+")
ANSWERS = ("upstreams", "static", "redirect", "previews")
STATUSES = (301, 302, 303, 307, 308)
MOST_FILES, MOST_BYTES = 2000, 16 << 20
"""What of a folder of the controller travels with the configuration; more belongs into an image or a volume."""


class SiteError(ValueError):
    """Something is wrong with one or several sites; the message names them."""


def names_of(site: Mapping[str, Any]) -> List[str]:
    """All names by which a site is reached, also those that only send on."""
    return [str(name) for name in [site.get("host"), *_list(site, "aliases"), *_list(site, "redirect_from")]]


def expand(sites: Iterable[Mapping[str, Any]], where: str, settings: Mapping[str, Any]) -> Dict[str, Any]:
    """What a proxy needs to know of ``sites``, the value of the variable ``where``.

    ``settings``: ``tls``, ``acme_dns``, ``private_paths``, ``hsts``, ``keepalive``, ``patience``, ``close_delay``,
    ``error_page`` (whether there is one), ``rotation`` (the proxy's own address that answers who is in rotation),
    ``standbys`` (service to its standby), ``rotated`` (services that may be out of rotation), ``open`` (services that
    ask nobody for a password), ``known`` and ``absent`` (names of services that there are, and of those that are
    switched off), ``proxy`` (its own name), ``place`` (of its configuration in its container).

    Returns ``names`` (of all sites), ``text`` (their configuration), ``secrets`` and ``files`` (path to content),
    ``folders`` (path to a folder of the controller), ``volumes`` (names), ``services`` (behind the proxy), ``pages``
    (``{url, service, own}`` to be probed), ``patterns`` (``{host, service}`` of the metrics), ``rotation`` (the block
    that answers who is in rotation, empty where nobody asks), ``rotated`` (whom it knows), ``sites`` (by which names
    each of them is reached), ``questions`` (how many are asked in a round) and ``previews`` (whether a site leads to
    some). Raises SiteError.
    """
    sites = list(sites)
    faults = list(_twice(sites, where))
    for site in sites:
        faults += _site_faults(site, where, settings)
    if faults:
        raise SiteError("; ".join(dict.fromkeys(faults)))
    found: Dict[str, Any] = {
        "names": [], "secrets": {}, "files": {}, "folders": {}, "volumes": [], "services": [], "pages": [],
        "patterns": [], "text": "",
    }  # fmt: skip
    texts = []
    for site in sites:
        kind = tls_of(site, settings)
        found["names"] += names_of(site)
        _collect(site, found)
        service = _services(site)[0] if _services(site) else str(settings.get("proxy") or "")
        found["services"] += [name for name in _services(site) if name not in found["services"]]
        page = "/" if site.get("users") else site.get("health") or "/"
        for name in names_of(site):
            found["patterns"].append({"host": _pattern(name), "service": service})
            if not name.startswith("*."):
                url = "https://" + name + (page if name not in _list(site, "redirect_from") else "/")
                found["pages"].append({"url": url, "service": service, "own": kind == "internal"})
        texts.append(site_lines.of(site, {**settings, "kind": kind}))
    found["volumes"] = sorted(set(found["volumes"]))
    found["text"] = "\n".join(texts)
    led = [address for site in sites for _stem, part in parts(site) for address in site_lines.addresses(part, settings)]
    standbys = [
        one for one in dict.fromkeys(led) if one.rpartition(":")[0] in (settings.get("standbys") or {}).values()
    ]
    known = {*(settings.get("rotated") or []), *(settings.get("standbys") or {}).values()}
    found["rotated"] = sorted({one.rpartition(":")[0] for one in led} & known)
    found["sites"] = {
        name: [host for site in sites if name in _services(site) for host in names_of(site)]
        for name in found["rotated"]
    }
    found["previews"] = any(site.get("previews") for site in sites)
    found["questions"] = sum(site_lines.questions(part, settings) for site in sites for _stem, part in parts(site))
    found["rotation"] = site_lines.rotation(standbys, settings) if found["rotated"] else ""
    return found


def tls_of(site: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """Where a site's certificate comes from: files, acme or internal."""
    return "files" if site.get("certificate") else str(site.get("tls") or settings.get("tls") or "acme")


def parts(site: Mapping[str, Any]) -> Iterator[Tuple[str, Mapping[str, Any]]]:
    """(name of its files, item) of a site and of its routes."""
    stem = site_lines.stem(site)
    yield stem, site
    for number, route in enumerate(_list(site, "routes"), 1):
        yield "{0}.{1}".format(stem, number), route


def _list(item: Mapping[str, Any], key: str) -> List[Any]:
    return list(item.get(key) or [])


def _pattern(name: str) -> str:
    """A regular expression for a name, as a string of PromQL holds it."""
    return quoting.regex_text(name).replace("\\*", "[^.]+").replace("\\", "\\\\")


def _services(site: Mapping[str, Any]) -> List[str]:
    """Whom a site and its routes lead to, without ports, each once."""
    found = [str(upstream).rpartition(":")[0] for _stem, part in parts(site) for upstream in _list(part, "upstreams")]
    return list(dict.fromkeys(found))


def _collect(site: Mapping[str, Any], found: Dict[str, Any]) -> None:
    stem = site_lines.stem(site)
    if site.get("certificate"):
        found["secrets"].update({stem + ".crt": site["certificate"], stem + ".key": site["key"]})
    for name, part in parts(site):
        if part.get("users"):
            lines = "".join("\t{0} {1}\n".format(user, hashed) for user, hashed in sorted(part["users"].items()))
            found["secrets"][name + ".users"] = "basic_auth {\n" + lines + "}\n"
        if part.get("snippet"):
            found["files"]["config/snippets/{0}.caddyfile".format(name)] = str(part["snippet"]).rstrip("\n") + "\n"
        static = part.get("static") or {}
        if static.get("folder"):
            found["folders"]["config/static/" + name] = str(static["folder"])
        if static.get("volume"):
            found["volumes"].append(str(static["volume"]))


def _twice(sites: Iterable[Mapping[str, Any]], where: str) -> Iterator[str]:
    names = [name for site in sites for name in names_of(site)]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield "{0}: {1} is there twice; name each site once".format(where, name)


def _site_faults(site: Mapping[str, Any], where: str, settings: Mapping[str, Any]) -> Iterator[str]:
    told = "{0}: {1}: ".format(where, site.get("host"))
    for name in names_of(site):
        if not NAME.fullmatch(name):
            key = next((key for key in ("aliases", "redirect_from") if name in _list(site, key)), "")
            about = told if name == site.get("host") else "{0}{1}: {2}: ".format(told, key, name)
            yield about + (
                "no name of a host; write one such as shop.example.org, in small letters, without scheme, port or path"
            )
    yield from _tls_faults(site, told, settings)
    if not any(site.get(key) for key in (*ANSWERS, "routes")):
        yield (
            told
            + "upstreams is empty; name at least one such as web:8000, or give static, redirect, previews or routes"
        )
    if site.get("previews") and (not str(site.get("host")).startswith("*.") or _list(site, "aliases")):
        yield told + "previews: each is a name below host; write one such as *.preview.example.org, without aliases"
    for path in _list(site, "private_paths"):
        if not re.match(r"^/[^\s{}*]*$", str(path)):
            form = "{0}private path '{1}' must start with a slash and hold neither blanks nor *; {2}"
            yield form.format(told, path, "everything below it is meant anyway")
    yield from _part_faults(site, told, settings, False)
    for number, route in enumerate(_list(site, "routes")):
        at = "{0}routes[{1}]: ".format(told, number)
        yield from _part_faults(route, at, settings, bool(site.get("users")))
        if not any(route.get(key) for key in (*ANSWERS, "snippet")):
            yield at + "nobody answers; give upstreams, static, redirect or snippet"
        for path in _list(route, "paths"):
            if not re.match(r"^/[^\s{}\"`\\]*$", str(path)) or "*" in str(path)[:-1]:
                yield "{0}path '{1}' must start with a slash; a * may only be its end".format(at, path)
        if not _list(route, "paths"):
            yield at + "paths is empty; name at least one such as /api"
        if route.get("strip") and len(_list(route, "paths")) > 1:
            yield at + "strip takes one path off; give each path a route of its own"


def _tls_faults(site: Mapping[str, Any], told: str, settings: Mapping[str, Any]) -> Iterator[str]:
    certificate, key, kind = str(site.get("certificate") or ""), str(site.get("key") or ""), tls_of(site, settings)
    names = names_of(site)
    if kind == "acme" and any(NOT_PUBLIC.search(name) for name in names):
        yield told + (
            "no public authority gives a certificate for this name; set tls: internal, or {0} for all sites"
        ).format(settings.get("tls_variable", "tls") + ": internal")
    if kind == "acme" and not settings.get("acme_dns") and any(name.startswith("*.") for name in names):
        yield told + (
            "a wildcard gets no certificate over HTTP; give certificate and key, or {0} with an image that has the "
            "module of your DNS"
        ).format(settings.get("dns_variable", "acme_dns"))
    if certificate and "-----BEGIN CERTIFICATE-----" not in certificate:
        yield told + "certificate is no PEM; give the chain from -----BEGIN CERTIFICATE----- on"
    if bool(certificate) != bool(key):
        yield told + "certificate and key go together; give both or none"
    if key and "PRIVATE KEY-----" not in key:
        yield told + "key is no private key in PEM"
    elif certificate and key:
        yield from (told + fault for fault in certificates.faults(certificate, key, names))


def _part_faults(part: Mapping[str, Any], told: str, settings: Mapping[str, Any], guarded: bool) -> Iterator[str]:
    answers = [key for key in ANSWERS if part.get(key)]
    if len(answers) > 1:
        yield "{0}{1} exclude each other; keep one, and give the others paths of their own in routes".format(
            told, " and ".join(answers)
        )
    for upstream in _list(part, "upstreams"):
        yield from _upstream_faults(str(upstream), told, settings, guarded or bool(part.get("users")))
    for user, hashed in (part.get("users") or {}).items():
        if not BCRYPT.fullmatch(str(hashed)) or not USER.fullmatch(str(user)):
            yield "{0}users: what is kept for {1} is no bcrypt hash; make one with mkpasswd -m bcrypt".format(
                told, user
            )
    health = str(part.get("health") or "")
    if health and not re.match(r"^/[^\s{}]*$", health):
        yield "{0}health: '{1}' is no path; write one such as /health".format(told, health)
    for address in _list(part, "allow"):
        try:
            ipaddress.ip_network(str(address), strict=False)
        except ValueError:
            yield "{0}allow: '{1}' is no address or network; write one such as 192.0.2.7 or 2001:db8::/32".format(
                told, address
            )
    for key in ("headers", "request_headers"):
        yield from _header_faults(part.get(key) or {}, "{0}{1}: ".format(told, key))
    if part.get("max_body"):
        try:
            units.size(str(part["max_body"]))
        except ValueError:
            yield "{0}max_body: '{1}' is no size; write one such as 10m".format(told, part["max_body"])
    yield from _snippet_faults(str(part.get("snippet") or ""), told)
    yield from _static_faults(part.get("static") or {}, told)
    yield from _redirect_faults(part.get("redirect") or {}, told)


def _upstream_faults(upstream: str, told: str, settings: Mapping[str, Any], guarded: bool) -> Iterator[str]:
    if not UPSTREAM.fullmatch(upstream):
        yield "{0}upstreams: '{1}' is no name:port; write one such as web:8000".format(told, upstream)
        return
    name = upstream.rpartition(":")[0]
    if name in (settings.get("open") or []) and not guarded:
        yield "{0}{1} asks nobody for a password; name users who may enter, or reach it by ssh -L".format(
            told, upstream
        )
    known, absent = settings.get("known"), settings.get("absent") or []
    if known is None or "." in name or name.startswith("[") or name in (settings.get("others") or []):
        return
    if name in absent:
        yield "{0}upstreams: {1} is switched off in this inventory, so nobody would answer".format(told, name)
    elif name not in known:
        close = difflib.get_close_matches(name, [str(other) for other in known], 1, 0.6)
        hint = "did you mean {0}?".format(close[0]) if close else "write an address such as 192.0.2.7:80, or correct it"
        form = (
            "{0}upstreams: no service of this inventory is called {1}; {2} (name a container of somebody else in {3})"
        )
        yield form.format(told, name, hint, settings.get("others_variable", "others"))


def _header_faults(headers: Mapping[str, Any], told: str) -> Iterator[str]:
    for name, value in headers.items():
        if not HEADER.fullmatch(str(name)):
            yield "{0}'{1}' is no name of a header".format(told, name)
        try:
            quoting.caddyfile_text(value)
        except quoting.QuotingError as error:
            yield "{0}{1}: {2}; write it in a snippet".format(told, name, error)


def _snippet_faults(snippet: str, told: str) -> Iterator[str]:
    """What would end the block that the lines stand in, so that all after them would mean something else."""
    depth = 0
    for line in snippet.splitlines():
        code = re.sub(r'"(?:\\.|[^"\\])*"|`[^`]*`', "", re.sub(r"(?:^|\s)#.*", "", line))
        code = re.sub(r"\{[^\s{}]+\}", "", code)  # placeholders
        depth += code.count("{") - code.count("}")
        if depth < 0:
            break
    if depth:
        yield told + "snippet: its braces do not match, so that it would change what comes after it"


def _static_faults(static: Mapping[str, Any], told: str) -> Iterator[str]:
    if not static:
        return
    if bool(static.get("folder")) == bool(static.get("volume")):
        yield told + "static: give either folder (of this machine) or volume (of a service)"
    if ".." in str(static.get("path") or "").split("/"):
        yield "{0}static: path '{1}' leads out of the folder".format(told, static["path"])
    folder = str(static.get("folder") or "")
    if folder and not os.path.isdir(folder):
        yield "{0}static: there is no folder {1} on this machine; build it first, or name another".format(told, folder)
    elif folder:
        sizes = [os.path.getsize(path) for path in given.below(folder)]
        if len(sizes) > MOST_FILES or sum(sizes) > MOST_BYTES:
            yield (
                "{0}static: {1} has {2} files with {3} MB; up to {4} files and {5} MB travel with the configuration: "
                "put more into an image, and let a service's release copy it to a volume"
            ).format(told, folder, len(sizes), sum(sizes) >> 20, MOST_FILES, MOST_BYTES >> 20)
        if not sizes:
            yield "{0}static: {1} is empty".format(told, folder)


def _redirect_faults(redirect: Mapping[str, Any], told: str) -> Iterator[str]:
    if not redirect:
        return
    target = str(redirect.get("to") or "")
    if not re.match(r"^(https?://[^\s{}\"`\\]+|/[^\s{}\"`\\]*)$", target):
        yield "{0}redirect: '{1}' is neither a URL nor a path; write one such as https://example.org/new".format(
            told, target
        )
    if redirect.get("status") and int(redirect["status"]) not in STATUSES:
        yield "{0}redirect: {1} is no status that sends on; choose of {2}".format(
            told, redirect["status"], ", ".join(str(status) for status in STATUSES)
        )
