"""What an inventory adds to Prometheus: rules, scrape jobs, other stores; shown to promtool and to a real receiver."""

from __future__ import annotations

import base64
import json
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import programs, rolekit, rulekit
from tests.test_caddy_live import free_port

RULES = """groups:
  - name: shop
    rules:
      - alert: ShopSlow
        expr: shop_seconds > 1
        annotations: {summary: "{{ $labels.instance }} is slow"}
"""
SCRAPES = """scrape_configs:
  - job_name: shop
    dns_sd_configs: [{names: [shop.example.org], type: A, port: 9000}]
"""


def placed(folder: Path, **variables: Any) -> Path:
    """Write what the role renders below ``folder``, with its places in the container replaced; return the folder."""
    rendered = rolekit.component("prometheus", folder, **variables)
    for path, content in rendered.contents.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        text = content.replace(b"/etc/prometheus-rules.d", str(folder / "none").encode())
        text = text.replace(b"/etc/prometheus/", f"{folder}/prometheus/config/".encode())
        target.write_bytes(text.replace(b"/run/secrets", str(folder / "prometheus/secrets").encode()))
    return folder / "prometheus"


def checked(folder: Path) -> str:
    done = rulekit.run_promtool("check", "config", folder / "config/prometheus.yml")
    return "" if done.returncode == 0 else done.stdout + done.stderr


def written(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def test_own_rules_and_scrape_jobs_are_taken_as_they_are(tmp_path: Path) -> None:
    rules, scrapes = written(tmp_path, "shop.yml", RULES), written(tmp_path, "jobs.yml", SCRAPES)
    folder = placed(tmp_path, prometheus_rule_files=[rules], prometheus_scrape_files=[scrapes])
    assert checked(folder) == ""
    assert (folder / "config/rules/shop.yml").read_text() == RULES
    assert (folder / "config/scrapes/jobs.yml").read_text() == SCRAPES


@pytest.mark.parametrize(
    ("variable", "text", "words"),
    [
        ("prometheus_rule_files", RULES.replace("> 1", "> >"), "rules/shop.yml"),
        ("prometheus_scrape_files", SCRAPES.replace("job_name", "jobname"), "scrapes/shop.yml"),
    ],
)
def test_wrong_ones_are_found_before_anything_is_replaced_by_their_file(
    variable: str, text: str, words: str, tmp_path: Path
) -> None:
    folder = placed(tmp_path, **{variable: [written(tmp_path, "shop.yml", text)]})
    assert words in checked(folder)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"prometheus_rule_files": ["/no/such.yml"]}, "there is no file or folder /no/such.yml"),
        ({"prometheus_rule_files": ["/etc/hostname"]}, "prometheus_rule_files.*must end in .yml"),
        ({"prometheus_remote_write": [{"url": "https://x/w", "user": "u"}]}, r"\[0\]: user and password go together"),
        (
            {"prometheus_remote_write": [{"url": "https://x/w", "user": "u", "password": "p", "token": "t"}]},
            "either user",
        ),
        ({"prometheus_remote_write": [{"url": "http://x/w", "token": "t"}]}, "a secret would travel unencrypted"),
        ({"prometheus_remote_write": [{"url": "https://x/w", "ca": "x"}]}, "ca is no PEM"),
    ],
)
def test_refused(more: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(Exception, match=words):
        rolekit.component("prometheus", tmp_path, **more)


def test_secrets_of_stores_are_files(tmp_path: Path) -> None:
    stores = [
        {"url": "https://one.example.org/api/v1/write", "user": "landfall", "password": "p4ssword"},
        {"url": "https://two.example.org/api/v1/write", "token": "t0ken", "server_name": "two", "keep": "up|app_.*"},
    ]
    rendered = rolekit.component("prometheus", tmp_path, prometheus_remote_write=stores)
    secret = {path: content for path, content in rendered.contents.items() if "/secrets/" in path}
    assert secret == {
        "prometheus/secrets/remote_write_1_password": b"p4ssword",
        "prometheus/secrets/remote_write_2_token": b"t0ken",
    }
    others = b"".join(content for path, content in rendered.contents.items() if path not in secret)
    assert b"p4ssword" not in others and b"t0ken" not in others
    assert "./secrets:/run/secrets:ro" in rolekit.compose(rendered)["services"]["prometheus"]["volumes"]
    assert checked(placed(tmp_path, prometheus_remote_write=stores)) == ""
    without = rolekit.compose(rolekit.component("prometheus", tmp_path))["services"]["prometheus"]
    assert "./secrets:/run/secrets:ro" not in without["volumes"]  # who has no store is not recreated


def _asked(port: int, query: str) -> list[Any]:
    url = f"http://127.0.0.1:{port}/api/v1/query?" + urllib.parse.urlencode({"query": query})
    password = "Basic " + base64.b64encode(b"landfall:bob").decode()
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, headers={"Authorization": password}), timeout=5
        ) as answer:
            return list(json.load(answer)["data"]["result"])
    except (urllib.error.URLError, OSError):
        return []


def test_a_real_store_gets_the_samples(tmp_path: Path) -> None:
    """Prometheus itself as receiver, behind a password: what is kept arrives, with the external labels; no other."""
    from tests.caddykit import hashed  # noqa: PLC0415 - makes a hash only where it is needed

    store, sender = free_port(), free_port()
    (tmp_path / "web.yml").write_text(yaml.safe_dump({"basic_auth_users": {"landfall": hashed("bob")}}))
    (tmp_path / "store.yml").write_text("global: {}\n")
    url = f"http://127.0.0.1:{store}/api/v1/write"
    item = {"url": url, "user": "landfall", "password": "bob", "insecure": True, "keep": "up"}
    folder = placed(tmp_path, prometheus_remote_write=[item], prometheus_scrape_interval="1s",
                    prometheus_scrape_timeout="1s",
                    prometheus_extra_targets=[{"job": "self", "targets": [f"127.0.0.1:{sender}"]}])  # fmt: skip
    program = programs.in_image("prometheus", "/bin/prometheus", tmp_path)
    argv = {
        "store": ["--config.file", str(tmp_path / "store.yml"), "--web.enable-remote-write-receiver",
                  "--web.config.file", str(tmp_path / "web.yml"), "--web.listen-address", f"127.0.0.1:{store}"],
        "sender": ["--config.file", str(folder / "config/prometheus.yml"),
                   "--web.listen-address", f"127.0.0.1:{sender}"],
    }  # fmt: skip
    running = []
    try:
        for name, options in argv.items():
            log = (tmp_path / f"{name}.log").open("wb")
            command = [*program, *options, "--storage.tsdb.path", str(tmp_path / f"{name}.data")]
            running.append(subprocess.Popen(command, stdout=log, stderr=log, cwd=tmp_path))
        found: list[Any] = []
        end = time.monotonic() + 60
        while time.monotonic() < end and not found:
            time.sleep(1)
            found = _asked(store, 'up{job="self"}')
        logs = (tmp_path / "sender.log").read_text()[-2000:]
        assert found and found[0]["metric"]["node"] == "vps" and found[0]["metric"]["cluster"] == "vps", logs
        assert _asked(store, '{__name__!="up", job="self"}') == []
    finally:
        for process in running:
            process.terminate()
            process.wait()
