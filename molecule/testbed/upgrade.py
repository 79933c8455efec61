"""`make upgrade`: the release before is deployed from git's history, then this checkout takes the VPS over.

Nothing may get lost: jobs of the application, keys in Redis, samples of Prometheus, silences of Alertmanager,
passwords, volumes. Afterwards `verify` finds nothing and a further run changes nothing. Offline the earlier release is
built from the wheels and the base of this checkout, since those of its own are not there.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from . import vps
from .__main__ import build
from .paths import CACHE, ROOT, TestbedError

VPS = "upgrade"
FOLDER = CACHE / "upgrade"
BEFORE = FOLDER / "before"
INVENTORY = FOLDER / "inventory"
# 0.1.0 was never tagged. As soon as there is a tag of a release, the newest one is the release before.
FIRST = "31dab38"
FEWEST = 10  # targets that are up in a stack that is worth an upgrade
OF_TODAY = ("requirements.lock", "Dockerfile", "wheelhouse")


def git(*argv: str) -> bytes:
    """Return what git says. Raises TestbedError, for instance in a clone without history."""
    done = subprocess.run(["git", "-C", str(ROOT), *argv], capture_output=True, check=False)
    if done.returncode:
        raise TestbedError(f"git {' '.join(argv)}: {done.stderr.decode().strip()}; is all the history here?")
    return done.stdout


def previous() -> str:
    """Return the commit or tag of the release before this checkout."""
    tags = git("tag", "--list", "v*", "--merged", "HEAD~1", "--sort=-version:refname").decode().split()
    return tags[0] if tags else FIRST


def known(release: str) -> bool:
    """Tell whether a release is in this clone, which a shallow one has not."""
    argv = ["git", "-C", str(ROOT), "cat-file", "-e", f"{release}^{{commit}}"]
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0


def unpack(release: str) -> None:
    """Lay the earlier release out in a folder of its own."""
    BEFORE.mkdir(parents=True)
    subprocess.run(["tar", "-x", "-C", str(BEFORE)], input=git("archive", release), check=True)
    for name in OF_TODAY:
        source, target = ROOT / "app" / name, BEFORE / "app" / name
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        elif source.exists():
            shutil.copyfile(source, target)


def images() -> dict[str, str]:
    """Return the image variables that both know, as they are today: those are what the VPS has."""
    found = {}
    for path in (BEFORE / "roles").glob("*/defaults/main.yml"):
        now = ROOT / path.relative_to(BEFORE)
        for name in re.findall(r"(?m)^(\w+_image): ", path.read_text("utf-8")):
            today = re.search(rf"(?m)^{name}: (\S+)$", now.read_text("utf-8")) if now.exists() else None
            if today and "{" not in today[1]:
                found[name] = today[1]
    return found


def play(checkout: Path, playbook: str, *argv: str) -> str:
    """Run a playbook of a checkout on the VPS and return what it says. Raises TestbedError if it fails."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "MOLECULE_"))}
    program = str(Path(sys.executable).with_name("ansible-playbook"))
    start = time.monotonic()
    done = subprocess.run(
        [program, "-i", str(INVENTORY), playbook, *argv], cwd=checkout, stdin=subprocess.DEVNULL, text=True,
        env={**kept, "ANSIBLE_CONFIG": str(checkout / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
    )  # fmt: skip
    (FOLDER / f"{checkout.name}-{Path(playbook).stem}.log").write_text(done.stdout, "utf-8")
    sys.stdout.write(f"  {checkout.name}: {playbook} {' '.join(argv[:2])}: {time.monotonic() - start:.1f} s\n")
    sys.stdout.flush()
    if done.returncode:
        raise TestbedError(f"{playbook} of {checkout} ended with {done.returncode}:\n{done.stdout[-6000:]}")
    return done.stdout


def ask(service: int, path: str, body: dict[str, Any] | None = None) -> Any:
    """Return the answer of something on a port of the VPS."""
    more = ["-H", "content-type: application/json", "-d", json.dumps(body)] if body else []
    return json.loads(
        vps.ssh(VPS, shlex.join(["curl", "-fsS", "-m", "20", *more, f"http://127.0.0.1:{service}{path}"]))
    )


def app(path: str, body: dict[str, Any] | None = None) -> Any:
    """Return what the application's API answers, asked from within its container."""
    program = (
        "import json,sys,urllib.request as u;d=sys.argv[2];"
        "r=u.Request('http://127.0.0.1:8000'+sys.argv[1],d.encode() or None,{'content-type':'application/json'});"
        "print(u.urlopen(r,timeout=20).read().decode())"
    )
    argv = ["sudo", "docker", "exec", "app", "python", "-c", program, path, json.dumps(body) if body else ""]
    return json.loads(vps.ssh(VPS, shlex.join(argv)))


def redis(*argv: str) -> str:
    """Return what Redis answers to a command, signed in with the password of the inventory."""
    (password,) = {path.read_text("utf-8") for path in INVENTORY.rglob("redis_password")}
    argv = ("sudo", "docker", "exec", "-e", f"REDISCLI_AUTH={password.strip()}", "redis", "redis-cli", *argv)
    return vps.ssh(VPS, shlex.join(argv)).strip()


def secrets() -> dict[str, str]:
    """Return name -> content of the generated secrets, wherever a release keeps them."""
    files = [path for path in (INVENTORY / "secrets").rglob("*") if path.is_file() and path.name != ".gitignore"]
    return {path.name: path.read_text("utf-8") for path in files}


def volumes() -> dict[str, str]:
    """Return name -> time of creation of the volumes on the VPS."""
    form = "{{.Name}} {{.CreatedAt}}"
    lines = vps.ssh(
        VPS, f"sudo docker volume ls -q | xargs sudo docker volume inspect -f {shlex.quote(form)}"
    ).splitlines()
    return dict(line.split(" ", 1) for line in lines if line)


def leave() -> dict[str, Any]:
    """Leave data in the earlier release, and return what has to be there afterwards."""
    job = app("/api/jobs/enhancement", {"tenant_id": "acme", "text": "kept over an upgrade"})["id"]
    for _ in range(60):
        if app(f"/api/jobs/{job}")["status"] == "succeeded":
            break
        time.sleep(1)
    redis("set", "kept", "over an upgrade")
    silence = {
        "matchers": [{"name": "alertname", "value": "NoSuchAlert", "isRegex": False, "isEqual": True}],
        "startsAt": "2026-01-01T00:00:00Z", "endsAt": "2099-01-01T00:00:00Z", "createdBy": "upgrade", "comment": "kept",
    }  # fmt: skip
    told = ask(9093, "/api/v2/silences", silence)["silenceID"]
    time.sleep(20)  # until samples are there
    at = int(time.time())
    return {"job": job, "silence": told, "at": at, "targets": samples(at), "secrets": secrets(), "volumes": volumes()}


def samples(at: int) -> int:
    """Return how many targets Prometheus knows at a time."""
    found = ask(9090, f"/api/v1/query?query=count(up)&time={at}")["data"]["result"]
    return int(found[0]["value"][1]) if found else 0


def lost(left: dict[str, Any]) -> list[str]:
    """Return what is no longer as it was left."""
    found = []
    if app(f"/api/jobs/{left['job']}")["status"] != "succeeded":
        found.append("the application's job")
    if redis("get", "kept") != "over an upgrade":
        found.append("the key in Redis")
    if left["targets"] < FEWEST or samples(left["at"]) != left["targets"]:
        found.append(f"samples of Prometheus: {samples(left['at'])} targets, {left['targets']} before")
    if left["silence"] not in {one["id"] for one in ask(9093, "/api/v2/silences")}:
        found.append("the silence of Alertmanager")
    now, there = secrets(), volumes()
    found += [f"the secret {name}" for name, value in left["secrets"].items() if now.get(name) != value]
    found += [f"the volume {name}" for name, made in left["volumes"].items() if there.get(name) != made]
    return found


def run_all() -> int:
    """Deploy both releases; return 0 if nothing was lost, else 1."""
    start = time.monotonic()
    shutil.rmtree(FOLDER, ignore_errors=True)
    release = previous()
    if not known(release):
        sys.stdout.write(
            f"upgrade: SKIPPED: {release} is not in this clone; get the history: git fetch --unshallow --tags\n"
        )
        return 0
    unpack(release)
    preload = build("auto")
    vps.up(VPS, "vps-docker", preload)
    try:
        host = {"ansible_host": VPS, "ansible_ssh_common_args": f"-F {vps.SSH_CONFIG}"}
        more = {"landfall_images": "offline"} if preload else {}
        INVENTORY.mkdir()
        (INVENTORY / "hosts.json").write_text(json.dumps({"all": {"hosts": {"vps": {**host, **more}}}}))
        play(BEFORE, "site.yml", "--skip-tags", "verify", "-e", json.dumps(images()))
        left = leave()
        play(ROOT, "site.yml")
        faults = lost(left)
        again = play(ROOT, "site.yml", "--skip-tags", "verify")
        if not re.search(r"changed=0 .*failed=0", again):
            faults.append(f"a further run changes something:\n{again}")
    finally:
        vps.remove(VPS)
    for fault in faults:
        sys.stdout.write(f"lost: {fault}\n")
    kept = f"{len(left['secrets'])} secrets, {len(left['volumes'])} volumes, samples of {left['targets']} targets"
    sys.stdout.write(f"upgrade from {release}: {len(faults)} faults; {kept}; {time.monotonic() - start:.0f} s\n")
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
