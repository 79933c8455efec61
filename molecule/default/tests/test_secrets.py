"""Who may list processes on the VPS sees no secret: neither how they were started nor with which environment."""

from __future__ import annotations

import json
import subprocess
import sys

from testbed import canaries
from testbed.paths import ROOT

SECONDS = 12  # longer than the interval of any health check that uses a secret
LOOK = """
import glob, json, os, sys, time
secrets = {}
for folder, _folders, names in os.walk("/opt/landfall"):
    for name in names:
        path = os.path.join(folder, name)
        if "/secrets/" in path and "/.state/" not in path:
            value = open(path, "rb").read().strip()
            if len(value) >= 16:
                secrets[path] = value
for value in [b"seen-in-the-environment", b"seen-in-the-arguments"]:
    secrets[value.decode()] = value
found, looked = set(), 0
if os.fork() == 0:
    time.sleep(1)
    os.execvpe("sleep", ["sleep", "2"], {"X": "seen-in-the-environment"})
if os.fork() == 0:
    time.sleep(1)
    os.execvp("sh", ["sh", "-c", "sleep 2 # seen-in-the-arguments"])
end = time.monotonic() + int(sys.argv[1])
while time.monotonic() < end:
    for pid in filter(str.isdigit, os.listdir("/proc")):
        for kind in ("environ", "cmdline"):
            try:
                content = open("/proc/%s/%s" % (pid, kind), "rb").read()
            except OSError:
                continue
            looked += 1
            for path, value in secrets.items():
                if value in content and int(pid) != os.getpid():
                    found.add(path)
    time.sleep(0.01)
print(json.dumps({"secrets": sorted(secrets), "found": sorted(found), "looked": looked}))
"""


def test_no_process_shows_a_secret(vps: str) -> None:
    config = str(ROOT / ".cache/vps/ssh_config")
    done = subprocess.run(
        ["ssh", "-F", config, vps, "sudo", "python3", "-", str(SECONDS)],
        input=LOOK,
        capture_output=True,
        text=True,
        check=True,
        timeout=SECONDS + 60,
    )
    told = json.loads(done.stdout)
    sys.stdout.write(f"{len(told['secrets'])} secrets, looked {told['looked']} times\n")
    assert len(told["secrets"]) > 7, told["secrets"]
    # The two that the test itself shows prove that it sees such things
    assert told["found"] == ["seen-in-the-arguments", "seen-in-the-environment"]


def test_no_secret_is_where_others_look(vps: str) -> None:
    """Neither the engine's knowledge of containers and images nor a log nor a file that others may read holds one."""
    told = canaries.look(vps)
    sys.stdout.write(f"{told['secrets']} secrets, looked at {told['looked']} bytes\n")
    assert told["secrets"] > 7
    assert told["loose"] == []
    assert told["found"] == [["journal", "canary"]]
