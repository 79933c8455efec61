"""`make bench`: what deploys cost, as ratios to one trivial module task on the same VPS, and two peers beside them."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path

import yaml

from . import peer, release_bench, report, vps
from .__main__ import build
from .paths import CACHE, CHECKOUT, ROOT, Progress, TestbedError, run

HOME = CACHE / "bench"
FIRST = "bench-1"
SUBNET = "172.30.0.0/24"
FLEET_COMPONENTS = ("redis", "redis_exporter", "node_exporter", "prometheus")
WIPE = (
    "sudo sh -c 'docker ps -aq | xargs -r docker rm -fv; docker volume ls -q | xargs -r docker volume rm;"
    " docker network prune -f; find /opt/landfall /opt/peer -mindepth 1 -maxdepth 1 ! -name docker -exec rm -rf {} +"
    " 2>/dev/null; true' >/dev/null"
)
PARTS = ("unchanged", "change", "hand", "deploy", "role", "fleet")
# Build machines have Python keep nothing that it compiled; whoever deploys has it keep that
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
Samples = dict[str, list[float]]
progress = Progress("bench")


def write_inventory(path: Path, hosts: list[str]) -> None:
    """Write an inventory of the servers, set up as the scenarios' hosts are."""
    variables = {
        "ansible_ssh_common_args": f'-F "{vps.SSH_CONFIG}"',
        "ansible_control_path": f"%(directory)s/{CHECKOUT}-%%r@%%n",
        "landfall_images": (vps.HOME / FIRST / "images").read_text(),
        "landfall_secrets_dir": str(HOME / "secrets"),
        "landfall_environment": "bench",
    }
    path.write_text(yaml.safe_dump({"all": {"hosts": dict.fromkeys(hosts), "vars": variables}}))


