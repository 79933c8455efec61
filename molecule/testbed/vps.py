"""Servers in containers: systemd, sshd and a Docker engine of their own, reached over SSH on the loopback address."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

from . import golden, ports
from .images import LABEL as LABEL_SOURCE
from .images import tag_of
from .paths import CACHE, CHECKOUT, ROOT, Progress, TestbedError, locked, run

HOME = CACHE / "vps"
KEY = HOME / "id_ed25519"
SSH_CONFIG = HOME / "ssh_config"
USER = "deploy"
LABEL = "org.landfall.vps"
LABEL_CHECKOUT = "org.landfall.checkout"
OURS = ("molecule-", "bench-")  # names that the project chose
EXTRA_CA = Path("/usr/local/share/ca-certificates")
BOOT_TIMEOUT = 90.0  # seconds
VOLUMES = {"docker": "/var/lib/docker", "containerd": "/var/lib/containerd"}


def key() -> Path:
    """Make the key pair of the test bed once and return the private key's path."""
    with locked(HOME / "key.lock"):
        if not KEY.is_file():
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "landfall test bed", "-f", str(KEY))
    return KEY


def container_of(name: str) -> str:
    """Return what the engine calls a VPS.

    Names that the project itself chose would be the same in every checkout, so they get its digest; others are used as
    they were given, unless a container name was given beside.
    """
    noted = HOME / name / "container"
    if noted.is_file():
        return noted.read_text()
    return f"{name}-{CHECKOUT}" if name.startswith(OURS) else name


def labels(value: str) -> list[str]:
    """Return the options that mark what is made here: whose it is, and that the test bed made it."""
    return ["--label", f"{LABEL}={value}", "--label", f"{LABEL_CHECKOUT}={ROOT}"]


def stranger(kind: str, name: str, known: bool) -> str:
    """Return whose a container or volume of this name is, "" if there is none or it is of this checkout.

    :param kind: container or volume
    :param name: its name
    :param known: whether this checkout has a VPS of the name; of older versions neither has a label
    """
    where = ".Config.Labels" if kind == "container" else ".Labels"
    done = subprocess.run(["docker", kind, "inspect", "--format", f"{{{{json {where}}}}}", name],
                          capture_output=True, check=False, text=True)  # fmt: skip
    if done.returncode != 0:
        return ""
    found = json.loads(done.stdout) or {}
    if LABEL_CHECKOUT not in found:
        return "" if known else "nobody that the test bed knows"
    return "" if found[LABEL_CHECKOUT] == str(ROOT) else f"the checkout {found[LABEL_CHECKOUT]}"


def write_ssh_config() -> None:
    """Write what `ssh -F .cache/vps/ssh_config NAME` and Ansible need to reach each VPS."""
    blocks = ["# Made by the test bed: one block per VPS in a container"]
    for path in sorted(HOME.glob("*/port")):
        name = path.parent.name
        blocks.append(
            f"Host {name}\n  HostName 127.0.0.1\n  Port {path.read_text()}\n  User {USER}\n"
            f"  IdentityFile {KEY}\n  IdentitiesOnly yes\n  HostKeyAlias {name}\n"
            f"  UserKnownHostsFile {path.parent}/known_hosts\n  StrictHostKeyChecking yes\n  LogLevel ERROR"
        )
    SSH_CONFIG.write_text("\n".join(blocks) + "\n")


def create(name: str, container: str, image: str, port: int = 0) -> str:
    """Create a container that will be a server to whoever logs in; return its id.

    Not --privileged: that fails where the bounding set lacks CAP_SYS_RESOURCE. /var/lib/docker is a volume because
    overlayfs does not stack on itself.

    :param name: name of the host
    :param container: name of the container
    :param image: its tag
    :param port: where sshd answers on 127.0.0.1; 0 for a VPS that is only reached by `docker exec`
    """
    options = ["--cap-add=ALL", "--cap-drop=SYS_RESOURCE", "--security-opt=seccomp=unconfined",
               "--security-opt=apparmor=unconfined", "--device-cgroup-rule=a *:* rwm", "--cgroupns=private",
               "--tmpfs=/run", "--tmpfs=/run/lock", "--tmpfs=/tmp:exec,mode=1777"]  # fmt: skip
    if EXTRA_CA.is_dir() and any(EXTRA_CA.iterdir()):
        options += ["--volume", f"{EXTRA_CA}:{EXTRA_CA}:ro"]
    if port:
        options += ["--publish", f"127.0.0.1:{port}:22", "--restart=always"]
    for kind, path in VOLUMES.items():
        run("docker", "volume", "create", *labels(name), f"{container}-{kind}")
        options += ["--volume", f"{container}-{kind}:{path}"]
    return run("docker", "create", "--name", container, "--hostname", name, *labels(name), *options, image)


