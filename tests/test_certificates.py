"""A certificate that is not for the names of its site, or not of its key, is refused with the inventory."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from ansible_collections.landfall.vps.plugins.plugin_utils import certificates


def made(folder: Path, *names: str) -> tuple[str, str]:
    """A certificate for some names, and its key."""
    folder.mkdir()
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-days", "9", "-subj", "/CN=x", "-addext", "subjectAltName=" + ",".join("DNS:" + name for name in names),
            "-keyout", str(folder / "key"), "-out", str(folder / "crt")]  # fmt: skip
    subprocess.run(argv, check=True, capture_output=True)
    return (folder / "crt").read_text(), (folder / "key").read_text()


def test_a_certificate_of_another_name_or_of_another_key_is_refused(tmp_path: Path) -> None:
    shop, wild = made(tmp_path / "a", "shop.example.org", "www.example.org"), made(tmp_path / "b", "*.example.org")
    assert list(certificates.faults(*shop, ["shop.example.org", "www.example.org"])) == []
    assert list(certificates.faults(*wild, ["shop.example.org", "*.example.org"])) == []
    (told,) = certificates.faults(*shop, ["shop.example.org", "api.example.org"])
    assert told.startswith("certificate is not for api.example.org, but for shop.example.org, www.example.org; ask for")
    (told,) = certificates.faults(shop[0], wild[1], ["shop.example.org"])
    assert told == "key is not the one of certificate; give the key with which that was asked for"
    assert list(certificates.faults("no PEM", shop[1], ["x"])) == [], "what cannot be read is for the proxy to refuse"


@pytest.mark.parametrize(
    ("pattern", "name", "covered"),
    [("a.b", "A.B", True), ("*.b", "a.b", True), ("*.b", "b", False), ("*.b", "x.a.b", False), ("*.b", "*.b", True)],
)
def test_an_asterisk_stands_for_one_label(pattern: str, name: str, covered: bool) -> None:
    assert certificates.covers(pattern, name) is covered