def play(book: str, *argv: str, inventory: str = "hosts.yml", unchanged: bool = False) -> float:
    """Run a playbook and return its seconds.

    :param book: path below the repository, or absolute
    :param argv: further arguments
    :param inventory: file in the benchmark's folder
    :param unchanged: whether it must report changed=0
    :raises TestbedError: if it fails, or changed something when it must not
    """
    start = time.monotonic()
    done = subprocess.run(
        [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(HOME / inventory), book, *argv],
        cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        env={**ENVIRONMENT, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"},
    )  # fmt: skip
    seconds = time.monotonic() - start
    if done.returncode != 0:
        raise TestbedError(f"{book} {' '.join(argv)}\n{(done.stdout + done.stderr)[-6000:]}")
    if unchanged and any("changed=0 " not in line for line in done.stdout.splitlines() if " unreachable=" in line):
        raise TestbedError(f"{book} {' '.join(argv)} changed something:\n{done.stdout[-6000:]}")
    return seconds


def shell(command: str) -> float:
    """Run a shell command on the first VPS and return its seconds."""
    start = time.monotonic()
    vps.ssh(FIRST, command)
    return time.monotonic() - start


def alternate(runs: int, measures: dict[str, Callable[[], float]]) -> Samples:
    """Take each measure in turn, as often as asked, after one turn that does not count."""
    samples: Samples = {name: [] for name in measures}
    for number in range(runs + 1):
        for name, measure in measures.items():
            seconds = measure()
            if number:
                samples[name].append(seconds)
    for name, values in samples.items():
        progress.say(f"{name}: median {statistics.median(values):.2f} s of {len(values)}")
    return samples


def trivial() -> float:
    """Run the play with one trivial module task."""
    return play("molecule/bench/trivial.yml", unchanged=True)


def intervals() -> Iterator[str]:
    """Yield one of two scrape intervals in turn, so that each run changes one component's configuration."""
    return cycle(["prometheus_scrape_interval=16s", "prometheus_scrape_interval=15s"])


def compose_up() -> float:
    """Start the services by hand, or leave them as they are, and wait until all are healthy."""
    return shell("sudo docker compose -f /opt/byhand/compose.yaml up --detach --wait --wait-timeout 300 --quiet-pull")


def deploy(runs: int) -> Samples:
    """Measure first deploys of all three with the images present, each after everything was removed."""
    measures: dict[str, Callable[[], float]] = {
        "first deploy": lambda: play("site.yml", "--skip-tags", "verify"),
        "first deploy: compose by hand": compose_up,
        "first deploy: ordinary role": lambda: play(str(HOME / "peer.yml")),
    }
    samples: Samples = {}
    for _ in range(runs):
        for name, measure in measures.items():
            shell(WIPE)
            samples.setdefault(name, []).append(measure())
        told = (f"{name.split(': ')[-1]} {values[-1]:.1f} s" for name, values in samples.items())
        progress.say("first deploys: " + ", ".join(told))
    return samples


def prepare_peers() -> None:
    """Make both peers from what Landfall has just deployed."""
    files = peer.compose_files(FIRST)
    peer.fetch(FIRST, HOME / "files")
    (HOME / "peer.yml").write_text(peer.ordinary_role(files, HOME / "files", "/opt/peer", SUBNET))
    vps.ssh(FIRST, "sudo rm -rf /opt/byhand && sudo cp -a /opt/landfall /opt/byhand")
    text = peer.by_hand(files, "/opt/byhand", SUBNET)
    run("ssh", "-F", str(vps.SSH_CONFIG), FIRST, "sudo tee /opt/byhand/compose.yaml >/dev/null", stdin=text.encode())
    # The module docker_container needs this library on the VPS; Landfall does not
    vps.ssh(FIRST, "sudo apt-get -qq update && sudo apt-get -qq install -y python3-requests >/dev/null")


def unchanged(runs: int) -> Samples:
    """Measure runs that find nothing to do, beside the trivial play.

    Apart from changes: after one, verify rightly waits until Prometheus has scraped every target anew.
    """
    return alternate(runs, {
        "trivial": trivial,
        "no-op": lambda: play("site.yml", "--skip-tags", "verify", unchanged=True),
        "no-op with verify": lambda: play("site.yml", unchanged=True),
    })  # fmt: skip


def changes(runs: int) -> Samples:
    """Measure runs that change one value, beside the trivial play."""
    change = intervals()
    return alternate(runs, {
        "trivial": trivial,
        "one change, by tag": lambda: play("site.yml", "--tags", "prometheus", "-e", next(change)),
        "one change, whole play": lambda: play("site.yml", "--skip-tags", "verify", "-e", next(change)),
        "back": lambda: play("site.yml", "--skip-tags", "verify"),
    })  # fmt: skip


def by_hand(runs: int) -> Samples:
    """Measure Compose where nothing is to be done, beside the trivial play."""
    shell(WIPE)
    compose_up()
    return alternate(runs, {"trivial": trivial, "compose by hand, no-op": compose_up})


def ordinary(runs: int) -> Samples:
    """Measure the ordinary role where nothing is to be done, beside the trivial play; it is deployed already."""
    return alternate(runs, {
        "trivial": trivial, "ordinary role, no-op": lambda: play(str(HOME / "peer.yml"), unchanged=True)})  # fmt: skip


def fleet(runs: int, number: int, preload: dict[str, str] | None) -> Samples:
    """Measure a no-op on many servers against the same on one, with four components so that the servers idle."""
    names = [f"bench-{index}" for index in range(1, number + 1)]
    for name in names[1:]:
        vps.up(name, "vps-docker", preload)
    write_inventory(HOME / "fleet.yml", names)
    folders = [path.parents[1].name for path in (ROOT / "roles").glob("*/templates/compose.yaml.j2")]
    off = json.dumps({f"{role}_enabled": False for role in folders if role not in FLEET_COMPONENTS})
    shell(WIPE)
    play("site.yml", "--skip-tags", "verify", "-e", off, inventory="fleet.yml")
    return alternate(runs, {
        f"{count} hosts" if count > 1 else "1 host": lambda limit=limit: play(  # type: ignore[misc]
            "site.yml", "--skip-tags", "verify", "-e", off, "--limit", limit, inventory="fleet.yml", unchanged=True)
        for count, limit in ((1, FIRST), (number, "all"))
    })  # fmt: skip


def components() -> int:
    """Count what runs on the first VPS."""
    return int(vps.ssh(FIRST, "ls -d /opt/landfall/*/compose.yaml | wc -l"))


def measure(
    results: report.Results, parts: list[str], args: argparse.Namespace, preload: dict[str, str] | None
) -> None:
    """Measure what was asked for; written after each part, so that it is kept when a later one fails."""
    phases: dict[str, tuple[str, Callable[[int], Samples]]] = {
        "unchanged": ("runs without changes", unchanged),
        "change": ("runs with one change", changes),
        "hand": ("compose by hand", by_hand),
        "role": ("ordinary role", ordinary),
    }
    whole = set(parts) == set(PARTS)
    for part in [name for name in PARTS if name in parts]:
        if part == "unchanged":
            play("site.yml")
        if part == "role" and "deploy" not in parts:
            shell(WIPE)
            play(str(HOME / "peer.yml"))
        if part in phases:
            name, work = phases[part]
            results.phases[name] = work(args.runs)
        elif part == "deploy":
            results.deploy = deploy(args.deploys or args.runs)
        elif args.hosts > 1:
            results.fleet = fleet(args.runs, args.hosts, preload)
        results.loads[part] = os.getloadavg()[0]
        if whole:
            report.write(results)
        progress.say(f"load average after {part}: {results.loads[part]:.1f}")
    if not whole:  # some of it is for whoever asks, not for the page
        sys.stdout.write("\n".join(report.table(results)) + "\n")


def main() -> int:
    """Measure everything and write docs/benchmarks.md, or measure some parts and print them; return the exit status."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--deploys", type=int, help="first deploys of each; as many as runs by default")
    parser.add_argument("--hosts", type=int, default=10, help="servers of the fleet; 0 leaves it out")
    known = (*PARTS, *release_bench.PARTS)
    parser.add_argument("--parts", default=",".join(PARTS), help="what to measure, of " + ", ".join(known))
    parser.add_argument("--keep", action="store_true", help="leave the first server as it is, and take it again")
    args = parser.parse_args()
    parts = args.parts.split(",")
    if set(parts) - set(known):
        parser.error("--parts: " + ", ".join(sorted(set(parts) - set(known))) + " is none of " + ", ".join(known))
    under_load = [part for part in release_bench.PARTS if part in parts]
    if under_load and set(parts) - set(under_load):
        parser.error("--parts: " + ", ".join(under_load) + " have servers of their own; measure them apart")
    if "fleet" not in parts:
        args.hosts = 1
    HOME.mkdir(parents=True, exist_ok=True)
    names = [f"bench-{index}" for index in range(1, max(args.hosts, 1) + 1)]
    try:
        preload = build("auto")
        if under_load:
            return len(release_bench.measure(under_load, args.deploys or 20, preload, args.keep))
        vps.up(FIRST, "vps-docker", preload)
        write_inventory(HOME / "hosts.yml", [FIRST])
        play("site.yml", "--skip-tags", "verify")
        if set(parts) & {"hand", "deploy", "role"}:
            prepare_peers()
        host = vps.ssh(FIRST, "sudo docker version --format '{{.Server.Version}}'; docker compose version --short")
        results = report.Results(images=preload or {}, components=components(), host=host)
        measure(results, parts, args, preload)
    except TestbedError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    finally:
        for name in [] if under_load else names[1:] if args.keep else names:
            vps.remove(name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
