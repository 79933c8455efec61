"""Tells what this VPS is like, as JSON, before the role host changes anything. Changes nothing.

Its argument is JSON, see tasks/host.yml; ``connection`` is sshd's SSH_CONNECTION. ``faults`` are what would
lock somebody out, or close what somebody uses.
"""

from __future__ import annotations

import fnmatch
import ipaddress
import json
import pwd
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Sequence, Set, Tuple

DROP_IN = "/etc/ssh/sshd_config.d/00-landfall.conf"
SSHD = "/etc/ssh/sshd_config"
UFW = "/etc/ufw/user"
KERNEL = "/etc/sysctl.d/60-landfall.conf"
# DHCP, time and name discovery: clients and neighbours on the link, which the firewall lets answer or need not
LINK = {("udp", port) for port in (67, 68, 123, 323, 546, 547, 5353, 5355)} | {("tcp", 5355)}


def said(*argv: str) -> str:
    """What a command prints; nothing where it fails or is not there."""
    try:
        return subprocess.run(argv, capture_output=True, text=True, check=False).stdout
    except OSError:
        return ""


def text_of(path: str) -> str:
    """Content of a text file, empty where it cannot be read."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


# -- SSH --------------------------------------------------------------------------------------------------------------


def settings_of(text: str) -> Dict[str, List[str]]:
    """What ``sshd -T`` prints: name to values."""
    found: Dict[str, List[str]] = {}
    for line in text.splitlines():
        name, _blank, value = line.partition(" ")
        found.setdefault(name.lower(), []).append(value)
    return found


def includes(text: str) -> bool:
    """Whether a sshd_config takes in its folder of drop-ins before anything that a drop-in could come too late for."""
    for line in text.splitlines():
        words = line.split()
        if words and words[0].lower() == "match":
            return False
        named = words[1:] if words and words[0].lower() == "include" else []
        if any(fnmatch.fnmatch(DROP_IN, str(Path("/etc/ssh", word))) for word in named):
            return True
    return False


def keys_of(user: str, settings: Mapping[str, Sequence[str]]) -> int:
    """How many keys let ``user`` in; -1 where a command or a certificate authority decides."""
    for name in ("authorizedkeyscommand", "trustedusercakeys", "authorizedprincipalscommand"):
        if (settings.get(name) or ["none"])[0] not in ("none", ""):
            return -1
    try:
        home = pwd.getpwnam(user).pw_dir
    except KeyError:
        return 0
    count = 0
    for pattern in " ".join(settings.get("authorizedkeysfile") or [".ssh/authorized_keys"]).split():
        path = pattern.replace("%h", home).replace("%u", user).replace("%%", "%")
        lines = text_of(str(Path(home, path))).splitlines()
        count += sum(1 for line in lines if line.strip() and not line.lstrip().startswith("#"))
    return count


def kept_out(user: str, groups: Sequence[str], settings: Mapping[str, Sequence[str]]) -> str:
    """The setting by which sshd does not let ``user`` in, or nothing. Patterns with a host are left to sshd."""

    def any_of(name: str, words: Sequence[str]) -> bool:
        patterns = [one.partition("@")[0] for one in " ".join(settings.get(name) or []).split()]
        return any(fnmatch.fnmatch(word, pattern) for pattern in patterns for word in words)

    if any_of("denyusers", [user]):
        return "DenyUsers"
    if any_of("denygroups", groups):
        return "DenyGroups"
    if settings.get("allowusers") and not any_of("allowusers", [user]):
        return "AllowUsers"
    if settings.get("allowgroups") and not any_of("allowgroups", groups):
        return "AllowGroups"
    return ""


def ssh(user: str, connection: Sequence[str]) -> Dict[str, Any]:
    """How sshd lets ``user`` in who came by ``connection``, by what its files say now."""
    address = connection[0] if connection else "127.0.0.1"
    settings = settings_of(said("sshd", "-T", "-C", f"user={user},host={address},addr={address}"))
    ports = {int(port) for port in settings.get("port", []) if port.isdigit()}
    ports.update(int(word) for word in connection[3:4] if word.isdigit())
    groups = said("id", "-Gn", user).split()
    return {
        "there": bool(settings),
        "ports": sorted(ports),
        "address": address if connection else "",
        "includes": includes(text_of(SSHD)),
        "keys": keys_of(user, settings),
        "kept_out": kept_out(user, groups, settings),
        "effective": {
            name: (settings.get(name) or [""])[0]
            for name in ("permitrootlogin", "passwordauthentication", "kbdinteractiveauthentication")
        },
    }


# -- firewall ---------------------------------------------------------------------------------------------------------


def inside(interface: str, patterns: Sequence[str]) -> bool:
    """Whether what comes in by an interface is not filtered."""
    return any(fnmatch.fnmatch(interface, pattern) for pattern in patterns)


def sockets(text: str) -> Iterator[Tuple[str, str, int, str]]:
    """(protocol, address, port, program) of the lines of ``ss -Hlntup``."""
    for line in text.splitlines():
        fields = line.split()
        address, _colon, port = (fields[4] if fields[4:] else "").rpartition(":")
        program = re.search(r'users:\(\("([^"]*)"', line)
        if port.isdigit():
            yield fields[0], address.strip("[]"), int(port), program.group(1) if program else "?"


def answering(text: str, addresses: Mapping[str, str], patterns: Sequence[str]) -> List[Dict[str, Any]]:
    """Sockets that answer from outside: ``{port, program}``, a port such as 5432/tcp.

    ``addresses`` are those of this host, to their interface.
    """
    found: Dict[str, Set[str]] = {}
    for protocol, address, port, program in sockets(text):
        bare, _percent, scope = address.partition("%")
        if (protocol, port) in LINK or (scope and inside(scope, patterns)):
            continue
        try:
            known = ipaddress.ip_address(bare) if bare != "*" else ipaddress.ip_address("::")
        except ValueError:
            continue
        if known.is_loopback or (addresses.get(bare) and inside(addresses[bare], patterns)):
            continue
        found.setdefault(f"{port}/{protocol}", set()).add(program)
    return [{"port": port, "program": ", ".join(sorted(found[port]))} for port in sorted(found)]


def addresses_of(text: str) -> Dict[str, str]:
    """Address to interface, of the lines of ``ip -o address``."""
    found = {}
    for line in text.splitlines():
        fields = line.split()
        if fields[3:] and fields[2] in ("inet", "inet6"):
            found[fields[3].partition("/")[0]] = fields[1]
    return found


def ufw(config: str, rules: str) -> List[Dict[str, str]]:
    """What ufw lets in, of the texts of ufw.conf and of its rules: ``{port, protocol, from, interface}``.

    A port such as 5432/tcp; empty where the rule is for all of them.
    """
    found: List[Dict[str, str]] = []
    if not re.search(r"(?im)^\s*ENABLED\s*=\s*[\"']?yes", config):
        return found
    # action protocol port to sport from [two words of an application] direction[_interface] [comment=...]
    form = (
        r"^### tuple ### (?:allow|limit)(?:_\S+)? (\S+) (\S+) \S+ \S+ (\S+) (?:\S+ \S+ )?in(?:_(\S+))?(?: comment=|$)"
    )
    for protocol, ports, source, interface in re.findall(form, rules, re.MULTILINE):
        kinds = ["tcp", "udp"] if protocol == "any" and ports != "any" else [protocol]
        for port in ports.replace(":", "-").split(","):
            for kind in kinds:
                one = {
                    "port": "" if port == "any" else f"{port}/{kind}",
                    "protocol": kind,
                    "from": "" if source in ("0.0.0.0/0", "::/0") else source,
                    "interface": interface,
                }
                if one not in found:
                    found.append(one)
    return found


def bridges(networks: str, routes: str) -> List[str]:
    """Devices of Docker's networks, one a line, without those by which the VPS itself is reached (``ip route``)."""
    ways = set(re.findall(r"^default .*\bdev (\S+)", routes, re.MULTILINE))
    return sorted(set(networks.split()) - ways)


