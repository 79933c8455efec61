"""`make installed`: the collection as users have it, from its tarball, in a folder with nothing but an inventory.

No ansible.cfg, no checkout: Ansible's defaults, roles and playbooks by their full names. The whole stack is deployed
and verified, one component updated, and one role is used by a playbook that has nothing else of ours.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from . import vps
from .__main__ import build
from .paths import CACHE, ROOT, TestbedError

VPS = "installed"
FOLDER = CACHE / "installed"
COLLECTION = FOLDER / "collections/ansible_collections/landfall/vps"
ALONE = """---
- name: One component, and nothing else of Landfall
  hosts: all
  gather_facts: false
  become: true
  force_handlers: true
  roles:
    - landfall.vps.landfall
    - landfall.vps.docker
    - landfall.vps.{role}
"""
# (what is done, arguments of ansible-playbook, what its output must match)
STEPS = (
    ("deploy all", ("landfall.vps.site",), r"changed=[1-9]\d* .*failed=0"),
    ("deploy all again", ("landfall.vps.site", "--skip-tags", "verify"), r"changed=0 .*failed=0"),
    ("verify", ("landfall.vps.verify",), r"changed=0 .*failed=0"),
    (
        "update one component",
        ("landfall.vps.site", "--tags", "redis", "-e", "redis_maxmemory=180m"),
        r"(?s)\n +redis +recreate(?!.*\n +\w+ +(recreate|create|reload|start)).*changed=1 .*failed=0",
    ),
    ("status", ("landfall.vps.status",), r"changed=0 .*failed=0"),
    (
        "redis alone",
        ("redis.yml", "-e", "landfall_prefix=one-", "-e", "landfall_subnet=172.31.6.0/24"),
        r"changed=[1-9]\d* .*failed=0",
    ),
    (
        "prometheus alone",
        (
            "prometheus.yml",
            "-e",
            "landfall_prefix=two-",
            "-e",
            "landfall_subnet=172.31.7.0/24",
            "-e",
            "{prometheus_publish: []}",
        ),
        r"changed=[1-9]\d* .*failed=0",
    ),
)
DOCUMENTED = (("module", "landfall.vps.component"), ("module", "landfall.vps.state"), ("role", "landfall.vps.redis"),
              ("lookup", "landfall.vps.secret"), ("lookup", "landfall.vps.deployed"),
              ("filter", "landfall.vps.refuse_unless"), ("filter", "landfall.vps.yaml_text"))  # fmt: skip

TOLD = 8  # lines; a plugin without documentation has one that says so


def call(*argv: str) -> tuple[int, str]:
    """Run one of Ansible's programs in the folder; return its status and what it said."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "MOLECULE_"))}
    # Collections of the package `ansible` are found beside it; ours only here
    found = {"ANSIBLE_COLLECTIONS_PATH": str(FOLDER / "collections"), "ANSIBLE_NOCOLOR": "1"}
    program = str(Path(sys.executable).with_name(argv[0]))
    done = subprocess.run(
        [program, *argv[1:]], cwd=FOLDER, env={**kept, **found}, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout


def tarball() -> Path:
    """Build the collection twice and return the first; raise TestbedError if they differ."""
    built = []
    for name in ("built", "again"):
        target = FOLDER / name
        argv = [sys.executable, str(ROOT / "scripts/collection.py"), "--output", str(target)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode:
            raise TestbedError(f"scripts/collection.py: {done.stderr}")
        built.append(Path(done.stdout.strip()))
    if built[0].read_bytes() != built[1].read_bytes():
        raise TestbedError(f"{built[0]} and {built[1]}: the same commit gave other bytes")
    return built[0]


def install() -> None:
    """Install the tarball into the empty folder. Raises TestbedError."""
    status, said = call("ansible-galaxy", "collection", "install", "--offline", "-p", "collections", str(tarball()))
    if status or not (COLLECTION / "MANIFEST.json").is_file():
        raise TestbedError(f"ansible-galaxy collection install: {said}")
    # Its image was built with these wheels, as a VPS of the test bed reaches no index
    if (ROOT / "app/wheelhouse").is_dir():
        shutil.copytree(ROOT / "app/wheelhouse", COLLECTION / "app/wheelhouse")


def write_inventory(preload: dict[str, str] | None) -> None:
    """Write the inventory, and playbooks with one role each."""
    host = {"ansible_host": VPS, "ansible_ssh_common_args": f"-F {vps.SSH_CONFIG}"}
    more = {"landfall_images": "offline"} if preload else {}
    (FOLDER / "inventory").mkdir()
    (FOLDER / "inventory/hosts.json").write_text(json.dumps({"all": {"hosts": {"vps": {**host, **more}}}}))
    for role in ("redis", "prometheus"):
        (FOLDER / f"{role}.yml").write_text(ALONE.format(role=role))


def documented() -> list[str]:
    """Return what ansible-doc has nothing to say of."""
    faults = []
    for kind, name in DOCUMENTED:
        status, said = call("ansible-doc", "-t", kind, name)
        if status or len(said.splitlines()) < TOLD:
            faults.append(f"ansible-doc -t {kind} {name}:\n{said}")
    return faults


def played() -> list[str]:
    """Carry out the steps; return what went wrong with the first that did not do what it should."""
    for name, argv, form in STEPS:
        start = time.monotonic()
        status, said = call("ansible-playbook", "-i", "inventory", *argv)
        sys.stdout.write(f"  {name}: {time.monotonic() - start:.1f} s\n")
        sys.stdout.flush()
        if status or not re.search(form, said):
            return [f"{name} ended with {status}; wanted {form}:\n{said}"]
    return []


def run_all() -> int:
    """Install, deploy and use it; return 0 if all is well, else 1."""
    start = time.monotonic()
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    install()
    preload = build("auto")
    vps.up(VPS, "vps-docker", preload)
    try:
        write_inventory(preload)
        faults = documented() + played()
    finally:
        vps.remove(VPS)
    for fault in faults:
        sys.stdout.write(f"{fault}\n")
    told = f"{len(faults)} faults" if faults else "all well"
    sys.stdout.write(f"installed from its tarball: {told}, {time.monotonic() - start:.0f} s\n")
    return 1 if faults else 0


def main() -> int:
    """Say what the user has to put right where something is missing."""
    try:
        return run_all()
    except TestbedError as error:
        sys.stderr.write(f"{error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
