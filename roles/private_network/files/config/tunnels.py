#!/usr/bin/python3 -EsB
"""The private network of this VPS: WireGuard tunnels to other hosts, as ``network.json`` says.

``tunnels.py [--home FOLDER] VERB [SECONDS]``. The folder holds ``key`` (the private one, which never leaves it),
``public``, ``network.json`` (what the tunnels are to be), while a change is tried ``before.json`` (what was before, and
which peers answered), and while keys are replaced ``next``.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

sys.path.insert(0, str(Path(__file__).resolve().parent))
from wireguard import (
    Config,
    TunnelError,
    alone,
    apply,
    ask,
    by_name,
    follow,
    handshakes,
    load,
    looked_up,
    own_key,
    remove,
    run,
    table,
    there,
    write,
)

HOME = Path("/etc/landfall/private_network")
STALE = 150.0  # seconds since a handshake, which is repeated every two minutes, after which a name is looked up again
SECOND, AGAIN = 1.0, 6.0  # seconds until the second of two asks, and until either asks again: WireGuard's limit is 5
FIRST, PROOF = 1.0, 15.0  # seconds for an answer of who answered before, and of who may still be changing


def restore(home: Path) -> Optional[Config]:
    """Put back what was before a change that nobody confirmed; return what the tunnels are to be."""
    before = load(home / "before.json")
    if before is None:
        found: Optional[Config] = load(home / "network.json")
        return found
    tried = load(home / "network.json")
    old: Optional[Config] = before["config"]
    if tried and (old is None or old["interface"] != tried["interface"]):
        remove(tried["interface"])
    if old is None:
        (home / "network.json").unlink(missing_ok=True)
    else:
        write(home / "network.json", shown(old))
    (home / "before.json").unlink()
    return old


def shown(config: Config) -> str:
    """As Ansible's to_nice_json writes it, so that what was put back is not taken for changed by somebody."""
    return json.dumps(config, indent=4, sort_keys=True) + "\n"


def up(home: Path) -> None:
    """Make the tunnels, at boot and whenever they are gone."""
    config = restore(home)
    if config:
        apply(home, config)


def arm(home: Path) -> None:
    """Keep what is there, and who answers, before a change."""
    if not (home / "before.json").exists():
        config = load(home / "network.json")
        worked = by_name(config, FIRST) if config and there(config["interface"]) else {}
        write(home / "before.json", json.dumps({"config": config, "worked": sorted(worked)}) + "\n")


def change(home: Path) -> None:
    """Make the tunnels what network.json says now."""
    config: Config = load(home / "network.json") or {}
    old = (load(home / "before.json") or {}).get("config")
    if old and old["interface"] != config["interface"]:
        remove(old["interface"])
    apply(home, config)
    by_name(config, 0.1)  # a first packet begins the handshakes


def prove(home: Path, seconds: float) -> Dict[str, Any]:
    """``{answer: {name: milliseconds}, silent, cut}``; ``cut`` are peers that answered before and do no more."""
    config: Config = load(home / "network.json") or {"peers": []}
    worked = (load(home / "before.json") or {}).get("worked", [])
    found = by_name(config, seconds)
    silent = sorted(peer["name"] for peer in config["peers"] if peer["name"] not in found)
    return {"answer": found, "silent": silent, "cut": [name for name in silent if name in worked]}


def switch(home: Path) -> None:
    """Use the key that was made to come next, if there is one, and greet everybody with it."""
    config: Config = load(home / "network.json") or {"peers": []}
    if (home / "next").exists():
        (home / "next").rename(home / "key")
        write(home / "public", own_key(home) + "\n")
    apply(home, config)
    by_name(config, 0.3)


def watch(home: Path) -> None:
    """Put back what is gone, look up names of peers that moved, and tell node-exporter."""
    with alone(home):
        config: Optional[Config] = load(home / "network.json")
        if config is None:
            return
        if not there(config["interface"]):
            up(home)
        follow(config)
        seen = handshakes(config["interface"])
        for peer in config["peers"]:
            if time.time() - seen.get(peer["public_key"], 0.0) > STALE:
                endpoint = looked_up(str(peer["endpoint"]), int(peer["port"]))
                if endpoint and peer["public_key"] in seen:
                    run("wg", "set", config["interface"], "peer", peer["public_key"], "endpoint", endpoint)
    report(config)