def docker_networks(earlier: Mapping[str, Any]) -> str:
    """Devices of Docker's networks as those name them (others begin with br-); of ``earlier`` if it is silent."""
    form = '{{index .Options "com.docker.network.bridge.name"}}'
    found = said("docker", "network", "inspect", "--format", form, *said("docker", "network", "ls", "-q").split())
    return found if found.strip() else "\n".join(earlier.get("bridges") or [])


# -- what is refused --------------------------------------------------------------------------------------------------


def covered(port: str, ports: Sequence[str]) -> bool:
    """Whether a port such as 5432/tcp or 5000-5010/tcp is in a list such as ``[80/tcp, 5000-6000/tcp]``."""

    def span(text: str) -> Tuple[int, int, str]:
        numbers, _slash, protocol = text.partition("/")
        low, _hyphen, high = numbers.partition("-")
        return int(low), int(high or low), protocol

    low, high, protocol = span(port)
    return any(first <= low and high <= last and kind == protocol for first, last, kind in map(span, ports))


def ssh_faults(asked: Mapping[str, Any], seen: Mapping[str, Any]) -> Iterator[str]:
    """Why sshd cannot be told to let in by key alone."""
    user = asked["user"]
    by_password = ("passwordauthentication", "kbdinteractiveauthentication")
    strict = all(seen["effective"].get(name) == "no" for name in by_password)
    if not seen["there"]:
        yield "host_ssh: there is no OpenSSH server here whose settings could be read (sshd -T); set it to false"
        return
    if asked["password"]:
        yield (
            "host_ssh: this play logs in with a password (ansible_password), which sshd would not take any more; add a "
            f"key of yours to ~{user}/.ssh/authorized_keys and leave ansible_password out, or set host_ssh to false"
        )
    if user == "root" and asked["root_login"] == "never":
        yield (
            "host_ssh_root_login: this play logs in as root, who could not log in any more; log in as a user with sudo "
            "(host_user makes one), or set host_ssh_root_login to keys"
        )
    elif seen["keys"] == 0:
        yield (
            f"host_ssh: {user} has no key in its authorized_keys, so that nobody could log in as {user} any more; add "
            "one (ssh-copy-id), or set host_ssh to false"
        )
    if seen["kept_out"]:
        yield ("host_ssh: {} in the files of sshd keeps {} out as soon as sshd reads them; correct that first").format(
            seen["kept_out"], user
        )
    if not seen["includes"] and not strict:
        yield (
            f"host_ssh: {SSHD} takes no drop-ins in; write 'Include /etc/ssh/sshd_config.d/*.conf' as its first line, "
            "or set host_ssh to false"
        )


