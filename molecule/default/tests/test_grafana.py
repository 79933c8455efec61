"""Grafana as it runs: who gets in, what cannot be changed, and what is noticed when a dashboard is missing."""

from __future__ import annotations

import json
import shlex
from typing import Any

from testbed import probe

GRAFANA = "http://127.0.0.1:3000"
FILE = "/opt/landfall/grafana/secrets/admin_password"
OLD, OTHER = "/root/old_password", "/root/other_password"
NEW = "Another-password-that-is-long-enough"


def ask(host: Any, path: str, password: str = "", method: str = "GET", body: Any = None) -> tuple[int, str]:
    """Return status and text of a request to Grafana, as admin if a file with a password on the VPS is named.

    The password stays there: sudo writes each command that a test sends into the journal.
    """
    options = ["-sS", "-m", "20", "-X", method, "-w", "\n%{http_code}"]
    if body is not None:
        options += ["-H", "Content-Type: application/json", "-d", json.dumps(body)]
    user = f'printf \'user = "admin:%s"\\n\' "$(cat {password})"' if password else "true"
    command = f"{user} | curl -K - {shlex.join([*options, GRAFANA + path])}"
    text, _, status = probe.output(host, "sh", "-c", command).rpartition("\n")
    return int(status), text


def prove(host: Any) -> str:
    """Run the role's own proof of Grafana and return what it says."""
    return str(host.run("docker exec grafana bash /etc/grafana/prove.sh").stdout)


def test_nobody_gets_in_without_a_password_and_nobody_saves_what_is_shipped(host: Any) -> None:
    assert ask(host, "/api/org")[0] == 401
    status, text = ask(host, "/api/dashboards/uid/landfall-overview", FILE)
    shown = json.loads(text)
    assert (status, shown["meta"]["provisioned"]) == (200, True)
    changed = {"dashboard": {**shown["dashboard"], "title": "Changed"}, "overwrite": True}
    status, text = ask(host, "/api/dashboards/db", FILE, "POST", changed)
    assert (status, json.loads(text)["message"]) == (400, "Cannot save provisioned dashboard")


def test_a_new_password_is_taken_in_and_the_old_one_is_refused(host: Any) -> None:
    probe.output(host, "cp", FILE, OLD)
    try:
        text, figures, status = probe.playbook("--tags", "grafana", "-e", f"grafana_admin_password={NEW}")
        assert (status, figures["changed"]) == (0, 1), text
        probe.output(host, "cp", FILE, OTHER)
        assert (ask(host, "/api/user", FILE)[0], ask(host, "/api/user", OLD)[0]) == (200, 401)
    finally:
        text, _figures, status = probe.playbook("--tags", "grafana")
    assert status == 0, text
    assert (ask(host, "/api/user", FILE)[0], ask(host, "/api/user", OTHER)[0]) == (200, 401)
    assert probe.output(host, "sha256sum", FILE).split()[0] == probe.output(host, "sha256sum", OLD).split()[0]
    assert probe.output(host, "cat", OTHER).strip() == NEW
    probe.output(host, "rm", OLD, OTHER)


def test_verify_misses_a_dashboard_although_somebody_made_another_by_hand(host: Any) -> None:
    """A file without a title is one that Grafana does not load; there are as many dashboards as files nevertheless."""
    assert prove(host).startswith("proven: "), prove(host)
    file = "/opt/landfall/grafana/dashboards.d/of-nobody--broken.json"
    made = {"dashboard": {"uid": "by-hand", "title": "By hand", "panels": []}}
    assert ask(host, "/api/dashboards/db", FILE, "POST", made)[0] == 200
    probe.output(host, "sh", "-c", f"""echo '{{"uid": "broken"}}' > {file} && chmod 644 {file}""")
    try:
        assert prove(host) == "dashboards that Grafana has not loaded: /dashboards/of-nobody--broken.json (broken)\n"
        text, figures, status = probe.playbook("-e", "verify_timeout=8", name="playbooks/verify.yml")
        assert (status, figures["failed"]) == (2, 1), text
        assert "not loaded: /dashboards/of-nobody--broken.json (broken)" in " ".join(text.split()), text
    finally:
        probe.output(host, "rm", file)
        assert ask(host, "/api/dashboards/uid/by-hand", FILE, "DELETE")[0] == 200
    assert prove(host).startswith("proven: ")