def report(config: Config) -> None:
    """Write what node-exporter reads, where somebody made its folder."""
    folder = Path(config["reports"])
    if not folder.is_dir():
        return
    seen, moved = handshakes(config["interface"]), table(config["interface"], "transfer")
    heard = by_name(config, FIRST)
    rows: List[Tuple[str, str, str, Dict[str, float]]] = [
        ("answers", "gauge", "Whether this peer answers through the tunnel.", {}),
        ("last_handshake_timestamp_seconds", "gauge", "When its last handshake was; 0 before the first.", {}),
        ("receive_bytes_total", "counter", "Bytes that came from it through the tunnel.", {}),
        ("transmit_bytes_total", "counter", "Bytes that went to it through the tunnel.", {}),
    ]
    for peer in config["peers"]:
        # While its key is replaced a peer is known by two
        keys = [key for key in (peer["public_key"], peer.get("next_key")) if key]
        bytes_of = [moved.get(key, ["0", "0"]) for key in keys]
        values = (
            float(peer["name"] in heard),
            max(seen.get(key, 0.0) for key in keys),
            *(sum(float(pair[way]) for pair in bytes_of) for way in (0, 1)),
        )
        for row, value in zip(rows, values):
            row[3][str(peer["name"])] = value
    lines = []
    for name, kind, told, values_of in rows:
        lines += [f"# HELP landfall_tunnel_{name} {told}", f"# TYPE landfall_tunnel_{name} {kind}"]
        lines += [f'landfall_tunnel_{name}{{peer="{peer}"}} {value:.0f}' for peer, value in values_of.items()]
    write(folder / "landfall-tunnels.prom", "\n".join(lines) + "\n")


def wait_for_keys(home: Path, seconds: float) -> List[str]:
    """Follow those that replace their keys; return the names of those that did not in time.

    Of two that change at once each sends to the other by a key that is gone. So who has changed asks the others by
    their new keys: the last to change is understood. One of two begins, as handshakes that cross make no tunnel.
    """
    end, due = time.monotonic() + seconds, {}
    while True:
        with alone(home):
            config: Config = load(home / "network.json") or {"peers": []}
            left, now = follow(config), time.monotonic()
            if left and not (home / "next").exists():
                own = load_text(home / "public")
                for peer in config["peers"]:
                    name = peer["name"]
                    if name in left and now >= due.setdefault(name, now + SECOND * (own > peer["next_key"])):
                        ask(config, [name])
                        due[name] = now + AGAIN
        if not left or now >= end:
            return left
        time.sleep(0.1)


def main(argv: Sequence[str]) -> int:
    """Do what the verb says; return the exit code."""
    words = list(argv)
    home = Path(words[words.index("--home") + 1]) if "--home" in words else HOME
    words = words[2:] if words[:1] == ["--home"] else words
    verb, seconds = words[0], float(words[1]) if words[1:] else PROOF
    if verb == "prove":
        sys.stdout.write(json.dumps(prove(home, seconds)) + "\n")
    elif verb == "watch":
        watch(home)
    elif verb == "follow":
        left = wait_for_keys(home, seconds)
        sys.stdout.write(json.dumps(left) + "\n")
    else:
        with alone(home):
            once(home, verb)
    return 0


def once(home: Path, verb: str) -> None:
    """Verbs that nothing may come between."""
    if verb in ("keys", "next"):
        public = own_key(home, "key" if verb == "keys" else "next")
        if verb == "keys" and (load_text(home / "public") != public):
            write(home / "public", public + "\n")
        sys.stdout.write(public + "\n")
    elif verb in ("up", "undo"):
        up(home)
    elif verb == "arm":
        arm(home)
    elif verb == "apply":
        change(home)
    elif verb == "confirm":
        (home / "before.json").unlink(missing_ok=True)
    elif verb == "switch":
        switch(home)
    elif verb == "down":
        remove(str((load(home / "network.json") or {"interface": ""})["interface"]))
    else:
        raise TunnelError(f"{verb}: no such verb")


def load_text(path: Path) -> str:
    """A file's one line, empty where there is none."""
    return path.read_text(encoding="utf-8").strip() if path.exists() else ""


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except TunnelError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(1)
