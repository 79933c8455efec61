"""Looks on a VPS for its secrets where none may be: the engine's knowledge, logs, and files that others can read."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from .vps import SSH_CONFIG

SHORTEST = 16  # characters: what is shorter may be a word
LOOK = """
import glob, json, os, stat, subprocess, sys
SHORTEST = int(sys.argv[1])
secrets, loose, found, looked = {}, [], set(), {}
for top in glob.glob("/opt/*landfall"):
    for folder, _folders, names in os.walk(top):
        if not folder.endswith("/secrets") or "/.state/" in folder:
            continue
        for name in names:
            path = os.path.join(folder, name)
            if os.stat(path).st_mode & 0o277:
                loose.append(path)
            for value in open(path, "rb").read().split():
                if len(value) >= SHORTEST:
                    secrets.setdefault(value, path)
secrets[b"canary-that-must-be-found"] = "canary"
def search(kind, content):
    looked[kind] = looked.get(kind, 0) + len(content)
    found.update((kind.split()[0], path) for value, path in secrets.items() if value in content)
def said(*argv):
    return subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False).stdout
containers = said("docker", "ps", "-aq").split()
images = said("docker", "images", "-q").split()
for one in containers:
    search("inspect", said("docker", "inspect", one.decode()))
    search("logs", said("docker", "logs", one.decode()))
for one in set(images):
    search("image", said("docker", "image", "inspect", one.decode()))
    search("layers", said("docker", "history", "--no-trunc", one.decode()))
subprocess.run(["logger", "canary-that-must-be-found"], check=False)
said("journalctl", "--sync")  # which on a slow machine is not written yet
search("journal", said("journalctl", "--no-pager", "-o", "cat"))
# A file that its owner alone may read, or that lies where root alone comes in, is no file of others
def walk(top):
    for folder, folders, names in os.walk(top):
        folders[:] = [name for name in folders if os.lstat(os.path.join(folder, name)).st_mode & 0o005 == 0o005]
        for name in names:
            path = os.path.join(folder, name)
            try:
                mode = os.lstat(path)
            except OSError:
                continue
            if stat.S_ISREG(mode.st_mode) and mode.st_mode & 0o044 and mode.st_size < 5_000_000:
                yield path
for top in ("/opt", "/etc", "/home", "/root", "/var/log", "/var/tmp", "/tmp", "/usr/local", "/run"):
    for path in walk(top):
        try:
            search("files", open(path, "rb").read())
        except OSError:
            continue
print(json.dumps({"secrets": len(secrets) - 1, "loose": sorted(loose), "found": sorted(found), "looked": looked}))
"""


def look(vps: str) -> dict[str, Any]:
    """Return what was found on a VPS: ``{secrets, loose, found, looked}``.

    ``loose`` are files of secrets that others may read, ``found`` places and secrets; one that was put into the journal
    proves that this sees.
    """
    done = subprocess.run(
        ["ssh", "-F", str(SSH_CONFIG), vps, "sudo", "python3", "-", str(SHORTEST)],
        input=LOOK, capture_output=True, text=True, check=True, timeout=240,
    )  # fmt: skip
    told: dict[str, Any] = json.loads(done.stdout)
    return told