def address_of(container: str) -> str:
    """Return the address at which others on this machine reach a VPS."""
    form = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}"
    return run("docker", "inspect", "--format", form, container).split()[0]


def wait_until_booted(container: str) -> None:
    """Wait until systemd of a server is through. Raises TestbedError with what it waits for after BOOT_TIMEOUT."""
    deadline = time.monotonic() + BOOT_TIMEOUT
    while time.monotonic() < deadline:
        state = subprocess.run(["docker", "exec", container, "systemctl", "is-system-running"],
                               capture_output=True, check=False, text=True).stdout.strip()  # fmt: skip
        if state in {"running", "degraded"}:
            return
        time.sleep(0.1)
    jobs = subprocess.run(
        ["docker", "exec", container, "systemctl", "list-jobs"], capture_output=True, check=False, text=True
    )
    raise TestbedError(f"{container} did not boot within {BOOT_TIMEOUT:.0f} s:\n{jobs.stdout}{jobs.stderr}")


def start(name: str, container: str, image: str) -> None:
    """Create a server that is only reached by `docker exec`, and wait until it has booted."""
    run("docker", "start", create(name, container, image))
    wait_until_booted(container)


def discard(container: str) -> bool:
    """Remove a container and its volumes; say whether there was one. The caller knows whose it is."""
    found = run("docker", "ps", "--all", "--quiet", "--filter", f"name=^{container}$")
    if found:
        run("docker", "rm", "--force", "--volumes", found)
    for kind in VOLUMES:
        if run("docker", "volume", "ls", "--quiet", "--filter", f"name=^{container}-{kind}$"):
            run("docker", "volume", "rm", f"{container}-{kind}")
    return bool(found)


def remove(name: str) -> bool:
    """Remove a VPS of this checkout with its volumes and its traces; say whether there was one."""
    found, known = False, (HOME / name).is_dir()
    # The second is what versions before called it that told no checkouts apart
    for container in sorted({container_of(name), name}):
        if not foreign(container, known):
            found |= discard(container)
    if known:
        shutil.rmtree(HOME / name)
        write_ssh_config()
    return found


def foreign(container: str, known: bool) -> str:
    """Return whose a container of this name or one of its volumes is, "" if of this checkout; see stranger()."""
    parts = [("container", container), *(("volume", f"{container}-{kind}") for kind in VOLUMES)]
    return next(filter(None, (stranger(kind, part, known) for kind, part in parts)), "")


def up(name: str, image: str, images: dict[str, str] | None, container: str = "") -> None:
    """Create a VPS, or leave the one there is as it is.

    :param name: host and ssh name
    :param image: vps (bare) or vps-docker
    :param images: reference -> source of what it is to hold already; None: it pulls from registries
    :param container: what the engine calls it; by default container_of(name)
    :raises TestbedError: if the name is taken by another checkout, or it does not boot or let anybody in
    """
    progress = Progress(name)
    key()
    if lets_in(name):
        progress.say("is up already")
        return
    container = container or container_of(name)
    owner = foreign(container, (HOME / name).is_dir())
    if owner:
        other = f"{name}-{CHECKOUT}"
        raise TestbedError(f"{container}: a container or volume of this name is there already, made by {owner}. "
                           f"Remove it there (`make demo-down`), or take another name: make demo VPS={other} "
                           f"(in general: --container {other})")  # fmt: skip
    remove(name)
    if images:
        run("docker", "volume", "create", *labels(name), f"{container}-docker")
        golden.lay_down(sorted(images), f"{container}-docker", progress)
    tag = tag_of(f"landfall/{image}:testbed")
    with locked(HOME / "port.lock"):
        port = ports.claim(
            lambda port: create(name, container, tag, port),
            lambda made: run("docker", "start", made),
            lambda made: run("docker", "rm", "--force", made),
        )
    (HOME / name).mkdir(parents=True)
    (HOME / name / "container").write_text(container)
    (HOME / name / "port").write_text(str(port))
    # Where other VPSs of this machine reach it
    (HOME / name / "address").write_text(address_of(container))
    wait_until_booted(container)
    run("docker", "exec", "--interactive", "--user", USER, container, "sh", "-c",
        "umask 077; cat >~/.ssh/authorized_keys", stdin=KEY.with_suffix(".pub").read_bytes())  # fmt: skip
    host_key = run("docker", "exec", container, "cat", "/etc/ssh/ssh_host_ed25519_key.pub")
    (HOME / name / "known_hosts").write_text(f"{name} {host_key}\n")
    (HOME / name / "images").write_text("offline" if images is not None else "registry")
    write_ssh_config()
    for _ in range(100):
        if lets_in(name):
            break
        time.sleep(0.2)
    else:
        raise TestbedError(f"sshd of {name} does not let {USER} in on 127.0.0.1:{port}")
    progress.say(f"up: ssh -F {SSH_CONFIG.relative_to(ROOT)} {name}" + (f" (container {container})" if container != name
                                                                        else ""))  # fmt: skip


