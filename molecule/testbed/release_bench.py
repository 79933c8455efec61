"""`make bench ARGS='--parts releases,workers'`: deploys, rollbacks and bad releases while visitors come, in figures."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from . import loaded, release_report, vps
from .paths import CACHE, CHECKOUT, ROOT, Progress, TestbedError, locked

PARTS = ("releases", "workers")
HOME = CACHE / "bench"
SCENARIO = ROOT / "molecule/release"
REST = 30.0  # seconds before the first deploy
TASKS = 1.5  # each second
HAND = 5  # changes by hand
BY_HAND = """
name: byhand
services:
  web:
    image: {image}
    container_name: byhand-web
    user: "10001:10001"
    restart: unless-stopped
    volumes: ["ledger:/ledger"]
    healthcheck:
      {{test: ["CMD-SHELL", "grep -q :1F40 /proc/net/tcp"], interval: 2s, start_interval: 1s, start_period: 10s}}
  proxy:
    image: {proxy}
    container_name: byhand-proxy
    command: [caddy, run, --config, /etc/caddy/Caddyfile]
    environment: {{XDG_DATA_HOME: /data, XDG_CONFIG_HOME: /data}}
    restart: unless-stopped
    ports: ["443:443"]
    volumes: ["./Caddyfile:/etc/caddy/Caddyfile:ro", "data:/data"]