def ufw_faults(asked: Mapping[str, Any], allowed: Sequence[Mapping[str, str]], known: Sequence[str]) -> Iterator[str]:
    """What ufw lets in and this firewall, which judges before it, would drop."""
    text = "{}: ufw lets in {}, and this firewall would drop it before ufw sees it; {}"
    for one in allowed:
        source, interface, port = one["from"], one["interface"], one["port"]
        if interface and inside(interface, ["lo", *asked["inside"]]):
            continue
        way = (f" from {source}" if source else "") + (f" by {interface}" if interface else "")
        if port:
            if not covered(port, known):
                right = "name it in host_firewall_open to keep it, or in host_firewall_closed to have it closed"
                yield text.format("host_firewall_open", port + way, right)
        elif interface:
            right = f"name {interface} in host_firewall_inside, or delete that rule of ufw"
            yield text.format("host_firewall_inside", "what comes" + way, right)
        elif source or one["protocol"] != "any":
            rule = f"{'ip6' if ':' in source else 'ip'} saddr {source}" if source else f"meta l4proto {one['protocol']}"
            if not any((source or one["protocol"]) in line for line in asked["rules"]):
                right = f"add '{rule} accept' to host_firewall_rules, or delete that rule of ufw"
                yield text.format("host_firewall_rules", "what comes" + way if source else one["protocol"], right)
        else:
            yield text.format("host_firewall", "everything", "delete that rule of ufw, or set host_firewall to false")


def faults(asked: Mapping[str, Any], seen: Mapping[str, Any]) -> List[str]:
    """What would lock somebody out or close what somebody uses: variable, what is wrong, what would be right."""
    found = []
    address = seen["ssh"]["address"]
    switches = [name for name, on in (("host_ssh", asked["ssh"]), ("host_firewall", asked["firewall"])) if on]
    if switches and not address:
        found.append(
            "{0}: this play does not come by SSH, so that nobody can prove that there still is a way in; deploy by "
            "SSH, or set {0} to false".format(" and ".join(switches))
        )
    elif asked["ssh"]:
        found += ssh_faults(asked, seen["ssh"])
    if asked["firewall"] and address and asked["ssh_from"]:
        networks = [ipaddress.ip_network(one, strict=False) for one in asked["ssh_from"]]
        if not any(ipaddress.ip_address(address) in network for network in networks):
            found.append(
                "host_firewall_ssh_from: this play comes from {}, which is in none of {}, and would be locked out; "
                "add it".format(address, ", ".join(asked["ssh_from"]))
            )
    if asked["firewall"]:
        known = [*asked["open"], *asked["closed"], *(f"{port}/tcp" for port in seen["ssh"]["ports"])]
        found += [
            "host_firewall_open: {port} answers from outside today ({program}); name it in host_firewall_open to keep "
            "it open, or in host_firewall_closed to have it closed".format(**one)
            for one in seen["answering"]
            if not covered(one["port"], known)
        ]
        found += ufw_faults(asked, seen.get("ufw", []), known)
    if asked["deploys"] and not asked["keys"]:
        found.append(
            "host_user_keys: {} would have no key to log in with; give one, such as the text of "
            "~/.ssh/id_ed25519.pub".format(asked["deploys"])
        )
    return found