def lets_in(name: str) -> bool:
    """Say whether a VPS of this checkout answers over SSH; another server on its port has another key."""
    return subprocess.run(
        ["ssh", "-F", str(SSH_CONFIG), "-o", "BatchMode=yes", "-o", "ConnectTimeout=2", name, "true"],
        capture_output=True, check=False,
    ).returncode == 0  # fmt: skip


def ssh(name: str, command: str) -> str:
    """Run a shell command on a VPS as its user and return what it printed."""
    return run("ssh", "-F", str(SSH_CONFIG), "-o", "BatchMode=yes", name, command)


def used(name: str) -> str:
    """Return one line per running container of a VPS: its image, and what that image truly is."""
    form = f'{{{{with .Config.Labels}}}}{{{{index . "{LABEL_SOURCE}"}}}}{{{{end}}}}'
    rows = []
    for line in ssh(name, "sudo docker ps --format '{{.Names}} {{.Image}}'").splitlines():
        container, image = line.split(" ", 1)
        source = ssh(name, f"sudo docker image inspect --format '{form}' {image}") or "upstream"
        rows.append((container, image, source))
    widths = [max((len(row[column]) for row in rows), default=0) for column in (0, 1)]
    return "\n".join(f"  {c:{widths[0]}}  {i:{widths[1]}}  {s}" for c, i, s in sorted(rows))


def clean() -> list[str]:
    """Remove all servers, volumes and images that this checkout made; return their names.

    Images are shared: they stay while another checkout has a server or a golden volume.
    """
    gone = [path.parent.name for path in sorted(HOME.glob("*/port"))]
    for name in gone:
        remove(name)
    mine = ["--filter", f"label={LABEL_CHECKOUT}={ROOT}"]
    for container in run("docker", "ps", "--all", *mine, "--format", "{{.Names}}").split():
        discard(container)  # .cache may have been removed before
        gone.append(container)
    volumes = run("docker", "volume", "ls", "--quiet", *mine).split()
    if volumes:
        run("docker", "volume", "rm", *volumes)
    others = run("docker", "ps", "--all", "--quiet", "--filter", f"label={LABEL}").split()
    others += run("docker", "volume", "ls", "--quiet", "--filter", f"label={LABEL_CHECKOUT}").split()
    if others:
        return [*gone, *volumes, "(images stay: another checkout uses them)"]
    images = run("docker", "images", "--format", "{{.ID}}", "--filter", f"label={LABEL_SOURCE}").split()
    if images:
        run("docker", "rmi", "--force", *sorted(set(images)))
    return [*gone, *volumes, f"{len(set(images))} images"]


def registry_answers() -> bool:
    """Say whether Docker Hub's registry can be asked from here, and speaks its protocol."""
    done = subprocess.run(["curl", "-sS", "-m", "8", "-o", os.devnull, "-D", "-", "https://registry-1.docker.io/v2/"],
                          capture_output=True, check=False, text=True)  # fmt: skip
    return "docker-distribution-api-version" in done.stdout.lower()
