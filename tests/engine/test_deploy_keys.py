"""Keys that may do nothing but deploy: what is no key, or no verb, is refused; what is one runs the program alone."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any, Dict

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.landfall.vps.plugins.filter.deploy_keys import authorized_keys, verbs_of_keys
from ansible_collections.landfall.vps.plugins.lookup.deployer import LookupModule

PROGRAM = "/usr/local/lib/landfall/deployer.py"
ED = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKHEYh0iiUtaDqyRNZHMAOAhD4LVYDNTMmnkxLdJpqg6"


def key(**more: Any) -> Dict[str, Any]:
    return {"name": "github", "key": ED + " ci@example", **more}


def test_a_key_may_run_the_program_and_nothing_else() -> None:
    text = authorized_keys([key()], PROGRAM)
    assert text == f'restrict,command="exec sudo -n {PROGRAM} github \\"$SSH_ORIGINAL_COMMAND\\"" {ED} github\n'
    assert verbs_of_keys([key()]) == {"github": ["plan", "deploy", "releases"]}
    assert verbs_of_keys([key(may=["rollback"])]) == {"github": ["rollback"]}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"name": "x"}, "is no list"),
        ([key(name="Git Hub")], "landfall_deploy_keys[0].name: 'Git Hub' is no name"),
        ([key(name='x" id')], "is no name"),
        ([key(may=["root"])], "landfall_deploy_keys[0].may: ['root'] is no list of plan, deploy, rollback, releases"),
        ([key(may="deploy")], "is no list of"),
        ([key(user="root")], "is not made of name, key and may"),
        ([{"name": "x"}], "landfall_deploy_keys[0].key: is no public key"),
        ([key(key="-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0")], "is no public key"),
        ([key(key='command="sh" ' + ED)], "has options before it"),
        ([key(key=ED + "\n" + ED)], "is no public key"),
        ([key(key="ssh-ed25519 AAAA")], "is damaged"),
        ([key(key=ED.replace("ssh-ed25519", "ssh-rsa"))], "not of the kind that it says"),
        ([key(key="ssh-ed25519 AAA$(id)")], "is damaged"),
        ([key(), key()], "landfall_deploy_keys[1].name: landfall_deploy_keys[0] has the same"),
        ([key(), key(name="b")], "landfall_deploy_keys[1].key: landfall_deploy_keys[0] has the same"),
    ],
)
def test_what_is_no_key_is_refused_and_not_repeated(value: Any, words: str) -> None:
    for judge in (lambda: authorized_keys(value, PROGRAM), lambda: verbs_of_keys(value)):
        with pytest.raises(AnsibleFilterError) as refused:
            judge()
        assert words in str(refused.value) and "c2VjcmV0" not in str(refused.value), refused.value


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_keys_as_openssh_makes_them_are_taken(tmp_path: Path, kind: str) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", str(tmp_path / "k")], check=True, timeout=60)
    assert authorized_keys([key(key=(tmp_path / "k.pub").read_text())], PROGRAM).count("\n") == 1


def test_the_lookup_is_one_program() -> None:
    (text,) = LookupModule().run([])
    assert text.startswith("#!/usr/bin/python3 -I\n")
    compile(text, "deployer.py", "exec")
