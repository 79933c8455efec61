"""What a stolen application can do to its neighbours: asked from its container, with what every image has, Python."""

from __future__ import annotations

import json
from typing import Any

from testbed import probe

ASK = """
import json, sys, urllib.error, urllib.request
found = {}
for word in sys.argv[1:]:
    method, url = word.split(" ")
    try:
        found[url] = urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=5).status
    except urllib.error.HTTPError as error:
        found[url] = error.code
    except OSError as error:
        found[url] = type(getattr(error, "reason", error)).__name__
print(json.dumps(found))
"""


def asked(host: Any, *words: str) -> dict[str, Any]:
    """What the application's container is answered: a status, or why there was none."""
    found: dict[str, Any] = json.loads(probe.output(host, "docker", "exec", "app", "python", "-c", ASK, *words))
    return found


def test_nobody_ends_or_changes_prometheus(host: Any) -> None:
    before = probe.identity(probe.containers(host)["prometheus"])
    place = "http://prometheus:9090"
    found = asked(host, f"GET {place}/-/ready", f"POST {place}/-/quit", f"POST {place}/-/reload",
                  f"POST {place}/api/v1/admin/tsdb/snapshot", f"POST {place}/api/v1/write")  # fmt: skip
    assert found.pop(f"{place}/-/ready") == 200, "it is reached, so that the others were refused by Prometheus"
    assert {found[f"{place}/-/quit"], found[f"{place}/-/reload"]} <= {403, 404, 405}, found
    assert not [url for url, status in found.items() if status in range(200, 300)], found
    assert probe.identity(probe.containers(host)["prometheus"]) == before


def test_nobody_reaches_the_admin_of_the_proxy(host: Any) -> None:
    found = asked(host, "GET http://caddy:9180/health", "GET http://caddy:2019/config/")
    assert found == {"http://caddy:9180/health": 200, "http://caddy:2019/config/": "ConnectionRefusedError"}
    # It is there, for who enters the container
    probe.output(host, "docker", "exec", "caddy", "wget", "-qO", "/dev/null", "http://localhost:2019/config/")
