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
from testbed import canaries

Play = Callable[..., "subprocess.Popen[str]"]
ADDRESSES = ("192.0.2.1", "2001:db8::1")
WALL = "/etc/landfall/firewall.nft"
SSHD = "/etc/ssh/sshd_config.d/00-landfall.conf"


def answering(vps: Any) -> dict[str, list[int]]:
    """The ports that are open to the world, and those that say that they are closed, by address."""
    found = {}
    for address in ADDRESSES:
        told = vps.scan(address)
        found[address] = told["open"]
        # A port that is let in and that nobody listens on says so; of no other one hears
        assert set(told["closed"]) <= {80, 443, 8443}, told["closed"]
    return found


def only_ssh(vps: Any) -> bool:
    return answering(vps) == {address: [22] for address in ADDRESSES}


def finished(process: subprocess.Popen[str]) -> tuple[int, str]:
    said, _nothing = process.communicate(timeout=280)
    return process.returncode, said


def test_what_docker_publishes_would_be_open_without_the_firewall(vps: Any) -> None:
    vps.run("systemctl stop landfall-firewall-watch.timer landfall-firewall.service")
    try:
        assert set(vps.scan("192.0.2.1")["open"]) >= {22, 6379, 8443, 8098}
        # By IPv6 the test bed's Docker publishes nothing, hence another program
        assert set(vps.scan("2001:db8::1")["open"]) >= {22, 8098}
    finally:
        vps.run("systemctl start landfall-firewall.service landfall-firewall-watch.timer")


def test_only_ssh_answers_from_outside_after_the_install(vps: Any) -> None:
    assert only_ssh(vps)


def test_only_ssh_answers_after_a_docker_restart(vps: Any) -> None:
    vps.run("systemctl restart docker")
    assert only_ssh(vps)
    assert "redis" in vps.run("docker ps --format {{.Names}}")


def test_what_is_published_answers_from_inside(vps: Any) -> None:
    vps.run('timeout 5 bash -c "</dev/tcp/127.0.0.1/6379"')


def test_the_firewall_outlives_what_empties_all_tables(vps: Any) -> None:
    vps.run("systemctl restart nftables.service")
    assert only_ssh(vps), "its unit starts again with that of the distribution"
    vps.run("systemctl reload nftables.service")
    assert only_ssh(vps)
    vps.run("systemctl stop nftables.service; systemctl start landfall-firewall.service")
    vps.run("nft flush ruleset")
    took = vps.until(lambda: "outside" in vps.run("nft list table inet landfall", check=False), 60)
    sys.stdout.write(f"back {took:.0f} s after all tables were emptied by hand\n")
    vps.run("systemctl restart docker")  # whose own rules were emptied as well
    assert only_ssh(vps)


def test_a_named_port_is_open_and_nothing_else(vps: Any, play: Play) -> None:
    status, said = finished(play("--tags", "host", host_firewall_open=["8443/tcp", "8098/tcp"]))
    assert status == 0, said
    assert answering(vps) == {"192.0.2.1": [22, 8098, 8443], "2001:db8::1": [22, 8098]}
    status, said = finished(play("--tags", "host"))
    assert status == 0, said
    assert only_ssh(vps)


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
    values = {"host_firewall_open": ["7777/tcp"], "host_ssh_root_login": "keys", "ansible_ssh_common_args": only_once}
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
        assert "SSH and the firewall are as they were before" in said, said
    assert vps.run(f"cat {WALL} {SSHD} | sha256sum") == before
    assert "permitrootlogin no" in vps.run("sshd -T")
    assert "7777" not in vps.run("nft list table inet landfall")
    assert only_ssh(vps)


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
    assert vps.scan("192.0.2.1")["open"] == []
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
    status, said = finished(play("--tags", "host", **off))
    assert status == 0, said
    left = vps.run(f"ls {WALL} {SSHD} /etc/apt/apt.conf.d/52landfall /etc/sysctl.d/60-landfall.conf "
                   "/etc/systemd/journald.conf.d/landfall.conf 2>/dev/null", check=False)  # fmt: skip
    assert left == ""
    assert "landfall" not in vps.run("nft list tables")
    assert set(vps.scan("192.0.2.1")["open"]) >= {22, 6379, 8443}
    status, said = finished(play("--tags", "host", **off))
    assert (status, bool(re.search(r"changed=0 ", said))) == (0, True), said
