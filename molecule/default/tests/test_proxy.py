"""The proxy from outside the VPS (PRM-23): TLS in front of the application and of Grafana, and nothing else."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import threading
import time
from collections import Counter
from typing import Any

import pytest
from testbed import probe

APP, GRAFANA = "app.landfall.test", "grafana.landfall.test"
VISITORS, SECONDS = 4, 15  # side by side, and how long they keep asking


@pytest.fixture(scope="module")
def address(host: Any) -> str:
    """Give the address under which this machine reaches the VPS."""
    (found,) = json.loads(probe.output(host, "ip", "-json", "-4", "route", "get", "192.0.2.1"))
    return str(found["prefsrc"])


@pytest.fixture(scope="module")
def trust(host: Any) -> ssl.SSLContext:
    """Trust the proxy's own authority, and nobody else."""
    root = probe.output(host, "docker", "exec", "caddy", "cat", "/data/caddy/pki/authorities/local/root.crt")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=root)
    return context


def ask(address: str, trust: ssl.SSLContext, name: str, path: str, body: str = "") -> tuple[int, dict[str, str], str]:
    """Ask as a browser would, by name and through TLS; return status, headers and text."""
    with socket.create_connection((address, 443), 10) as raw, trust.wrap_socket(raw, server_hostname=name) as secure:
        secure.settimeout(30)
        connection = http.client.HTTPConnection(name)
        connection.sock = secure
        connection.request("POST" if body else "GET", path, body or None, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, {key.lower(): value for key, value in answer.getheaders()}, answer.read().decode()


def test_application_and_grafana_answer_through_tls(address: str, trust: ssl.SSLContext) -> None:
    status, headers, _text = ask(address, trust, APP, "/health")
    assert status == 200 and "server" not in headers
    status, _headers, text = ask(address, trust, GRAFANA, "/api/health")
    assert status == 200 and json.loads(text)["database"] == "ok"


def test_the_certificate_is_for_that_name_alone(address: str, trust: ssl.SSLContext) -> None:
    with pytest.raises(ssl.SSLError):
        ask(address, trust, "other.landfall.test", "/")
    with pytest.raises(ssl.SSLCertVerificationError):
        ask(address, ssl.create_default_context(), APP, "/health")


def test_plain_http_is_sent_to_https_and_strangers_nowhere(host: Any, address: str) -> None:
    found = {}
    for name in (APP, "other.landfall.test"):
        connection = http.client.HTTPConnection(address, 80, timeout=10)
        connection.request("GET", "/health?a=1", headers={"Host": name})
        answer = connection.getresponse()
        found[name] = (answer.status, answer.getheader("Location"))
    assert found == {APP: (308, f"https://{APP}/health?a=1"), "other.landfall.test": (404, None)}


def test_metrics_and_the_administration_stay_inside(host: Any, address: str, trust: ssl.SSLContext) -> None:
    for name in (APP, GRAFANA):
        for path in ("/metrics", "/metrics/", "/metrics/default"):
            assert ask(address, trust, name, path)[0] == 404, (name, path)
    assert "http_requests_total" in probe.output(
        host, "docker", "exec", "prometheus", "wget", "-qO-", "http://app:8000/metrics"
    )
    inner = probe.containers(host)["caddy"]["NetworkSettings"]["Networks"]["landfall"]["IPAddress"]
    refused = host.run(f"curl -sS -m 5 http://{inner}:2019/config/")
    assert refused.rc == 7, refused.stdout + refused.stderr  # nobody listens there but inside the container


def test_a_restart_of_the_application_fails_no_request(host: Any, address: str, trust: ssl.SSLContext) -> None:
    seen: Counter[tuple[str, object]] = Counter()
    end = time.monotonic() + SECONDS
    ticket = json.dumps({"tenant_id": "acme", "ticket_id": "restart", "text": "It hums. " * 5})

    def visit(body: str) -> None:
        kind = "POST" if body else "GET"
        while time.monotonic() < end:
            try:
                answer: object = ask(address, trust, APP, "/webhook/servicedesk" if body else "/health", body)[0]
            except (OSError, http.client.HTTPException) as error:
                answer = repr(error)
            seen[kind, answer] += 1
            time.sleep(0.1)

    threads = [threading.Thread(target=visit, args=(ticket if number % 2 else "",)) for number in range(VISITORS)]
    for thread in threads:
        thread.start()
    time.sleep(2)
    probe.output(host, "docker", "restart", "app")
    for thread in threads:
        thread.join()
    assert set(seen) == {("GET", 200), ("POST", 202)}, seen
    assert min(seen.values()) > 10, seen


def test_certificates_are_watched(host: Any) -> None:
    for name in (APP, GRAFANA):

        def answers(name: str = name) -> bool:
            return probe.value(host, f'probe_success{{instance=~"https://{name}/.*"}}') == 1

        # The test before may have made a probe wait too long, and the next comes 15 s later
        assert probe.eventually(answers, 45), name
        days = f'(probe_ssl_earliest_cert_expiry{{instance=~"https://{name}/.*"}} - time()) / 86400'
        assert 0 < (probe.value(host, days) or 0) < 8, name
