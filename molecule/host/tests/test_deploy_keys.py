"""A key for CI, over SSH: it deploys an image by its digest, waits for its turn, and gets nothing else of the VPS."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from testbed import probe
from testbed.paths import ROOT

VPS = "molecule-host"
HOME = ROOT / ".cache/vps" / VPS
STATE = "/opt/landfall/.state"
# A VPS that was tried before knows others
V2, V3, V4 = (f"v{number}.{int(time.time())}" for number in (2, 3, 4))
CAME = "/tmp/came"  # noqa: S108 - on the VPS, made by whoever gets past the forced command
REPOSITORY = "127.0.0.1:5000/team/web"
REGISTRY = {
    "version": 0.1,
    "storage": {"filesystem": {"rootdirectory": "/var/lib/docker-registry"}},
    "http": {"addr": "127.0.0.1:5000"},
}
IMAGES = {
    "1": "ENV RELEASE=1",
    "2": "ENV RELEASE=2",
    "3": 'ENTRYPOINT ["sh", "-c", "echo this image is broken >&2; sleep 2; exit 3"]',
}
SHOP = {
    "landfall_images": "registry",
    "celery_enabled": False,
    "app_environment": {},
    "app_secrets": {},
    "app_prove_timeout": 10,
    "app_services": [
        {
            "name": "web",
            "image": f"{REPOSITORY}:1",
            "command": ["redis-server", "--save", ""],
            "health": {"exec": ["redis-cli", "ping"], "interval": "1s", "start_period": "2s"},
            "user": "999:999",
        }
    ],
}


@dataclass(frozen=True)
class Ci:
    """A pipeline: its keys, and the images that it pushed, by digest."""

    keys: dict[str, Path]
    images: dict[str, str]

    def options(self, key: str) -> list[str]:
        """How a pipeline asks ssh, scp and sftp to be; examples/ci has the same."""
        said = ("BatchMode=yes", "IdentitiesOnly=yes", "IdentityAgent=none", f"HostKeyAlias={VPS}",
                f"UserKnownHostsFile={HOME}/known_hosts", "StrictHostKeyChecking=yes")  # fmt: skip
        options = ["-F", "none", "-i", str(self.keys[key]), "-o", f"Port={(HOME / 'port').read_text().strip()}"]
        return [*options, *(part for option in said for part in ("-o", option))]

    def begin(self, *words: str, key: str = "ci", options: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        """Begin to ask for something."""
        argv = ["ssh", *self.options(key), *options, "landfall@127.0.0.1", *words]
        return subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def ask(self, *words: str, key: str = "ci", options: tuple[str, ...] = ()) -> tuple[int, str]:
        """Exit status and all that was said."""
        return ended(self.begin(*words, key=key, options=options))


def ended(process: subprocess.Popen[str], seconds: float = 60) -> tuple[int, str]:
    with process:
        try:
            said, wrong = process.communicate(timeout=seconds)
        finally:
            process.kill()
    return process.returncode, said + wrong


def play(values: dict[str, Any], name: str) -> None:
    text, _figures, status = probe.playbook("-e", json.dumps(values), name=name)
    assert status == 0, text


def web(host: Any, form: str = "{{.Id}} {{.State.StartedAt}}") -> str:
    return probe.output(host, "docker", "inspect", "--format", form, "web").strip()


def serves_second(host: Any) -> bool:
    return "RELEASE=2" in web(host, "{{.Config.Env}}") and web(host, "{{.State.Health.Status}}") == "healthy"


def pushed(host: Any, base: str) -> dict[str, str]:
    """Build and push images that differ in one line, and keep but the first; returns each by its digest."""
    found = {}
    for number, line in IMAGES.items():
        tag = f"{REPOSITORY}:{number}"
        build = f"printf '%s\\n' 'FROM {base}' '{line}' | docker build --quiet --tag {tag} -"
        probe.output(host, "sh", "-c", f"{build} && docker push --quiet {tag}")
        found[number] = probe.output(host, "docker", "inspect", "--format", "{{index .RepoDigests 0}}", tag).strip()
        if number != "1":
            probe.output(host, "docker", "rmi", tag)
    return found


@pytest.fixture(scope="module", name="ci")
def fixture_ci(host: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ci]:
    """An application that was deployed once from a registry, and two keys: one for deploys, one for plans."""
    folder = tmp_path_factory.mktemp("keys")
    keys = {name: folder / name for name in ("ci", "reader")}
    for path in keys.values():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    install = "DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends docker-registry"
    config = f"cat >/etc/docker/registry/config.yml <<'END'\n{json.dumps(REGISTRY)}\nEND\n"
    probe.output(host, "sh", "-c", f"apt-get update -qq && {install}\n{config}systemctl restart docker-registry")
    assert probe.eventually(lambda: host.run("curl -fsS http://127.0.0.1:5000/v2/").rc == 0, 20)
    images = pushed(host, probe.containers(host)["redis"]["Config"]["Image"])
    play(SHOP, "molecule/host/shop.yml")
    may: dict[str, Any] = {"ci": {}, "reader": {"may": ["plan"]}}
    told = [{"name": name, "key": path.with_suffix(".pub").read_text(), **may[name]} for name, path in keys.items()]
    play({"landfall_deploy_keys": told}, "playbooks/deploy-keys.yml")
    yield Ci(keys, images)
    play({**SHOP, "app_enabled": False}, "molecule/host/shop.yml")
    host.run(f"rm -rf {CAME} /tmp/planted; docker images --quiet {REPOSITORY} | sort -u | xargs docker rmi --force")
    probe.output(host, "sh", "-c", "apt-get purge --yes docker-registry; rm -rf /var/lib/docker-registry")


def test_a_key_plans_and_deploys_an_image_by_its_digest(host: Any, ci: Ci) -> None:
    before = web(host)
    for key in ("reader", "ci"):
        status, said = ci.ask("plan", V2, ci.images["2"], key=key)
        assert status == 0 and f"app-web: {REPOSITORY}:1 -> {ci.images['2']}" in said, said
        assert "nothing was changed; this was the plan" in said and web(host) == before, said
    status, said = ci.ask("deploy", V2, ci.images["2"], "--commit", "c0ffee")
    assert status == 0 and f"release {V2} serves" in said, said
    assert serves_second(host)
    status, said = ci.ask("releases")
    assert status == 0 and f"{V2}  serving" in said and "c0ffee  ci (deploy key)" in said, said
    log = json.loads(probe.output(host, "tail", "-n", "1", f"{STATE}/audit.jsonl"))
    assert (log["who"], log["release"], log["result"]) == ("ci (deploy key)", V2, "done")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "this key opens no shell; ssh … plan|deploy|releases"),
        (("sh", "-c", "id"), "this key may not 'sh'"),
        (("rollback",), "this key may not 'rollback'"),
        ((f"releases; touch {CAME}",), "this key may not 'releases;'"),
        ((f"releases\ntouch {CAME}",), "unrecognized arguments: touch"),
        ((f'releases "$(touch {CAME})"',), "unrecognized arguments: $(touch"),
        ((f"releases `touch {CAME}`",), "unrecognized arguments: `touch"),
        (("deploy", V4, f"{REPOSITORY}:1"), "a tag can be moved later"),
        (
            ("deploy", V4, "docker.io/miner@sha256:" + "0" * 64),
            "repository docker.io/miner; there are: " + REPOSITORY,
        ),
    ],
    ids=["shell", "command", "verb", "semicolon", "line", "dollar", "backtick", "tag", "repository"],
)
def test_another_command_is_refused(host: Any, ci: Ci, words: tuple[str, ...], said: str) -> None:
    before = web(host)
    status, text = ci.ask(*words)
    assert status == (1 if words[:1] == ("deploy",) else 2), text
    assert said in text and "nothing was changed" in text, text
    assert web(host) == before and not host.file(CAME).exists


def test_a_key_that_may_plan_deploys_nothing(host: Any, ci: Ci) -> None:
    status, said = ci.ask("deploy", V4, ci.images["1"], key="reader")
    assert status == 2 and "this key may not 'deploy'; ssh … plan;" in said, said
    assert serves_second(host)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("-tt",), "PTY allocation request failed"),
        (("-W", "127.0.0.1:6379"), "administratively prohibited"),
        (("-N", "-o", "ExitOnForwardFailure=yes", "-R", "6380:127.0.0.1:22"), "remote port forwarding failed"),
    ],
    ids=["terminal", "to the VPS", "from the VPS"],
)
def test_a_terminal_and_forwarding_are_refused(ci: Ci, options: tuple[str, ...], said: str) -> None:
    words = ("releases",) if options == ("-tt",) else ()
    status, text = ci.ask(*words, options=options)
    assert status == 255 and said in text, text


@pytest.mark.parametrize("program", [("sftp", "-b"), ("scp",), ("scp", "-O")], ids=["sftp", "scp", "scp of before"])
@pytest.mark.parametrize("way", ["there", "back"])
def test_files_go_neither_way(host: Any, ci: Ci, tmp_path: Path, program: tuple[str, ...], way: str) -> None:
    mine, far = tmp_path / "file", "landfall@127.0.0.1"
    mine.write_text("text\n")
    there = way == "there"
    if program[0] == "sftp":
        (tmp_path / "batch").write_text(f"put {mine} {CAME}\n" if there else f"get /etc/passwd {tmp_path}/got\n")
        argv = ["sftp", *ci.options("ci"), "-b", str(tmp_path / "batch"), far]
    else:
        files = [str(mine), f"{far}:{CAME}"] if there else [f"{far}:/etc/passwd", str(tmp_path / "got")]
        argv = [*program, *ci.options("ci"), *files]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode != 0, done.stdout
    assert not host.file(CAME).exists and not (tmp_path / "got").exists()


def test_an_environment_of_ones_own_does_not_arrive(host: Any, ci: Ci) -> None:
    planted = f'mkdir -p /tmp/planted && echo \'open("{CAME}", "w")\' >/tmp/planted/argparse.py'
    probe.output(host, "sh", "-c", f"{planted} && chmod -R a+rX /tmp/planted")
    status, said = ci.ask("releases", options=("-o", "SetEnv=PYTHONPATH=/tmp/planted LC_ALL=nowhere"))
    assert status == 0 and f"{V2}  serving" in said, said
    assert not host.file(CAME).exists


def test_a_second_deploy_is_told_who_has_the_vps_or_waits_for_it(host: Any, ci: Ci) -> None:
    first = ci.begin("deploy", V3, ci.images["3"])
    busy = f"grep -q 'app-web: recreated' {STATE}/lock"
    assert probe.eventually(lambda: host.run(busy).rc == 0 or first.poll() is not None, 30)
    waits = ci.begin("deploy", V4, ci.images["2"], "--wait", "60")
    status, said = ci.ask("deploy", V4, ci.images["2"])
    assert status == 75, said
    assert "another run is in progress on this VPS: ci (deploy key), since 20" in said, said
    assert "doing 'app-web: recreated'" in said and "nothing was changed" in said, said
    status, said = ended(first)
    assert status == 1 and "FAILED: app-web" in said and "this image is broken" in said, said
    status, said = ended(waits)
    assert status == 0 and "these images serve already" in said, said
    assert "s for ci (deploy key), 'app-web: recreated'" in said, said
    assert serves_second(host)
    assert not host.file(f"{STATE}/lock").exists


def test_keys_that_the_list_lacks_open_nothing(host: Any, ci: Ci) -> None:
    stays = ci.begin(options=("-N",))
    assert probe.eventually(lambda: host.run("ps -u landfall -o pid=").rc == 0, 10)
    play({"landfall_deploy_keys": []}, "playbooks/deploy-keys.yml")
    status, said = ci.ask("releases")
    assert status == 255 and "Permission denied (publickey)" in said, said
    assert host.run("getent passwd landfall").rc == 2, "whoever stays connected keeps no account"
    left = "ls -d /var/lib/landfall-deploy /usr/local/lib/landfall/deployer.py /etc/sudoers.d/landfall-deploy"
    assert host.run(left).stdout == ""
    stays.kill()
    ended(stays)
