"""Names by which visitors ask: variables of the proxy, and notes on what leads nowhere."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from scripts.van import proxies

BCRYPT = re.compile(r"\$2[aby]\$\d\d\$[./A-Za-z0-9]{53}")


class Fronts:
    """What of a move the proxy is told.

    :param move: the move, its project, kinds, names, sites and notes
    :param secret: ``secret(service, variable, value)`` is what stands for a secret
    """

    def __init__(self, move: Any, secret: Callable[[str, str, str], str]) -> None:
        self.move, self.notes, self.secret = move, move.notes, secret

    def _where(self, name: str) -> str:
        return str(self.move.project.where.get((name,), ""))

    def of(self, found: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """The variables of the proxy: one name that leads to one service, or sites with routes.

        :param found: items of app_services by the names of their services in the project
        """
        sites = [site for site in self.move.sites if site.service in found]
        for site in [site for site in sites if not found[site.service].get("port")]:
            told = f"{site.host or 'any host'}{site.path.rstrip('/')} leads to a port that nobody names; give it a port"
            self.notes.add("hand", site.where, site.service, f"{told}, and name the host in caddy_app_host")
        sites = [site for site in sites if found[site.service].get("port")]
        self._proxies(sites)
        for site in sites:
            if not site.public:
                self.notes.add(
                    "hand",
                    site.where,
                    site.service,
                    f"'{site.host or 'any host'}' is no name that visitors can ask for; set caddy_app_host",
                )
        public: dict[str, list[proxies.Site]] = {}
        for site in sites:
            if site.public:
                public.setdefault(site.host, []).append(site)
        first = next(iter(public.values()), [])
        if len(public) == 1 and [(site.path, site.users) for site in first] == [("/", ())]:
            return {"caddy_app_host": next(iter(public))}
        return {"caddy_sites": [self._site(host, parts, found) for host, parts in public.items()]} if public else {}

    def _proxies(self, sites: list[proxies.Site]) -> None:
        """Tell of a proxy that leads somewhere, nobody knows where."""
        for name in [name for name, kind in self.move.kinds.items() if kind == "proxy" and not sites]:
            told = "where it leads could not be read; name hosts and services in caddy_app_host or caddy_sites"
            self.notes.add("hand", self._where(name), name, told)
        for host, path, first, other in proxies.clashes(self.move.project):
            if other in self.move.names and self.move.names[other] != self.move.names.get(first):
                told = f"{host}{path.rstrip('/')} is that of {first}; give it a name of its own in caddy_sites"
                self.notes.add("hand", self._where(other), other, told)

    def _site(self, host: str, parts: list[proxies.Site], found: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        def upstreams(site: proxies.Site) -> list[str]:
            item = found[site.service]
            names = (
                [item["name"]]
                if item.get("replicas", 1) == 1
                else [f"{item['name']}-{n + 1}" for n in range(item["replicas"])]
            )
            return [f"{name}:{site.port or item['port']}" for name in names]

        whole = next((site for site in parts if site.path == "/"), None)
        routes = [
            {"paths": [site.path.rstrip("/") or "/"], "upstreams": upstreams(site), **self._users(site)}
            for site in parts
            if site.path != "/"
        ]
        return {
            "host": host,
            **({"upstreams": upstreams(whole), **self._users(whole)} if whole else {}),
            **({"routes": routes} if routes else {}),
        }

    def _users(self, site: proxies.Site) -> dict[str, Any]:
        """Who may enter; hashes that the proxy does not read are told, and refused by the role."""
        found = {}
        for user, hashed in site.users:
            if not BCRYPT.fullmatch(hashed):
                self.notes.add(
                    "hand",
                    site.where,
                    site.service,
                    f"the password of {user} is no bcrypt hash; put one in vault.yml (mkpasswd -m bcrypt)",
                )
            found[user] = self.secret(site.service, f"{site.service}_{user}", hashed)
        return {"users": found} if found else {}