volumes: {{ledger: , data: }}
"""
CADDYFILE = f"{{\n\tskip_install_trust\n}}\n{loaded.SITE} {{\n\ttls internal\n\treverse_proxy web:8000\n}}\n"
progress = Progress("releases")


class Stack:
    """The stack of the scenario `release` on a VPS of its own."""

    def __init__(self, part: str, preload: dict[str, str] | None) -> None:
        self.name = f"bench-{part}"
        self.inventory = HOME / f"{part}.yml"
        vps.up(self.name, "vps-docker", preload)
        found = yaml.safe_load((SCENARIO / "hosts.yml").read_text())["all"]["hosts"]["molecule-release"]
        more = {
            "ansible_ssh_common_args": f'-F "{vps.SSH_CONFIG}"',
            "ansible_control_path": f"%(directory)s/{CHECKOUT}-%%r@%%n",
            "landfall_images": (vps.HOME / self.name / "images").read_text(),
            "landfall_secrets_dir": str(HOME / f"{part}-secrets"),
            "landfall_environment": "bench",
        }
        self.inventory.write_text(yaml.safe_dump({"all": {"hosts": {self.name: {**found, **more}}}}))
        self.play("site.yml")
        self.address = loaded.address_of(self.name)

    def run(self, book: str, *argv: str) -> tuple[str, int, float]:
        """Run a playbook; return what it printed, its exit status and its seconds."""
        began = time.monotonic()
        done = subprocess.run(
            [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(self.inventory), book, *argv],
            cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
            env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1",
                 "MOLECULE_SCENARIO_DIRECTORY": str(SCENARIO)},
        )  # fmt: skip
        return done.stdout + done.stderr, done.returncode, round(time.monotonic() - began, 1)

    def play(self, book: str, *argv: str) -> tuple[str, float]:
        """Run a playbook that has to succeed; return what it printed and its seconds."""
        text, status, took = self.run(book, *argv)
        if status:
            raise TestbedError(f"{book} {' '.join(argv)}\n{text[-6000:]}")
        return text, took

    def deploy(self, tags: str, **values: Any) -> tuple[str, float]:
        """Deploy some tags with some values."""
        return self.play("site.yml", "--tags", tags, "-e", json.dumps(values))

    def ledger(self, name: str) -> loaded.Lines:
        """Return the lines of a file of the application, by words."""
        text = vps.ssh(self.name, f"sudo docker exec web cat /ledger/{name} 2>/dev/null || true")
        return [line.split() for line in text.splitlines()]

    def finished(self, seen: dict[str, Any]) -> None:
        """Wait until all tasks are done, for three minutes at most."""
        end = time.monotonic() + 180
        while time.monotonic() < end and loaded.waiting(seen, self.ledger):
            time.sleep(2)


@contextmanager
def measured(results: dict[str, Any], name: str) -> Iterator[None]:
    """Keep what is measured within, whatever comes later."""
    yield
    file = HOME / "releases.json"
    with locked(HOME / "releases.lock"):  # both parts may be measured at once
        known = json.loads(file.read_text()) if file.is_file() else {}
        known.update({key: value for key, value in results.items() if key == name or key not in known})
        file.write_text(json.dumps(known, indent=1))
        release_report.write(known)
    progress.say(f"{name}: {json.dumps(results.get(name))[:300]}")


def phases(text: str) -> dict[str, float]:
    """Return the seconds of each phase that a deploy told of what started first."""
    found = re.search(r"web-next started first: (.*)", text)
    return {
        name: float(value) for name, value in re.findall(r"(\w[\w ]*?) ([\d.]+) s", found.group(1) if found else "")
    }


def deploys(stack: Stack, results: dict[str, Any], count: int) -> None:
    """Deploy new versions of the service, one after another, while visitors come."""
    spans, seconds, told = [], [], []
    with measured(results, "deploys"):
        with loaded.visitors(stack.address, rest=REST) as seen:
            for number in range(count):
                began = time.time()
                text, took = stack.deploy("app", release_version=f"good-{number}")
                spans.append((began, time.time()))
                seconds.append(took)
                told.append(phases(text))
                progress.say(f"deploy {number + 1} of {count}: {took:.0f} s, load {os.getloadavg()[0]:.1f}")
                time.sleep(2)
        found = loaded.requests(seen, spans, stack.ledger)
        results["deploys"] = {"deploys": count, "seconds": seconds, "phases": told, **found}
        results["failures"] = seen["failures"][:20]


def rollback(stack: Stack, results: dict[str, Any], count: int) -> None:
    """Go back to the release before, and again, while visitors come."""
    tried = []
    with measured(results, "rollbacks"):
        for _ in range(count):
            with loaded.visitors(stack.address, streams=False) as seen:
                began = time.time()
                text, took = stack.play("playbooks/rollback.yml")
            last = max((key for key in seen["at"] if key.startswith("last ")), key=seen["at"].__getitem__)
            first = seen["at"][last.replace("last ", "first ")] - began
            tried.append({"until it answers": round(first, 1), "seconds": took, "failed": len(seen["failures"]),
                          "phases": phases(text), "load": os.getloadavg()[0]})  # fmt: skip
        results["rollbacks"] = tried


def bad_releases(stack: Stack, results: dict[str, Any]) -> None:
    """Deploy one that is bad in each way."""
    found: dict[str, Any] = results.setdefault("bad", {})
    for bad in (*loaded.BAD, *loaded.MORE):
        with measured(results, "bad"):
            with loaded.visitors(stack.address) as seen:
                values = {"release_version": results["version"], **bad.values}
                values.update({"release_version": "bad"} if bad.tags == "app" else {})
                text, status, took = stack.run("site.yml", "--tags", bad.tags, "-e", json.dumps(values))
            exposed = seen["at"].get("last bad", 0) - seen["at"].get("first bad", 0)
            plain = " ".join(text.split())
            found[bad.name] = {
                "seconds": took, "failed": len(seen["failures"]), "requests": seen["requests"],
                "answers": seen["versions"].get("bad", 0), "exposed": round(exposed, 1),
                "undone": bool(status) and bad.said in plain and "the previous version was not touched" in plain,
                "load": os.getloadavg()[0],
            }  # fmt: skip
            if not found[bad.name]["undone"]:
                progress.say(f"{bad.name}: {plain[-3000:]}")


def image_of(stack: Stack, container: str) -> str:
    """Return what a container was made from."""
    return vps.ssh(stack.name, f"sudo docker inspect --format '{{{{.Config.Image}}}}' {container}")


def by_hand(stack: Stack, results: dict[str, Any], names: list[str]) -> None:
    """Make the same change with a compose file of one's own and a proxy with four lines, under the same load."""
    proxy = image_of(stack, "caddy")
    vps.ssh(stack.name, "sudo sh -c 'docker ps -q | xargs -r docker stop -t 5' >/dev/null; sudo mkdir -p /opt/byhand")
    place(stack, "Caddyfile", CADDYFILE)
    up = "sudo docker compose -f /opt/byhand/compose.yaml up -d --wait"
    place(stack, "compose.yaml", BY_HAND.format(image=names[0], proxy=proxy))
    vps.ssh(stack.name, up)
    spans, seconds = [], []
    with measured(results, "by hand"):
        with loaded.visitors(stack.address, rest=REST) as seen:
            for number in range(HAND):
                place(stack, "compose.yaml", BY_HAND.format(image=names[(number + 1) % 2], proxy=proxy))
                began = time.time()
                vps.ssh(stack.name, up)
                spans.append((began, time.time()))
                seconds.append(round(time.time() - began, 1))
                time.sleep(10)

        def ledger(name: str) -> loaded.Lines:
            text = vps.ssh(stack.name, f"sudo docker exec byhand-web cat /ledger/{name} 2>/dev/null || true")
            return [line.split() for line in text.splitlines()]

        found = loaded.requests(seen, spans, ledger)
        results["by hand"] = {"deploys": HAND, "seconds": seconds, **found}


