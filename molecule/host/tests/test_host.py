"""Exactly SSH and what was named answer from outside, whatever Docker publishes; a lost way in comes back by itself."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
from testbed import canaries, outside

Play = Callable[..., "subprocess.Popen[str]"]
OPEN = ("22/tcp", "80/tcp", "443/tcp", "443/udp")
# What containers reach of what is asked in outside.reached(): the stack's has IPv4 alone; of the other one only what it
# sends by IPv6 is filtered, but for metadata
INSIDE = {"203.0.113.7 80", "203.0.113.8 53", "169.254.169.254 53"}
REACHED = {
    "inside": INSIDE,
    "beside": {*INSIDE, "203.0.113.8 80", "2001:db8:7::7 80", "2001:db8:8::8 53", "fd20:ce::254 53"},
}
WALL = "/etc/landfall/firewall.nft"
SSHD = "/etc/ssh/sshd_config.d/00-landfall.conf"


def only(*ports: str) -> dict[str, list[str]]:
    """The same ports at each address."""
    return {address: list(ports) for address in outside.ADDRESSES}


def walled(vps: Any) -> bool:
    """Whether what is open answers by TCP and UDP. Nothing else does at any time, or says that it is closed."""
    found = vps.answering()
    assert all(set(ports) <= set(OPEN) for ports in found.values()), found
    return bool(found == only(*OPEN))


def reached(vps: Any) -> dict[str, set[str]]:
    """What containers reach outside. What they do not was refused at once; the VPS itself reaches all."""
    said = vps.reached()
    vps_itself = said.pop("vps")
    assert set(vps_itself.values()) == {"open"}, vps_itself
    told = {answer for who in said.values() for answer in who.values()}
    assert told <= {"open", "ConnectionRefusedError", "OSError"}, said  # the last: no IPv6 in the stack's network
    return {who: {word for word, answer in answers.items() if answer == "open"} for who, answers in said.items()}


def contained(vps: Any) -> bool:
    """Whether containers reach what is named and no metadata. What else is not to be reached is not at any time."""
    found = reached(vps)
    assert all(found[who] <= REACHED[who] for who in REACHED), found
    return found == REACHED


def finished(process: subprocess.Popen[str]) -> tuple[int, str]:
    said, _nothing = process.communicate(timeout=280)
    return process.returncode, said


def test_what_docker_publishes_would_be_open_without_the_firewall(vps: Any) -> None:
    vps.run("systemctl stop landfall-firewall-watch.timer landfall-firewall.service")
    try:
        others = [6379, 8096, 8097, 8098, 8443]
        seen = ["6379/tcp", "8096/udp", "8097/udp", "8098/tcp", "8443/tcp"]
        vps.until(lambda: vps.answering(22, 80, 443, *others) == only(*OPEN, *seen), 30)
        found = reached(vps)
        assert found["beside"] == set(vps.reached()["vps"])
        assert found["inside"] == {word for word in found["beside"] if ":" not in word}
    finally:
        vps.run("systemctl start landfall-firewall.service landfall-firewall-watch.timer")


def test_only_what_is_open_answers_after_the_install(vps: Any) -> None:
    assert walled(vps)
    assert contained(vps)


def test_only_what_is_open_answers_after_a_docker_restart(vps: Any) -> None:
    vps.run("systemctl restart docker")
    vps.until(lambda: walled(vps) and contained(vps), 60)


def test_what_is_published_answers_from_inside(vps: Any) -> None:
    vps.run('timeout 5 bash -c "</dev/tcp/127.0.0.1/6379"')


def test_the_firewall_outlives_what_empties_all_tables(vps: Any) -> None:
    vps.run("systemctl restart nftables.service")
    assert walled(vps) and contained(vps), "its unit starts again with that of the distribution"
    vps.run("systemctl reload nftables.service")
    assert walled(vps) and contained(vps)
    vps.run("systemctl stop nftables.service; systemctl start landfall-firewall.service")
    vps.run("nft flush ruleset")
    took = vps.until(lambda: "outside" in vps.run("nft list table inet landfall", check=False), 60)
    sys.stdout.write(f"back {took:.0f} s after all tables were emptied by hand\n")
    vps.run("systemctl restart docker")  # whose own rules were emptied as well
    vps.until(lambda: walled(vps) and contained(vps), 60)


def test_what_is_named_is_open_and_nothing_else(vps: Any, play: Play) -> None:
    asked = [f"{address}/{128 if ':' in address else 32}" for address in outside.METADATA]
    status, said = finished(play("--tags", "host", host_firewall_open=["8443/tcp", "8098/tcp", "8097/udp"],
                                 host_containers_metadata=True, host_egress_networks=asked))  # fmt: skip
    assert status == 0, said
    assert vps.answering() == only("22/tcp", "8097/udp", "8098/tcp", "8443/tcp")
    found = reached(vps)
    everywhere = {word for word in found["beside"] if word.endswith(" 53")}
    assert found["inside"] - everywhere == {f"{one} 80" for one in outside.METADATA if ":" not in one}
    assert found["beside"] - everywhere == {f"{one} 80" for one in (*outside.METADATA, "203.0.113.7", "203.0.113.8")}
    status, said = finished(play("--tags", "host"))
    assert status == 0, said
    assert walled(vps) and contained(vps)


def test_a_password_and_root_do_not_get_in(vps: Any) -> None:
    told = vps.run("sshd -T -C user=deploy,host=x,addr=192.0.2.66").splitlines()
    assert {"passwordauthentication no", "kbdinteractiveauthentication no", "permitrootlogin no"} <= set(told)
    offered = vps.run(
        "ip netns exec world ssh -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o BatchMode=yes "
        "deploy@192.0.2.1 true 2>&1",
        check=False,
    )
    assert "Permission denied (publickey)" in offered


def test_the_user_who_deploys_gets_in_and_may_use_sudo(vps: Any) -> None:
    assert "NOPASSWD: ALL" in vps.run("sudo -l -U ops")
    assert "ssh-ed25519" in vps.run("cat /home/ops/.ssh/authorized_keys")


def test_a_run_that_would_close_what_somebody_uses_is_refused(vps: Any, play: Play) -> None:
    vps.run("systemd-run --unit=neighbour python3 -m http.server 8099")
    vps.run("systemctl stop landfall-firewall-watch.timer landfall-firewall.service")
    try:
        vps.until(lambda: ":8099" in vps.run("ss -Hltn"), 10)
        before = vps.run(f"cat {WALL} {SSHD} | sha256sum")
        status, said = finished(play("--tags", "host", host_firewall_ssh_from=["198.51.100.0/24"]))
        assert status != 0
        assert "host_firewall_open: 8099/tcp answers from outside today (python3)" in said
        assert re.search(r"host_firewall_ssh_from: this play comes from [0-9.]+, which is in none of 198", said)
        assert vps.run(f"cat {WALL} {SSHD} | sha256sum") == before
    finally:
        vps.run("systemctl stop neighbour; systemctl start landfall-firewall.service landfall-firewall-watch.timer")


def test_check_tells_what_would_change_and_changes_nothing(vps: Any, play: Play) -> None:
    before = vps.run(f"cat {WALL} | sha256sum")
    status, said = finished(play("--tags", "host", "--check", "--diff", host_firewall_open=["9999/tcp"]))
    assert status == 0, said
    assert "+    tcp dport 9999 accept" in said
    assert re.search(r"changed=[1-9]", said)
    assert vps.run(f"cat {WALL} | sha256sum") == before


@pytest.mark.parametrize("dies", [False, True], ids=["the controller lives", "the controller dies"])
def test_a_lost_way_in_comes_back_by_itself(vps: Any, play: Play, only_once: str, dies: bool) -> None:
    before = vps.run(f"cat {WALL} {SSHD} | sha256sum")
    # Enough to have written and be killed on a slow machine
    values = {"host_firewall_open": ["7777/tcp"], "host_ssh_root_login": "keys", "ansible_ssh_common_args": only_once,
              "host_confirm_seconds": 30}  # fmt: skip
    process = play("--tags", "host", **values)
    if dies:
        vps.until(lambda: "7777" in vps.run(f"cat {WALL}"), 120)
        began = time.monotonic()
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        # sshd takes in its old settings meanwhile, and may turn away who comes just then
        vps.until(lambda: "chain" in (rules := vps.run(f"cat {WALL}", check=False)) and "7777" not in rules, 60)
        sys.stdout.write(f"undone {time.monotonic() - began:.0f} s after the controller died\n")
    else:
        status, said = finished(process)
        assert status != 0
        assert "SSH and the firewall are as they were before: no second connection came through" in said, said
    assert vps.run(f"cat {WALL} {SSHD} | sha256sum") == before
    assert "permitrootlogin no" in vps.run("sshd -T")
    assert "7777" not in vps.run("nft list table inet landfall")
    assert walled(vps)


def test_who_proves_it_too_late_is_told_to_wait_longer(vps: Any, play: Play) -> None:
    before = vps.run(f"cat {WALL} {SSHD} | sha256sum")
    status, said = finished(play("--tags", "host", host_firewall_open=["7777/tcp"], host_confirm_seconds=1))
    assert status != 0
    assert re.search(r"host_confirm_seconds: .* after 1 s; set host_confirm_seconds to more than [1-9]", said), said
    assert vps.run(f"cat {WALL} {SSHD} | sha256sum") == before
    assert walled(vps)


def test_no_secret_is_where_others_look(vps: Any, play: Play) -> None:
    told = canaries.look("molecule-host")
    sys.stdout.write(f"{told['secrets']} secrets, looked at {told['looked']} bytes\n")
    assert told["secrets"] > 2
    assert told["loose"] == []
    assert told["found"] == [["journal", "canary"]]
    status, said = finished(
        play("--check", "--diff", **{"redis_password": "canary-in-a-diff", "redis_settings": {"hz": 20}})
    )
    assert status == 0, said
    assert ("+hz 20" in said, "canary-in-a-diff" in said) == (True, False), said


def test_who_guesses_is_barred_and_nobody_else(vps: Any) -> None:
    guess = ("ssh -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o BatchMode=yes -o ConnectTimeout=2 "
             "-b 192.0.2.66 nobody-{0}@192.0.2.1 true 2>/dev/null")  # fmt: skip
    for number in range(8):
        vps.run("ip netns exec world " + guess.format(number), check=False)
    vps.until(lambda: "192.0.2.66" in vps.run("nft list ruleset"), 30)
    # From SSH, which guesses are at; what Docker leads to containers is not its business
    assert vps.answering() == {"192.0.2.1": ["80/tcp", "443/tcp", "443/udp"], "2001:db8::1": list(OPEN)}
    vps.run("systemctl restart sshguard")


def test_the_bounds_and_settings_are_those_of_the_inventory(vps: Any) -> None:
    told = vps.run("apt-config dump")
    assert 'Unattended-Upgrade::Automatic-Reboot-Time "04:30"' in told
    assert 'APT::Periodic::Unattended-Upgrade "1"' in told
    assert vps.run("cat /proc/sys/net/core/somaxconn").strip() == "8192"
    assert "SystemMaxUse=524288000" in vps.run("systemd-analyze cat-config systemd/journald.conf")
    vps.run("mkdir -p /opt/landfall/node_exporter/textfile.d; touch /run/reboot-required")
    vps.run("systemctl start landfall-report.service")
    assert "node_reboot_required 1" in vps.run("cat /opt/landfall/node_exporter/textfile.d/landfall-host.prom")
    vps.run("rm /run/reboot-required; systemctl start landfall-report.service")
    assert "node_reboot_required 0" in vps.run("cat /opt/landfall/node_exporter/textfile.d/landfall-host.prom")


def test_what_is_switched_off_is_taken_away(vps: Any, play: Play) -> None:
    off = {
        f"host_{part}": False for part in ("ssh", "firewall", "guard", "updates", "time", "kernel", "swap", "journal")
    }
    vps.run("touch /swapfile")  # an operator's
    status, said = finished(play("--tags", "host", **off))
    assert status == 0, said
    assert vps.run("ls /swapfile")
    assert vps.run("systemctl is-active sshguard", check=False).strip() != "active"
    left = vps.run(f"ls {WALL} {SSHD} /etc/apt/apt.conf.d/52landfall /etc/sysctl.d/60-landfall.conf "
                   "/etc/systemd/journald.conf.d/landfall.conf 2>/dev/null", check=False)  # fmt: skip
    assert left == ""
    assert "landfall" not in vps.run("nft list tables")
    assert set(vps.answering(22, 6379, 8443)["192.0.2.1"]) == {"22/tcp", "6379/tcp", "8443/tcp"}
    status, said = finished(play("--tags", "host", **off))
    assert (status, bool(re.search(r"changed=0 ", said))) == (0, True), said
