"""A password is replaced while it is in use: no client is refused meanwhile, and the old one is afterwards."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from testbed.paths import ROOT

PLACE = "/opt/landfall/redis/secrets/redis_password"
# Signs in anew all the time with the password of before, and asks on a connection that stays, until its input ends
CLIENT = """
import json, select, socket, sys, time
def connect(password):
    one = socket.create_connection(("127.0.0.1", 6379), 5)
    one.sendall(("AUTH %s\\r\\n" % password).encode())
    return one if one.recv(100).startswith(b"+OK") else None
old = open(sys.argv[1]).read().strip()
stays, told = connect(old), {"asked": 0, "cut": 0, "failed": [], "refused_at": 0}
began = time.monotonic()
while not select.select([sys.stdin], [], [], 0.02)[0]:
    told["asked"] += 1
    try:
        if stays:
            stays.sendall(b"PING\\r\\n")
            if not stays.recv(100).startswith(b"+PONG"):
                told["cut"], stays = told["cut"] + 1, None
        one = connect(old)
        if one is None:
            told["refused_at"] = told["refused_at"] or round(time.monotonic() - began, 1)
        elif told["refused_at"]:
            told["failed"].append("accepted again")
        if one:
            one.close()
    except OSError as error:
        told["failed"].append(str(error))
new = open(sys.argv[1]).read().strip()
told.update(changed=new != old, old=connect(old) is not None, new=connect(new) is not None,
            seconds=round(time.monotonic() - began, 1))
print(json.dumps(told))
"""


def rotate(*more: str) -> tuple[int, str]:
    inventories = [f"--inventory={ROOT}/molecule/shared/inventory.yml", f"--inventory={ROOT}/molecule/host/hosts.yml"]
    argv = ["ansible-playbook", *inventories, str(ROOT / "playbooks/rotate-secrets.yml"), "--tags", "redis", *more]
    done = subprocess.run(argv, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
                          timeout=280)  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def test_no_client_is_refused_while_a_password_is_replaced(vps: Any) -> None:
    started = vps.run("docker inspect --format {{.State.StartedAt}} redis")
    argv = ["ssh", "-F", str(ROOT / ".cache/vps/ssh_config"), "molecule-host", "sudo", "python3", "-c",
            "'exec(bytes.fromhex(\"" + CLIENT.encode().hex() + "\").decode())'", PLACE]  # fmt: skip
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as client:
        status, said = rotate("-e", "secrets=redis_password,redis_admin_password")
        told = json.loads(client.communicate("end\n", timeout=30)[0])
    assert status == 0, said
    sys.stdout.write(f"{told}\n")
    assert told["asked"] > 50 and told["changed"]
    assert (told["cut"], told["failed"]) == (0, [])
    assert told["refused_at"] > 0, "the old one is refused at the end"
    assert (told["old"], told["new"]) == (False, True)
    assert vps.run("docker inspect --format {{.State.StartedAt}} redis") == started, "Redis was not restarted"


def test_what_cannot_be_replaced_so_is_refused_before_anything_changed(vps: Any) -> None:
    before = vps.run(f"sha256sum {PLACE}")
    for name, right in (
        ("backup_password", "docs/security.md"),
        ("redis_paswort", "redis_password"),
        ("", "name them"),
    ):
        status, said = rotate("-e", f"secrets={name}")
        assert status != 0 and right in said, said
    status, said = rotate("-e", "secrets=redis_password", "-e", "redis_password=a-value-of-the-inventory")
    assert status != 0 and "the inventory sets it" in said, said
    assert vps.run(f"sha256sum {PLACE}") == before