def place(stack: Stack, name: str, text: str) -> None:
    """Write a file of the stack by hand."""
    argv = ["ssh", "-F", str(vps.SSH_CONFIG), stack.name, f"sudo tee /opt/byhand/{name} >/dev/null"]
    subprocess.run(argv, input=text, text=True, check=True)


def workers(stack: Stack, results: dict[str, Any], count: int) -> None:
    """Redeploy worker and scheduler while tasks of all kinds come, with early and with late acknowledgement."""
    version = results["version"]
    for late in ("no", "yes"):
        name, since, seconds = f"workers, late {late}", time.time(), []
        with measured(results, name):
            with loaded.visitors(stack.address, tasks=TASKS, streams=False) as seen:
                for number in range(count):
                    values = {"ROUND": f"{late}{number}", "ACKS_LATE": late}
                    seconds.append(stack.deploy("celery", release_version=version, celery_environment=values)[1])
                    progress.say(f"redeploy {number + 1} of {count}: {seconds[-1]:.0f} s")
                    time.sleep(2)
            stack.finished(seen)
            results[name] = {"redeploys": count, "seconds": seconds, "failed": len(seen["failures"]),
                             "load": os.getloadavg()[0], **loaded.worked(seen, stack.ledger, since)}  # fmt: skip


def broker(stack: Stack, results: dict[str, Any]) -> None:
    """Redeploy Redis while tasks and requests come."""
    since, seconds = time.time(), []
    with measured(results, "broker"):
        with loaded.visitors(stack.address, tasks=TASKS, streams=False) as seen:
            for memory in ("48m", "56m"):
                seconds.append(stack.deploy("redis", release_version=results["version"], redis_maxmemory=memory)[1])
                time.sleep(10)
        stack.finished(seen)
        longest = max(spent for _begun, spent in seen["took"])
        results["broker"] = {
            "redeploys": 2, "seconds": seconds, "failed": len(seen["failures"]), "requests": seen["requests"],
            "longest": round(longest, 1), "failures": seen["failures"][:10], "load": os.getloadavg()[0],
            **loaded.worked(seen, stack.ledger, since),
        }  # fmt: skip


def back_to_the_stack(stack: Stack) -> None:
    """End what was made by hand, and let the stack run again."""
    vps.ssh(stack.name, "sudo docker compose -f /opt/byhand/compose.yaml down --volumes -t 5 >/dev/null 2>&1")
    stack.play("site.yml", "-e", json.dumps({"release_version": "2"}))


def stages(part: str, stack: Stack, results: dict[str, Any], count: int) -> Iterator[tuple[str, Callable[[], None]]]:
    """Yield what a part measures, by name, in its order."""
    results["version"] = "1"
    if part == "workers":
        yield "workers", lambda: workers(stack, results, -(-count // 2))
        yield "broker", lambda: broker(stack, results)
        return
    images = [image_of(stack, "web")]
    stack.deploy("app", release_version="2")
    images.append(image_of(stack, "web"))
    yield "by hand", lambda: by_hand(stack, results, images)
    back_to_the_stack(stack)
    yield "deploys", lambda: deploys(stack, results, count)
    results["version"] = f"good-{count - 1}"
    yield "rollbacks", lambda: rollback(stack, results, 3)
    stack.deploy("app", release_version=results["version"])
    yield "bad releases", lambda: bad_releases(stack, results)


def measure(parts: list[str], count: int, preload: dict[str, str] | None, keep: bool) -> list[str]:
    """Measure some of PARTS and write docs/benchmarks.md; what an earlier run measured of the others stays.

    Returns what could not be measured.
    """
    file = HOME / "releases.json"
    failed: list[str] = []
    for part in parts:
        results: dict[str, Any] = json.loads(file.read_text()) if file.is_file() else {}
        stack = Stack(part, preload)
        try:
            for name, stage in stages(part, stack, results, count):
                try:
                    stage()
                except (TestbedError, OSError, subprocess.SubprocessError, KeyError, ValueError) as error:
                    failed.append(f"{name}: {type(error).__name__}: {error}")
                    progress.say(failed[-1])
        finally:
            if not keep:
                vps.remove(stack.name)
    return failed
