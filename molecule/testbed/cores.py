"""`make cores`: the controller's side on each ansible-core that the collection supports, in an image of Debian 13.

For each core: the unit tests of whatever touches Ansible, and one component deployed to a VPS over SSH, found
unchanged, changed by way of the ordinary module (without pipelining, by su), and removed.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from . import catalog, images, vps
from .paths import CACHE, IMAGES, ROOT, TestbedError

CORES = {"2.19": "2.19.14", "2.20": "2.20.10", "2.21": "2.21.5"}
TOOLS = ("hypothesis", "pytest", "pytest-xdist", "PyYAML", "ruamel.yaml")
FOLDER = IMAGES / "cores"
VPS = "molecule-cores"
# What depends on Ansible's version: the seam, what stands on it, whole runs, and the templates of all roles. The engine
# on the VPS knows no Ansible, and values are judged by plain functions.
TESTS = ("engine/test_checks.py", "engine/test_compiled_once.py", "engine/test_declared.py",
         "engine/test_deployer.py", "engine/test_halves.py", "engine/test_hooks.py", "engine/test_hooks_rollback.py",
         "engine/test_model.py", "engine/test_new_files.py", "engine/test_progress.py", "engine/test_refusals.py",
         "engine/test_releasing.py", "engine/test_remote.py", "engine/test_rotating.py", "engine/test_seam.py",
         "engine/test_secrets.py", "engine/test_session.py", "test_secrets_runs.py", "test_shared_trips.py",
         "test_templates.py")  # fmt: skip
PYTEST = "-q --no-header -p no:cacheprovider -n 2"
PREPARE = (
    "export HOME=/tmp/home PATH=/cores/{core}/bin:$PATH PYTHONDONTWRITEBYTECODE=1 ANSIBLE_NOCOLOR=1 && mkdir -p $HOME"
)
PLAY = "ansible-playbook -i {inventory} site.yml --tags redis"
PASSWORD = "of-a-throw-away-vps"  # noqa: S105 - as it says
SU = f"-e ansible_become_method=su -e ansible_become_password={PASSWORD}"
STEPS = {
    "checked": ("--check --diff", r"changed=[1-9].*failed=0"),
    "deployed": ("", r"changed=[1-9].*failed=0"),
    "unchanged": ("", r"changed=0 .*failed=0"),
    "changed without pipelining": ("-e redis_maxmemory=200m -e ansible_pipelining=false", r"changed=[1-9].*failed=0"),
    "changed by su": (f"-e redis_maxmemory=180m {SU}", r"changed=[1-9].*failed=0"),
    "removed": ('-e \'{{"redis_enabled": false, "landfall_purge_volumes": true}}\'', r"changed=[1-9].*failed=0"),
}


def build() -> str:
    """Build the image with an environment for each core, if an input changed, and return its tag."""
    images.build_all(("python",))
    base = images.tag_of(catalog.load()["python"].reference)
    inputs = json.dumps([base, CORES, TOOLS, catalog.tree_digest(FOLDER)])
    tag = images.own_tag("cores", hashlib.sha256(inputs.encode()).hexdigest()[:12])
    if images.exists(tag):
        return tag
    scratch = Path(tempfile.mkdtemp(dir=CACHE / "images"))
    try:
        shutil.copytree(FOLDER, scratch / "context")
        for core, version in CORES.items():
            images.download_wheels([f"ansible-core=={version}", *TOOLS], scratch / "context" / "wheels" / core)
        images.docker_build(scratch / "context", tag, {"BASE": base}, "ansible-core " + ", ".join(CORES.values()))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return tag


def inside(tag: str, core: str, script: str) -> tuple[int, str]:
    """Run a shell script in the image, where the checkout lies as it does here; return its status and what it said."""
    argv = ["docker", "run", "--rm", "--init", "--network", "host", "--volume", f"{ROOT}:{ROOT}:ro", "--workdir",
            str(ROOT), "--entrypoint", "sh", tag, "-c", PREPARE.format(core=core) + " && " + script]  # fmt: skip
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return done.returncode, done.stdout


def deploy(tag: str, core: str, inventory: Path) -> list[str]:
    """Take one component through its life; return what went wrong."""
    play = PLAY.format(inventory=inventory)
    # One container for all steps, so that the second run has the secrets of the first
    script = "; ".join(f"echo '==== {name}'; {play} {options.format()} 2>&1" for name, (options, _) in STEPS.items())
    _status, said = inside(tag, core, script)
    parts = dict(part.split("\n", 1) for part in said.split("==== ")[1:])
    faults = [f"core {core}: not {name}:\n{parts.get(name, said)}" for name, (_, form) in STEPS.items()
              if not re.search(form, parts.get(name, ""))]  # fmt: skip
    warned = re.findall(r"\[(?:DEPRECATION )?WARNING\].*(?:landfall|deprecat).*", said)
    return faults + [f"core {core}: {line}" for line in sorted(set(warned))]


def unit(tag: str, core: str) -> list[str]:
    """Run the unit tests; return what went wrong."""
    status, said = inside(
        tag,
        core,
        f"python -m pytest {PYTEST} -o tmp_path_retention_policy=none {' '.join(f'tests/{name}' for name in TESTS)}",
    )
    last = said.strip().splitlines()[-1] if said.strip() else "nothing was said"
    sys.stdout.write(f"  core {core}: {last}\n")
    return [] if status == 0 else [f"core {core}: unit tests ended with {status}:\n{said[-6000:]}"]


def run_all() -> int:
    """Run everything on every core; return 0 if all is well, else 1."""
    start = time.monotonic()
    tag = build()
    vps.up(VPS, "vps-docker", images.build_all(("redis", "vps-docker")))
    faults: list[str] = []
    try:
        vps.ssh(VPS, f"echo root:{PASSWORD} | sudo chpasswd")
        inventory = CACHE / "cores.json"
        host = {"ansible_host": VPS, "ansible_ssh_common_args": f"-F {vps.SSH_CONFIG}", "landfall_images": "offline",
                "landfall_secrets_dir": "/tmp/secrets"}  # fmt: skip # noqa: S108 - in the container
        inventory.write_text(json.dumps({"all": {"hosts": {"vps": host}}}))
        with ThreadPoolExecutor(max_workers=2) as pool:
            units = pool.submit(lambda: [fault for core in CORES for fault in unit(tag, core)])
            deploys = pool.submit(lambda: [fault for core in CORES for fault in deploy(tag, core, inventory)])
            faults = units.result() + deploys.result()
    finally:
        vps.remove(VPS)
    for fault in faults:
        sys.stdout.write(f"{fault}\n")
    told = f"{len(faults)} faults" if faults else "all well"
    sys.stdout.write(f"ansible-core {', '.join(CORES.values())}: {told}, {time.monotonic() - start:.0f} s\n")
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
