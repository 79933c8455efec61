"""What ufw lets in is not closed unawares by the firewall of the role host, which judges before ufw does."""

from __future__ import annotations

from types import ModuleType
from typing import Any, Dict, List

import pytest

from tests.test_host import ASKED, SSH, look

__all__ = ["look"]
ON = "# /etc/ufw/ufw.conf\nENABLED=yes\nLOGLEVEL=low\n"
ANY, ANY6 = "0.0.0.0/0", "::/0"


def tuples(*rules: str) -> str:
    return "*filter\n### RULES ###\n" + "".join(f"\n### tuple ### {rule}\n-A ufw-user-input\n" for rule in rules)


def faults(look: ModuleType, *rules: str, **asked: Any) -> List[str]:
    values: Dict[str, Any] = {**ASKED, "rules": [], "inside": ["docker0", "br-*"], **asked}
    seen = {"ssh": SSH, "answering": [], "ufw": look.ufw(ON, tuples(*rules))}
    found: List[str] = look.faults(values, seen)
    return found


@pytest.mark.parametrize(
    ("rule", "says", "right", "asked"),
    [
        # ufw allow 8443/tcp
        (f"allow tcp 8443 {ANY} any {ANY} in", "8443/tcp", "host_firewall_open", {"open": ["8443/tcp"]}),
        (f"allow tcp 8443 {ANY6} any {ANY6} in", "8443/tcp", "host_firewall_open", {"closed": ["8000-9000/tcp"]}),
        # ufw allow 60000:61000/udp, of which nobody need listen now
        (
            f"allow udp 60000:61000 {ANY} any {ANY} in comment=6d6f7368",
            "60000-61000/udp",
            "host_firewall_closed",
            {"open": ["60000-61000/udp"]},
        ),
        # ufw limit log 2222; ufw allow 'Of An Application'; ufw allow 25 from a network
        (f"limit_log any 2222 {ANY} any {ANY} in", "2222/udp", "host_firewall_open",
         {"open": ["2222/udp", "2222/tcp"]}),
        (f"allow tcp 143,993 {ANY} any {ANY} Dovecot%20IMAP - in", "993/tcp", "host_firewall_open",
         {"open": ["993/tcp", "143/tcp"]}),
        (f"allow tcp 25 {ANY} any 10.0.0.0/8 in", "25/tcp from 10.0.0.0/8", "host_firewall_open", {"open": ["25/tcp"]}),
        # ufw allow in on wg0, ufw allow from 10.0.0.0/8, ufw allow proto esp from any
        (f"allow any any {ANY} any {ANY} in_wg0", "what comes by wg0", "host_firewall_inside", {"inside": ["wg*"]}),
        (f"allow any any {ANY} any 10.0.0.0/8 in", "what comes from 10.0.0.0/8", "'ip saddr 10.0.0.0/8 accept'",
         {"rules": ["ip saddr { 10.0.0.0/8 } accept"]}),
        (f"allow any any {ANY6} any 2001:db8::/32 in", "what comes from 2001:db8::/32",
         "'ip6 saddr 2001:db8::/32 accept'", {"rules": ["ip6 saddr 2001:db8::/32 accept"]}),
        (f"allow esp any {ANY} any {ANY} in", "esp", "'meta l4proto esp accept'",
         {"rules": ["meta l4proto esp accept"]}),
        (f"allow any any {ANY} any {ANY} in", "everything", "set host_firewall to false", {"firewall": False}),
    ],
)  # fmt: skip
def test_what_ufw_lets_in_is_not_closed_unawares(
    look: ModuleType, rule: str, says: str, right: str, asked: Dict[str, Any]
) -> None:
    found = faults(look, rule)
    assert any(f"ufw lets in {says}, " in one and right in one for one in found), found
    assert all(one.startswith("host_firewall") for one in found)
    assert faults(look, rule, **asked) == []
    assert faults(look, rule, firewall=False) == []


@pytest.mark.parametrize(
    "rule",
    [
        f"allow tcp 22 {ANY} any {ANY} in",  # SSH, whatever the list says
        f"limit tcp 22 {ANY} any {ANY} in",
        f"allow tcp 80,443 {ANY} any {ANY} Nginx%20Full - in",
        f"deny tcp 8443 {ANY} any {ANY} in",
        f"reject udp 8443 {ANY} any {ANY} in",
        f"allow tcp 8443 {ANY} any {ANY} out",
        f"route:allow tcp 8443 172.17.0.2 any {ANY} in",
        "allow tcp 9100 172.30.0.1 any 172.30.0.0/24 in_br-landfall",  # containers are not filtered
        "broken",
    ],
)
def test_what_stays_as_it_is_is_not_refused(look: ModuleType, rule: str) -> None:
    assert faults(look, rule) == []


def test_a_rule_for_both_protocols_and_versions_is_told_once(look: ModuleType) -> None:
    found = faults(look, f"allow any 53 {ANY} any {ANY} in", f"allow any 53 {ANY6} any {ANY6} in")
    assert len(found) == 2 and "53/tcp" in found[0] and "53/udp" in found[1]


def test_ufw_that_is_off_says_nothing(look: ModuleType) -> None:
    rules = tuples(f"allow tcp 8443 {ANY} any {ANY} in")
    assert look.ufw(ON.replace("yes", "no"), rules) == []
    assert look.ufw("", "") == []
    assert len(look.ufw('ENABLED="YES"\n', rules)) == 1