def known_addresses(text: str, private: str) -> Dict[str, str]:
    """``addresses_of``; at the ``private`` one the firewall lets in the other hosts of the stack."""
    return {**addresses_of(text), **({private: "lo"} if private else {})}


# -- the rest ---------------------------------------------------------------------------------------------------------


def set_elsewhere(names: Sequence[str]) -> Dict[str, str]:
    """Those of the kernel's settings that a file of the operator's sets, to the file."""
    found = {}
    for path in [Path("/etc/sysctl.conf"), *sorted(Path("/etc/sysctl.d").glob("*.conf"))]:
        if str(path.resolve()) == KERNEL:
            continue
        for line in text_of(str(path)).splitlines():
            name, equals, _value = line.strip().lstrip("-").partition("=")
            name = name.strip().replace("/", ".")
            if equals and not line.lstrip().startswith(("#", ";")) and name in names:
                found[name] = str(path)
    return found


def swapfile(unit: str, there: bool) -> str:
    """Whose /swapfile is, by the unit that uses it: own, other, or nobody's where there is none."""
    return "own" if "Description=Landfall: swap" in unit else "other" if there else ""


def before() -> Dict[str, Any]:
    """What an earlier run was asked for."""
    try:
        return dict(json.loads(text_of("/etc/landfall/host.json")))
    except (ValueError, TypeError):
        return {}


def memory(text: str) -> Dict[str, int]:
    """Bytes of memory and of swap in the text of /proc/meminfo."""
    found = {name: int(value) * 1024 for name, value in re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE)}
    return {"memory": found.get("MemTotal", 0), "swap": found.get("SwapTotal", 0)}


def look(asked: Mapping[str, Any]) -> Dict[str, Any]:
    """All of it."""
    connection = str(asked["connection"]).split()
    states = {
        line.partition(" ")[0].split(":")[0]
        for line in said("dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *asked["packages"]).splitlines()
        if line.endswith(" installed")
    }
    networks = bridges(docker_networks(before()), said("ip", "route") + said("ip", "-6", "route"))
    # Behind this firewall nothing answers that is not named; to name it no more is how one closes it
    walled = bool(said("nft", "list", "table", "inet", "landfall"))
    listening = "" if walled else said("ss", "-Hlntup")
    allowed = "" if walled else text_of(UFW + ".rules") + text_of(UFW + "6.rules")
    known = known_addresses(said("ip", "-o", "address"), asked.get("private", ""))

    def units(verb: str, state: str) -> List[str]:
        return sorted(unit for unit in asked["units"] if said("systemctl", verb, unit).strip() == state)

    found = {
        "ssh": ssh(str(asked["user"]), connection),
        "answering": answering(listening, known, ["lo", *asked["inside"], *networks]),
        "ufw": ufw(text_of("/etc/ufw/ufw.conf"), allowed),
        "bridges": networks,
        "missing": sorted(set(asked["packages"]) - states),
        "active": units("is-active", "active"),
        "enabled": units("is-enabled", "enabled"),
        "before": before(),
        "swapfile": swapfile(text_of("/etc/systemd/system/swapfile.swap"), Path("/swapfile").exists()),
        "set_elsewhere": set_elsewhere(list(asked["settings"])),
        "container": said("systemd-detect-virt", "--container").strip() not in ("", "none"),
        "room": shutil.disk_usage("/").free,
        **memory(text_of("/proc/meminfo")),
    }
    return {**found, "faults": faults(asked, found)}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(look(json.loads(sys.argv[1]))))
